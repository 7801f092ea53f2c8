package lane

import (
	"sync"
	"time"

	"github.com/writpdp/writ/server/audit"
)

const (
	// maxPaces bounds the counters whose pace is known; beyond it all are
	// forgotten. maxLeases bounds the leases of a holder.
	maxPaces  = 1 << 16
	maxLeases = 1 << 10
	// quiet is for how long nothing must be hot before a process is no holder any
	// more.
	quiet = 5 * time.Second
)

// Leases is what a process remembers of its leases, to know which rows a batch
// should lock. Nothing else rests on it: what may be charged is what the rows say
// that a batch has locked. Every lease that this holder may have is known here, so
// that none lies about unreturned. The zero value is no holder and knows nothing.
// Safe for concurrent use.
type Leases struct {
	mu      sync.Mutex // guards all below
	holder  [16]byte   // zero: it is none
	holders int64
	paces   map[CounterKey]*Pace
	held    map[CounterKey]*held
	wanted  time.Time // when something was hot last
}

// held is a lease that the holder may have.
type held struct {
	// unspent is 0 too where it is not known.
	unspent, limit int64
	// read is when the counter was, and used when the lease last was of use.
	read, used time.Time
	// turn changes whenever a batch takes it up.
	turn uint64
}

// Terms decides how a batch will count, and notes its demand.
func (l *Leases) Terms(entries []audit.Entry, counters []CounterKey, at time.Time) Terms {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := Terms{Holder: l.holder, Terms: make([]Term, len(counters)), holders: l.holders}
	all := demands(entries, counters)
	for i, key := range counters {
		one := &t.Terms[i]
		one.Key, one.demand = key, *all[key]
		pace := l.pace(key)
		pace.Note(at, one.need)
		one.pace = pace.Units()
		if pace.Hot() {
			l.wanted = at
		}
		l.term(one, pace, at)
	}
	return t
}

func (l *Leases) pace(key CounterKey) *Pace {
	p := l.paces[key]
	if p == nil {
		if l.paces == nil || len(l.paces) >= maxPaces {
			l.paces = map[CounterKey]*Pace{}
		}
		p = &Pace{}
		l.paces[key] = p
	}
	return p
}

func (l *Leases) term(one *Term, pace *Pace, at time.Time) {
	h := l.held[one.Key]
	if h == nil {
		if l.holder == [16]byte{} || l.holders < 2 || !pace.Hot() || at.Before(pace.leaseNotTill) || len(l.held) >= maxLeases || one.mixed || one.need == 0 {
			return
		}
		h = l.hold(one.Key)
	}
	h.turn++
	if one.need > 0 {
		h.used = at
	}
	one.Held = true
	one.limit = h.limit
	one.Spend = h.unspent > 0 && h.unspent >= one.need && at.Sub(h.read) < LeaseTerm && !one.mixed && (one.need == 0 || one.cap == h.limit)
}

func (l *Leases) hold(key CounterKey) *held {
	h := l.held[key]
	if h == nil {
		if l.held == nil {
			l.held = map[CounterKey]*held{}
		}
		h = &held{}
		l.held[key] = h
	}
	return h
}

// Committed notes what a batch has left, once that is durable, in the counters'
// memory too.
func (l *Leases) Committed(t *Terms, s *Settled, m *Memory, at time.Time) {
	m.note(s.seen, s.moved)
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.Holder != l.holder {
		return // its leases are closed, or will be
	}
	left := make(map[CounterKey]int64, len(s.Kept))
	for _, lease := range s.Kept {
		left[lease.Key] = lease.Unspent
	}
	ended := map[CounterKey]bool{}
	for _, lease := range s.Ended {
		ended[lease.Key] = true
	}
	for i := range t.Terms {
		one := &t.Terms[i]
		if !one.Held {
			continue
		}
		unspent, changed := left[one.Key]
		switch {
		case changed:
		case ended[one.Key], !one.there:
			delete(l.held, one.Key)
			l.pace(one.Key).leaseNotTill = at.Add(LeaseTerm)
			continue
		default:
			unspent = one.lease
		}
		h := l.hold(one.Key)
		h.unspent = unspent
		if !one.Spend && one.need > 0 {
			h.limit, h.read = one.cap, at
		}
	}
}

// Doubt notes that a batch has failed: nothing is known of the leases that it is
// about, and that they may be there.
func (l *Leases) Doubt(t *Terms) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.Holder != l.holder {
		return
	}
	for i := range t.Terms {
		if t.Terms[i].Held {
			l.hold(t.Terms[i].Key).unspent = 0
		}
	}
}

// Holder is under which id leases are held; zero: under none.
func (l *Leases) Holder() [16]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.holder
}

// Join makes the process a holder, whose leases are all to come.
func (l *Leases) Join(holder [16]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holder, l.holders, l.held = holder, 1, nil
}

// Gone makes the process no holder, where it was the one named: its leases are
// not its own any more.
func (l *Leases) Gone(holder [16]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holder == holder {
		l.holder, l.held = [16]byte{}, nil
	}
}

// Beside notes how many holders there are, this one included.
func (l *Leases) Beside(holders int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holders = max(1, holders)
}

// Wanted reports whether some counter was lately hot.
func (l *Leases) Wanted(at time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.wanted.IsZero() && at.Sub(l.wanted) < quiet || len(l.held) > 0
}

// Idle is a lease that is to be returned.
type Idle struct {
	Key  CounterKey
	turn uint64
}

// Idle are the leases that were of no use for LeaseTerm. Until they are returned,
// batches read their counters.
func (l *Leases) Idle(at time.Time) []Idle {
	l.mu.Lock()
	defer l.mu.Unlock()
	var idle []Idle
	for key, h := range l.held {
		if at.Sub(h.used) >= LeaseTerm {
			h.unspent = 0
			idle = append(idle, Idle{key, h.turn})
		}
	}
	return idle
}

// Returned notes that leases are gone, but those that a batch has taken up since.
func (l *Leases) Returned(holder [16]byte, idle []Idle) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range idle {
		if h := l.held[one.Key]; l.holder == holder && h != nil && h.turn == one.turn {
			delete(l.held, one.Key)
		}
	}
}
