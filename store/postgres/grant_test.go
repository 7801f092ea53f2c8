package postgres_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/writpdp/writ/store/postgres"
	"github.com/writpdp/writ/store/storetest"
	"github.com/writpdp/writ/test/pgtest"
)

// servedBy is a migrated database as a new role sees it that may serve.
func servedBy(t *testing.T, dsn string) string {
	t.Helper()
	role := `Writ "` + strings.ToLower(rand.Text()) + `"` // a name that has to be quoted
	conn := admin(t, dsn)
	execute(t, conn, "CREATE ROLE "+pgx.Identifier{role}.Sanitize()+" LOGIN")
	t.Cleanup(func() {
		// The database is dropped after this, and the role owns nothing in it.
		for _, text := range []string{"DROP OWNED BY ", "DROP ROLE "} {
			if _, err := conn.Exec(context.Background(), text+pgx.Identifier{role}.Sanitize()); err != nil {
				t.Error(err)
			}
		}
	})
	for range 2 { // it may be repeated
		if err := postgres.Grant(t.Context(), dsn, role); err != nil {
			t.Fatal(err)
		}
	}
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(role)
	return u.String()
}

// Whoever has the server's own credentials cannot change what was recorded, nor
// take it away.
func TestTheServersRoleChangesNoRecord(t *testing.T) {
	dsn := pgtest.DSN(t)
	if err := postgres.Migrate(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	served := servedBy(t, dsn)
	s, err := postgres.Open(t.Context(), served)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Commit(t.Context(), storetest.Load(1, storetest.DayCalls)); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), served)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, text := range []string{
		"UPDATE record SET tenant = 'other'", "DELETE FROM record", "TRUNCATE record", "DROP TABLE record",
		"UPDATE leaf SET tenant = 'other'", "DELETE FROM leaf", "UPDATE checkpoint SET size = 1", "DELETE FROM checkpoint",
		"UPDATE used_token SET tenant = 'other'", "DELETE FROM used_token", "TRUNCATE used_token_0", "DELETE FROM used_token_0",
		"UPDATE token_horizon SET hour = 0", "DELETE FROM token_horizon",
		"UPDATE ticket SET max_uses = 99", "DELETE FROM ticket", "UPDATE ticket_use SET ticket = 'other'", "DELETE FROM ticket_use",
		"DELETE FROM budget_use", "UPDATE budget_use SET budget = 'other'", "DELETE FROM tile",
		"UPDATE rollout SET version = 9", "DELETE FROM rollout", "UPDATE lock_version SET version = 9", "DELETE FROM lock_version",
		"UPDATE lease SET holder = gen_random_uuid()", "UPDATE lease_holder SET id = gen_random_uuid()", "TRUNCATE lease",
		"DELETE FROM lock_fence", "DELETE FROM sequencer", "UPDATE engine SET compatible = true", "DELETE FROM engine", "UPDATE bundle SET archive = ''", "DELETE FROM bundle", "UPDATE pending SET tenant = 'other'",
		"UPDATE goose_db_version SET version_id = 1", "CREATE TABLE mine (a int)",
		"CREATE OR REPLACE FUNCTION forget_tokens(until timestamptz) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'",
		"ALTER TABLE record DISABLE TRIGGER ALL", "GRANT ALL ON record TO PUBLIC",
	} {
		_, err := conn.Exec(t.Context(), text)
		if refused, ok := errors.AsType[*pgconn.PgError](err); !ok || refused.Code != "42501" {
			if text == "GRANT ALL ON record TO PUBLIC" && err == nil {
				continue // PostgreSQL warns, and grants nothing: see below
			}
			t.Errorf("%s: got %v, want that it is not permitted", text, err)
		}
	}
	if _, err := conn.Exec(t.Context(), "UPDATE record SET tenant = 'other'"); err == nil {
		t.Error("what was granted to everybody was granted")
	}
}

func TestGrantRefuses(t *testing.T) {
	dsn := pgtest.DSN(t)
	if err := postgres.Migrate(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{"nobody of this name", "", `x"; DROP TABLE record; --`} {
		if err := postgres.Grant(t.Context(), dsn, role); err == nil {
			t.Errorf("%q: no error", role)
		}
	}
	s, err := postgres.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
