package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gofrs/uuid/v5"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/respond"
	"github.com/writpdp/writ/store/postgres"
	"github.com/writpdp/writ/test/bench/workload"
)

// flips is one run in which everything is stopped and let go so many times while
// callers ask without end.
type flips struct {
	// DSN is of the server's database: the locks are set there, as `writ lock` does.
	Address, DSN string
	Callers      int
	Flips        int
}

// stops are how long stopping took, in seconds. All are counted from before the
// change of the locks was begun, and so are at least the time since its commit.
type stops struct {
	// LastAllow is until the last answer came that allows; 0: none came.
	LastAllowP50, LastAllowP99, LastAllowMax float64
	// Set is until the change was durable.
	SetP50, SetP99 float64
	// Allowed and Denied are the answers of the whole run.
	Allowed, Denied int64
}

// locksFigure begins the names of the figures of stopping, and cutFigure those of
// stopping a server that the database tells of nothing.
const (
	locksFigure = "lock_"
	cutFigure   = locksFigure + "last_allow_cut_"
)

// locks measures the figures of stopping, if some are wanted: first those of a
// server that listens to the database, then the others.
func (b *bench) locks(ctx context.Context, wanted []figure) error {
	for _, part := range []struct {
		of     func(name string) bool
		deafen bool
		to     *stops
		how    string
	}{
		{func(name string) bool {
			return strings.HasPrefix(name, locksFigure) && !strings.HasPrefix(name, cutFigure)
		}, false, &b.results.stops, "told of by the database"},
		{func(name string) bool { return strings.HasPrefix(name, cutFigure) }, true, &b.results.cutStops, "told of by nobody"},
	} {
		if !slices.ContainsFunc(wanted, func(f figure) bool { return part.of(f.name) }) {
			continue
		}
		t := b.servers[onPostgres]
		if part.deafen {
			if err := t.ask(ctx, "deafen", none{}, nil); err != nil {
				return err
			}
		}
		if err := b.generator.ask(ctx, "flip", flips{Address: t.address, DSN: t.dsn, Callers: 64, Flips: b.flips}, part.to); err != nil {
			return err
		}
		s := *part.to
		t.records += s.Allowed + s.Denied + 2*int64(b.flips)
		if err := t.ask(ctx, "settle", t.records, nil); err != nil {
			return err
		}
		b.note("%d stops, %s, under 64 callers (%d answers allowed, %d denied), from before each was begun: durable after p50 %.2f ms, p99 %.2f ms; the last allow after p50 %.2f ms",
			b.flips, part.how, s.Allowed, s.Denied, 1e3*s.SetP50, 1e3*s.SetP99, 1e3*s.LastAllowP50)
	}
	return nil
}

// flip runs the flips. That a question which was asked after a stop was durable is
// allowed is an error, and no measurement.
func (g *generator) flip(ctx context.Context, f flips) (s stops, err error) {
	all, err := g.dial(f.Address)
	if err != nil {
		return s, err
	}
	store, err := postgres.Open(ctx, f.DSN)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &watch{start: time.Now(), callers: make([]asking, f.Callers)}
	group, ctx := errgroup.WithContext(ctx)
	for i := range w.callers {
		group.Go(func() error { return g.ask(ctx, all[i%len(all)], w, i) })
	}
	var set, last []time.Duration
	group.Go(func() error {
		defer w.done.Store(true)
		for range f.Flips {
			durable, allowed, err := w.flip(ctx, store)
			if err != nil {
				return err
			}
			set, last = append(set, durable), append(last, allowed)
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return s, err
	}
	slices.Sort(set)
	slices.Sort(last)
	return stops{
		LastAllowP50: percentile(last, 0.5).Seconds(), LastAllowP99: percentile(last, 0.99).Seconds(), LastAllowMax: percentile(last, 1).Seconds(),
		SetP50: percentile(set, 0.5).Seconds(), SetP99: percentile(set, 0.99).Seconds(), Allowed: w.allowed.Load(), Denied: w.denied.Load(),
	}, nil
}

// watch is what the callers of a run see. Times are since its start, by the
// monotonic clock.
type watch struct {
	start           time.Time
	callers         []asking
	asked           atomic.Int64 // questions so far
	allowed, denied atomic.Int64 // answers
	lastAllow       atomic.Int64 // when the newest came that allows
	// stopped is when the stop was durable; 0: nothing is stopped.
	stopped atomic.Int64
	done    atomic.Bool
}

// asking is one caller: when it asked what it waits for, and how many of its
// answers allowed.
type asking struct{ began, allowed atomic.Int64 }

func (w *watch) now() int64 { return int64(time.Since(w.start)) }

// ask is the life of one caller, which makes its questions as it goes.
func (g *generator) ask(ctx context.Context, c *grpc.ClientConn, w *watch, caller int) error {
	me := &w.callers[caller]
	for !w.done.Load() {
		now := time.Now()
		request, err := g.agency.Request(int(w.asked.Add(1)), now, now)
		if err != nil {
			return err
		}
		question, err := proto.Marshal(request)
		if err != nil {
			return fmt.Errorf("encoding a request: %w", err)
		}
		began := w.now()
		me.began.Store(began)
		var answer []byte
		if err := c.Invoke(ctx, writv1.DecisionService_Decide_FullMethodName, question, &answer); err != nil {
			return fmt.Errorf("asking: %w", err)
		}
		came := w.now()
		var d writv1.DecideResponse
		if err := proto.Unmarshal(answer, &d); err != nil {
			return fmt.Errorf("reading an answer: %w", err)
		}
		switch {
		case d.Effect == writv1.Effect_EFFECT_DENY:
			if len(d.Reasons) == 0 || d.Reasons[0].Code != "lock.denied" {
				return fmt.Errorf("an answer denies for another reason than a lock: %v", d.Reasons)
			}
			w.denied.Add(1)
		default:
			if stopped := w.stopped.Load(); stopped > 0 && began > stopped {
				return fmt.Errorf("a question that was asked %s after a stop was durable is allowed", time.Duration(began-stopped))
			}
			w.allowed.Add(1)
			me.allowed.Add(1)
			for last := w.lastAllow.Load(); last < came && !w.lastAllow.CompareAndSwap(last, came); last = w.lastAllow.Load() {
			}
		}
	}
	return nil
}

// flip stops everything and lets it go, and tells when the stop was durable and
// when the last allow came.
func (w *watch) flip(ctx context.Context, store *postgres.Store) (durable, allowed time.Duration, err error) {
	by, err := byBench()
	if err != nil {
		return 0, 0, err
	}
	began := w.now()
	lock := decision.Lock{ID: "L-bench", Target: decision.Target{Tenant: workload.Tenant}, Effect: decision.LockDeny, Until: by.At.Add(time.Hour)}
	if _, err := respond.Set(ctx, store, lock, by); err != nil {
		return 0, 0, err
	}
	stopped := w.now()
	w.stopped.Store(stopped)
	// When all wait for answers to what they asked since, no earlier answer is on
	// its way.
	if err := w.until(ctx, func(a *asking, _ int) bool { return a.began.Load() > stopped }); err != nil {
		return 0, 0, err
	}
	durable, allowed = time.Duration(stopped-began), max(0, time.Duration(w.lastAllow.Load()-began))
	w.stopped.Store(0)
	if by, err = byBench(); err != nil {
		return 0, 0, err
	}
	if _, err := respond.Lift(ctx, store, lock.ID, by); err != nil {
		return 0, 0, err
	}
	before := make([]int64, len(w.callers))
	for i := range before {
		before[i] = w.callers[i].allowed.Load()
	}
	return durable, allowed, w.until(ctx, func(a *asking, i int) bool { return a.allowed.Load() > before[i] })
}

// until waits until something is so of every caller.
func (w *watch) until(ctx context.Context, so func(*asking, int) bool) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for i := range w.callers {
		for !so(&w.callers[i], i) {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
			}
		}
	}
	return nil
}

func byBench() (audit.By, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return audit.By{}, fmt.Errorf("making an id: %w", err)
	}
	return audit.By{Actor: "bench", Reason: "To measure it.", At: time.Now(), ID: id}, nil
}
