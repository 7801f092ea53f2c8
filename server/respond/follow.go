package respond

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/writpdp/writ/server/decision"
)

const (
	// interval is how often to look for what others have changed.
	interval = 100 * time.Millisecond
	// Fresh is how long what was learnt may be relied upon: a replica that learns
	// nothing for longer stops everything.
	Fresh = time.Second
	// hintGap is the least time from one look that was hinted at to the next:
	// whoever can hint must not be able to keep a replica busy.
	hintGap = 10 * time.Millisecond
)

// Config is what a Follower needs. Every field is required.
type Config struct {
	Store Store
	// Now is the clock.
	Now func() time.Time
	// Report is told when the store does not answer, once, and with nil when it
	// does again; and of each change. It is called from one goroutine at a time.
	Report func(decision.Locks, error)
}

// Follower knows the locks that the store has. Safe for concurrent use.
type Follower struct {
	config Config
	seen   atomic.Pointer[seen]
	hints  chan struct{} // holds one

	mu     sync.Mutex // held while looking; guards the rest
	failed bool       // the last look
	ended  time.Time  // when it ended
}

// seen is what the store had, when it was asked, and since when that is known.
type seen struct {
	locks, stale *decision.Locks
	at, since    time.Time
}

// Follow returns once it knows the locks: a process that cannot learn them must
// not begin to decide.
func Follow(ctx context.Context, c Config) (*Follower, error) {
	f := &Follower{config: c, hints: make(chan struct{}, 1)}
	if err := f.Look(ctx); err != nil {
		return nil, err
	}
	return f, nil
}

// Locks are those in force. What is known for longer than Fresh is asked for anew;
// they are Stale where the store does not tell.
func (f *Follower) Locks(ctx context.Context) *decision.Locks {
	if locks := f.fresh(); locks != nil {
		return locks
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if locks := f.fresh(); locks != nil {
		return locks // somebody else has asked
	}
	// Where it failed a moment ago, nobody waits for it to fail again.
	if age := f.config.Now().Sub(f.ended); !f.failed || age > interval || age < 0 {
		_ = f.ask(ctx) // it has reported the error
	}
	if locks := f.fresh(); locks != nil {
		return locks
	}
	return f.seen.Load().stale
}

// fresh are the locks as they are known, if that may be relied upon; else nil.
func (f *Follower) fresh() *decision.Locks {
	s := f.seen.Load()
	if age := f.config.Now().Sub(s.at); age > Fresh || age < -Fresh {
		return nil
	}
	return s.locks
}

// Look asks the store, at once: for who has just learnt that there are newer locks.
func (f *Follower) Look(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ask(ctx)
}

// ask looks. Called with mu held.
func (f *Follower) ask(ctx context.Context) error {
	at := f.config.Now() // what is read is at least as new
	changed, err := f.look(ctx, at)
	f.ended = f.config.Now()
	if ctx.Err() == nil && (changed || (err != nil) != f.failed) { // the end of the process is nothing to report
		f.config.Report(f.known(), err)
	}
	f.failed = err != nil
	return err
}

func (f *Follower) known() decision.Locks {
	if s := f.seen.Load(); s != nil {
		return *s.locks
	}
	return decision.Locks{}
}

func (f *Follower) look(ctx context.Context, at time.Time) (changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, Fresh)
	defer cancel()
	c, err := Newest(ctx, f.config.Store)
	if err != nil {
		return false, fmt.Errorf("following the locks: %w", err)
	}
	next := &seen{locks: &c.Locks, at: at, since: f.config.Now()}
	if last := f.seen.Load(); last != nil {
		switch {
		case c.Locks.Version < last.locks.Version:
			return false, fmt.Errorf("following the locks: the store went back from version %d to %d", last.locks.Version, c.Locks.Version)
		case c.Locks.Version == last.locks.Version:
			next.locks, next.stale, next.since = last.locks, last.stale, last.since
		default:
			changed = true
		}
	}
	if next.stale == nil {
		stale := *next.locks
		stale.Stale = true
		next.stale = &stale
	}
	f.seen.Store(next)
	return changed, nil
}

// Hint has Run look at once: somebody may have changed the locks. It never waits.
func (f *Follower) Hint() {
	select {
	case f.hints <- struct{}{}:
	default: // it will look, and see what this one hints at
	}
}

// Run follows the store until ctx is done: it looks when that is hinted at, and ten
// times a second whatever becomes of hints.
func (f *Follower) Run(ctx context.Context) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = f.Look(ctx) // it has reported the error
		case <-f.hints:
			_ = f.Look(ctx)
			select {
			case <-ctx.Done():
			case <-time.After(hintGap):
			}
		}
	}
}
