package server_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server"
)

// Every decision that was recorded is counted once, and every error that a caller
// got, on each face.
func TestMetrics(t *testing.T) {
	reader := metric.NewManualReader()
	p := open(t, func(_ *pdp, c *server.Config) {
		c.Meter = metric.NewMeterProvider(metric.WithReader(reader)).Meter("test")
	})
	at := p.serve(t)
	again, ofASession, forAHuman := p.listing(t), p.listing(t), p.forbidden(t)
	ofASession.SessionId = "run-1"
	whose := claims()
	whose.OnBehalfOf = "ann"
	forAHuman.PrincipalToken = p.mint(t, whose, time.Now())
	for _, request := range []*writv1.DecideRequest{again, ofASession, forAHuman} {
		_, err := at.Decide(t.Context(), request)
		must(t, err)
	}
	retry := p.listing(t)
	retry.RequestId, retry.PrincipalToken = again.RequestId, p.token(t)
	if got, err := at.Decide(t.Context(), retry); err != nil || !got.Replayed {
		t.Fatalf("a retry: %v, %v", got, err)
	}
	bad := p.listing(t)
	bad.PrincipalToken = "no token"
	if _, err := at.Decide(t.Context(), bad); err == nil {
		t.Error("a bad token is accepted")
	}
	if _, err := at.DecideBatch(t.Context(), &writv1.DecideBatchRequest{Items: []*writv1.BatchItem{item("a", bad), item("b", p.listing(t))}}); err != nil {
		t.Error(err)
	}
	if _, err := at.Settle(t.Context(), succeeded(newID(t), nil)); err == nil {
		t.Error("an unknown decision is settled")
	}
	if status, body := at.evaluate(t, p.evaluation(t)); status != 200 {
		t.Errorf("over JSON: %d %s", status, body)
	}
	var all metricdata.ResourceMetrics
	must(t, reader.Collect(t.Context(), &all))
	got := map[string]int64{}
	for _, m := range all.ScopeMetrics[0].Metrics {
		for _, point := range m.Data.(metricdata.Sum[int64]).DataPoints {
			for _, a := range point.Attributes.ToSlice() {
				got[m.Name+" "+string(a.Key)+"="+a.Value.AsString()] = point.Value
			}
		}
	}
	want := map[string]int64{
		"writ.decisions effect=allow": 4, "writ.decisions effect=deny": 1,
		"writ.attributions lacks=session_and_human": 3, "writ.attributions lacks=human": 1, "writ.attributions lacks=session": 1,
		"writ.refusals reason=token_invalid": 2, "writ.refusals reason=decision_unknown": 1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
