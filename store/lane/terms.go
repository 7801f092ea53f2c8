package lane

import (
	"math"
	"slices"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

// Term is how a batch counts on one counter.
type Term struct {
	Key CounterKey
	// Held: the holder has a lease on the counter, or is to have one, so its row
	// is read. Spend: the batch charges the lease alone, and the counter is neither
	// read nor locked.
	Held, Spend bool

	demand
	pace int64
	// limit is the cap under which a lease that is spent was given.
	limit int64
	// lease is what was read of the lease, and there whether it was there.
	lease int64
	there bool
}

// demand is what a batch charges to a counter.
type demand struct {
	need, largest int64 // the sum and the largest of what is charged
	cap           int64 // of the charges; 0: there are none
	mixed         bool  // they have several caps
}

func (d *demand) add(c *decision.Charge) {
	if c.Amount <= 0 {
		return
	}
	d.mixed = d.mixed || d.need > 0 && d.cap != c.Cap
	d.need, d.largest, d.cap = plus(d.need, c.Amount), max(d.largest, c.Amount), c.Cap
}

// plus adds what is not negative, and stops at the greatest number.
func plus(a, b int64) int64 {
	if b > math.MaxInt64-a {
		return math.MaxInt64
	}
	return a + b
}

// demands are what a batch charges to each of some counters. A counter that an
// effect other than a Charge reads or changes has to be marked as mixed here: a lease
// has room for charges under one cap, and for nothing else.
func demands(entries []audit.Entry, counters []CounterKey) map[CounterKey]*demand {
	all := make(map[CounterKey]*demand, len(counters))
	for _, key := range counters {
		all[key] = &demand{}
	}
	for i := range entries {
		for _, effect := range entries[i].Effects {
			f, ok := effect.(decision.Counting)
			if !ok {
				continue
			}
			beside := f.Beside()
			if c, ok := effect.(decision.Charge); ok && len(beside) == 0 {
				all[CounterKey{entries[i].Tenant, c.Key}].add(&c)
				continue
			}
			for _, key := range append(beside, f.Counter()) {
				all[CounterKey{entries[i].Tenant, key}].mixed = true
			}
		}
	}
	return all
}

// Terms are how a batch counts: one term for each counter, sorted by key.
type Terms struct {
	// Holder is whose leases they are about; zero: nobody's.
	Holder [16]byte
	Terms  []Term

	holders int64
}

// Shared are the counters that are to be locked and read, and Held those of which
// the holder's leases are.
func (t *Terms) Shared() []CounterKey { return t.keys(func(one *Term) bool { return !one.Spend }) }

// Held are the counters of which the holder's leases are to be locked and read.
func (t *Terms) Held() []CounterKey { return t.keys(func(one *Term) bool { return one.Held }) }

func (t *Terms) keys(wanted func(*Term) bool) []CounterKey {
	var keys []CounterKey
	for i := range t.Terms {
		if wanted(&t.Terms[i]) {
			keys = append(keys, t.Terms[i].Key)
		}
	}
	return keys
}

// Meet turns what was read into what Plan goes by. Of a counter that is read, the
// holder's own lease is free; of one that is not, exactly its lease is. It reports
// false, and the batch is to be read anew, where a lease is not what was expected:
// then nothing may be charged to it.
func (t *Terms) Meet(s *State, leases map[CounterKey]int64) bool {
	for i := range t.Terms {
		one := &t.Terms[i]
		one.lease, one.there = leases[one.Key]
		switch {
		case !one.Spend:
			s.Used[one.Key] = max(0, s.Used[one.Key]-one.lease)
		case !one.there || one.lease < one.need || one.lease > one.limit:
			return false
		default:
			s.Used[one.Key] = one.limit - one.lease
		}
	}
	return true
}

// Lease is what a holder may still charge to a counter; 0: it has no lease.
type Lease struct {
	Key     CounterKey
	Unspent int64
}

// Settled is what a batch leaves of counters and leases, each sorted by key.
type Settled struct {
	// Counters are those that changed, with what they hold now, leases included.
	Counters []Counter
	// Kept are the leases that changed, or are new, and Ended those that go.
	Kept, Ended []Lease

	// seen are counters as a decision sees them, and moved how much others moved.
	seen, moved []Counter
}

// Settle divides what Plan has made of a state that Meet prepared: what was
// counted on a lease goes there; a counter that was read gets the holder's next
// lease added to it, in the place of the one before.
func (t *Terms) Settle(s *State, w *Writes) Settled {
	if w.Empty() {
		return Settled{}
	}
	var out Settled
	for i := range t.Terms {
		one := &t.Terms[i]
		used := s.Used[one.Key]
		changed := slices.ContainsFunc(w.Counters, func(c Counter) bool { return c.Key == one.Key })
		switch {
		case one.Spend:
			if left := one.limit - used; left != one.lease {
				out.Kept = append(out.Kept, Lease{one.Key, left})
				out.moved = append(out.moved, Counter{one.Key, one.lease - left})
			}
			continue
		case changed:
			out.seen = append(out.seen, Counter{one.Key, used})
		}
		next := t.chunk(one, used)
		if changed || next != one.lease {
			out.Counters = append(out.Counters, Counter{one.Key, used + next})
		}
		switch {
		case next > 0 && next != one.lease:
			out.Kept = append(out.Kept, Lease{one.Key, next})
		case next == 0 && one.there:
			out.Ended = append(out.Ended, Lease{Key: one.Key})
		}
	}
	return out
}

// chunk is the lease that a holder has next on a counter that was read. Charges of
// several caps are counted exactly: a lease is of room under one. A batch that
// charges nothing knows no cap, and leaves it.
func (t *Terms) chunk(one *Term, used int64) int64 {
	switch {
	case !one.Held || one.mixed:
		return 0
	case one.need == 0:
		return one.lease
	}
	return Chunk(Room{Cap: one.cap, Used: used, Pace: one.pace, Batch: one.need, Largest: one.largest, Holders: t.holders})
}
