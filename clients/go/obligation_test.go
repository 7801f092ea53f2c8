package writ_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	writ "github.com/writpdp/writ/clients/go"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

const (
	list    = writv1.Phase_PHASE_LIST
	prompt  = writv1.Phase_PHASE_PROMPT
	call    = writv1.Phase_PHASE_CALL
	result  = writv1.Phase_PHASE_RESULT
	connect = writv1.Phase_PHASE_CONNECT
)

// attempt is what became of one action behind the client.
type attempt struct {
	ran       bool
	permitted writ.Permitted
	result    writ.Result
	tools     []writ.Tool
	err       error
	report    *writv1.SettleRequest // on the decision with the obligation
}

// act asks in a phase whose answer has the obligations, with an action that
// returns a document of 14 bytes.
func act(t *testing.T, phase writv1.Phase, cfg writ.Config, obligations ...*writv1.Obligation) attempt {
	t.Helper()
	p := &pdp{decide: func(_ int, req *writv1.DecideRequest) (*writv1.DecideResponse, error) {
		if req.GetPhase() == phase {
			return allow(req, obligations...), nil
		}
		return allow(req), nil
	}}
	c := client(t, p, cfg)
	question := writ.Call{Purpose: "support", Arguments: json.RawMessage(`{"a":{"b":"value"}}`), Destination: writ.Destination{Host: "api.anthropic.com"}}
	var a attempt
	next := func(_ context.Context, permitted writ.Permitted) (writ.Result, error) {
		a.ran, a.permitted = true, permitted
		permitted.Dial(net.Dialer{})
		return jsonResult(`{"a":"answer"}`), nil
	}
	switch phase {
	case list:
		a.tools, a.err = c.FilterTools(t.Context(), question, []writ.Tool{{Server: "s", Name: "one"}, {Server: "s", Name: "two"}})
	case prompt:
		question.Content = writ.Content{Data: []byte(`{"messages":["hello"]}`)}
		a.result, a.err = c.EnforcePrompt(t.Context(), question, next)
	case connect:
		a.result, a.err = c.EnforceConnect(t.Context(), question, next)
	default:
		question.Tool = writ.Tool{Server: "s", Name: "one", Digest: digest}
		a.result, a.err = c.Enforce(t.Context(), question, next)
	}
	a.report = p.outcomes()[decisionID(phase)]
	return a
}

// able is a client with all handlers, which count their calls.
func able(handled *int) writ.Config {
	return writ.Config{Handlers: writ.Handlers{
		Notify: func(context.Context, writ.Call, writ.Notify) error { *handled++; return nil },
		StepUp: func(context.Context, writ.Call, writ.StepUp) error { *handled++; return nil },
		Watermark: func(_ context.Context, _ writ.Call, w writ.Watermark) (writ.Marker, error) {
			*handled++
			return func(c writ.Content) (writ.Content, error) {
				c.Data = append(bytes.Clone(c.Data), " ("+w.Text+")"...)
				return c, nil
			}, nil
		},
	}}
}

// TestEveryObligationInEveryPhase says where each obligation can be met. Where
// it cannot, nothing runs or goes on.
func TestEveryObligationInEveryPhase(t *testing.T) {
	arguments, content := writv1.Target_TARGET_ARGUMENTS, writv1.Target_TARGET_CONTENT
	tests := []struct {
		name       string
		obligation *writv1.Obligation
		met        []writv1.Phase
		check      func(attempt) (got, want any)
	}{
		{"redact arguments", redact(arguments, "/a/b"), []writv1.Phase{call, connect},
			func(a attempt) (any, any) { return string(a.permitted.Arguments), `{"a":{"b":"[redacted]"}}` }},
		{"redact content", redact(content, ""), []writv1.Phase{prompt, result},
			func(a attempt) (any, any) {
				if a.report.GetDecisionId() == decisionID(prompt) {
					return string(a.permitted.Content.Data), `"[redacted]"`
				}
				return string(a.result.Content.Data), `"[redacted]"`
			}},
		{"route", route("eu.anthropic.com"), []writv1.Phase{prompt, call, connect},
			func(a attempt) (any, any) {
				return a.permitted.Destination, writ.Destination{Host: "eu.anthropic.com", Vendor: "anthropic", Region: "eu"}
			}},
		{"filter_tools", filter(1), []writv1.Phase{list},
			func(a attempt) (any, any) { return a.tools, []writ.Tool{{Server: "s", Name: "two"}} }},
		{"limit_output", limit(14), []writv1.Phase{prompt, call, result, connect},
			func(a attempt) (any, any) { return string(a.result.Content.Data), `{"a":"answer"}` }},
		{"notify", notify(), []writv1.Phase{list, prompt, call, result, connect}, nil},
		{"step_up", stepUp(), []writv1.Phase{list, prompt, call, result, connect}, nil},
		{"watermark", watermark(), []writv1.Phase{prompt, call, result, connect},
			func(a attempt) (any, any) { return string(a.result.Content.Data), `{"a":"answer"} (generated)` }},
		{"delay", delay(1), []writv1.Phase{list, prompt, call, result, connect},
			func(attempt) (any, any) { return nil, nil }},
		{"pin", pin(), []writv1.Phase{connect}, func(attempt) (any, any) { return nil, nil }},
		{"unknown", unknown(), nil, nil},
	}
	for _, test := range tests {
		for _, phase := range []writv1.Phase{list, prompt, call, result, connect} {
			t.Run(test.name+" in "+phase.String(), func(t *testing.T) {
				handled := 0
				a := act(t, phase, able(&handled), test.obligation)
				possible := false
				for _, m := range test.met {
					possible = possible || m == phase
				}
				if !possible {
					checkRefused(t, phase, a)
					return
				}
				if a.err != nil {
					t.Fatal(a.err)
				}
				if o := a.report.GetOutcome(); o != writv1.Outcome_OUTCOME_SUCCEEDED || !a.report.GetObligations()[0].GetMet() {
					t.Errorf("got the report %v", a.report)
				}
				if test.check != nil {
					if got, want := test.check(a); cmp.Diff(want, got) != "" {
						t.Errorf("got %v, want %v", got, want)
					}
				} else if handled != 1 {
					t.Errorf("got %d calls of the handler, want 1", handled)
				}
			})
		}
	}
}

// checkRefused checks that an answer that cannot be met was as good as a denial,
// and that Writ was told.
func checkRefused(t *testing.T, phase writv1.Phase, a attempt) {
	t.Helper()
	var unmet *writ.Unmet
	var broken *writ.BrokenAnswer
	if !errors.As(a.err, &unmet) && !errors.As(a.err, &broken) {
		t.Errorf("got the error %v", a.err)
	}
	if a.ran != (phase == result) || a.tools != nil || a.result.Content.Data != nil {
		t.Errorf("ran: %v, tools: %v, result: %s", a.ran, a.tools, a.result.Content.Data)
	}
	if got := a.report.GetOutcome(); got != writv1.Outcome_OUTCOME_NOT_RUN {
		t.Errorf("got the outcome %v, want NOT_RUN", got)
	}
	if (phase == result) != errors.Is(a.err, writ.ErrWithheld) {
		t.Errorf("got the error %v", a.err)
	}
}

func TestHandlersDecideWhatIsSupported(t *testing.T) {
	p := &pdp{}
	handled := 0
	c := client(t, p, able(&handled))
	if _, err := c.Decide(t.Context(), writ.Call{Phase: writ.PhaseCall}); err != nil {
		t.Fatal(err)
	}
	want := []string{"redact", "route", "filter_tools", "limit_output", "delay", "pin", "notify", "step_up", "watermark"}
	if diff := cmp.Diff(want, p.questions()[0].GetSupportedObligations()); diff != "" {
		t.Errorf("supported obligations (-want +got):\n%s", diff)
	}
	for _, o := range []*writv1.Obligation{notify(), stepUp(), watermark()} {
		checkRefused(t, call, act(t, call, writ.Config{}, o))
	}
}

func TestAHandlersErrorDenies(t *testing.T) {
	boom := errors.New("boom")
	cfg := writ.Config{Handlers: writ.Handlers{
		Notify:    func(context.Context, writ.Call, writ.Notify) error { return boom },
		StepUp:    func(context.Context, writ.Call, writ.StepUp) error { return boom },
		Watermark: func(context.Context, writ.Call, writ.Watermark) (writ.Marker, error) { return nil, boom },
	}}
	for _, o := range []*writv1.Obligation{notify(), stepUp(), watermark()} {
		for _, phase := range []writv1.Phase{call, result, prompt, connect} {
			a := act(t, phase, cfg, o)
			checkRefused(t, phase, a)
			if !errors.Is(a.err, boom) || a.report.GetObligations()[0].GetMet() {
				t.Errorf("%s in %s: got %v, report %v", o.GetType(), phase, a.err, a.report)
			}
		}
	}
	cfg.Handlers.Watermark = func(context.Context, writ.Call, writ.Watermark) (writ.Marker, error) { return nil, nil }
	checkRefused(t, call, act(t, call, cfg, watermark()))
}

func TestNobodyIsNotifiedOfWhatCannotBe(t *testing.T) {
	handled := 0
	checkRefused(t, call, act(t, call, able(&handled), notify(), redact(writv1.Target_TARGET_ARGUMENTS, "/nothing/here")))
	if handled != 0 {
		t.Errorf("got %d calls of a handler, want 0", handled)
	}
}

func TestAFailingMarkerWithholds(t *testing.T) {
	boom := errors.New("boom")
	cfg := writ.Config{Handlers: writ.Handlers{Watermark: func(context.Context, writ.Call, writ.Watermark) (writ.Marker, error) {
		return func(c writ.Content) (writ.Content, error) { return c, boom }, nil
	}}}
	a := act(t, prompt, cfg, watermark())
	if !errors.Is(a.err, boom) || !errors.Is(a.err, writ.ErrWithheld) || a.result.Content.Data != nil {
		t.Errorf("got %s, %v", a.result.Content.Data, a.err)
	}
	if a.report.GetOutcome() != writv1.Outcome_OUTCOME_SUCCEEDED || a.report.GetObligations()[0].GetMet() {
		t.Errorf("got the report %v", a.report)
	}
}

func TestTheSameMarkOfCallAndResultIsOne(t *testing.T) {
	p := &pdp{decide: func(_ int, req *writv1.DecideRequest) (*writv1.DecideResponse, error) {
		return allow(req, watermark()), nil
	}}
	handled := 0
	c := client(t, p, able(&handled))
	got, err := c.Enforce(t.Context(), refund(), returns(new(int), jsonResult(`{}`), nil))
	if err != nil || string(got.Content.Data) != `{} (generated)` {
		t.Errorf("got %s, %v", got.Content.Data, err)
	}
	for phase, r := range p.outcomes() {
		if !r.GetObligations()[0].GetMet() {
			t.Errorf("the mark of %s is not reported as put", phase)
		}
	}
}

func TestLimitOutput(t *testing.T) {
	handled := 0
	tests := []struct {
		name        string
		phase       writv1.Phase
		obligations []*writv1.Obligation
	}{
		{"of the call", call, []*writv1.Obligation{limit(13)}},
		{"of the result", result, []*writv1.Obligation{limit(13)}},
		{"of a prompt's answer", prompt, []*writv1.Obligation{limit(13)}},
		{"after redaction", result, []*writv1.Obligation{limit(14), redact(writv1.Target_TARGET_CONTENT, "/a")}},
		{"after marking", call, []*writv1.Obligation{watermark(), limit(14)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := act(t, test.phase, able(&handled), test.obligations...)
			var unmet *writ.Unmet
			if !errors.As(a.err, &unmet) || !errors.Is(a.err, writ.ErrWithheld) || a.result.Content.Data != nil {
				t.Fatalf("got %s, %v", a.result.Content.Data, a.err)
			}
			if unmet.Obligation.ID != "limit_output-1" || unmet.DecisionID != decisionID(test.phase) {
				t.Errorf("got %+v", unmet)
			}
		})
	}
	tighter := limit(13)
	tighter.Id = "limit_output-2"
	if a := act(t, call, writ.Config{}, limit(14), tighter); !errors.Is(a.err, writ.ErrWithheld) || a.permitted.MaxOutput != 13 {
		t.Errorf("got %v and the limit %d, want the tighter one", a.err, a.permitted.MaxOutput)
	}
}

func TestRoute(t *testing.T) {
	p := &pdp{decide: func(_ int, req *writv1.DecideRequest) (*writv1.DecideResponse, error) {
		resp := allow(req, route("eu.anthropic.com"))
		resp.Effect = writv1.Effect_EFFECT_ROUTE
		return resp, nil
	}}
	c := client(t, p, writ.Config{})
	question, runs := refund(), 0
	question.Destination = writ.Destination{Host: "api.anthropic.com"}
	if _, err := c.Enforce(t.Context(), question, returns(&runs, jsonResult(`{}`), nil)); err != nil || runs != 1 {
		t.Errorf("a route that the result repeats: got %v and %d runs", err, runs)
	}
	question.Destination = writ.Destination{}
	var unmet *writ.Unmet
	if _, err := c.Enforce(t.Context(), question, returns(&runs, jsonResult(`{}`), nil)); !errors.As(err, &unmet) || runs != 1 {
		t.Errorf("a route without a destination: got %v and %d runs", err, runs)
	}
	other := route("us.anthropic.com")
	other.Id = "route-2"
	checkRefused(t, call, act(t, call, writ.Config{}, route("eu.anthropic.com"), other))
}

// A delay keeps the action waiting, and whoever gives up waiting meets nothing.
func TestDelay(t *testing.T) {
	p := &pdp{decide: func(_ int, req *writv1.DecideRequest) (*writv1.DecideResponse, error) {
		return allow(req, delay(40)), nil
	}}
	c := client(t, p, writ.Config{})
	began, runs := time.Now(), 0
	next := returns(&runs, jsonResult(`{}`), nil)
	if _, err := c.Enforce(t.Context(), refund(), next); err != nil || runs != 1 {
		t.Fatalf("%d runs: %v", runs, err)
	}
	if waited := time.Since(began); waited < 40*time.Millisecond {
		t.Errorf("it waited %s", waited)
	}
	p.decide = func(_ int, req *writv1.DecideRequest) (*writv1.DecideResponse, error) {
		return allow(req, delay(time.Hour.Milliseconds())), nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	var unmet *writ.Unmet
	if _, err := c.Enforce(ctx, refund(), next); !errors.As(err, &unmet) || runs != 1 {
		t.Errorf("%d runs: %v", runs, err)
	}
	for _, millis := range []int64{0, -1, 8 * 24 * time.Hour.Milliseconds()} {
		p.decide = func(_ int, req *writv1.DecideRequest) (*writv1.DecideResponse, error) {
			return allow(req, delay(millis)), nil
		}
		if _, err := c.Enforce(t.Context(), refund(), next); err == nil || runs != 1 {
			t.Errorf("a delay of %d ms: %d runs, %v", millis, runs, err)
		}
	}
}
