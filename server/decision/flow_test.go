package decision_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/writpdp/writ/server/decision"
)

var flowStart = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// counters apply effects one after the other, as a store does.
type counters map[decision.BudgetKey]int64

func (c counters) apply(effect decision.Counting) bool {
	var beside int64
	for _, key := range effect.Beside() {
		beside += c[key]
	}
	now, ok := effect.Apply(c[effect.Counter()], beside)
	if ok {
		c[effect.Counter()] = now
	}
	return ok
}

// Whatever is charged when, no span of the window's length holds more than the cap,
// and what is refused fits once it is said to.
func TestSlidingWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule := decision.BudgetRule{ID: "b", Unit: decision.Calls, Window: decision.Sliding,
			Cap: rapid.Int64Range(0, 30).Draw(t, "cap"), Length: rapid.OneOf(rapid.Int64Range(1, 40), rapid.Int64Range(1, decision.MaxLength)).Draw(t, "length")}
		req := &decision.Request{Phase: decision.Call}
		held, at := counters{}, flowStart
		type spent struct {
			at     time.Time
			amount int64
		}
		var all []spent
		for range rapid.IntRange(1, 60).Draw(t, "charges") {
			at = at.Add(time.Duration(rapid.Int64Range(0, rule.Length*int64(time.Second)/4).Draw(t, "pause")))
			amount := rapid.Int64Range(0, 9).Draw(t, "amount")
			key := rule.Key(req, "", at)
			if held.apply(decision.Charge{Key: key, Amount: amount, Cap: rule.Cap, Length: rule.Length}) {
				all = append(all, spent{at, amount})
				continue
			}
			frees, ok := rule.Frees(key, rule.Cap-amount, held)
			if ok != (amount <= rule.Cap) {
				t.Fatalf("%d of %d: it fits sometime: %v", amount, rule.Cap, ok)
			}
			if !ok {
				continue
			}
			later := time.Unix(frees, 0)
			if !later.After(at) || later.Sub(at) > time.Duration(rule.Length+rule.Length/6+2)*time.Second {
				t.Fatalf("it fits %s later in a window of %d s", later.Sub(at), rule.Length)
			}
			for _, try := range []struct {
				at   time.Time
				fits bool
			}{{later.Add(-time.Second), false}, {later, true}} {
				if try.at.Before(at) {
					continue
				}
				copied := counters{}
				for k, n := range held {
					copied[k] = n
				}
				if got := copied.apply(decision.Charge{Key: rule.Key(req, "", try.at), Amount: amount, Cap: rule.Cap, Length: rule.Length}); got != try.fits {
					t.Fatalf("%s later: it fits %v, want %v", try.at.Sub(at), got, try.fits)
				}
			}
		}
		for i, first := range all {
			var sum int64
			for _, s := range all[i:] {
				if s.at.Sub(first.at) < time.Duration(rule.Length)*time.Second {
					sum += s.amount
				}
			}
			if sum > rule.Cap {
				t.Fatalf("%d of %d within one window", sum, rule.Cap)
			}
		}
	})
}

// In no span is more granted than the burst and what the rate gives in the span; what
// is refused fits once it is said to and not before; and what is asked for all the
// time gets all that the rate gives.
func TestRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule := decision.BudgetRule{ID: "r", Unit: decision.Calls, Window: decision.Rate,
			Cap: rapid.Int64Range(1, 1000).Draw(t, "cap"), Length: rapid.Int64Range(1, 3600).Draw(t, "length"), Burst: rapid.Int64Range(1, 50).Draw(t, "burst")}
		if !rule.Pace(decision.BudgetKey{}, 0, flowStart).Whole() {
			t.Skip("beyond what a bundle may say")
		}
		key, held, at := rule.Key(&decision.Request{}, "", flowStart), counters{}, flowStart
		type grant struct {
			at     time.Time
			amount int64
		}
		var grants []grant
		for range rapid.IntRange(1, 80).Draw(t, "asked") {
			at = at.Add(time.Duration(rapid.Int64Range(0, 3*rule.Interval()).Draw(t, "pause")))
			amount := rapid.Int64Range(1, rule.Burst+1).Draw(t, "amount")
			pace := rule.Pace(key, amount, at)
			left, wait := pace.Left(held[key]), pace.Wait(held[key])
			if (wait == 0) != (amount <= left) {
				t.Fatalf("%d are left, %d wait %s", left, amount, wait)
			}
			if held.apply(pace) {
				grants = append(grants, grant{at, amount})
				continue
			}
			if amount > rule.Burst {
				continue
			}
			if w := rule.Pace(key, amount, at.Add(wait)).Wait(held[key]); w != 0 {
				t.Fatalf("after %s it is to wait %s more", wait, w)
			}
			if w := rule.Pace(key, amount, at.Add(wait-1)).Wait(held[key]); w != 1 {
				t.Fatalf("a nanosecond early it is to wait %s", w)
			}
		}
		for i, first := range grants {
			var sum int64
			for _, g := range grants[i:] {
				sum += g.amount
				if most := rule.Burst + int64(g.at.Sub(first.at))/rule.Interval(); sum > most {
					t.Fatalf("%d within %s, %d is the most", sum, g.at.Sub(first.at), most)
				}
			}
		}
	})
}

// Somebody who asks all the time gets, over ten seconds, the rate's share and the
// burst, to the last call.
func TestRateGrantsAll(t *testing.T) {
	rule := decision.BudgetRule{ID: "r", Unit: decision.Calls, Window: decision.Rate, Cap: 100, Length: 1, Burst: 5}
	key, held := rule.Key(&decision.Request{}, "", flowStart), counters{}
	granted := 0
	for at := flowStart; at.Before(flowStart.Add(10 * time.Second)); at = at.Add(time.Millisecond) {
		for held.apply(rule.Pace(key, 1, at)) {
			granted++
		}
	}
	if want := 5 + 999; granted != want {
		t.Errorf("%d are granted, want %d", granted, want)
	}
}

// A breaker against a plain model: closed, open until a time, or trying one call.
func TestBreaker(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		trip := decision.Trip{Failures: rapid.Int64Range(1, 5).Draw(t, "failures"),
			Open: time.Duration(rapid.IntRange(1, 5000).Draw(t, "open")) * time.Millisecond}
		trip.Longest = trip.Open * time.Duration(rapid.IntRange(1, 20).Draw(t, "longest"))
		key, held, at := decision.BudgetKey{Budget: "breaker/b"}, counters{}, flowStart
		var failures, opened int64
		var until time.Time
		probing := false
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			at = at.Add(time.Duration(rapid.Int64Range(0, 2*trip.Open.Milliseconds()).Draw(t, "pause")) * time.Millisecond)
			if rapid.Bool().Draw(t, "asks") {
				passes := opened == 0 || !at.Before(until)
				if opened > 0 && passes {
					probing, until = true, at.Add(trip.Open)
				}
				if got := held.apply(decision.Pass{Key: key, Trip: trip, At: at}); got != passes {
					t.Fatalf("it passes %v, want %v", got, passes)
				}
				continue
			}
			failed := rapid.Bool().Draw(t, "failed")
			held.apply(decision.Observe{Key: key, Trip: trip, At: at, Failed: failed})
			switch {
			case opened > 0 && !probing && at.Before(until): // told late
			case !failed:
				failures, opened, until, probing = 0, 0, time.Time{}, false
			case opened > 0 || failures+1 >= trip.Failures:
				opened++
				pause := trip.Open
				for range opened - 1 {
					pause = min(2*pause, trip.Longest)
				}
				failures, until, probing = 0, at.Add(min(pause, trip.Longest)), false
			default:
				failures++
			}
			state := decision.BreakerOf(held[key])
			if state.Failures != failures || state.Level != min(opened, 63) || !state.Until.Equal(until) || state.Probing != probing {
				t.Fatalf("the state is %+v, want %d failures, opened %d times, until %v, probing %v", state, failures, opened, until, probing)
			}
		}
	})
}

// A state goes into a counter and comes back.
func TestBreakerHeld(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := decision.Breaker{Failures: rapid.Int64Range(0, decision.MaxFailures).Draw(t, "failures"), Level: rapid.Int64Range(0, 63).Draw(t, "level"),
			Probing: rapid.Bool().Draw(t, "probing")}
		if ms := rapid.Int64Range(0, 1<<43).Draw(t, "until"); ms > 0 {
			want.Until = time.UnixMilli(ms)
		}
		held := want.Held()
		if got := decision.BreakerOf(held); held < 0 || got != want {
			t.Fatalf("got %+v of %d, want %+v", got, held, want)
		}
	})
}

// The delay doubles with each failure and ends with the breaker's longest time.
func TestDelay(t *testing.T) {
	rule := decision.BreakerRule{Trip: decision.Trip{Failures: 9, Open: time.Second, Longest: 5 * time.Second}, Backoff: time.Second}
	var got []time.Duration
	for n := range int64(6) {
		got = append(got, rule.Delay(decision.Breaker{Failures: n}))
	}
	got = append(got, rule.Delay(decision.Breaker{Level: 1}))
	if want := []time.Duration{0, 1e9, 2e9, 4e9, 5e9, 5e9, 0}; !slices.Equal(got, want) {
		t.Errorf("delays %v, want %v", got, want)
	}
}

// What lapses gives back what does not stay, and no more.
func TestLapse(t *testing.T) {
	line := decision.BudgetLine{Unit: decision.Tokens, Cap: 100}
	a, b := decision.BudgetKey{Budget: "a"}, decision.BudgetKey{Budget: "running/b"}
	reserved := []decision.Reservation{{Line: line, Charge: decision.Charge{Key: a, Amount: 30}},
		{Line: line, Charge: decision.Charge{Key: b, Amount: 4, Held: true, Lapses: flowStart}}}
	used := map[decision.BudgetKey]int64{a: 50, b: 9}
	var got []int64
	for _, effect := range decision.Lapse(reserved, used).Effects {
		got = append(got, effect.(decision.Charge).Amount)
	}
	if want := []int64{-4}; !slices.Equal(got, want) {
		t.Errorf("lapsed: %v, want %v", got, want)
	}
	got = nil
	for _, effect := range decision.Settle(reserved, decision.Cost{Tokens: 20, Calls: 7}, used).Effects {
		got = append(got, effect.(decision.Charge).Amount)
	}
	if want := []int64{-10, -4}; !slices.Equal(got, want) {
		t.Errorf("settled: %v, want %v", got, want)
	}
}
