package writ_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	writ "github.com/writpdp/writ/clients/go"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

func contains(err error, text string) bool { return strings.Contains(err.Error(), text) }

// broken changes an allow into something that must not be taken for one.
func broken(change func(*writv1.DecideResponse)) func(int, *writv1.DecideRequest) (*writv1.DecideResponse, error) {
	return func(_ int, req *writv1.DecideRequest) (*writv1.DecideResponse, error) {
		resp := allow(req)
		change(resp)
		return resp, nil
	}
}

func with(o *writv1.Obligation) func(*writv1.DecideResponse) {
	return func(r *writv1.DecideResponse) { r.Obligations = append(r.Obligations, o) }
}

// TestBrokenAnswers gives answers that are allows but for one thing.
func TestBrokenAnswers(t *testing.T) {
	late := &writv1.Notify{To: "x", Body: "y"}
	late.ProtoReflect().SetUnknown([]byte{0x98, 0x06, 0x01}) // field 99: a varint
	deep := redact(writv1.Target_TARGET_ARGUMENTS, "/a")
	deep.GetRedact().GetEdits()[0].ProtoReflect().SetUnknown([]byte{0x98, 0x06, 0x01})
	tests := []struct {
		name    string
		change  func(*writv1.DecideResponse)
		settled bool // it can have been an allow of this request
	}{
		{"no decision id", func(r *writv1.DecideResponse) { r.DecisionId = "" }, false},
		{"a decision id of another form", func(r *writv1.DecideResponse) { r.DecisionId = "{" + r.DecisionId + "}" }, false},
		{"no request id", func(r *writv1.DecideResponse) { r.RequestId = "" }, false},
		{"the answer to another request", func(r *writv1.DecideResponse) { r.RequestId = settlementID }, false},
		{"an unknown effect", func(r *writv1.DecideResponse) { r.Effect = 99 }, true},
		{"a negative effect", func(r *writv1.DecideResponse) { r.Effect = -1 }, true},
		{"redact without edits", func(r *writv1.DecideResponse) { r.Effect = writv1.Effect_EFFECT_REDACT }, true},
		{"route without a route", func(r *writv1.DecideResponse) { r.Effect = writv1.Effect_EFFECT_ROUTE }, true},
		{"an unknown obligation", with(unknown()), true},
		{"an empty obligation", with(&writv1.Obligation{}), true},
		{"an obligation without parameters", with(&writv1.Obligation{Id: "a", Type: "redact"}), true},
		{"an obligation without an id", with(&writv1.Obligation{Type: "notify", Params: notify().Params}), true},
		{"an obligation of another type", with(&writv1.Obligation{Id: "a", Type: "redact", Params: notify().Params}), true},
		{"two obligations of one id", func(r *writv1.DecideResponse) { r.Obligations = []*writv1.Obligation{limit(9), limit(9)} }, true},
		{"an obligation from a later version", with(&writv1.Obligation{Id: "a", Type: "notify", Params: &writv1.Obligation_Notify{Notify: late}}), true},
		{"an edit from a later version", with(deep), true},
		{"redact nothing", with(redact(writv1.Target_TARGET_ARGUMENTS)), true},
		{"redact an unknown target", with(redact(9, "/a")), true},
		{"redact by an unknown method", with(&writv1.Obligation{Id: "a", Type: "redact", Params: &writv1.Obligation_Redact{
			Redact: &writv1.Redact{Target: writv1.Target_TARGET_ARGUMENTS, Edits: []*writv1.Edit{{Pointer: "/a", Method: 9}}}}}), true},
		{"route to nowhere", with(route("")), true},
		{"route to more than a host", with(route("evil.example/path@")), true},
		{"an output of nothing", with(limit(0)), true},
		{"an output of less", with(limit(-1)), true},
		{"notify nobody", with(&writv1.Obligation{Id: "a", Type: "notify", Params: &writv1.Obligation_Notify{Notify: &writv1.Notify{Body: "b"}}}), true},
		{"step up to nothing", with(&writv1.Obligation{Id: "a", Type: "step_up", Params: &writv1.Obligation_StepUp{StepUp: &writv1.StepUp{}}}), true},
		{"an empty mark", with(&writv1.Obligation{Id: "a", Type: "watermark", Params: &writv1.Obligation_Watermark{Watermark: &writv1.Watermark{}}}), true},
		{"a filter out of order", with(filter(1, 0)), true},
		{"a receipt for another record", func(r *writv1.DecideResponse) {
			r.Receipt = &writv1.Receipt{RecordId: settlementID, LeafHash: make([]byte, 32)}
		}, true},
		{"half a receipt", func(r *writv1.DecideResponse) {
			r.Receipt = &writv1.Receipt{RecordId: r.GetDecisionId(), LeafHash: make([]byte, 31)}
		}, true},
		{"a time out of range", func(r *writv1.DecideResponse) { r.RetryAfter = &durationpb.Duration{Seconds: 1 << 60} }, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := &pdp{decide: broken(test.change)}
			handled, runs := 0, 0
			c := client(t, p, able(&handled))
			_, err := c.Enforce(t.Context(), refund(), returns(&runs, writ.Result{}, nil))
			var answer *writ.BrokenAnswer
			if !errors.As(err, &answer) || runs != 0 || handled != 0 {
				t.Fatalf("got %v after %d runs and %d calls of handlers", err, runs, handled)
			}
			report := p.outcomes()[decisionID(call)]
			if test.settled && report.GetOutcome() != writv1.Outcome_OUTCOME_NOT_RUN || !test.settled && report != nil {
				t.Errorf("got the report %v, want one: %v", report, test.settled)
			}
		})
	}
}

// TestNoAnswer ends every question without an answer.
func TestNoAnswer(t *testing.T) {
	const short = 50 * time.Millisecond
	gone := func(t *testing.T) grpc.ClientConnInterface {
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		lis.Close()
		conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	served := func(p *pdp) func(t *testing.T) grpc.ClientConnInterface {
		return func(t *testing.T) grpc.ClientConnInterface {
			conn, stop := p.serve()
			t.Cleanup(stop)
			return conn
		}
	}
	fails := func(code codes.Code) func(t *testing.T) grpc.ClientConnInterface {
		return served(&pdp{decide: func(int, *writv1.DecideRequest) (*writv1.DecideResponse, error) { return nil, status.Error(code, "no") }})
	}
	tests := []struct {
		name string
		conn func(*testing.T) grpc.ClientConnInterface
		cfg  writ.Config
		want codes.Code // OK: not a status
	}{
		{"the server is gone", gone, writ.Config{}, codes.Unavailable},
		{"it never answers", served(&pdp{hangs: true}), writ.Config{AttemptTimeout: short / 2}, codes.DeadlineExceeded},
		{"it is never available", fails(codes.Unavailable), writ.Config{}, codes.Unavailable},
		{"it is refused", fails(codes.InvalidArgument), writ.Config{}, codes.InvalidArgument},
		{"it is not there", fails(codes.Unimplemented), writ.Config{}, codes.Unimplemented},
		{"an answer that is none", func(*testing.T) grpc.ClientConnInterface { return mute{} }, writ.Config{}, codes.OK},
		{"no token", served(&pdp{}), writ.Config{Token: func(context.Context) (string, error) { return "", errors.New("no token") }}, codes.OK},
		{"an empty token", served(&pdp{}), writ.Config{Token: func(context.Context) (string, error) { return "", nil }}, codes.OK},
		{"a token that never comes", served(&pdp{}), writ.Config{Token: func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() }}, codes.OK},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg := test.cfg
			cfg.Conn, cfg.Timeout = test.conn(t), short
			if cfg.Token == nil {
				cfg.Token = tokens()
			}
			c, err := writ.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			runs := 0
			next := returns(&runs, writ.Result{}, nil)
			for name, ask := range map[string]func() error{
				"decide": func() error {
					d, err := c.Decide(t.Context(), writ.Call{Phase: writ.PhaseCall})
					return either(err, d.Allowed())
				},
				"enforce": func() error { _, err := c.Enforce(t.Context(), refund(), next); return err },
				"prompt":  func() error { _, err := c.EnforcePrompt(t.Context(), refund(), next); return err },
				"connect": func() error { _, err := c.EnforceConnect(t.Context(), refund(), next); return err },
				"list": func() error {
					tools, err := c.FilterTools(t.Context(), refund(), []writ.Tool{{Server: "s", Name: "one"}})
					return either(err, len(tools) > 0)
				},
			} {
				err := ask()
				if err == nil || runs != 0 {
					t.Fatalf("%s: got %v after %d runs", name, err, runs)
				}
				// On a slow machine the time can be over in the midst of an attempt.
				if code := status.Code(err); test.want != codes.OK && code != test.want && code != codes.DeadlineExceeded {
					t.Errorf("%s: got %v, want the code %v", name, err, test.want)
				}
			}
		})
	}
}

// either returns no error where an error came with a yes.
func either(err error, yes bool) error {
	if yes {
		return nil
	}
	return err
}

// mute is a connection that succeeds and says nothing.
type mute struct{ grpc.ClientConnInterface }

func (mute) Invoke(context.Context, string, any, any, ...grpc.CallOption) error { return nil }

func TestTheResultsQuestionFailsClosed(t *testing.T) {
	for _, code := range []codes.Code{codes.Internal, codes.Unauthenticated, codes.Aborted} {
		p := &pdp{decide: func(_ int, req *writv1.DecideRequest) (*writv1.DecideResponse, error) {
			if req.GetPhase() == result {
				return nil, status.Error(code, "no")
			}
			return allow(req), nil
		}}
		c := client(t, p, writ.Config{})
		got, err := c.Enforce(t.Context(), refund(), returns(new(int), jsonResult(`{"a":1}`), nil))
		if !errors.Is(err, writ.ErrWithheld) || status.Code(err) != code || got.Content.Data != nil {
			t.Errorf("got %s, %v", got.Content.Data, err)
		}
		if got := p.outcomes()[decisionID(call)].GetOutcome(); got != writv1.Outcome_OUTCOME_SUCCEEDED {
			t.Errorf("got %v, want SUCCEEDED", got)
		}
	}
}

func TestEnforceWithoutAFunction(t *testing.T) {
	p := &pdp{}
	c := client(t, p, writ.Config{})
	if _, err := c.Enforce(t.Context(), refund(), nil); err == nil || len(p.questions()) != 0 {
		t.Errorf("got %v after %d questions", err, len(p.questions()))
	}
}
