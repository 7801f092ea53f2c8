package decision_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/decision"
)

func finding(v decision.Verdict) decision.Finding { return decision.Finding{Verdict: v} }

func obliged(duties ...decision.Duty) decision.Finding {
	f := finding(decision.Abstain)
	for _, d := range duties {
		f.Obligations = append(f.Obligations, decision.Obligation{Policy: "p", Duty: d})
	}
	return f
}

func TestAllowed(t *testing.T) {
	const beyond = decision.Verdict(3)
	tests := []struct {
		verdicts []decision.Verdict
		want     bool
	}{
		{nil, false},
		{[]decision.Verdict{0}, false},
		{[]decision.Verdict{decision.Abstain}, false},
		{[]decision.Verdict{decision.Permit}, true},
		{[]decision.Verdict{decision.Abstain, decision.Permit, decision.Abstain}, true},
		{[]decision.Verdict{decision.Permit, decision.Permit}, true},
		{[]decision.Verdict{decision.Permit, decision.Deny}, false},
		{[]decision.Verdict{decision.Deny, decision.Permit}, false},
		{[]decision.Verdict{decision.Permit, beyond}, false},
		{[]decision.Verdict{255, decision.Permit}, false},
	}
	for _, test := range tests {
		var d decision.Decision
		for _, v := range test.verdicts {
			d.Findings = append(d.Findings, finding(v))
		}
		if got := d.Allowed(); got != test.want {
			t.Errorf("%v: got %v, want %v", test.verdicts, got, test.want)
		}
		if got := d.Outcome() != decision.Denied; got != test.want {
			t.Errorf("%v: the outcome is %v", test.verdicts, d.Outcome())
		}
	}
}

// The zero decision, and a zero finding, deny and have nothing else to say.
func TestZeroDecision(t *testing.T) {
	for _, d := range []decision.Decision{{}, {Findings: []decision.Finding{{}}}, {Findings: make([]decision.Finding, 9)}} {
		if d.Allowed() || d.Outcome() != decision.Denied {
			t.Errorf("%v allows", d)
		}
		if d.Obligations() != nil || d.Effects() != nil || d.Budgets() != nil || d.Ticket() != nil || d.Routes() != nil || d.Unmet(nil) != nil || d.Requestable() != nil {
			t.Errorf("%v says something", d)
		}
		if wait, ok := d.RetryAfter(time.Now()); ok || wait != 0 {
			t.Errorf("%v asks to wait %v", d, wait)
		}
	}
	if d := (decision.Pipeline{}).Decide(&decision.Request{}, &decision.Snapshot{}); d.Allowed() {
		t.Error("no stages allow")
	}
}

func TestDecideAsksEveryStage(t *testing.T) {
	var asked []string
	stage := func(name string, v decision.Verdict) decision.Stage {
		return decision.Stage{Name: name, Judge: func(_ *decision.Request, _ *decision.Snapshot, d *decision.Decision) decision.Finding {
			asked = append(asked, fmt.Sprintf("%s after %d", name, len(d.Findings)))
			return decision.Finding{Stage: "imposter", Verdict: v}
		}}
	}
	d := decision.Pipeline{stage("a", decision.Deny), stage("b", decision.Permit), stage("c", decision.Deny)}.Decide(&decision.Request{}, &decision.Snapshot{})
	if diff := cmp.Diff([]string{"a after 0", "b after 1", "c after 2"}, asked); diff != "" {
		t.Error(diff)
	}
	if len(d.Findings) != 3 || d.Findings[0].Stage != "a" || d.Findings[2].Stage != "c" {
		t.Errorf("got the findings %v", d.Findings)
	}
}

func TestOutcomeAndObligations(t *testing.T) {
	redact := decision.Redact{Edits: []document.Edit{{Pointer: "/a"}}}
	route, watermark := decision.Route{Vendor: "v", Host: "h"}, decision.Watermark{Text: "w"}
	tests := []struct {
		name     string
		findings []decision.Finding
		want     decision.Outcome
		ids      []string
	}{
		{"nothing", []decision.Finding{finding(decision.Permit)}, decision.Allowed, nil},
		{"another duty", []decision.Finding{finding(decision.Permit), obliged(watermark, decision.StepUp{}, decision.Notify{}, decision.LimitOutput{}, decision.FilterTools{})},
			decision.Allowed, []string{"watermark-1", "step_up-1", "notify-1", "limit_output-1", "filter_tools-1"}},
		{"a redaction", []decision.Finding{finding(decision.Permit), obliged(watermark, redact)}, decision.Redacted, []string{"watermark-1", "redact-1"}},
		{"a route", []decision.Finding{obliged(route), finding(decision.Permit)}, decision.Routed, []string{"route-1"}},
		{"both", []decision.Finding{obliged(redact), finding(decision.Permit), obliged(route)}, decision.Routed, []string{"redact-1", "route-1"}},
		{"both, the other way round", []decision.Finding{obliged(route), finding(decision.Permit), obliged(redact)}, decision.Routed, []string{"route-1", "redact-1"}},
		{"several of a type", []decision.Finding{obliged(watermark, redact, watermark), finding(decision.Permit), obliged(watermark)},
			decision.Redacted, []string{"watermark-1", "redact-1", "watermark-2", "watermark-3"}},
		{"a denial", []decision.Finding{obliged(redact, route), finding(decision.Permit), finding(decision.Deny)}, decision.Denied, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := decision.Decision{Findings: test.findings}
			if got := d.Outcome(); got != test.want {
				t.Errorf("got the outcome %d, want %d", got, test.want)
			}
			for range 2 { // to ask again changes nothing
				var ids []string
				for _, o := range d.Obligations() {
					ids = append(ids, o.ID)
				}
				if diff := cmp.Diff(test.ids, ids, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("ids (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestUnmet(t *testing.T) {
	d := decision.Decision{Findings: []decision.Finding{
		obliged(decision.Watermark{}, decision.Redact{}, decision.Watermark{}), finding(decision.Deny), obliged(decision.Notify{}, decision.Redact{}),
	}}
	for _, test := range []struct{ supports, want []string }{
		{nil, []string{"watermark", "redact", "notify"}},
		{[]string{"redact", "route"}, []string{"watermark", "notify"}},
		{[]string{"notify", "watermark", "redact"}, nil},
		{[]string{"Redact", "redact ", ""}, []string{"watermark", "redact", "notify"}},
	} {
		if diff := cmp.Diff(test.want, d.Unmet(test.supports), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.supports, diff)
		}
	}
}

func TestEffectsAndBudgets(t *testing.T) {
	charge := decision.Charge{Key: decision.BudgetKey{Budget: "b"}, Amount: 3, Cap: 10}
	findings := []decision.Finding{
		{Verdict: decision.Abstain, Effects: []decision.Effect{decision.Consume{}}},
		{Verdict: decision.Permit, Effects: []decision.Effect{decision.Redeem{Ticket: "t"}}},
		{Verdict: decision.Abstain, Effects: []decision.Effect{charge}, Budgets: []decision.BudgetLine{{Budget: "b", Reserved: 3, Remaining: 7, Cap: 10}}},
	}
	d := decision.Decision{Findings: findings}
	if diff := cmp.Diff([]decision.Effect{decision.Consume{}, decision.Redeem{Ticket: "t"}, charge}, d.Effects()); diff != "" {
		t.Error(diff)
	}
	if got := d.Budgets(); len(got) != 1 || got[0].Reserved != 3 || got[0].Remaining != 7 {
		t.Errorf("got %v", got)
	}
	d.Findings = append(d.Findings, finding(decision.Deny))
	if got := d.Effects(); got != nil {
		t.Errorf("a denial has the effects %v", got)
	}
	for range 2 {
		if got := d.Budgets(); len(got) != 1 || got[0].Reserved != 0 || got[0].Remaining != 10 {
			t.Errorf("a denial reserves: %v", got)
		}
	}
}

func TestFactsForLaterStages(t *testing.T) {
	first, second := &decision.Ticket{ID: "a"}, &decision.Ticket{ID: "b"}
	d := decision.Decision{Findings: []decision.Finding{
		{}, {Ticket: first, Routes: []decision.RouteRule{{Region: "eu"}}}, {Ticket: second, Routes: []decision.RouteRule{{Vendor: "v"}, {Region: "us"}}}}}
	if d.Ticket() != first {
		t.Error("the first ticket is not the one")
	}
	if diff := cmp.Diff([]decision.RouteRule{{Region: "eu"}, {Vendor: "v"}, {Region: "us"}}, d.Routes()); diff != "" {
		t.Error(diff)
	}
}

func TestRetryAfter(t *testing.T) {
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	line := func(hours int) decision.BudgetLine {
		return decision.BudgetLine{Budget: "b", Exhausted: true, Resets: at.Add(time.Duration(hours) * time.Hour)}
	}
	denied := func(lines ...decision.BudgetLine) decision.Finding { return decision.Finding{Budgets: lines} }
	never, lifetime := line(1), decision.BudgetLine{Exhausted: true}
	never.Never = true
	tests := []struct {
		name     string
		findings []decision.Finding
		want     time.Duration
		ok       bool
	}{
		{"an allow", []decision.Finding{finding(decision.Permit)}, 0, false},
		{"one budget", []decision.Finding{finding(decision.Permit), denied(line(3))}, 3 * time.Hour, true},
		{"the last of two", []decision.Finding{denied(line(3), line(5), line(1))}, 5 * time.Hour, true},
		{"one that has room beside", []decision.Finding{denied(decision.BudgetLine{Resets: at.Add(9 * time.Hour)}, line(3))}, 3 * time.Hour, true},
		{"another denial", []decision.Finding{finding(decision.Deny), denied(line(3))}, 0, false},
		{"another denial after", []decision.Finding{denied(line(3)), finding(decision.Deny)}, 0, false},
		{"a denial from nowhere", []decision.Finding{denied(line(3)), finding(77)}, 0, false},
		{"a denial beside budgets that have room", []decision.Finding{denied(line(3)), denied(decision.BudgetLine{Remaining: 1})}, 0, false},
		{"a budget for life", []decision.Finding{denied(line(3), lifetime)}, 0, false},
		{"more than the whole budget", []decision.Finding{denied(line(3), never)}, 0, false},
	}
	for _, test := range tests {
		d := decision.Decision{Findings: test.findings}
		if got, ok := d.RetryAfter(at); got != test.want || ok != test.ok {
			t.Errorf("%s: got %v, %v, want %v, %v", test.name, got, ok, test.want, test.ok)
		}
	}
}

func TestRequestable(t *testing.T) {
	ticket := func(policy string) decision.Reason {
		return decision.Reason{Code: "policy.ticket_required", Policy: policy, Lift: "Have a ticket approved.", Requestable: true}
	}
	other := decision.Reason{Code: "policy.forbid", Policy: "f", Lift: "Nothing."}
	told := decision.Reason{Code: "policy.permit", Policy: "q"}
	denied := func(reasons ...decision.Reason) decision.Finding { return decision.Finding{Reasons: reasons} }
	tests := []struct {
		name     string
		findings []decision.Finding
		want     []string
	}{
		{"an allow", []decision.Finding{{Verdict: decision.Permit, Reasons: []decision.Reason{ticket("p")}}}, nil},
		{"one policy", []decision.Finding{denied(ticket("p"))}, []string{"p"}},
		{"two policies", []decision.Finding{denied(ticket("p"), told, ticket("q"))}, []string{"p", "q"}},
		{"a wrong ticket and a policy", []decision.Finding{denied(ticket("")), denied(ticket("p"))}, []string{"p"}},
		{"a wrong ticket alone", []decision.Finding{denied(ticket(""))}, nil},
		{"another forbid", []decision.Finding{denied(ticket("p"), other)}, nil},
		{"another stage", []decision.Finding{denied(ticket("p")), denied(other)}, nil},
		{"another stage before", []decision.Finding{denied(other), denied(ticket("p"))}, nil},
		{"a stage that says nothing", []decision.Finding{denied(ticket("p")), denied()}, nil},
		{"a verdict from nowhere", []decision.Finding{denied(ticket("p")), {Verdict: 9, Reasons: []decision.Reason{other}}}, nil},
		{"what permits does not count", []decision.Finding{denied(ticket("p")), {Verdict: decision.Permit, Reasons: []decision.Reason{other}}}, []string{"p"}},
	}
	for _, test := range tests {
		d := decision.Decision{Findings: test.findings}
		if diff := cmp.Diff(test.want, d.Requestable(), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}
