package server_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// Explaining says what deciding would, and leaves everything as it was.
func TestExplain(t *testing.T) {
	p := open(t)
	p.cap("lists", decision.Calls, 1)
	at := p.serve(t)
	for _, request := range []*writv1.DecideRequest{p.forbidden(t), p.listing(t)} {
		before := p.books(t)
		for range 3 {
			_, err := at.Explain(t.Context(), &writv1.ExplainRequest{Request: request})
			must(t, err)
		}
		explained, err := at.Explain(t.Context(), &writv1.ExplainRequest{Request: request})
		must(t, err)
		if after := p.books(t); after != before {
			t.Fatalf("explaining changed the books from %+v to %+v", before, after)
		}
		if explained.Decision.Receipt != nil {
			t.Error("what has no record has a receipt")
		}
		// The token and the id are still good, and the budget has room.
		answer, err := at.Decide(t.Context(), request)
		must(t, err)
		ignore := protocmp.IgnoreFields(&writv1.DecideResponse{}, "decision_id", "receipt")
		if diff := cmp.Diff(explained.Decision, answer, protocmp.Transform(), ignore); diff != "" {
			t.Errorf("deciding (+) differs from explaining (-):\n%s", diff)
		}
	}
	p.verify(t)
}

func TestExplainNear(t *testing.T) {
	p := open(t)
	explained, err := p.Explain(t.Context(), gateway, &writv1.ExplainRequest{Request: p.forbidden(t)})
	must(t, err)
	if explained.Decision.Effect != writv1.Effect_EFFECT_DENY {
		t.Errorf("got %s", explained.Decision.Effect)
	}
	var stages []string
	for _, f := range explained.Findings {
		stages = append(stages, f.Stage+" "+strings.TrimPrefix(f.Verdict.String(), "VERDICT_"))
	}
	want := []string{"lock ABSTAIN", "token ABSTAIN", "purpose ABSTAIN", "tool ABSTAIN", "call ABSTAIN", "result ABSTAIN", "content ABSTAIN", "egress ABSTAIN", "session ABSTAIN", "ticket ABSTAIN", "policy DENY",
		"budget ABSTAIN", "route ABSTAIN", "list ABSTAIN", "comply ABSTAIN"}
	if diff := cmp.Diff(want, stages); diff != "" {
		t.Error(diff)
	}
	for _, near := range explained.Near {
		if near.PolicyId == "support-reads-files" {
			if near.Effect != "permit" || near.Clauses-near.Held != 1 || !strings.Contains(near.Failed, "context.args.path like") ||
				!strings.HasPrefix(near.Position, "cedar/support.cedar:") {
				t.Errorf("got %v", near)
			}
			if len(near.Saw) != 1 || near.Saw[0].Expression != "context.args.path" || near.Saw[0].Value != "(a string)" || !near.Saw[0].Masked {
				t.Errorf("it saw %v", near.Saw)
			}
			return
		}
	}
	t.Errorf("support-reads-files is not near: %v", explained.Near)
}

// Whatever a request holds that the bundle does not, an explanation shows none of
// it.
func TestExplainShowsNoSecrets(t *testing.T) {
	p := open(t)
	at := p.serve(t)
	for name, request := range map[string]*writv1.DecideRequest{
		"a path": p.call(t, "filesystem", "list_directory", `{"path":"/etc/`+canary+`"}`),
		"a refund": func() *writv1.DecideRequest {
			r := p.call(t, "stripe", "create_refund", `{"payment_intent":"`+canary+`","amount":9007199254740991}`)
			r.Context = []byte(`{"incident":"` + canary + `","amountLimit":1}`)
			r.Resource = &writv1.Resource{Type: "Payment", Id: canary, Properties: []byte(`{"currency":"` + canary + `","disputed":false}`)}
			return r
		}(),
		"an address": p.call(t, "stripe", "create_customer", `{"name":"`+canary+`","email":"`+canary+`"}`),
	} {
		request.SessionId = canary
		explained, err := at.Explain(t.Context(), &writv1.ExplainRequest{Request: request})
		must(t, err)
		if len(explained.Near) == 0 {
			t.Errorf("%s: nothing is explained", name)
		}
		text, err := protojson.Marshal(explained)
		must(t, err)
		if strings.Contains(string(text), canary) {
			t.Errorf("%s: %s", name, text)
		}
	}
}

func TestExplainReplayedToken(t *testing.T) {
	p := open(t)
	used := p.listing(t)
	p.decide(t, used, writv1.Effect_EFFECT_ALLOW)
	other := p.listing(t)
	other.PrincipalToken = used.PrincipalToken
	explained, err := p.Explain(t.Context(), gateway, &writv1.ExplainRequest{Request: other})
	must(t, err)
	if d := explained.Decision; d.Effect != writv1.Effect_EFFECT_DENY || d.Reasons[0].Code != "token.replayed" {
		t.Errorf("got %s %v", d.Effect, d.Reasons)
	}
}

func TestExplainRefuses(t *testing.T) {
	p := open(t)
	at := p.serve(t)
	_, err := at.Explain(t.Context(), &writv1.ExplainRequest{})
	if f := expect(t, err, codes.InvalidArgument, "FIELD_INVALID"); !strings.HasPrefix(f.Message, "request: ") {
		t.Errorf("the message is %q", f.Message)
	}
	broken := p.listing(t)
	broken.Arguments = []byte(`{"path":"` + canary)
	_, err = at.Explain(t.Context(), &writv1.ExplainRequest{Request: broken})
	expect(t, err, codes.InvalidArgument, "JSON_INVALID")
	secretive(t, err)
}
