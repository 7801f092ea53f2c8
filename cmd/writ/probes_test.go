package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/writpdp/writ/server/clock"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/respond"
	"github.com/writpdp/writ/server/telemetry"
	"github.com/writpdp/writ/store/sqlite"
)

// A server whose clock is not the store's is not to be asked.
func TestNotReadyWithAnotherClock(t *testing.T) {
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), fileStore))
	must(t, err)
	defer store.Close()
	locks, err := respond.Follow(t.Context(), respond.Config{Store: store, Now: time.Now, Report: func(decision.Control, error) {}})
	must(t, err)
	metrics, err := telemetry.New()
	must(t, err)
	for _, c := range []struct {
		ahead time.Duration
		code  int
		says  string
	}{{0, http.StatusOK, `"off":false`}, {time.Hour, http.StatusServiceUnavailable, `"off":true`}, {-time.Hour, http.StatusServiceUnavailable, `"off":true`}} {
		clocks, err := clock.Start(t.Context(), clock.Config{Now: time.Now, Report: func(clock.State) {},
			Store: func(context.Context) (time.Time, error) { return time.Now().Add(c.ahead), nil }})
		must(t, err)
		answer := httptest.NewRecorder()
		probes(nil, nil, locks, clocks, metrics).ServeHTTP(answer, httptest.NewRequest("GET", "/readyz", nil))
		if answer.Code != c.code || !strings.Contains(answer.Body.String(), c.says) {
			t.Errorf("%s ahead: %d %s", c.ahead, answer.Code, answer.Body)
		}
	}
}
