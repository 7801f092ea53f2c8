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
	switch t.State {
	case decision.TicketApproved:
	case decision.TicketRejected:
		add(true, "ticket.rejected", "The ticket %q was rejected.")
	case decision.TicketRevoked:
		add(true, "ticket.revoked", "The ticket %q was revoked.")
	default:
		add(true, "ticket.pending", "The ticket %q is not approved yet.")
	}
	add(snap.At.Before(t.NotBefore), "ticket.early", "The ticket %q is not valid yet.")
	add(!snap.At.Before(t.NotAfter), "ticket.expired", "The ticket %q has expired.")
	add(t.Uses >= t.MaxUses, "ticket.used", "The ticket %q has been used up.")
	add(t.Principal != req.Principal.Subject, "ticket.principal", "The ticket %q was given to another agent.")
	add(slices.ContainsFunc(t.Approvers, req.Principal.Acts), "ticket.self_approved", "The ticket %q was approved by the one who uses it.")
	add(t.Tool != req.Tool.ToolName, "ticket.tool", "The ticket %q is for another tool.")
	add(t.ToolDigest != "" && t.ToolDigest != req.Tool.Digest, "ticket.tool", "The ticket %q is for another definition of the tool.")
	add(t.ArgumentsDigest != "" && (req.Arguments == nil || t.ArgumentsDigest != fmt.Sprintf("%x", req.Arguments.Digest())),
		"ticket.arguments", "The ticket %q is for other arguments.")
	add(!t.Resource.Of(req.Resource), "ticket.resource", "The ticket %q is for another resource.")
	add(t.Bundle != "" && t.Bundle != snap.Bundle.Digest, "ticket.bundle", "The ticket %q was approved under another policy bundle.")
	within, withheld := inScope(req, snap, t)
	add(within == decision.Deny, "ticket.scope", "The ticket %q does not cover this: its scope does not hold.")
	switch {
	case len(f.Reasons) > 0:
		return f
	case within != decision.Permit:
		// Where the scope does not hold this denies; the policies answer for the rest.
		f = undetermined(withheld)
		f.Ticket = t
		return f
	}
	return decision.Finding{Verdict: decision.Abstain, Ticket: t, Effects: []decision.Effect{decision.Redeem{Ticket: t.ID, Version: t.Version}}}
}

// inScope asks the policies whether a request is within its ticket's scope, if it
// has one.
func inScope(req *decision.Request, snap *decision.Snapshot, t *decision.Ticket) (decision.Verdict, []string) {
	if t.Scope == "" {
		return decision.Permit, nil
	}
	return snap.Bundle.Policies.Within(t.Scope, snap.Query(req, &decision.Decision{}))
}

func refuse(code, text string) decision.Finding {
	f := deny(code, text, "Have a ticket approved for this agent, tool and arguments.")
	f.Reasons[0].Requestable = true
	return f
}
