package respond_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/respond"
	"github.com/writpdp/writ/store/sqlite"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func open(t *testing.T) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "writ.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func by(reason string) audit.By {
	return audit.By{Actor: "ann", Reason: reason, Ticket: "INC-1", At: noon, ID: uuid.Must(uuid.NewV7())}
}

func lock(id string, lasts time.Duration) decision.Lock {
	return decision.Lock{ID: id, Target: decision.Target{Kind: decision.OfAgent, Value: "agent"}, Effect: decision.LockDeny,
		Until: noon.Add(lasts), Message: "Ask ann."}
}

func ids(locks []decision.Lock) (all []string) {
	for _, l := range locks {
		all = append(all, l.ID)
	}
	return all
}

func TestSetAndLift(t *testing.T) {
	s := open(t)
	for i, id := range []string{"b", "c", "a"} {
		c, err := respond.Set(t.Context(), s, lock(id, time.Hour), by("runs wild"))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := c.Control.Version, int64(i+1); got != want {
			t.Errorf("version %d, want %d", got, want)
		}
	}
	if _, err := respond.Set(t.Context(), s, lock("b", time.Hour), by("again")); !errors.Is(err, respond.ErrTaken) {
		t.Errorf("an id twice: %v", err)
	}
	if _, err := respond.Lift(t.Context(), s, "d", by("tamed")); !errors.Is(err, respond.ErrUnknown) {
		t.Errorf("lifting what is not there: %v", err)
	}
	if _, err := respond.Lift(t.Context(), s, "b", by("tamed")); err != nil {
		t.Fatal(err)
	}
	last, err := respond.Newest(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "c"}, ids(last.Control.Locks)); diff != "" {
		t.Errorf("in force (-want +got):\n%s", diff)
	}
	want := lock("a", time.Hour)
	want.By, want.Reason = "ann", "runs wild"
	if diff := cmp.Diff(want, last.Control.Locks[0]); diff != "" {
		t.Errorf("a lock (-want +got):\n%s", diff)
	}
	history, err := respond.History(t.Context(), s, 10, respond.OfLocks)
	if err != nil || len(history) != 4 || !history[0].Lifted || history[0].Lock.ID != "b" || history[3].Lock.ID != "b" || history[3].Ticket != "INC-1" {
		t.Errorf("history: %+v, %v", history, err)
	}
}

// What has ended is left out by the next change, and there is room for it.
func TestLocksEnd(t *testing.T) {
	s := open(t)
	for i := range decision.MaxLocks {
		if _, err := respond.Set(t.Context(), s, lock(fmt.Sprint("l", i), time.Minute), by("x")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := respond.Set(t.Context(), s, lock("more", time.Minute), by("x")); !errors.Is(err, respond.ErrMany) {
		t.Errorf("one more: %v", err)
	}
	later := by("x")
	later.At = noon.Add(time.Minute)
	c, err := respond.Set(t.Context(), s, lock("more", time.Hour), later)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"more"}, ids(c.Control.Locks)); diff != "" {
		t.Errorf("in force (-want +got):\n%s", diff)
	}
}

func TestSetRefuses(t *testing.T) {
	s := open(t)
	for name, change := range map[string]func(*decision.Lock, *audit.By){
		"no end":            func(l *decision.Lock, _ *audit.By) { l.Until = time.Time{} },
		"ended":             func(l *decision.Lock, _ *audit.By) { l.Until = noon },
		"too long":          func(l *decision.Lock, _ *audit.By) { l.Until = noon.Add(decision.MaxLockTime + time.Second) },
		"no id":             func(l *decision.Lock, _ *audit.By) { l.ID = "" },
		"an id of two":      func(l *decision.Lock, _ *audit.By) { l.ID = "a b" },
		"no effect":         func(l *decision.Lock, _ *audit.By) { l.Effect = 0 },
		"an unknown effect": func(l *decision.Lock, _ *audit.By) { l.Effect = 9 },
		"an unknown target": func(l *decision.Lock, _ *audit.By) { l.Target.Kind = 99 },
		"no value":          func(l *decision.Lock, _ *audit.By) { l.Target.Value = "" },
		"all with a value":  func(l *decision.Lock, _ *audit.By) { l.Target.Kind = decision.Everything },
		"the system":        func(l *decision.Lock, _ *audit.By) { l.Target.Tenant = decision.System },
		"no reason":         func(_ *decision.Lock, b *audit.By) { b.Reason = "" },
		"nobody":            func(_ *decision.Lock, b *audit.By) { b.Actor = "" },
		"a reason that hides": func(_ *decision.Lock, b *audit.By) {
			b.Reason = "fine\u202egnihton"
		},
		"a message of two lines": func(l *decision.Lock, _ *audit.By) { l.Message = "one\ntwo" },
	} {
		l, b := lock("l", time.Hour), by("x")
		change(&l, &b)
		if _, err := respond.Set(t.Context(), s, l, b); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if last, err := respond.Newest(t.Context(), s); err != nil || last.Control.Version != 0 {
		t.Errorf("something was set: %+v, %v", last, err)
	}
}

// Two who lock at once both do: on a bad night nobody is told to try again.
func TestManyLockAtOnce(t *testing.T) {
	s := open(t)
	var wait sync.WaitGroup
	for i := range 12 {
		wait.Go(func() {
			if _, err := respond.Set(t.Context(), s, lock(fmt.Sprint("l", i), time.Hour), by("x")); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if last, err := respond.Newest(t.Context(), s); err != nil || len(last.Control.Locks) != 12 || last.Control.Version != 12 {
		t.Errorf("got %d locks by version %d, %v", len(last.Control.Locks), last.Control.Version, err)
	}
}

// flaky is a store that can be away.
type flaky struct {
	respond.Store
	away atomic.Bool
}

var errAway = errors.New("away")

func (f *flaky) Control(ctx context.Context, version int64) (audit.Row, error) {
	if f.away.Load() {
		return audit.Row{}, errAway
	}
	return f.Store.Control(ctx, version)
}

// A follower that learns nothing for longer than a second says so, whichever way
// its clock is wrong, until it learns something again.
func TestFreshness(t *testing.T) {
	store := &flaky{Store: open(t)}
	now, reports := noon, 0
	f, err := respond.Follow(t.Context(), respond.Config{Store: store, Now: func() time.Time { return now }, Report: func(decision.Control, error) { reports++ }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := respond.Set(t.Context(), store, lock("l", time.Hour), by("x")); err != nil {
		t.Fatal(err)
	}
	if got := f.Control(t.Context()); got.Version != 0 || got.Stale {
		t.Errorf("before a look: %+v", got)
	}
	if err := f.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := f.Control(t.Context()); got.Version != 1 || len(got.Locks) != 1 || got.Stale {
		t.Errorf("after it: %+v", got)
	}
	store.away.Store(true)
	for _, c := range []struct {
		after time.Duration
		stale bool
	}{{0, false}, {respond.Fresh, false}, {respond.Fresh + 1, true}, {time.Hour, true}, {-time.Hour, true}} {
		after, stale := c.after, c.stale
		now = noon.Add(after)
		if got := f.Control(t.Context()); got.Stale != stale || got.Version != 1 || len(got.Locks) != 1 {
			t.Errorf("after %s: %+v, want stale %v", after, got, stale)
		}
	}
	store.away.Store(false)
	now = now.Add(time.Minute)
	if got := f.Control(t.Context()); got.Stale || got.Version != 1 { // what is old is asked for
		t.Errorf("back again: %+v", got)
	}
	if got, want := reports, 3; got != want { // a lock, away, back
		t.Errorf("%d reports, want %d", got, want)
	}
}

// A process that cannot learn the locks does not begin.
// A machine whose clock is not the store's stops everything, at once when it is
// noticed, and goes on when the clock is right again.
func TestTheClockIsNotTheStores(t *testing.T) {
	store := open(t)
	now, there := noon, noon
	var away error
	var reports []error
	config := respond.Config{Store: store, Now: func() time.Time { return now }, Report: func(_ decision.Control, err error) { reports = append(reports, err) },
		Clock: func(context.Context) (time.Time, error) { return there, away }}
	f, err := respond.Follow(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		off   time.Duration
		stale bool
	}{{respond.MaxSkew, false}, {-respond.MaxSkew, false}, {respond.MaxSkew + 1, true}, {-respond.MaxSkew - 1, true}, {time.Hour, true}, {0, false}} {
		there = now.Add(-c.off)
		if err := f.Look(t.Context()); (err != nil) != c.stale {
			t.Errorf("%s off: %v", c.off, err)
		}
		if got := f.Control(t.Context()).Stale; got != c.stale {
			t.Errorf("%s off: stale is %t, want %t", c.off, got, c.stale)
		}
	}
	if len(reports) != 2 || reports[0] == nil || reports[1] != nil {
		t.Errorf("the reports are %v, want one of the skew and one of its end", reports)
	}
	// A clock that cannot be asked is as good as none, after a while.
	away = errors.New("away")
	if err := f.Look(t.Context()); err == nil || f.Control(t.Context()).Stale {
		t.Errorf("a store's clock that is away: %v", err)
	}
	if now = now.Add(respond.Fresh + 1); !f.Control(t.Context()).Stale {
		t.Error("a store's clock that is away for long: not stale")
	}
	away, there = nil, now.Add(-time.Hour)
	if _, err := respond.Follow(t.Context(), config); err == nil {
		t.Error("a server whose clock is an hour off starts")
	}
}

func TestFollowNeedsTheStore(t *testing.T) {
	store := &flaky{Store: open(t)}
	store.away.Store(true)
	_, err := respond.Follow(t.Context(), respond.Config{Store: store, Now: time.Now, Report: func(decision.Control, error) {}})
	if !errors.Is(err, errAway) {
		t.Errorf("got %v", err)
	}
}

// A store that was set back does not unlock: what was known stays known, and grows
// stale.
func TestASetBackStore(t *testing.T) {
	full, empty := open(t), open(t)
	store := &swapped{Store: full}
	f, err := respond.Follow(t.Context(), respond.Config{Store: store, Now: func() time.Time { return noon }, Report: func(decision.Control, error) {}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := respond.Set(t.Context(), full, lock("l", time.Hour), by("x")); err != nil {
		t.Fatal(err)
	}
	if err := f.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	store.Store = empty
	if err := f.Look(t.Context()); err == nil {
		t.Error("a store that went back: no error")
	}
	if got := f.Control(t.Context()); got.Version != 1 || len(got.Locks) != 1 {
		t.Errorf("got %+v", got)
	}
}

type swapped struct{ respond.Store }
