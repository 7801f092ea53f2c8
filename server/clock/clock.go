// Package clock owns how far a replica's clock is from its store's: measured, shown
// and bounded. Windows, expiries and locks' ends are decided by the replica's clock,
// so one that is off decides at another time than its neighbours; what must be
// exact rests on the store, and on no clock. It corrects nothing.
package clock

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
)

const (
	// Bound is how far the clocks may be apart: beyond it a replica is not ready.
	Bound = 250 * time.Millisecond
	// every is how often they are compared, and patience how long the store may
	// take to tell: what took longer says nothing.
	every    = time.Second
	patience = time.Second
)

// Config is what a Watch needs. Every field is required.
type Config struct {
	// Store tells the store's clock.
	Store func(context.Context) (time.Time, error)
	// Now is this replica's clock.
	Now func() time.Time
	// Report is told when the clocks are too far apart, once, and when they no
	// longer are.
	Report func(State)
}

// State is what the last comparison found.
type State struct {
	// Ahead is how far the store's clock is ahead of this replica's, give or take
	// Within: it was read between two readings of this one's.
	Ahead, Within time.Duration
}

// Off reports whether the clocks are surely further apart than Bound.
func (s State) Off() bool { return s.Ahead.Abs()-s.Within > Bound }

// Watch compares the clocks. Safe for concurrent use.
type Watch struct {
	config Config
	state  atomic.Pointer[State]
}

// Start returns once the clocks were compared.
func Start(ctx context.Context, c Config) (*Watch, error) {
	w := &Watch{config: c}
	if err := w.compare(ctx); err != nil {
		return nil, err
	}
	return w, nil
}

// State is what the last comparison found. A store that does not tell leaves it as
// it was.
func (w *Watch) State() State { return *w.state.Load() }

// Run compares the clocks until ctx is done.
func (w *Watch) Run(ctx context.Context) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = w.compare(ctx) // whoever follows the locks reports a store that is away
		}
	}
}

func (w *Watch) compare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	before := w.config.Now()
	there, err := w.config.Store(ctx)
	if err != nil {
		return fmt.Errorf("comparing the clocks: %w", err)
	}
	half := w.config.Now().Sub(before) / 2 // by the monotonic clock
	// Round takes the monotonic reading away: it is the clock on the wall that may
	// be off.
	s := State{Ahead: there.Sub(before.Round(0).Add(half)), Within: half}
	last := w.state.Swap(&s)
	if was := last != nil && last.Off(); was != s.Off() {
		w.config.Report(s)
	}
	return nil
}

// Observe makes the metric of the clocks.
func (w *Watch) Observe(meter metric.Meter) error {
	ahead, err := meter.Float64ObservableGauge("writ.clock.ahead", metric.WithUnit("s"),
		metric.WithDescription("How far the store's clock is ahead of this server's; negative: behind. Beyond a quarter of a second the server is not ready."))
	within, failed := meter.Float64ObservableGauge("writ.clock.within", metric.WithUnit("s"),
		metric.WithDescription("How exact writ.clock.ahead is, either way."))
	_, refused := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s := w.State()
		o.ObserveFloat64(ahead, s.Ahead.Seconds())
		o.ObserveFloat64(within, s.Within.Seconds())
		return nil
	}, ahead, within)
	if err := errors.Join(err, failed, refused); err != nil {
		return fmt.Errorf("making the metric of the clocks: %w", err)
	}
	return nil
}
