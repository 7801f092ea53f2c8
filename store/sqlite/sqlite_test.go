package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/writpdp/writ/store/sqlite"
	"github.com/writpdp/writ/store/storetest"
)

var _ storetest.Store = (*sqlite.Store)(nil)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() storetest.Store {
		path := filepath.Join(t.TempDir(), "data", "ledger.db")
		return func() storetest.Store {
			s, err := sqlite.Open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	})
}

func BenchmarkStore(b *testing.B) {
	storetest.Benchmark(b, func(b *testing.B) storetest.Store {
		s, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "ledger.db"))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			if err := s.Close(); err != nil {
				b.Error(err)
			}
		})
		return s
	})
}
