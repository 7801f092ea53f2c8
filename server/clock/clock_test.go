package clock_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/clock"
	"github.com/writpdp/writ/server/telemetry"
)

// store is a store's clock, which is ahead, and takes its time to tell.
type store struct {
	mu    sync.Mutex
	ahead time.Duration
	takes time.Duration
	err   error
}

func (s *store) set(ahead, takes time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead, s.takes, s.err = ahead, takes, err
}

func (s *store) now(ctx context.Context) (time.Time, error) {
	s.mu.Lock()
	ahead, takes, err := s.ahead, s.takes, s.err
	s.mu.Unlock()
	half := func() {
		select {
		case <-ctx.Done():
		case <-time.After(takes / 2):
		}
	}
	half()
	there := time.Now().Add(ahead)
	half()
	return there, errors.Join(err, ctx.Err())
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{ahead: 40 * time.Millisecond, takes: 10 * time.Millisecond}
		var reports []bool
		w, err := clock.Start(t.Context(), clock.Config{Store: s.now, Now: time.Now, Report: func(s clock.State) { reports = append(reports, s.Off()) }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { w.Run(ctx) })
		for _, c := range []struct {
			name         string
			ahead, takes time.Duration
			err          error
			want         clock.State
			off          bool
		}{
			{"as it began", 40 * time.Millisecond, 10 * time.Millisecond, nil, clock.State{Ahead: 40 * time.Millisecond, Within: 5 * time.Millisecond}, false},
			{"at the bound", clock.Bound, 0, nil, clock.State{Ahead: clock.Bound}, false},
			{"ahead", clock.Bound + 1, 0, nil, clock.State{Ahead: clock.Bound + 1}, true},
			{"behind", -clock.Bound - 1, 0, nil, clock.State{Ahead: -clock.Bound - 1}, true},
			{"not surely beyond", clock.Bound + time.Millisecond, 4 * time.Millisecond, nil, clock.State{Ahead: clock.Bound + time.Millisecond, Within: 2 * time.Millisecond}, false},
			{"away", time.Hour, 0, errors.New("away"), clock.State{Ahead: clock.Bound + time.Millisecond, Within: 2 * time.Millisecond}, false},
			{"silent", time.Hour, time.Minute, nil, clock.State{Ahead: clock.Bound + time.Millisecond, Within: 2 * time.Millisecond}, false},
			{"an hour off", -time.Hour, 0, nil, clock.State{Ahead: -time.Hour}, true},
		} {
			s.set(c.ahead, c.takes, c.err)
			time.Sleep(3 * time.Second)
			synctest.Wait()
			if diff := cmp.Diff(c.want, w.State()); diff != "" || w.State().Off() != c.off {
				t.Errorf("%s: off %v, want %v (-want +got):\n%s", c.name, w.State().Off(), c.off, diff)
			}
		}
		stop()
		group.Wait()
		if diff := cmp.Diff([]bool{true, false, true}, reports); diff != "" {
			t.Errorf("reports (-want +got):\n%s", diff)
		}
	})
}

func TestStartNeedsTheStore(t *testing.T) {
	s := &store{err: errors.New("away")}
	if _, err := clock.Start(t.Context(), clock.Config{Store: s.now, Now: time.Now, Report: func(clock.State) {}}); err == nil {
		t.Error("no error")
	}
}

func TestObserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{ahead: -2 * time.Second, takes: 2 * time.Millisecond}
		w, err := clock.Start(t.Context(), clock.Config{Store: s.now, Now: time.Now, Report: func(clock.State) {}})
		if err != nil {
			t.Fatal(err)
		}
		metrics, err := telemetry.New()
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Observe(metrics.Meter()); err != nil {
			t.Fatal(err)
		}
		answer := httptest.NewRecorder()
		metrics.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
		for _, want := range []string{"\nwrit_clock_ahead_seconds -2\n", "\nwrit_clock_within_seconds 0.001\n"} {
			if !strings.Contains(answer.Body.String(), want) {
				t.Errorf("no %q in:\n%s", want, answer.Body)
			}
		}
	})
}
