package server_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/respond"
)

// lockable is a server that follows the locks of its store by Look alone.
func lockable(t *testing.T, adjust ...func(*pdp, *server.Config)) (*pdp, *respond.Follower) {
	t.Helper()
	var f *respond.Follower
	p := open(t, append([]func(*pdp, *server.Config){func(p *pdp, c *server.Config) {
		p.locks.Store = p.store
		var err error
		f, err = respond.Follow(t.Context(), respond.Config{Store: &p.locks, Now: func() time.Time { return c.Now() }, Report: func(decision.Control, error) {}})
		must(t, err)
		c.Control = f
	}}, adjust...)...)
	return p, f
}

func (p *pdp) lock(t testing.TB, l decision.Lock) {
	t.Helper()
	l.Until = time.Now().Add(time.Hour)
	_, err := respond.Set(t.Context(), p.store, l, audit.By{Actor: "ann", Reason: "x", At: time.Now(), ID: uuid.Must(uuid.NewV7())})
	must(t, err)
}

func stopped(id string) decision.Lock {
	return decision.Lock{ID: id, Target: decision.Target{Kind: decision.OfAgent, Value: agent}, Effect: decision.LockDeny}
}

// A server that has not heard of a lock yet allows nothing by what it knows: the
// commit refuses, and the next answer is by the lock.
func TestALockThatWasNotHeardOf(t *testing.T) {
	p, f := lockable(t)
	p.decide(t, p.listing(t), writv1.Effect_EFFECT_ALLOW)
	p.lock(t, stopped("L-1"))
	if got := f.Control(t.Context()).Version; got != 0 {
		t.Fatalf("it has heard of version %d", got)
	}
	answer := p.decide(t, p.listing(t), writv1.Effect_EFFECT_DENY)
	if answer.Reasons[0].Code != "lock.denied" {
		t.Errorf("got %v", answer.Reasons)
	}
	if got, want := p.books(t), int64(3); got.records != want || got.tokens != 1 {
		t.Errorf("the books: %+v", got)
	}
	p.verify(t)
}

// Explain tells of locks too, as far as they are known.
func TestExplainTellsOfLocks(t *testing.T) {
	p, f := lockable(t)
	p.lock(t, stopped("L-1"))
	must(t, f.Look(t.Context()))
	out, err := p.Explain(t.Context(), gateway, &writv1.ExplainRequest{Request: p.listing(t)})
	must(t, err)
	if out.Decision.Effect != writv1.Effect_EFFECT_DENY || out.Decision.Reasons[0].Code != "lock.denied" {
		t.Errorf("got %v", out.Decision.Reasons)
	}
}

// Where the store has not told for too long whether there are locks, nothing is
// allowed but what the bundle names, and that only by the locks that were known.
func TestStaleLocks(t *testing.T) {
	ahead := time.Duration(0)
	p, _ := lockable(t, func(_ *pdp, c *server.Config) {
		c.Now = func() time.Time { return time.Now().Add(ahead) }
	})
	ahead = respond.Fresh + 100*time.Millisecond
	p.locks.away.Store(true)
	answer := p.decide(t, p.listing(t), writv1.Effect_EFFECT_DENY)
	if answer.Reasons[0].Code != "lock.stale" {
		t.Errorf("got %v", answer.Reasons)
	}
	open := *p.bundle
	open.FailOpen = []string{decision.ReadOnly}
	p.bundle = &open
	p.decide(t, p.listing(t), writv1.Effect_EFFECT_ALLOW)
	writes := p.call(t, "filesystem", "write_file", `{"path":"/srv/files/drafts/a","content":"x"}`)
	if got := p.decide(t, writes, writv1.Effect_EFFECT_DENY); got.Reasons[0].Code != "lock.stale" {
		t.Errorf("another class: %v", got.Reasons)
	}
	// The store does take commits: the fence holds all the same.
	p.lock(t, stopped("L-1"))
	before := p.books(t)
	if _, err := p.Decide(t.Context(), gateway, p.listing(t)); failureOf(err).Reason != "NOT_RECORDED" {
		t.Errorf("a new lock: %v", err)
	}
	if p.books(t) != before {
		t.Error("something was recorded")
	}
	// Whoever asks next once it tells again is answered by what it tells.
	p.locks.away.Store(false)
	ahead *= 3
	if got := p.decide(t, p.listing(t), writv1.Effect_EFFECT_DENY); got.Reasons[0].Code != "lock.denied" {
		t.Errorf("back again: %v", got.Reasons)
	}
}

// away is a store of locks that can fail to tell.
type away struct {
	respond.Store
	away atomic.Bool
}

func (a *away) Control(ctx context.Context, version int64) (audit.Row, error) {
	if a.away.Load() {
		return audit.Row{}, errors.New("away")
	}
	return a.Store.Control(ctx, version)
}

// The record says by which locks it was decided, and which hit.
func TestTheRecordTellsOfLocks(t *testing.T) {
	p, f := lockable(t)
	p.lock(t, stopped("L-1"))
	p.lock(t, decision.Lock{ID: "L-2", Target: decision.Target{Kind: decision.OfSession, Value: "other"}, Effect: decision.LockDeny})
	must(t, f.Look(t.Context()))
	answer := p.decide(t, p.listing(t), writv1.Effect_EFFECT_DENY)
	row, err := p.store.Record(t.Context(), gateway.Tenant, uuid.FromStringOrNil(answer.DecisionId))
	must(t, err)
	q, err := audit.QuestionOf(row.Body, nil)
	must(t, err)
	if q.Control == nil || q.Control.Version != 2 || !slices.ContainsFunc(q.Control.Locks, func(l decision.Lock) bool { return l.ID == "L-1" }) || len(q.Control.Locks) != 1 {
		t.Errorf("got %+v", q.Control)
	}
}

// A throttle lets so much through, to the last, says when the next may, and stops
// nothing that it is not for.
func TestThrottle(t *testing.T) {
	began := time.Now()
	var ahead atomic.Int64
	p, f := lockable(t, func(p *pdp, c *server.Config) {
		c.Now = func() time.Time { return began.Add(time.Duration(ahead.Load())) }
	})
	l := stopped("L-1")
	l.Effect, l.Rate, l.Per, l.Message = decision.LockThrottle, 3, time.Minute, "Slowly."
	p.lock(t, l)
	for range 3 {
		p.decide(t, p.listing(t), writv1.Effect_EFFECT_ALLOW)
	}
	answer := p.decide(t, p.listing(t), writv1.Effect_EFFECT_DENY)
	if r := answer.Reasons[0]; r.Code != "lock.throttled" || r.Text != "The lock L-1 lets 3 through in 1m0s: Slowly." || answer.RetryAfter.AsDuration() != 20*time.Second {
		t.Errorf("got %v, retry after %s", r, answer.RetryAfter.AsDuration())
	}
	ahead.Add(int64(20 * time.Second))
	must(t, f.Look(t.Context()))
	p.decide(t, p.listing(t), writv1.Effect_EFFECT_ALLOW)
	p.decide(t, p.listing(t), writv1.Effect_EFFECT_DENY)
	// Beside a lock that stops for good, waiting does not help.
	p.lock(t, stopped("L-2"))
	must(t, f.Look(t.Context()))
	answer = p.decide(t, p.listing(t), writv1.Effect_EFFECT_DENY)
	if len(answer.Reasons) < 2 || answer.RetryAfter != nil {
		t.Errorf("got %v, retry after %v", answer.Reasons, answer.RetryAfter)
	}
	p.verify(t)
}

// A throttle of a vendor lets so much go there, to the same host: it is no lock that
// keeps data from an endpoint.
func TestThrottleOfAVendor(t *testing.T) {
	p, _ := lockable(t)
	p.lock(t, decision.Lock{ID: "L-1", Target: decision.Target{Kind: decision.OfVendor, Value: "example-mail"}, Effect: decision.LockThrottle, Rate: 2, Per: time.Minute})
	ask := func(effect writv1.Effect) *writv1.DecideResponse {
		return p.decide(t, &writv1.DecideRequest{RequestId: newID(t), Phase: writv1.Phase_PHASE_CONNECT, PrincipalToken: p.token(t), Purpose: "support",
			Destination: &writv1.Destination{Host: "mail.example.org"}, SupportedObligations: []string{"route", "pin"}}, effect)
	}
	for range 2 {
		ask(writv1.Effect_EFFECT_ALLOW)
	}
	answer := ask(writv1.Effect_EFFECT_DENY)
	if answer.Reasons[0].Code != "lock.throttled" || answer.RetryAfter == nil {
		t.Errorf("got %v, retry after %v", answer.Reasons, answer.RetryAfter)
	}
	p.verify(t)
}
