package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

func testCommit(t *testing.T, place Place) {
	for name, test := range map[string]func(*testing.T, Place){
		"SurvivesARestart": testRestart, "Replays": testReplay, "KindsAreApart": testKinds, "TenantsAreApart": testTenants,
		"GuardsLeaveNothing": testGuards, "Refunds": testRefunds, "NeighboursOfTheStale": testNeighbours,
		"NeighboursOfTheBroken": testBroken, "CallersWhoLeave": testLeavers, "Refuses": testRefusals, "AfterClose": testClosed,
	} {
		t.Run(name, func(t *testing.T) { test(t, place) })
	}
}

func testRestart(t *testing.T, place Place) {
	open := place(t)
	s := open()
	e := entry("a", "1", charge(3, 10), consume("x"))
	commit(t, s, e)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	defer s.Close()
	row, err := s.Record(t.Context(), "acme", e.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e.Row, row); diff != "" {
		t.Errorf("the record (-want +got):\n%s", diff)
	}
	if got, want := used(t, s, calls)[calls], int64(3); got != want {
		t.Errorf("the counter holds %d, want %d", got, want)
	}
	if _, err := s.Commit(t.Context(), entry("b", "1", consume("x"))); !errors.Is(err, audit.ErrStale) {
		t.Errorf("the token again: got %v, want %v", err, audit.ErrStale)
	}
	receipt, err := s.Commit(t.Context(), entry("a", "2", charge(3, 10), consume("x")))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e.Body, receipt.Prior); diff != "" {
		t.Errorf("the replay (-want +got):\n%s", diff)
	}
}

func testReplay(t *testing.T, place Place) {
	s := start(t, place)
	first := entry("a", "1", charge(1, 10), consume("x"))
	commit(t, s, first)
	for range 3 {
		receipt, err := s.Commit(t.Context(), entry("a", "2", charge(1, 10), consume("x")))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first.Body, receipt.Prior); diff != "" {
			t.Errorf("the same request again (-want +got):\n%s", diff)
		}
	}
	// The very same entry is no replay: its first answer was lost.
	if receipt, err := s.Commit(t.Context(), first); err != nil || receipt.Prior != nil {
		t.Errorf("the same entry again: replayed: %v, %v", receipt.Prior != nil, err)
	}
	other := entry("a", "3", charge(1, 10), consume("y"))
	other.Digest[0]++
	if _, err := s.Commit(t.Context(), other); !errors.Is(err, audit.ErrReused) {
		t.Errorf("another request under the key: got %v, want %v", err, audit.ErrReused)
	}
	if got, want := used(t, s, calls)[calls], int64(1); got != want {
		t.Errorf("the counter holds %d, want %d", got, want)
	}
	if got, want := len(collect(t, s.UsedTokens)), 1; got != want {
		t.Errorf("%d tokens are used up, want %d", got, want)
	}
	if got, want := len(collect(t, s.PendingRows)), 1; got != want {
		t.Errorf("%d records wait, want %d", got, want)
	}
}

func testKinds(t *testing.T, place Place) {
	s := start(t, place)
	settlement := entry("a", "settlement")
	settlement.Kind, settlement.Phase, settlement.Outcome = audit.Settlement, 0, 0
	if _, err := s.Settlement(t.Context(), "acme", "a"); !errors.Is(err, audit.ErrNotFound) {
		t.Errorf("before: got %v, want %v", err, audit.ErrNotFound)
	}
	commit(t, s, entry("a", "decision"))
	if _, err := s.Settlement(t.Context(), "acme", "a"); !errors.Is(err, audit.ErrNotFound) {
		t.Errorf("with the decision alone: got %v, want %v", err, audit.ErrNotFound)
	}
	commit(t, s, settlement)
	row, err := s.Settlement(t.Context(), "acme", "a")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(settlement.Row, row); diff != "" {
		t.Errorf("the settlement (-want +got):\n%s", diff)
	}
	if _, err := s.Settlement(t.Context(), "bolt", "a"); !errors.Is(err, audit.ErrNotFound) {
		t.Errorf("of another tenant: got %v, want %v", err, audit.ErrNotFound)
	}
}

func testTenants(t *testing.T, place Place) {
	s := start(t, place)
	mine, theirs := entry("a", "1", charge(1, 1)), of("bolt", entry("a", "2", charge(1, 1)))
	commit(t, s, mine)
	commit(t, s, theirs) // the same key, and a counter of the same name
	for tenant, e := range map[string]audit.Entry{"acme": mine, "bolt": theirs} {
		facts, err := s.Snapshot(t.Context(), decision.Want{Tenant: tenant, Budgets: []decision.BudgetKey{calls}})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := facts.Used[calls], int64(1); got != want {
			t.Errorf("%s used %d, want %d", tenant, got, want)
		}
		rows, err := s.List(t.Context(), tenant, [16]byte{}, 10)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]audit.Row{e.Row}, rows); diff != "" {
			t.Errorf("the records of %s (-want +got):\n%s", tenant, diff)
		}
	}
	if _, err := s.Record(t.Context(), "bolt", mine.ID); !errors.Is(err, audit.ErrNotFound) {
		t.Errorf("another tenant's record: got %v, want %v", err, audit.ErrNotFound)
	}
	if _, _, err := s.LeafOf(t.Context(), "bolt", mine.ID); !errors.Is(err, audit.ErrNotFound) {
		t.Errorf("another tenant's leaf: got %v, want %v", err, audit.ErrNotFound)
	}
	commit(t, s, entry("b", "1", consume("x")))
	if _, err := s.Commit(t.Context(), of("bolt", entry("b", "2", consume("x")))); !errors.Is(err, audit.ErrStale) {
		t.Errorf("a token that another tenant used: got %v, want %v", err, audit.ErrStale)
	}
}

func testGuards(t *testing.T, place Place) {
	s := start(t, place)
	create(t, s, "acme", ticket("once", 1))
	commit(t, s, entry("first", "1", consume("x"), redeem("once"), charge(9, 10)))
	for name, last := range map[string]decision.Effect{
		"token": consume("x"), "ticket": redeem("once"), "unknown ticket": redeem("none"), "cap": charge(2, 10),
	} {
		e := entry(name, "1", consume("of "+name), charge(1, 10), last)
		if _, err := s.Commit(t.Context(), e); !errors.Is(err, audit.ErrStale) {
			t.Errorf("%s: got %v, want %v", name, err, audit.ErrStale)
		}
		if _, err := s.Record(t.Context(), "acme", e.ID); !errors.Is(err, audit.ErrNotFound) {
			t.Errorf("%s: the record: got %v, want %v", name, err, audit.ErrNotFound)
		}
		// The key is free for the decision that is made next.
		commit(t, s, entry(name, "2"))
	}
	if got, want := used(t, s, calls)[calls], int64(9); got != want {
		t.Errorf("the counter holds %d, want %d", got, want)
	}
	if got, want := len(collect(t, s.UsedTokens)), 1; got != want {
		t.Errorf("%d tokens are used up, want %d", got, want)
	}
	if got, want := len(collect(t, s.Redemptions)), 1; got != want {
		t.Errorf("%d redemptions, want %d", got, want)
	}
}

func testRefunds(t *testing.T, place Place) {
	s := start(t, place)
	commit(t, s, entry("never charged", "1", charge(-5, 10)))
	commit(t, s, entry("a", "1", charge(10, 10)))
	commit(t, s, entry("over the cap", "1", charge(-4, 5)))
	if got, want := used(t, s, calls)[calls], int64(6); got != want {
		t.Errorf("the counter holds %d, want %d", got, want)
	}
	commit(t, s, entry("b", "1", charge(4, 10)))
	commit(t, s, entry("below zero", "1", charge(-11, 10)))
	if got, want := used(t, s, calls)[calls], int64(0); got != want {
		t.Errorf("the counter holds %d, want %d", got, want)
	}
	if diff := cmp.Diff([]audit.Use(nil), collect(t, s.Uses)); diff != "" {
		t.Errorf("the counters in use (-want +got):\n%s", diff)
	}
}

// testNeighbours commits stale and good entries at once, so that they share
// batches.
func testNeighbours(t *testing.T, place Place) {
	s := start(t, place)
	commit(t, s, entry("first", "1", consume("x")))
	var entries []audit.Entry
	for i := range 200 {
		e := entry(fmt.Sprint("good ", i), "1", consume(fmt.Sprint(i)), charge(1, 1000))
		if i%4 == 0 {
			e = entry(fmt.Sprint("stale ", i), "1", charge(1, 1000), consume("x"))
		}
		entries = append(entries, e)
	}
	for i, r := range all(t, []Store{s}, entries) {
		want := "committed"
		if i%4 == 0 {
			want = audit.ErrStale.Error()
		}
		if got := r.word(); got != want {
			t.Errorf("%s: got %q, want %q", entries[i].Key, got, want)
		}
	}
	if got, want := used(t, s, calls)[calls], int64(150); got != want {
		t.Errorf("the counter holds %d, want %d", got, want)
	}
}

// testBroken commits an entry that the engine itself refuses among others: the
// id of a record that exists, under another key.
func testBroken(t *testing.T, place Place) {
	s := start(t, place)
	first := entry("first", "1")
	commit(t, s, first)
	entries := make([]audit.Entry, 64)
	for i := range entries {
		entries[i] = entry(fmt.Sprint(i), "1", charge(1, 1000))
	}
	entries[20].ID, entries[40].ID = first.ID, first.ID
	results := all(t, []Store{s}, entries)
	for i, r := range results {
		if broken := i == 20 || i == 40; (r.err != nil) != broken {
			t.Errorf("entry %d: %v", i, r.err)
		}
	}
	for _, i := range []int{20, 40} {
		if err := results[i].err; errors.Is(err, audit.ErrStale) || errors.Is(err, audit.ErrReused) {
			t.Errorf("entry %d: got %v, want another error", i, err)
		}
	}
	if got, want := used(t, s, calls)[calls], int64(62); got != want {
		t.Errorf("the counter holds %d, want %d", got, want)
	}
}

// testLeavers cancels callers at every point of their wait: each entry is then
// there with its effect, or not at all, and a retry tells which.
func testLeavers(t *testing.T, place Place) {
	s := start(t, place)
	const n = 100
	left := make(chan int, n)
	for i := range n {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*20*time.Microsecond)
		go func() {
			defer cancel()
			_, err := s.Commit(ctx, entry(fmt.Sprint(i), "1", charge(1, n)))
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("entry %d: %v", i, err)
			}
			left <- i
		}()
	}
	for range n {
		i := <-left
		retry := entry(fmt.Sprint(i), "2", charge(1, n))
		receipt, err := s.Commit(t.Context(), retry)
		if err != nil {
			t.Errorf("retry %d: %v", i, err)
		}
		if first := entry(fmt.Sprint(i), "1").Body; receipt.Prior != nil && string(receipt.Prior) != string(first) {
			t.Errorf("retry %d answers %q, want %q", i, receipt.Prior, first)
		}
	}
	if got, want := used(t, s, calls)[calls], int64(n); got != want {
		t.Errorf("the counter holds %d, want %d", got, want)
	}
	if got, want := len(collect(t, s.PendingRows)), n; got != want {
		t.Errorf("%d records, want %d", got, want)
	}
}

func testRefusals(t *testing.T, place Place) {
	s := start(t, place)
	for name, spoil := range map[string]func(*audit.Entry){
		"NUL":               func(e *audit.Entry) { e.Principal = "a\x00" },
		"not UTF-8":         func(e *audit.Entry) { e.Caller = "\xff" },
		"no body":           func(e *audit.Entry) { e.Body = nil },
		"an unknown effect": func(e *audit.Entry) { e.Effects = append(e.Effects, nil) },
		"a long subject": func(e *audit.Entry) {
			e.Effects = append(e.Effects, decision.Charge{Key: decision.BudgetKey{Budget: "b", Subject: string(make([]byte, 9999))}})
		},
	} {
		e := entry(name, "1", charge(1, 10))
		spoil(&e)
		if _, err := s.Commit(t.Context(), e); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if got, want := used(t, s, calls)[calls], int64(0); got != want {
		t.Errorf("the counter holds %d, want %d", got, want)
	}
}

func testClosed(t *testing.T, place Place) {
	open := place(t)
	s := open()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), entry("a", "1")); err == nil {
		t.Error("no error")
	}
}
