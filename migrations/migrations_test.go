package migrations_test

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/writpdp/writ/migrations"
)

func TestBothEnginesAreAtTheSameVersion(t *testing.T) {
	postgres, err := migrations.Latest(migrations.Postgres())
	if err != nil {
		t.Fatal(err)
	}
	sqlite, err := migrations.Latest(migrations.SQLite())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := sqlite, postgres; got != want {
		t.Errorf("SQLite is at %d, PostgreSQL at %d", got, want)
	}
}

func TestMigrationsOnlyGoForward(t *testing.T) {
	for _, engine := range []fs.FS{migrations.Postgres(), migrations.SQLite()} {
		names, err := fs.Glob(engine, "*.sql")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := fs.ReadFile(engine, name)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(text); !strings.HasPrefix(got, "-- +goose Up\n") || strings.Contains(got, "+goose Down") {
				t.Errorf("%s does not start with its Up part, or has a Down part", name)
			}
		}
	}
}
