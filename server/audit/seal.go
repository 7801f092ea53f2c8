package audit

import (
	"context"
	"fmt"
	"time"
)

// SealerConfig is what a Sealer needs.
type SealerConfig struct {
	// Seal takes up to max records that are committed and not in the tree yet,
	// extends the log by them and returns how many they were; all or none. It
	// returns 0 when there are none, or when another process is sealing.
	Seal func(ctx context.Context, max int, extend Extend) (int, error)
	// Extend is a Signer's.
	Extend Extend
	// Report is told each failure, from Run's goroutine. nil: nobody is.
	Report func(error)
	// Interval is how often to look without a hint; 0: 250 ms.
	Interval time.Duration
	// Max is how many records to take at once; 0: 4096.
	Max int
	// Patience bounds the wait after a failure, which doubles from Interval;
	// 0: 10 s.
	Patience time.Duration
	// Drain is how long Run may take to seal the rest once it is told to stop;
	// 0: 10 s.
	Drain time.Duration
}

// Sealer moves committed records into the tree, at intervals and when poked.
// Several processes may each run one on the same log: Seal sees to it that one
// seals at a time.
type Sealer struct {
	config SealerConfig
	hint   chan struct{}
}

// NewSealer returns a sealer that does nothing until Run.
func NewSealer(c SealerConfig) *Sealer {
	if c.Report == nil {
		c.Report = func(error) {}
	}
	if c.Interval <= 0 {
		c.Interval = 250 * time.Millisecond
	}
	if c.Max <= 0 {
		c.Max = 4096
	}
	if c.Patience <= 0 {
		c.Patience = 10 * time.Second
	}
	if c.Drain <= 0 {
		c.Drain = 10 * time.Second
	}
	return &Sealer{config: c, hint: make(chan struct{}, 1)}
}

// Poke hints that there is something to seal. It never blocks.
func (s *Sealer) Poke() {
	select {
	case s.hint <- struct{}{}:
	default: // a hint is waiting: one look serves both
	}
}

// Run seals until ctx is done, then seals what is left and returns. The error
// is the one that kept it from sealing the rest; nothing is lost then, the next
// sealer takes it up.
func (s *Sealer) Run(ctx context.Context) error {
	failures := 0
	for ctx.Err() == nil {
		err := s.all(ctx)
		if ctx.Err() != nil {
			break // the failure may be the end itself: drain reports its own
		}
		if err != nil {
			failures++
			s.config.Report(err)
			s.wait(ctx, s.pause(failures), nil) // a hint must not shorten it
			continue
		}
		failures = 0
		s.wait(ctx, s.config.Interval, s.hint)
	}
	rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.Drain)
	defer cancel()
	if err := s.all(rest); err != nil {
		return fmt.Errorf("sealing the rest: %w", err)
	}
	return nil
}

// all seals until nothing is left, records that come meanwhile included.
func (s *Sealer) all(ctx context.Context) error {
	for {
		n, err := s.config.Seal(ctx, s.config.Max, s.config.Extend)
		if err != nil {
			return err // Seal's own layer names it
		}
		if n == 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// pause doubles with each failure in a row.
func (s *Sealer) pause(failures int) time.Duration {
	wait := s.config.Interval
	for range failures - 1 {
		if wait *= 2; wait >= s.config.Patience {
			break
		}
	}
	return min(wait, s.config.Patience)
}

func (s *Sealer) wait(ctx context.Context, d time.Duration, hint <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-hint:
	}
}
