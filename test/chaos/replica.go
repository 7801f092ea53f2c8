package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/test/chaos/mutant"
	"github.com/writpdp/writ/test/chaos/pair"
)

// replica is one `writ serve`, which is started again whenever it ends.
type replica struct {
	name, binary, config, log, clock string
	mutant                           string // that is alive; empty: none
	// ways are the proxies to the two databases.
	ways   [2]*pair.Proxy
	conn   *grpc.ClientConn
	client writv1.DecisionServiceClient

	mu   sync.Mutex // held while the replica is harmed
	held sync.Mutex // held while it must not be started again

	state   sync.Mutex // guards all below
	process *os.Process
	ending  bool
	ended   chan struct{} // closed when run has returned
	code    int           // of its last end
}

// dial makes the one connection that all callers share.
func (r *replica) dial(address string) (err error) {
	r.conn, err = grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(grpc.ConnectParams{
		Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, Jitter: 0.2, MaxDelay: 500 * time.Millisecond}, MinConnectTimeout: time.Second,
	}))
	if err != nil {
		return fmt.Errorf("dialling %s: %w", r.name, err)
	}
	r.client = writv1.NewDecisionServiceClient(r.conn)
	return nil
}

// run keeps the server running until stop.
func (r *replica) run(ctx context.Context) error {
	defer close(r.ended)
	log, err := os.OpenFile(r.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	for {
		r.held.Lock()
		c, err := r.begin(ctx, log)
		r.held.Unlock()
		if err != nil || c == nil {
			return err
		}
		_ = c.Wait() // killed, or the database was not there
		r.state.Lock()
		r.process, r.code = nil, c.ProcessState.ExitCode()
		r.state.Unlock()
		pause(ctx, 100*time.Millisecond)
	}
}

// begin starts the server; nil: it is to be no more.
func (r *replica) begin(ctx context.Context, log *os.File) (*exec.Cmd, error) {
	r.state.Lock()
	defer r.state.Unlock()
	if r.ending || ctx.Err() != nil {
		return nil, ctx.Err()
	}
	c := exec.Command(r.binary, "serve", "--config", r.config)
	c.Env = append(os.Environ(), clockVariable+"="+r.clock, mutant.Variable+"="+r.mutant)
	c.Stdout, c.Stderr = log, log
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", r.name, err)
	}
	r.process = c.Process
	return c, nil
}

// signal sends a signal, if the server runs.
func (r *replica) signal(s syscall.Signal) bool {
	r.state.Lock()
	defer r.state.Unlock()
	return r.process != nil && r.process.Signal(s) == nil
}

// kill ends the server and keeps it away for a while.
func (r *replica) kill(ctx context.Context, away time.Duration) bool {
	r.held.Lock()
	defer r.held.Unlock()
	did := r.signal(syscall.SIGKILL)
	pause(ctx, away)
	return did
}

// stop ends the server in order, for good, and tells its exit code.
func (r *replica) stop(ctx context.Context) (int, error) {
	r.state.Lock()
	r.ending = true
	if r.process != nil {
		_ = r.process.Signal(syscall.SIGTERM) // it may just have ended
	}
	r.state.Unlock()
	select {
	case <-r.ended:
		return r.code, errors.Join(ctx.Err(), r.conn.Close())
	case <-time.After(patience):
		r.signal(syscall.SIGKILL)
		<-r.ended
		return r.code, fmt.Errorf("%s does not end: %s says why", r.name, filepath.Base(r.log))
	}
}
