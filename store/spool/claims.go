package spool

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/gofrs/uuid/v5"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/lane"
)

const (
	// past and future bound the time that a request's id tells, from now: the
	// keys of all requests within are remembered.
	past, future = time.Minute, 10 * time.Second
	// maxClaims bounds the keys and tokens that are remembered, about 40 bytes
	// each, and maxCounters the counters.
	maxClaims   = 4 << 20
	maxCounters = 1 << 16
)

// claims are what is taken. What they call free is free: neither the store nor
// what waits for it has it. What they call taken may be free, and then the store
// says so. Not safe for concurrent use.
type claims struct {
	keys, tokens minutes
	used         map[lane.CounterKey]*counter
}

// minutes are halves of keys or digests by the minute of a time that each has.
// Those before since have been forgotten.
type minutes struct {
	since time.Time
	by    map[int64]map[half]struct{}
	count int
}

// half is the first half of a token's digest, or a whole UUID. Two that are not
// the same may share one: then the second is called taken.
type half [16]byte

func minute(at time.Time) int64 { return at.Unix() / 60 }

func (m *minutes) add(h half, at time.Time) {
	set := m.by[minute(at)]
	if set == nil {
		set = map[half]struct{}{}
		m.by[minute(at)] = set
	}
	m.count -= len(set)
	set[h] = struct{}{}
	m.count += len(set)
}

// forget drops what lies before a time, by whole minutes.
func (m *minutes) forget(before time.Time) {
	for n, set := range m.by {
		if end := time.Unix((n+1)*60, 0); !end.After(before) {
			m.count -= len(set)
			delete(m.by, n)
			if end.After(m.since) {
				m.since = end
			}
		}
	}
}

// counter is what one counter holds once all that waits, and all that is being
// committed, is in the store.
type counter struct {
	used  int64
	known bool
	// busy counts the commits under way that change it, readers those who
	// read it from the store meanwhile; version changes with each commit.
	busy, readers, version int
}

// newClaims knows nothing of what the store has: Recent tells it.
func newClaims(now time.Time) claims {
	return claims{
		keys:   minutes{since: now.Add(-past), by: map[int64]map[half]struct{}{}},
		tokens: minutes{since: now, by: map[int64]map[half]struct{}{}},
		used:   map[lane.CounterKey]*counter{},
	}
}

// lowest is the least key that has to be known.
func (c *claims) lowest() string {
	var id uuid.UUID
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(max(0, c.keys.since.UnixMilli())))
	copy(id[:6], ms[2:])
	return id.String()
}

func (c *claims) storedKey(key string) {
	if id, at, ok := timed(key); ok {
		c.keys.add(half(id), at)
	}
}

func (c *claims) storedToken(token [32]byte, expires time.Time) {
	c.tokens.add(half(token[:16]), expires)
}

// timed is a UUIDv7 with its time. Two spellings of one are one to the claims, and
// two to the store.
func timed(key string) (uuid.UUID, time.Time, bool) {
	id, err := uuid.FromString(key)
	if err != nil || id.Version() != 7 {
		return id, time.Time{}, false
	}
	var ms [8]byte
	copy(ms[2:], id[:6])
	return id, time.UnixMilli(int64(binary.BigEndian.Uint64(ms[:]))), true
}

// free reports whether nothing that an entry takes is taken, as far as is known;
// what is not known is taken.
func (c *claims) free(e *audit.Entry, now time.Time) bool {
	id, at, ok := timed(e.Key)
	if !ok || e.Kind != audit.Decision || at.Before(c.keys.since) || at.Before(now.Add(-past)) || at.After(now.Add(future)) ||
		c.keys.count+c.tokens.count >= maxClaims {
		return false
	}
	if _, taken := c.keys.by[minute(at)][half(id)]; taken {
		return false
	}
	for i, effect := range e.Effects {
		switch f := effect.(type) {
		case decision.Counting:
			if !c.room(e, i, f) {
				return false
			}
		case decision.Consume:
			if !f.Expires.After(c.tokens.since) {
				return false
			}
			// Another token of the same digest can expire at another time.
			for _, set := range c.tokens.by {
				if _, taken := set[half(f.Token[:16])]; taken {
					return false
				}
			}
		default:
			return false
		}
	}
	return true
}

// room reports whether a counter has room for the i-th effect of an entry and
// for those before it.
func (c *claims) room(e *audit.Entry, i int, f decision.Counting) bool {
	if charge, ok := f.(decision.Charge); ok && charge.Amount < 0 {
		return false
	}
	was, ok := c.holds(e.Tenant, f.Counter())
	if !ok {
		return false
	}
	beside, ok := c.beside(e.Tenant, f)
	if !ok {
		return false
	}
	for _, effect := range e.Effects[:i] {
		if other, ok := effect.(decision.Counting); ok && other.Counter() == f.Counter() {
			if was, ok = other.Apply(was, beside); !ok {
				return false
			}
		}
	}
	_, ok = f.Apply(was, beside)
	return ok
}

// beside is what the further counters hold together that an effect's guard looks at;
// ok is false where that is not known.
func (c *claims) beside(tenant string, f decision.Counting) (sum int64, ok bool) {
	for _, key := range f.Beside() {
		more, ok := c.holds(tenant, key)
		if !ok || more > math.MaxInt64-sum {
			return 0, false
		}
		sum += more
	}
	return sum, true
}

// holds is what a counter holds; ok is false where it is not known.
func (c *claims) holds(tenant string, key decision.BudgetKey) (used int64, ok bool) {
	n := c.used[lane.CounterKey{Tenant: tenant, BudgetKey: key}]
	if n == nil || !n.known {
		return 0, false
	}
	return n.used, true
}

// take takes what an entry takes that is free.
func (c *claims) take(e *audit.Entry) {
	c.name(e)
	for _, effect := range e.Effects {
		if f, ok := effect.(decision.Counting); ok {
			n := c.used[lane.CounterKey{Tenant: e.Tenant, BudgetKey: f.Counter()}]
			beside, _ := c.beside(e.Tenant, f)
			n.used, _ = f.Apply(n.used, beside) // there is room
		}
	}
}

// name takes an entry's key and token.
func (c *claims) name(e *audit.Entry) {
	if e.Kind == audit.Decision {
		c.storedKey(e.Key)
	}
	for _, effect := range e.Effects {
		if f, ok := effect.(decision.Consume); ok {
			c.storedToken(f.Token, f.Expires)
		}
	}
}

// held is one charge of a commit under way.
type held struct {
	key    lane.CounterKey
	amount int64
	// reserved says that the counter holds the amount already.
	reserved bool
}

// hold takes what an entry takes whose commit is about to begin, so that nothing
// that comes meanwhile takes it too.
func (c *claims) hold(e *audit.Entry) []held {
	c.name(e)
	var all []held
	for _, effect := range e.Effects {
		f, ok := effect.(decision.Counting)
		if !ok {
			continue
		}
		h := held{key: lane.CounterKey{Tenant: e.Tenant, BudgetKey: f.Counter()}}
		n := c.used[h.key]
		if n == nil {
			n = &counter{}
			c.used[h.key] = n
		}
		n.busy++
		n.version++
		if charge, ok := f.(decision.Charge); ok {
			h.amount = charge.Amount
		} else {
			n.known = false // what it will hold depends on what the store has
		}
		if n.known && h.amount > math.MaxInt64-n.used {
			n.known = false
		}
		if n.known && h.amount > 0 {
			n.used += h.amount
			h.reserved = true
		}
		all = append(all, h)
	}
	return all
}

// outcome is what became of a commit.
type outcome uint8

const (
	// unclear: the entry may be in the store, now or later.
	unclear outcome = iota
	written
	unwritten
)

// settle ends a hold. What an unclear commit held stays held: a counter that may
// hold more than is known must not be called free.
func (c *claims) settle(all []held, o outcome) {
	if o == unclear {
		return
	}
	for _, h := range all {
		n := c.used[h.key]
		n.busy--
		n.version++
		switch {
		case o == written && h.amount < 0:
			// The store takes a refund off what it has, and never goes below
			// 0: what waits makes a difference, so it has to be asked.
			n.known = false
		case o == unwritten && h.reserved && n.known:
			n.used -= h.amount
		}
		c.drop(h.key, n)
	}
}

// drop forgets a counter of which nothing is known and that nobody is about to
// change or read.
func (c *claims) drop(key lane.CounterKey, n *counter) {
	if !n.known && n.busy == 0 && n.readers == 0 {
		delete(c.used, key)
	}
}

// counters are what the wanted counters hold, where all are known.
func (c *claims) counters(w *decision.Want) (map[decision.BudgetKey]int64, bool) {
	used := make(map[decision.BudgetKey]int64, len(w.Budgets))
	for _, key := range w.Budgets {
		n := c.used[lane.CounterKey{Tenant: w.Tenant, BudgetKey: key}]
		if n == nil || !n.known {
			return nil, false
		}
		used[key] = n.used
	}
	return used, true
}

// sight is a counter that is about to be read from the store.
type sight struct {
	key     lane.CounterKey
	version int
}

// look begins to read the wanted counters that are not known. It comes before
// what waits is flushed: nothing can take of a counter that is not known, so the
// store then has everything.
func (c *claims) look(w *decision.Want) []sight {
	var all []sight
	for _, budget := range w.Budgets {
		key := lane.CounterKey{Tenant: w.Tenant, BudgetKey: budget}
		n := c.used[key]
		if n == nil {
			if len(c.used) >= maxCounters {
				continue
			}
			n = &counter{}
			c.used[key] = n
		}
		if n.known {
			continue
		}
		n.readers++
		all = append(all, sight{key, n.version})
	}
	return all
}

// learn ends a look. used is what was read; nil: nothing.
func (c *claims) learn(all []sight, used map[decision.BudgetKey]int64) {
	for _, s := range all {
		n := c.used[s.key]
		n.readers--
		if value, ok := used[s.key.BudgetKey]; ok && n.busy == 0 && n.version == s.version {
			n.used, n.known = value, true
			n.version++ // for who looked before: what it read may be older
		}
		c.drop(s.key, n)
	}
}

// forget drops what cannot matter any more; with nothing waiting, also counters,
// when they are many.
func (c *claims) forget(now time.Time, idle bool) {
	c.keys.forget(now.Add(-past))
	c.tokens.forget(now)
	if !idle || len(c.used) < maxCounters/2 {
		return
	}
	for key, n := range c.used {
		if n.busy == 0 {
			n.known = false
			c.drop(key, n)
		}
	}
}
