package lane_test

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/lane"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// entry is a decision under a key; n makes its id, digest and body.
func entry(key string, n byte, effects ...decision.Effect) audit.Entry {
	return audit.Entry{
		Row: audit.Row{
			Tenant: "acme", ID: [16]byte{n}, Kind: audit.Decision, Key: key,
			Digest: [32]byte{1}, At: noon, Body: []byte{n}, Leaf: [32]byte{n},
		},
		Effects: effects,
	}
}

func other(e audit.Entry) audit.Entry {
	e.Digest[0]++
	return e
}

var calls = decision.BudgetKey{Budget: "calls", Subject: `"acme"`}

func spend(n, limit int64) decision.Charge {
	return decision.Charge{Key: calls, Amount: n, Cap: limit}
}

func consume(n byte) decision.Consume {
	return decision.Consume{Token: [32]byte{n}, Expires: noon.Add(time.Minute)}
}

func turn(version int64) decision.Rollout { return decision.Rollout{Version: version} }

func redeem(id string) decision.Redeem { return decision.Redeem{Ticket: id, Version: 1} }

func change(id string, version int64, state decision.TicketState) decision.Ticket {
	return decision.Ticket{ID: id, Version: version, State: state, MaxUses: 2}
}

// told is an outcome in one word.
func told(o lane.Outcome) string {
	switch {
	case o.Err != nil:
		return o.Err.Error()
	case o.Receipt.Prior != nil:
		return "replay of " + string('0'+o.Receipt.Prior[0])
	}
	return "committed"
}

var stale, reused = audit.ErrStale.Error(), audit.ErrReused.Error()

var plans = []struct {
	name    string
	used    int64
	ticket  *lane.TicketState
	stored  *audit.Entry
	token   byte // accepted before
	entries []audit.Entry
	want    []string
	left    int64 // of the counter
	uses    int64 // of the ticket
}{
	{name: "nothing", want: []string{}},
	{name: "up to the cap and not beyond", used: 7, left: 10,
		entries: []audit.Entry{entry("a", 1, spend(2, 10)), entry("b", 2, spend(2, 10)), entry("c", 3, spend(1, 10))},
		want:    []string{"committed", stale, "committed"}},
	{name: "an amount over the cap", entries: []audit.Entry{entry("a", 1, spend(11, 10))}, want: []string{stale}},
	{name: "the largest numbers", used: math.MaxInt64 - 1, left: math.MaxInt64,
		entries: []audit.Entry{entry("a", 1, spend(math.MaxInt64, math.MaxInt64)), entry("b", 2, spend(1, math.MaxInt64)), entry("c", 3, spend(1, math.MaxInt64))},
		want:    []string{stale, "committed", stale}},
	{name: "a negative cap", entries: []audit.Entry{entry("a", 1, spend(1, math.MinInt64))}, want: []string{stale}},
	{name: "a refund", used: 5, left: 2, entries: []audit.Entry{entry("a", 1, spend(-3, 0))}, want: []string{"committed"}},
	{name: "a refund of more than was used", used: 5, left: 0,
		entries: []audit.Entry{entry("a", 1, spend(math.MinInt64, 0))}, want: []string{"committed"}},
	{name: "a refund makes room", used: 10, left: 10,
		entries: []audit.Entry{entry("a", 1, spend(1, 10)), entry("b", 2, spend(-1, 10)), entry("c", 3, spend(1, 10))},
		want:    []string{stale, "committed", "committed"}},
	{name: "nothing is charged over the cap", used: 20, left: 20,
		entries: []audit.Entry{entry("a", 1, spend(0, 10))}, want: []string{"committed"}},
	{name: "two charges of one entry add up", used: 0, left: 0,
		entries: []audit.Entry{entry("a", 1, spend(6, 10), spend(6, 10))}, want: []string{stale}},
	{name: "a later guard takes the earlier effects back", used: 0, left: 0, token: 9, ticket: &lane.TicketState{Version: 1, State: decision.TicketApproved, MaxUses: 1},
		entries: []audit.Entry{entry("a", 1, consume(1), redeem("t"), spend(6, 10), consume(9)), entry("b", 2, consume(1))},
		want:    []string{stale, "committed"}},
	{name: "one token, two requests", entries: []audit.Entry{entry("a", 1, consume(1)), entry("b", 2, consume(1))},
		want: []string{"committed", stale}},
	{name: "a token accepted before", token: 1, entries: []audit.Entry{entry("a", 1, consume(1))}, want: []string{stale}},
	{name: "two tokens that share half of their digest",
		entries: []audit.Entry{entry("a", 1, decision.Consume{Token: [32]byte{1}, Expires: noon.Add(time.Minute)}),
			entry("b", 2, decision.Consume{Token: [32]byte{0: 1, 31: 1}, Expires: noon.Add(time.Minute)})},
		want: []string{"committed", "committed"}},
	{name: "a ticket's last use", ticket: &lane.TicketState{Version: 1, State: decision.TicketApproved, Uses: 1, MaxUses: 2}, uses: 2,
		entries: []audit.Entry{entry("a", 1, redeem("t")), entry("b", 2, redeem("t"))}, want: []string{"committed", stale}},
	{name: "a revoked ticket", ticket: &lane.TicketState{Version: 1, State: decision.TicketRevoked, MaxUses: 2},
		entries: []audit.Entry{entry("a", 1, redeem("t"))}, want: []string{stale}},
	{name: "a ticket in another version than was seen", ticket: &lane.TicketState{Version: 2, State: decision.TicketApproved, MaxUses: 2},
		entries: []audit.Entry{entry("a", 1, redeem("t"))}, want: []string{stale}},
	{name: "a ticket that waits", ticket: &lane.TicketState{Version: 1, State: decision.TicketRequested, MaxUses: 2},
		entries: []audit.Entry{entry("a", 1, redeem("t"))}, want: []string{stale}},
	{name: "a ticket that is older than its records", ticket: &lane.TicketState{MaxUses: 2},
		entries: []audit.Entry{entry("a", 1, decision.Redeem{Ticket: "t"}), entry("b", 2, change("t", 1, decision.TicketApproved))}, want: []string{stale, stale}},
	{name: "a ticket's whole life", uses: 0,
		entries: []audit.Entry{entry("a", 1, redeem("t")), entry("b", 2, change("t", 1, decision.TicketApproved)), entry("c", 3, redeem("t")),
			entry("d", 4, change("t", 1, decision.TicketApproved)), entry("e", 5, change("t", 3, decision.TicketRevoked)),
			entry("f", 6, change("t", 2, decision.TicketRevoked)), entry("g", 7, redeem("t"))},
		want: []string{stale, "committed", "committed", stale, stale, "committed", stale}},
	{name: "a change of a ticket is taken back with its entry",
		entries: []audit.Entry{entry("a", 1, change("t", 1, decision.TicketApproved), redeem("none")), entry("b", 2, change("t", 1, decision.TicketRequested))},
		want:    []string{stale, "committed"}},
	{name: "no such ticket", entries: []audit.Entry{entry("a", 1, redeem("t"))}, want: []string{stale}},
	{name: "a retry within the batch", left: 1,
		entries: []audit.Entry{entry("a", 1, spend(1, 1)), entry("a", 2, spend(1, 1))},
		want:    []string{"committed", "replay of 1"}},
	{name: "a reused key within the batch", left: 1,
		entries: []audit.Entry{entry("a", 1, spend(1, 1)), other(entry("a", 2, spend(1, 1)))},
		want:    []string{"committed", reused}},
	{name: "after a stale entry the key is free", used: 10, left: 10,
		entries: []audit.Entry{entry("a", 1, spend(1, 10)), entry("a", 2)}, want: []string{stale, "committed"}},
	{name: "a retry of a stored request", used: 10, left: 10, stored: new(entry("a", 1)),
		entries: []audit.Entry{entry("a", 2, spend(1, 10))}, want: []string{"replay of 1"}},
	{name: "another request under a stored key", stored: new(entry("a", 1)),
		entries: []audit.Entry{other(entry("a", 2))}, want: []string{reused}},
	{name: "the stored entry itself", stored: new(entry("a", 1)),
		entries: []audit.Entry{entry("a", 1)}, want: []string{"committed"}},
	{name: "the stored id with another body", stored: new(entry("a", 1)),
		entries: []audit.Entry{func() audit.Entry { e := entry("a", 1); e.Body = []byte{7}; return e }()}, want: []string{"replay of 1"}},
	{name: "versions of the rollout, one after the other",
		entries: []audit.Entry{entry("a", 1, turn(2)), entry("b", 2, turn(1)), entry("c", 3, turn(1)), entry("d", 4, turn(2))},
		want:    []string{stale, "committed", stale, "committed"}},
	{name: "a version is taken back with its entry",
		entries: []audit.Entry{entry("a", 1, turn(1), redeem("none")), entry("b", 2, turn(1))}, want: []string{stale, "committed"}},
	{name: "an effect of an unknown type", left: 0,
		entries: []audit.Entry{entry("a", 1, spend(1, 10), &decision.Redeem{Ticket: "t"})}, want: []string{stale}},
}

func TestPlan(t *testing.T) {
	for _, test := range plans {
		t.Run(test.name, func(t *testing.T) {
			s := lane.NewState()
			s.Used[lane.CounterKey{Tenant: "acme", BudgetKey: calls}] = test.used
			if test.ticket != nil {
				s.Tickets[lane.TicketKey{Tenant: "acme", ID: "t"}] = *test.ticket
			}
			if e := test.stored; e != nil {
				s.Records[lane.RecordKey{Tenant: "acme", Kind: e.Kind, Key: e.Key}] = lane.Prior{ID: e.ID, Digest: e.Digest, Body: e.Body}
			}
			if test.token != 0 {
				s.Tokens[[32]byte{test.token}] = true
			}
			outcomes, _ := lane.Plan(s, test.entries)
			got := make([]string, len(outcomes))
			for i, o := range outcomes {
				got[i] = told(o)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("outcomes (-want +got):\n%s", diff)
			}
			if got, want := s.Used[lane.CounterKey{Tenant: "acme", BudgetKey: calls}], test.left; got != want {
				t.Errorf("the counter holds %d, want %d", got, want)
			}
			if test.ticket != nil {
				if got, want := s.Tickets[lane.TicketKey{Tenant: "acme", ID: "t"}].Uses, test.uses; got != want {
					t.Errorf("the ticket has %d uses, want %d", got, want)
				}
			}
		})
	}
}

func TestPlanKeepsTenantsApart(t *testing.T) {
	a, b := entry("a", 1, spend(1, 1)), entry("a", 2, spend(1, 1))
	b.Tenant = "bolt"
	outcomes, writes := lane.Plan(lane.NewState(), []audit.Entry{a, b})
	if got, want := told(outcomes[0])+", "+told(outcomes[1]), "committed, committed"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := len(writes.Counters), 2; got != want {
		t.Errorf("%d counters changed, want %d", got, want)
	}
	// A token is used up for every tenant at once.
	a, b = entry("c", 3, consume(1)), entry("c", 4, consume(1))
	b.Tenant = "bolt"
	outcomes, _ = lane.Plan(lane.NewState(), []audit.Entry{a, b})
	if got, want := outcomes[1].Err, audit.ErrStale; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestReceiptsTellTheSize(t *testing.T) {
	s := lane.NewState()
	s.Size = 40
	s.Records[lane.RecordKey{Tenant: "acme", Kind: audit.Decision, Key: "a"}] = lane.Prior{ID: [16]byte{1}, Digest: [32]byte{1}, Body: []byte{1}, Size: 7}
	outcomes, _ := lane.Plan(s, []audit.Entry{entry("a", 2), entry("b", 3), entry("b", 4)})
	var got []int64
	for _, o := range outcomes {
		got = append(got, o.Receipt.Size)
	}
	if diff := cmp.Diff([]int64{7, 40, 40}, got); diff != "" {
		t.Errorf("sizes (-want +got):\n%s", diff)
	}
}
