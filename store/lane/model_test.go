package lane_test

import (
	"bytes"
	"errors"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/lane"
)

// model takes one entry at a time, on copies of everything, with unbounded
// arithmetic: slow and plain.
type model struct {
	records map[string]audit.Entry
	tokens  map[[32]byte]bool
	used    map[string]*big.Int
	tickets map[string]lane.TicketState
	version int64
}

func (m *model) take(e audit.Entry) string {
	if prior, ok := m.records[e.Tenant+"/"+e.Key]; ok {
		switch {
		case prior.Digest != e.Digest:
			return audit.ErrReused.Error()
		case prior.ID == e.ID && bytes.Equal(prior.Body, e.Body):
			return "committed"
		}
		return "replay of " + string('0'+prior.Body[0])
	}
	next := &model{
		records: m.records, tokens: maps.Clone(m.tokens), used: maps.Clone(m.used), tickets: maps.Clone(m.tickets), version: m.version,
	}
	for _, effect := range e.Effects {
		if !next.apply(&e, effect) {
			return audit.ErrStale.Error()
		}
	}
	*m = *next
	m.records[e.Tenant+"/"+e.Key] = e
	return "committed"
}

func (m *model) apply(e *audit.Entry, effect decision.Effect) bool {
	tenant := e.Tenant
	switch f := effect.(type) {
	case decision.Consume:
		if m.tokens[f.Token] {
			return false
		}
		m.tokens[f.Token] = true
	case decision.Redeem:
		key := tenant + "/" + f.Ticket
		ticket, ok := m.tickets[key]
		if !ok || ticket.State != decision.TicketApproved || ticket.Version != f.Version || ticket.Uses == ticket.MaxUses {
			return false
		}
		ticket.Uses++
		m.tickets[key] = ticket
	case decision.Ticket:
		key := tenant + "/" + f.ID
		ticket, ok := m.tickets[key]
		if f.Version == 1 && ok || f.Version > 1 && (!ok || ticket.Version+1 != f.Version) {
			return false
		}
		m.tickets[key] = lane.TicketState{Version: f.Version, State: f.State, Record: e.ID, MaxUses: f.MaxUses, Uses: ticket.Uses}
	case decision.Charge:
		key := tenant + "/" + f.Key.Budget
		sum := big.NewInt(f.Amount)
		if was, ok := m.used[key]; ok {
			sum.Add(sum, was)
		}
		if f.Amount > 0 && sum.Cmp(big.NewInt(f.Cap)) > 0 {
			return false
		}
		if sum.Sign() < 0 {
			sum = new(big.Int)
		}
		m.used[key] = sum
	case decision.Rollout:
		if f.Version != m.version+1 {
			return false
		}
		m.version++
	}
	return true
}

// genEntry draws from few keys, tokens, counters and tickets, so that entries
// meet. id numbers the entry.
func genEntry(t *rapid.T, id byte) audit.Entry {
	e := entry(rapid.StringMatching("[a-f]").Draw(t, "key"), id)
	e.Tenant = rapid.SampledFrom([]string{"acme", "bolt"}).Draw(t, "tenant")
	e.Digest[0] = rapid.SampledFrom([]byte{1, 1, 1, 2}).Draw(t, "digest")
	for range rapid.IntRange(0, 3).Draw(t, "effects") {
		switch rapid.IntRange(0, 4).Draw(t, "effect") {
		case 4:
			state := rapid.SampledFrom([]decision.TicketState{decision.TicketRequested, decision.TicketApproved, decision.TicketRevoked}).Draw(t, "state")
			e.Effects = append(e.Effects, change(rapid.SampledFrom([]string{"one", "new"}).Draw(t, "changed"), rapid.Int64Range(1, 4).Draw(t, "of version"), state))
		case 3:
			e.Effects = append(e.Effects, turn(rapid.Int64Range(1, 4).Draw(t, "version")))
		case 0:
			e.Effects = append(e.Effects, consume(rapid.ByteRange(0, 5).Draw(t, "token")))
		case 1:
			e.Effects = append(e.Effects, decision.Redeem{Ticket: rapid.SampledFrom([]string{"one", "three", "revoked", "new"}).Draw(t, "ticket"), Version: rapid.Int64Range(1, 3).Draw(t, "seen")})
		case 2:
			amount := rapid.OneOf(rapid.Int64Range(-4, 6), rapid.Int64()).Draw(t, "amount")
			limit := rapid.OneOf(rapid.Int64Range(0, 20), rapid.Int64()).Draw(t, "cap")
			budget := rapid.SampledFrom([]string{"calls", "money"}).Draw(t, "budget")
			e.Effects = append(e.Effects, decision.Charge{Key: decision.BudgetKey{Budget: budget}, Amount: amount, Cap: limit})
		}
	}
	return e
}

func TestPlanIsOneEntryAfterTheOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		state := lane.NewState()
		m := &model{records: map[string]audit.Entry{}, tokens: map[[32]byte]bool{}, used: map[string]*big.Int{}, tickets: map[string]lane.TicketState{}}
		for _, tenant := range []string{"acme", "bolt"} {
			for id, ticket := range map[string]lane.TicketState{"one": {Version: 1, State: decision.TicketApproved, MaxUses: 1},
				"three": {Version: 1, State: decision.TicketApproved, MaxUses: 3}, "revoked": {Version: 2, State: decision.TicketRevoked, MaxUses: 9}} {
				state.Tickets[lane.TicketKey{Tenant: tenant, ID: id}] = ticket
				m.tickets[tenant+"/"+id] = ticket
			}
		}
		id := byte(0)
		// Several batches: each starts from what the one before left.
		for range rapid.IntRange(1, 4).Draw(t, "batches") {
			var entries []audit.Entry
			for range rapid.IntRange(0, 12).Draw(t, "entries") {
				e := genEntry(t, id)
				entries = append(entries, e)
				id++
				if rapid.IntRange(0, 9).Draw(t, "again") == 0 {
					entries = append(entries, e)
				}
			}
			before, version, tickets := maps.Clone(state.Used), state.Rollout, maps.Clone(state.Tickets)
			outcomes, writes := lane.Plan(state, entries)
			committed := 0
			for i, o := range outcomes {
				known := m.knows(entries[i])
				want := m.take(entries[i])
				if got := told(o); got != want {
					t.Fatalf("entry %d: got %q, want %q", i, got, want)
				}
				if want == "committed" && !known {
					committed++
				}
			}
			m.compare(t, state)
			checkWrites(t, writes, committed, before, state)
			checkTickets(t, writes, tickets, state.Tickets)
			for _, r := range writes.Rollouts {
				if version++; r.Version != version {
					t.Fatalf("version %d is written in the place of %d", r.Version, version)
				}
			}
			if version != state.Rollout {
				t.Fatalf("the newest version is %d, written up to %d", state.Rollout, version)
			}
		}
	})
}

func (m *model) knows(e audit.Entry) bool {
	_, ok := m.records[e.Tenant+"/"+e.Key]
	return ok
}

func (m *model) compare(t *rapid.T, s *lane.State) {
	for key, used := range s.Used {
		want := m.used[key.Tenant+"/"+key.Budget]
		if want == nil {
			want = new(big.Int)
		}
		if got := big.NewInt(used); got.Cmp(want) != 0 {
			t.Fatalf("the counter %v holds %v, want %v", key, got, want)
		}
	}
	for key, ticket := range s.Tickets {
		if got, want := ticket, m.tickets[key.Tenant+"/"+key.ID]; got != want {
			t.Fatalf("the ticket %v is %v, want %v", key, got, want)
		}
	}
	if s.Rollout != m.version {
		t.Fatalf("the newest version is %d, want %d", s.Rollout, m.version)
	}
	if diff := cmp.Diff(m.tokens, s.Tokens); diff != "" {
		t.Fatalf("tokens (-want +got):\n%s", diff)
	}
}

// checkWrites holds the writes against the state: complete, and sorted.
func checkWrites(t *rapid.T, w lane.Writes, committed int, before map[lane.CounterKey]int64, after *lane.State) {
	if got, want := len(w.Rows), committed; got != want {
		t.Fatalf("%d rows, want %d", got, want)
	}
	if w.Empty() != (committed == 0) {
		t.Fatalf("Empty says %v with %d rows", w.Empty(), committed)
	}
	written := map[lane.CounterKey]int64{}
	for _, c := range w.Counters {
		written[c.Key] = c.Used
	}
	for key, used := range after.Used {
		if got, ok := written[key]; ok && got != used || !ok && before[key] != used {
			t.Fatalf("the counter %v goes from %d to %d, written %d (%v)", key, before[key], used, got, ok)
		}
	}
	for name, sorted := range map[string]bool{
		"rows":   slices.IsSortedFunc(w.Rows, func(a, b audit.Row) int { return bytes.Compare([]byte(a.Tenant+"/"+a.Key), []byte(b.Tenant+"/"+b.Key)) }),
		"tokens": slices.IsSortedFunc(w.Tokens, func(a, b audit.UsedToken) int { return bytes.Compare(a.Token[:], b.Token[:]) }),
		"counters": slices.IsSortedFunc(w.Counters, func(a, b lane.Counter) int {
			return bytes.Compare([]byte(a.Key.Tenant+"/"+a.Key.Budget), []byte(b.Key.Tenant+"/"+b.Key.Budget))
		}),
		"made": slices.IsSortedFunc(w.Made, func(a, b lane.Ticket) int {
			return bytes.Compare([]byte(a.Key.Tenant+"/"+a.Key.ID), []byte(b.Key.Tenant+"/"+b.Key.ID))
		}),
		"tickets": slices.IsSortedFunc(w.Tickets, func(a, b lane.Ticket) int {
			return bytes.Compare([]byte(a.Key.Tenant+"/"+a.Key.ID), []byte(b.Key.Tenant+"/"+b.Key.ID))
		}),
	} {
		if !sorted {
			t.Fatalf("the %s are not sorted", name)
		}
	}
}

// checkTickets holds what is written of tickets against the state: those that were
// not there are made, and the others changed, if they did.
func checkTickets(t *rapid.T, w lane.Writes, before, after map[lane.TicketKey]lane.TicketState) {
	made, written := map[lane.TicketKey]bool{}, map[lane.TicketKey]lane.TicketState{}
	for _, one := range w.Made {
		made[one.Key], written[one.Key] = true, one.TicketState
	}
	for _, one := range w.Tickets {
		written[one.Key] = one.TicketState
	}
	for key, ticket := range after {
		was, there := before[key]
		if got, ok := written[key]; ok && got != ticket || !ok && was != ticket || made[key] == there {
			if !ok && there {
				continue // it did not change
			}
			t.Fatalf("the ticket %v goes from %v to %v, written %v (%v), made is %v", key, was, ticket, got, ok, made[key])
		}
	}
	if len(made)+len(w.Tickets) != len(written) {
		t.Fatal("a ticket is written twice")
	}
}

func TestNeedsAreSortedAndDistinct(t *testing.T) {
	var entries []audit.Entry
	for i := range 40 {
		e := entry(strconv.Itoa(i%7), byte(i), spend(1, 9), consume(byte(i%5)), redeem(strconv.Itoa(i%3)))
		e.Tenant = []string{"bolt", "acme"}[i%2]
		entries = append(entries, e)
	}
	n := lane.NeedsOf(entries)
	if got, want := []int{len(n.Records), len(n.Tokens), len(n.Counters), len(n.Tickets)}, []int{14, 5, 2, 6}; !slices.Equal(got, want) {
		t.Errorf("got %v records, tokens, counters and tickets, want %v", got, want)
	}
	if n.Records[0].Tenant != "acme" || n.Counters[0].Tenant != "acme" || n.Tickets[0].Tenant != "acme" || n.Tokens[0] != [32]byte{} {
		t.Error("not sorted")
	}
	if err := errors.Join(lane.Check(&entries[0])); err != nil {
		t.Error(err)
	}
}
