package postgres_test

import (
	"testing"

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
