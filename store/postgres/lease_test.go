package postgres_test

import (
	"context"
	"errors"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"
	"github.com/jackc/pgx/v5"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/lane"
	"github.com/writpdp/writ/store/postgres"
	"github.com/writpdp/writ/store/storetest"
	"github.com/writpdp/writ/test/pgtest"
)

// clock is one that stands until it is moved.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time           { return time.Unix(1_800_000_000, c.at.Load()) }
func (c *clock) advance(by time.Duration) { c.at.Add(int64(by)) }

// replicas are stores on one database whose keepers are paused: what they do about
// leases is what a test has them do.
type replicas struct {
	*testing.T
	dsn   string
	admin *pgx.Conn
	clock clock
	next  uint64 // of the entries
	sum   int64  // of what was charged
}

func newReplicas(t *testing.T) *replicas {
	r := &replicas{T: t, dsn: pgtest.DSN(t)}
	if err := postgres.Migrate(t.Context(), r.dsn); err != nil {
		t.Fatal(err)
	}
	r.admin = admin(t, r.dsn)
	// Who is alone leases nothing.
	execute(t, r.admin, "INSERT INTO lease_holder (id, told) VALUES ($1, 'infinity')", uuid.UUID{1})
	return r
}

// open opens a replica under a name of its connections.
func (r *replicas) open(name string) *postgres.Store {
	r.Helper()
	s, err := postgres.New(r.Context(), postgres.Config{DSN: r.dsn + "&application_name=" + url.QueryEscape(name), Now: r.clock.now})
	if err != nil {
		r.Fatal(err)
	}
	s.Pause()
	r.Cleanup(func() {
		if err := s.Close(); err != nil {
			r.Error(err)
		}
	})
	return s
}

// limit is the cap of the counter. A lease of it is 500 at most.
const limit = 100_000

// try commits an entry that charges so much.
func (r *replicas) try(s *postgres.Store, amount, limit int64) error {
	r.next++
	e := storetest.Load(r.next, storetest.DayCalls)
	e.Effects = []decision.Effect{decision.Charge{Key: storetest.DayCalls, Amount: amount, Cap: limit}}
	_, err := s.Commit(r.Context(), e)
	if err == nil {
		r.sum += amount
	}
	return err
}

func (r *replicas) charge(s *postgres.Store, amount int64) {
	r.Helper()
	if err := r.try(s, amount, limit); err != nil {
		r.Fatalf("charging %d: %v", amount, err)
	}
}

// lease has a replica charge until it has a lease.
func (r *replicas) lease(s *postgres.Store) int64 {
	r.Helper()
	for range 40 {
		r.charge(s, 5)
		if s.Tend(r.Context()); r.unspent(s) > 0 {
			return r.unspent(s)
		}
	}
	r.Fatal("a counter that is charged all the time is not leased")
	return 0
}

// unspent is what a replica has left of its lease.
func (r *replicas) unspent(s *postgres.Store) int64 {
	return r.number("SELECT coalesce(sum(unspent), 0)::bigint FROM lease WHERE holder = $1", uuid.UUID(s.Holder()))
}

func (r *replicas) number(text string, args ...any) (n int64) {
	r.Helper()
	if err := r.admin.QueryRow(r.Context(), text, args...).Scan(&n); err != nil {
		r.Fatal(err)
	}
	return n
}

// exact holds the counter against what was charged and is leased, and wants so
// many leases and holders.
func (r *replicas) exact(leases, holders int64) {
	r.Helper()
	used := r.number("SELECT used FROM budget_use WHERE budget = $1", storetest.DayCalls.Budget)
	if leased := r.number("SELECT coalesce(sum(unspent), 0)::bigint FROM lease"); used != r.sum+leased {
		r.Errorf("the counter holds %d; %d were charged and %d are leased", used, r.sum, leased)
	}
	if got := r.number("SELECT count(*) FROM lease"); got != leases {
		r.Errorf("%d leases, want %d", got, leases)
	}
	if got := r.number("SELECT count(*) FROM lease_holder WHERE told < 'infinity'"); got != holders {
		r.Errorf("%d holders, want %d", got, holders)
	}
}

// silence makes it long since a holder has told of itself.
func (r *replicas) silence(holder [16]byte) {
	r.Helper()
	execute(r.T, r.admin, "UPDATE lease_holder SET told = told - interval '1 minute' WHERE id = $1", uuid.UUID(holder))
}

// sees is what a decision of a replica sees as used.
func (r *replicas) sees(s *postgres.Store) int64 {
	r.Helper()
	return used(r.T, s)
}

func TestALeaseIsSpentWithoutTheCounter(t *testing.T) {
	r := newReplicas(t)
	s := r.open("one")
	left := r.lease(s)
	r.exact(1, 1)
	if got := r.sees(s); got != r.sum {
		t.Errorf("a decision sees %d used of %d that were charged", got, r.sum)
	}
	// Somebody holds the counter, and nobody waits.
	held := admin(t, r.dsn)
	execute(t, held, "BEGIN")
	execute(t, held, "SELECT used FROM budget_use FOR UPDATE")
	for range 10 {
		r.charge(s, 3)
	}
	execute(t, held, "ROLLBACK")
	if got, want := r.unspent(s), left-30; got != want {
		t.Errorf("the lease has %d left, want %d", got, want)
	}
	r.exact(1, 1)
	// A refund goes to the lease as well, though more than was spent of it.
	r.charge(s, -100)
	if got, want := r.unspent(s), left+70; got != want {
		t.Errorf("after a refund the lease has %d left, want %d", got, want)
	}
	r.exact(1, 1)
	if got := r.sees(s); got != r.sum {
		t.Errorf("a decision sees %d used of %d that were charged", got, r.sum)
	}
	// What it does not cover is counted on the counter.
	r.charge(s, 2000)
	r.exact(0, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r.exact(0, 0)
}

func TestLeasesAreReturned(t *testing.T) {
	for name, way := range map[string]func(r *replicas, s *postgres.Store){
		"idle":  func(r *replicas, s *postgres.Store) { r.clock.advance(lane.LeaseTerm); s.Tend(r.Context()) },
		"drain": func(r *replicas, s *postgres.Store) { _ = s.Close() },
		"another cap": func(r *replicas, s *postgres.Store) {
			if err := r.try(s, 1, limit/2); err != nil {
				r.Error(err)
			}
			r.charge(s, 1)
			r.clock.advance(lane.LeaseTerm)
			s.Tend(r.Context())
		},
		"alone": func(r *replicas, s *postgres.Store) {
			execute(r.T, r.admin, "DELETE FROM lease_holder WHERE told = 'infinity'")
			s.Tend(r.Context())
			r.charge(s, 1)
			r.clock.advance(lane.LeaseTerm)
			r.charge(s, 1)
		},
		"near the cap": func(r *replicas, s *postgres.Store) { r.charge(s, limit-r.sum-10) },
		"another window": func(r *replicas, s *postgres.Store) {
			tomorrow := storetest.DayCalls
			tomorrow.Start += 86400
			r.next++
			if _, err := s.Commit(r.Context(), storetest.Load(r.next, tomorrow)); err != nil {
				r.Error(err)
			}
			r.clock.advance(2 * lane.LeaseTerm)
			s.Tend(r.Context())
		},
		"silence": func(r *replicas, s *postgres.Store) {
			r.silence(s.Holder())
			r.open("two").Tend(r.Context())
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReplicas(t)
			s := r.open("one")
			r.lease(s)
			way(r, s)
			if got := r.number("SELECT used FROM budget_use WHERE budget = $1 AND window_start = to_timestamp($2)",
				storetest.DayCalls.Budget, storetest.DayCalls.Start); got != r.sum {
				t.Errorf("the counter holds %d, %d were charged", got, r.sum)
			}
			if got := r.number("SELECT count(*) FROM lease"); got != 0 {
				t.Errorf("%d leases are left", got)
			}
		})
	}
}

// A process that is killed returns nothing. Others do it for it, however many of
// them at once, when it is silent.
func TestAHolderIsKilled(t *testing.T) {
	r := newReplicas(t)
	killed, others := r.open("killed"), []*postgres.Store{r.open("two"), r.open("three")}
	r.lease(killed)
	r.lease(others[0])
	execute(t, r.admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'killed'")
	others[0].Tend(t.Context())
	r.exact(2, 2) // it may be slow
	r.silence(killed.Holder())
	var wait sync.WaitGroup
	for range 3 {
		for _, s := range others {
			wait.Go(func() { s.Tend(t.Context()) })
		}
	}
	wait.Wait()
	r.exact(1, 1)
	if got := r.unspent(killed); got != 0 {
		t.Errorf("the killed holder still has %d", got)
	}
}

// A holder that was only slow finds that it is none any more, in its next batch,
// which counts on the counter.
func TestAHolderWasPaused(t *testing.T) {
	r := newReplicas(t)
	paused, other := r.open("paused"), r.open("other")
	r.lease(paused)
	before := paused.Holder()
	r.silence(before)
	other.Tend(t.Context())
	r.exact(0, 0)
	if got := paused.Holder(); got != before {
		t.Fatal("it was told")
	}
	r.charge(paused, 5)
	r.exact(0, 0)
	if got := paused.Holder(); got != [16]byte{} {
		t.Errorf("it still is the holder %x", got)
	}
	// Then it is a new one.
	r.lease(paused)
	if got := paused.Holder(); got == before || got == [16]byte{} {
		t.Errorf("it is the holder %x again", got)
	}
	r.exact(1, 1)
}

// A batch that is under way is waited for, and not waited with: the fence takes
// the leases once it is through.
func TestAFenceWaitsForABatch(t *testing.T) {
	r := newReplicas(t)
	silent, other := r.open("silent"), r.open("other")
	r.lease(silent)
	batch := admin(t, r.dsn)
	execute(t, batch, "BEGIN")
	execute(t, batch, "SELECT id FROM lease_holder FOR KEY SHARE")
	r.silence(silent.Holder()) // a heartbeat waits for no batch, nor this
	other.Tend(t.Context())
	r.exact(1, 1)
	execute(t, batch, "UPDATE lease SET unspent = unspent - 7")
	execute(t, batch, "COMMIT")
	r.sum += 7
	other.Tend(t.Context())
	r.exact(0, 0)
}

// What others have leased is no room, so a decision denies and does not go round in
// circles; what they do not need comes back.
func TestOthersLeasesAreNoRoom(t *testing.T) {
	r := newReplicas(t)
	one, two := r.open("one"), r.open("two")
	left := r.lease(one)
	r.charge(two, limit-r.sum-left)
	if got := r.sees(two); got != limit {
		t.Errorf("a decision sees %d used of %d", got, limit)
	}
	if err := r.try(two, 1, limit); !errors.Is(err, audit.ErrStale) {
		t.Errorf("got %v, want %v", err, audit.ErrStale)
	}
	if got := r.sees(two); got != limit {
		t.Errorf("a decision sees %d used of %d", got, limit)
	}
	if got := r.sees(one); got != limit-left {
		t.Errorf("the holder's decision sees %d used, want %d", got, limit-left)
	}
	r.charge(one, left/2)
	r.clock.advance(lane.LeaseTerm)
	one.Tend(t.Context())
	r.exact(0, 1)
	r.charge(two, limit-r.sum)
	if err := r.try(one, 1, limit); !errors.Is(err, audit.ErrStale) || r.sum != limit {
		t.Errorf("%d of %d are charged, and then: %v", r.sum, limit, err)
	}
}

// A store becomes a holder, returns what is idle and ends being one by itself.
func TestAStoreLooksAfterItsLeases(t *testing.T) {
	r := newReplicas(t)
	s, err := postgres.New(t.Context(), postgres.Config{DSN: r.dsn, Now: r.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	for r.number("SELECT count(*) FROM lease") == 0 && t.Context().Err() == nil {
		r.charge(s, 1)
	}
	r.exact(1, 1)
	r.clock.advance(lane.LeaseTerm)
	await(t, r.admin, "the lease to be returned", "SELECT count(*) = 0 FROM lease")
	r.exact(0, 1)
	r.clock.advance(time.Minute)
	await(t, r.admin, "the holder to leave", "SELECT count(*) = 1 FROM lease_holder")
	r.exact(0, 0)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// spree is callers of several replicas that charge one counter until each is denied
// for good.
type spree struct {
	*testing.T
	conn          *pgx.Conn
	limit         int64
	charged, next atomic.Int64
	wait          sync.WaitGroup
}

func newSpree(t *testing.T, limit int64) (*spree, string) {
	dsn := pgtest.DSN(t)
	openNew(t, dsn).Close()
	return &spree{T: t, conn: admin(t, dsn), limit: limit}, dsn
}

func (sp *spree) charge(s *postgres.Store, amount int64) error {
	e := storetest.Load(uint64(sp.next.Add(1)), storetest.DayCalls)
	e.Effects = []decision.Effect{decision.Charge{Key: storetest.DayCalls, Amount: amount, Cap: sp.limit}}
	_, err := s.Commit(sp.Context(), e)
	if err == nil {
		sp.charged.Add(amount)
	}
	return err
}

// start has four callers charge through a replica, one by one.
func (sp *spree) start(s *postgres.Store) {
	for range 4 {
		sp.wait.Go(func() {
			for sp.Context().Err() == nil {
				if err := sp.charge(s, 1); err != nil && !errors.Is(err, audit.ErrStale) {
					sp.Errorf("committing: %v", err)
					return
				} else if err != nil && used(sp.T, s)+1 > sp.limit {
					return // denied
				}
			}
		})
	}
}

// audit holds at one moment what is charged against the records, of which each
// charges one.
func (sp *spree) audit() {
	var charged, records int64
	err := sp.conn.QueryRow(sp.Context(), `SELECT coalesce((SELECT sum(used) FROM budget_use), 0)::bigint
		- coalesce((SELECT sum(unspent) FROM lease), 0)::bigint, (SELECT count(*) FROM pending)`).Scan(&charged, &records)
	if err != nil || charged != records || charged > sp.limit {
		sp.Errorf("%d are charged, of at most %d, by %d records: %v", charged, sp.limit, records, err)
	}
}

// until has something done at times until all callers are denied.
func (sp *spree) until(what func()) {
	done, again := make(chan struct{}), time.NewTicker(20*time.Millisecond)
	defer again.Stop()
	go func() {
		defer close(done)
		sp.wait.Wait()
	}()
	for {
		select {
		case <-done:
			return
		case <-again.C:
			what()
		}
	}
}

// finish charges what is left, and holds that it comes to exactly the cap.
func (sp *spree) finish(s *postgres.Store) {
	sp.Helper()
	before := sp.charged.Load()
	if before > sp.limit {
		sp.Errorf("%d of %d are charged", before, sp.limit)
	}
	for sp.charged.Load() < sp.limit {
		if err := sp.charge(s, 1); err != nil {
			sp.Fatalf("%d of %d are charged: %v", sp.charged.Load(), sp.limit, err)
		}
	}
	if got, want := charged(sp.T, s), sp.limit; got != want {
		sp.Errorf("the counter holds %d, want %d", got, want)
	}
	sp.Logf("%d of %d were charged before all were denied", before, sp.limit)
}

// Three replicas, which look after their leases themselves, exhaust a budget:
// exactly the cap is charged, and nothing is left lying.
func TestReplicasExhaustABudget(t *testing.T) {
	sp, dsn := newSpree(t, 6000)
	var last *postgres.Store
	for range 3 {
		s, err := postgres.Open(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		sp.start(s)
		last = s
	}
	sp.until(sp.audit)
	await(t, sp.conn, "idle leases to be returned", "SELECT count(*) = 0 FROM lease")
	sp.finish(last)
}

// Replicas charge a budget while somebody makes them seem silent all the time, so
// that they fence each other in mid-batch. How often that happens is the machine's
// affair: it goes on until it has.
func TestReplicasFenceEachOther(t *testing.T) {
	const base = 4 // three, and nobody
	fenced := 0
	for round := 0; fenced < 2 && round < 20; round++ {
		fenced += fenceEachOther(t) - base
	}
	if fenced < 2 {
		t.Errorf("%d were fenced", fenced)
	}
}

// fenceEachOther has three replicas exhaust a budget, and tells how many holders there
// were.
func fenceEachOther(t *testing.T) int {
	t.Helper()
	sp, dsn := newSpree(t, 12_000)
	charging, stop := context.WithCancel(t.Context())
	var tending sync.WaitGroup
	var holders sync.Map
	var stores []*postgres.Store
	for range 3 {
		s, err := postgres.Open(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		s.Pause()
		stores = append(stores, s)
		tending.Go(func() {
			for charging.Err() == nil {
				s.Tend(t.Context())
				holders.Store(s.Holder(), true)
			}
		})
		sp.start(s)
	}
	sp.until(func() {
		sp.audit()
		execute(t, sp.conn, "UPDATE lease_holder SET told = told - interval '1 minute' WHERE EXISTS (SELECT FROM lease)")
	})
	stop()
	tending.Wait()
	different := 0
	holders.Range(func(any, any) bool { different++; return true })
	for _, s := range stores[1:] {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	sp.finish(stores[0])
	if err := stores[0].Close(); err != nil {
		t.Error(err)
	}
	return different
}

// A store returns its lease again and again while its batches charge it.
func TestLeasesAreReturnedInMidBatch(t *testing.T) {
	sp, dsn := newSpree(t, 12_000)
	execute(t, sp.conn, "INSERT INTO lease_holder (id, told) VALUES ($1, 'infinity')", uuid.UUID{1})
	var c clock
	s, err := postgres.New(t.Context(), postgres.Config{DSN: dsn, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	s.Pause()
	charging, stop := context.WithCancel(t.Context())
	var tending sync.WaitGroup
	tending.Go(func() {
		for seen := int64(0); charging.Err() == nil; s.Tend(t.Context()) {
			if n := sp.next.Load(); n >= seen+200 { // in a second
				seen = n
				c.advance(lane.LeaseTerm)
			}
		}
	})
	sp.start(s)
	sp.until(sp.audit)
	stop()
	tending.Wait()
	sp.finish(s)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
