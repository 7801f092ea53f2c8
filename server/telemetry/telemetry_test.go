package telemetry_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/writpdp/writ/server/telemetry"
)

func scrape(t *testing.T, m *telemetry.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// What is counted is shown by the name that dashboards know, and nothing about
// the library that counted it.
func TestMetrics(t *testing.T) {
	m, err := telemetry.New()
	if err != nil {
		t.Fatal(err)
	}
	things, err := m.Meter().Int64Counter("writ.things", metric.WithDescription("Things."))
	if err != nil {
		t.Fatal(err)
	}
	things.Add(t.Context(), 2, metric.WithAttributes(attribute.String("kind", "good")))
	_, err = m.Meter().Float64ObservableGauge("writ.wait", metric.WithUnit("s"),
		metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error { o.Observe(1.5); return nil }))
	if err != nil {
		t.Fatal(err)
	}
	got := scrape(t, m)
	for _, want := range []string{
		"# HELP writ_things_total Things.\n", "writ_things_total{kind=\"good\"} 2\n", "writ_wait_seconds 1.5\n", "go_goroutines ", "process_open_fds ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("there is no %q", want)
		}
	}
	for _, unwanted := range []string{"otel_scope", "target_info"} {
		if strings.Contains(got, unwanted) {
			t.Errorf("there is %q", unwanted)
		}
	}
}

// An attribute of any number of values does not fill the memory.
func TestMetricsAreBounded(t *testing.T) {
	m, err := telemetry.New()
	if err != nil {
		t.Fatal(err)
	}
	things, err := m.Meter().Int64Counter("writ.things")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		things.Add(t.Context(), 1, metric.WithAttributes(attribute.String("kind", fmt.Sprint(i))))
	}
	if n := strings.Count(scrape(t, m), "\nwrit_things_total{"); n != 200 {
		t.Errorf("%d series, want 200", n)
	}
}
