// Package jwks keeps the keys of token issuers at hand and up to date: from a
// URL, from a file, or from the SPIFFE Workload API. It owns when they are fetched
// and for how long they are trusted; what a key set may hold is package
// identity's.
//
// No decision waits for a fetch. Keys are refreshed beside the path, before they
// are due; a token that names an unknown key is refused now, and asks for one
// refresh, which serves later ones. While an issuer cannot be asked its last keys
// are used, and no longer than MaxAge, for one that was revoked meanwhile is among
// them.
package jwks

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/writpdp/writ/server/identity"
)

// Bounds of Config.MaxAge.
const (
	DefaultMaxAge = time.Hour
	LeastMaxAge   = 5 * time.Minute
	LongestMaxAge = 24 * time.Hour
)

// Config is what every source needs.
type Config struct {
	// Issuer is whose keys they are, for the log.
	Issuer string
	// MaxAge is how long keys are trusted after the issuer last said them; zero
	// is DefaultMaxAge.
	MaxAge time.Duration
	// Now is the clock, and Jitter random numbers from 0 up to, not including,
	// 1. Both are required.
	Now    func() time.Time
	Jitter func() float64
	// Log is told when keys change, cannot be fetched, and are trusted no more.
	Log *slog.Logger
}

// check fills in and holds Config to its bounds.
func (c *Config) check() error {
	if c.MaxAge == 0 {
		c.MaxAge = DefaultMaxAge
	}
	if c.MaxAge < LeastMaxAge || c.MaxAge > LongestMaxAge {
		return fmt.Errorf("the age of keys is not between %s and %s", LeastMaxAge, LongestMaxAge)
	}
	return nil
}

// origin is where a source reads.
type origin struct {
	// read returns a key set, and for how long it says to be good.
	read func(context.Context) (data []byte, good time.Duration, err error)
	// least and most bound how long a set is taken to be good.
	least, most time.Duration
	// cooldown is the least between two reads, whatever they are for.
	cooldown time.Duration
}

// Source is the keys of one issuer, an identity.KeySource. It does nothing until
// Run; Look reads once.
type Source struct {
	Config
	origin
	held   atomic.Pointer[held]
	missed chan struct{} // holds one when a token named an unknown key

	// Below are owned by Look.
	failing bool
	stale   bool
}

// held are keys, and when they were last read.
type held struct {
	keys identity.Keys
	at   time.Time
}

func newSource(c Config, o origin) (*Source, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("following the keys of %q: %w", c.Issuer, err)
	}
	return &Source{Config: c, origin: o, missed: make(chan struct{}, 1)}, nil
}

// At is the keys, if they were read less than MaxAge before.
func (s *Source) At(at time.Time) (identity.Keys, bool) {
	h := s.held.Load()
	if h == nil || !at.Before(h.at.Add(s.MaxAge)) {
		return identity.Keys{}, false
	}
	return h.keys, true
}

// Missed asks for one refresh, however often it is called until then.
func (s *Source) Missed() {
	select {
	case s.missed <- struct{}{}:
	default:
	}
}

// Look reads the keys once and says when they should be read again.
func (s *Source) Look(ctx context.Context) (next time.Duration, err error) {
	select {
	case <-s.missed: // this read serves it
	default:
	}
	data, good, err := s.read(ctx)
	if err == nil {
		var keys identity.Keys
		if keys, err = identity.ReadKeys(data); err == nil {
			s.take(keys)
			good = min(max(good, s.least), s.most)
			// Before they are due, and not with everybody else.
			return good - time.Duration(s.Jitter()*float64(good)/4), nil
		}
	}
	if ctx.Err() == nil {
		s.fail(err)
	}
	return s.cooldown + time.Duration(s.Jitter()*float64(s.cooldown)/2), err
}

// take holds keys that were just read.
func (s *Source) take(keys identity.Keys) {
	was := s.held.Load()
	now := &held{keys, s.Now()}
	changed := was == nil || !was.keys.Equal(keys)
	if !changed {
		now.keys = was.keys
	}
	s.held.Store(now)
	switch {
	case changed:
		s.Log.Info("issuer's keys", "issuer", s.Issuer, "keys", keys.IDs())
	case s.failing:
		s.Log.Info("issuer's keys can be fetched again", "issuer", s.Issuer)
	}
	s.failing, s.stale = false, false
}

// fail tells once that keys cannot be read, and once that they are too old.
func (s *Source) fail(err error) {
	if !s.failing {
		s.Log.Warn("issuer's keys cannot be fetched: the last ones stay", "issuer", s.Issuer, "error", err, "max_age", s.MaxAge.String())
	}
	s.failing = true
	if _, ok := s.At(s.Now()); !ok && !s.stale {
		s.stale = true
		s.Log.Error("issuer's keys are trusted no more: its tokens are refused", "issuer", s.Issuer, "error", err)
	}
}

// Run reads the keys when they are due, or when a token named one that is not
// known, until ctx is done. The first read is next after another one.
func (s *Source) Run(ctx context.Context, next time.Duration) {
	for {
		last := s.Now()
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-s.missed:
			timer.Stop()
			if !rest(ctx, s.cooldown-s.Now().Sub(last)) {
				return
			}
		}
		next, _ = s.Look(ctx) // it is logged, and tried again
	}
}

// rest waits, and reports whether it could.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
