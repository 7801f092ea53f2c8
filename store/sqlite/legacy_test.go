package sqlite_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/pressly/goose/v3"

	"github.com/writpdp/writ/migrations"
	"github.com/writpdp/writ/store/sqlite"
	"github.com/writpdp/writ/store/storetest"
)

// A file with a ticket from before tickets had records is brought up to date.
func TestLegacyTicket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "writ.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, migrations.SQLite(), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.UpTo(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), `INSERT INTO ticket (tenant, id, principal, server, tool, tool_digest, arguments_digest, not_before, not_after, max_uses, uses, approvers)
		VALUES ('acme', 'CHG-1', 'a', 's', 't', '', '', 0, 1, 2, 1, '["ann"]')`)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	storetest.LegacyTicket(t, s)
}
