package rollout_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/gofrs/uuid/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/archive"
	"github.com/writpdp/writ/server/rollout"
	"github.com/writpdp/writ/store/sqlite"
)

// bundle is a small bundle that differs by its name.
func bundle(name string) fs.FS {
	return fstest.MapFS{
		"writ.yaml":          {Data: []byte("version: 1\nname: " + name + "\n")},
		"schema.cedarschema": {Data: []byte("entity Agent; entity Team; entity Human; entity Server; entity Destination = { host: String, vendor: String, region: String }; type Extra = {};\n")},
	}
}

func load(t *testing.T, name string) *decision.Bundle {
	t.Helper()
	b, err := policy.Load(bundle(name))
	must(t, err)
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// place is a new ledger, and opens it: each time as another replica.
func place(t *testing.T) (open func() *sqlite.Store) {
	path := filepath.Join(t.TempDir(), "writ.db")
	return func() *sqlite.Store {
		t.Helper()
		s, err := sqlite.Open(t.Context(), path)
		must(t, err)
		t.Cleanup(func() { must(t, s.Close()) })
		return s
	}
}

func by(t *testing.T, reason string) audit.By {
	t.Helper()
	id, err := uuid.NewV7()
	must(t, err)
	return audit.By{Actor: "ann", Reason: reason, At: time.Now(), ID: id}
}

func activate(t *testing.T, s rollout.Store, name string, trial rollout.Trial) audit.ChangeFacts {
	t.Helper()
	c, err := rollout.Activate(t.Context(), s, bundle(name), trial, by(t, "activate "+name))
	must(t, err)
	return c
}

func tenth() rollout.Trial {
	return rollout.Trial{Mode: decision.Canary, Share: 1000, Margin: decision.Margin{Denials: 500, Errors: 100}}
}

// names are the names of a rollout's bundles, in order of what they do.
func names(t *testing.T, s rollout.Store, c audit.ChangeFacts) string {
	t.Helper()
	name := func(ref decision.BundleRef) string {
		packed, err := s.Archive(t.Context(), ref.Archive)
		must(t, err)
		b, err := archive.Open(packed)
		must(t, err)
		return b.Name
	}
	text := fmt.Sprintf("%d %s %s", c.Rollout.Version, c.Action, name(c.Rollout.Live))
	if c.Rollout.Mode != 0 {
		text += " " + name(c.Rollout.Candidate)
	}
	return text
}

func TestChanges(t *testing.T) {
	s := place(t)()
	if _, err := rollout.Newest(t.Context(), s); !errors.Is(err, rollout.ErrNone) {
		t.Errorf("a new store: %v", err)
	}
	for what, refused := range map[string]func() error{
		"a candidate beside nothing": func() error {
			_, err := rollout.Activate(t.Context(), s, bundle("a"), tenth(), by(t, "try"))
			return err
		},
		"back from nothing": func() error { _, err := rollout.Rollback(t.Context(), s, by(t, "back")); return err },
	} {
		if err := refused(); !errors.Is(err, rollout.ErrNone) {
			t.Errorf("%s: %v", what, err)
		}
	}
	activate(t, s, "a", rollout.Trial{})
	if _, err := rollout.Rollback(t.Context(), s, by(t, "back")); !errors.Is(err, rollout.ErrFirst) {
		t.Errorf("back from the first: %v", err)
	}
	for _, trial := range []rollout.Trial{{}, tenth()} {
		if _, err := rollout.Activate(t.Context(), s, bundle("a"), trial, by(t, "again")); !errors.Is(err, rollout.ErrLive) {
			t.Errorf("what is live again: %v", err)
		}
	}
	activate(t, s, "b", tenth())
	more := tenth()
	more.Share, more.Tenants = 5000, []string{"bolt", "acme"}
	if got, want := activate(t, s, "b", more).Rollout.Tenants, []string{"acme", "bolt"}; !cmp.Equal(got, want) {
		t.Errorf("tenants: %v", got)
	}
	for range 2 { // takes the candidate out; then there is nothing else before
		_, err := rollout.Rollback(t.Context(), s, by(t, "back"))
		if err != nil && !errors.Is(err, rollout.ErrFirst) {
			t.Error(err)
		}
	}
	activate(t, s, "b", rollout.Trial{})
	activate(t, s, "c", rollout.Trial{Mode: decision.Shadow})
	activate(t, s, "b", rollout.Trial{}) // what is live, without the candidate
	for range 2 {
		_, err := rollout.Rollback(t.Context(), s, by(t, "back"))
		must(t, err)
	}
	history, err := rollout.History(t.Context(), s, 100)
	must(t, err)
	var got []string
	for _, c := range history {
		got = append(got, names(t, s, c))
	}
	want := []string{"9 ROLLBACK b", "8 ROLLBACK a", "7 ACTIVATE b", "6 ACTIVATE b c", "5 ACTIVATE b",
		"4 ROLLBACK a", "3 ACTIVATE a b", "2 ACTIVATE a b", "1 ACTIVATE a"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
	if short, err := rollout.History(t.Context(), s, 2); err != nil || len(short) != 2 {
		t.Errorf("%d of 2 changes: %v", len(short), err)
	}
}

// A bundle that does not load, and a change without a reason, leave everything as
// it was.
func TestActivateRefuses(t *testing.T) {
	s := place(t)()
	activate(t, s, "a", rollout.Trial{})
	broken := fstest.MapFS{"writ.yaml": {Data: []byte("version: 1\nname: b\nextra: 1\n")}}
	if _, err := rollout.Activate(t.Context(), s, broken, rollout.Trial{}, by(t, "break")); err == nil || !strings.Contains(err.Error(), "writ.yaml:3:1") {
		t.Errorf("a broken bundle: %v", err)
	}
	for _, reason := range []string{"", "fine\x1b[2J"} {
		if _, err := rollout.Activate(t.Context(), s, bundle("b"), rollout.Trial{}, by(t, reason)); err == nil || !strings.Contains(err.Error(), "reason") {
			t.Errorf("the reason %q: %v", reason, err)
		}
	}
	newest, err := rollout.Newest(t.Context(), s)
	must(t, err)
	if newest.Rollout.Version != 1 {
		t.Errorf("the newest version is %d", newest.Rollout.Version)
	}
}

// replica is a follower that runs, with what it reported.
type replica struct {
	*rollout.Follower
	configured *decision.Bundle
	ahead      atomic.Int64 // of the time, in nanoseconds
}

func (r *replica) now() time.Time { return time.Now().Add(time.Duration(r.ahead.Load())) }

// later lets a minute pass.
func (r *replica) later() { r.ahead.Add(int64(time.Minute)) }

func follow(t *testing.T, s rollout.Store) *replica {
	t.Helper()
	r := &replica{configured: load(t, "configured")}
	var err error
	r.Follower, err = rollout.Follow(t.Context(), rollout.Config{
		Store: s, Configured: func() *decision.Bundle { return r.configured }, Actor: "replica",
		Now: r.now, Random: rand.Reader, Report: func(st rollout.Status) { t.Logf("%+v", st) },
	})
	must(t, err)
	return r
}

// run runs it until the end of the test or stop is called.
func (r *replica) run(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	return func() { cancel(); <-done }
}

func request(session string) *decision.Request {
	return &decision.Request{Caller: decision.Caller{Tenant: "acme"}, Session: session}
}

// What one activates is in force on every replica within a second, and so is the
// way back.
func TestReplicasFollow(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		open := func() *sqlite.Store {
			s, err := sqlite.Open(t.Context(), filepath.Join(dir, "writ.db"))
			must(t, err)
			return s
		}
		stores := []*sqlite.Store{open(), open(), open()}
		var replicas []*replica
		var stops []func()
		for _, s := range stores[:2] {
			r := follow(t, s)
			replicas, stops = append(replicas, r), append(stops, r.run(t))
		}
		decides := func(want string) {
			t.Helper()
			time.Sleep(time.Second)
			synctest.Wait()
			for i, r := range replicas {
				if got := r.Bundle(request("s")).Name; got != want {
					t.Errorf("replica %d decides by %s, want %s", i, got, want)
				}
				if err := r.Status().Err; err != nil {
					t.Errorf("replica %d: %v", i, err)
				}
			}
		}
		decides("configured")
		activate(t, stores[2], "a", rollout.Trial{})
		decides("a")
		activate(t, stores[2], "b", rollout.Trial{})
		decides("b")
		_, err := rollout.Rollback(t.Context(), stores[2], by(t, "back"))
		must(t, err)
		decides("a")
		for _, stop := range stops {
			stop()
		}
		for _, s := range stores {
			must(t, s.Close())
		}
	})
}

// racing shows each the newest version once all have asked for it.
type racing struct {
	*sqlite.Store
	met *sync.WaitGroup
}

func (r racing) Rollout(ctx context.Context, version int64) (audit.Row, error) {
	row, err := r.Store.Rollout(ctx, version)
	r.met.Done()
	r.met.Wait()
	return row, err
}

// Of two who activate at once, one does; the other is told so and has changed
// nothing.
func TestCompetingActivations(t *testing.T) {
	open := place(t)
	stores := []*sqlite.Store{open(), open()}
	activate(t, stores[0], "a", rollout.Trial{})
	for round := range 5 {
		results := make(chan error, 2)
		met := &sync.WaitGroup{}
		met.Add(len(stores))
		for i, s := range stores {
			go func() {
				_, err := rollout.Activate(t.Context(), racing{s, met}, bundle(fmt.Sprintf("b%d-%d", round, i)), rollout.Trial{}, by(t, "race"))
				results <- err
			}()
		}
		won := 0
		for range stores {
			err := <-results
			if err == nil {
				won++
			} else if !errors.Is(err, audit.ErrStale) || !strings.Contains(err.Error(), "somebody else made version") {
				t.Errorf("the other was told: %v", err)
			}
		}
		newest, err := rollout.Newest(t.Context(), stores[0])
		must(t, err)
		if won != 1 || newest.Rollout.Version != int64(round+2) {
			t.Errorf("%d of two won, the newest version is %d", won, newest.Rollout.Version)
		}
	}
}
