// Package follow keeps the policy bundle in force at the newest state of its
// source that may be used. One goroutine fetches, verifies and compiles; what it
// finds good it puts into force at once and whole, and what it does not, it
// reports, and the bundle in force stays. A decision only ever reads a pointer.
package follow

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/source"
	"github.com/writpdp/writ/server/policy/trust"
)

// gap is the least time between two attempts, however often it is triggered.
const gap = time.Second

// Config says what to follow and how.
type Config struct {
	Source source.Source
	// Trust is what the source verifies by. What was kept is used only while its
	// signer is still in it.
	Trust *trust.Keys
	// Keep is a directory of this process alone, where the last good bundle is
	// kept for a start without the source; empty: nothing is kept.
	Keep string
	// Every is the time between two looks at the source, give or take a tenth;
	// 0: a minute.
	Every time.Duration
	// Deadline bounds one attempt; 0: a minute.
	Deadline time.Duration
	// StaleAfter is how long the source may not answer before Ready says no;
	// 0: for ever.
	StaleAfter time.Duration
	// Report is told what happened, from the goroutine that follows. It must not
	// block for long.
	Report func(Event)
	Now    func() time.Time
}

// What happened.
type What string

// What can happen.
const (
	// Activated: another bundle is in force.
	Activated What = "activated"
	// Refused: the source's newest state must not be used; the bundle in force
	// stays. Reported once for each state and reason.
	Refused What = "refused"
	// Unreachable: the source cannot be reached or understood. Reported once,
	// until it answers again.
	Unreachable What = "unreachable"
	// Restored: the bundle that was kept is in force, until the source has one
	// that may be used.
	Restored What = "restored"
	// Unkept: the last good bundle could not be kept, or what was kept cannot be
	// used.
	Unkept What = "unkept"
)

// Event is one thing that happened. It holds nothing secret.
type Event struct {
	What What
	// Why is a sentence where something is wrong; else empty.
	Why string
	At  time.Time
	// Source is the source's name; Commit, Digest and Signer are of the bundle or
	// the state that it is about, as far as they are known.
	Source, Commit, Digest string
	Signer                 trust.Signer
}

// Follower follows a source. Make one with New, and run it.
type Follower struct {
	c      Config
	bundle atomic.Pointer[decision.Bundle]
	wake   chan struct{}

	mu     sync.Mutex // guards status
	status Status

	// Below are owned by New and then by Run.
	at       source.Position
	changing bool  // the source was, at the last attempt
	refusal  Event // of at.Refused
	reported Event // the last that said that something is wrong; zero: nothing is
}

// New puts the bundle that was kept into force, and leaves the source to Run: a
// server that hangs must not hold up a start. Where none was kept, it makes the
// first attempt, and what the source says must be acceptable.
func New(ctx context.Context, c Config) (*Follower, error) {
	if c.Every == 0 {
		c.Every = time.Minute
	}
	if c.Deadline == 0 {
		c.Deadline = time.Minute
	}
	f := &Follower{c: c, wake: make(chan struct{}, 1)}
	f.status.Source = c.Source.Name()
	if c.Keep != "" {
		if err := prepare(c.Keep); err != nil {
			return nil, err
		}
		f.restore()
	}
	if f.bundle.Load() != nil {
		f.Trigger()
		return f, nil
	}
	err := f.attempt(ctx)
	if err == nil && f.bundle.Load() == nil {
		err = errors.New("the source is changing")
	}
	if err != nil {
		return nil, fmt.Errorf("loading the bundle: %w", told{err})
	}
	return f, nil
}

// told is an error whose text is fit for a terminal.
type told struct{ error }

func (t told) Error() string { return clean(t.error) }
func (t told) Unwrap() error { return t.error }

// Bundle is the bundle in force, never nil. It never blocks.
func (f *Follower) Bundle() *decision.Bundle { return f.bundle.Load() }

// Trigger asks for a look at the source now. It never blocks; many triggers
// within a second are one.
func (f *Follower) Trigger() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Run follows the source until ctx is done.
func (f *Follower) Run(ctx context.Context) error {
	for {
		ready := time.NewTimer(gap)
		wait := f.c.Every + time.Duration((rand.Float64()-0.5)*0.2*float64(f.c.Every))
		if f.changing {
			wait = gap
		}
		poll := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-poll.C:
		case <-f.wake:
			select {
			case <-ctx.Done():
				return nil
			case <-ready.C:
			}
			f.at.Refused = "" // whoever asks may know that it was mended
		}
		_ = f.attempt(ctx) // reported, and told by the status
	}
}

// attempt looks at the source once. Whatever comes of it is in the status.
func (f *Follower) attempt(ctx context.Context) error {
	limited, cancel := context.WithTimeoutCause(ctx, f.c.Deadline, fmt.Errorf("the source does not answer within %s", f.c.Deadline))
	defer cancel()
	found, bundle, err := f.fetch(limited)
	f.changing = err == nil && found.Revision == ""
	switch {
	case err != nil && ctx.Err() != nil:
		return err // the process ends
	case err != nil:
		f.fail(err)
		return err
	case f.changing: // the next attempt tells
	case bundle != nil:
		f.activate(found, bundle)
	case found.Revision == f.at.Revision:
		f.answered(func(s *Status) { s.Kept, s.Error = false, "" })
		f.reported = Event{}
	default:
		f.answered(func(s *Status) { s.Error = f.refusal.Why }) // it is still the newest
		f.reported = f.refusal
	}
	return nil
}

// fetch brings the newest state and compiles it. What breaks a reader of it
// breaks this attempt and not the process.
func (f *Follower) fetch(ctx context.Context) (found source.Found, b *decision.Bundle, err error) {
	defer func() {
		if broken := recover(); broken != nil {
			err = &source.Refusal{Revision: found.Revision, Err: fmt.Errorf("its reader broke: %v", broken)}
		}
	}()
	if found, err = f.c.Source.Fetch(ctx, f.at); err != nil || found.Files == nil {
		return found, nil, err
	}
	if b, err = policy.Load(found.Files); err != nil {
		return found, nil, &source.Refusal{Revision: found.Revision, Signer: found.Signer, Err: err}
	}
	b.Commit = found.Commit
	return found, b, nil
}

// activate puts a bundle into force. It is kept first: after a crash between the
// two, the start finds what would have been in force.
func (f *Follower) activate(found source.Found, b *decision.Bundle) {
	event := Event{What: Activated, Commit: found.Commit, Digest: b.Digest, Signer: found.Signer}
	if f.c.Keep != "" {
		if err := f.keep(found, b); err != nil {
			failed := event
			failed.What, failed.Why = Unkept, clean(err)
			f.report(failed)
		}
	}
	f.at = source.Position{Revision: found.Revision, Dated: found.Dated}
	f.reported = Event{}
	f.enforce(b, found.Signer, false)
	f.report(event)
}

// enforce swaps the bundle and says so in the status.
func (f *Follower) enforce(b *decision.Bundle, signer trust.Signer, kept bool) {
	f.bundle.Store(b)
	change := func(s *Status) {
		s.Name, s.Digest, s.Commit, s.Signer, s.Key = b.Name, b.Digest, b.Commit, signer.Name, signer.Key
		s.Since, s.Kept, s.Error = f.c.Now().UTC(), kept, ""
	}
	if kept {
		f.change(change)
	} else {
		f.answered(change)
	}
}

// fail reports what is wrong, once, and leaves the bundle in force.
func (f *Follower) fail(err error) {
	event := Event{What: Unreachable, Why: clean(err)}
	var refusal *source.Refusal
	if errors.As(err, &refusal) {
		event.What, event.Commit, event.Signer = Refused, refusal.Revision, refusal.Signer
		f.at.Refused, f.refusal = "", event
		if !refusal.Again {
			f.at.Refused = refusal.Revision
		}
		f.answered(func(s *Status) { s.Error = event.Why })
	} else {
		f.change(func(s *Status) { s.Tried, s.Error = f.c.Now().UTC(), event.Why })
	}
	// The texts of failures differ by ports and times.
	if f.reported.What == event.What && f.reported.Commit == event.Commit && (event.What == Unreachable || f.reported.Why == event.Why) {
		return
	}
	f.reported = event
	f.report(event)
}

func (f *Follower) report(e Event) {
	e.At, e.Source = f.c.Now().UTC(), f.c.Source.Name()
	f.c.Report(e)
}

// maxText bounds a text about something that went wrong, in bytes.
const maxText = 4096

// clean makes one line of an error: parts of it may come from a server.
func clean(err error) string {
	text := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(err.Error(), "?"))
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}
