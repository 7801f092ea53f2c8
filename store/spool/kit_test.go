package spool_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/lane"
	"github.com/writpdp/writ/store/spool"
	"github.com/writpdp/writ/store/sqlite"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

var calls = decision.BudgetKey{Budget: "calls", Subject: `"acme"`, Start: noon.Unix()}

func charge(amount, limit int64) decision.Charge {
	return decision.Charge{Key: calls, Amount: amount, Cap: limit}
}

// idOf is a UUIDv7 of a time that depends on a name otherwise.
func idOf(name string, at time.Time) uuid.UUID {
	sum := sha256.Sum256([]byte(name))
	id := uuid.UUID(sum[:16])
	binary.BigEndian.PutUint64(id[:8], uint64(at.UnixMilli())<<16|uint64(binary.BigEndian.Uint16(sum[16:])))
	id.SetVersion(7)
	id.SetVariant(uuid.VariantRFC9562)
	return id
}

// entry is the decision of a request, with a token of its own name; attempt makes
// its record another.
func entry(t testing.TB, request, token, attempt string, effects ...decision.Effect) audit.Entry {
	t.Helper()
	return entryAt(t, noon, request, token, attempt, effects...)
}

func entryAt(t testing.TB, at time.Time, request, token, attempt string, effects ...decision.Effect) audit.Entry {
	t.Helper()
	req := &decision.Request{
		ID: idOf("request "+request, at), Digest: sha256.Sum256([]byte("request " + request)),
		Caller: decision.Caller{SPIFFEID: "spiffe://acme.example/gateway", Tenant: "acme"},
		Principal: decision.Principal{Subject: "agent", Issuer: "https://issuer.example", Purposes: []string{"support"},
			Token: sha256.Sum256([]byte("token " + token)), Expires: at.Add(10 * time.Minute)},
		Phase: decision.Call, Purpose: "support", Tool: decision.ToolRef{ToolName: decision.ToolName{Server: "filesystem", Name: "read_file"}},
		Cost: decision.Cost{Calls: 1},
	}
	effects = append([]decision.Effect{decision.Consume{Token: req.Principal.Token, Expires: req.Principal.Expires}}, effects...)
	d := &decision.Decision{Findings: []decision.Finding{{Stage: "policy", Verdict: decision.Permit, Effects: effects}}}
	snap := &decision.Snapshot{At: at, Bundle: &decision.Bundle{Digest: fmt.Sprintf("%x", sha256.Sum256([]byte("bundle")))}}
	e, _, err := audit.Decided(idOf("record "+request+" "+attempt, at), req, snap, d)
	if err != nil {
		t.Fatal(err)
	}
	e.Async = true
	return e
}

// strict is an entry that waits for its record.
func strict(e audit.Entry) audit.Entry {
	e.Async = false
	return e
}

// place is a ledger's place on the disk, with a clock that stands still.
type place struct {
	t     testing.TB
	dir   string
	now   atomic.Int64 // seconds after noon
	told  chan error
	store *faulty
	left  bool // the test has closed everything itself
}

func newPlace(t testing.TB) *place {
	return &place{t: t, dir: t.TempDir(), told: make(chan error, 100)}
}

func (p *place) clock() time.Time { return noon.Add(time.Duration(p.now.Load()) * time.Second) }

// config brings nothing into the store before somebody waits for it.
func (p *place) config() spool.Config {
	return spool.Config{Sync: time.Hour, Lag: time.Hour, Now: p.clock, Report: func(err error) { p.told <- err }}
}

// openStore opens the store that is behind the spool.
func (p *place) openStore() *faulty {
	p.t.Helper()
	s, err := sqlite.Open(context.Background(), filepath.Join(p.dir, "writ.db"))
	if err != nil {
		p.t.Fatal(err)
	}
	return &faulty{Store: s}
}

// open opens a spool and its store. close, which is called with the test at the
// latest, closes both.
func (p *place) open() (s *spool.Spool, close func()) {
	p.t.Helper()
	p.store = p.openStore()
	s, err := spool.Open(context.Background(), filepath.Join(p.dir, "spool"), p.store, p.config())
	if err != nil {
		p.t.Fatal(err)
	}
	closed := false
	close = func() {
		if closed || p.left {
			return
		}
		closed = true
		if err := errors.Join(s.Close(), p.store.Close()); err != nil {
			p.t.Error(err)
		}
	}
	p.t.Cleanup(close)
	return s, close
}

// quiet fails the test when something was reported.
func (p *place) quiet() {
	p.t.Helper()
	select {
	case err := <-p.told:
		p.t.Errorf("reported: %v", err)
	default:
	}
}

// faulty is a store that does not take batches while it is broken.
type faulty struct {
	*sqlite.Store
	broken atomic.Bool
}

var errBroken = errors.New("the disk is gone")

func (f *faulty) CommitAll(entries []audit.Entry) []lane.Outcome {
	if !f.broken.Load() {
		return f.Store.CommitAll(entries)
	}
	outcomes := make([]lane.Outcome, len(entries))
	for i := range outcomes {
		outcomes[i].Err = errBroken
	}
	return outcomes
}

// know reads the counter, so that entries that charge it can be spooled.
func know(t testing.TB, s *spool.Spool) int64 {
	t.Helper()
	facts, err := s.Snapshot(context.Background(), decision.Want{Tenant: "acme", Budgets: []decision.BudgetKey{calls}})
	if err != nil {
		t.Fatal(err)
	}
	return facts.Used[calls]
}

// commit is what a commit answered, in one word.
func commit(t testing.TB, s *spool.Spool, e audit.Entry) string {
	t.Helper()
	receipt, err := s.Commit(context.Background(), e)
	switch {
	case errors.Is(err, audit.ErrStale):
		return "stale"
	case errors.Is(err, audit.ErrReused):
		return "reused"
	case err != nil:
		return err.Error()
	case receipt.Prior != nil:
		return "prior"
	case receipt.Spooled:
		return "spooled"
	}
	return "committed"
}

// stored reports whether the store has an entry's record, as it was committed.
func stored(t testing.TB, s *faulty, e audit.Entry) bool {
	t.Helper()
	row, err := s.Record(context.Background(), e.Tenant, e.ID)
	if errors.Is(err, audit.ErrNotFound) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(row.Body) == string(e.Body)
}
