package spool

import (
	"errors"
	"fmt"
	"time"

	"github.com/gofrs/uuid/v5"

	"github.com/writpdp/writ/server/audit"
)

// batch is how many records go to the store at once, at the most.
const batch = 1024

// run syncs the file at intervals, and brings what waits into the store: when
// somebody waits for it, when it has waited for long or is much, and when nothing
// has come since the last look.
func (s *Spool) run() {
	defer close(s.done)
	tick := time.NewTicker(s.config.Sync)
	defer tick.Stop()
	seen := int64(0)
	for {
		due := true
		select {
		case <-s.stop:
			s.drain()
			return
		case <-s.wake:
		case <-tick.C:
			s.sync()
			due, seen = s.due(seen)
		}
		if due {
			s.drain()
		}
	}
}

// due says whether what waits should go to the store, and how much has come.
func (s *Spool) due(seen int64) (bool, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	quiet := s.added == seen
	old := !s.oldest.IsZero() && s.config.Now().Sub(s.oldest) >= s.config.Lag
	return len(s.queue) > 0 && (quiet || old || s.bytes >= s.config.Bytes/2) || s.failing != nil, s.added
}

func (s *Spool) sync() {
	s.mu.Lock()
	g := s.segment
	s.mu.Unlock()
	if err := g.sync(); err != nil {
		s.mu.Lock()
		s.fail(fmt.Errorf("syncing the spool: %w", err))
		s.mu.Unlock()
	}
}

// fail keeps entries out of the spool until the store has taken all that waits.
// Called with mu held.
func (s *Spool) fail(err error) {
	if s.failing == nil {
		s.config.Report(err)
	}
	s.failing = err
	s.move()
}

// move tells those who wait that something changed. Called with mu held.
func (s *Spool) move() {
	close(s.moved)
	s.moved = make(chan struct{})
}

// drain commits what waits now. A new file takes what comes meanwhile. Where the
// store fails, everything waits on, in its files and in its order, and nothing
// more is taken in before it.
func (s *Spool) drain() {
	s.mu.Lock()
	idle := s.added == s.drained && s.failing == nil
	s.mu.Unlock()
	if idle {
		return
	}
	next, err := create(s.dir, s.segment.number+1) // nobody else replaces it
	s.mu.Lock()
	if err != nil {
		s.fail(err)
		s.mu.Unlock()
		return
	}
	full, entries := s.segment, s.queue
	s.segment, s.queue, s.oldest = next, nil, time.Time{}
	s.mu.Unlock()

	if err = s.deliver(entries); err == nil {
		err = errors.Join(full.close(), s.removeUpTo(full.number))
	} else {
		err = errors.Join(err, full.sync(), full.close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		// Committing what the store has already changes nothing, so all of it
		// is tried again.
		s.queue = append(entries, s.queue...)
		s.oldest = s.config.Now()
		s.fail(fmt.Errorf("committing what waits: %w", err))
		return
	}
	for i := range entries {
		s.bytes -= len(entries[i].Body)
	}
	s.drained += int64(len(entries))
	s.failing = nil
	s.claims.forget(s.config.Now(), s.added == s.drained)
	s.move()
}

// removeUpTo removes the files whose records the store has.
func (s *Spool) removeUpTo(number int) error {
	all, err := segments(s.dir)
	if err != nil {
		return err
	}
	for _, g := range all {
		if g.number <= number {
			if err := g.remove(); err != nil {
				return err
			}
		}
	}
	return nil
}

// deliver commits entries in their order. What the store refuses although it was
// answered can only come of somebody else having committed to the store: it is
// put aside, reported, and never lost.
func (s *Spool) deliver(entries []audit.Entry) error {
	for len(entries) > 0 {
		some := entries[:min(batch, len(entries))]
		entries = entries[len(some):]
		size := int64(0)
		for i, o := range s.store.CommitAll(some) {
			switch outcomeOf(o) {
			case written:
				size = max(size, o.Receipt.Size)
			case unclear:
				return o.Err
			default:
				e := &some[i]
				err := o.Err
				if err == nil {
					err = audit.ErrReused
				}
				if errors.Is(err, audit.ErrFull) || !errors.Is(err, audit.ErrStale) && !errors.Is(err, audit.ErrReused) {
					return err // nothing is wrong with the entry
				}
				if aside := putAside(s.dir, uuid.UUID(e.ID).String(), e.Body); aside != nil {
					return aside
				}
				s.config.Report(fmt.Errorf("the record %s of tenant %q was answered and the store refuses it (%w): it is kept in %s",
					uuid.UUID(e.ID), e.Tenant, err, s.dir))
			}
		}
		s.mu.Lock()
		s.size = max(s.size, size)
		s.mu.Unlock()
	}
	return nil
}
