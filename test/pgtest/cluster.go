package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// startTime is how long a cluster may take to come up.
const startTime = 2 * time.Minute

// supervise is the shell script that owns a cluster. Durability is PostgreSQL's
// default, all of it. Its standard input is a pipe
// from the process that wants the cluster: when that process goes, however it
// goes, the pipe ends, and the script stops the server and removes its files.
const supervise = `
bin=$1 dir=$2 port=$3 seed=$4
if [ -d "$seed" ]; then
	cp -a "$seed" "$dir/data" && touch "$dir/data/standby.signal" &&
		echo "primary_conninfo = '$5'" >> "$dir/data/postgresql.auto.conf" || exit 1
else
	"$bin/initdb" --pgdata="$dir/data" --username=postgres --auth=trust --encoding=UTF8 --locale=C --no-sync || exit 1
	printf 'host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n' > "$dir/data/pg_hba.conf"
	[ -z "$seed" ] || cp -a "$dir/data" "$dir/seed" || exit 1
fi
"$bin/postgres" -D "$dir/data" -c listen_addresses=127.0.0.1 -c port="$port" -c unix_socket_directories= \
	-c max_connections=200 &
server=$!
exec >/dev/null 2>&1
read -r line
kill -QUIT "$server"
wait "$server"
rm -rf "$dir"
`

// Cluster is a private PostgreSQL server, on a port of the loopback interface
// where everybody is trusted, with its files in a temporary directory.
type Cluster struct {
	// DSN names its database postgres, as a URL.
	DSN string

	directory string
	stop      io.Closer // the supervisor's standard input
	gone      chan struct{}
	output    *tail
	command   *exec.Cmd
}

// Start makes a cluster and waits until it answers. It lasts until Stop, or until
// this process ends, or until nothing refers to it any more.
func Start(ctx context.Context) (*Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	var last error
	for range 3 { // somebody may take the port before the server does
		c, err := launch(bin, role{})
		if err != nil {
			return nil, fmt.Errorf("starting PostgreSQL: %w", err)
		}
		if last = c.ready(ctx); last == nil {
			return c, nil
		}
		if err := c.Stop(); err != nil {
			return nil, errors.Join(last, err)
		}
	}
	return nil, fmt.Errorf("starting PostgreSQL: %w", last)
}

// binaries is the directory of initdb and postgres.
func binaries() (string, error) {
	var places []string
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			places = append(places, filepath.Dir(path))
		}
	}
	packaged, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	slices.SortFunc(packaged, func(a, b string) int { return release(b) - release(a) })
	for _, place := range append(places, packaged...) {
		_, noInit := os.Stat(filepath.Join(place, "initdb"))
		_, noServer := os.Stat(filepath.Join(place, "postgres"))
		if noInit == nil && noServer == nil {
			return place, nil
		}
	}
	return "", errors.New("these tests need PostgreSQL: install its server (on Debian and Ubuntu the package postgresql, on Fedora postgresql-server), or put initdb and postgres on PATH")
}

// release is the major version in a path like /usr/lib/postgresql/15/bin.
func release(place string) int {
	n, err := strconv.Atoi(filepath.Base(filepath.Dir(place)))
	if err != nil {
		return 0
	}
	return n
}

// role is what a cluster is beside being one.
type role struct {
	// seed is a directory whose copy the cluster becomes, as a standby; or "keep":
	// the cluster keeps a copy of itself as it was before it ran; empty: neither.
	seed string
	// primary is the connection string of a standby's primary.
	primary string
}

func launch(bin string, r role) (*Cluster, error) {
	directory, err := os.MkdirTemp("", "writ-postgres-")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(directory))
	}
	c := &Cluster{
		DSN:       fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", port),
		directory: directory, gone: make(chan struct{}), output: &tail{},
	}
	c.command = exec.Command("/bin/sh", "-c", supervise, "supervise", bin, directory, strconv.Itoa(port), r.seed, r.primary)
	c.command.Dir = directory
	c.command.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "HOME=" + directory}
	// A session of its own: what ends a terminal's foreground job, or a group of
	// test processes, must not end the one that cleans up after them.
	c.command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if os.Geteuid() == 0 {
		if c.command.SysProcAttr.Credential, err = another(directory); err != nil {
			return nil, errors.Join(err, os.RemoveAll(directory))
		}
	}
	if err := c.run(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(directory))
	}
	return c, nil
}

// run starts the supervisor. Its output is a pipe that the server holds open, so
// that the pipe's end tells of the server's.
func (c *Cluster) run() error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer write.Close()
	c.command.Stdout, c.command.Stderr = write, write
	if c.stop, err = c.command.StdinPipe(); err != nil {
		return errors.Join(err, read.Close())
	}
	if err := c.command.Start(); err != nil {
		return errors.Join(err, read.Close())
	}
	go func() {
		defer close(c.gone)
		defer read.Close()
		_, _ = io.Copy(c.output, read) // ends with the server, whatever the error
	}()
	return nil
}

// another gives the directory to an unprivileged user: PostgreSQL refuses to run
// as root.
func another(directory string) (*syscall.Credential, error) {
	account, err := user.Lookup("postgres")
	if err != nil {
		if account, err = user.Lookup("nobody"); err != nil {
			return nil, fmt.Errorf("finding an unprivileged user: %w", err)
		}
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	if err := os.Chown(directory, int(uid), int(gid)); err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	return port, listener.Close()
}

// ready waits until this very server answers.
func (c *Cluster) ready(ctx context.Context) error {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := c.ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-c.gone:
			return fmt.Errorf("the server ended; its last words:\n%s", c.output)
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer (%w); its last words:\n%s", err, c.output)
		case <-again.C:
		}
	}
}

// ask makes sure that it is not another server that took the port.
func (c *Cluster) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.DSN)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var data string
	if err := conn.QueryRow(ctx, "SELECT current_setting('data_directory')").Scan(&data); err != nil {
		return err
	}
	if want := filepath.Join(c.directory, "data"); data != want {
		return fmt.Errorf("another server has the port")
	}
	return nil
}

// Stop stops the server, at once and without ceremony, and removes its files.
func (c *Cluster) Stop() error {
	err := c.stop.Close()
	<-c.gone
	var exit *exec.ExitError
	if wait := c.command.Wait(); wait != nil && !errors.As(wait, &exit) {
		err = errors.Join(err, wait)
	}
	return errors.Join(err, os.RemoveAll(c.directory))
}

// tail keeps the last of what is written to it.
type tail struct {
	mu   sync.Mutex // guards text
	text []byte
}

const tailSize = 16 << 10

// Write is io.Writer's.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if extra := len(t.text) - tailSize; extra > 0 {
		t.text = append(t.text[:0], t.text[extra:]...)
	}
	return len(p), nil
}

// String is what was kept.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
