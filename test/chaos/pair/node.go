package pair

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"
)

// Node is one PostgreSQL server, on a file system of its own where that can be
// mounted.
type Node struct {
	name string
	home string // its files but for the data
	disk string // where the data are
	// Port is where it listens, on loopback.
	Port int
	bin  string // of PostgreSQL's programs
	user *syscall.Credential
	// preload is the library that makes its fsync slow, and delay the file that
	// says how slow.
	preload, delay string
	mounted        bool
	// settings are beside those that every node has.
	settings []string

	server *exec.Cmd
	ended  chan struct{} // closed when server has ended
}

// diskSize is how large a node's file system is, in bytes. It is sparse.
const diskSize = 4 << 30

func (n *Node) data() string { return filepath.Join(n.disk, "data") }

// DSN leads to the server, as its superuser.
func (n *Node) DSN() string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", n.Port)
}

// prepare makes the node's directories.
func (n *Node) prepare(ctx context.Context, mount bool) error {
	if err := os.MkdirAll(n.disk, 0o755); err != nil {
		return err
	}
	if mount {
		if err := n.mount(ctx); err != nil {
			return err
		}
	}
	n.delay = filepath.Join(n.home, "fsync-"+n.name)
	if err := os.WriteFile(n.delay, make([]byte, 8), 0o644); err != nil {
		return err
	}
	return n.give(n.disk)
}

// mount puts a file system into the place of the node's data.
func (n *Node) mount(ctx context.Context) error {
	image := filepath.Join(n.home, n.name+".img")
	f, err := os.Create(image)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(diskSize), f.Close()); err != nil {
		return err
	}
	for _, command := range [][]string{{"mkfs.ext4", "-q", "-m", "0", image}, {"mount", "-o", "loop", image, n.disk}} {
		if out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", command[0], err, out)
		}
	}
	n.mounted = true
	return nil
}

// give hands a path to the user that PostgreSQL runs as.
func (n *Node) give(path string) error {
	if n.user == nil {
		return nil
	}
	return os.Chown(path, int(n.user.Uid), int(n.user.Gid))
}

func (n *Node) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, filepath.Join(n.bin, program), args...)
	c.Dir = n.disk
	c.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "HOME=" + n.disk}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: n.user, Pdeathsig: syscall.SIGKILL}
	return c
}

// create makes the data of a new primary.
func (n *Node) create(ctx context.Context) error {
	out, err := n.command(ctx, "initdb", "--pgdata="+n.data(), "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync").CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	rules := "host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n"
	return os.WriteFile(filepath.Join(n.data(), "pg_hba.conf"), []byte(rules), 0o600)
}

// copy makes the data of a standby out of a primary's, which it follows on a port.
func (n *Node) copy(ctx context.Context, primary *Node, port int) error {
	if err := os.RemoveAll(n.data()); err != nil {
		return err
	}
	out, err := n.command(ctx, "pg_basebackup", "--host=127.0.0.1", "--port="+strconv.Itoa(primary.Port), "--username=postgres",
		"--pgdata="+n.data(), "--wal-method=stream", "--checkpoint=fast", "--no-sync", "--write-recovery-conf").CombinedOutput()
	if err != nil {
		return fmt.Errorf("pg_basebackup: %w: %s", err, out)
	}
	auto, err := os.OpenFile(filepath.Join(n.data(), "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(auto, "primary_conninfo = 'host=127.0.0.1 port=%d user=postgres application_name=%s'\n", port, standbyName)
	return errors.Join(err, auto.Close())
}

// Start runs the server; it need not answer yet.
func (n *Node) Start() error {
	log, err := os.OpenFile(filepath.Join(n.home, "postgres-"+n.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{"-D", n.data()}
	for _, setting := range append([]string{
		"listen_addresses=127.0.0.1", "port=" + strconv.Itoa(n.Port), "unix_socket_directories=", "max_connections=200",
		"wal_level=replica", "max_wal_senders=10", "hot_standby=on", "wal_keep_size=512MB", "max_wal_size=512MB",
		"wal_sender_timeout=5s", "wal_receiver_timeout=5s", "wal_receiver_status_interval=1s", "wal_retrieve_retry_interval=200ms",
		"restart_after_crash=on", "log_line_prefix=%m [%p] ",
	}, n.settings...) {
		args = append(args, "-c", setting)
	}
	n.server = n.command(context.Background(), "postgres", args...)
	if n.preload != "" {
		n.server.Env = append(n.server.Env, "LD_PRELOAD="+n.preload, "WRIT_CHAOS_FSYNC="+n.delay)
	}
	n.server.Stdout, n.server.Stderr = log, log
	if err := n.server.Start(); err != nil {
		return fmt.Errorf("starting PostgreSQL %s: %w", n.name, err)
	}
	server, ended := n.server, make(chan struct{})
	n.ended = ended
	go func() {
		defer close(ended)
		_ = server.Wait() // how it ended is in its log
	}()
	return nil
}

// Running reports whether the server has not ended.
func (n *Node) Running() bool {
	if n.server == nil {
		return false
	}
	select {
	case <-n.ended:
		return false
	default:
		return true
	}
}

// Kill ends every process of the server at once, as a crash of the machine would,
// but that what was written stays with the kernel.
func (n *Node) Kill() error {
	if !n.Running() {
		return nil
	}
	// Stopped, it starts no more of them.
	_ = n.server.Process.Signal(syscall.SIGSTOP)
	children, err := childrenOf(n.server.Process.Pid)
	if err != nil {
		return err
	}
	_ = n.server.Process.Kill()
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	<-n.ended
	for _, pid := range children {
		if err := gone(pid); err != nil {
			return err
		}
	}
	return nil
}

// gone waits until a process that was killed is no more.
func gone(pid int) error {
	for range 2000 {
		state, err := processState(pid)
		if err != nil || state == 'Z' {
			return nil
		}
		pause(context.Background(), 5*time.Millisecond)
	}
	return fmt.Errorf("the process %d does not go", pid)
}

// processState is the letter that the kernel has for what a process does.
func processState(pid int) (byte, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(stat), ") ")
	if !ok || rest == "" {
		return 0, fmt.Errorf("reading the state of %d", pid)
	}
	return rest[0], nil
}

// childrenOf are the processes that a process has started.
func childrenOf(parent int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var children []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue
		} else if err != nil {
			return nil, err
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			children = append(children, pid)
		}
	}
	return children, nil
}

// Answers waits until the server does.
func (n *Node) Answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		_, err := n.Ask(ctx, "SELECT '1'")
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("PostgreSQL %s does not answer: %w", n.name, err)
		case !n.Running():
			return fmt.Errorf("PostgreSQL %s has ended: its log says why", n.name)
		}
		pause(ctx, 20*time.Millisecond)
	}
}

// Ask runs a query that has one text.
func (n *Node) Ask(ctx context.Context, query string, args ...any) (text string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, n.DSN())
	if err != nil {
		return "", err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return text, conn.QueryRow(ctx, query, args...).Scan(&text)
}

// promote makes a primary of a standby.
func (n *Node) promote(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := n.Ask(ctx, "SELECT pg_promote(false)::text"); err != nil {
		return fmt.Errorf("promoting PostgreSQL %s: %w", n.name, err)
	}
	for {
		standby, err := n.Ask(ctx, "SELECT pg_is_in_recovery()::text")
		if err == nil && standby == "false" {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("promoting PostgreSQL %s: %w", n.name, errors.Join(ctx.Err(), err))
		}
		pause(ctx, 10*time.Millisecond)
	}
}

// Slow makes every fsync of the server take longer by d.
func (n *Node) Slow(d time.Duration) error {
	var us [8]byte
	binary.NativeEndian.PutUint64(us[:], uint64(d.Microseconds()))
	return Overwrite(n.delay, us[:])
}

// Overwrite changes a file in its place, for who has it mapped.
func Overwrite(name string, with []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(with, 0)
	return errors.Join(err, f.Close())
}

// Fill takes all room on the node's disk.
func (n *Node) Fill() error {
	f, err := os.Create(n.filler())
	if err != nil {
		return err
	}
	defer f.Close()
	for range 64 { // others write meanwhile
		var disk unix.Statfs_t
		if err := unix.Statfs(n.disk, &disk); err != nil {
			return err
		}
		free := int64(disk.Bavail) * disk.Bsize
		if free < 16<<10 {
			return nil
		}
		at, err := f.Seek(0, 2)
		if err != nil {
			return err
		}
		take := min(free, max(free/2, 64<<10))
		if err := unix.Fallocate(int(f.Fd()), 0, at, take); errors.Is(err, unix.ENOSPC) {
			return nil
		} else if err != nil {
			return fmt.Errorf("filling the disk of %s: %w", n.name, err)
		}
	}
	return nil
}

func (n *Node) filler() string { return filepath.Join(n.disk, "filler") }

// Empty gives the room back.
func (n *Node) Empty() error { return os.Remove(n.filler()) }
