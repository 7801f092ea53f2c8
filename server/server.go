// Package server is the door of Writ: it takes questions on its listeners, puts
// each on the path of a decision (check.go), and maps what comes of it to the
// wire. It fails closed: without a durable record there is no answer.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"buf.build/go/protovalidate"
	"github.com/gofrs/uuid/v5"
	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/face/authzen"
	"github.com/writpdp/writ/server/identity"
	"github.com/writpdp/writ/server/pseudonym"
	"github.com/writpdp/writ/server/quick"
)

// Ledger is where facts come from and records go to. Safe for concurrent use.
type Ledger interface {
	// Snapshot reads what a decision needs, as it is at one moment; or, where
	// the want allows it, as it is remembered, and then the facts say so.
	Snapshot(context.Context, decision.Want) (decision.Facts, error)
	// Commit makes a record and its effects durable, both or neither, before it
	// returns. audit.ErrStale: a guard failed, nothing was written, decide
	// again. audit.ErrReused: the key belongs to another request. A receipt
	// with Prior: the same request was committed before. Any other error leaves
	// open whether the record is there; the same request tells.
	Commit(context.Context, audit.Entry) (audit.Receipt, error)
	// Record reads one record; audit.ErrNotFound when there is none.
	Record(ctx context.Context, tenant string, id [16]byte) (audit.Row, error)
}

// Tokens proves who a principal token speaks for, at a time. Its errors are
// *identity.Error.
type Tokens interface {
	Verify(presented identity.Presented, at time.Time) (decision.Principal, error)
}

// Control is what people change at run time: locks and budgets. Safe for concurrent
// use.
type Control interface {
	// Control is what is in force; Stale where that could not be learnt for too long.
	Control(context.Context) *decision.Control
	// Look learns what others have changed.
	Look(context.Context) error
}

// Config is what a server is made of. Every field is required but where its
// zero value is said.
type Config struct {
	// Ledger keeps facts and records.
	Ledger Ledger
	// Bundle is the policy bundle that decides a request; called once for each
	// decision.
	Bundle func(*decision.Request) *decision.Bundle
	// Live is the bundle in force, whose access policies say who may call.
	Live func() *decision.Bundle
	// Control is what people change at run time; nil: nothing.
	Control Control
	// Budgets is what reading and changing budgets takes; nil: nobody does over the
	// wire.
	Budgets Budgets
	// Tickets reads tickets; nil: they are not kept here.
	Tickets Tickets
	// Recorded is told each decision that was recorded as new, with the bundle
	// that made it, before it is answered; nil: nobody is. It must not keep them.
	Recorded func(*decision.Bundle, *decision.Decision)
	// Pseudonyms is the key with which redacted values are hashed and tokenised; nil:
	// policies that do so deny.
	Pseudonyms *pseudonym.Key
	// Vault reads what tokens stand for; nil: none is kept here.
	Vault Vault
	// Stages judge; stage.All.
	Stages decision.Pipeline
	// Tokens verifies principal tokens.
	Tokens Tokens
	// Caller tells who is at the other end of a connection; its state is nil
	// on a listener without TLS. Errors are *identity.Error.
	Caller func(*tls.ConnectionState) (decision.Caller, error)
	// Origin is the log's origin line, told in receipts.
	Origin string
	// Sealer brings records into the log while the server runs; nil: another
	// process does.
	Sealer *audit.Sealer
	// Flush brings records that the ledger answered early to where the sealer
	// finds them; nil: it answers none early.
	Flush func(context.Context) error
	// Lapses are given back while the server runs; nil: another process does.
	Lapses Lapses
	// TLS is the listeners' configuration; nil: plain, for loopback.
	TLS *tls.Config
	// BaseURL is where the JSON face is reached, told in its metadata.
	BaseURL string
	// Exchange is what exchanging tokens takes; nil: nobody is given any.
	Exchange *Exchange
	// Routes are further routes of the JSON listener, by pattern; nil: none.
	Routes map[string]http.Handler
	// InFlight bounds the calls that are worked on at a time; 0: 1024.
	InFlight int
	// Now is the clock and Random the source of ids.
	Now    func() time.Time
	Random io.Reader
	// Log is told defects and failures, never values of requests.
	Log *slog.Logger
	// Meter counts decisions and refusals; nil: nobody does.
	Meter metric.Meter
}

// GCPercent is the collector's setting (see runtime/debug.SetGCPercent) for a
// process that serves, where GOGC says nothing: a decision leaves much garbage
// and the live heap is small, so the default would collect all the time.
const GCPercent = 400

// Server answers. Make one with New.
type Server struct {
	ledger Ledger
	bundle func(*decision.Request) *decision.Bundle
	live   func() *decision.Bundle
	told   func(*decision.Bundle, *decision.Decision)
	stages decision.Pipeline
	tokens Tokens
	caller func(*tls.ConnectionState) (decision.Caller, error)
	origin string
	rules  protovalidate.Validator
	quick  quick.Rules
	bounds bounds
	now    func() time.Time
	log    *slog.Logger
	ids    *uuid.Gen
	slots  chan struct{}
	counts *counts

	pseudonyms *pseudonym.Key // nil: nothing is hashed or tokenised
	vault      Vault          // nil: none

	exchange *Exchange // nil: tokens are not exchanged
	control  Control   // nil: nothing is changed at run time
	tickets  Tickets   // nil: none
	budgets  Budgets   // nil: they are neither read nor changed over the wire
	// changing is held by who changes a budget: one at a time, because each has every
	// decision under way made anew, and none may keep others from locking.
	changing chan struct{}

	sealer  *audit.Sealer
	flush   func(context.Context) error
	lapses  Lapses
	grpc    *grpc.Server
	http    *http.Server
	escorts escorts
}

// New makes a server that does nothing until Serve.
func New(c Config) (*Server, error) {
	rules, err := protovalidate.New(protovalidate.WithMessages(validated()...))
	if err != nil {
		return nil, fmt.Errorf("compiling the wire's rules: %w", err)
	}
	sure, err := quick.Compile(validated()...)
	if err != nil {
		return nil, err
	}
	lists, err := boundsOf(validated())
	if err != nil {
		return nil, err
	}
	counts, err := newCounts(c.Meter)
	if err != nil {
		return nil, err
	}
	if c.Recorded == nil {
		c.Recorded = func(*decision.Bundle, *decision.Decision) {}
	}
	if c.InFlight == 0 {
		c.InFlight = 1024
	}
	s := &Server{
		ledger: c.Ledger, bundle: c.Bundle, live: c.Live, control: c.Control, budgets: c.Budgets, tickets: c.Tickets, told: c.Recorded, stages: c.Stages, tokens: c.Tokens, caller: c.Caller, origin: c.Origin,
		rules: rules, quick: sure, bounds: lists, now: c.Now, log: c.Log, sealer: c.Sealer, flush: c.Flush, lapses: c.Lapses, exchange: c.Exchange, pseudonyms: c.Pseudonyms, vault: c.Vault,
		ids:   uuid.NewGenWithOptions(uuid.WithRandomReader(c.Random), uuid.WithEpochFunc(c.Now)),
		slots: make(chan struct{}, c.InFlight), changing: make(chan struct{}, 1), counts: counts,
	}
	listener := []grpc.ServerOption{grpc.NumStreamWorkers(workers)}
	if c.TLS != nil {
		listener = append(listener, grpc.Creds(listening{credentials.NewTLS(c.TLS), s}))
	}
	s.grpc = s.newGRPC(listener...)
	if err := checkRules(s.grpc.GetServiceInfo()); err != nil {
		return nil, err
	}
	if s.http, err = s.newHTTP(c); err != nil {
		return nil, err
	}
	return s, nil
}

// newID makes a UUIDv7.
func (s *Server) newID() ([16]byte, error) {
	id, err := s.ids.NewV7()
	return id, err
}

// newHTTP is the JSON face's server. Its bounds keep a slow or silent client
// from holding a connection.
func (s *Server) newHTTP(c Config) (*http.Server, error) {
	var requests *authzen.AccessRequests
	if s.tickets != nil {
		requests = &authzen.AccessRequests{Request: s.requestAccess, Read: s.readAccess, Now: s.now}
	}
	face, err := authzen.Handler(authzen.Config{
		AccessRequests: requests,
		Decide:         s.throttled,
		Caller: func(r *http.Request) (decision.Caller, error) {
			caller, err := s.callerOf(r.TLS)
			s.counts.refusal(r.Context(), err)
			return caller, err
		},
		BaseURL: c.BaseURL,
		NewID: func() string {
			id, err := s.ids.NewV7()
			if err != nil {
				return "" // refused as a request without an id
			}
			return id.String()
		},
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/", face)
	if c.Exchange != nil {
		mux.Handle("GET /.well-known/jwks.json", keySet(c.Exchange.Mint.JWKS()))
	}
	for pattern, handler := range c.Routes {
		mux.Handle(pattern, handler)
	}
	return &http.Server{
		Handler: s.leaving(mux), TLSConfig: c.TLS, ConnContext: s.connected,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second,
		WriteTimeout: 60 * time.Second, IdleTimeout: maxIdle,
		MaxHeaderBytes: 64 << 10,
		ErrorLog:       slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}, nil
}

// Serve answers on both listeners until ctx is done, then lets running calls
// finish, seals what is left, and returns.
func (s *Server) Serve(ctx context.Context, grpcListener, httpListener net.Listener) error {
	group, ctx := errgroup.WithContext(ctx)
	sealing, stopSealing := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error {
		if err := s.grpc.Serve(grpcListener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			return fmt.Errorf("serving gRPC: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		serve := s.http.Serve
		if s.http.TLSConfig != nil {
			serve = func(l net.Listener) error { return s.http.ServeTLS(l, "", "") }
		}
		if err := serve(httpListener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving JSON: %w", err)
		}
		return nil
	})
	if s.sealer != nil {
		group.Go(func() error { return s.sealer.Run(sealing) })
	}
	if s.lapses != nil {
		group.Go(func() error { return s.lapse(ctx) })
	}
	group.Go(func() error {
		<-ctx.Done()
		defer stopSealing() // after the last decision, so that it seals them all
		return s.shutdown()
	})
	return group.Wait()
}

// drain is how long running calls may take to finish.
const drain = 10 * time.Second

// shutdown drains both listeners at once: neither takes from the other's time.
func (s *Server) shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	stop := context.AfterFunc(ctx, s.grpc.Stop)
	defer stop()
	var group errgroup.Group
	group.Go(func() error {
		if err := s.http.Shutdown(ctx); err != nil {
			return errors.Join(fmt.Errorf("waiting for calls of the JSON face: %w", err), s.http.Close())
		}
		return nil
	})
	group.Go(func() error {
		s.escorts.stop(ctx)
		return nil
	})
	s.grpc.GracefulStop()
	err := group.Wait()
	if s.flush != nil {
		if flushed := s.flush(ctx); flushed != nil {
			err = errors.Join(err, fmt.Errorf("bringing the last records to the log: %w", flushed))
		}
	}
	return err
}
