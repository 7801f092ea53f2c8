package decision

import (
	"math"
	"time"
)

// Pace takes from a rate, by the generic cell rate algorithm (ATM Forum TM 4.0, the
// virtual scheduling form): the counter holds the theoretical arrival time, in
// nanoseconds of Unix time, up to which the rate has been taken in advance. Guard:
// no more than Burst is taken in advance. It is exact over all replicas, but for
// what their clocks differ.
type Pace struct {
	Key    BudgetKey
	Amount int64
	// Interval is the time in which the rate grants one, in nanoseconds.
	Interval int64
	Burst    int64
	At       time.Time
}

// Counter is that of the rate.
func (p Pace) Counter() BudgetKey { return p.Key }

// Beside is nothing.
func (p Pace) Beside() []BudgetKey { return nil }

// Apply takes, if it may.
func (p Pace) Apply(was, _ int64) (now int64, ok bool) {
	if p.Wait(was) > 0 {
		return was, false
	}
	return max(was, p.At.UnixNano()) + p.Amount*p.Interval, true
}

// Whole reports whether nothing of it is out of range: then a burst is granted within
// MaxLength.
func (p Pace) Whole() bool {
	return p.Amount >= 0 && p.Interval >= 1 && p.Burst >= 1 && p.Burst <= MaxLength*int64(time.Second)/p.Interval
}

// Wait is how long to wait until the guard holds, given what the counter holds; 0:
// it does. An amount beyond the burst never fits.
func (p Pace) Wait(was int64) time.Duration {
	if !p.Whole() || p.Amount > p.Burst {
		return math.MaxInt64
	}
	at := p.At.UnixNano()
	if was > math.MaxInt64/4*3 { // the year 2189, or somebody's
		return math.MaxInt64
	}
	return time.Duration(max(0, max(was, at)+p.Amount*p.Interval-p.Burst*p.Interval-at))
}

// Left is how much may be taken at once, given what the counter holds.
func (p Pace) Left(was int64) int64 {
	at := p.At.UnixNano()
	if !p.Whole() {
		return 0
	}
	return max(0, p.Burst*p.Interval-max(0, was-at)) / p.Interval
}

// Pace is what a request takes of a rate.
func (b *BudgetRule) Pace(key BudgetKey, amount int64, at time.Time) Pace {
	return Pace{Key: key, Amount: amount, Interval: b.Interval(), Burst: b.Burst, At: at}
}

// Interval is the time in which a rate grants one, in nanoseconds, rounded up: no
// more is granted than the rate says.
func (b *BudgetRule) Interval() int64 {
	if b.Cap < 1 {
		return math.MaxInt64
	}
	return (b.Length*int64(time.Second) + b.Cap - 1) / b.Cap
}

// Taken is what the counter of a rate holds of which an amount was taken at once.
func (b *BudgetRule) Taken(amount int64, at time.Time) int64 {
	return at.UnixNano() + amount*b.Interval()
}
