// Package spool puts a file of this machine in front of a store, for records
// that need not be durable before their answer leaves. Such a record is answered
// when the file has it, and goes into the store soon afterwards.
//
// What is promised is what the store promises, but for one thing: a machine that
// loses its power loses what was answered since the file was last synced, at
// most Config.Sync ago. A process that dies loses nothing: the next one commits
// what the file holds before it answers anything.
//
// Guards hold exactly, because one process alone commits to the store (a lock on
// the directory sees to it) and remembers what is taken: each token and request
// of late, and what each counter holds with everything that still waits. What it
// does not know to be free goes through the store, behind all that waits.
package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/lane"
)

// Store is what stands behind a spool. Only this process may commit decisions to
// it, and settlements; tickets and the rollout may be changed by others.
type Store interface {
	Snapshot(context.Context, decision.Want) (decision.Facts, error)
	Commit(context.Context, audit.Entry) (audit.Receipt, error)
	// CommitAll commits entries in their order and returns the outcome of each
	// when it is durable.
	CommitAll([]audit.Entry) []lane.Outcome
	Record(ctx context.Context, tenant string, id [16]byte) (audit.Row, error)
	// ForgetTokens forgets tokens that expired more than an hour before a time, and
	// from then on accepts none of them.
	ForgetTokens(ctx context.Context, at time.Time) error
	// Recent yields the keys of decisions, in the form of UUIDs, that are not
	// below a key, and the tokens that expire after a time.
	Recent(ctx context.Context, key string, expires time.Time, keys func(string), tokens func([32]byte, time.Time)) error
}

// Config bounds a spool. The zero value of a field is its default where one is
// said.
type Config struct {
	// Sync is how often the file is synced, and so how much a power cut can
	// lose; 0: 50 ms.
	Sync time.Duration
	// Lag is how long a record may wait for the store; 0: 5 s. It waits less
	// when there is nothing else to do.
	Lag time.Duration
	// Bytes is how much may wait, and half of it waits no longer; 0: 256 MiB.
	// What goes beyond it goes to the store at once.
	Bytes int
	// Now is the clock.
	Now func() time.Time
	// Report is told what fails in the background. It must not call the spool.
	Report func(error)
}

func (c Config) withDefaults() Config {
	if c.Sync <= 0 {
		c.Sync = 50 * time.Millisecond
	}
	if c.Lag <= 0 {
		c.Lag = 5 * time.Second
	}
	if c.Bytes <= 0 {
		c.Bytes = 256 << 20
	}
	return c
}

// Spool is a ledger. Safe for concurrent use.
type Spool struct {
	store  Store
	config Config
	dir    string
	lock   *os.File      // held as long as the spool is open
	wake   chan struct{} // holds one token: somebody waits for the store
	stop   chan struct{}
	done   chan struct{} // closed when the spool's goroutine has ended

	// full are the segments that nothing is appended to any more, oldest first.
	// They and the file that takes what comes belong to the spool's goroutine.
	full []*segment

	mu      sync.Mutex // guards all below
	claims  claims
	segment *segment
	oldest  time.Time // when the segment's first record came
	bytes   int       // of the bodies that wait
	size    int64     // of the newest checkpoint that a receipt told
	// added and drained count the records that came and those the store has;
	// moved is closed and made anew whenever drained or failing changes.
	added, drained int64
	moved          chan struct{}
	failing        error // why the store does not take what waits; nil: it does
	closed         bool
}

// Open commits what an earlier process left in the directory, which is made if
// it is missing, and then takes entries. An error of the store ends it with
// everything still in place.
func Open(ctx context.Context, dir string, store Store, c Config) (*Spool, error) {
	s := &Spool{store: store, config: c.withDefaults(), dir: dir, wake: make(chan struct{}, 1),
		stop: make(chan struct{}), done: make(chan struct{}), moved: make(chan struct{})}
	var err error
	if s.lock, err = lockDirectory(dir); err != nil {
		return nil, fmt.Errorf("opening the spool: %w", err)
	}
	if err := s.recover(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("recovering the spool: %w", err), s.lock.Close())
	}
	go s.run()
	return s, nil
}

// recover brings the store and the claims to where the last process left off.
func (s *Spool) recover(ctx context.Context) error {
	var err error
	if s.full, err = segments(s.dir); err != nil {
		return err
	}
	number := 0
	if len(s.full) > 0 {
		number = s.full[len(s.full)-1].number
	}
	if err := s.deliver(); err != nil {
		return err
	}
	if s.segment, err = create(s.dir, number+1); err != nil {
		return err
	}
	s.claims = newClaims(s.config.Now())
	err = s.store.Recent(ctx, s.claims.lowest(), s.config.Now(), s.claims.storedKey, s.claims.storedToken)
	if err != nil {
		return errors.Join(err, s.segment.close())
	}
	return nil
}

// Commit makes an entry durable in the store before it returns, as the store's
// own Commit does; or, if the entry is Async and nothing that is known speaks
// against it, in the spool, and then the receipt says so.
func (s *Spool) Commit(ctx context.Context, e audit.Entry) (audit.Receipt, error) {
	if e.Async {
		if receipt, ok := s.take(&e); ok {
			return receipt, nil
		}
	}
	return s.strict(ctx, e)
}

// take answers an entry from the spool, if it may be.
func (s *Spool) take(e *audit.Entry) (audit.Receipt, bool) {
	if lane.Check(e) != nil {
		return audit.Receipt{}, false // the store says why
	}
	now := s.config.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.failing != nil || s.bytes+len(e.Body) > s.config.Bytes || !s.claims.free(e, now) {
		return audit.Receipt{}, false
	}
	if err := s.segment.append(e.Body); err != nil {
		s.fail(fmt.Errorf("writing to the spool: %w", err))
		s.signal()
		return audit.Receipt{}, false
	}
	s.claims.take(e)
	if s.segment.count == 1 {
		s.oldest = now
	}
	s.bytes += len(e.Body)
	s.added++
	return audit.Receipt{Size: s.size, Spooled: true}, true
}

// strict commits to the store, after everything that waits for it now. The
// commit goes on when ctx ends, so that its outcome is always learnt.
func (s *Spool) strict(ctx context.Context, e audit.Entry) (audit.Receipt, error) {
	if err := lane.Check(&e); err != nil { // before it holds anything
		return audit.Receipt{}, fmt.Errorf("checking the entry: %w", err)
	}
	s.mu.Lock()
	held := s.claims.hold(&e)
	target := s.added
	s.mu.Unlock()
	answer := make(chan lane.Outcome, 1)
	go func() {
		var o lane.Outcome
		if o.Err = s.reached(context.WithoutCancel(ctx), target); o.Err == nil {
			o.Receipt, o.Err = s.store.Commit(context.WithoutCancel(ctx), e)
		} else {
			o.Err = errors.Join(errNotTried, o.Err)
		}
		s.mu.Lock()
		s.claims.settle(held, outcomeOf(o))
		s.size = max(s.size, sizeOf(o))
		s.mu.Unlock()
		answer <- o
	}()
	select {
	case o := <-answer:
		return o.Receipt, o.Err
	case <-ctx.Done():
		return audit.Receipt{}, fmt.Errorf("waiting for the commit: %w", ctx.Err())
	}
}

// errNotTried: what waits before the entry could not be committed, so the entry
// was not either.
var errNotTried = errors.New("earlier records wait for the store, which does not take them")

// outcomeOf is what a commit did to what it held.
func outcomeOf(o lane.Outcome) outcome {
	switch {
	case o.Err == nil && o.Receipt.Prior == nil:
		return written
	case o.Err == nil, errors.Is(o.Err, errNotTried), errors.Is(o.Err, audit.ErrStale), errors.Is(o.Err, audit.ErrReused),
		errors.Is(o.Err, audit.ErrFull), errors.Is(o.Err, lane.ErrClosed):
		return unwritten
	}
	return unclear
}

// sizeOf is the size of the log that a new record's receipt tells. That of a
// record committed before is its own index.
func sizeOf(o lane.Outcome) int64 {
	if o.Err != nil || o.Receipt.Prior != nil {
		return 0
	}
	return o.Receipt.Size
}

// Snapshot tells the counters as they are with all that waits, where that is all
// that is wanted; else it is the store's, once nothing waits any more.
func (s *Spool) Snapshot(ctx context.Context, w decision.Want) (decision.Facts, error) {
	if w.Remembered && w.Ticket == "" && w.CallID == [16]byte{} {
		s.mu.Lock()
		used, ok := s.claims.counters(&w)
		s.mu.Unlock()
		if ok {
			return decision.Facts{Remembered: true, Used: used}, nil
		}
	}
	s.mu.Lock()
	seen := s.claims.look(&w)
	s.mu.Unlock()
	facts, err := s.flushed(ctx, w)
	s.mu.Lock()
	s.claims.learn(seen, facts.Used)
	s.mu.Unlock()
	return facts, err
}

// flushed is the store's snapshot once nothing waits any more.
func (s *Spool) flushed(ctx context.Context, w decision.Want) (decision.Facts, error) {
	if err := s.Flush(ctx); err != nil {
		return decision.Facts{}, fmt.Errorf("reading a snapshot: %w", err)
	}
	w.Remembered = false
	return s.store.Snapshot(ctx, w)
}

// Record is a record of a tenant by its id, or audit.ErrNotFound, once nothing
// waits any more that could be it.
func (s *Spool) Record(ctx context.Context, tenant string, id [16]byte) (audit.Row, error) {
	if err := s.Flush(ctx); err != nil {
		return audit.Row{}, fmt.Errorf("reading a record: %w", err)
	}
	return s.store.Record(ctx, tenant, id)
}

// Flush returns when the store has all that has come so far.
func (s *Spool) Flush(ctx context.Context) error {
	s.mu.Lock()
	target := s.added
	s.mu.Unlock()
	return s.reached(ctx, target)
}

// ForgetTokens is the store's, once nothing waits any more that it would refuse
// then: what is taken from now on expires later.
func (s *Spool) ForgetTokens(ctx context.Context, at time.Time) error {
	if err := s.Flush(ctx); err != nil {
		return fmt.Errorf("forgetting tokens: %w", err)
	}
	return s.store.ForgetTokens(ctx, at)
}

// reached returns when the store has the first target records.
func (s *Spool) reached(ctx context.Context, target int64) error {
	for {
		s.mu.Lock()
		drained, moved, failing := s.drained, s.moved, s.failing
		s.mu.Unlock()
		if drained >= target {
			return nil
		}
		s.signal() // also when it failed: who asks next may find it healed
		if failing != nil {
			return failing
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// signal leaves a token for the spool's goroutine, if there is none yet.
func (s *Spool) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Close takes no more entries into the spool, commits those that wait, and ends
// when the store has them all, or does not take them: then they stay in the
// directory for the next Open.
func (s *Spool) Close() error {
	s.mu.Lock()
	was := s.closed
	s.closed = true
	s.mu.Unlock()
	if !was {
		close(s.stop)
	}
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.failing
	if !was {
		err = errors.Join(err, s.segment.close(), s.lock.Close())
	}
	if err != nil {
		return fmt.Errorf("closing the spool: %w", err)
	}
	return nil
}
