package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/writpdp/writ/test/chaos/pair"
)

// kind is a sort of fault.
type kind string

// The kinds.
const (
	replicaKilled  kind = "replica-killed"  // kill -9
	replicaStopped kind = "replica-stopped" // SIGSTOP, then SIGCONT
	wayCut         kind = "connections-cut" // between a replica and the databases, answers on their way lost
	wayFrozen      kind = "link-frozen"     // no byte passes, no connection ends
	postgresKilled kind = "postgres-killed" // kill -9 of every process of the primary
	backendKilled  kind = "backend-killed"  // kill -9 of one: the server recovers from its log
	backendStopped kind = "backend-stopped" // SIGSTOP of one that works, then SIGCONT
	backendEnded   kind = "backend-ended"   // pg_terminate_backend of one that works
	standbyKilled  kind = "standby-killed"  // kill -9 of every process of the standby
	standbyCut     kind = "standby-frozen"  // the replication's link
	diskSlow       kind = "fsync-slow"      // of the primary
	diskFull       kind = "disk-full"       // of the primary
	failedOver     kind = "failover"        // the primary dies, the standby is promoted, a new one made
	clockJumped    kind = "clock-jumped"    // of a replica, and back
)

// kinds are all kinds, in the order in which a schedule draws from them.
var kinds = []kind{replicaKilled, replicaStopped, wayCut, wayFrozen, postgresKilled, backendKilled, backendStopped, backendEnded,
	standbyKilled, standbyCut, diskSlow, diskFull, failedOver, clockJumped}

// fault is one fault of a schedule: all that chance decides of it.
type fault struct {
	at      time.Duration // since the load began
	kind    kind
	replica int
	lasts   time.Duration
	// much is a number from 0 to 999 for what else is to be chosen.
	much int
}

// jumps are how far clocks are stepped. Three quarters of a minute ends a lock that is
// in force, and no token.
var jumps = []time.Duration{2 * time.Second, -2 * time.Second, 45 * time.Second, -45 * time.Second, 45 * time.Second, time.Hour, -time.Hour}

// schedule is the faults of a seed: the same for the same arguments. Every kind
// comes once before any comes twice.
func schedule(seed uint64, lasts time.Duration, possible []kind) []fault {
	random := rand.New(rand.NewPCG(seed, 0x77726974))
	var all []fault
	var deck []kind
	for at := time.Second; at < lasts; {
		if len(deck) == 0 {
			deck = slices.Clone(possible)
			random.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		f := fault{at: at, kind: deck[0], replica: random.IntN(replicas), much: random.IntN(1000),
			lasts: time.Duration(200+random.IntN(1800)) * time.Millisecond}
		deck = deck[1:]
		all = append(all, f)
		at += time.Duration(500+random.IntN(1500)) * time.Millisecond
	}
	return all
}

// String is a line of the schedule.
func (f fault) String() string {
	return fmt.Sprintf("%6.2fs %s replica=%d lasts=%s much=%d", f.at.Seconds(), f.kind, f.replica, f.lasts, f.much)
}

// harm does what a schedule says, each fault at its time or, where the same thing
// is still being harmed, after that.
type harm struct {
	*load
	journal *journal

	mu     sync.Mutex // guards all below
	done   map[kind]int
	missed map[kind]int
	err    error
}

// run injects the faults, and mends everything. The error is of this program, or of
// something that does not recover.
func (h *harm) run(ctx context.Context, faults []fault, trace io.Writer) error {
	start := time.Now()
	var group sync.WaitGroup
	for _, f := range faults {
		pause(ctx, time.Until(start.Add(f.at)))
		if h.failed() != nil || ctx.Err() != nil {
			break
		}
		fmt.Fprintf(trace, "%6.2fs begins %s\n", time.Since(start).Seconds(), f)
		group.Go(func() {
			did, err := h.inject(ctx, f)
			fmt.Fprintf(trace, "%6.2fs ends   %s: %v %v\n", time.Since(start).Seconds(), f, did, err)
			h.mu.Lock()
			defer h.mu.Unlock()
			switch {
			case err != nil && h.err == nil:
				h.err = fmt.Errorf("%s: %w", f.kind, err)
			case did:
				h.done[f.kind]++
			default:
				h.missed[f.kind]++
			}
		})
	}
	group.Wait()
	if err := h.failed(); err != nil {
		return err
	}
	h.site.pair.Lock()
	defer h.site.pair.Unlock()
	return h.site.pair.Heal(ctx)
}

func (h *harm) failed() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// inject does one fault, to its end. did is false where there was nothing to harm.
func (h *harm) inject(ctx context.Context, f fault) (did bool, err error) {
	switch f.kind {
	case replicaKilled, replicaStopped, wayCut, wayFrozen, clockJumped:
		r := h.site.replicas[f.replica]
		r.mu.Lock()
		defer r.mu.Unlock()
		return h.harmReplica(ctx, r, f)
	}
	p := h.site.pair
	p.Lock()
	defer p.Unlock()
	return h.harmPair(ctx, p, f)
}

func (h *harm) harmReplica(ctx context.Context, r *replica, f fault) (bool, error) {
	switch f.kind {
	case replicaKilled:
		return r.kill(ctx, f.lasts/2), nil
	case replicaStopped:
		did := r.signal(syscall.SIGSTOP)
		pause(ctx, f.lasts)
		r.signal(syscall.SIGCONT)
		return did, nil
	case clockJumped:
		jump := jumps[f.much%len(jumps)]
		if err := h.step(r, f.replica, jump); err != nil {
			return false, err
		}
		pause(ctx, 2*time.Second+f.lasts)
		return true, h.step(r, f.replica, 0)
	}
	for _, way := range r.ways {
		if f.kind == wayCut {
			way.Cut()
			defer way.Mend()
		} else {
			way.Freeze()
			defer way.Thaw()
		}
	}
	pause(ctx, f.lasts)
	return true, nil
}

// step has a replica's clock be so far ahead of the machine's.
func (h *harm) step(r *replica, n int, by time.Duration) error {
	var seconds [8]byte
	binary.NativeEndian.PutUint64(seconds[:], uint64(int64(by/time.Second)))
	at := h.since()
	return errors.Join(pair.Overwrite(r.clock, seconds[:]), h.journal.write(line{Jump: &jumped{Replica: n, At: at}}))
}

func (h *harm) harmPair(ctx context.Context, p *pair.Pair, f fault) (bool, error) {
	primary := p.First()
	switch f.kind {
	case postgresKilled:
		if err := primary.Kill(); err != nil {
			return false, err
		}
		pause(ctx, f.lasts/4)
		return true, p.Heal(ctx)
	case standbyKilled:
		if err := p.Second().Kill(); err != nil {
			return false, err
		}
		pause(ctx, f.lasts/4)
		return true, p.Heal(ctx)
	case standbyCut:
		p.Link().Freeze()
		pause(ctx, f.lasts/2)
		p.Link().Thaw()
		return true, nil
	case failedOver:
		return true, p.Failover(ctx, f.lasts/4)
	case diskSlow:
		if err := primary.Slow(time.Duration(20+f.much/5) * time.Millisecond); err != nil {
			return false, err
		}
		pause(ctx, f.lasts)
		return true, primary.Slow(0)
	case diskFull:
		return h.fill(ctx, p, f)
	}
	return h.harmBackend(ctx, primary, f)
}

// fill takes the room that the primary's disk has, for a while. It may end at that:
// it cannot go on without its log.
func (h *harm) fill(ctx context.Context, p *pair.Pair, f fault) (bool, error) {
	if err := p.First().Fill(); err != nil {
		return false, err
	}
	pause(ctx, f.lasts)
	if err := p.First().Empty(); err != nil {
		return false, err
	}
	return true, p.Heal(ctx)
}

// busy are the backends that work for a replica.
const busy = `SELECT coalesce(string_agg(pid::text, ' ' ORDER BY pid), '') FROM pg_stat_activity
	WHERE application_name = 'writ' AND usename = '` + serving + `' AND state <> 'idle'`

// harmBackend harms a backend that works.
func (h *harm) harmBackend(ctx context.Context, primary *pair.Node, f fault) (bool, error) {
	for range 200 {
		text, err := primary.Ask(ctx, busy)
		pids := strings.Fields(text)
		if err != nil || len(pids) == 0 {
			pause(ctx, 5*time.Millisecond)
			continue
		}
		pid, err := strconv.Atoi(pids[f.much%len(pids)])
		if err != nil {
			return false, err
		}
		switch f.kind {
		case backendKilled:
			return syscall.Kill(pid, syscall.SIGKILL) == nil, primary.Answers(ctx)
		case backendEnded:
			_, err := primary.Ask(ctx, "SELECT pg_terminate_backend($1)::text", pid)
			return err == nil, nil
		}
		did := syscall.Kill(pid, syscall.SIGSTOP) == nil
		pause(ctx, f.lasts)
		_ = syscall.Kill(pid, syscall.SIGCONT) // it may have been ended meanwhile
		return did, nil
	}
	return false, nil
}
