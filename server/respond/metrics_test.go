package respond_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/respond"
)

// The metrics tell what is in force, and grow old with what is known.
func TestObserve(t *testing.T) {
	store := &flaky{Store: open(t)}
	now := noon
	f, err := respond.Follow(t.Context(), respond.Config{Store: store, Now: func() time.Time { return now }, Report: func(decision.Control, error) {}})
	if err != nil {
		t.Fatal(err)
	}
	reader := sdk.NewManualReader()
	if err := f.Observe(sdk.NewMeterProvider(sdk.WithReader(reader)).Meter("test")); err != nil {
		t.Fatal(err)
	}
	want := func(version, inForce, changes, frozen int64, age float64) {
		t.Helper()
		var all metricdata.ResourceMetrics
		if err := reader.Collect(t.Context(), &all); err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, m := range all.ScopeMetrics[0].Metrics {
			switch data := m.Data.(type) {
			case metricdata.Gauge[int64]:
				got[m.Name] = float64(data.DataPoints[0].Value)
			case metricdata.Gauge[float64]:
				got[m.Name] = data.DataPoints[0].Value
			}
		}
		want := map[string]float64{"writ.locks.version": float64(version), "writ.locks.in_force": float64(inForce), "writ.locks.age": age,
			"writ.budgets.adjustments": float64(changes), "writ.budgets.frozen": float64(frozen)}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("metrics (-want +got):\n%s", diff)
		}
	}
	want(0, 0, 0, 0, 0)
	for _, l := range []decision.Lock{lock("a", time.Minute), lock("b", time.Hour)} {
		if _, err := respond.Set(t.Context(), store, l, by("x")); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range []decision.Adjustment{raise("a", "", 1, time.Hour), {ID: "b", Budget: "b", Frozen: true, Until: noon.Add(time.Minute)}} {
		if _, err := respond.Adjust(t.Context(), store, a, by("x"), nil); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(500 * time.Millisecond)
	want(0, 0, 0, 0, 0.5)
	if err := f.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	want(4, 2, 2, 1, 0)
	store.away.Store(true)
	now = now.Add(time.Minute)
	if f.Look(t.Context()) == nil {
		t.Fatal("it looked")
	}
	want(4, 1, 1, 0, 60)
}
