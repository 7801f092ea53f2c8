package postgres_test

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/writpdp/writ/store/lane"
	"github.com/writpdp/writ/store/postgres"
	"github.com/writpdp/writ/test/pgtest"
)

// pooled starts a PgBouncer before a server, and returns the connection string by way
// of it.
func pooled(t *testing.T, dsn, mode, ignore string) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer" // not on every PATH
	}
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().(*net.TCPAddr)
	if err := listener.Close(); err != nil { // whoever takes the port now makes the test fail
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pgbouncer.ini")
	text := fmt.Sprintf("[databases]\n* = host=%s port=%s user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\nauth_type = any\npool_mode = %s\nignore_startup_parameters = %s\n",
		u.Hostname(), u.Port(), address.Port, mode, ignore)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-q", file}
	if os.Geteuid() == 0 {
		args = []string{"-q", "-u", "nobody", file}
	}
	command := exec.Command(program, args...)
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatalf("this test needs PgBouncer (on Debian the package pgbouncer): %v", err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait() // it was killed
	})
	u.Host = address.String()
	ctx := t.Context()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(30 * time.Second); ; <-again.C {
		conn, err := pgx.Connect(ctx, u.String()+"&default_query_exec_mode=exec")
		if err == nil {
			_ = conn.Close(ctx)
			return u.String()
		}
		if time.Now().After(end) {
			t.Fatalf("the pooler does not answer: %v", err)
		}
	}
}

// A pooler that makes one connection of many is refused, and so is one that keeps a
// connection's settings to itself.
func TestPooler(t *testing.T) {
	dsn := pgtest.DSN(t)
	const ours = "application_name, statement_timeout, lock_timeout, idle_in_transaction_session_timeout, plan_cache_mode, enable_seqscan, enable_hashjoin, enable_mergejoin, jit, synchronous_commit"
	for name, c := range map[string]struct{ mode, ignore, want string }{
		"transactions":           {"transaction", ours, "pooler: a pooler hands statements to other sessions"},
		"settings not passed on": {"session", "", "pooler: what stands before the server takes no settings"},
	} {
		t.Run(name, func(t *testing.T) {
			by := pooled(t, dsn, c.mode, c.ignore)
			if err := postgres.CheckServed(t.Context(), by, false); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("serving: got %v, want %q", err, c.want)
			}
			found, err := postgres.Examine(t.Context(), by, time.Now)
			if err != nil {
				t.Fatal(err)
			}
			bad := false
			for _, f := range found {
				bad = bad || f.Check == "pooler" && f.Grade == lane.Bad
			}
			if !bad {
				t.Errorf("found %+v", found)
			}
		})
	}
}
