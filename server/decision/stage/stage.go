// Package stage holds the stages of a decision, one file each, and All, the
// order in which they are asked. Stages are pure: everything they know is in
// their arguments.
package stage

import (
	"time"

	"github.com/writpdp/writ/server/decision"
)

// All is every stage in order. Facts flow forward: the content stage finds what
// policies see of what a request carries, the egress stage where it leads, the ticket stage finds the
// ticket that the policy stage shows to the policies, the policy stage finds
// the constraints that the route stage meets, and comply sees every obligation.
var All = decision.Pipeline{
	{Name: "lock", Judge: Lock},
	{Name: "token", Judge: Token},
	{Name: "purpose", Judge: Purpose},
	{Name: "tool", Judge: Tool},
	{Name: "call", Judge: Call},
	{Name: "result", Judge: Result},
	{Name: "content", Judge: Content},
	{Name: "egress", Judge: Egress},
	{Name: "session", Judge: Session},
	{Name: "ticket", Judge: Ticket},
	{Name: "policy", Judge: Policy},
	{Name: "budget", Judge: Budget},
	{Name: "route", Judge: Route},
	{Name: "list", Judge: List},
	{Name: "comply", Judge: Comply},
}

// deny is a finding with one reason.
func deny(code, text, lift string) decision.Finding {
	return decision.Finding{Reasons: []decision.Reason{{Code: code, Text: text, Lift: lift}}}
}

// moment is a time in a reason.
func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// adding is a sentence with what somebody else has to say of it; empty: nothing.
func adding(sentence, message string) string {
	if message == "" {
		return sentence + "."
	}
	return sentence + ": " + message
}

// undetermined is a finding that needs more of the request than is known.
func undetermined(withheld []string) decision.Finding {
	return decision.Finding{Verdict: decision.Undetermined, Withheld: withheld}
}

// abstain is a finding of nothing.
func abstain() decision.Finding {
	return decision.Finding{Verdict: decision.Abstain}
}
