package main

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// A server listens to its database, unless it is told not to or the database is one
// that is asked for no notifications; it sees a lock either way.
func TestServeListens(t *testing.T) {
	s := migrated(t)
	dsn, err := readDSN(s.path("database"))
	must(t, err)
	conn, err := pgx.Connect(t.Context(), dsn)
	must(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	listeners := func() (n int) {
		must(t, conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE application_name = 'writ-listener' AND datname = current_database()`).Scan(&n))
		return n
	}
	locked := func(n string) {
		t.Helper()
		succeed(t, "lock", "purpose:"+n, "--for", "1h", "--reason", "A test.", "--database-file", s.path("database"))
		until(t, "the server goes by the lock", func() bool {
			return strings.Contains(succeed(t, "lock", "status", "--database-file", s.path("database")), "1 go by it, 0 are behind")
		})
	}
	p := s.serve(t)
	until(t, "it listens", func() bool { return listeners() == 1 })
	locked("a")
	_, err = conn.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE application_name = 'writ-listener' AND datname = current_database()`)
	must(t, err)
	until(t, "it listens again and says so", func() bool {
		out := p.stderr.String()
		return strings.Contains(out, "the database does not tell of changes") && strings.Contains(out, `"the database tells of changes"`)
	})
	locked("b")
	if code := p.stop(t, os.Interrupt); code != exitOK {
		t.Errorf("exit code %d: %s", code, p.stderr)
	}

	s.write(t, "writ.yaml", goodConfig+"notify: false\n")
	p = s.serve(t)
	locked("c")
	if n := listeners(); n != 0 {
		t.Errorf("%d listen", n)
	}
	if code := p.stop(t, os.Interrupt); code != exitOK {
		t.Errorf("exit code %d: %s", code, p.stderr)
	}

	s.write(t, "writ.yaml", goodConfig)
	if out := succeed(t, "migrate", "--database-file", s.path("database"), "--compatible"); !strings.Contains(out, "compatible: true") {
		t.Errorf("it says:\n%s", out)
	}
	p = s.serve(t)
	locked("d")
	if n := listeners(); n != 0 {
		t.Errorf("%d listen", n)
	}
	if code := p.stop(t, os.Interrupt); code != exitOK {
		t.Errorf("exit code %d: %s", code, p.stderr)
	}
}
