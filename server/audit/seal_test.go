package audit

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// queue is what a Seal function works off: it counts, and fails when told to.
type queue struct {
	mu      sync.Mutex
	pending int
	calls   []time.Duration // since start, of each look
	start   time.Time
	fail    int // so many looks fail
	err     error
}

func (q *queue) seal(ctx context.Context, limit int, _ Extend) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.calls = append(q.calls, time.Since(q.start))
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if q.fail > 0 {
		q.fail--
		return 0, q.err
	}
	n := min(limit, q.pending)
	q.pending -= n
	return n, nil
}

func (q *queue) add(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pending += n
}

func (q *queue) looks() []time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	calls := q.calls
	q.calls = nil
	return calls
}

// run starts a sealer and returns it with the function that ends it.
func run(t *testing.T, q *queue, c SealerConfig) (*Sealer, func() error) {
	t.Helper()
	q.start, c.Seal = time.Now(), q.seal
	s := NewSealer(c)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	synctest.Wait()
	return s, func() error { cancel(); return <-done }
}

func TestSealerLooksAtIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{pending: 10}
		_, stop := run(t, q, SealerConfig{Max: 4})
		if got := len(q.looks()); got != 4 || q.pending != 0 { // 4, 4, 2 and 0
			t.Errorf("%d looks and %d left at the start, want 4 and 0", got, q.pending)
		}
		q.add(3)
		time.Sleep(600 * time.Millisecond)
		synctest.Wait()
		want := []time.Duration{250 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond}
		if diff := cmp.Diff(want, q.looks()); diff != "" {
			t.Errorf("looks (-want +got):\n%s", diff)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestPokeIsServedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{}
		s, stop := run(t, q, SealerConfig{Interval: time.Hour})
		time.Sleep(time.Minute)
		q.looks()
		q.add(1)
		s.Poke()
		s.Poke() // never blocks
		synctest.Wait()
		if got := q.looks(); len(got) == 0 || got[0] != time.Minute || q.pending != 0 {
			t.Errorf("looks at %v, %d left", got, q.pending)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestSealerBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("a tile was changed")
		var told []error
		q := &queue{pending: 1, fail: 6, err: broken}
		s, stop := run(t, q, SealerConfig{Interval: time.Second, Patience: 5 * time.Second,
			Report: func(err error) { told = append(told, err) }})
		s.Poke() // must not cut the pause short
		time.Sleep(time.Minute)
		synctest.Wait()
		got := q.looks()[:7]
		want := []time.Duration{0, 1 * time.Second, 3 * time.Second, 7 * time.Second, 12 * time.Second, 17 * time.Second, 22 * time.Second}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("looks (-want +got):\n%s", diff)
		}
		if len(told) != 6 || !errors.Is(told[0], broken) {
			t.Errorf("told %d errors, first %v", len(told), told[0])
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestSealerDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{}
		_, stop := run(t, q, SealerConfig{Interval: time.Hour, Max: 3})
		q.add(10)
		if err := stop(); err != nil || q.pending != 0 {
			t.Errorf("%d left at the end, error %v", q.pending, err)
		}
	})
}

func TestDrainFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("the disk is gone")
		q := &queue{err: broken}
		_, stop := run(t, q, SealerConfig{Interval: time.Hour})
		q.mu.Lock()
		q.fail = 1
		q.mu.Unlock()
		if err := stop(); !errors.Is(err, broken) {
			t.Errorf("error is %v, want %v", err, broken)
		}
	})
}

// TestDrainEnds: a store that hangs does not keep the process from ending.
func TestDrainEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSealer(SealerConfig{Drain: 3 * time.Second, Seal: func(ctx context.Context, _ int, _ Extend) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := s.Run(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 4*time.Second {
			t.Errorf("error is %v after %v", err, time.Since(start))
		}
	})
}
