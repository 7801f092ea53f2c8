package stage

import (
	"fmt"

	"github.com/writpdp/writ/server/decision"
)

// Session stops an agent that has run astray: one whose plan goes deeper than the
// bundle allows, and calls that others like them have shown to fail. After a failure
// it has them wait. And it remembers: the labels of what the session is given to see,
// and its events.
func Session(req *decision.Request, snap *decision.Snapshot, d *decision.Decision) decision.Finding {
	f := steps(req, snap)
	if snap.Bundle.SessionRequired && req.Session == "" && req.Phase != decision.List {
		f.Verdict, f.Waits = decision.Deny, nil
		f.Reasons = append(f.Reasons, decision.Reason{Code: "session.required", Text: "The action belongs to no session, and the policies look at what came before it.",
			Lift: "Send the session_id of the agent's run."})
	}
	state, effects := snap.Session(req, d)
	f.Session, f.Effects = state, append(f.Effects, effects...)
	return f
}

// steps is what is said of the agent's plan and of calls that fail.
func steps(req *decision.Request, snap *decision.Snapshot) decision.Finding {
	f := abstain()
	limit := snap.Bundle.Depth
	deep := limit > 0 && req.Depth > limit
	if deep {
		f = deny("plan.depth", fmt.Sprintf("The step lies %d deep in the agent's plan, and %d is the most.", req.Depth, limit),
			"Have the agent plan less deep.")
	}
	if len(snap.Bundle.Breakers) == 0 {
		return f
	}
	vendor := snap.Bundle.Vendor(req.Destination)
	var delay decision.Delay
	for _, rule := range snap.Bundle.Watching(req) {
		key := rule.Key(req, vendor)
		state := decision.BreakerOf(snap.Used[key])
		if _, ok := rule.Passes(state, snap.At); !ok {
			f.Verdict = decision.Deny
			what := "is open after failures in turn"
			if state.Probing {
				what = "is trying one call"
			}
			f.Reasons = append(f.Reasons, decision.Reason{Code: "breaker.open",
				Text: fmt.Sprintf("The breaker %q %s; it has opened %d times in turn.", rule.ID, what, state.Level),
				Lift: fmt.Sprintf("Wait until %s.", moment(state.Until))})
			f.Waits = append(f.Waits, state.Until)
			continue
		}
		f.Effects = append(f.Effects, decision.Pass{Key: key, Trip: rule.Trip, At: snap.At})
		delay.For = max(delay.For, rule.Delay(state))
	}
	if deep {
		f.Waits = nil // waiting alone does not help
	}
	if delay.For > 0 {
		f.Obligations = append(f.Obligations, decision.Obligation{Duty: delay})
	}
	return f
}
