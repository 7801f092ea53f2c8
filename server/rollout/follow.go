package rollout

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/uuid/v5"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy/archive"
)

// Config is what a Follower needs. Every field is required.
type Config struct {
	Store Store
	// Configured is the bundle that decides as long as the store has no rollout;
	// called for each decision.
	Configured func() *decision.Bundle
	// Actor is who takes a candidate out whose decisions depart.
	Actor string
	// Now is the clock and Random the source of ids.
	Now    func() time.Time
	Random io.Reader
	// Report is told of each change that is in force here from now on, or not,
	// and why. It is called from one goroutine at a time.
	Report func(Status)
}

// Status is what a replica decides by.
type Status struct {
	// Version is the rollout that is in force here; 0: there is none, and the
	// configured bundle decides.
	Version int64
	// Live and Candidate are the digests of its bundles; empty: none.
	Live, Candidate string
	// LiveCounts and CandidateCounts are what this replica decided by them since
	// the version is in force, while there is a candidate.
	LiveCounts, CandidateCounts Counts
	// Err says why what the store has is not in force here; nil: it is.
	Err error
}

// Follower keeps in force what the store says. Safe for concurrent use.
type Follower struct {
	config Config
	ids    *uuid.Gen
	force  atomic.Pointer[force]
	hints  chan struct{} // holds one

	mu     sync.Mutex // held while looking; guards broken and pause
	broken broken
	pause  time.Time // until when no candidate is taken out

	failure atomic.Pointer[error] // of the last look; nil: none
}

// force is a rollout with its bundles loaded. It never changes but for its counts.
type force struct {
	rollout decision.Rollout
	// live is what is given out to decide; in a shadow rollout it has the
	// candidate for its shadow, in the place of its own.
	live, candidate *decision.Bundle
	// loaded are the bundles as they are, by archive.
	loaded map[[32]byte]*decision.Bundle

	liveCounts, candidateCounts counter
}

// broken is the record of a rollout whose bundles do not load, and until when they
// are not tried again.
type broken struct {
	record [16]byte
	err    error
	until  time.Time
}

// errBroken: the bundle cannot be loaded from what is stored.
var errBroken = errors.New("the bundle is broken")

// interval is how often to look for what others have changed, and hintGap the least
// time from a look that was hinted at to the next, lest hints keep a replica busy.
const (
	interval = 250 * time.Millisecond
	hintGap  = 10 * time.Millisecond
)

// patience is how long the store may take to answer, and how long what failed is
// let be: loading a bundle may cost a second.
const patience = 10 * time.Second

type counter struct{ decisions, denials, errors atomic.Int64 }

// Follow puts into force what the store has, and returns once that is so: a
// process that cannot load it must not begin to decide by something else.
func Follow(ctx context.Context, c Config) (*Follower, error) {
	f := &Follower{config: c, ids: uuid.NewGenWithOptions(uuid.WithRandomReader(c.Random), uuid.WithEpochFunc(c.Now)),
		hints: make(chan struct{}, 1)}
	if err := f.Look(ctx); err != nil {
		return nil, err
	}
	return f, nil
}

// Bundle is the one that decides a request.
func (f *Follower) Bundle(req *decision.Request) *decision.Bundle {
	in := f.force.Load()
	switch {
	case in == nil:
		return f.config.Configured()
	case Canary(&in.rollout, req.Caller.Tenant, req.Session, req.Principal.Subject):
		return in.candidate
	}
	return in.live
}

// Live is the bundle that decides what no canary does.
func (f *Follower) Live() *decision.Bundle {
	if in := f.force.Load(); in != nil {
		return in.live
	}
	return f.config.Configured()
}

// Recorded counts a decision that was recorded. One by a bundle that is not in
// force any more counts for nothing.
func (f *Follower) Recorded(by *decision.Bundle, d *decision.Decision) {
	in := f.force.Load()
	if in == nil || in.candidate == nil {
		return
	}
	switch by {
	case in.live:
		in.liveCounts.add(d)
		if in.rollout.Mode == decision.Shadow {
			in.candidateCounts.add(d.Beside)
		}
	case in.candidate:
		in.candidateCounts.add(d)
	}
}

// add counts a decision; nil: the bundle broke down over it.
func (c *counter) add(d *decision.Decision) {
	c.decisions.Add(1)
	if d == nil || !d.Allowed() {
		c.denials.Add(1)
	}
	if d == nil || d.Erred() {
		c.errors.Add(1)
	}
}

func (c *counter) counts() Counts {
	return Counts{Decisions: c.decisions.Load(), Denials: c.denials.Load(), Errors: c.errors.Load()}
}

// Status is what this replica decides by now.
func (f *Follower) Status() Status {
	var s Status
	if failure := f.failure.Load(); failure != nil {
		s.Err = *failure
	}
	if in := f.force.Load(); in != nil {
		s.Version, s.Live, s.Candidate = in.rollout.Version, in.rollout.Live.Digest, in.rollout.Candidate.Digest
		s.LiveCounts, s.CandidateCounts = in.liveCounts.counts(), in.candidateCounts.counts()
	}
	return s
}

// Hint has Run look at once: somebody may have changed the rollout. It never waits.
func (f *Follower) Hint() {
	select {
	case f.hints <- struct{}{}:
	default: // it will look, and see what this one hints at
	}
}

// Run follows the store until ctx is done, looking when that is hinted at and four
// times a second whatever becomes of hints, and takes candidates out whose decisions
// depart.
func (f *Follower) Run(ctx context.Context) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		var gap <-chan time.Time
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-f.hints:
			gap = time.After(hintGap)
		}
		if f.Look(ctx) == nil {
			_ = f.Watch(ctx) // it has reported the error
		}
		if gap != nil {
			select {
			case <-ctx.Done():
			case <-gap:
			}
		}
	}
}

// Look puts into force what the store has, at once: for who has just changed it.
// After an error what was in force still is, and Status says so.
func (f *Follower) Look(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	changed, err := f.look(ctx)
	if err != nil {
		err = fmt.Errorf("following the rollout: %w", err)
	}
	f.note(ctx, changed, err)
	return err
}

// Watch takes the candidate out if its decisions depart from the live bundle's.
// An error says that they do and it is still there; it is reported, and then
// nothing is tried for ten seconds.
func (f *Follower) Watch(ctx context.Context) error {
	in := f.force.Load()
	if in == nil || in.candidate == nil || f.paused() {
		return nil
	}
	why := Departs(in.liveCounts.counts(), in.candidateCounts.counts(), in.rollout.Margin)
	if why == "" {
		return nil
	}
	id, err := f.ids.NewV7()
	if err == nil {
		within, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		_, err = halt(within, f.config.Store, in.rollout, audit.By{Actor: f.config.Actor, Reason: why, At: f.config.Now(), ID: id})
	}
	if err == nil || errors.Is(err, audit.ErrStale) { // somebody else was faster: that is in force then
		return f.Look(ctx)
	}
	err = fmt.Errorf("taking the candidate out: %w", err)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pause = f.config.Now().Add(patience)
	if ctx.Err() == nil { // else the end of the process is all there is to it
		s := f.Status()
		s.Err = err
		f.config.Report(s)
	}
	return err
}

// paused reports whether a candidate could not be taken out a moment ago.
func (f *Follower) paused() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.config.Now().Before(f.pause)
}

// note remembers how a look ended and reports what is new about it.
func (f *Follower) note(ctx context.Context, changed bool, err error) {
	if ctx.Err() != nil {
		return // the end of the process is nothing to report
	}
	last := f.failure.Load()
	news := changed || (err == nil) != (last == nil) || err != nil && err.Error() != (*last).Error()
	f.failure.Store(nil)
	if err != nil {
		f.failure.Store(&err)
	}
	if news {
		f.config.Report(f.Status())
	}
}

func (f *Follower) look(ctx context.Context) (changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	in := f.force.Load()
	row, err := f.config.Store.Rollout(ctx, 0)
	switch {
	case errors.Is(err, audit.ErrNotFound) && in == nil:
		return false, nil
	case errors.Is(err, audit.ErrNotFound):
		return false, fmt.Errorf("the store has lost version %d", in.rollout.Version)
	case err != nil:
		return false, err
	case row.ID == f.broken.record && f.config.Now().Before(f.broken.until):
		return false, f.broken.err
	}
	c, err := audit.ChangeOf(row.Body)
	if err != nil {
		return false, err
	}
	if in != nil && c.Rollout.Version <= in.rollout.Version {
		if c.Rollout.Version < in.rollout.Version {
			return false, fmt.Errorf("the store went back from version %d to %d", in.rollout.Version, c.Rollout.Version)
		}
		return false, nil
	}
	next, err := f.load(ctx, in, c.Rollout)
	if err != nil {
		err = fmt.Errorf("version %d: %w", c.Rollout.Version, err)
		if errors.Is(err, errBroken) {
			f.broken = broken{record: row.ID, err: err, until: f.config.Now().Add(patience)}
		}
		return false, err
	}
	f.force.Store(next)
	return true, nil
}

// load loads the bundles of a rollout that are not loaded yet.
func (f *Follower) load(ctx context.Context, in *force, r decision.Rollout) (*force, error) {
	next := &force{rollout: r, loaded: map[[32]byte]*decision.Bundle{}}
	var err error
	if next.live, err = f.bundle(ctx, in, next, r.Live); err != nil {
		return nil, fmt.Errorf("the live bundle: %w", err)
	}
	if r.Mode == 0 {
		return next, nil
	}
	if next.candidate, err = f.bundle(ctx, in, next, r.Candidate); err != nil {
		return nil, fmt.Errorf("the candidate: %w", err)
	}
	if r.Mode == decision.Shadow {
		live, shadow := *next.live, *next.candidate
		shadow.Shadow = nil
		live.Shadow = &shadow
		next.live, next.candidate = &live, &shadow
	}
	return next, nil
}

func (f *Follower) bundle(ctx context.Context, in, next *force, ref decision.BundleRef) (*decision.Bundle, error) {
	if in != nil && in.loaded[ref.Archive] != nil {
		next.loaded[ref.Archive] = in.loaded[ref.Archive]
	} else {
		packed, err := f.config.Store.Archive(ctx, ref.Archive)
		if err != nil {
			return nil, err
		}
		if sha256.Sum256(packed) != ref.Archive {
			return nil, fmt.Errorf("%w: its archive is not what was activated", errBroken)
		}
		if next.loaded[ref.Archive], err = archive.Open(packed); err != nil {
			return nil, fmt.Errorf("%w: %w", errBroken, err)
		}
	}
	bundle := next.loaded[ref.Archive]
	if bundle.Digest != ref.Digest {
		return nil, fmt.Errorf("%w: its archive holds the bundle %.12s and not %.12s", errBroken, bundle.Digest, ref.Digest)
	}
	return bundle, nil
}
