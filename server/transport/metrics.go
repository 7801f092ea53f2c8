package transport

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

// counts are the instruments of a source.
type counts struct {
	renewed, refused metric.Int64Counter
}

var (
	roleServer    = metric.WithAttributeSet(attribute.NewSet(attribute.String("role", string(Server))))
	roleAuthority = metric.WithAttributeSet(attribute.NewSet(attribute.String("role", string(Authority))))
)

// newCounts makes the instruments, of which some are read off the source when
// somebody looks. meter may be nil.
func newCounts(meter metric.Meter, s *Source) (*counts, error) {
	if meter == nil {
		meter = noop.Meter{}
	}
	c := &counts{}
	var errs [5]error
	c.renewed, errs[0] = meter.Int64Counter("writ.certificate.renewals", metric.WithDescription("Changes of the server's certificate and of the authorities, by role."))
	c.refused, errs[1] = meter.Int64Counter("writ.certificate.refusals", metric.WithDescription("Times that the newest certificates could not be used and the old ones stayed."))
	expiry, err := meter.Float64ObservableGauge("writ.certificate.expiry", metric.WithUnit("s"),
		metric.WithDescription("Time until the server's certificate ends, and until the first trust domain has no authority left; negative: since."))
	errs[2] = err
	long, err := meter.Int64ObservableGauge("writ.certificate.long_lived",
		metric.WithDescription("Certificates in use that live longer than 90 days, by role."))
	errs[3] = err
	_, errs[4] = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		m, at := s.now(), s.c.Now()
		o.ObserveFloat64(expiry, m.pair.Leaf.NotAfter.Sub(at).Seconds(), roleServer)
		first := newest(m.bundles.Bundles()[0].X509Authorities()).NotAfter
		for _, b := range m.bundles.Bundles() {
			if last := newest(b.X509Authorities()).NotAfter; last.Before(first) {
				first = last
			}
		}
		o.ObserveFloat64(expiry, first.Sub(at).Seconds(), roleAuthority)
		lasting := map[Role]int64{}
		for _, w := range m.warnings(at) {
			if w.Kind == LongLived {
				lasting[w.Role]++
			}
		}
		o.ObserveInt64(long, lasting[Server], roleServer)
		o.ObserveInt64(long, lasting[Authority], roleAuthority)
		return nil
	}, expiry, long)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("making the metrics of certificates: %w", err)
	}
	return c, nil
}
