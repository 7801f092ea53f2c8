package storetest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

func testFlow(t *testing.T, place Place) {
	for name, test := range map[string]func(*testing.T, Place){
		"Lapses": flowLapses, "Sliding": flowSliding, "Rate": flowRate, "RateOfThree": flowRateOfThree, "Breaker": flowBreaker,
	} {
		t.Run(name, func(t *testing.T) { test(t, place) })
	}
}

// flowLapses: a decision waits for its settlement until it has one; what is due comes
// in the order of its time.
func flowLapses(t *testing.T, place Place) {
	open := opener(t, place)
	s := open()
	lapsing := func(name string, after time.Duration) (audit.Entry, audit.Lapse) {
		key := decision.BudgetKey{Budget: "running/b"}
		e := entry(name, "1", decision.Charge{Key: key, Amount: 1, Cap: 9, Held: true, Lapses: noon.Add(after / 2)},
			decision.Charge{Key: calls, Amount: 1, Cap: 99, Lapses: noon.Add(after)})
		return e, audit.Lapse{Tenant: e.Tenant, Decision: e.ID, At: noon.Add(after)}
	}
	second, dueSecond := lapsing("second", 2*time.Minute)
	first, dueFirst := lapsing("first", time.Minute)
	never, _ := lapsing("never", time.Hour)
	for _, e := range []audit.Entry{second, first, never, entry("stays", "1", charge(1, 99))} {
		commit(t, s, e)
	}
	settle := func(of audit.Entry) {
		t.Helper()
		e := entry(uuid.UUID(of.ID).String(), "settled", decision.Charge{Key: decision.BudgetKey{Budget: "running/b"}, Amount: -1, Cap: 9})
		e.Kind = audit.Settlement
		commit(t, s, e)
	}
	want := func(at time.Duration, limit int, want ...audit.Lapse) {
		t.Helper()
		got, err := open().Due(t.Context(), noon.Add(at), limit)
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("due: %v (-want +got):\n%s", err, diff)
		}
	}
	settle(never)
	want(time.Minute-time.Microsecond, 9)
	want(time.Minute, 9, dueFirst)
	want(time.Hour, 9, dueFirst, dueSecond)
	want(time.Hour, 1, dueFirst)
	settle(first)
	want(time.Hour, 9, dueSecond)
	settle(second)
	want(time.Hour, 9)
}

// flowSliding: many who charge one window at once never exceed its cap, also where the
// clocks of some are a part ahead.
func flowSliding(t *testing.T, place Place) {
	open := opener(t, place)
	stores := []Store{open(), open()}
	var charged atomic.Int64
	var group sync.WaitGroup
	for i := range 60 {
		group.Go(func() {
			key := decision.BudgetKey{Budget: "sliding", Start: noon.Unix() + 300*int64(i%2)}
			_, err := stores[i%2].Commit(context.WithoutCancel(t.Context()), entry(uuid.NewV5(uuid.NamespaceOID, string(rune('a'+i))).String(), "1",
				decision.Charge{Key: key, Amount: 1, Cap: 20, Length: 3600}))
			switch {
			case err == nil:
				charged.Add(1)
			case !errors.Is(err, audit.ErrStale):
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got, want := charged.Load(), int64(20); got != want {
		t.Errorf("%d are charged, want %d", got, want)
	}
}

// flowRate: many who take of one rate at one moment get its burst.
func flowRate(t *testing.T, place Place) {
	open := opener(t, place)
	stores := []Store{open(), open()}
	key := decision.BudgetKey{Budget: "rate/r", Subject: `"acme"`}
	pace := decision.Pace{Key: key, Amount: 1, Interval: int64(time.Second), Burst: 7, At: noon}
	var taken atomic.Int64
	var group sync.WaitGroup
	for i := range 30 {
		group.Go(func() {
			_, err := stores[i%2].Commit(context.WithoutCancel(t.Context()), entry(uuid.NewV5(uuid.NamespaceURL, string(rune('a'+i))).String(), "1", pace))
			switch {
			case err == nil:
				taken.Add(1)
			case !errors.Is(err, audit.ErrStale):
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got, want := taken.Load(), int64(7); got != want {
		t.Errorf("%d are taken, want %d", got, want)
	}
	if got, want := used(t, stores[0], key)[key], noon.Add(7*time.Second).UnixNano(); got != want {
		t.Errorf("the counter holds %d, want %d", got, want)
	}
	pace.At = noon.Add(time.Second)
	commit(t, stores[1], entry("a second later", "1", pace))
}

// flowRateOfThree: three replicas whose callers ask all the time for ten seconds of
// their clocks, one of which is 50 ms behind, let through what the rate grants in that
// time, and no more but for these 50 ms; less by 2 % at most.
func flowRateOfThree(t *testing.T, place Place) {
	open := opener(t, place)
	stores := []Store{open(), open(), open()}
	const perSecond, burst, seconds, callers, step, behind = 100, 20, 10, 24, 2 * time.Millisecond, 50 * time.Millisecond
	var now, granted, asked atomic.Int64 // now in steps
	var group sync.WaitGroup
	for caller := range callers {
		group.Go(func() {
			replica := caller % len(stores)
			for {
				since := time.Duration(now.Add(1)) * step
				if since >= seconds*time.Second {
					return
				}
				at := noon.Add(since)
				if replica == 2 {
					at = at.Add(-behind)
				}
				pace := decision.Pace{Key: decision.BudgetKey{Budget: "rate/three"}, Amount: 1, Interval: int64(time.Second) / perSecond, Burst: burst, At: at}
				_, err := stores[replica].Commit(context.WithoutCancel(t.Context()), entry(uuid.NewV5(uuid.NamespaceURL, since.String()).String(), "1", pace))
				asked.Add(1)
				switch {
				case err == nil:
					granted.Add(1)
				case !errors.Is(err, audit.ErrStale):
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	most := int64(burst + perSecond*seconds)
	t.Logf("of %d that were asked %d were granted; the rate gives %d: %.2f %% less", asked.Load(), granted.Load(), most, 100*float64(most-granted.Load())/float64(most))
	if got, more := granted.Load(), int64(perSecond*behind/time.Second); got > most+more || got < most*98/100 {
		t.Errorf("%d are granted, want %d to %d", got, most*98/100, most+more)
	}
}

// flowBreaker: of many who ask an open breaker whose time has come, one passes.
func flowBreaker(t *testing.T, place Place) {
	open := opener(t, place)
	stores := []Store{open(), open()}
	key, trip := decision.BudgetKey{Budget: "breaker/b", Subject: `"tool"`}, decision.Trip{Failures: 2, Open: time.Second, Longest: time.Minute}
	told := entry(uuid.UUID(idOf("decision")).String(), "told",
		decision.Observe{Key: key, Trip: trip, At: noon, Failed: true}, decision.Observe{Key: key, Trip: trip, At: noon, Failed: true})
	told.Kind = audit.Settlement
	commit(t, stores[0], told)
	at := noon.Add(time.Second)
	wantStale(t, stores[1], entry("early", "1", decision.Pass{Key: key, Trip: trip, At: at.Add(-time.Millisecond)}))
	var passed atomic.Int64
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			_, err := stores[i%2].Commit(context.WithoutCancel(t.Context()), entry(uuid.NewV5(uuid.NamespaceDNS, string(rune('a'+i))).String(), "1",
				decision.Pass{Key: key, Trip: trip, At: at}))
			switch {
			case err == nil:
				passed.Add(1)
			case !errors.Is(err, audit.ErrStale):
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got, want := passed.Load(), int64(1); got != want {
		t.Errorf("%d pass, want %d", got, want)
	}
}
