package postgres

import "context"

// Tend looks after the leases of a store at once.
func (s *Store) Tend(ctx context.Context) { s.tend(ctx) }

// Pause ends a store's keeper: it tells nothing any more, returns nothing and
// fences nobody, but in Tend and Close.
func (s *Store) Pause() { s.keeper.stop() }

// Holder is under which id a store has leases; zero: under none.
func (s *Store) Holder() [16]byte { return s.leases.Holder() }
