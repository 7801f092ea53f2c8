package lane

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/uuid/v5"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

// Writes are what a batch changes, each sorted by its key.
type Writes struct {
	// Rows are the new records.
	Rows []audit.Row
	// Tokens are the tokens newly used up.
	Tokens []audit.UsedToken
	// Counters are the counters that changed, with what they hold now.
	Counters []Counter
	// Made are the tickets that are new, and Tickets those that were redeemed or
	// changed, as they are now.
	Made, Tickets []Ticket
	// Redemptions are the new uses of tickets.
	Redemptions []audit.Redemption
	// Rollouts and Locks are the new versions of the chains; Locks of the control
	// state, which has changes of budgets too.
	Rollouts, Locks []audit.VersionRow
	// Lapses are the decisions whose reservations lapse, and Settled the decisions,
	// without a time, whose do not any more.
	Lapses, Settled []audit.Lapse
	// Forgotten are the tokens, without anything else, that go, and Vaulted is then what
	// tokens stand for; it stays as it is where it is there already.
	Vaulted, Forgotten []audit.VaultRow
}

// Empty reports that a batch changes nothing.
func (w *Writes) Empty() bool { return len(w.Rows) == 0 }

// Counter is a counter's new value.
type Counter struct {
	Key  CounterKey
	Used int64
}

// Ticket is what is stored of a ticket from now on.
type Ticket struct {
	Key TicketKey
	TicketState
}

// Plan decides the entries of a batch one after the other, in order, each
// against the state that its predecessors leave, and returns the outcome of each
// and all that is to be written. An entry whose guard fails changes nothing and
// leaves its neighbours alone. Plan changes the state into the one after the
// batch.
func Plan(s *State, entries []audit.Entry) ([]Outcome, Writes) {
	outcomes := make([]Outcome, len(entries))
	p := planner{State: s, counters: map[CounterKey]bool{}, tickets: map[TicketKey]bool{}, made: map[TicketKey]bool{}}
	for i := range entries {
		outcomes[i] = p.decide(&entries[i])
	}
	return outcomes, p.finish()
}

type planner struct {
	*State
	writes   Writes
	counters map[CounterKey]bool // that committed entries changed
	tickets  map[TicketKey]bool
	made     map[TicketKey]bool // of these, those that were not there before
}

func (p *planner) decide(e *audit.Entry) Outcome {
	key := keyOf(e)
	if prior, ok := p.Records[key]; ok {
		return prior.answer(e)
	}
	if e.Fenced && e.Locks != p.Locks {
		return Outcome{Err: audit.ErrFenced}
	}
	undo, ok := p.apply(e)
	if !ok {
		for _, revert := range slices.Backward(undo) {
			revert()
		}
		return Outcome{Err: audit.ErrStale}
	}
	p.Records[key] = Prior{ID: e.ID, Digest: e.Digest, Body: e.Body, Size: p.Size}
	p.commit(e)
	return Outcome{Receipt: audit.Receipt{Size: p.Size}}
}

// answer is what an entry gets that meets a record under its own key.
func (r Prior) answer(e *audit.Entry) Outcome {
	switch {
	case r.Digest != e.Digest:
		return Outcome{Err: audit.ErrReused}
	case r.ID == e.ID && bytes.Equal(r.Body, e.Body):
		// This very entry, committed by an attempt whose answer was lost.
		return Outcome{Receipt: audit.Receipt{Size: r.Size}}
	}
	return Outcome{Receipt: audit.Receipt{Size: r.Size, Prior: r.Body}}
}

// apply changes the state by an entry's effects until a guard fails. undo takes
// back, last first, what was done.
func (p *planner) apply(e *audit.Entry) (undo []func(), ok bool) {
	for _, effect := range e.Effects {
		switch f := effect.(type) {
		case decision.Counting:
			key := CounterKey{e.Tenant, f.Counter()}
			was := p.Used[key]
			now, ok := f.Apply(was, p.beside(e.Tenant, f))
			if !ok {
				return undo, false
			}
			p.Used[key] = now
			undo = append(undo, func() { p.Used[key] = was })
		case decision.Redeem:
			key := TicketKey{f.Of(e.Tenant), f.Ticket}
			was, ok := p.Tickets[key]
			if !ok || was.State != decision.TicketApproved || was.Version != f.Version || was.Uses >= was.MaxUses {
				return undo, false
			}
			now := was
			now.Uses++
			p.Tickets[key] = now
			undo = append(undo, func() { p.Tickets[key] = was })
		case decision.Ticket:
			key := TicketKey{e.Tenant, f.ID}
			was, ok := p.Tickets[key]
			if ok != (f.Version > 1) || was.Version != f.Version-1 {
				return undo, false
			}
			p.Tickets[key] = TicketState{Version: f.Version, State: f.State, Record: e.ID, Uses: was.Uses, MaxUses: f.MaxUses}
			undo = append(undo, func() {
				if p.Tickets[key] = was; !ok {
					delete(p.Tickets, key)
				}
			})
		case decision.Consume:
			if p.Tokens[f.Token] || Forgotten(f.Expires, p.Horizon) {
				return undo, false
			}
			p.Tokens[f.Token] = true
			undo = append(undo, func() { delete(p.Tokens, f.Token) })
		case decision.Vault, decision.Forget: // they have no guard
		case decision.Rollout:
			was := p.Rollout
			if f.Version != was+1 {
				return undo, false
			}
			p.Rollout = f.Version
			undo = append(undo, func() { p.Rollout = was })
		case decision.Control:
			was := p.Locks
			if f.Version != was+1 {
				return undo, false
			}
			p.Locks = f.Version
			undo = append(undo, func() { p.Locks = was })
		default:
			return undo, false // Check lets none pass
		}
	}
	return undo, true
}

// beside is what the further counters hold together that an effect's guard looks at.
func (p *planner) beside(tenant string, effect decision.Counting) (sum int64) {
	for _, key := range effect.Beside() {
		sum = plus(sum, p.Used[CounterKey{tenant, key}])
	}
	return sum
}

// commit notes the writes of an entry whose effects are all applied.
func (p *planner) commit(e *audit.Entry) {
	w := &p.writes
	w.Rows = append(w.Rows, e.Row)
	switch lapses := decision.Lapses(e.Effects); {
	case e.Kind == audit.Settlement:
		w.Settled = append(w.Settled, audit.Lapse{Tenant: e.Tenant, Decision: uuid.FromStringOrNil(e.Key)})
	case !lapses.IsZero():
		w.Lapses = append(w.Lapses, audit.Lapse{Tenant: e.Tenant, Decision: e.ID, At: lapses.UTC().Truncate(time.Microsecond)})
	}
	for _, effect := range e.Effects {
		switch f := effect.(type) {
		case decision.Counting:
			if n, ok := effect.(decision.Note); ok && n.Delta() == 0 {
				continue // it was looked at, and is as it was
			}
			p.counters[CounterKey{e.Tenant, f.Counter()}] = true
		case decision.Redeem:
			p.tickets[TicketKey{f.Of(e.Tenant), f.Ticket}] = true
			w.Redemptions = append(w.Redemptions, audit.Redemption{Tenant: f.Of(e.Tenant), Ticket: f.Ticket, Record: e.ID})
		case decision.Ticket:
			key := TicketKey{e.Tenant, f.ID}
			p.tickets[key] = true
			p.made[key] = p.made[key] || f.Version == 1
		case decision.Consume:
			w.Tokens = append(w.Tokens, audit.UsedToken{
				Tenant: e.Tenant, Token: f.Token, Record: e.ID, Expires: f.Expires.UTC().Truncate(time.Microsecond),
			})
		case decision.Vault:
			p.vault(audit.VaultRow{Tenant: e.Tenant, Token: f.Token, Class: f.Class, Sealed: f.Sealed, Record: e.ID})
		case decision.Forget:
			p.forget(e.Tenant, f.Token)
		case decision.Rollout:
			w.Rollouts = append(w.Rollouts, audit.VersionRow{Chain: audit.RolloutChain, Version: f.Version, Record: e.ID}) // in order already
		case decision.Control:
			w.Locks = append(w.Locks, audit.VersionRow{Chain: audit.ControlChain, Version: f.Version, Record: e.ID}) // likewise
		}
	}
}

func (p *planner) finish() Writes {
	w := p.writes
	for key := range p.counters {
		w.Counters = append(w.Counters, Counter{key, p.Used[key]})
	}
	for key := range p.tickets {
		if t := (Ticket{key, p.Tickets[key]}); p.made[key] {
			w.Made = append(w.Made, t)
		} else {
			w.Tickets = append(w.Tickets, t)
		}
	}
	slices.SortFunc(w.Rows, func(a, b audit.Row) int {
		return compareRecords(RecordKey{a.Tenant, a.Kind, a.Key}, RecordKey{b.Tenant, b.Kind, b.Key})
	})
	slices.SortFunc(w.Tokens, func(a, b audit.UsedToken) int { return compareTokens(a.Token, b.Token) })
	slices.SortFunc(w.Counters, func(a, b Counter) int { return compareCounters(a.Key, b.Key) })
	for _, tickets := range [][]Ticket{w.Made, w.Tickets} {
		slices.SortFunc(tickets, func(a, b Ticket) int { return compareTickets(a.Key, b.Key) })
	}
	slices.SortFunc(w.Redemptions, compareRedemptions)
	slices.SortFunc(w.Vaulted, compareVault)
	slices.SortFunc(w.Forgotten, compareVault)
	slices.SortFunc(w.Lapses, compareLapses)
	slices.SortFunc(w.Settled, compareLapses)
	return w
}

func compareRedemptions(a, b audit.Redemption) int {
	if c := compareTickets(TicketKey{a.Tenant, a.Ticket}, TicketKey{b.Tenant, b.Ticket}); c != 0 {
		return c
	}
	return strings.Compare(string(a.Record[:]), string(b.Record[:]))
}

func compareLapses(a, b audit.Lapse) int {
	return cmp.Or(strings.Compare(a.Tenant, b.Tenant), bytes.Compare(a.Decision[:], b.Decision[:]))
}
