// Command cluster runs a command beside a private PostgreSQL server, whose URL
// the command finds in the environment variable WRIT_TEST_POSTGRES:
//
//	go run ./test/pgtest/cluster -- COMMAND [ARGUMENT...]
//
// The server ends with the command, and its exit code is the command's. (go run
// itself answers 1 for every code but 0; a built binary keeps it.)
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/writpdp/writ/test/pgtest"
)

func main() {
	args := os.Args[1:]
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "usage: cluster -- COMMAND [ARGUMENT...]")
		os.Exit(2)
	}
	code, err := run(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

func run(args []string) (code int, err error) {
	cluster, err := pgtest.Start(context.Background())
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, cluster.Stop()) }()
	command := exec.Command(args[0], args[1:]...)
	command.Env = append(os.Environ(), pgtest.Variable+"="+cluster.DSN)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	// A terminal's interrupt reaches the command as well; what is sent to this
	// process alone is passed on. Either way the command decides when it ends.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	if err := command.Start(); err != nil {
		return 0, fmt.Errorf("starting the command: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	for {
		select {
		case got := <-signals:
			if got == syscall.SIGTERM {
				_ = command.Process.Signal(got) // it may just have ended
			}
		case err := <-ended:
			return status(command.ProcessState, err)
		}
	}
}

// status is the exit code as a shell tells it.
func status(state *os.ProcessState, err error) (int, error) {
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		return 0, fmt.Errorf("running the command: %w", err)
	}
	if wait, ok := state.Sys().(syscall.WaitStatus); ok && wait.Signaled() {
		return 128 + int(wait.Signal()), nil
	}
	return state.ExitCode(), nil
}
