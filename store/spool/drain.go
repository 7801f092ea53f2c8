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
	return s.added > s.drained && (quiet || old || s.bytes >= s.config.Bytes/2) || s.failing != nil, s.added
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
	err := s.rotate()
	if err == nil {
		err = s.deliver()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.fail(fmt.Errorf("committing what waits: %w", err))
		return
	}
	if s.failing != nil {
		s.failing = nil
		s.move()
	}
	s.claims.forget(s.config.Now(), s.added == s.drained)
}

// rotate begins a new file, unless nothing was written to the last.
func (s *Spool) rotate() error {
	s.mu.Lock()
	unused := s.segment.count == 0 && !s.segment.torn
	s.mu.Unlock()
	if unused {
		return nil
	}
	next, err := create(s.dir, s.segment.number+1) // nobody else replaces it
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = append(s.full, s.segment)
	s.segment, s.oldest = next, time.Time{}
	return nil
}

// deliver commits what the full segments hold, in its order. What the store has
// already it takes as new, so that a segment can be delivered again from its
// beginning, by this process or the next.
func (s *Spool) deliver() error {
	for len(s.full) > 0 {
		g := s.full[0]
		lost, err := g.read(batch, s.commit)
		if err != nil {
			return errors.Join(err, g.sync())
		}
		if lost > 0 {
			s.config.Report(fmt.Errorf("%s: its last %d bytes were not written whole and are dropped", g.file, lost))
		}
		if err := errors.Join(g.close(), g.remove()); err != nil {
			return err
		}
		s.full = s.full[1:]
		s.mu.Lock()
		s.bytes -= g.bytes
		s.drained += g.count
		if len(s.full) == 0 {
			s.failing = nil // before anybody is told
		}
		s.move()
		s.mu.Unlock()
	}
	return nil
}

// commit commits entries. What the store refuses although it was answered can
// only come of somebody else having committed to the store: it is put aside,
// reported, and never lost.
func (s *Spool) commit(entries []audit.Entry) error {
	size := int64(0)
	for i, o := range s.store.CommitAll(entries) {
		switch e, did := &entries[i], outcomeOf(o); {
		case did == written:
			size = max(size, o.Receipt.Size)
		case o.Err != nil && !errors.Is(o.Err, audit.ErrStale) && !errors.Is(o.Err, audit.ErrReused):
			return o.Err // nothing is wrong with the entry
		default:
			err := o.Err
			if err == nil {
				err = audit.ErrReused
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
	return nil
}
