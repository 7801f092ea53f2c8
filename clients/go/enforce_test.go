package writ_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	writ "github.com/writpdp/writ/clients/go"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

const digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

func refund() writ.Call {
	return writ.Call{
		Session: "run-7", Depth: 2, Purpose: "support",
		Tool:      writ.Tool{Server: "stripe", Name: "create_refund", Digest: digest},
		Arguments: json.RawMessage(`{"amount": 1000, "email": "a@example.com"}`),
		Resource:  writ.Resource{Type: "Payment", ID: "pi_1", Properties: json.RawMessage(`{"disputed":false}`)},
		Ticket:    "CHG-1", Cost: writ.Cost{Tokens: 10, Micros: 5, Currency: "EUR"},
		Context: json.RawMessage(`{"amountLimit":10}`),
		Trace:   writ.Trace{Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
	}
}

func jsonResult(data string) writ.Result {
	return writ.Result{Content: writ.Content{MediaType: writ.MediaJSON, Data: []byte(data)}}
}

// returns is a next function that counts its runs.
func returns(runs *int, r writ.Result, err error) writ.Next {
	return func(context.Context, writ.Permitted) (writ.Result, error) {
		*runs++
		return r, err
	}
}

func TestEnforceAsksRunsAsksAndSettles(t *testing.T) {
	p := &pdp{decide: func(_ int, req *writv1.DecideRequest) (*writv1.DecideResponse, error) {
		if req.GetPhase() == writv1.Phase_PHASE_CALL {
			return allow(req, redact(writv1.Target_TARGET_ARGUMENTS, "/email")), nil
		}
		return allow(req, redact(writv1.Target_TARGET_CONTENT, "/content/0/text")), nil
	}}
	c := client(t, p, writ.Config{})
	var ran writ.Permitted
	result := jsonResult(`{"content":[{"type":"text","text":"secret"}]}`)
	result.Cost = writ.Cost{Tokens: 4}
	got, err := c.Enforce(t.Context(), refund(), func(_ context.Context, p writ.Permitted) (writ.Result, error) {
		ran = p
		for i := range p.Arguments { // what next does to its copy must not reach the second question
			p.Arguments[i] = 'x'
		}
		return result, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"content":[{"text":"[redacted]","type":"text"}]}`; string(got.Content.Data) != want {
		t.Errorf("result: got %s, want %s", got.Content.Data, want)
	}
	if ran.Decision.ID != decisionID(writv1.Phase_PHASE_CALL) || ran.Decision.Effect != writ.EffectAllow {
		t.Errorf("next got the decision %+v", ran.Decision)
	}

	asked := p.questions()
	if len(asked) != 2 {
		t.Fatalf("got %d questions, want 2", len(asked))
	}
	want := proto.Clone(asked[0]).(*writv1.DecideRequest)
	want.Phase, want.CallDecisionId = writv1.Phase_PHASE_RESULT, decisionID(writv1.Phase_PHASE_CALL)
	want.Content = &writv1.Content{MediaType: writ.MediaJSON, Data: result.Content.Data}
	if diff := cmp.Diff(want, asked[1], protocmp.Transform(), protocmp.IgnoreFields(want, "request_id", "principal_token")); diff != "" {
		t.Errorf("the question about the result differs from the call's (-want +got):\n%s", diff)
	}
	if asked[0].GetRequestId() == asked[1].GetRequestId() || asked[0].GetPrincipalToken() == asked[1].GetPrincipalToken() {
		t.Error("the second question used the first one's id or token")
	}
	if string(asked[1].GetArguments()) != string(refund().Arguments) {
		t.Errorf("the second question has the arguments %s", asked[1].GetArguments())
	}
	if diff := cmp.Diff([]string{"redact", "route", "filter_tools", "limit_output", "delay", "pin"}, asked[0].GetSupportedObligations()); diff != "" {
		t.Errorf("supported obligations (-want +got):\n%s", diff)
	}

	wantReports := map[string]*writv1.SettleRequest{
		decisionID(writv1.Phase_PHASE_CALL): {DecisionId: decisionID(writv1.Phase_PHASE_CALL), Outcome: writv1.Outcome_OUTCOME_SUCCEEDED,
			Actual: &writv1.Cost{Calls: 1, Tokens: 4}, Obligations: []*writv1.ObligationReport{{Id: "redact-1", Met: true}}},
		decisionID(writv1.Phase_PHASE_RESULT): {DecisionId: decisionID(writv1.Phase_PHASE_RESULT), Outcome: writv1.Outcome_OUTCOME_SUCCEEDED,
			Obligations: []*writv1.ObligationReport{{Id: "redact-1", Met: true}}},
	}
	if diff := cmp.Diff(wantReports, p.outcomes(), protocmp.Transform()); diff != "" {
		t.Errorf("reports (-want +got):\n%s", diff)
	}
}

func TestEnforceSkipResult(t *testing.T) {
	p := &pdp{}
	c := client(t, p, writ.Config{})
	call, runs := refund(), 0
	call.SkipResult = true
	got, err := c.Enforce(t.Context(), call, returns(&runs, jsonResult(`{"a":1}`), nil))
	if err != nil || string(got.Content.Data) != `{"a":1}` {
		t.Fatalf("got %s, %v", got.Content.Data, err)
	}
	if n := len(p.questions()); n != 1 {
		t.Errorf("got %d questions, want 1", n)
	}
}

func TestDenied(t *testing.T) {
	p := &pdp{decide: func(_ int, req *writv1.DecideRequest) (*writv1.DecideResponse, error) {
		resp := deny(req, "The budget is used up.", "Wait until noon.")
		resp.RetryAfter = durationpb.New(90 * time.Second)
		resp.AccessRequest = &writv1.AccessRequest{Type: "ticket", Principal: "agent", PolicyIds: []string{"p"}}
		resp.Obligations = []*writv1.Obligation{unknown()} // of no account in a denial
		return resp, nil
	}}
	c := client(t, p, writ.Config{})
	runs := 0
	_, err := c.Enforce(t.Context(), refund(), returns(&runs, writ.Result{}, nil))
	var denied *writ.Denied
	if !errors.As(err, &denied) || runs != 0 {
		t.Fatalf("got %v and %d runs", err, runs)
	}
	if got, want := denied.Error(), "The budget is used up. Wait until noon."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if denied.Phase != writ.PhaseCall || denied.RetryAfter != 90*time.Second || denied.AccessRequest.Policies[0] != "p" || len(denied.Reasons) != 2 {
		t.Errorf("got %+v", denied)
	}
	if n := len(p.outcomes()); n != 0 {
		t.Errorf("a denial was settled %d times", n)
	}
}

func TestDeniedResultIsNeverReturned(t *testing.T) {
	p := &pdp{decide: func(_ int, req *writv1.DecideRequest) (*writv1.DecideResponse, error) {
		if req.GetPhase() == writv1.Phase_PHASE_RESULT {
			return deny(req, "The result holds a secret.", "Nothing."), nil
		}
		return allow(req), nil
	}}
	c := client(t, p, writ.Config{})
	runs := 0
	got, err := c.Enforce(t.Context(), refund(), returns(&runs, jsonResult(`{"secret":1}`), nil))
	var denied *writ.Denied
	if !errors.As(err, &denied) || denied.Phase != writ.PhaseResult || !errors.Is(err, writ.ErrWithheld) {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(writ.Result{}, got); diff != "" || runs != 1 {
		t.Errorf("got %s after %d runs", diff, runs)
	}
	reports := p.outcomes()
	if got := reports[decisionID(writv1.Phase_PHASE_CALL)].GetOutcome(); got != writv1.Outcome_OUTCOME_SUCCEEDED || len(reports) != 1 {
		t.Errorf("got the outcome %v of %d", got, len(reports))
	}
}

func TestOutcomes(t *testing.T) {
	boom := errors.New("boom")
	tests := []struct {
		name   string
		result writ.Result
		err    error
		want   writv1.Outcome
		cost   *writv1.Cost
	}{
		{"success", jsonResult(`{}`), nil, writv1.Outcome_OUTCOME_SUCCEEDED, nil},
		{"an empty result", writ.Result{}, nil, writv1.Outcome_OUTCOME_SUCCEEDED, nil},
		{"its cost", writ.Result{Cost: writ.Cost{Calls: 3, Micros: 7, Currency: "EUR"}}, nil, writv1.Outcome_OUTCOME_SUCCEEDED, &writv1.Cost{Calls: 3, Micros: 7, Currency: "EUR"}},
		{"a failed result", writ.Result{Failed: true, Content: jsonResult(`{"isError":true}`).Content}, nil, writv1.Outcome_OUTCOME_FAILED, nil},
		{"an error", writ.Result{Cost: writ.Cost{Tokens: 2}}, boom, writv1.Outcome_OUTCOME_FAILED, &writv1.Cost{Calls: 1, Tokens: 2}},
		{"not run", writ.Result{Cost: writ.Cost{Tokens: 2}}, errors.Join(writ.ErrNotRun, boom), writv1.Outcome_OUTCOME_NOT_RUN, nil},
		{"unknown", writ.Result{}, errors.Join(writ.ErrUnknown, boom), writv1.Outcome_OUTCOME_UNKNOWN, nil},
		{"a deadline of its own", writ.Result{}, context.DeadlineExceeded, writv1.Outcome_OUTCOME_UNKNOWN, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := &pdp{}
			c := client(t, p, writ.Config{})
			runs := 0
			_, err := c.Enforce(t.Context(), refund(), returns(&runs, test.result, test.err))
			if !errors.Is(err, test.err) {
				t.Errorf("got the error %v, want %v", err, test.err)
			}
			report := p.outcomes()[decisionID(writv1.Phase_PHASE_CALL)]
			if report.GetOutcome() != test.want {
				t.Errorf("got %v, want %v", report.GetOutcome(), test.want)
			}
			if diff := cmp.Diff(test.cost, report.GetActual(), protocmp.Transform()); diff != "" {
				t.Errorf("cost (-want +got):\n%s", diff)
			}
			if asked := len(p.questions()); (test.err == nil) != (asked == 2) {
				t.Errorf("got %d questions", asked)
			}
		})
	}
}

func TestCancelledWhileRunning(t *testing.T) {
	p := &pdp{}
	c := client(t, p, writ.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := c.Enforce(ctx, refund(), func(ctx context.Context, _ writ.Permitted) (writ.Result, error) {
		cancel()
		<-ctx.Done()
		return writ.Result{}, errors.New("connection torn down")
	})
	if err == nil {
		t.Error("got no error")
	}
	if got := p.outcomes()[decisionID(writv1.Phase_PHASE_CALL)].GetOutcome(); got != writv1.Outcome_OUTCOME_UNKNOWN {
		t.Errorf("got %v, want UNKNOWN", got)
	}
}

func TestCancelledAfterRunning(t *testing.T) {
	p := &pdp{}
	c := client(t, p, writ.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	got, err := c.Enforce(ctx, refund(), func(context.Context, writ.Permitted) (writ.Result, error) {
		cancel()
		return jsonResult(`{"a":1}`), nil
	})
	if !errors.Is(err, writ.ErrWithheld) || !errors.Is(err, context.Canceled) || got.Content.Data != nil {
		t.Errorf("got %s, %v", got.Content.Data, err)
	}
	if got := p.outcomes()[decisionID(writv1.Phase_PHASE_CALL)].GetOutcome(); got != writv1.Outcome_OUTCOME_SUCCEEDED {
		t.Errorf("got %v, want SUCCEEDED", got)
	}
}

func TestCancelledBeforeRunning(t *testing.T) {
	p := &pdp{decide: func(_ int, req *writv1.DecideRequest) (*writv1.DecideResponse, error) {
		return allow(req, notify()), nil
	}}
	ctx, cancel := context.WithCancel(t.Context())
	c := client(t, p, writ.Config{Handlers: writ.Handlers{
		Notify: func(context.Context, writ.Call, writ.Notify) error { cancel(); return nil },
	}})
	runs := 0
	_, err := c.Enforce(ctx, refund(), returns(&runs, writ.Result{}, nil))
	if !errors.Is(err, context.Canceled) || runs != 0 {
		t.Errorf("got %v and %d runs", err, runs)
	}
	if got := p.outcomes()[decisionID(writv1.Phase_PHASE_CALL)].GetOutcome(); got != writv1.Outcome_OUTCOME_NOT_RUN {
		t.Errorf("got %v, want NOT_RUN", got)
	}
}

// caught runs f in a goroutine of its own, which it may end, and returns what it
// panicked with.
func caught(f func()) (value any) {
	var wg sync.WaitGroup
	wg.Go(func() {
		defer func() { value = recover() }()
		f()
	})
	wg.Wait()
	return value
}

func TestPanicContinuesAndIsSettled(t *testing.T) {
	tests := []struct {
		name string
		next writ.Next
		want any
	}{
		{"panic", func(context.Context, writ.Permitted) (writ.Result, error) { panic("boom") }, "boom"},
		{"the end of the goroutine", func(context.Context, writ.Permitted) (writ.Result, error) {
			runtime.Goexit()
			return writ.Result{}, nil
		}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := &pdp{}
			c := client(t, p, writ.Config{})
			if got := caught(func() { c.Enforce(t.Context(), refund(), test.next) }); got != test.want {
				t.Errorf("got the panic %v, want %v", got, test.want)
			}
			if got := p.outcomes()[decisionID(writv1.Phase_PHASE_CALL)].GetOutcome(); got != writv1.Outcome_OUTCOME_UNKNOWN {
				t.Errorf("got %v, want UNKNOWN", got)
			}
		})
	}
}

func TestPanicOfAHandlerIsSettledAsNotRun(t *testing.T) {
	p := &pdp{decide: func(_ int, req *writv1.DecideRequest) (*writv1.DecideResponse, error) {
		return allow(req, stepUp()), nil
	}}
	c := client(t, p, writ.Config{Handlers: writ.Handlers{StepUp: func(context.Context, writ.Call, writ.StepUp) error { panic("boom") }}})
	runs := 0
	if got := caught(func() { c.Enforce(t.Context(), refund(), returns(&runs, writ.Result{}, nil)) }); got != "boom" || runs != 0 {
		t.Errorf("got the panic %v and %d runs", got, runs)
	}
	if got := p.outcomes()[decisionID(writv1.Phase_PHASE_CALL)].GetOutcome(); got != writv1.Outcome_OUTCOME_NOT_RUN {
		t.Errorf("got %v, want NOT_RUN", got)
	}
}

func TestALostReportKeepsTheResult(t *testing.T) {
	p := &pdp{settle: func(context.Context, int, *writv1.SettleRequest) (*writv1.SettleResponse, error) {
		return nil, status.Error(codes.Internal, "a defect")
	}}
	var lost []writ.Report
	c := client(t, p, writ.Config{OnSettleError: func(r writ.Report, err error) {
		if status.Code(err) != codes.Internal {
			t.Errorf("got %v", err)
		}
		lost = append(lost, r)
	}})
	runs := 0
	got, err := c.Enforce(t.Context(), refund(), returns(&runs, jsonResult(`{"a":1}`), nil))
	if err != nil || string(got.Content.Data) != `{"a":1}` {
		t.Errorf("got %s, %v", got.Content.Data, err)
	}
	want := []writ.Report{{DecisionID: decisionID(writv1.Phase_PHASE_CALL), Outcome: writ.OutcomeSucceeded}}
	if diff := cmp.Diff(want, lost); diff != "" {
		t.Errorf("lost reports (-want +got):\n%s", diff)
	}

	p.settle = nil // the report can be sent again
	if _, err := c.Settle(t.Context(), lost[0]); err != nil || len(p.outcomes()) != 1 {
		t.Errorf("got %v and %d reports", err, len(p.outcomes()))
	}
}

func TestALostReportIsLoggedWithoutValues(t *testing.T) {
	var logged bytes.Buffer
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(&logged, nil)))
	p := &pdp{settle: func(context.Context, int, *writv1.SettleRequest) (*writv1.SettleResponse, error) {
		return nil, status.Error(codes.Internal, "hunter2")
	}}
	conn, stop := p.serve()
	defer stop()
	c, err := writ.New(writ.Config{Conn: conn, Token: tokens()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Enforce(t.Context(), refund(), returns(new(int), jsonResult(`{"a":"hunter2"}`), nil)); err != nil {
		t.Fatal(err)
	}
	got := logged.String()
	for _, want := range []string{"level=WARN", "outcome=SUCCEEDED", "code=Internal", decisionID(call)} {
		if !strings.Contains(got, want) {
			t.Errorf("the log lacks %q: %s", want, got)
		}
	}
	if strings.Contains(got, "hunter2") {
		t.Errorf("the log has a value: %s", got)
	}
}

func TestManyAtOnce(t *testing.T) {
	p := &pdp{decide: func(_ int, req *writv1.DecideRequest) (*writv1.DecideResponse, error) {
		if req.GetPhase() == writv1.Phase_PHASE_CALL {
			return allow(req, redact(writv1.Target_TARGET_ARGUMENTS, "/email"), notify()), nil
		}
		return allow(req), nil
	}}
	var told atomic.Int64
	c := client(t, p, writ.Config{Handlers: writ.Handlers{Notify: func(context.Context, writ.Call, writ.Notify) error { told.Add(1); return nil }}})
	call := refund()
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			_, err := c.Enforce(t.Context(), call, func(_ context.Context, p writ.Permitted) (writ.Result, error) {
				if strings.Contains(string(p.Arguments), "example.com") {
					t.Error("the arguments are not redacted")
				}
				return jsonResult(`{}`), nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	ids := map[string]bool{}
	for _, req := range p.questions() {
		ids[req.GetRequestId()] = true
	}
	if len(ids) != 64 || told.Load() != 32 {
		t.Errorf("got %d request ids, want 64, and %d notices, want 32", len(ids), told.Load())
	}
}
