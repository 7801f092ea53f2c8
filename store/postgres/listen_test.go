package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/respond"
	"github.com/writpdp/writ/store/postgres"
	"github.com/writpdp/writ/store/storetest"
	"github.com/writpdp/writ/test/pgtest"
)

// ear is what a listener hears.
type ear struct {
	topics  chan postgres.Topic
	reports chan error
	stop    func() // ends it, and waits for that
}

func listen(t *testing.T, s *postgres.Store) *ear {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	e, ended := &ear{topics: make(chan postgres.Topic, 100), reports: make(chan error, 100)}, make(chan struct{})
	e.stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(e.stop)
	go func() {
		defer close(ended)
		s.Listen(ctx, func(topic postgres.Topic) { e.topics <- topic }, func(err error) { e.reports <- err })
	}()
	return e
}

// hears wants the next topics, in any order.
func (e *ear) hears(t *testing.T, want ...postgres.Topic) {
	t.Helper()
	got, missing := map[postgres.Topic]int{}, map[postgres.Topic]int{}
	for _, topic := range want {
		missing[topic]++
		select {
		case topic := <-e.topics:
			got[topic]++
		case <-time.After(30 * time.Second):
			t.Fatalf("heard only %v of %v", got, want)
		}
	}
	if diff := cmp.Diff(missing, got); diff != "" {
		t.Errorf("heard (-want +got):\n%s", diff)
	}
}

func setLock(t *testing.T, s respond.Store, id string) {
	t.Helper()
	now := time.Now()
	lock := decision.Lock{ID: id, Target: decision.Target{Kind: decision.OfAgent, Value: "agent"}, Effect: decision.LockDeny, Until: now.Add(time.Hour)}
	by := audit.By{Actor: "ann", Reason: "It runs wild.", At: now, ID: uuid.Must(uuid.NewV7())}
	if _, err := respond.Set(t.Context(), s, lock, by); err != nil {
		t.Fatal(err)
	}
}

// Who listens hears of changes by others, and of nothing else; again after its
// connection was lost, and then of what it may have missed.
func TestListen(t *testing.T) {
	dsn := pgtest.DSN(t)
	s := openNew(t, dsn)
	defer s.Close()
	other := openNew(t, dsn)
	defer other.Close()
	e := listen(t, s)
	e.hears(t, postgres.LocksChanged, postgres.RolloutChanged) // it begins to hear
	if _, err := other.Commit(t.Context(), storetest.Load(1, storetest.DayCalls)); err != nil {
		t.Fatal(err)
	}
	setLock(t, other, "a")
	e.hears(t, postgres.LocksChanged)
	conn := admin(t, dsn)
	execute(t, conn, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'writ-listener' AND datname = current_database()`)
	if err := <-e.reports; err == nil {
		t.Error("the loss is reported as no error")
	}
	if err := <-e.reports; err != nil {
		t.Errorf("hearing again is reported as %v", err)
	}
	e.hears(t, postgres.LocksChanged, postgres.RolloutChanged)
	setLock(t, other, "b")
	e.hears(t, postgres.LocksChanged)
	e.stop()
	if len(e.topics) > 0 || len(e.reports) > 0 {
		t.Errorf("%d more topics, %d more reports", len(e.topics), len(e.reports))
	}
}

// Where nobody can tell of changes, and where somebody can, a replica that follows
// the locks goes by them before what it knew is stale.
func TestLocksAreFollowed(t *testing.T) {
	for name, hints := range map[string]bool{"notified": true, "cut": false} {
		t.Run(name, func(t *testing.T) {
			dsn := pgtest.DSN(t)
			s := openNew(t, dsn)
			defer s.Close()
			other := openNew(t, dsn)
			defer other.Close()
			changed := make(chan int64, 100)
			f, err := respond.Follow(t.Context(), respond.Config{Store: s, Now: time.Now, Report: func(l decision.Control, err error) {
				if err == nil {
					changed <- l.Version
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan struct{}, 2)
			go func() {
				f.Run(ctx)
				ended <- struct{}{}
			}()
			defer func() {
				stop()
				<-ended
			}()
			if hints {
				ctx, stop := context.WithCancel(t.Context())
				go func() {
					s.Listen(ctx, func(postgres.Topic) { f.Hint() }, func(error) {})
					ended <- struct{}{}
				}()
				defer func() {
					stop()
					<-ended
				}()
			}
			for i, id := range []string{"a", "b", "c"} {
				began := time.Now()
				setLock(t, other, id)
				if got, want := <-changed, int64(i+1); got != want {
					t.Errorf("version %d, want %d", got, want)
				}
				if took := time.Since(began); took > respond.Fresh {
					t.Errorf("followed after %s", took)
				}
			}
		})
	}
}

// A change that is not committed is not told of.
func TestAChangeThatIsRefusedIsNotHeard(t *testing.T) {
	dsn := pgtest.DSN(t)
	s := openNew(t, dsn)
	defer s.Close()
	e := listen(t, s)
	e.hears(t, postgres.LocksChanged, postgres.RolloutChanged)
	setLock(t, s, "a")
	e.hears(t, postgres.LocksChanged)
	now := time.Now()
	entry, err := audit.Controlled(uuid.Must(uuid.NewV7()), audit.ControlFacts{At: now, Actor: "ann", Reason: "x", Control: decision.Control{Version: 1},
		Lock: decision.Lock{ID: "a", Target: decision.Target{Kind: decision.OfAgent, Value: "agent"}, Effect: decision.LockDeny, Until: now.Add(time.Hour), By: "ann", Reason: "x"}, Lifted: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), entry); !errors.Is(err, audit.ErrStale) {
		t.Fatalf("version 1 again: %v", err)
	}
	setLock(t, s, "b")
	e.hears(t, postgres.LocksChanged)
	e.stop()
	if len(e.topics) > 0 {
		t.Errorf("%d more topics", len(e.topics))
	}
}

// Where the database tells nothing, nobody listens.
func TestListenCompatible(t *testing.T) {
	dsn := pgtest.DSN(t)
	openNew(t, dsn).Close()
	if err := postgres.SetCompatible(t.Context(), dsn, true); err != nil {
		t.Fatal(err)
	}
	s := openNew(t, dsn)
	defer s.Close()
	s.Listen(t.Context(), func(postgres.Topic) { t.Error("a topic") }, func(error) { t.Error("a report") }) // it returns
}
