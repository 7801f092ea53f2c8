// Package pair owns a PostgreSQL primary with its streaming standby, real servers of
// this machine, and what can be done to them: killed, slowed down, filled up, cut off,
// and made to change places.
package pair

import (
	"context"
	"errors"
	"fmt"
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
)

// standbyName is what a standby calls itself, and what a primary waits for.
const standbyName = "standby"

// patience is how long something may take that must come in the end.
const patience = 2 * time.Minute

// Pair is a primary with a streaming standby, between which the replication goes
// through proxies.
type Pair struct {
	// Nodes are both, whichever is the primary.
	Nodes [2]*Node
	// links are the proxies in front of each node, for its standby.
	links [2]*Proxy

	// Held while the pair is harmed or mended, by whoever does; guards primary.
	sync.Mutex
	primary int
}

// Place says how databases are set up.
type Place struct {
	// Synchronous has a commit wait for the standby.
	Synchronous bool
	// Mount gives each a file system of its own.
	Mount bool
}

// New starts both.
func New(ctx context.Context, home, preload string, on Place) (*Pair, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	var credential *syscall.Credential
	if os.Geteuid() == 0 {
		if credential, err = unprivileged(); err != nil {
			return nil, err
		}
	}
	p := &Pair{}
	for i, name := range []string{"a", "b"} {
		port, err := FreePort()
		if err != nil {
			return nil, err
		}
		n := &Node{name: name, home: home, disk: filepath.Join(home, "disk-"+name), Port: port, bin: bin, user: credential, preload: preload}
		if on.Synchronous {
			n.settings = []string{"synchronous_standby_names=" + standbyName}
		}
		if err := n.prepare(ctx, on.Mount); err != nil {
			return nil, fmt.Errorf("preparing PostgreSQL %s: %w", name, err)
		}
		p.Nodes[i] = n
		if p.links[i], err = NewProxy(fmt.Sprintf("127.0.0.1:%d", port)); err != nil {
			return nil, err
		}
	}
	a := p.Nodes[0]
	if err := errors.Join(a.create(ctx), a.Start()); err != nil {
		return nil, err
	}
	if err := a.Answers(ctx); err != nil {
		return nil, err
	}
	return p, p.rebuild(ctx)
}

// programs is the directory of PostgreSQL's newest programs.
func programs() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	slices.SortFunc(found, func(a, b string) int { return release(b) - release(a) })
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			found = append([]string{filepath.Dir(path)}, found...)
		}
	}
	for _, place := range found {
		if _, err := os.Stat(filepath.Join(place, "pg_basebackup")); err == nil {
			return place, nil
		}
	}
	return "", errors.New("there is no PostgreSQL: install its server, with initdb, postgres and pg_basebackup")
}

func release(place string) int {
	n, err := strconv.Atoi(filepath.Base(filepath.Dir(place)))
	if err != nil {
		return 0
	}
	return n
}

// unprivileged is who PostgreSQL runs as where this is root, which it refuses.
func unprivileged() (*syscall.Credential, error) {
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
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// First and second are the primary and its standby. Called with the lock held.
func (p *Pair) First() *Node  { return p.Nodes[p.primary] }
func (p *Pair) Second() *Node { return p.Nodes[1-p.primary] }

// Link is the proxy that the standby follows the primary through. Called with mu
// held.
func (p *Pair) Link() *Proxy { return p.links[p.primary] }

// rebuild makes a new standby of the primary's data, and waits until it follows.
// Called with the lock held, or before there is anybody else.
func (p *Pair) rebuild(ctx context.Context) error {
	s := p.Second()
	if err := s.Kill(); err != nil {
		return err
	}
	if err := s.copy(ctx, p.First(), p.Link().Port()); err != nil {
		return err
	}
	if err := s.Start(); err != nil {
		return err
	}
	return p.follows(ctx)
}

// follows waits until the standby has all that the primary had when it was asked.
func (p *Pair) follows(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		streaming, err := p.First().Ask(ctx, "SELECT count(*)::text FROM pg_stat_replication WHERE application_name = $1 AND state = 'streaming'", standbyName)
		if err == nil && streaming == "1" {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("the standby does not follow: %w", errors.Join(ctx.Err(), err))
		}
		pause(ctx, 20*time.Millisecond)
	}
}

// Failover has the primary die and the standby take its place, and makes a standby
// of what was the primary. Called with the lock held. For a moment before, the standby
// gets nothing: what is answered in that time it would not have.
func (p *Pair) Failover(ctx context.Context, before time.Duration) error {
	link := p.Link()
	link.Freeze()
	pause(ctx, before)
	if err := p.First().Kill(); err != nil {
		return err
	}
	link.Cut()
	link.Thaw()
	if err := p.Second().promote(ctx); err != nil {
		return err
	}
	link.Mend()
	p.primary = 1 - p.primary
	return p.rebuild(ctx)
}

// Heal has both running, the standby following. Called with the lock held.
func (p *Pair) Heal(ctx context.Context) error {
	for _, n := range []*Node{p.First(), p.Second()} {
		if !n.Running() {
			if err := n.Start(); err != nil {
				return err
			}
		}
		if err := n.Answers(ctx); err != nil {
			return err
		}
	}
	return p.follows(ctx)
}

// Stop ends both.
func (p *Pair) Stop() error {
	p.Lock()
	defer p.Unlock()
	return errors.Join(p.Nodes[0].Kill(), p.Nodes[1].Kill(), p.links[0].Close(), p.links[1].Close())
}

// Unmount lets go of the nodes' file systems.
func (p *Pair) Unmount() error {
	var errs []error
	for _, n := range p.Nodes {
		if n.mounted {
			errs = append(errs, syscall.Unmount(n.disk, syscall.MNT_DETACH))
		}
	}
	return errors.Join(errs...)
}

// FreePort is a port that nobody listens on.
func FreePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	return port, listener.Close()
}

// pause waits, but no longer than until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
