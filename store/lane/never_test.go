package lane_test

import (
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/lane"
)

// The life of budgets, from reservation to settlement, through retries, batches whose
// answers are lost, replicas that die, and windows and tokens that end, held against
// the plainest reference there is: a list of what was committed, added up anew after
// every step. test/chaos/never runs a million steps of it.

// capped are the budgets, by id, with what each counts.
var capped = map[string]decision.BudgetRule{
	"calls":  {ID: "calls", Unit: decision.Calls, Cap: 5, Window: decision.Hour, Per: []decision.Dimension{decision.ByHuman}},
	"tokens": {ID: "tokens", Unit: decision.Tokens, Cap: 100, Window: decision.Lifetime, Per: []decision.Dimension{decision.ByTenant}},
	"money":  {ID: "money", Unit: decision.Micros, Currency: "EUR", Cap: 1<<54 + 1, Window: decision.Lifetime, Per: []decision.Dimension{decision.ByHuman}},
}

// disk is what is durable, and no more than that.
type disk struct {
	records map[lane.RecordKey]audit.Row
	used    map[lane.CounterKey]int64
	tokens  map[[32]byte]time.Time
	tickets map[lane.TicketKey]lane.TicketState
	horizon int64
}

// state is what of the disk a batch says that it needs.
func (d *disk) state(n lane.Needs) *lane.State {
	s := lane.NewState()
	s.Horizon = d.horizon
	for _, k := range n.Records {
		if row, ok := d.records[k]; ok {
			s.Records[k] = lane.Prior{ID: row.ID, Digest: row.Digest, Body: row.Body}
		}
	}
	for _, k := range n.Tokens {
		if _, ok := d.tokens[k]; ok {
			s.Tokens[k] = true
		}
	}
	for _, k := range n.Counters {
		s.Used[k] = d.used[k]
	}
	for _, k := range n.Tickets {
		if ticket, ok := d.tickets[k]; ok {
			s.Tickets[k] = ticket
		}
	}
	return s
}

func (d *disk) write(t *rapid.T, w *lane.Writes) {
	for _, row := range w.Rows {
		key := lane.RecordKey{Tenant: row.Tenant, Kind: row.Kind, Key: row.Key}
		if _, twice := d.records[key]; twice {
			t.Fatalf("a second record of %v", key)
		}
		d.records[key] = row
	}
	for _, c := range w.Counters {
		d.used[c.Key] = c.Used
	}
	for _, ticket := range w.Tickets {
		d.tickets[ticket.Key] = ticket.TicketState
	}
	for _, token := range w.Tokens {
		if _, twice := d.tokens[token.Token]; twice {
			t.Fatalf("the token %x is stored twice", token.Token[:4])
		}
		d.tokens[token.Token] = token.Expires
	}
}

// request is a question as its caller knows it.
type request struct {
	key      string
	human    string
	cost     decision.Cost
	token    byte
	ticket   bool
	lapses   time.Time // of what it reserves; zero: never
	answer   string    // of the record that answers; empty: none yet
	reserved []decision.Reservation
	settled  bool
}

// queued is an entry that waits for its batch, with whom it answers.
type queued struct {
	entry    audit.Entry
	of       *request
	reserved []decision.Reservation // of a decision; a settlement has none
}

// realm is the machine under test and the reference beside it.
type realm struct {
	disk     disk
	now      time.Time
	replicas [2]struct {
		memory *lane.Memory
		queue  []queued
	}
	requests []*request
	serial   uint64
	expiries map[byte]time.Time // of tokens
	// The reference: what each committed record charges, uses up and redeems.
	charged  map[lane.CounterKey][]int64
	consumed map[[32]byte]int
	redeemed int64
}

const ticketUses = 3

func newRealm() *realm {
	w := &realm{now: noon, charged: map[lane.CounterKey][]int64{}, expiries: map[byte]time.Time{}, consumed: map[[32]byte]int{},
		disk: disk{records: map[lane.RecordKey]audit.Row{}, used: map[lane.CounterKey]int64{}, tokens: map[[32]byte]time.Time{},
			tickets: map[lane.TicketKey]lane.TicketState{{Tenant: "acme", ID: "T"}: {Version: 1, State: decision.TicketApproved, MaxUses: ticketUses}}}}
	for i := range w.replicas {
		w.replicas[i].memory = &lane.Memory{}
	}
	return w
}

// id is new each time.
func (w *realm) id() (id [16]byte) {
	w.serial++
	binary.BigEndian.PutUint64(id[8:], w.serial)
	return id
}

// facts are what a replica remembers, where that is allowed and it does, else what
// the disk has.
func (w *realm) facts(replica int, keys []decision.BudgetKey, remembered bool) decision.Facts {
	want := decision.Want{Tenant: "acme", Budgets: keys, Remembered: remembered}
	if facts, ok := w.replicas[replica].memory.Facts(&want); ok {
		return facts
	}
	facts := decision.Facts{Used: map[decision.BudgetKey]int64{}}
	for _, k := range keys {
		facts.Used[k] = w.disk.used[lane.CounterKey{Tenant: "acme", BudgetKey: k}]
	}
	w.replicas[replica].memory.Read("acme", facts.Used)
	return facts
}

// decide is the way of a decision up to its commit: what it reserves, by the facts,
// and nothing where one budget has no room.
func (w *realm) decide(replica int, r *request) queued {
	in := &decision.Request{Phase: decision.Call, Caller: decision.Caller{Tenant: "acme"}, Principal: decision.Principal{OnBehalfOf: r.human}}
	names := slices.Sorted(maps.Keys(capped))
	var keys []decision.BudgetKey
	for _, name := range names {
		rule := capped[name]
		keys = append(keys, rule.Key(in, "", w.now))
	}
	q := queued{of: r}
	for _, remembered := range []bool{true, false} {
		facts := w.facts(replica, keys, remembered)
		q.reserved = q.reserved[:0]
		room := true
		for i, name := range names {
			rule := capped[name]
			need, _ := rule.Need(r.cost)
			room = room && need <= rule.Cap-facts.Used[keys[i]]
			q.reserved = append(q.reserved, decision.Reservation{
				Charge: decision.Charge{Key: keys[i], Amount: need, Cap: rule.Cap, Lapses: r.lapses},
				Line:   decision.BudgetLine{Budget: name, Unit: rule.Unit, Currency: rule.Currency, Cap: rule.Cap, Key: keys[i]}})
		}
		if room {
			break
		}
		if !facts.Remembered {
			q.reserved = nil
			break
		}
	}
	q.entry = w.entry(audit.Decision, r.key)
	if q.reserved == nil {
		return q
	}
	q.entry.Effects = append(q.entry.Effects, decision.Consume{Token: [32]byte{r.token}, Expires: w.expires(r.token)})
	if r.ticket {
		q.entry.Effects = append(q.entry.Effects, decision.Redeem{Ticket: "T", Version: 1})
	}
	for _, reservation := range q.reserved {
		q.entry.Effects = append(q.entry.Effects, reservation.Charge)
	}
	return q
}

// expires is when a token does, however late it is shown: a server's clock may be
// behind.
func (w *realm) expires(token byte) time.Time {
	at, ok := w.expiries[token]
	if !ok {
		at = w.now.Add(time.Hour)
		w.expiries[token] = at
	}
	return at
}

func (w *realm) entry(kind audit.Kind, key string) audit.Entry {
	id := w.id()
	return audit.Entry{Row: audit.Row{Tenant: "acme", ID: id, Kind: kind, Key: key, Digest: [32]byte{1}, At: w.now, Body: id[:], Leaf: [32]byte{1}}}
}

// flush commits a replica's queue. What has happened to it by then is drawn: it may
// have died before the commit, or after it and before its answers.
func (w *realm) flush(t *rapid.T, replica int) {
	r := &w.replicas[replica]
	entries := make([]audit.Entry, len(r.queue))
	for i := range r.queue {
		entries[i] = r.queue[i].entry
		if err := lane.Check(&entries[i]); err != nil {
			t.Fatal(err)
		}
	}
	fate := rapid.SampledFrom([]string{"committed", "committed", "committed", "lost before", "lost after", "answer lost, tried again"}).Draw(t, "fate")
	if fate == "lost before" {
		w.die(replica)
		return
	}
	outcomes, writes := lane.Plan(w.disk.state(lane.NeedsOf(entries)), entries)
	w.disk.write(t, &writes)
	w.note(t, r.queue, writes.Rows)
	switch fate {
	case "lost after":
		w.die(replica)
		return
	case "answer lost, tried again":
		before := len(w.disk.records)
		outcomes, writes = lane.Plan(w.disk.state(lane.NeedsOf(entries)), entries)
		w.disk.write(t, &writes)
		w.note(t, r.queue, writes.Rows)
		if len(writes.Rows) != len(w.disk.records)-before {
			t.Fatalf("%d records are new, %d were written", len(w.disk.records)-before, len(writes.Rows))
		}
	}
	r.memory.Written(&writes)
	for i, o := range outcomes {
		w.answer(t, &r.queue[i], o)
	}
	r.queue = nil
}

// note enters what was committed into the reference.
func (w *realm) note(t *rapid.T, queue []queued, rows []audit.Row) {
	for _, row := range rows {
		i := slices.IndexFunc(queue, func(q queued) bool { return q.entry.ID == row.ID })
		if i < 0 {
			t.Fatal("a record was written that nobody asked for")
		}
		for _, effect := range queue[i].entry.Effects {
			switch e := effect.(type) {
			case decision.Charge:
				key := lane.CounterKey{Tenant: "acme", BudgetKey: e.Key}
				w.charged[key] = append(w.charged[key], e.Amount)
			case decision.Consume:
				if w.consumed[e.Token]++; w.consumed[e.Token] > 1 {
					t.Fatalf("the token %x is accepted twice", e.Token[:4])
				}
			case decision.Redeem:
				w.redeemed++
			}
		}
	}
}

// answer tells a caller what came of its entry: the same as what it was told before.
func (w *realm) answer(t *rapid.T, q *queued, o lane.Outcome) {
	if o.Err != nil {
		return // refused: it may ask again
	}
	told := string(q.entry.Body)
	if o.Receipt.Prior != nil {
		told = string(o.Receipt.Prior)
	}
	if q.entry.Kind == audit.Settlement {
		q.of.settled = true
		return
	}
	if q.of.answer != "" && q.of.answer != told {
		t.Fatalf("the request %s has two answers", q.of.key)
	}
	first := q.of.answer == ""
	q.of.answer = told
	if first && o.Receipt.Prior == nil {
		q.of.reserved = q.reserved
	}
}

// die is what a crash leaves of a replica.
func (w *realm) die(replica int) {
	w.replicas[replica].memory, w.replicas[replica].queue = &lane.Memory{}, nil
}

func (w *realm) crash(t *rapid.T) {
	replica := rapid.IntRange(0, 7).Draw(t, "replica")
	if replica > 1 {
		t.Skip("none of them")
	}
	w.die(replica)
}

// holds adds everything up anew.
func (w *realm) holds(t *rapid.T) {
	for key, amounts := range w.charged {
		var sum int64
		for _, n := range amounts {
			sum += n
		}
		if got := w.disk.used[key]; got != sum || sum < 0 || sum > capped[key.Budget].Cap {
			t.Fatalf("%v holds %d of %d, and what was committed is %d", key, got, capped[key.Budget].Cap, sum)
		}
	}
	if uses := w.disk.tickets[lane.TicketKey{Tenant: "acme", ID: "T"}].Uses; uses != w.redeemed || uses > ticketUses {
		t.Fatalf("the ticket has %d uses, and what was committed are %d", uses, w.redeemed)
	}
}
