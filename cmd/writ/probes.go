package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/writpdp/writ/server/clock"
	"github.com/writpdp/writ/server/policy/follow"
	"github.com/writpdp/writ/server/respond"
	"github.com/writpdp/writ/server/telemetry"
	"github.com/writpdp/writ/server/transport"
)

// readiness is what /readyz answers.
type readiness struct {
	Ready        bool              `json:"ready"`
	Bundle       *follow.Status    `json:"bundle,omitzero"`
	Certificates *transport.Status `json:"certificates,omitzero"`
	Locks        lockState         `json:"locks"`
	Clock        *clockState       `json:"clock,omitzero"`
}

// clockState is how far the database's clock is ahead of this server's, in seconds,
// give or take Within. Off says that it is too far.
type clockState struct {
	Ahead  float64 `json:"database_ahead"`
	Within float64 `json:"within"`
	Off    bool    `json:"off"`
}

// lockState is what the server knows of the locks.
type lockState struct {
	Version int64 `json:"version"`
	// Stale says that the store has not told for too long: everything is denied.
	Stale bool `json:"stale"`
}

// probes are all that the plain listener serves: whether the process lives,
// whether decisions should be asked for here, and its metrics. bundle is nil where
// the store's is in force, certificates without TLS, and clocks where there is one.
func probes(bundle *follow.Follower, certificates *transport.Source, locks *respond.Follower, clocks *clock.Watch, metrics *telemetry.Metrics) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.Handle("GET /metrics", metrics.Handler())
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		state := readiness{Ready: true}
		if bundle != nil {
			status, ready := bundle.Ready()
			state.Bundle, state.Ready = &status, ready
		}
		if certificates != nil {
			status, ready := certificates.Ready()
			state.Certificates, state.Ready = &status, state.Ready && ready
		}
		known := locks.Control(r.Context())
		state.Locks, state.Ready = lockState{known.Version, known.Stale}, state.Ready && !known.Stale
		if clocks != nil {
			s := clocks.State()
			state.Clock, state.Ready = &clockState{s.Ahead.Seconds(), s.Within.Seconds(), s.Off()}, state.Ready && !s.Off()
		}
		body, err := json.Marshal(state, json.Deterministic(true))
		if err != nil {
			http.Error(w, "the state cannot be told", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if !state.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write(body) // who asked may have gone
	})
	return mux
}

// serveProbes answers until ctx is done. Its bounds keep a slow or silent client
// from holding a connection.
func serveProbes(ctx context.Context, on net.Listener, handler http.Handler, log *slog.Logger) error {
	s := &http.Server{Handler: handler,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 30 * time.Second,
		MaxHeaderBytes: 8 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(on); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving probes: %w", err)
	}
	return nil
}
