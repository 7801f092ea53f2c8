package postgres_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/store/postgres"
	"github.com/writpdp/writ/store/storetest"
	"github.com/writpdp/writ/test/pgtest"
)

// insistence is callers of two replicas, each of whom commits its entries one
// after the other, and asks again with the same entry for as long as it gets an
// error.
type insistence struct {
	stores   []*postgres.Store
	answered atomic.Int64
	wait     sync.WaitGroup
}

const (
	callers = 16
	each    = 20
)

func insist(t *testing.T, dsn string) *insistence {
	t.Helper()
	in := &insistence{stores: []*postgres.Store{openNew(t, dsn), openNew(t, dsn)}}
	for i := range uint64(callers) {
		in.wait.Go(func() {
			for j := range uint64(each) {
				in.commit(t, in.stores[(i+j)%2], storetest.Load(i*each+j, storetest.DayCalls))
			}
		})
	}
	return in
}

func (in *insistence) commit(t *testing.T, s *postgres.Store, e audit.Entry) {
	for t.Context().Err() == nil {
		receipt, err := s.Commit(t.Context(), e)
		switch {
		case err == nil && receipt.Prior != nil:
			t.Error("an entry was taken for another's replay")
		case errors.Is(err, audit.ErrStale), errors.Is(err, audit.ErrReused):
			t.Error(err)
		case err != nil:
			continue
		}
		in.answered.Add(1)
		return
	}
}

// finish holds that every entry was committed and applied once.
func (in *insistence) finish(t *testing.T) {
	t.Helper()
	in.wait.Wait()
	in.recovered(t)
	const n = callers * each
	if got, want := charged(t, in.stores[0]), int64(n); got != want {
		t.Errorf("the counter holds %d, want %d", got, want)
	}
	records, tokens := 0, 0
	err := errors.Join(
		in.stores[0].PendingRows(t.Context(), func(audit.Row) error { records++; return nil }),
		in.stores[0].UsedTokens(t.Context(), func(audit.UsedToken) error { tokens++; return nil }))
	if err != nil || records != n || tokens != n {
		t.Errorf("%d records and %d tokens, want %d: %v", records, tokens, n, err)
	}
	for _, s := range in.stores {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// recovered waits until the last harm is over: every connection that it broke has
// failed once.
func (in *insistence) recovered(t *testing.T) {
	t.Helper()
	var err error
	for fine, tries := 0, 0; fine < 50; tries++ {
		if err = in.stores[0].PendingRows(t.Context(), func(audit.Row) error { return nil }); err == nil {
			fine++
		} else if fine = 0; tries > 10_000 || t.Context().Err() != nil {
			t.Fatalf("the server does not recover: %v", err)
		}
	}
}

// meanwhile does harm, whenever another few entries were answered. harm tells
// whether it did any.
func (in *insistence) meanwhile(t *testing.T, few int64, harm func() bool) {
	t.Helper()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	harms := int64(0)
	for in.answered.Load() < callers*each && t.Context().Err() == nil {
		if in.answered.Load() >= harms*few && harm() {
			harms++
		}
		<-again.C
	}
	t.Logf("harmed %d times", harms)
	if harms == 0 {
		t.Error("no harm was done")
	}
}

// busy is a backend that works for a store; 0: none does just now.
const busy = `SELECT coalesce((SELECT pid FROM pg_stat_activity
	WHERE datname = current_database() AND application_name = 'writ' AND state <> 'idle' ORDER BY random() LIMIT 1), 0)`

// TestConnectionsAreTerminated terminates connections in mid-batch.
func TestConnectionsAreTerminated(t *testing.T) {
	dsn := pgtest.DSN(t)
	in := insist(t, dsn)
	saboteur := admin(t, dsn)
	in.meanwhile(t, 5, func() bool {
		var hit bool
		err := saboteur.QueryRow(t.Context(), "SELECT coalesce((SELECT pg_terminate_backend(pid) FROM ("+busy+") AS b (pid) WHERE pid > 0), false)").Scan(&hit)
		if err != nil {
			t.Error(err)
		}
		return hit
	})
	in.finish(t)
}

// TestTheServerCrashes kills backends in mid-batch, at which the whole server
// drops what is in its memory and recovers from its write-ahead log.
func TestTheServerCrashes(t *testing.T) {
	cluster, err := pgtest.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	}()
	in := insist(t, cluster.DSN)
	in.meanwhile(t, 60, func() bool {
		// The server may be recovering: then there is no harm to be done.
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		conn, err := pgx.Connect(ctx, cluster.DSN)
		if err != nil {
			return false
		}
		defer conn.Close(ctx)
		var pid int
		if err := conn.QueryRow(ctx, busy).Scan(&pid); err != nil || pid == 0 {
			return false
		}
		return syscall.Kill(pid, syscall.SIGKILL) == nil
	})
	in.finish(t)
}
