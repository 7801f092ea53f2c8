package respond

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/metric"
)

// Observe makes the metrics of locks and of changes of budgets: which version this
// replica goes by, how many are in force, and how old that knowledge is.
func (f *Follower) Observe(meter metric.Meter) error {
	var errs [6]error
	version, err := meter.Int64ObservableGauge("writ.locks.version", metric.WithDescription("The version of the locks and of the changes of budgets that this server goes by."))
	errs[0] = err
	count, err := meter.Int64ObservableGauge("writ.locks.in_force", metric.WithDescription("Locks in force."))
	errs[1] = err
	age, err := meter.Float64ObservableGauge("writ.locks.age", metric.WithUnit("s"),
		metric.WithDescription("Time since the store last told of them; when it is more than one second, everything is denied."))
	errs[2] = err
	changes, err := meter.Int64ObservableGauge("writ.budgets.adjustments", metric.WithDescription("Changes of budgets in force."))
	errs[3] = err
	frozen, err := meter.Int64ObservableGauge("writ.budgets.frozen", metric.WithDescription("Those of them that freeze a budget, or a share of one."))
	errs[4] = err
	_, errs[5] = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s, now := f.seen.Load(), f.config.Now()
		o.ObserveInt64(version, s.control.Version)
		o.ObserveInt64(count, int64(len(InForce(s.control.Locks, now))))
		made, freezes := Adjusted(s.control.Adjustments, now), int64(0)
		for i := range made {
			if made[i].Frozen {
				freezes++
			}
		}
		o.ObserveInt64(changes, int64(len(made)))
		o.ObserveInt64(frozen, freezes)
		o.ObserveFloat64(age, now.Sub(s.at).Seconds())
		return nil
	}, version, count, changes, frozen, age)
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("making the metrics of the locks: %w", err)
	}
	return nil
}
