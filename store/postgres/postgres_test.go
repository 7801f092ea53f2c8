package postgres_test

import (
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/writpdp/writ/store/postgres"
	"github.com/writpdp/writ/store/storetest"
	"github.com/writpdp/writ/test/pgtest"
)

var _ storetest.Store = (*postgres.Store)(nil)

// The suite runs with no more rights than serving takes.
func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() storetest.Store {
		dsn := pgtest.DSN(t)
		if err := postgres.Migrate(t.Context(), dsn); err != nil {
			t.Fatal(err)
		}
		served := servedBy(t, dsn)
		return func() storetest.Store {
			s, err := postgres.Open(t.Context(), served)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	})
}

// The suite runs on a database that may be asked neither for notifications nor for
// locks of its own making, on tables or numbers.
func TestStoreCompatible(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() storetest.Store {
		dsn := pgtest.DSN(t)
		if err := postgres.Migrate(t.Context(), dsn); err != nil {
			t.Fatal(err)
		}
		if err := postgres.SetCompatible(t.Context(), dsn, true); err != nil {
			t.Fatal(err)
		}
		served := servedBy(t, dsn)
		u, err := url.Parse(served)
		if err != nil {
			t.Fatal(err)
		}
		conn := admin(t, dsn)
		execute(t, conn, `REVOKE EXECUTE ON FUNCTION pg_notify(text, text), pg_advisory_lock(bigint), pg_try_advisory_lock(bigint),
			pg_advisory_xact_lock(bigint), pg_try_advisory_xact_lock(bigint) FROM PUBLIC`)
		// To lock a row takes the right to change one column, to lock the table that
		// to change all.
		role := pgx.Identifier{u.User.Username()}.Sanitize()
		execute(t, conn, `REVOKE UPDATE ON lock_fence FROM `+role)
		execute(t, conn, `GRANT UPDATE (one) ON lock_fence TO `+role)
		for _, text := range []string{`SELECT pg_notify('writ_locks', '')`, `LOCK TABLE lock_fence IN ACCESS EXCLUSIVE MODE`} {
			if _, err := admin(t, served).Exec(t.Context(), text); err == nil {
				t.Errorf("%s is not refused", text)
			}
		}
		return func() storetest.Store {
			s, err := postgres.Open(t.Context(), served)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	})
}

func BenchmarkStore(b *testing.B) {
	storetest.Benchmark(b, func(b *testing.B) storetest.Store {
		s := openNew(b, pgtest.DSN(b))
		b.Cleanup(func() {
			if err := s.Close(); err != nil {
				b.Error(err)
			}
		})
		return s
	})
}

// openNew migrates an empty database and opens it.
func openNew(t testing.TB, dsn string) *postgres.Store {
	t.Helper()
	if err := postgres.Migrate(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	s, err := postgres.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
