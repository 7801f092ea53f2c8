package stage

import (
	"fmt"
	"slices"

	"github.com/writpdp/writ/server/decision"
)

// Ticket checks the change ticket that a request names against the request, and
// redeems it. A ticket that does not cover the request is a denial, also where
// no ticket was needed: the agent believes in an approval that it does not have.
func Ticket(req *decision.Request, snap *decision.Snapshot, _ *decision.Decision) decision.Finding {
	if req.Ticket == "" || req.Phase == decision.Result {
		return abstain() // a result goes by its call's ticket
	}
	t := snap.Ticket
	if t == nil {
		return refuse("ticket.unknown", fmt.Sprintf("There is no ticket %q.", req.Ticket))
	}
	var f decision.Finding
	add := func(wrong bool, code, text string) {
		if wrong {
			f.Reasons = append(f.Reasons, refuse(code, fmt.Sprintf(text, t.ID)).Reasons...)
		}
	}
	add(t.Revoked, "ticket.revoked", "The ticket %q was revoked.")
	add(snap.At.Before(t.NotBefore), "ticket.early", "The ticket %q is not valid yet.")
	add(!snap.At.Before(t.NotAfter), "ticket.expired", "The ticket %q has expired.")
	add(t.Uses >= t.MaxUses, "ticket.used", "The ticket %q has been used up.")
	add(t.Principal != req.Principal.Subject, "ticket.principal", "The ticket %q was given to another agent.")
	add(slices.ContainsFunc(t.Approvers, func(approver string) bool { return acts(&req.Principal, approver) }),
		"ticket.self_approved", "The ticket %q was approved by the one who uses it.")
	add(t.Tool != req.Tool.ToolName, "ticket.tool", "The ticket %q is for another tool.")
	add(t.ToolDigest != "" && t.ToolDigest != req.Tool.Digest, "ticket.tool", "The ticket %q is for another definition of the tool.")
	add(t.ArgumentsDigest != "" && (req.Arguments == nil || t.ArgumentsDigest != fmt.Sprintf("%x", req.Arguments.Digest())),
		"ticket.arguments", "The ticket %q is for other arguments.")
	if len(f.Reasons) > 0 {
		return f
	}
	return decision.Finding{Verdict: decision.Abstain, Ticket: t, Effects: []decision.Effect{decision.Redeem{Ticket: t.ID}}}
}

// acts reports whether somebody has a part in the action: the agent, the human
// it acts for, or one of those who delegated.
func acts(p *decision.Principal, who string) bool {
	return who != "" && (who == p.Subject || who == p.OnBehalfOf || slices.Contains(p.Actors, who))
}

func refuse(code, text string) decision.Finding {
	f := deny(code, text, "Have a ticket approved for this agent, tool and arguments.")
	f.Reasons[0].Requestable = true
	return f
}
