package postgres_test

import (
	"database/sql"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the engine "pgx"
	"github.com/pressly/goose/v3"

	"github.com/writpdp/writ/migrations"
	"github.com/writpdp/writ/store/storetest"
	"github.com/writpdp/writ/test/pgtest"
)

// A database with a ticket from before tickets had records is brought up to date.
func TestLegacyTicket(t *testing.T) {
	dsn := pgtest.DSN(t)
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, migrations.Postgres(), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.UpTo(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), `INSERT INTO ticket (tenant, id, principal, server, tool, tool_digest, arguments_digest, not_before, not_after, max_uses, uses, approvers)
		VALUES ('acme', 'CHG-1', 'a', 's', 't', '', '', now(), now() + interval '1 hour', 2, 1, '{ann}')`)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s := openNew(t, dsn)
	defer s.Close()
	storetest.LegacyTicket(t, s)
}
