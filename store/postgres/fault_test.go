package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"
	"github.com/jackc/pgx/v5"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/postgres"
	"github.com/writpdp/writ/store/storetest"
	"github.com/writpdp/writ/test/pgtest"
)

func admin(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func execute(t *testing.T, conn *pgx.Conn, text string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), text, args...); err != nil {
		t.Fatal(err)
	}
}

// used is what a decision of a store sees as used of the day's calls.
func used(t *testing.T, s *postgres.Store) int64 {
	t.Helper()
	facts, err := s.Snapshot(t.Context(), decision.Want{Tenant: "acme", Budgets: []decision.BudgetKey{storetest.DayCalls}})
	if err != nil {
		t.Fatal(err)
	}
	return facts.Used[storetest.DayCalls]
}

// charged is what is charged to all counters, leases aside.
func charged(t *testing.T, s *postgres.Store) (sum int64) {
	t.Helper()
	err := s.Uses(t.Context(), func(u audit.Use) error {
		sum += u.Used - u.Leased
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// cutter passes connections on to a server. Once armed, it drops the next answer
// to a COMMIT, and the connection with it.
type cutter struct {
	net.Listener
	server string
	gone   atomic.Bool // turns everybody away
	armed  atomic.Bool
	cut    atomic.Int64
}

func newCutter(t *testing.T, server string) *cutter {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{Listener: listener, server: server}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go c.pass(client)
		}
	}()
	return c
}

func (c *cutter) pass(client net.Conn) {
	defer client.Close()
	if c.gone.Load() {
		return
	}
	server, err := net.Dial("tcp", c.server)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := server.Read(buffer)
		if bytes.Contains(buffer[:n], []byte("COMMIT\x00")) && c.armed.CompareAndSwap(true, false) {
			c.cut.Add(1)
			return
		}
		if n > 0 {
			if _, err := client.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// TestTheAnswerToACommitIsLost loses the server's answer to a commit that has
// happened: the entry is found as its own, and applied once.
func TestTheAnswerToACommitIsLost(t *testing.T) {
	dsn := pgtest.DSN(t)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	proxy := newCutter(t, u.Host)
	openNew(t, dsn).Close()
	u.Host = proxy.Addr().String()
	s, err := postgres.Open(t.Context(), u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const n = 10
	for i := range uint64(n) {
		proxy.armed.Store(true)
		e := storetest.Load(i, storetest.DayCalls)
		receipt, err := s.Commit(t.Context(), e)
		if err != nil || receipt.Prior != nil {
			t.Fatalf("commit %d: replayed: %v, %v", i, receipt.Prior != nil, err)
		}
		retry := e
		retry.ID[0]++
		if receipt, err = s.Commit(t.Context(), retry); err != nil || !bytes.Equal(receipt.Prior, e.Body) {
			t.Errorf("the retry of %d: %v", i, err)
		}
	}
	if got, want := proxy.cut.Load(), int64(n); got != want {
		t.Errorf("%d answers were cut off, want %d", got, want)
	}
	if got, want := used(t, s), int64(n); got != want {
		t.Errorf("the counter holds %d, want %d", got, want)
	}
}

// await polls until a query's one boolean is true.
func await(t *testing.T, conn *pgx.Conn, what, text string, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		var done bool
		if err := conn.QueryRow(ctx, text, args...).Scan(&done); err != nil {
			t.Fatalf("waiting for %s: %v", what, err)
		}
		if done {
			return
		}
		<-again.C
	}
}

// alone starts a server whose synchronous standby is not there, whatever a
// connection string says. with has it come, and the server commit alone.
func alone(t *testing.T) (s *postgres.Store, conn *pgx.Conn, dsn string, with func(standby bool)) {
	t.Helper()
	cluster, err := pgtest.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	conn = admin(t, cluster.DSN)
	// A connection string cannot weaken the commit.
	s = openNew(t, cluster.DSN+"&synchronous_commit=off")
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	execute(t, conn, "SET synchronous_commit = local")
	with = func(standby bool) {
		t.Helper()
		wanted := "nobody"
		if standby {
			wanted = ""
		}
		execute(t, conn, "ALTER SYSTEM SET synchronous_standby_names = '"+wanted+"'")
		execute(t, conn, "SELECT pg_reload_conf()")
		await(t, conn, "the standby's name", "SELECT current_setting('synchronous_standby_names') = $1", wanted)
	}
	return s, conn, cluster.DSN, with
}

// waiting are the commits that wait for the standby.
const waiting = "FROM pg_stat_activity WHERE application_name = 'writ' AND wait_event = 'SyncRep' AND query NOT LIKE '%lease_holder%'"

// TestTheWaitForTheStandbyIsCancelled has a synchronous standby that is not
// there, and an operator who cancels the wait for it. The record is visible on
// the primary then, and is still not answered: not before the standby has it. A
// retry that has nothing left to write, and no counter to lock, waits as well.
func TestTheWaitForTheStandbyIsCancelled(t *testing.T) {
	s, conn, dsn, with := alone(t)
	charged, plain := storetest.Load(1, storetest.DayCalls), storetest.Load(2, storetest.DayCalls)
	plain.Effects = nil
	for i, e := range []audit.Entry{charged, plain} {
		with(false)
		answer := make(chan error, 1)
		go func() {
			receipt, err := s.Commit(t.Context(), e)
			if receipt.Prior != nil {
				err = errors.Join(err, errors.New("a replay"))
			}
			answer <- err
		}()
		for range 2 {
			await(t, conn, "a commit that waits", "SELECT count(*) = 1 "+waiting)
			var backend int
			if err := conn.QueryRow(t.Context(), "SELECT pid "+waiting).Scan(&backend); err != nil {
				t.Fatal(err)
			}
			execute(t, conn, "SELECT pg_cancel_backend($1)", backend)
			await(t, conn, "the record to be visible", "SELECT count(*) = $1 FROM record", i+1)
			// The store tries again, on another connection, and waits again.
			await(t, conn, "another wait", "SELECT count(*) = 1 "+waiting+" AND pid <> $1", backend)
		}
		select {
		case err := <-answer:
			t.Fatalf("answered without the standby: %v", err)
		default:
		}
		with(true)
		if err := <-answer; err != nil {
			t.Errorf("with the standby: %v", err)
		}
	}
	if got, want := used(t, s), int64(1); got != want {
		t.Errorf("the counter holds %d, want %d", got, want)
	}
	// And a server that may forget is refused.
	execute(t, conn, "ALTER SYSTEM SET fsync = off")
	execute(t, conn, "SELECT pg_reload_conf()")
	await(t, conn, "fsync to be off", "SELECT current_setting('fsync') = 'off'")
	if _, err := postgres.Open(t.Context(), dsn); err == nil || !strings.Contains(err.Error(), "fsync") {
		t.Errorf("opening with fsync off: %v", err)
	}
}

// TestACallerDoesNotWaitForTheStandby has callers leave while their commit waits
// for the standby. Nobody cancels the wait for that: cancelled, the commit would be
// visible to all, and the standby would not have it.
func TestACallerDoesNotWaitForTheStandby(t *testing.T) {
	s, conn, _, with := alone(t)
	with(false)
	e := storetest.Load(1, storetest.DayCalls)
	soon, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	first := make(chan int, 1)
	go func() {
		await(t, conn, "a commit that waits", "SELECT count(*) = 1 "+waiting)
		var backend int
		if err := conn.QueryRow(t.Context(), "SELECT pid "+waiting).Scan(&backend); err != nil {
			t.Error(err)
		}
		first <- backend
	}()
	if _, err := s.Commit(soon, e); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
	backend := <-first
	var still bool
	var visible int
	err := conn.QueryRow(t.Context(), "SELECT count(*) = 1 "+waiting+" AND pid = $1", backend).Scan(&still)
	if err == nil {
		err = conn.QueryRow(t.Context(), "SELECT count(*) FROM record").Scan(&visible)
	}
	if err != nil || !still || visible != 0 {
		t.Errorf("the commit still waits: %t, records to be seen: %d (%v)", still, visible, err)
	}
	with(true)
	if receipt, err := s.Commit(t.Context(), e); err != nil || receipt.Prior != nil {
		t.Errorf("again: replayed: %t, %v", receipt.Prior != nil, err)
	}
	if got, want := used(t, s), int64(1); got != want {
		t.Errorf("the counter holds %d, want %d", got, want)
	}
}

// TestAChangeOfTheLocksWaits changes the locks while a decision is being committed
// that has read the version before: the change waits until it is.
func TestAChangeOfTheLocksWaits(t *testing.T) {
	dsn := pgtest.DSN(t)
	s := openNew(t, dsn)
	defer s.Close()
	deciding, conn := admin(t, dsn), admin(t, dsn)
	execute(t, deciding, "BEGIN")
	execute(t, deciding, "SELECT one FROM lock_fence")
	lock := decision.Lock{ID: "L", Effect: decision.LockDeny, Until: time.Now().Add(time.Hour), By: "ann", Reason: "It runs wild."}
	e, err := audit.Controlled([16]byte(uuid.Must(uuid.NewV7())), audit.ControlFacts{At: time.Now().UTC().Truncate(time.Microsecond), Actor: "ann", Lock: lock,
		Reason: lock.Reason, Control: decision.Control{Version: 1, Locks: []decision.Lock{lock}}})
	if err != nil {
		t.Fatal(err)
	}
	answer := make(chan error, 1)
	go func() {
		_, err := s.Commit(t.Context(), e)
		answer <- err
	}()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for waits := false; !waits; {
		select {
		case err := <-answer:
			t.Fatalf("the locks were changed while a decision by those before was under way: %v", err)
		case <-again.C:
		}
		err := conn.QueryRow(t.Context(), `SELECT EXISTS (SELECT 1 FROM pg_locks WHERE relation = 'lock_fence'::regclass AND NOT granted)`).Scan(&waits)
		if err != nil {
			t.Fatal(err)
		}
	}
	execute(t, deciding, "COMMIT")
	if err := <-answer; err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestACounterIsHeldElsewhere commits against a lock that somebody holds: the
// caller leaves in time, and later the same entry goes through, once.
func TestACounterIsHeldElsewhere(t *testing.T) {
	dsn := pgtest.DSN(t)
	s := openNew(t, dsn)
	defer s.Close()
	if _, err := s.Commit(t.Context(), storetest.Load(1, storetest.DayCalls)); err != nil {
		t.Fatal(err)
	}
	holder := admin(t, dsn)
	execute(t, holder, "BEGIN")
	execute(t, holder, "SELECT used FROM budget_use FOR UPDATE")
	soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	e := storetest.Load(2, storetest.DayCalls)
	if _, err := s.Commit(soon, e); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
	execute(t, holder, "ROLLBACK")
	if receipt, err := s.Commit(t.Context(), e); err != nil || receipt.Prior != nil {
		t.Errorf("again: replayed: %v, %v", receipt.Prior != nil, err)
	}
	if got, want := used(t, s), int64(2); got != want {
		t.Errorf("the counter holds %d, want %d", got, want)
	}
}

// TestNobodyIsThere has a server that does not answer: callers get an error, and
// soon, that is none of a guard's.
func TestNobodyIsThere(t *testing.T) {
	dsn := pgtest.DSN(t)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	proxy := newCutter(t, u.Host)
	openNew(t, dsn).Close()
	u.Host = proxy.Addr().String()
	s, err := postgres.Open(t.Context(), u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	proxy.gone.Store(true)
	execute(t, admin(t, dsn), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	_, err = s.Commit(t.Context(), storetest.Load(1, storetest.DayCalls))
	if err == nil || errors.Is(err, audit.ErrStale) || errors.Is(err, audit.ErrReused) || errors.Is(err, audit.ErrFull) {
		t.Errorf("got %v, want another error", err)
	}
	if got := fmt.Sprint(err); strings.Contains(got, "acme") {
		t.Errorf("the error tells of the record: %s", got)
	}
}
