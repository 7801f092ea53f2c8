package storetest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

const racers = 64

// testRace races callers of two stores on one place, as two replicas do.
func testRace(t *testing.T, place Place) {
	for name, test := range map[string]func(*testing.T, []Store){
		"OneRequest": raceRequest, "OneToken": raceToken, "OneCounter": raceCounter, "OneTicket": raceTicket,
		"ManyCounters": raceCounters, "Revoking": raceRevoking,
	} {
		t.Run(name, func(t *testing.T) {
			open := opener(t, place)
			test(t, []Store{open(), open()})
		})
	}
}

func raceRequest(t *testing.T, stores []Store) {
	for round := range 5 {
		key := fmt.Sprint("request ", round)
		entries := make([]audit.Entry, racers)
		for i := range entries {
			entries[i] = entry(key, fmt.Sprint(i), consume(key), charge(1, 100))
		}
		results := all(t, stores, entries)
		if diff := cmp.Diff(map[string]int{"committed": 1, "replayed": racers - 1}, count(results)); diff != "" {
			t.Fatalf("results (-want +got):\n%s", diff)
		}
		var first string
		for i, r := range results {
			if r.Prior == nil {
				first = string(entries[i].Body)
			}
		}
		for i, r := range results {
			if r.Prior != nil && string(r.Prior) != first {
				t.Errorf("racer %d got %q, want %q", i, r.Prior, first)
			}
		}
	}
	if got, want := used(t, stores[0], calls)[calls], int64(5); got != want {
		t.Errorf("the counter holds %d, want %d", got, want)
	}
}

func raceToken(t *testing.T, stores []Store) {
	for round := range 5 {
		entries := make([]audit.Entry, racers)
		for i := range entries {
			entries[i] = entry(fmt.Sprint(round, " ", i), "1", consume(fmt.Sprint(round)))
			if i%3 == 0 {
				entries[i].Tenant = "bolt"
			}
		}
		want := map[string]int{"committed": 1, audit.ErrStale.Error(): racers - 1}
		if diff := cmp.Diff(want, count(all(t, stores, entries))); diff != "" {
			t.Fatalf("results (-want +got):\n%s", diff)
		}
	}
	if got, want := len(collect(t, stores[1].PendingRows)), 5; got != want {
		t.Errorf("%d records, want %d", got, want)
	}
}

func raceCounter(t *testing.T, stores []Store) {
	const limit = 100
	entries := make([]audit.Entry, 3*racers)
	for i := range entries {
		entries[i] = entry(fmt.Sprint(i), "1", charge(3, limit))
	}
	n := count(all(t, stores, entries))
	if diff := cmp.Diff(map[string]int{"committed": limit / 3, audit.ErrStale.Error(): len(entries) - limit/3}, n); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	if got, want := used(t, stores[1], calls)[calls], int64(limit/3*3); got != want {
		t.Errorf("the counter holds %d, want %d", got, want)
	}
}

func raceTicket(t *testing.T, stores []Store) {
	create(t, stores[0], "acme", ticket("CHG-1", 7))
	entries := make([]audit.Entry, racers)
	for i := range entries {
		entries[i] = entry(fmt.Sprint(i), "1", redeem("CHG-1"))
		if i%2 == 0 { // without a counter, there is only the ticket to wait for
			entries[i].Effects = append(entries[i].Effects, charge(1, 1000))
		}
	}
	results := all(t, stores, entries)
	if diff := cmp.Diff(map[string]int{"committed": 7, audit.ErrStale.Error(): racers - 7}, count(results)); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	var charged int64
	for i, r := range results {
		if i%2 == 0 && r.err == nil {
			charged++
		}
	}
	tickets, err := stores[1].Tickets(t.Context(), "acme", "", 9)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := tickets[0].Uses, int64(7); got != want {
		t.Errorf("the ticket has %d uses, want %d", got, want)
	}
	if got, want := len(collect(t, stores[1].Redemptions)), 7; got != want {
		t.Errorf("%d redemptions, want %d", got, want)
	}
	if got, want := used(t, stores[0], calls)[calls], charged; got != want {
		t.Errorf("the counter holds %d, want %d", got, want)
	}
}

// raceCounters charges counters in every order, which must not deadlock, and
// counters that do not exist yet.
func raceCounters(t *testing.T, stores []Store) {
	keys := make([]decision.BudgetKey, 6)
	for i := range keys {
		keys[i] = decision.BudgetKey{Budget: fmt.Sprint("budget ", i), Subject: "s"}
	}
	entries := make([]audit.Entry, 4*racers)
	for i := range entries {
		entries[i] = entry(fmt.Sprint(i), "1")
		entries[i].Tenant = []string{"acme", "bolt"}[i%2]
		for j := range 3 {
			entries[i].Effects = append(entries[i].Effects, decision.Charge{Key: keys[(i*7+j*5)%len(keys)], Amount: 1, Cap: 1 << 40})
		}
	}
	if diff := cmp.Diff(map[string]int{"committed": len(entries)}, count(all(t, stores, entries))); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	var sum int64
	for _, u := range collect(t, stores[0].Uses) {
		sum += u.Used - u.Leased
	}
	if got, want := sum, int64(3*len(entries)); got != want {
		t.Errorf("the counters hold %d, want %d", got, want)
	}
}

// raceRevoking redeems a ticket that is being revoked: nothing redeems it once
// the revocation is answered.
func raceRevoking(t *testing.T, stores []Store) {
	create(t, stores[0], "acme", ticket("CHG-1", 1000))
	revoked := make(chan error, 1)
	go func() {
		_, err := stores[1].Commit(t.Context(), ticketed(t, "acme", revoking(ticket("CHG-1", 1000))))
		revoked <- err
	}()
	entries := make([]audit.Entry, racers)
	for i := range entries {
		entries[i] = entry(fmt.Sprint(i), "1", redeem("CHG-1"))
	}
	n := count(all(t, stores, entries))
	if err := <-revoked; err != nil {
		t.Fatal(err)
	}
	if got, want := n["committed"]+n[audit.ErrStale.Error()], racers; got != want {
		t.Errorf("results: %v", n)
	}
	if _, err := stores[0].Commit(t.Context(), entry("late", "1", redeem("CHG-1"))); !errors.Is(err, audit.ErrStale) {
		t.Errorf("after the revocation: got %v, want %v", err, audit.ErrStale)
	}
	if got, want := len(collect(t, stores[0].Redemptions)), n["committed"]; got != want {
		t.Errorf("%d redemptions, want %d", got, want)
	}
}
