package postgres_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/postgres"
	"github.com/writpdp/writ/store/storetest"
	"github.com/writpdp/writ/test/pgtest"
)

func TestAnotherSchemaIsRefused(t *testing.T) {
	dsn := pgtest.DSN(t)
	if _, err := postgres.Open(t.Context(), dsn); err == nil || !strings.Contains(err.Error(), "version 0") {
		t.Errorf("an empty database: %v", err)
	}
	openNew(t, dsn).Close()
	execute(t, admin(t, dsn), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, true)")
	if _, err := postgres.Open(t.Context(), dsn); err == nil || !strings.Contains(err.Error(), "version 99") {
		t.Errorf("a newer schema: %v", err)
	}
}

func TestClock(t *testing.T) {
	s := openNew(t, pgtest.DSN(t))
	defer s.Close()
	before := time.Now()
	at, err := s.Clock(t.Context())
	if after := time.Now(); err != nil || at.Before(before.Add(-time.Second)) || at.After(after.Add(time.Second)) {
		t.Errorf("the clock of a server on this machine says %s between %s and %s: %v", at, before, after, err)
	}
}

func TestManyMigrateAtOnce(t *testing.T) {
	dsn := pgtest.DSN(t)
	var wait sync.WaitGroup
	for range 6 {
		wait.Go(func() {
			if err := postgres.Migrate(t.Context(), dsn); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if err := openNew(t, dsn).Close(); err != nil {
		t.Error(err)
	}
}

func TestADatabaseThatIsNotThere(t *testing.T) {
	for _, dsn := range []string{"", "postgres://writ:secret@127.0.0.1:1/none", "postgres://:secret@%zz"} {
		_, err := postgres.Open(t.Context(), dsn)
		if dsn != "" && err == nil {
			t.Errorf("%q: no error", dsn)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
}

func TestWhatIsGoneSurfaces(t *testing.T) {
	dsn := pgtest.DSN(t)
	s := openNew(t, dsn)
	defer s.Close()
	entries := make([]audit.Entry, 5)
	for i := range entries {
		entries[i] = storetest.Load(uint64(i), storetest.DayCalls)
		if _, err := s.Commit(t.Context(), entries[i]); err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			_, err := s.Seal(t.Context(), 10, func(last audit.Checkpoint, _ func(int, int64) ([]byte, error), rows []audit.Row) (audit.Extension, error) {
				return audit.Extension{Checkpoint: audit.Checkpoint{Size: int64(len(rows)), Note: []byte("note")}}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	// Of the sealed, record 1 is deleted and leaf 0 is; of those that wait,
	// record 3 is deleted and the mark of 4 is.
	conn := admin(t, dsn)
	execute(t, conn, "DELETE FROM record WHERE id IN ($1, $2)", entries[1].ID, entries[3].ID)
	execute(t, conn, "DELETE FROM leaf WHERE id = $1", entries[0].ID)
	execute(t, conn, "DELETE FROM pending WHERE id = $1", entries[4].ID)
	var got []string
	err := errors.Join(
		s.Leaves(t.Context(), -1<<63, 1<<63-1, func(l audit.Leaf) error {
			got = append(got, fmt.Sprintf("leaf %d %x %d", l.Index, l.ID, len(l.Body)))
			return nil
		}),
		s.PendingRows(t.Context(), func(r audit.Row) error {
			got = append(got, fmt.Sprintf("waits %x %d", r.ID, len(r.Body)))
			return nil
		}),
		s.Orphans(t.Context(), func(tenant string, id [16]byte) error {
			got = append(got, fmt.Sprintf("orphan %s %x", tenant, id))
			return nil
		}),
	)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		fmt.Sprintf("leaf 1 %x 0", entries[1].ID), fmt.Sprintf("leaf 2 %x 1536", entries[2].ID),
		fmt.Sprintf("waits %x 0", entries[3].ID),
		fmt.Sprintf("orphan acme %x", entries[0].ID), fmt.Sprintf("orphan acme %x", entries[4].ID),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// A token is not freed by its record's going.
	consumed := entries[1].Effects[0].(decision.Consume)
	facts, err := s.Snapshot(t.Context(), decision.Want{Tenant: "acme", Token: consumed.Token})
	if err != nil || !facts.TokenUsed {
		t.Errorf("the token is free: %v", err)
	}
}
