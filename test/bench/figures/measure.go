package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

// bench is the processes of one run and what they measured.
type bench struct {
	settings
	dir       string
	trust     *trust
	generator *process
	servers   map[string]*target
	exchange  exchange
	drops     []func() error // databases
	results   results

	out, complaints io.Writer
}

// target is a running server.
type target struct {
	*process
	address string
	dsn     string // of its PostgreSQL database; empty: none
	echo    bool
	records int64 // decisions that it answered
}

// measure measures what the figures need and prints them.
func measure(ctx context.Context, s settings, wanted []figure, out, complaints io.Writer) (err error) {
	b := &bench{settings: s, servers: map[string]*target{}, out: out, complaints: complaints,
		results: results{samples: map[load][]sample{}, bundleLoad: map[string]float64{}, bundleHeap: map[string]float64{}, tokens: map[string]float64{}, scans: map[string]float64{}}}
	if b.dir, err = os.MkdirTemp("", "writ-figures-"); err != nil {
		return fmt.Errorf("making a directory: %w", err)
	}
	defer func() { err = errors.Join(err, b.end()) }()
	if b.trust, err = newTrust(time.Now()); err != nil {
		return err
	}
	if err := b.redactions(wanted); err != nil {
		return err
	}
	if err := b.tokens(wanted); err != nil {
		return err
	}
	if err := b.scans(wanted); err != nil {
		return err
	}
	if slices.ContainsFunc(wanted, func(f figure) bool { return f.name == replayFigure }) {
		if err := b.replays(ctx); err != nil {
			return err
		}
	}
	if err := b.budget(ctx, wanted); err != nil {
		return err
	}
	if err := b.serve(ctx, wanted); err != nil {
		return err
	}
	for _, f := range wanted {
		fmt.Fprintf(b.out, "figure %s %.4g %s\n", f.name, f.value(&b.results), f.unit)
	}
	return nil
}

// serve measures the servers that the figures need, if there are any.
func (b *bench) serve(ctx context.Context, wanted []figure) error {
	if !slices.ContainsFunc(wanted, figure.served) {
		return nil
	}
	if err := b.startAll(ctx, wanted); err != nil {
		return err
	}
	b.note("%s, %d CPUs, %s; %d rounds of %g s; load generator on the same machine", time.Now().UTC().Format(time.RFC3339),
		runtime.NumCPU(), runtime.Version(), b.settings.rounds, b.seconds)
	b.note("a decision asks with %d bytes and is answered with %d; the echo takes and gives google.protobuf.BytesValue of these sizes",
		b.exchange.Request, b.exchange.Response)
	for _, callers := range crowds {
		if err := b.rounds(ctx, slices.DeleteFunc(loads(wanted), func(l load) bool { return l.callers != callers })); err != nil {
			return err
		}
	}
	return b.locks(ctx, wanted)
}

func (b *bench) note(format string, args ...any) { fmt.Fprintf(b.out, "# "+format+"\n", args...) }

// startAll starts the load generator and the servers that the figures need. The
// first server is asked once, for the sizes of the messages that the echo must
// have.
func (b *bench) startAll(ctx context.Context, wanted []figure) (err error) {
	if b.generator, err = start("load", b.complaints); err != nil {
		return err
	}
	needed := []string{onSQLite}
	for _, name := range []string{onSpool, onShadow, onPostgres, policies10, policies10k, echo} {
		if slices.ContainsFunc(wanted, func(f figure) bool { return f.uses(name) }) {
			needed = append(needed, name)
		}
	}
	for _, name := range needed {
		if err := b.start(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) start(ctx context.Context, name string) error {
	if name == echo {
		p, err := start("echo", b.complaints)
		if err != nil {
			return err
		}
		t := &target{process: p, echo: true}
		b.servers[name] = t
		return p.ask(ctx, "serve", echoConfig{b.trust, b.exchange.Response}, &t.address)
	}
	c := writConfig{Trust: b.trust, File: filepath.Join(b.dir, name+".db")}
	switch name {
	case onSpool:
		c.Async = true
	case onShadow:
		c.Async, c.Shadow = true, true
	case onPostgres:
		database, err := createDatabase(ctx, b.dsn)
		if err != nil {
			return err
		}
		b.drops = append(b.drops, database.drop)
		c.DSN = database.dsn
		b.note("%s", database.settings)
	case policies10:
		c.Policies = 10
	case policies10k:
		c.Policies = 10_000
	}
	p, err := start("writ", b.complaints)
	if err != nil {
		return err
	}
	t := &target{process: p, dsn: c.DSN}
	b.servers[name] = t
	var ready writReady
	if err := p.ask(ctx, "serve", c, &ready); err != nil {
		return err
	}
	t.address, b.results.bundleLoad[name] = ready.Address, ready.BundleLoad
	b.results.bundleHeap[name] = ready.BundleHeap
	if b.exchange != (exchange{}) {
		return nil
	}
	if err := b.generator.ask(ctx, "ready", generatorConfig{b.trust, ready.Digest}, nil); err != nil {
		return err
	}
	t.records++
	return b.generator.ask(ctx, "probe", t.address, &b.exchange)
}

func (b *bench) end() error {
	var errs []error
	processes := []*process{b.generator}
	for _, t := range b.servers {
		processes = append(processes, t.process)
	}
	for _, p := range processes {
		if p != nil {
			errs = append(errs, p.end())
		}
	}
	for _, drop := range b.drops {
		errs = append(errs, drop())
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}

// rounds measures loads of the same number of callers in turns, so that a
// machine that slows down slows them all.
func (b *bench) rounds(ctx context.Context, all []load) error {
	requests := map[load]int{}
	for _, l := range all {
		s, err := b.drive(ctx, l, 50+20*l.callers)
		if err == nil {
			s, err = b.drive(ctx, l, int(s.Rate*min(b.seconds, 1)))
		}
		if err != nil {
			return err
		}
		requests[l] = max(50, int(s.Rate*b.seconds))
	}
	for range b.settings.rounds {
		for _, l := range all {
			s, err := b.drive(ctx, l, requests[l])
			if err != nil {
				return err
			}
			b.results.samples[l] = append(b.results.samples[l], s)
		}
	}
	for _, l := range all {
		b.report(l)
		if b.profile != "" && l.callers > 1 {
			if err := b.profiled(ctx, l, requests[l]); err != nil {
				return err
			}
		}
	}
	return nil
}

// drive is one measurement, with the server at rest before and after.
func (b *bench) drive(ctx context.Context, l load, requests int) (s sample, err error) {
	t := b.servers[l.server]
	d := drive{Address: t.address, Callers: l.callers, Requests: requests}
	if t.echo {
		d.Echo = b.exchange.Request
	}
	var before, meanwhile, after float64
	if err := t.ask(ctx, "usage", nil, &before); err != nil {
		return s, err
	}
	if err := b.generator.ask(ctx, "drive", d, &s); err != nil {
		return s, err
	}
	if err := t.ask(ctx, "usage", nil, &meanwhile); err != nil {
		return s, err
	}
	if !t.echo {
		t.records += int64(requests)
		began := time.Now()
		if err := t.ask(ctx, "settle", t.records, nil); err != nil {
			return s, err
		}
		s.Sealing = time.Since(began).Seconds()
	}
	if err := t.ask(ctx, "usage", nil, &after); err != nil {
		return s, err
	}
	s.ServerCPU = (meanwhile - before) / float64(requests)
	s.LaterCPU = (after - meanwhile) / float64(requests)
	return s, nil
}

func (b *bench) report(l load) {
	r := &b.results
	of := func(f func(sample) float64) float64 { return r.median(l, f) }
	rates := make([]float64, 0, len(r.samples[l]))
	for _, s := range r.samples[l] {
		rates = append(rates, s.Rate)
	}
	b.note("%s, %d callers: %.0f/s (%.0f to %.0f), p50 %.3f ms, p99 %.3f ms; CPU for each: server %.1f us and %.1f us later, generator %.1f us; sealed after %.2f s",
		l.server, l.callers, of(rate), slices.Min(rates), slices.Max(rates), 1e3*of(p50), 1e3*of(p99),
		1e6*of(func(s sample) float64 { return s.ServerCPU }), 1e6*of(func(s sample) float64 { return s.LaterCPU }), 1e6*of(func(s sample) float64 { return s.LoadCPU }),
		of(func(s sample) float64 { return s.Sealing }))
}

// profiled is one more measurement, which counts for nothing, under the profiler.
func (b *bench) profiled(ctx context.Context, l load, requests int) error {
	if err := os.MkdirAll(b.profile, 0o755); err != nil {
		return fmt.Errorf("making the profiles' directory: %w", err)
	}
	dir, err := filepath.Abs(b.profile)
	if err != nil {
		return fmt.Errorf("finding the profiles' directory: %w", err)
	}
	name := fmt.Sprintf("%s-c%d", l.server, l.callers)
	both := map[string]*process{name: b.servers[l.server].process, name + "-generator": b.generator}
	for name, p := range both {
		if err := p.ask(ctx, "profile", filepath.Join(dir, name+".pprof"), nil); err != nil {
			return err
		}
	}
	if _, err := b.drive(ctx, l, requests); err != nil {
		return err
	}
	for _, p := range both {
		if err := p.ask(ctx, "profile", "", nil); err != nil {
			return err
		}
	}
	return nil
}
