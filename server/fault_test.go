package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

// faults is a ledger that fails as a test says; nil: as the one it wraps.
type faults struct {
	server.Ledger
	snapshot func(context.Context, decision.Want) (decision.Facts, error)
	commit   func(context.Context, audit.Entry) (audit.Receipt, error)
	record   func(context.Context) error
}

func (f *faults) Snapshot(ctx context.Context, w decision.Want) (decision.Facts, error) {
	if f.snapshot != nil {
		return f.snapshot(ctx, w)
	}
	return f.Ledger.Snapshot(ctx, w)
}

func (f *faults) Commit(ctx context.Context, e audit.Entry) (audit.Receipt, error) {
	if f.commit != nil {
		return f.commit(ctx, e)
	}
	return f.Ledger.Commit(ctx, e)
}

func (f *faults) Record(ctx context.Context, tenant string, id [16]byte) (audit.Row, error) {
	if f.record != nil {
		if err := f.record(ctx); err != nil {
			return audit.Row{}, err
		}
	}
	return f.Ledger.Record(ctx, tenant, id)
}

// faulty puts faults between a server and its store.
func faulty(wrap func(server.Ledger) *faults) func(*pdp, *server.Config) {
	return func(_ *pdp, c *server.Config) { c.Ledger = wrap(c.Ledger) }
}

// openFaulty is a server whose faults can be changed between calls.
func openFaulty(t testing.TB, adjust ...func(*pdp, *server.Config)) (*pdp, *faults) {
	t.Helper()
	var f *faults
	p := open(t, append(adjust, faulty(func(l server.Ledger) *faults { f = &faults{Ledger: l}; return f }))...)
	return p, f
}

// A guard that failed is decided anew; one that always fails is told.
func TestStale(t *testing.T) {
	for _, stale := range []int{1, 7, 8, 100} {
		t.Run(fmt.Sprint(stale), func(t *testing.T) {
			p, f := openFaulty(t)
			settled := p.decide(t, p.listing(t), writv1.Effect_EFFECT_ALLOW).DecisionId
			calls := 0
			f.commit = func(ctx context.Context, e audit.Entry) (audit.Receipt, error) {
				if calls++; calls <= stale {
					return audit.Receipt{}, fmt.Errorf("committing: %w", audit.ErrStale)
				}
				return f.Ledger.Commit(ctx, e)
			}
			for _, do := range []func() error{
				func() error { _, err := p.Decide(t.Context(), gateway, p.listing(t)); return err },
				func() error { _, err := p.Settle(t.Context(), gateway, succeeded(settled, nil)); return err },
			} {
				calls = 0
				before := p.books(t).records
				err := do()
				if wrote := p.books(t).records - before; stale < 8 && (err != nil || wrote != 1) {
					t.Errorf("%v, %d records, want one", err, wrote)
				} else if stale >= 8 {
					expect(t, err, codes.Aborted, "CONTENDED")
					if wrote != 0 || calls > 8 {
						t.Errorf("%d records after %d attempts", wrote, calls)
					}
				}
			}
			p.verify(t)
		})
	}
}

// Whatever the store fails with, there is no answer, and its words stay inside.
func TestStoreFails(t *testing.T) {
	secret := errors.New("password=" + canary)
	for _, c := range []struct {
		name   string
		err    error
		code   codes.Code
		reason string
		logged bool
	}{
		{"error", secret, codes.Unavailable, "NOT_RECORDED", true},
		{"not found", fmt.Errorf("reading: %w", audit.ErrNotFound), codes.Unavailable, "NOT_RECORDED", true},
		{"another's deadline", fmt.Errorf("%w: %w", context.DeadlineExceeded, secret), codes.Unavailable, "NOT_RECORDED", true},
		{"full", fmt.Errorf("%w: %w", audit.ErrFull, secret), codes.ResourceExhausted, "OVERLOADED", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, f := openFaulty(t)
			at := p.serve(t)
			decided := p.decide(t, p.listing(t), writv1.Effect_EFFECT_ALLOW).DecisionId
			before := p.books(t)
			fails := func(err error) {
				t.Helper()
				expect(t, err, c.code, c.reason)
				secretive(t, err)
				if logged := strings.Contains(p.log.String(), "level=ERROR"); logged != c.logged {
					t.Errorf("logged: %t, want %t", logged, c.logged)
				}
			}
			ask := func() {
				t.Helper()
				_, err := at.Decide(t.Context(), p.listing(t))
				fails(err)
				_, err = at.Settle(t.Context(), succeeded(decided, nil))
				fails(err)
			}
			f.commit = func(context.Context, audit.Entry) (audit.Receipt, error) { return audit.Receipt{}, c.err }
			ask()
			f.commit = nil
			f.snapshot = func(context.Context, decision.Want) (decision.Facts, error) { return decision.Facts{}, c.err }
			ask()
			_, err := at.Explain(t.Context(), &writv1.ExplainRequest{Request: p.listing(t)})
			fails(err)
			f.snapshot = nil
			if !errors.Is(c.err, audit.ErrNotFound) {
				f.record = func(context.Context) error { return c.err }
				_, err = at.Settle(t.Context(), succeeded(decided, nil))
				fails(err)
			}
			if after := p.books(t); after != before {
				t.Errorf("failures changed the books from %+v to %+v", before, after)
			}
		})
	}
}

// A commit whose end nobody saw is there for the retry.
func TestLostAnswer(t *testing.T) {
	p, f := openFaulty(t)
	lost := ""
	f.commit = func(ctx context.Context, e audit.Entry) (audit.Receipt, error) {
		_, err := f.Ledger.Commit(ctx, e)
		must(t, err)
		lost = e.Key
		return audit.Receipt{}, errors.New("the connection broke")
	}
	request := p.listing(t)
	_, err := p.Decide(t.Context(), gateway, request)
	expect(t, err, codes.Unavailable, "NOT_RECORDED")
	f.commit = nil
	answer := p.decide(t, request, writv1.Effect_EFFECT_ALLOW)
	if !answer.Replayed || lost != request.RequestId {
		t.Errorf("got %v", answer)
	}
	if got := p.books(t).records; got != 1 {
		t.Errorf("%d records", got)
	}
}

// What is remembered may have changed: nobody is denied on it, and every denial is
// on what the store has.
func TestNobodyIsDeniedOnWhatIsRemembered(t *testing.T) {
	p, f := openFaulty(t)
	p.cap("calls", decision.Calls, 2)
	f.snapshot = func(ctx context.Context, w decision.Want) (decision.Facts, error) {
		facts, err := f.Ledger.Snapshot(ctx, w)
		if w.Remembered {
			facts.Remembered = true
			for key := range facts.Used {
				facts.Used[key] = 2 // as before others gave theirs back
			}
		}
		return facts, err
	}
	for range 2 {
		p.decide(t, p.listing(t), writv1.Effect_EFFECT_ALLOW)
	}
	p.decide(t, p.listing(t), writv1.Effect_EFFECT_DENY)
	p.verify(t)
}

// A defect is an error of one call.
func TestPanic(t *testing.T) {
	p, f := openFaulty(t, func(_ *pdp, c *server.Config) { c.InFlight = 1 })
	at := p.serve(t)
	f.commit = func(context.Context, audit.Entry) (audit.Receipt, error) { panic("a defect") }
	for range 3 { // each gives its slot back
		_, err := at.Decide(t.Context(), p.listing(t))
		if m := expect(t, err, codes.Internal, "INTERNAL").Message; strings.Contains(m, "defect") {
			t.Errorf("the message tells of the inside: %q", m)
		}
		status, body := at.evaluate(t, p.evaluation(t))
		if status != http.StatusInternalServerError || !strings.Contains(body, `"INTERNAL"`) || strings.Contains(body, "defect") {
			t.Errorf("over JSON: %d %s", status, body)
		}
	}
	f.commit = nil
	if _, err := at.Decide(t.Context(), p.listing(t)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if n := strings.Count(p.log.String(), "panic: a defect"); n != 6 {
		t.Errorf("%d of 6 defects are in the log", n)
	}
}

// evaluation is the listing as AuthZEN says it.
func (p *pdp) evaluation(t testing.TB) string {
	t.Helper()
	return evaluationOf(p.listing(t))
}

// evaluationOf is a call as the JSON face takes it.
func evaluationOf(r *writv1.DecideRequest) string {
	return fmt.Sprintf(`{"subject":{"type":"agent","id":"","properties":{"token":%q}},"action":{"name":"tools/call"},
		"resource":{"type":"tool","id":"filesystem/list_directory","properties":{"definition_digest":%q}},
		"context":{"purpose":"support","arguments":%s}}`, r.PrincipalToken, r.Tool.DefinitionDigest, r.Arguments)
}

func (r *running) evaluate(t testing.TB, body string) (status int, answer string) {
	t.Helper()
	response, err := http.Post(r.baseURL+"/access/v1/evaluation", "application/json", strings.NewReader(body))
	must(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(t, err)
	return response.StatusCode, string(text)
}

// gate holds commits back until it is opened, or their context ends.
type gate struct {
	entered chan struct{} // one for each commit that waits
	open    chan struct{}
}

func newGate() gate { return gate{make(chan struct{}, 100), make(chan struct{})} }

// wait returns when a commit waits.
func (g gate) wait(t testing.TB) {
	t.Helper()
	select {
	case <-g.entered:
	case <-time.After(time.Minute):
		t.Fatal("no commit comes")
	}
}

func (g gate) guard(l server.Ledger) func(context.Context, audit.Entry) (audit.Receipt, error) {
	return func(ctx context.Context, e audit.Entry) (audit.Receipt, error) {
		g.entered <- struct{}{}
		select {
		case <-g.open:
			return l.Commit(ctx, e)
		case <-ctx.Done():
			return audit.Receipt{}, fmt.Errorf("waiting for the commit: %w", ctx.Err())
		}
	}
}

// A commit that outlasts the caller's deadline is no answer.
func TestCommitOutlastsDeadline(t *testing.T) {
	p, f := openFaulty(t)
	decided := p.decide(t, p.listing(t), writv1.Effect_EFFECT_ALLOW).DecisionId
	f.commit = newGate().guard(f.Ledger)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := p.Decide(ctx, gateway, p.listing(t))
	expect(t, err, codes.DeadlineExceeded, "DEADLINE")
	_, err = p.Settle(ctx, gateway, succeeded(decided, nil))
	expect(t, err, codes.DeadlineExceeded, "DEADLINE")
	_, err = p.Explain(ctx, gateway, &writv1.ExplainRequest{Request: p.listing(t)})
	expect(t, err, codes.DeadlineExceeded, "DEADLINE")
}

// Beyond the calls that it takes the server refuses at once, on every face.
func TestInFlight(t *testing.T) {
	p, f := openFaulty(t, func(_ *pdp, c *server.Config) { c.InFlight = 1 })
	at := p.serve(t)
	g := newGate()
	f.commit = g.guard(f.Ledger)
	first := make(chan error, 1)
	held := p.listing(t)
	go func() { _, err := at.Decide(t.Context(), held); first <- err }()
	g.wait(t)
	for _, ask := range []func() error{
		func() error { _, err := at.Decide(t.Context(), p.listing(t)); return err },
		func() error {
			_, err := at.DecideBatch(t.Context(), &writv1.DecideBatchRequest{Items: []*writv1.BatchItem{item("a", p.listing(t))}})
			return err
		},
		func() error {
			_, err := at.Explain(t.Context(), &writv1.ExplainRequest{Request: p.listing(t)})
			return err
		},
		func() error { _, err := at.Settle(t.Context(), succeeded(newID(t), nil)); return err },
	} {
		expect(t, ask(), codes.ResourceExhausted, "OVERLOADED")
	}
	if status, body := at.evaluate(t, p.evaluation(t)); status != http.StatusTooManyRequests || !strings.Contains(body, `"OVERLOADED"`) {
		t.Errorf("over JSON: %d %s", status, body)
	}
	close(g.open)
	must(t, <-first)
	if _, err := at.Decide(t.Context(), p.listing(t)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// Without randomness there is no id, and without an id no answer.
func TestNoRandomness(t *testing.T) {
	p := open(t, func(_ *pdp, c *server.Config) { c.Random = strings.NewReader("") })
	at := p.serve(t)
	_, err := at.Decide(t.Context(), p.listing(t))
	expect(t, err, codes.Internal, "INTERNAL")
	if status, body := at.evaluate(t, p.evaluation(t)); status < 400 {
		t.Errorf("over JSON: %d %s", status, body)
	}
	if got := p.books(t); got != (books{}) {
		t.Errorf("wrote %+v", got)
	}
}
