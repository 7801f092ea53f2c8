package lane

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

// RecordKey is an idempotency key: unique over all records.
type RecordKey struct {
	Tenant string
	Kind   audit.Kind
	Key    string
}

// CounterKey names one counter of one tenant.
type CounterKey struct {
	Tenant string
	decision.BudgetKey
}

// TicketKey names one ticket of one tenant.
type TicketKey struct{ Tenant, ID string }

// Prior is a record that is stored under a key already.
type Prior struct {
	ID     [16]byte
	Digest [32]byte
	Body   []byte
	// Size is what a receipt for it says: its index if it is sealed, else the
	// size of the newest checkpoint.
	Size int64
}

// TicketState is what a redemption, and a change of the ticket, depends on.
type TicketState struct {
	Version       int64
	State         decision.TicketState
	Record        [16]byte // that made the version
	Uses, MaxUses int64
}

// State is what a batch meets in the store. The store holds the counters and the
// tickets locked until the batch is committed; the rest is guarded by unique
// keys. What is absent does not exist.
type State struct {
	// Size is the size of the newest checkpoint; 0: there is none.
	Size    int64
	Records map[RecordKey]Prior
	// Tokens are those that were accepted before.
	Tokens  map[[32]byte]bool
	Used    map[CounterKey]int64
	Tickets map[TicketKey]TicketState
	// Rollout and Locks are the newest versions of the chains, Locks of the control
	// state with its changes of budgets; 0: there is none.
	Rollout, Locks int64
	// Horizon is the hour before which tokens may be forgotten; see Forgotten. It
	// is read after the tokens.
	Horizon int64
}

// NewState is the state of an empty store.
func NewState() *State {
	return &State{
		Records: map[RecordKey]Prior{}, Tokens: map[[32]byte]bool{},
		Used: map[CounterKey]int64{}, Tickets: map[TicketKey]TicketState{},
	}
}

// Needs are the parts of the state that a batch depends on, each sorted and
// without duplicates: the order in which a store locks them.
type Needs struct {
	Records  []RecordKey
	Tokens   [][32]byte
	Counters []CounterKey
	Tickets  []TicketKey
	// Rollout and Locks say that the newest version of the chain is needed, and
	// Relock that the control state is changed.
	Rollout, Locks, Relock bool
}

// NeedsOf collects what a batch depends on.
func NeedsOf(entries []audit.Entry) Needs {
	var n Needs
	for i := range entries {
		e := &entries[i]
		n.Records = append(n.Records, keyOf(e))
		n.Locks = n.Locks || e.Fenced
		for _, effect := range e.Effects {
			switch f := effect.(type) {
			case decision.Counting:
				n.Counters = append(n.Counters, CounterKey{e.Tenant, f.Counter()})
				for _, key := range f.Beside() {
					n.Counters = append(n.Counters, CounterKey{e.Tenant, key})
				}
			case decision.Redeem:
				n.Tickets = append(n.Tickets, TicketKey{f.Of(e.Tenant), f.Ticket})
			case decision.Ticket:
				n.Tickets = append(n.Tickets, TicketKey{e.Tenant, f.ID})
			case decision.Consume:
				n.Tokens = append(n.Tokens, f.Token)
			case decision.Rollout:
				n.Rollout = true
			case decision.Control:
				n.Locks, n.Relock = true, true
			}
		}
	}
	n.Records = unique(n.Records, compareRecords)
	n.Tokens = unique(n.Tokens, compareTokens)
	n.Counters = unique(n.Counters, compareCounters)
	n.Tickets = unique(n.Tickets, compareTickets)
	return n
}

func keyOf(e *audit.Entry) RecordKey { return RecordKey{e.Tenant, e.Kind, e.Key} }

func unique[T comparable](all []T, compare func(a, b T) int) []T {
	slices.SortFunc(all, compare)
	return slices.Compact(all)
}

func compareRecords(a, b RecordKey) int {
	return cmp.Or(strings.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Kind, b.Kind), strings.Compare(a.Key, b.Key))
}

func compareTokens(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) }

func compareCounters(a, b CounterKey) int {
	return cmp.Or(strings.Compare(a.Tenant, b.Tenant), strings.Compare(a.Budget, b.Budget),
		strings.Compare(a.Subject, b.Subject), cmp.Compare(a.Start, b.Start))
}

func compareTickets(a, b TicketKey) int {
	return cmp.Or(strings.Compare(a.Tenant, b.Tenant), strings.Compare(a.ID, b.ID))
}

// SortCounters puts counters into the order in which everybody locks them.
func SortCounters(keys []CounterKey) { slices.SortFunc(keys, compareCounters) }
