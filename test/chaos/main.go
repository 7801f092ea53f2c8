// Command chaos runs real servers on a real PostgreSQL pair under load, injects the
// faults of a seed, and holds what callers were told against the log. Run it by
// test/chaos/run; docs/chaos.md says what is injected and what is checked.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/writpdp/writ/test/chaos/pair"
)

type settings struct {
	work    string
	seeds   int
	seed    uint64
	seconds int
	short   bool
	async   bool
	mutant  string
	keep    bool
	faults  string
	mount   bool
}

func main() {
	var s settings
	flag.StringVar(&s.work, "work", "", "the `directory` for all files of the run")
	flag.IntVar(&s.seeds, "seeds", 1, "how many seeds to run, one after the other")
	flag.Uint64Var(&s.seed, "seed", 1, "the first seed")
	flag.IntVar(&s.seconds, "seconds", 90, "for how long faults are injected, for each seed")
	flag.BoolVar(&s.short, "short", false, "one seed, 45 seconds, clocks left alone: for every change")
	flag.BoolVar(&s.async, "async-standby", false, "no commit waits for the standby: shows what is lost then")
	flag.StringVar(&s.mutant, "mutant", "", "build the servers with this mutant (see test/chaos/mutants)")
	flag.BoolVar(&s.keep, "keep", false, "keep the files of seeds without a breach as well")
	flag.StringVar(&s.faults, "faults", "", "only these kinds of faults, separated by commas")
	flag.BoolVar(&s.mount, "mount", false, "the databases' disks can be mounted: the name spaces are the run's own")
	flag.Parse()
	if s.short {
		s.seeds, s.seconds = 1, 45
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := s.run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
	}
	if !ok || err != nil {
		stop()
		os.Exit(1)
	}
}

// possible are the kinds of faults that can be injected here and were asked for.
func (s *settings) possible() ([]kind, error) {
	possible := slices.Clone(kinds)
	if !s.mount {
		fmt.Println("# nothing can be mounted here, so no disk is filled: be root")
		possible = slices.DeleteFunc(possible, func(k kind) bool { return k == diskFull })
	}
	if s.short {
		fmt.Println("# short: no clock is stepped")
		possible = slices.DeleteFunc(possible, func(k kind) bool { return k == clockJumped })
	}
	if s.faults != "" {
		asked := strings.Split(s.faults, ",")
		for _, a := range asked {
			if !slices.Contains(possible, kind(a)) {
				return nil, fmt.Errorf("the fault %q is none that can be injected here: %v", a, possible)
			}
		}
		possible = slices.DeleteFunc(possible, func(k kind) bool { return !slices.Contains(asked, string(k)) })
	}
	return possible, nil
}

// sum is the summary of all seeds.
type sum struct {
	faults, missed                          map[kind]int
	acked, allowed, retried, settled, locks int64
	told, lost, breaches                    int
}

func (s *settings) run(ctx context.Context) (bool, error) {
	if s.work == "" {
		return false, errors.New("no directory was named: use test/chaos/run")
	}
	possible, err := s.possible()
	if err != nil {
		return false, err
	}
	began := time.Now()
	b, err := build(ctx, filepath.Join(s.work, "bin"), s.mutant, slices.Contains(possible, clockJumped))
	if err != nil {
		return false, err
	}
	fmt.Printf("# built in %.0f s\n", time.Since(began).Seconds())
	total := sum{faults: map[kind]int{}, missed: map[kind]int{}}
	for i := range s.seeds {
		seed := s.seed + uint64(i)
		home := filepath.Join(s.work, fmt.Sprint("seed-", seed))
		clean, err := s.runSeed(ctx, seed, home, b, possible, &total)
		if err != nil {
			return false, fmt.Errorf("seed %d, whose files are in %s: %w", seed, home, err)
		}
		if clean && !s.keep {
			if err := os.RemoveAll(home); err != nil {
				return false, err
			}
		}
	}
	total.print(s)
	return total.breaches == 0, nil
}

func (t *sum) print(s *settings) {
	var kinds []string
	n := 0
	for _, k := range slices.Sorted(maps.Keys(t.faults)) {
		kinds = append(kinds, fmt.Sprintf("%s=%d", k, t.faults[k]))
		n += t.faults[k]
	}
	standby := "synchronous"
	if s.async {
		standby = "asynchronous"
	}
	fmt.Printf("chaos standby=%s seeds=%d..%d faults=%d (%s) acked=%d allowed=%d retried=%d settled=%d locks=%d lost=%d breaches=%d\n",
		standby, s.seed, s.seed+uint64(s.seeds)-1, n, strings.Join(kinds, " "), t.acked, t.allowed, t.retried, t.settled, t.locks, t.lost, t.breaches)
}

// runSeed runs one seed on new databases. clean is false on any breach.
func (s *settings) runSeed(ctx context.Context, seed uint64, home string, b *built, possible []kind, total *sum) (clean bool, err error) {
	if err := os.MkdirAll(home, 0o755); err != nil {
		return false, err
	}
	began := time.Now()
	site, err := newSite(ctx, home, b, pair.Place{Synchronous: !s.async, Mount: s.mount})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, site.close()) }()
	setup := time.Since(began)
	trace, err := os.Create(site.path("trace"))
	if err != nil {
		return false, err
	}
	defer trace.Close()
	loaded := &load{site: site, start: time.Now(), pool: map[int64]identityOf{}}
	steps, err := newJournal(site.path("clocks.journal"))
	if err != nil {
		return false, err
	}
	defer steps.file.Close()
	h := &harm{load: loaded, journal: steps, done: map[kind]int{}, missed: map[kind]int{}}
	op, err := drive(ctx, seed, loaded, func() error {
		return h.run(ctx, schedule(seed, time.Duration(s.seconds)*time.Second, possible), trace)
	})
	if err != nil {
		return false, err
	}
	if err := site.stop(ctx); err != nil {
		return false, err
	}
	v, err := check(ctx, site, op.kept)
	if err != nil {
		return false, fmt.Errorf("checking: %w", err)
	}
	report(seed, v, h, loaded, op, setup, site)
	for k, n := range h.done {
		total.faults[k] += n
	}
	for k, n := range h.missed {
		total.missed[k] += n
	}
	total.add(v, loaded, op)
	return v.total() == 0, nil
}

func (t *sum) add(v *verdict, l *load, op *operator) {
	t.acked += l.count.answered.Load()
	t.allowed += l.count.allowed.Load()
	t.retried += l.count.retried.Load()
	t.settled += l.count.settled.Load()
	t.locks += op.locks
	t.told += v.told
	t.lost += v.lost
	t.breaches += v.total()
}

func report(seed uint64, v *verdict, h *harm, l *load, op *operator, setup time.Duration, site *site) {
	for _, b := range v.breaches {
		fmt.Println("BREACH", b)
	}
	done := 0
	for _, n := range h.done {
		done += n
	}
	fmt.Printf("seed %d: set up in %.0f s, %d faults in %.0f s, acked %d (allowed %d, denied %d), retried %d, settled %d, other content refused %d, locks %d, checkpoints kept %d, lost %d, breaches %d %v\n",
		seed, setup.Seconds(), done, time.Since(l.start).Seconds(), l.count.answered.Load(), l.count.allowed.Load(), l.count.denied.Load(),
		l.count.retried.Load(), l.count.settled.Load(), l.count.refused.Load(), op.locks, len(op.kept), v.lost, v.total(), v.sorts)
	if len(h.missed) > 0 {
		fmt.Printf("# seed %d: faults that had nothing to harm: %v\n", seed, h.missed)
	}
	fmt.Printf("# seed %d: errors in the servers' logs: %v\n", seed, site.complaints())
}

// drive has callers ask and the operator act while harm is done, and for a moment
// after; then it waits until every question is answered.
func drive(ctx context.Context, seed uint64, l *load, harm func() error) (*operator, error) {
	ends, end := context.WithCancel(ctx)
	defer end()
	l.ends = ends
	// Who still waits long after all is mended waits for ever.
	waiting, give := context.WithCancel(ctx)
	defer give()
	var group sync.WaitGroup
	failures := make(chan error, callers+1)
	for i := range callers {
		j, err := newJournal(l.site.path(fmt.Sprintf("caller-%02d.journal", i)))
		if err != nil {
			return nil, err
		}
		c := &caller{load: l, random: rand.New(rand.NewPCG(seed, uint64(i))), journal: j}
		group.Go(func() { failures <- errors.Join(c.run(waiting), j.file.Close()) })
	}
	j, err := newJournal(l.site.path("operator.journal"))
	if err != nil {
		return nil, err
	}
	op := &operator{load: l, random: rand.New(rand.NewPCG(seed, callers)), journal: j}
	group.Go(func() { failures <- errors.Join(op.run(waiting), j.file.Close()) })
	harmed := harm()
	pause(ctx, 2*time.Second) // it works again
	end()
	last := time.AfterFunc(patience, give)
	defer last.Stop()
	group.Wait()
	close(failures)
	errs := []error{harmed}
	for err := range failures {
		errs = append(errs, err)
	}
	return op, errors.Join(errs...)
}
