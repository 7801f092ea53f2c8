package respond

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/metric"
)

// Observe makes the metrics of the locks: which version this replica goes by, how
// many are in force, and how old that knowledge is.
func (f *Follower) Observe(meter metric.Meter) error {
	var errs [4]error
	version, err := meter.Int64ObservableGauge("writ.locks.version", metric.WithDescription("The version of the locks that this server goes by."))
	errs[0] = err
	count, err := meter.Int64ObservableGauge("writ.locks.in_force", metric.WithDescription("Locks in force."))
	errs[1] = err
	age, err := meter.Float64ObservableGauge("writ.locks.age", metric.WithUnit("s"),
		metric.WithDescription("Time since the store last told of the locks; when it is more than one second, everything is denied."))
	errs[2] = err
	_, errs[3] = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s, now := f.seen.Load(), f.config.Now()
		o.ObserveInt64(version, s.locks.Version)
		o.ObserveInt64(count, int64(len(InForce(s.locks.Locks, now))))
		o.ObserveFloat64(age, now.Sub(s.at).Seconds())
		return nil
	}, version, count, age)
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("making the metrics of the locks: %w", err)
	}
	return nil
}
