// Package migrations owns the schemas of Writ's stores: numbered SQL files, one
// folder per engine, embedded, in the format of goose. They only go forward, and
// each is safe while the release before it still runs, or says what that release then does.
package migrations

import (
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

//go:embed postgres/*.sql sqlite/*.sql
var files embed.FS

// Postgres holds the migrations of PostgreSQL.
func Postgres() fs.FS { return engine("postgres") }

// SQLite holds the migrations of SQLite.
func SQLite() fs.FS { return engine("sqlite") }

func engine(name string) fs.FS {
	sub, err := fs.Sub(files, name)
	if err != nil {
		panic(err) // the name is not a path: cannot happen
	}
	return sub
}

// Latest is the newest version among migrations: the one that this build reads
// and writes.
func Latest(migrations fs.FS) (int64, error) {
	names, err := fs.Glob(migrations, "*.sql")
	if err != nil {
		return 0, fmt.Errorf("listing migrations: %w", err)
	}
	var latest int64
	for _, name := range names {
		version, err := goose.NumericComponent(name)
		if err != nil {
			return 0, fmt.Errorf("numbering the migration %s: %w", name, err)
		}
		latest = max(latest, version)
	}
	if latest == 0 {
		return 0, fmt.Errorf("listing migrations: there are none")
	}
	return latest, nil
}
