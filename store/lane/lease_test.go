package lane_test

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/lane"
)

func TestChunk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		amounts := rapid.OneOf(rapid.Int64Range(0, 1000), rapid.Int64Range(0, math.MaxInt64))
		r := lane.Room{
			Cap: amounts.Draw(t, "cap"), Used: rapid.OneOf(amounts, rapid.Int64()).Draw(t, "used"), Pace: amounts.Draw(t, "pace"),
			Batch: amounts.Draw(t, "batch"), Largest: amounts.Draw(t, "largest"), Holders: rapid.Int64Range(0, 1<<40).Draw(t, "holders"),
		}
		chunk := lane.Chunk(r)
		switch left := r.Cap - r.Used; {
		case chunk < 0:
			t.Fatalf("%+v: a chunk of %d", r, chunk)
		case chunk == 0:
			return
		case r.Used < 0 || r.Used >= r.Cap, left < r.Cap/50, left/4 < r.Largest, r.Holders < 2:
			t.Fatalf("%+v: a chunk of %d near the cap, or alone", r, chunk)
		case chunk > r.Pace || chunk > r.Cap/200 || chunk > left/8/r.Holders || chunk/2 < r.Batch:
			t.Fatalf("%+v: a chunk of %d", r, chunk)
		}
	})
	for _, test := range []struct {
		room lane.Room
		want int64
	}{
		{lane.Room{Cap: 100_000, Pace: 10_000, Batch: 64, Largest: 1, Holders: 3}, 500},               // a 200th of the cap
		{lane.Room{Cap: 100_000, Pace: 300, Batch: 64, Largest: 1, Holders: 3}, 300},                  // a second
		{lane.Room{Cap: 100_000, Used: 97_000, Pace: 9000, Batch: 64, Largest: 1, Holders: 2}, 187},   // an eighth of a half
		{lane.Room{Cap: 100_000, Used: 97_000, Pace: 9000, Batch: 64, Largest: 1, Holders: 3}, 0},     // not two batches
		{lane.Room{Cap: 100_000, Used: 98_001, Pace: 9000, Batch: 1, Largest: 1, Holders: 2}, 0},      // near the cap
		{lane.Room{Cap: 100_000, Used: 90_000, Pace: 9000, Batch: 100, Largest: 2501, Holders: 2}, 0}, // fewer than four requests
		{lane.Room{Cap: 100, Pace: 9000, Batch: 1, Largest: 1, Holders: 2}, 0},                        // too small
		{lane.Room{Cap: 100_000, Pace: 9000, Batch: 1, Largest: 1, Holders: 1}, 0},                    // alone
	} {
		if got := lane.Chunk(test.room); got != test.want {
			t.Errorf("%+v: got %d, want %d", test.room, got, test.want)
		}
	}
}

func TestPace(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var p lane.Pace
	for i := range 16 {
		if p.Hot() {
			t.Errorf("hot after %d batches", i)
		}
		p.Note(start.Add(time.Duration(i)*60*time.Millisecond), 3)
	}
	if got, want := p.Units(), int64(48); !p.Hot() || got != want {
		t.Errorf("%d a second, hot: %v; want %d", got, p.Hot(), want)
	}
	p.Note(start.Add(1500*time.Millisecond), math.MaxInt64)
	p.Note(start.Add(1500*time.Millisecond), 1)
	if got := p.Units(); !p.Hot() || got != math.MaxInt64 {
		t.Errorf("in the next second: %d, hot: %v", got, p.Hot())
	}
	p.Note(start.Add(4*time.Second), 1)
	if got, want := p.Units(), int64(1); p.Hot() || got != want {
		t.Errorf("after a pause: %d, hot: %v", got, p.Hot())
	}
	p.Note(start, 2) // a clock that was set back
	if got, want := p.Units(), int64(2); got != want {
		t.Errorf("before: got %d, want %d", got, want)
	}
}

// ledger is what the database holds of one counter, as the store writes it.
type ledger struct {
	used   int64
	leases map[[16]byte]map[lane.CounterKey]int64
	alive  map[[16]byte]bool
}

// world is some replicas that charge one counter, and the plainest reference: the
// sum of what was committed.
type world struct {
	db       ledger
	replicas []*lane.Leases
	memories []*lane.Memory
	now      time.Time
	sum, cap int64
	entries  int
	holders  byte
	spent    int // batches that touched no counter
}

var modelled = lane.CounterKey{Tenant: "acme", BudgetKey: decision.BudgetKey{Budget: "calls"}}

func newWorld(t *rapid.T) *world {
	w := &world{
		db:  ledger{leases: map[[16]byte]map[lane.CounterKey]int64{}, alive: map[[16]byte]bool{}},
		now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), cap: rapid.Int64Range(500, 50_000).Draw(t, "cap"),
	}
	for range rapid.IntRange(2, 4).Draw(t, "replicas") {
		w.replicas, w.memories = append(w.replicas, &lane.Leases{}), append(w.memories, &lane.Memory{})
	}
	return w
}

// batch makes entries of one replica's batch.
func (w *world) batch(t *rapid.T) []audit.Entry {
	entries := make([]audit.Entry, rapid.SampledFrom([]int{1, 1, 1, 2, 4}).Draw(t, "entries"))
	large := rapid.SampledFrom([]int64{3, 3, 3, 3, 40, 900}).Draw(t, "large")
	for i := range entries {
		amount := rapid.Int64Range(0, large).Draw(t, "amount")
		limit := w.cap
		switch rapid.IntRange(0, 59).Draw(t, "sort") {
		case 0, 1, 2: // a refund, of what was charged
			amount = -min(w.sum/int64(len(entries)), amount)
		case 3: // by a bundle with a smaller cap
			limit -= rapid.Int64Range(0, 100).Draw(t, "less")
		}
		w.entries++
		entries[i] = entry(strconv.Itoa(w.entries), byte(w.entries), decision.Charge{Key: modelled.BudgetKey, Amount: amount, Cap: limit})
	}
	return entries
}

// commit takes a batch through the protocol as the store does. fate is what becomes
// of the transaction: it is committed, lost, or committed and its answer lost.
func (w *world) commit(t *rapid.T, replica int, entries []audit.Entry, fate string) {
	l := w.replicas[replica]
	for range 4 {
		needs := lane.NeedsOf(entries)
		terms := l.Terms(entries, needs.Counters, w.now)
		if len(terms.Held()) > 0 && !w.db.alive[terms.Holder] {
			l.Doubt(&terms)
			l.Gone(terms.Holder)
			continue
		}
		state := lane.NewState()
		for _, key := range terms.Shared() {
			state.Used[key] = w.db.used
		}
		mine := map[lane.CounterKey]int64{}
		for _, key := range terms.Held() {
			if n, ok := w.db.leases[terms.Holder][key]; ok {
				mine[key] = n
			}
		}
		if !terms.Meet(state, mine) {
			l.Doubt(&terms)
			continue
		}
		w.finish(t, replica, entries, state, &terms, fate)
		return
	}
	t.Fatal("a batch does not end")
}

func (w *world) finish(t *rapid.T, replica int, entries []audit.Entry, state *lane.State, terms *lane.Terms, fate string) {
	outcomes, writes := lane.Plan(state, entries)
	settled := terms.Settle(state, &writes)
	if len(terms.Shared()) == 0 && len(settled.Counters) > 0 {
		t.Fatal("a counter is written that was not read")
	}
	if len(terms.Shared()) == 0 {
		w.spent++
	}
	if fate == "lost" {
		w.replicas[replica].Doubt(terms)
		return
	}
	others := w.outstanding() - w.db.leases[terms.Holder][modelled]
	for i, o := range outcomes {
		c := entries[i].Effects[0].(decision.Charge)
		switch {
		case o.Err == nil:
			if w.sum += c.Amount; c.Amount > 0 && w.sum > c.Cap {
				t.Fatalf("%d are charged, over the cap of %d", w.sum, c.Cap)
			}
		case c.Amount <= 0 || w.sum+others+c.Amount <= c.Cap:
			t.Fatalf("a charge of %d is refused: %d are charged, %d leased by others, of %d", c.Amount, w.sum, others, c.Cap)
		}
	}
	for _, c := range settled.Counters {
		w.db.used = c.Used
	}
	for _, lease := range settled.Kept {
		w.db.leases[terms.Holder][lease.Key] = lease.Unspent
	}
	for _, lease := range settled.Ended {
		delete(w.db.leases[terms.Holder], lease.Key)
	}
	if fate == "answer lost" {
		w.replicas[replica].Doubt(terms)
		return
	}
	w.replicas[replica].Committed(terms, &settled, w.memories[replica], w.now)
}

func (w *world) outstanding() (sum int64) {
	for _, leases := range w.db.leases {
		sum += leases[modelled]
	}
	return sum
}

func (w *world) join(l *lane.Leases) {
	if l.Holder() == [16]byte{} {
		w.holders++
		id := [16]byte{w.holders}
		w.db.alive[id], w.db.leases[id] = true, map[lane.CounterKey]int64{}
		l.Join(id)
	}
}

// end closes the leases of a holder; its process may know it or not.
func (w *world) end(id [16]byte) {
	delete(w.db.alive, id)
	w.db.used -= w.db.leases[id][modelled]
	delete(w.db.leases, id)
}

// giveBack returns what is idle; meanwhile batches may come between.
func (w *world) giveBack(l *lane.Leases, meanwhile func()) {
	id := l.Holder()
	idle := l.Idle(w.now)
	meanwhile()
	if w.db.alive[id] {
		for _, one := range idle {
			w.db.used -= w.db.leases[id][one.Key]
			delete(w.db.leases[id], one.Key)
		}
	}
	meanwhile()
	l.Returned(id, idle)
}

// drain ends holders whose processes are gone, as others do, and has the others
// return what is idle: then nothing must be left.
func (w *world) drain(t *rapid.T) {
	mine := map[[16]byte]bool{}
	for _, l := range w.replicas {
		mine[l.Holder()] = true
	}
	for id := range maps.Clone(w.db.alive) {
		if !mine[id] {
			w.end(id)
		}
	}
	w.now = w.now.Add(lane.LeaseTerm)
	for _, l := range w.replicas {
		w.giveBack(l, func() {})
	}
	w.check(t)
	if left := w.outstanding(); left != 0 {
		t.Fatalf("%d are leased for ever", left)
	}
}

// check holds the books against the reference.
func (w *world) check(t *rapid.T) {
	if got, want := w.db.used, w.sum+w.outstanding(); got != want {
		t.Fatalf("the counter holds %d; %d are charged and %d leased", got, w.sum, w.outstanding())
	}
	if w.db.used < 0 || w.db.used > w.cap {
		t.Fatalf("the counter holds %d of %d", w.db.used, w.cap)
	}
	for id, leases := range w.db.leases {
		if leases[modelled] < 0 || len(leases) > 0 && !w.db.alive[id] {
			t.Fatalf("holder %d, alive: %v, has %d", id[0], w.db.alive[id], leases[modelled])
		}
	}
}

// TestLeasesAreExact has replicas charge, refund, lose transactions and answers,
// fall silent, and return what is idle, in every order. The sum of what they
// charged never exceeds the cap; only what others have leased is ever refused
// beyond it; and in the end all of the cap can be charged.
func TestLeasesAreExact(t *testing.T) {
	var spent int
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.SampledFrom([]int{10, 100, 500, 1000}).Draw(t, "steps") {
			replica := rapid.IntRange(0, len(w.replicas)-1).Draw(t, "replica")
			l := w.replicas[replica]
			switch rapid.IntRange(0, 79).Draw(t, "step") {
			case 33, 49:
				w.now = w.now.Add(time.Duration(rapid.IntRange(1, 2500).Draw(t, "passes")) * time.Millisecond)
			case 6, 17:
				w.join(l)
				l.Beside(int64(len(w.db.alive)))
			case 19: // somebody fences a holder that runs on
				if alive := slices.SortedFunc(maps.Keys(w.db.alive), func(a, b [16]byte) int { return int(a[0]) - int(b[0]) }); len(alive) > 0 {
					w.end(rapid.SampledFrom(alive).Draw(t, "silent"))
				}
			case 35: // a restart
				w.replicas[replica], w.memories[replica] = &lane.Leases{}, &lane.Memory{}
			case 21:
				w.giveBack(l, func() {
					for range rapid.IntRange(0, 2).Draw(t, "meanwhile") {
						w.commit(t, replica, w.batch(t), "committed")
					}
				})
			case 23:
				w.commit(t, replica, w.batch(t), "lost")
			case 25:
				w.commit(t, replica, w.batch(t), "answer lost")
			default:
				w.commit(t, replica, w.batch(t), "committed")
			}
			w.check(t)
		}
		w.drain(t)
		for w.sum < w.cap {
			w.entries++
			amount := min(w.cap-w.sum, 1+w.cap/7)
			last := entry(fmt.Sprint(w.entries), 1, decision.Charge{Key: modelled.BudgetKey, Amount: amount, Cap: w.cap})
			w.commit(t, 0, []audit.Entry{last}, "committed")
			w.check(t)
		}
		spent += w.spent
	})
	if spent == 0 {
		t.Error("nothing was ever charged to a lease alone")
	}
	t.Logf("%d batches charged leases alone", spent)
}
