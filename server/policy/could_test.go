package policy

import (
	"testing"
	"time"

	"github.com/writpdp/writ/server/decision"
)

// What a list makes of what it does not know.
func TestCould(t *testing.T) {
	const permit, forbid = "@id(\"p\") permit (principal, action == Action::\"s/t\", resource)", "@id(\"f\") forbid (principal, action == Action::\"s/t\", resource)"
	tests := []struct {
		name, policies string
		want           bool
	}{
		{"nothing", "", false},
		{"a permit", permit + ";", true},
		{"a permit for another agent", "@id(\"p\") permit (principal == Agent::\"x\", action, resource);", false},
		{"a permit for some arguments", permit + " when { context.args has n && context.args.n > 3 };", true},
		{"a permit for another purpose", permit + " when { context.purpose == \"q\" && context.args has n };", false},
		{"a permit for calls", permit + " when { context.phase == \"CALL\" };", true},
		{"a permit for results", permit + " when { context.phase == \"RESULT\" };", false},
		{"a permit with a ticket", permit + " when { context has ticket };", true},
		{"a permit without a ticket", permit + " unless { context has ticket };", true},
		{"a permit by an approver", permit + " when { context has ticket && context.ticket.approvers.contains(\"lead\") };", true},
		{"a permit that overflows for some", permit + " when { context.cost.tokens + 9223372036854775807 > 0 };", true},
		{"a permit that overflows for all", permit + " when { 9223372036854775807 + 1 > 0 };", false},
		{"a permit that fails behind a condition", permit + " when { context.cost.calls == 7 } when { 9223372036854775807 + 1 > 0 }; @id(\"q\") permit (principal, action, resource);", true},
		{"a permit that fails beside one", permit + " when { 9223372036854775807 + 1 > 0 }; @id(\"q\") permit (principal, action, resource);", false},
		{"a permit for some resource", "@id(\"p\") permit (principal, action, resource is Thing);", true},
		{"a permit for a hot thing", permit + " when { resource is Thing && resource.hot };", true},
		{"a forbid", permit + "; " + forbid + ";", false},
		{"a forbid for some arguments", permit + "; " + forbid + " when { context.args has n };", true},
		{"a forbid with a ticket", permit + "; " + forbid + " when { context has ticket };", true},
		{"a forbid without a ticket", permit + "; " + forbid + " unless { context has ticket };", true},
		{"a forbid either way", permit + "; " + forbid + " when { context has ticket }; @id(\"g\") forbid (principal, action, resource) unless { context has ticket };", false},
		{"a forbid for some resource", permit + "; @id(\"f\") forbid (principal, action, resource is Thing);", true},
		{"a forbid for this purpose", permit + "; " + forbid + " when { context.purpose == \"p\" };", false},
		{"a forbid that fails for some resource", permit + "; @id(\"f\") forbid (principal, action, resource is Thing) when { 9223372036854775807 + 1 > 0 };", true},
		{"an obligation", "@id(\"o\") @obligate(\"watermark\") @text(\"w\") permit (principal, action, resource);", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b, err := Load(broken(map[string]string{"cedar/a.cedar": test.policies + "\n", fileTools: "s: { t: { resources: [Thing] } }\n",
				fileSchema: string(small()[fileSchema].Data) + "entity Thing = { hot: Bool };"}))
			if err != nil {
				t.Fatal(err)
			}
			name := decision.ToolName{Server: "s", Name: "t"}
			r := b.Policies.Judge(decision.Query{At: time.Unix(0, 0), Tool: b.Tools[name], Request: &decision.Request{
				Phase: decision.List, Purpose: "p", Principal: decision.Principal{Subject: "a"}, Tool: decision.ToolRef{ToolName: name}}})
			if got := permitted(r); got != test.want {
				t.Errorf("got %v, want %v: %+v", got, test.want, r)
			}
			if len(r.Obligations) > 0 {
				t.Errorf("a list is obliged to %v", r.Obligations)
			}
		})
	}
}
