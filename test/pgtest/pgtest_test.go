package pgtest_test

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/writpdp/writ/test/pgtest"
)

func TestEachTestHasItsOwnDatabase(t *testing.T) {
	a, b := pgtest.DSN(t), pgtest.DSN(t)
	if a == b {
		t.Fatalf("both have %s", a)
	}
	for _, dsn := range []string{a, b} {
		conn, err := pgx.Connect(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.WithoutCancel(t.Context()))
		if _, err := conn.Exec(t.Context(), "CREATE TABLE mine (n int)"); err != nil {
			t.Error(err)
		}
		for setting, want := range map[string]string{"fsync": "on", "synchronous_commit": "on", "max_connections": "200", "server_encoding": "UTF8"} {
			var got string
			if err := conn.QueryRow(t.Context(), "SELECT current_setting($1)", setting).Scan(&got); err != nil || got != want {
				t.Errorf("%s is %q (%v), want %q", setting, got, err, want)
			}
		}
	}
}

func TestStop(t *testing.T) {
	c, err := pgtest.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	data := dataDirectory(t, c.DSN)
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	expectGone(t, c.DSN, data)
}

// orphan makes this test's binary start a server and wait to be killed.
const orphan = "WRIT_TEST_ORPHAN"

// TestTheServerEndsWithItsProcess kills a process in a way it cannot answer to.
func TestTheServerEndsWithItsProcess(t *testing.T) {
	if os.Getenv(orphan) != "" {
		c, err := pgtest.Start(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString(c.DSN + "\n")
		<-t.Context().Done()
		runtime.KeepAlive(c)
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTheServerEndsWithItsProcess$")
	child.Env = append(os.Environ(), orphan+"=1")
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	dsn := strings.TrimSpace(line)
	data := dataDirectory(t, dsn)
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // killed
	expectGone(t, dsn, data)
}

func dataDirectory(t *testing.T, dsn string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var data string
	if err := conn.QueryRow(t.Context(), "SELECT current_setting('data_directory')").Scan(&data); err != nil {
		t.Fatal(err)
	}
	return data
}

// expectGone waits until nobody listens and no file is left.
func expectGone(t *testing.T, dsn, data string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		conn, dialed := net.Dial("tcp", u.Host)
		if dialed == nil {
			conn.Close()
		}
		_, there := os.Stat(filepath.Dir(data))
		if dialed != nil && errors.Is(there, fs.ErrNotExist) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("still there: listening: %v, files: %v", dialed == nil, there == nil)
		case <-again.C:
		}
	}
}

func TestClusterRunsACommand(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "cluster")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cluster").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), binary, "--", "sh", "-c", `echo "$WRIT_TEST_POSTGRES"; exit 7`).Output()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != 7 {
		t.Fatalf("got %v, want the exit code 7", err)
	}
	dsn := strings.TrimSpace(string(out))
	if !strings.HasPrefix(dsn, "postgres://postgres@127.0.0.1:") {
		t.Errorf("the command's server is %q", dsn)
	}
	if conn, err := pgx.Connect(t.Context(), dsn); err == nil {
		conn.Close(t.Context())
		t.Error("the server outlives the command")
	}
	if err := exec.CommandContext(t.Context(), binary, "--", "sh", "-c", "kill -TERM $$").Run(); exitCode(err) != 128+int(syscall.SIGTERM) {
		t.Errorf("a command that is killed: %v", err)
	}
	if err := exec.CommandContext(t.Context(), binary).Run(); exitCode(err) != 2 {
		t.Errorf("no command: %v", err)
	}
}

func exitCode(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return 0
}
