package respond

import (
	"context"
	"errors"
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
	// MaxSkew is how far this machine's clock may be from the store's: one that is
	// further off would end locks, tickets and tokens at times of its own.
	MaxSkew = time.Second
	// hintGap is the least time from one look that was hinted at to the next:
	// whoever can hint must not be able to keep a replica busy.
	hintGap = 10 * time.Millisecond
)

// Config is what a Follower needs. Every field but Clock is required.
type Config struct {
	Store Store
	// Now is the clock.
	Now func() time.Time
	// Clock is the store's clock, where that is another machine's; nil: it is Now.
	Clock func(context.Context) (time.Time, error)
	// Report is told when the store does not answer, once, and with nil when it
	// does again; and of each change. It is called from one goroutine at a time.
	Report func(decision.Control, error)
}

// Follower knows the control state that the store has: locks and changes of budgets.
// Safe for concurrent use.
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
	control, stale *decision.Control
	at, since      time.Time
	// skewed says that by then the clock was further off than it may be.
	skewed bool
}

// Follow returns once it knows the control state: a process that cannot learn them must
// not begin to decide.
func Follow(ctx context.Context, c Config) (*Follower, error) {
	f := &Follower{config: c, hints: make(chan struct{}, 1)}
	if err := f.Look(ctx); err != nil {
		return nil, err
	}
	return f, nil
}

// Control is what is in force. What is known for longer than Fresh is asked for anew;
// it is Stale where the store does not tell, and where this machine's clock is not the
// store's.
func (f *Follower) Control(ctx context.Context) *decision.Control {
	if known := f.fresh(); known != nil {
		return known
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if known := f.fresh(); known != nil {
		return known // somebody else has asked
	}
	// Where it failed a moment ago, nobody waits for it to fail again.
	if age := f.config.Now().Sub(f.ended); !f.failed || age > interval || age < 0 {
		_ = f.ask(ctx) // it has reported the error
	}
	if known := f.fresh(); known != nil {
		return known
	}
	return f.seen.Load().stale
}

// fresh is the control state as it is known, if that may be relied upon; else nil.
func (f *Follower) fresh() *decision.Control {
	s := f.seen.Load()
	if age := f.config.Now().Sub(s.at); s.skewed || age > Fresh || age < -Fresh {
		return nil
	}
	return s.control
}

// Look asks the store, at once: for who has just learnt that there is a newer
// version.
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

func (f *Follower) known() decision.Control {
	if s := f.seen.Load(); s != nil {
		return *s.control
	}
	return decision.Control{}
}

func (f *Follower) look(ctx context.Context, at time.Time) (changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, Fresh)
	defer cancel()
	c, err := Newest(ctx, f.config.Store)
	if err != nil {
		return false, fmt.Errorf("following the control state: %w", err)
	}
	next := &seen{control: &c.Control, at: at, since: f.config.Now()}
	last := f.seen.Load()
	if last != nil {
		switch {
		case c.Control.Version < last.control.Version:
			return false, fmt.Errorf("following the control state: the store went back from version %d to %d", last.control.Version, c.Control.Version)
		case c.Control.Version == last.control.Version:
			next.control, next.stale, next.since = last.control, last.stale, last.since
		default:
			changed = true
		}
	}
	if next.stale == nil {
		stale := *next.control
		stale.Stale = true
		next.stale = &stale
	}
	err = f.compare(ctx)
	next.skewed = errors.Is(err, errSkewed)
	if err != nil && !next.skewed {
		if last == nil {
			return changed, err
		}
		next.at, next.skewed = last.at, last.skewed // as old as what is known of the clock
	}
	f.seen.Store(next)
	return changed, err
}

// errSkewed: the clocks differ by more than MaxSkew.
var errSkewed = errors.New("this machine's clock is not the store's")

// compare looks at the two clocks. The store's is read between two readings of this
// machine's, as the wall shows it, so that the time that it takes is no skew.
func (f *Follower) compare(ctx context.Context) error {
	if f.config.Clock == nil {
		return nil
	}
	before := f.config.Now().Round(0)
	there, err := f.config.Clock(ctx)
	after := f.config.Now().Round(0)
	switch {
	case err != nil:
		return fmt.Errorf("following the store's clock: %w", err)
	case there.Before(before.Add(-MaxSkew)):
		return fmt.Errorf("%w: it is at least %s ahead", errSkewed, before.Sub(there).Round(time.Millisecond))
	case there.After(after.Add(MaxSkew)):
		return fmt.Errorf("%w: it is at least %s behind", errSkewed, there.Sub(after).Round(time.Millisecond))
	}
	return nil
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
