package writ_test

import (
	"errors"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	writ "github.com/writpdp/writ/clients/go"
	"github.com/writpdp/writ/document"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

func TestDecideReadsTheWholeAnswer(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	hash := make([]byte, 32)
	hash[0] = 7
	p := &pdp{decide: func(_ int, req *writv1.DecideRequest) (*writv1.DecideResponse, error) {
		removal := redact(writv1.Target_TARGET_CONTENT, "/b")
		removal.Id, removal.PolicyId = "redact-2", "p"
		removal.GetRedact().GetEdits()[0].Method = writv1.Method_METHOD_REMOVE
		resp := allow(req, redact(writv1.Target_TARGET_ARGUMENTS, "/a"), removal, route("eu.example.com"), filter(0, 3), limit(9), notify(), stepUp(), watermark())
		resp.Effect, resp.Replayed, resp.BundleDigest, resp.BundleCommit = writv1.Effect_EFFECT_ROUTE, true, digest, digest
		resp.Reasons = []*writv1.Reason{{Stage: "s", Code: "c", Text: "t", PolicyId: "p", Lift: "l"}}
		resp.Budgets = []*writv1.BudgetLine{{Budget: "b", Unit: writv1.Unit_UNIT_MICROS, Currency: "EUR", Reserved: 1, Remaining: 2, Cap: 3,
			ResetsAt: timestamppb.New(at), Exhausted: true, Overrun: 4}, {Budget: "later", Unit: 9}}
		resp.RetryAfter = durationpb.New(time.Minute)
		resp.Receipt = &writv1.Receipt{RecordId: resp.DecisionId, LeafHash: hash, LogOrigin: "writ.example/log", LogSize: 12}
		resp.AccessRequest = &writv1.AccessRequest{Type: "ticket", Principal: "a", Tool: "s/t", DefinitionDigest: "d", ArgumentsDigest: "e", PolicyIds: []string{"p"}, Text: "x"}
		return resp, nil
	}}
	c := client(t, p, writ.Config{})
	got, err := c.Decide(t.Context(), writ.Call{Phase: writ.PhaseCall})
	if err != nil {
		t.Fatal(err)
	}
	want := writ.Decision{
		ID: decisionID(call), Effect: writ.EffectRoute, Bundle: digest, Commit: digest, Replayed: true, RetryAfter: time.Minute,
		Reasons: []writ.Reason{{Stage: "s", Code: "c", Text: "t", Policy: "p", Lift: "l"}},
		Obligations: []writ.Obligation{
			{ID: "redact-1", Duty: writ.Redact{Edits: []document.Edit{{Pointer: "/a"}}}},
			{ID: "redact-2", Policy: "p", Duty: writ.Redact{Content: true, Edits: []document.Edit{{Pointer: "/b", Method: document.Removed}}}},
			{ID: "route-1", Duty: writ.Route{Vendor: "anthropic", Region: "eu", Host: "eu.example.com"}},
			{ID: "filter_tools-1", Duty: writ.FilterTools{Keep: []int{0, 3}}},
			{ID: "limit_output-1", Duty: writ.LimitOutput{MaxBytes: 9}},
			{ID: "notify-1", Duty: writ.Notify{To: "security-oncall", Body: "A refund."}},
			{ID: "step_up-1", Duty: writ.StepUp{ACRValue: "urn:example:loa:3"}},
			{ID: "watermark-1", Duty: writ.Watermark{Text: "generated"}},
		},
		Budgets: []writ.BudgetLine{{Budget: "b", Unit: writ.UnitMicros, Currency: "EUR", Reserved: 1, Remaining: 2, Cap: 3, Resets: at, Exhausted: true, Overrun: 4},
			{Budget: "later"}},
		Receipt:       &writ.Receipt{RecordID: decisionID(call), LeafHash: hash, LogOrigin: "writ.example/log", LogSize: 12},
		AccessRequest: &writ.AccessRequest{Type: "ticket", Principal: "a", Tool: "s/t", DefinitionDigest: "d", ArgumentsDigest: "e", Policies: []string{"p"}, Text: "x"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("decision (-want +got):\n%s", diff)
	}
}

func TestDecideSendsTheWholeQuestion(t *testing.T) {
	p := &pdp{}
	c := client(t, p, writ.Config{})
	question := refund()
	question.Phase = writ.PhaseResult
	question.CallDecisionID = decisionID(call)
	question.Destination = writ.Destination{Host: "h", Vendor: "v", Region: "r"}
	question.Content = writ.Content{Data: []byte(`{}`)}
	if _, err := c.Decide(t.Context(), question); err != nil {
		t.Fatal(err)
	}
	got := p.questions()[0]
	if !regexp.MustCompile("^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$").MatchString(got.GetRequestId()) {
		t.Errorf("the request id is %q", got.GetRequestId())
	}
	want := &writv1.DecideRequest{
		RequestId: got.GetRequestId(), Phase: result, PrincipalToken: "token-1", SessionId: "run-7", PlanDepth: 2, Purpose: "support",
		Tool:      &writv1.Tool{Server: "stripe", Name: "create_refund", DefinitionDigest: digest},
		Arguments: refund().Arguments, Resource: &writv1.Resource{Type: "Payment", Id: "pi_1", Properties: []byte(`{"disputed":false}`)},
		Destination: &writv1.Destination{Host: "h", Vendor: "v", Region: "r"}, TicketId: "CHG-1",
		Cost:    &writv1.Cost{Tokens: 10, Micros: 5, Currency: "EUR"},
		Content: &writv1.Content{MediaType: "application/json", Data: []byte(`{}`)}, CallDecisionId: decisionID(call),
		Context: []byte(`{"amountLimit":10}`), SupportedObligations: []string{"redact", "route", "filter_tools", "limit_output", "delay", "pin"},
		Trace: &writv1.TraceContext{Traceparent: refund().Trace.Parent},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("question (-want +got):\n%s", diff)
	}
}

func TestDecideDenied(t *testing.T) {
	for _, effect := range []writv1.Effect{writv1.Effect_EFFECT_DENY, writv1.Effect_EFFECT_UNSPECIFIED} {
		p := &pdp{decide: broken(func(r *writv1.DecideResponse) { r.Effect = effect })}
		c := client(t, p, writ.Config{})
		d, err := c.Decide(t.Context(), writ.Call{Phase: writ.PhaseCall})
		if err != nil || d.Allowed() || d.Effect != writ.EffectDeny || d.ID == "" {
			t.Errorf("%v: got %+v, %v", effect, d, err)
		}
	}
	if (writ.Decision{}).Allowed() || (writ.Decision{Effect: 9}).Allowed() {
		t.Error("a decision without a known effect allows")
	}
}

func TestCallsThatCannotBeAsked(t *testing.T) {
	tests := []struct {
		name string
		call writ.Call
	}{
		{"no phase", writ.Call{}},
		{"an unknown phase", writ.Call{Phase: 9}},
		{"a definition that is no JSON", writ.Call{Phase: writ.PhaseCall, Tool: writ.Tool{Server: "s", Name: "t", Definition: []byte("{")}}},
		{"a definition of another digest", writ.Call{Phase: writ.PhaseCall, Tool: writ.Tool{Server: "s", Name: "t", Definition: []byte("{}"), Digest: digest}}},
		{"a candidate's definition", writ.Call{Phase: writ.PhaseList, Candidates: []writ.Tool{{Server: "s", Name: "t", Definition: []byte("[]")}}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := &pdp{}
			c := client(t, p, writ.Config{})
			if d, err := c.Decide(t.Context(), test.call); err == nil || d.Allowed() || len(p.questions()) != 0 {
				t.Errorf("got %v, %v after %d questions", d.Effect, err, len(p.questions()))
			}
		})
	}
	c := client(t, &pdp{}, writ.Config{})
	definition := []byte(`{"name":"t","_meta":{"n":1}}`)
	known, err := document.ToolDigest([]byte(`{"name":"t"}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Decide(t.Context(), writ.Call{Phase: writ.PhaseCall, Tool: writ.Tool{Server: "s", Name: "t", Definition: definition, Digest: known}}); err != nil {
		t.Errorf("a definition with its digest: %v", err)
	}
}

func TestDeniedSaysWhy(t *testing.T) {
	tests := []struct {
		reasons []writ.Reason
		want    string
	}{
		{nil, "writ denied the CALL without a reason"},
		{[]writ.Reason{{Text: "No."}}, "No."},
		{[]writ.Reason{{Code: "policy.forbid"}}, "policy.forbid"},
		{[]writ.Reason{{Text: "Some policy permits it."}, {Text: "The budget is used up.", Lift: "Wait."}}, "The budget is used up. Wait."},
	}
	for _, test := range tests {
		err := error(&writ.Denied{Phase: writ.PhaseCall, Decision: writ.Decision{Reasons: test.reasons}})
		if got := err.Error(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

func TestSettleRefusesABrokenAnswer(t *testing.T) {
	for name, resp := range map[string]*writv1.SettleResponse{
		"no id":          {},
		"half a receipt": {SettlementId: settlementID, Receipt: &writv1.Receipt{RecordId: settlementID}},
	} {
		c, err := writ.New(writ.Config{Conn: settled{resp: resp}})
		if err != nil {
			t.Fatal(err)
		}
		var answer *writ.BrokenAnswer
		if _, err := c.Settle(t.Context(), writ.Report{}); !errors.As(err, &answer) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
