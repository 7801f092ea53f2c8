// Package storetest is the contract of Writ's stores as tests: every store runs
// this one suite, against its real engine.
package storetest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/respond"
)

// Store is what a store does.
type Store interface {
	audit.Reader
	Snapshot(context.Context, decision.Want) (decision.Facts, error)
	Commit(context.Context, audit.Entry) (audit.Receipt, error)
	Record(ctx context.Context, tenant string, id [16]byte) (audit.Row, error)
	Settlement(ctx context.Context, tenant string, decision string) (audit.Row, error)
	List(ctx context.Context, tenant string, after [16]byte, limit int) ([]audit.Row, error)
	Ticket(ctx context.Context, tenant, id string) (audit.TicketRecord, error)
	Tickets(ctx context.Context, tenant, after string, limit int) ([]audit.TicketRecord, error)
	TicketChange(ctx context.Context, tenant, key string) (audit.Row, error)
	ForgetTokens(ctx context.Context, at time.Time) error
	Rollout(ctx context.Context, version int64) (audit.Row, error)
	Control(ctx context.Context, version int64) (audit.Row, error)
	Due(ctx context.Context, at time.Time, limit int) ([]audit.Lapse, error)
	Shares(ctx context.Context, tenant, budget string, start int64, from string, limit int) ([]audit.Use, error)
	respond.Roll
	KeepArchive(ctx context.Context, archive []byte) ([32]byte, error)
	Archive(ctx context.Context, digest [32]byte) ([]byte, error)
	Seal(ctx context.Context, max int, extend audit.Extend) (int, error)
	Checkpoint(context.Context) (audit.Checkpoint, error)
	LeafOf(ctx context.Context, tenant string, id [16]byte) (index int64, sealed bool, err error)
	Tile(ctx context.Context, level int, index int64) ([]byte, error)
	Vaulted(ctx context.Context, tenant, token string) (audit.VaultRow, error)
	View(ctx context.Context, f func(audit.Reader) error) error
	CountRecords(ctx context.Context, tenant string, from, to [16]byte) (int64, error)
	Close() error
}

// Place makes a new, empty place for a ledger, which lasts as long as the test.
// The function that it returns opens a store on that place, each time another:
// two at once are two replicas, one after the other is a restart.
type Place func(t *testing.T) (open func() Store)

// Run runs the suite on the stores that a place opens.
func Run(t *testing.T, place Place) {
	for _, part := range []struct {
		name string
		run  func(*testing.T, Place)
	}{
		{"Commit", testCommit}, {"Race", testRace}, {"Facts", testFacts}, {"Rows", testRows},
		{"Tickets", testTickets}, {"Seal", testSeal}, {"Read", testRead}, {"Books", testBooks}, {"Rollout", testRollout}, {"Tokens", testTokens}, {"Locks", testLocks}, {"Budgets", testBudgets}, {"Replicas", testReplicas}, {"Flow", testFlow}, {"Sessions", testSessions}, {"Vault", testVault},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, place) })
	}
}

// opener opens stores that are closed with the test.
func opener(t *testing.T, place Place) func() Store {
	open := place(t)
	return func() Store {
		s := open()
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("closing: %v", err)
			}
		})
		return s
	}
}

func start(t *testing.T, place Place) Store { return opener(t, place)() }

var noon = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

// digest is 32 bytes that depend on a text alone.
func digest(format string, args ...any) [32]byte {
	return sha256.Sum256(fmt.Appendf(nil, format, args...))
}

func idOf(format string, args ...any) [16]byte {
	sum := digest(format, args...)
	return [16]byte(sum[:16])
}

// entry is a decision of the tenant acme: key names the request and name the
// attempt, which gives the record its id and body. The request's digest depends
// on the key alone.
func entry(key, name string, effects ...decision.Effect) audit.Entry {
	body := fmt.Appendf(nil, "record %s of %s", name, key)
	return audit.Entry{
		Row: audit.Row{
			Tenant: "acme", ID: idOf("%s of %s", name, key), Kind: audit.Decision, Key: key, Digest: digest("request %s", key),
			At: noon, Caller: "spiffe://acme.example/gateway", Principal: "agent", Session: "session-1", Purpose: "support",
			Phase: decision.Call, Server: "filesystem", Tool: "read_file", Outcome: decision.Allowed,
			Bundle: "bundle", Body: body, Leaf: sha256.Sum256(append([]byte{0}, body...)),
		},
		Effects: effects,
	}
}

func of(tenant string, e audit.Entry) audit.Entry {
	e.Tenant = tenant
	return e
}

var calls = decision.BudgetKey{Budget: "calls", Subject: `"acme"`, Start: noon.Truncate(24 * time.Hour).Unix()}

func charge(amount, limit int64) decision.Charge {
	return decision.Charge{Key: calls, Amount: amount, Cap: limit}
}

func consume(name string) decision.Consume {
	return decision.Consume{Token: digest("token %s", name), Expires: noon.Add(time.Hour)}
}

// commit commits an entry that must be the first of its key.
func commit(t *testing.T, s Store, e audit.Entry) audit.Receipt {
	t.Helper()
	receipt, err := s.Commit(t.Context(), e)
	if err != nil {
		t.Fatalf("committing %s: %v", e.Key, err)
	}
	if receipt.Prior != nil {
		t.Fatalf("committing %s: it was committed before", e.Key)
	}
	return receipt
}

// all commits entries at once, spread over stores, and returns what came of each.
func all(t *testing.T, stores []Store, entries []audit.Entry) []result {
	t.Helper()
	results := make([]result, len(entries))
	var wait sync.WaitGroup
	for i, e := range entries {
		wait.Go(func() {
			results[i].Receipt, results[i].err = stores[i%len(stores)].Commit(t.Context(), e)
		})
	}
	wait.Wait()
	return results
}

type result struct {
	audit.Receipt
	err error
}

// word is a result in one word.
func (r result) word() string {
	switch {
	case r.err != nil:
		return r.err.Error()
	case r.Prior != nil:
		return "replayed"
	}
	return "committed"
}

func count(results []result) map[string]int {
	n := map[string]int{}
	for _, r := range results {
		n[r.word()]++
	}
	return n
}

func used(t *testing.T, s Store, keys ...decision.BudgetKey) map[decision.BudgetKey]int64 {
	t.Helper()
	facts, err := s.Snapshot(t.Context(), decision.Want{Tenant: "acme", RequestID: idOf("nobody"), Token: digest("none"), Budgets: keys})
	if err != nil {
		t.Fatal(err)
	}
	return facts.Used
}

// collect gathers what a reader yields.
func collect[T any](t *testing.T, read func(context.Context, func(T) error) error) []T {
	t.Helper()
	var all []T
	err := read(t.Context(), func(one T) error {
		all = append(all, one)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func leaves(t *testing.T, s audit.Reader, from, to int64) []audit.Leaf {
	t.Helper()
	return collect(t, func(ctx context.Context, yield func(audit.Leaf) error) error { return s.Leaves(ctx, from, to, yield) })
}

func orphans(t *testing.T, s audit.Reader) [][16]byte {
	t.Helper()
	return collect(t, func(ctx context.Context, yield func([16]byte) error) error {
		return s.Orphans(ctx, func(_ string, id [16]byte) error { return yield(id) })
	})
}
