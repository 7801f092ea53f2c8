package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"runtime"
	"time"

	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/decision/stage"
	"github.com/writpdp/writ/server/identity"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/respond"
	"github.com/writpdp/writ/server/rollout"
	"github.com/writpdp/writ/store/postgres"
	"github.com/writpdp/writ/store/spool"
	"github.com/writpdp/writ/store/sqlite"
	"github.com/writpdp/writ/test/bench/workload"
)

// writConfig says which Writ to run.
type writConfig struct {
	Trust *trust
	// Policies is how many the bundle has; 0: the sample bundle.
	Policies int
	// DSN is of a PostgreSQL database that has the schema; empty: File is the
	// file of an SQLite store.
	DSN, File string
	// Async puts a spool in front of the SQLite store, and answers before the
	// record is durable.
	Async bool
	// Shadow decides every request beside by a candidate, put there by a rollout.
	Shadow bool
}

// writReady is what a running Writ says of itself.
type writReady struct {
	Address string
	// Digest is that of workload.Tool's definition.
	Digest string
	// BundleLoad is how long the bundle took to load, in seconds, and
	// BundleHeap what it then takes, in bytes.
	BundleLoad, BundleHeap float64
}

// store is what both stores are.
type store interface {
	server.Ledger
	respond.Store
	Seal(ctx context.Context, max int, extend audit.Extend) (int, error)
	Checkpoint(context.Context) (audit.Checkpoint, error)
	Close() error
}

// playWrit runs the whole Writ, as `writ serve` wires it.
func playWrit(ctx context.Context) (*role, error) {
	w := &writ{}
	return &role{stop: w.stop, methods: map[string]func(json.RawMessage) (any, error){
		"serve":  method(func(c writConfig) (writReady, error) { return w.serve(ctx, c) }),
		"deafen": method(func(none) (none, error) { return none{}, w.deafen() }),
		"settle": method(func(records int64) (none, error) { return none{}, w.settle(ctx, records) }),
	}}, nil
}

type writ struct {
	store store
	spool *spool.Spool // nil: none
	// changes are the records that are no decisions.
	changes int64
	cancel  context.CancelFunc
	served  chan error
	// deaf ends the listening to the database, and heard is closed when it has
	// ended; nil: there is none.
	deaf  context.CancelFunc
	heard chan struct{}
}

// listen has the locks looked at when the database tells of a change, as `writ
// serve` does.
func (w *writ) listen(ctx context.Context, locks *respond.Follower) {
	listening, ok := w.store.(*postgres.Store)
	if !ok {
		return
	}
	ctx, w.deaf = context.WithCancel(ctx)
	w.heard = make(chan struct{})
	go func() {
		defer close(w.heard)
		listening.Listen(ctx, func(postgres.Topic) { locks.Hint() }, func(err error) {
			if err != nil {
				fmt.Fprintln(os.Stderr, "the database:", err)
			}
		})
	}()
}

// deafen ends the listening.
func (w *writ) deafen() error {
	if w.deaf == nil {
		return errors.New("this server does not listen")
	}
	w.deaf()
	<-w.heard
	return nil
}

func (w *writ) serve(ctx context.Context, c writConfig) (ready writReady, err error) {
	before, began := heap(), time.Now()
	bundle, err := loadBundle(c)
	if err != nil {
		return ready, err
	}
	ready.BundleLoad = time.Since(began).Seconds()
	ready.BundleHeap = heap() - before
	ready.Digest = bundle.Tools[workload.Tool].Digest
	if w.store, err = openStore(ctx, c); err != nil {
		return ready, err
	}
	var ledger server.Ledger = w.store
	if embedded, ok := w.store.(*sqlite.Store); ok && c.Async {
		if w.spool, err = openSpool(ctx, c, embedded); err != nil {
			return ready, err
		}
		ledger = w.spool
	}
	chosen := bundles{of: func(*decision.Request) *decision.Bundle { return bundle }, live: func() *decision.Bundle { return bundle }}
	if c.Shadow {
		if chosen, err = w.shadow(ctx); err != nil {
			return ready, err
		}
	}
	locks, err := followLocks(ctx, w.store)
	if err != nil {
		return ready, err
	}
	s, err := newServer(c.Trust, chosen, locks, ledger, w.store)
	if err != nil {
		return ready, err
	}
	grpcListener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return ready, fmt.Errorf("listening: %w", err)
	}
	httpListener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return ready, fmt.Errorf("listening: %w", err)
	}
	ready.Address = grpcListener.Addr().String()
	ctx, w.cancel = context.WithCancel(ctx)
	if chosen.run != nil {
		go chosen.run(ctx)
	}
	go locks.Run(ctx)
	w.listen(ctx, locks)
	w.served = make(chan error, 1)
	go func() { w.served <- s.Serve(ctx, grpcListener, httpListener) }()
	return ready, nil
}

// heap is what is reachable, in bytes.
func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

func loadBundle(c writConfig) (*decision.Bundle, error) {
	var files fs.FS
	var err error
	switch {
	case c.Async:
		files, err = workload.Async()
	case c.Policies > 0:
		files, err = workload.Policies(c.Policies)
	default:
		files, err = workload.Sample()
	}
	if err != nil {
		return nil, err
	}
	return policy.Load(files)
}

func openStore(ctx context.Context, c writConfig) (store, error) {
	if c.DSN != "" {
		return postgres.Open(ctx, c.DSN)
	}
	return sqlite.Open(ctx, c.File)
}

// bundles are what a server decides by.
type bundles struct {
	of       func(*decision.Request) *decision.Bundle
	live     func() *decision.Bundle
	recorded func(*decision.Bundle, *decision.Decision)
	run      func(context.Context) // until it is done; nil: nothing is to be run
}

// shadow puts a bundle into force and another beside it, and follows them as
// `writ serve` does.
func (w *writ) shadow(ctx context.Context) (b bundles, err error) {
	embedded, ok := w.store.(*sqlite.Store)
	if !ok {
		return b, errors.New("the shadow is measured on SQLite")
	}
	live, err := workload.Async()
	if err != nil {
		return b, err
	}
	candidate, err := workload.Candidate()
	if err != nil {
		return b, err
	}
	for _, step := range []struct {
		files fs.FS
		trial rollout.Trial
	}{{live, rollout.Trial{}}, {candidate, rollout.Trial{Mode: decision.Shadow}}} {
		by, err := byBench()
		if err != nil {
			return b, err
		}
		if _, err := rollout.Activate(ctx, embedded, step.files, step.trial, by); err != nil {
			return b, err
		}
		w.changes++
	}
	follower, err := rollout.Follow(ctx, rollout.Config{Store: embedded, Actor: "bench", Now: time.Now, Random: rand.Reader,
		Report: func(s rollout.Status) {
			if s.Err != nil || s.Candidate == "" {
				fmt.Fprintf(os.Stderr, "the rollout: %+v\n", s)
			}
		}})
	if err != nil {
		return b, err
	}
	return bundles{follower.Bundle, follower.Live, follower.Recorded, follower.Run}, nil
}

// openSpool puts a spool in front of an embedded store, as `writ dev` does.
func openSpool(ctx context.Context, c writConfig, store *sqlite.Store) (*spool.Spool, error) {
	return spool.Open(ctx, c.File+"-spool", store, spool.Config{Now: time.Now,
		Report: func(err error) { fmt.Fprintln(os.Stderr, "the spool:", err) }})
}

// followLocks follows the locks, as `writ serve` does.
func followLocks(ctx context.Context, store store) (*respond.Follower, error) {
	return respond.Follow(ctx, respond.Config{Store: store, Now: time.Now, Report: func(_ decision.Control, err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "the locks:", err)
		}
	}})
}

func newServer(t *trust, chosen bundles, locks *respond.Follower, ledger server.Ledger, store store) (*server.Server, error) {
	tokens, err := workload.Verifier(t.JWKS)
	if err != nil {
		return nil, err
	}
	callers, err := identity.NewCallers([]identity.CallerRule{{ID: workload.Caller, Tenant: workload.Tenant}})
	if err != nil {
		return nil, err
	}
	listen, err := t.server()
	if err != nil {
		return nil, err
	}
	private, _, err := audit.GenerateKey(rand.Reader, workload.Origin)
	if err != nil {
		return nil, err
	}
	signer, err := audit.NewSigner(workload.Origin, private)
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	return server.New(server.Config{
		Ledger: ledger, Bundle: chosen.of, Live: chosen.live, Recorded: chosen.recorded, Control: locks, Stages: stage.All, Tokens: tokens,
		Caller: func(state *tls.ConnectionState) (decision.Caller, error) {
			id, err := identity.FromTLS(*state, time.Now())
			if err != nil {
				return decision.Caller{}, err
			}
			return callers.Caller(id)
		},
		Origin: workload.Origin, TLS: listen, BaseURL: "https://127.0.0.1",
		Sealer: audit.NewSealer(audit.SealerConfig{Seal: store.Seal, Extend: signer.Extend,
			Report: func(err error) { log.Error("sealing the log", "error", err) }}),
		Now: time.Now, Random: rand.Reader, Log: log,
	})
}

// settle waits until so many records are sealed, at most a minute: what one
// measurement leaves behind must not burden the next.
func (w *writ) settle(ctx context.Context, records int64) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		checkpoint, err := w.store.Checkpoint(ctx)
		if err != nil {
			return err
		}
		if checkpoint.Size >= records+w.changes {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("sealing: %d of %d records are sealed", checkpoint.Size, records)
		case <-tick.C:
		}
	}
}

func (w *writ) stop() error {
	var errs []error
	if w.cancel != nil {
		w.cancel()
		errs = append(errs, <-w.served)
	}
	if w.store != nil {
		errs = append(errs, w.store.Close())
	}
	return errors.Join(errs...)
}
