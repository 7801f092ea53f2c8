package stage

import (
	"fmt"

	"github.com/writpdp/writ/server/decision"
)

// Policy asks the Cedar policies. It is the only stage that grants.
func Policy(req *decision.Request, snap *decision.Snapshot, d *decision.Decision) decision.Finding {
	if req.Phase == decision.List && req.Tool.ToolName == (decision.ToolName{}) {
		return abstain() // the list stage asks for each candidate
	}
	ruling := snap.Bundle.Policies.Judge(snap.Query(req, d))
	var f decision.Finding
	if ruling.Refused.Code != "" {
		f.Reasons = append(f.Reasons, ruling.Refused)
	}
	for _, m := range ruling.Errors {
		f.Reasons = append(f.Reasons, decision.Reason{Code: decision.CodePolicyError, Policy: m.Policy,
			Text: fmt.Sprintf("The policy %q could not be evaluated on this request.", m.Policy),
			Lift: "Mend the policy: an error denies, whatever the policy would have said."})
	}
	for _, m := range ruling.Forbids {
		f.Reasons = append(f.Reasons, forbidden(m))
	}
	if len(ruling.Permits) == 0 && ruling.Refused.Code == "" && !ruling.Open {
		f.Reasons = append(f.Reasons, decision.Reason{Code: "policy.no_permit", Text: "No policy permits this.",
			Lift: "Add or widen a policy that permits it; `writ decide --explain` names the nearest."})
	}
	if len(f.Reasons) == 0 && ruling.Open {
		f = undetermined(ruling.Withheld)
	} else if len(f.Reasons) == 0 {
		f.Verdict = decision.Permit
		for _, m := range ruling.Permits {
			f.Reasons = append(f.Reasons, decision.Reason{Code: "policy.permit", Policy: m.Policy,
				Text: textOf(m, "The policy %q permits this.")})
		}
	}
	f.Reasons = bounded(f.Reasons)
	for _, v := range ruling.Vaulted {
		f.Effects = append(f.Effects, v)
	}
	f.Obligations, f.Routes, f.Redactions = ruling.Obligations, ruling.Routes, ruling.Redactions
	return f
}

// maxReasons bounds the reasons of the policies: an answer holds 1,024.
const maxReasons = 512

// bounded cuts a list of reasons. What stands for the rest can be lifted by no
// ticket, because nobody says that the rest could.
func bounded(reasons []decision.Reason) []decision.Reason {
	if len(reasons) <= maxReasons {
		return reasons
	}
	rest := reasons[maxReasons-1]
	rest.Text, rest.Policy, rest.Requestable = fmt.Sprintf("%d more policies say so.", len(reasons)-maxReasons+1), "", false
	return append(reasons[:maxReasons-1:maxReasons-1], rest)
}

func forbidden(m decision.Match) decision.Reason {
	if m.Ticket {
		return decision.Reason{Code: "policy.ticket_required", Policy: m.Policy, Requestable: true,
			Text: textOf(m, "The policy %q requires a change ticket."),
			Lift: "Have a ticket approved for this agent, tool and arguments."}
	}
	return decision.Reason{Code: "policy.forbid", Policy: m.Policy,
		Text: textOf(m, "The policy %q forbids this."),
		Lift: "Nothing but a change of the policy."}
}

// textOf is the policy's own text, or else one that names it.
func textOf(m decision.Match, otherwise string) string {
	if m.Text != "" {
		return m.Text
	}
	return fmt.Sprintf(otherwise, m.Policy)
}
