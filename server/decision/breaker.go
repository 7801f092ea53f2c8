package decision

import "time"

// BreakerRule is a circuit breaker of the bundle, kept apart for every combination
// of the dimensions in Per: it stops calls once too many in turn have failed, lets
// one through after a while, and closes when that one succeeds.
type BreakerRule struct {
	ID string
	Trip
	// Backoff is what a call waits after the first failure; twice as long after each
	// further one, up to Longest. 0: it does not.
	Backoff time.Duration
	Per     []Dimension
	// Purposes, Tools and Agents, where not empty, are the only ones watched.
	Purposes []string
	Tools    []ToolPattern
	Agents   []string
}

// Trip is when a breaker opens, and for how long.
type Trip struct {
	// Failures in turn open it, at most 4095.
	Failures int64
	// Open is for how long at first; twice as long after each probe that failed, up
	// to Longest. Whole milliseconds.
	Open, Longest time.Duration
}

// Watches reports whether a breaker is about a request: a call.
func (b *BreakerRule) Watches(req *Request) bool {
	counts := BudgetRule{Purposes: b.Purposes, Tools: b.Tools, Agents: b.Agents, Per: b.Per}
	return req.Phase == Call && counts.Counts(req)
}

// Key is the counter that a breaker's state is kept in.
func (b *BreakerRule) Key(req *Request, vendor string) BudgetKey {
	return BudgetKey{Budget: sortBreaker + b.ID, Subject: share(b.Per, req, vendor)}
}

// Watching are the breakers that are about a request.
func (b *Bundle) Watching(req *Request) []*BreakerRule {
	var all []*BreakerRule
	for i := range b.Breakers {
		if rule := &b.Breakers[i]; rule.Watches(req) {
			all = append(all, rule)
		}
	}
	return all
}

// Breaker is the state of a breaker. The zero value is closed, without failures.
type Breaker struct {
	// Failures in turn, while it is closed.
	Failures int64
	// Level counts how often in turn it has opened; 0: it is closed.
	Level int64
	// Until is when a probe may pass; or, of a probe under way, when the next may.
	Until time.Time
	// Probing says that a probe is under way.
	Probing bool
}

// Bounds of a breaker.
const (
	MaxFailures = 1<<failureBits - 1
	MaxOpen     = 7 * 24 * time.Hour
)

// The layout of a state in a counter, from the lowest bit.
const (
	failureBits = 12
	levelBits   = 6
	untilShift  = 1 + failureBits + levelBits
	maxLevel    = 1<<levelBits - 1
)

// BreakerOf is the state that a counter holds.
func BreakerOf(held int64) Breaker {
	b := Breaker{Probing: held&1 != 0, Failures: held >> 1 & MaxFailures, Level: held >> (1 + failureBits) & maxLevel}
	if ms := held >> untilShift; ms > 0 {
		b.Until = time.UnixMilli(ms)
	}
	return b
}

// Held is what a counter holds of a state.
func (b Breaker) Held() int64 {
	held := min(b.Failures, MaxFailures)<<1 | min(b.Level, maxLevel)<<(1+failureBits)
	if b.Probing {
		held |= 1
	}
	if !b.Until.IsZero() {
		held |= max(0, b.Until.UnixMilli()) << untilShift
	}
	return held
}

// Passes is the state after a call at a time is let through; ok is false where it
// is not. The first call after the breaker's time is the probe: until it is told how
// that ended, or Open has passed again, no other passes.
func (t Trip) Passes(b Breaker, at time.Time) (after Breaker, ok bool) {
	switch {
	case b.Level == 0:
		return b, true
	case at.Before(b.Until):
		return b, false
	}
	b.Probing, b.Until = true, at.Add(t.Open)
	return b, true
}

// Ended is the state after it is known how a call ended. While the breaker is open
// and no probe is under way, calls that began before are told late, and change
// nothing.
func (t Trip) Ended(b Breaker, at time.Time, failed bool) Breaker {
	switch {
	case b.Level > 0 && !b.Probing && at.Before(b.Until):
		return b
	case !failed:
		return Breaker{}
	case b.Level > 0:
		return t.opened(b.Level+1, at)
	case b.Failures+1 >= t.Failures:
		return t.opened(1, at)
	}
	b.Failures++
	return b
}

// After is the state after a number of failures in turn, at a time.
func (t Trip) After(failures int64, at time.Time) (b Breaker) {
	for range min(failures, MaxFailures) {
		b = t.Ended(b, at, true)
	}
	return b
}

func (t Trip) opened(level int64, at time.Time) Breaker {
	return Breaker{Level: min(level, maxLevel), Until: at.Add(double(t.Open, level-1, t.Longest))}
}

// double is a time doubled n times, up to a longest.
func double(d time.Duration, n int64, longest time.Duration) time.Duration {
	for ; n > 0 && d < longest; n-- {
		d *= 2
	}
	return min(d, longest)
}

// Delay is what a call waits before it begins, by the failures so far.
func (b *BreakerRule) Delay(state Breaker) time.Duration {
	if b.Backoff == 0 || state.Failures == 0 || state.Level > 0 {
		return 0
	}
	return double(b.Backoff, state.Failures-1, b.Longest)
}

// Pass lets a call through a breaker. Guard: it is closed, or it is time for a
// probe.
type Pass struct {
	Key BudgetKey
	Trip
	At time.Time
}

// Counter is the breaker's.
func (p Pass) Counter() BudgetKey { return p.Key }

// Beside is nothing.
func (p Pass) Beside() []BudgetKey { return nil }

// Apply lets it through, if it may.
func (p Pass) Apply(was, _ int64) (now int64, ok bool) {
	after, ok := p.Passes(BreakerOf(was), p.At)
	if !ok {
		return was, false
	}
	return after.Held(), true
}

// Observe tells a breaker how a call ended. It has no guard.
type Observe struct {
	Key BudgetKey
	Trip
	At     time.Time
	Failed bool
}

// Counter is the breaker's.
func (o Observe) Counter() BudgetKey { return o.Key }

// Beside is nothing.
func (o Observe) Beside() []BudgetKey { return nil }

// Apply tells it.
func (o Observe) Apply(was, _ int64) (now int64, ok bool) {
	return o.Ended(BreakerOf(was), o.At, o.Failed).Held(), true
}

// Observed is how a call ended, for the breakers that let it through: what failed
// counts as such, and so does what nobody can tell of; what never ran tells nothing.
func Observed(passed []Pass, at time.Time, failed bool) []Effect {
	all := make([]Effect, 0, len(passed))
	for _, p := range passed {
		all = append(all, Observe{Key: p.Key, Trip: p.Trip, At: at, Failed: failed})
	}
	return all
}
