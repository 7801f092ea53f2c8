package postgres_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/store/lane"
	"github.com/writpdp/writ/store/postgres"
	"github.com/writpdp/writ/store/storetest"
	"github.com/writpdp/writ/test/pgtest"
)

func pair(t *testing.T) *pgtest.Pair {
	t.Helper()
	p, err := pgtest.StartPair(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// The primary is lost under load, and the standby takes its place: commits go on
// there, every one that was answered is there, once, and who listens hears again.
func TestFailover(t *testing.T) {
	p := pair(t)
	if err := postgres.CheckServed(t.Context(), p.DSN, false); err != nil {
		t.Errorf("with a synchronous standby: %v", err)
	}
	in := insist(t, p.DSN)
	e := listen(t, in.stores[0])
	e.hears(t, postgres.LocksChanged, postgres.RolloutChanged)
	over := false
	in.meanwhile(t, 100, func() bool {
		if over {
			return false
		}
		over = true
		if err := errors.Join(p.StopPrimary(), p.Promote(t.Context())); err != nil {
			t.Error(err)
		}
		return true
	})
	if err := <-e.reports; err == nil {
		t.Error("the loss is reported as no error")
	}
	if err := <-e.reports; err != nil {
		t.Errorf("hearing again is reported as %v", err)
	}
	e.hears(t, postgres.LocksChanged, postgres.RolloutChanged)
	in.finish(t)
	other := openNew(t, p.DSN)
	defer other.Close()
	setLock(t, other, "a")
	e.hears(t, postgres.LocksChanged)
}

// Without a synchronous standby a failover loses what was answered: the server is
// refused where several hosts are named, unless that is accepted.
func TestFailoverThatLoses(t *testing.T) {
	p := pair(t)
	primary, standby := admin(t, p.Primary.DSN), admin(t, p.Standby.DSN)
	execute(t, primary, "ALTER SYSTEM RESET synchronous_standby_names")
	execute(t, primary, "SELECT pg_reload_conf()")
	await(t, primary, "no synchronous standby", "SELECT current_setting('synchronous_standby_names') = ''")
	err := postgres.CheckServed(t.Context(), p.DSN, false)
	if err == nil || !strings.Contains(err.Error(), "failover: 2 hosts are named") {
		t.Errorf("several hosts and no synchronous standby: %v", err)
	}
	if err := postgres.CheckServed(t.Context(), p.DSN, true); err != nil {
		t.Errorf("the same, accepted: %v", err)
	}
	if err := postgres.CheckServed(t.Context(), p.Primary.DSN, false); err != nil {
		t.Errorf("one host, which does not fail over: %v", err)
	}
	s := openNew(t, p.DSN)
	defer s.Close()
	if _, err := s.Commit(t.Context(), storetest.Load(1, storetest.DayCalls)); err != nil {
		t.Fatal(err)
	}
	await(t, standby, "the first record", "SELECT count(*) = 1 FROM record")
	// The standby falls behind.
	execute(t, standby, "ALTER SYSTEM SET primary_conninfo = ''")
	execute(t, standby, "SELECT pg_reload_conf()")
	await(t, primary, "a standby that is cut off", "SELECT count(*) = 0 FROM pg_stat_replication")
	if _, err := s.Commit(t.Context(), storetest.Load(2, storetest.DayCalls)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.StopPrimary(), p.Promote(t.Context())); err != nil {
		t.Fatal(err)
	}
	for ctx := t.Context(); ; { // the first attempts may meet what is left of the old connections
		if _, err := s.Commit(ctx, storetest.Load(3, storetest.DayCalls)); err == nil || ctx.Err() != nil {
			break
		}
	}
	var got [][16]byte
	if err := s.PendingRows(t.Context(), func(r audit.Row) error { got = append(got, r.ID); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 {
		t.Errorf("%d records: the one that the standby did not have was to be lost", len(got))
	}
}

// A standby alone, and a server that is set to take no writes, are told of.
func TestReadOnly(t *testing.T) {
	p := pair(t)
	if _, err := postgres.Open(t.Context(), p.Standby.DSN); err == nil || !strings.Contains(err.Error(), "read only") {
		t.Errorf("opening a standby: %v", err)
	}
	if err := postgres.CheckServed(t.Context(), p.Standby.DSN, false); err == nil || !strings.Contains(err.Error(), "a standby, which takes no writes") {
		t.Errorf("serving from a standby: %v", err)
	}
	openNew(t, p.DSN).Close()
	if grades, says := examined(t, p.Standby.DSN+"&application_name=doctor", time.Now); grades["primary"] != lane.Bad {
		t.Errorf("a standby is %s: %s", grades["primary"], says["primary"])
	}
	s := openNew(t, p.Primary.DSN)
	defer s.Close()
	conn := admin(t, p.Primary.DSN)
	if _, err := s.Commit(t.Context(), storetest.Load(1, storetest.DayCalls)); err != nil {
		t.Fatal(err)
	}
	execute(t, conn, "ALTER SYSTEM SET default_transaction_read_only = on")
	execute(t, conn, "SELECT pg_reload_conf()")
	await(t, conn, "a server that takes no writes", "SELECT current_setting('default_transaction_read_only') = 'on'")
	// Sessions learn of it one by one, when they are next used.
	for i := uint64(2); ; i++ {
		if _, err := s.Commit(t.Context(), storetest.Load(i, storetest.DayCalls)); err != nil {
			break
		}
	}
	if err := postgres.CheckServed(t.Context(), p.Primary.DSN, false); err == nil || !strings.Contains(err.Error(), "it is set to take no writes") {
		t.Errorf("serving from it: %v", err)
	}
	execute(t, conn, "SET default_transaction_read_only = off")
	execute(t, conn, "ALTER SYSTEM RESET default_transaction_read_only")
	execute(t, conn, "SELECT pg_reload_conf()")
	for t.Context().Err() == nil {
		if _, err := s.Commit(t.Context(), storetest.Load(1000, storetest.DayCalls)); err == nil {
			return
		}
	}
}
