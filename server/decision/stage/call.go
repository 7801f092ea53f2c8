package stage

import "github.com/writpdp/writ/server/decision"

// Call ties a result to the decision that allowed its call: the same caller,
// agent, session, purpose, tool and arguments.
func Call(req *decision.Request, snap *decision.Snapshot, _ *decision.Decision) decision.Finding {
	if req.Phase != decision.Result {
		return abstain()
	}
	call := snap.Call
	switch {
	case call == nil:
		return deny("call.unknown", "There is no decision on the call that this result is said to belong to.",
			"Send the decision_id that the call was allowed with.")
	case !call.Allowed:
		return deny("call.denied", "The call that this result belongs to was denied.",
			"Nothing: a denied call has no result.")
	case !call.Fits(req):
		return deny("call.mismatch", "The result differs from its call in caller, agent, session, purpose, tool or arguments.",
			"Ask with what the call was allowed with, as it was before redaction.")
	}
	f := abstain()
	if call.Ticket != "" && snap.Ticket != nil && snap.Ticket.ID == call.Ticket {
		f.Ticket = snap.Ticket // the call redeemed it; the policies see it again
	}
	return f
}
