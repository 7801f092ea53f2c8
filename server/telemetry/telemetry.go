// Package telemetry owns how a process's metrics are gathered and shown. It owns
// no instrument: who counts something makes the instrument for it, from a Meter,
// and answers for its attributes, which are of a few values known beforehand and
// never the name of a tenant, an agent or anybody else.
package telemetry

import (
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
)

// Metrics gathers the metrics of one process. Safe for concurrent use.
type Metrics struct {
	meter   metric.Meter
	handler http.Handler
}

// Bounds of what is shown.
const (
	// maxSeries is how many attribute sets an instrument may have; what comes
	// after them is counted together under otel_metric_overflow.
	maxSeries = 200
	// scrapes and scrapeTime bound the work for whoever asks.
	scrapes    = 4
	scrapeTime = 10 * time.Second
)

// New makes the metrics of a process, with the Go runtime's and the operating
// system's view of it.
func New() (*Metrics, error) {
	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("registering the process's metrics: %w", err)
		}
	}
	reader, err := exporter.New(exporter.WithRegisterer(registry), exporter.WithoutScopeInfo(), exporter.WithoutTargetInfo(),
		exporter.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes))
	if err != nil {
		return nil, fmt.Errorf("making the exporter of metrics: %w", err)
	}
	provider := sdk.NewMeterProvider(sdk.WithReader(reader), sdk.WithCardinalityLimit(maxSeries))
	return &Metrics{
		meter:   provider.Meter("github.com/writpdp/writ"),
		handler: promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: scrapes, Timeout: scrapeTime}),
	}, nil
}

// Meter makes instruments. Their names begin with "writ.", in lower case with
// dots; a scrape shows them with underscores, their unit and, of counters,
// "_total".
func (m *Metrics) Meter() metric.Meter { return m.meter }

// Handler shows the metrics in the text formats that Prometheus reads.
func (m *Metrics) Handler() http.Handler { return m.handler }
