package stage

import (
	"fmt"

	"github.com/writpdp/writ/server/decision"
)

// Lock stops what a kill switch hits, whatever else would permit it. Where nobody
// knows any more whether there are locks, everything is stopped but what the bundle
// names.
func Lock(req *decision.Request, snap *decision.Snapshot, _ *decision.Decision) decision.Finding {
	if snap.Control == nil {
		return abstain() // a request outside of any server: there are none
	}
	if snap.Control.Stale && !snap.Bundle.MayFailOpen(req) {
		return deny("lock.stale", "Whether the action is stopped by a lock cannot be learnt: the store has not answered for too long, or the server's clock is not the store's.",
			"Wait until the store answers again, and have the server's clock set.")
	}
	tool, vendor := snap.Bundle.Tools[req.Tool.ToolName], snap.Bundle.Vendor(req.Destination)
	f := abstain()
	stopped := false // for good, or until the lock ends
	for i := range snap.Control.Locks {
		l := &snap.Control.Locks[i]
		if !l.Hits(req, tool, vendor, snap.At) {
			continue
		}
		if l.Effect == decision.LockThrottle {
			pace := l.Pace(snap.At)
			wait := pace.Wait(snap.Used[pace.Key])
			if wait == 0 {
				f.Effects = append(f.Effects, pace)
				continue
			}
			f.Waits = append(f.Waits, snap.At.Add(wait))
		} else {
			stopped = true
		}
		f.Verdict = decision.Deny
		f.Locks = append(f.Locks, *l)
		f.Reasons = append(f.Reasons, decision.Reason{Code: lockCodes[l.Effect], Text: lockText(l), Lift: lockLift(l)})
	}
	if stopped {
		f.Waits = nil
	}
	return f
}

// lockCodes are the codes by effect.
var lockCodes = map[decision.LockEffect]string{
	decision.LockDeny: "lock.denied", decision.LockReadOnly: "lock.read_only",
	decision.LockQuarantine: "lock.quarantined", decision.LockBlockEgress: "lock.egress_blocked",
	decision.LockThrottle: "lock.throttled",
}

func lockText(l *decision.Lock) string {
	text := fmt.Sprintf("Stopped by the lock %s", l.ID)
	if l.Effect == decision.LockReadOnly {
		text = fmt.Sprintf("The lock %s leaves only tools that are read-only", l.ID)
	}
	if l.Effect == decision.LockThrottle {
		text = fmt.Sprintf("The lock %s lets %d through in %s", l.ID, l.Rate, l.Per)
	}
	return adding(text, l.Message)
}

func lockLift(l *decision.Lock) string {
	return fmt.Sprintf("Wait until %s, or have the lock lifted.", moment(l.Until))
}
