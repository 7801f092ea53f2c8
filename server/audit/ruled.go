package audit

import (
	"slices"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// Ruled is what a record tells of policies: of the kinds in Known, those that
// matched are in Matched, and all others did not.
type Ruled struct {
	Known   map[decision.PolicyKind]bool
	Matched map[string]bool
	// Scoped says that the ticket had a scope that was asked, and Within that it held.
	Scoped, Within bool
}

// Of tells whether a policy matched, of those whose kinds are given by their ids.
func (r Ruled) Of(kinds map[string]decision.PolicyKind) func(policy string) (matched, known bool) {
	return func(policy string) (matched, known bool) {
		if policy == decision.TicketScope { // a policy like any other, of the same world
			return r.Within, r.Scoped && kinds != nil
		}
		return r.Matched[policy], r.Known[kinds[policy]]
	}
}

// ruled reads what the record's policy stage found. It names all permits only
// where it permits, and all forbids wherever the policies were asked.
func ruled(e *writv1.DecisionEvent, denied bool) Ruled {
	r := policies(e, denied)
	r.Scoped, r.Within = e.Facts.GetTicket().GetScope() != "" && e.Phase != writv1.Phase_PHASE_RESULT, true
	for _, f := range e.Findings {
		if f.Stage == "ticket" {
			r.Within = !slices.ContainsFunc(f.Reasons, func(reason *writv1.Reason) bool { return reason.Code == "ticket.scope" })
		}
	}
	return r
}

// policies reads what it found of the policies.
func policies(e *writv1.DecisionEvent, denied bool) Ruled {
	r := Ruled{Known: map[decision.PolicyKind]bool{}, Matched: map[string]bool{}}
	for _, f := range e.Findings {
		if f.Stage != "policy" {
			continue
		}
		if len(f.Reasons) == 0 || len(f.Reasons) >= maxReasons {
			return r
		}
		permits := f.Verdict == writv1.Verdict_VERDICT_PERMIT
		for _, reason := range f.Reasons {
			switch reason.Code {
			case "policy.permit", "policy.forbid", "policy.ticket_required":
				if reason.PolicyId == "" {
					return Ruled{} // it stands for several
				}
				r.Matched[reason.PolicyId] = true
			case "policy.no_permit":
				permits = true // all of none
			default: // some could not be asked
				return Ruled{}
			}
		}
		r.Known[decision.Permits], r.Known[decision.Forbids], r.Known[decision.Redacts] = permits, true, !e.Facts.GetRedactionsCut()
	}
	for _, redaction := range e.Facts.GetRedactions() {
		r.Matched[redaction.PolicyId] = true
	}
	if !denied && len(r.Known) > 0 {
		r.Known[decision.Obliges] = true
		for _, o := range e.Response.Obligations {
			if o.PolicyId != "" {
				r.Matched[o.PolicyId] = true
			}
		}
	}
	return r
}
