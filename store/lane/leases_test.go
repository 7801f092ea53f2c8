package lane_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/lane"
)

// holder is one process that charges one counter of which it has a lease.
type holder struct {
	*testing.T
	leases        lane.Leases
	memory        lane.Memory
	at            time.Time
	used, unspent int64
	there         bool
	entries       int
}

// newHolder has a lease.
func newHolder(t *testing.T) *holder {
	h := &holder{T: t, at: noon}
	h.leases.Join([16]byte{1})
	h.leases.Beside(2)
	for !h.there {
		if h.entries++; h.entries > 50 {
			t.Fatal("there is no lease")
		}
		h.commit(h.terms(5, 100_000))
	}
	return h
}

// terms are those of a batch that charges each of some amounts, under caps.
func (h *holder) terms(of ...int64) (lane.Terms, []audit.Entry) {
	var entries []audit.Entry
	for i := 0; i < len(of); i += 2 {
		h.entries++
		entries = append(entries, entry(fmt.Sprint(h.entries), byte(h.entries), decision.Charge{Key: modelled.BudgetKey, Amount: of[i], Cap: of[i+1]}))
	}
	return h.leases.Terms(entries, lane.NeedsOf(entries).Counters, h.at), entries
}

func (h *holder) commit(t lane.Terms, entries []audit.Entry) {
	h.Helper()
	state, rows := lane.NewState(), map[lane.CounterKey]int64{}
	if len(t.Shared()) > 0 {
		state.Used[modelled] = h.used
	}
	if h.there && len(t.Held()) > 0 {
		rows[modelled] = h.unspent
	}
	if !t.Meet(state, rows) {
		h.Fatal("the lease is not what was expected")
	}
	_, writes := lane.Plan(state, entries)
	settled := t.Settle(state, &writes)
	for _, c := range settled.Counters {
		h.used = c.Used
	}
	for _, l := range settled.Kept {
		h.unspent, h.there = l.Unspent, true
	}
	if len(settled.Ended) > 0 {
		h.unspent, h.there = 0, false
	}
	h.leases.Committed(&t, &settled, &h.memory, h.at)
}

// counts says what a batch counts on.
func (h *holder) counts(of ...int64) string {
	t, _ := h.terms(of...)
	switch {
	case t.Terms[0].Spend:
		return "lease"
	case t.Terms[0].Held:
		return "both"
	}
	return "counter"
}

func TestWhatABatchCountsOn(t *testing.T) {
	h := newHolder(t)
	for name, c := range map[string]struct {
		of   []int64
		want string
	}{
		"covered":               {[]int64{1, 100_000}, "lease"},
		"all of it":             {[]int64{h.unspent, 100_000}, "lease"},
		"too much":              {[]int64{h.unspent, 100_000, 1, 100_000}, "both"},
		"another cap":           {[]int64{1, 100_001}, "both"},
		"several caps":          {[]int64{1, 100_000, 1, 100_001}, "both"},
		"a refund":              {[]int64{-5, 0}, "lease"},
		"a refund and a charge": {[]int64{-5, 7, 1, 100_000}, "lease"},
		"nothing":               {[]int64{0, 5}, "lease"},
	} {
		if got := h.counts(c.of...); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
	h.at = h.at.Add(lane.LeaseTerm)
	if got, want := h.counts(1, 100_000), "both"; got != want {
		t.Errorf("once a second: got %s, want %s", got, want)
	}
	h.commit(h.terms(1, 100_000, 1, 100_001)) // ends it
	if h.there {
		t.Error("a lease outlives several caps")
	}
	if got, want := h.counts(1, 100_000), "counter"; got != want {
		t.Errorf("where there was no lease to be had: got %s, want %s", got, want)
	}
}

// What several counters hold together is not known where one of them is not read.
func TestALeaseIsForPlainCharges(t *testing.T) {
	h := newHolder(t)
	sliding := decision.Charge{Key: modelled.BudgetKey, Amount: 1, Cap: 100_000, Length: 3600}
	entries := []audit.Entry{entry("sliding", 1, sliding)}
	needs := lane.NeedsOf(entries)
	terms := h.leases.Terms(entries, needs.Counters, h.at)
	if got, want := len(terms.Shared()), len(needs.Counters); got != want || want < 2 {
		t.Errorf("%d counters are read, want %d", got, want)
	}
	if got, want := len(terms.Held()), 1; got != want {
		t.Errorf("%d leases are read, want %d", got, want)
	}
	h.commit(terms, entries)
	if h.there {
		t.Error("the lease outlives a charge that looks beside")
	}
}

// What rows say goes before what is remembered.
func TestALeaseIsNotWhatItWas(t *testing.T) {
	for name, rows := range map[string]map[lane.CounterKey]int64{
		"it is gone": {}, "it is less": {modelled: 6}, "it is more than there can be": {modelled: 100_001},
	} {
		h := newHolder(t)
		terms, _ := h.terms(7, 100_000)
		if terms.Meet(lane.NewState(), rows) {
			t.Errorf("%s: it is charged", name)
		}
		h.leases.Doubt(&terms)
		if got, want := h.counts(7, 100_000), "both"; got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

// A batch that a holder began is nothing to the next holder of the process.
func TestAnotherHolderHasNoLease(t *testing.T) {
	h := newHolder(t)
	late, entries := h.terms(1, 100_000)
	h.leases.Gone([16]byte{2}) // not this one
	if got, want := h.counts(1, 100_000), "lease"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	h.leases.Gone([16]byte{1})
	if got, want := h.counts(1, 100_000), "counter"; got != want {
		t.Errorf("no holder: got %s, want %s", got, want)
	}
	h.leases.Join([16]byte{3})
	h.commit(late, entries)
	h.leases.Doubt(&late)
	if got, want := h.counts(1, 100_000), "counter"; got != want {
		t.Errorf("a new holder: got %s, want %s", got, want)
	}
	h.leases.Beside(2)
	if got, want := h.counts(1, 100_000), "both"; got != want {
		t.Errorf("a new holder beside another: got %s, want %s", got, want)
	}
}

// A lease that a batch takes up while it is being returned is known afterwards.
func TestALeaseIsTakenUpWhileItIsReturned(t *testing.T) {
	h := newHolder(t)
	h.at = h.at.Add(lane.LeaseTerm)
	idle := h.leases.Idle(h.at)
	if len(idle) != 1 || idle[0].Key != modelled {
		t.Fatalf("idle are %v", idle)
	}
	h.commit(h.terms(1, 100_000))
	h.leases.Returned([16]byte{1}, idle)
	h.at = h.at.Add(time.Hour) // nothing is hot
	if idle = h.leases.Idle(h.at); len(idle) != 1 {
		t.Error("a lease is forgotten")
	}
	h.leases.Returned([16]byte{2}, idle)
	if !h.leases.Wanted(h.at) {
		t.Error("a lease is forgotten for another holder's")
	}
	h.leases.Returned([16]byte{1}, idle)
	if h.leases.Wanted(h.at) {
		t.Error("a lease that was returned is not forgotten")
	}
}

// What is remembered of a counter follows what is charged to its lease.
func TestMemoryFollowsALease(t *testing.T) {
	h := newHolder(t)
	want := &decision.Want{Tenant: modelled.Tenant, Budgets: []decision.BudgetKey{modelled.BudgetKey}, Remembered: true}
	before, _ := h.memory.Facts(want)
	h.commit(h.terms(7, 100_000, 5, 100_000, -2, 0))
	after, ok := h.memory.Facts(want)
	if got, want := after.Used[modelled.BudgetKey]-before.Used[modelled.BudgetKey], int64(10); !ok || got != want {
		t.Errorf("it went up by %d, want %d", got, want)
	}
	if got, want := after.Used[modelled.BudgetKey], h.used-h.unspent; got != want {
		t.Errorf("%d are remembered, want %d", got, want)
	}
}
