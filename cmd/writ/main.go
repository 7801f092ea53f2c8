// Command writ is the policy decision point and everything to run it: the
// server, its development mode, a client for people, and the tools of the policy
// author and the auditor.
//
// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 denied.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitDenied = 3
)

// errDenied ends a command that asked and was denied.
var errDenied = errors.New("denied")

// exitCode is an error that is only a code: a child's, passed on.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// cli is the command line.
type cli struct {
	Dev     devCmd     `cmd:"" help:"Run a PDP on this machine for development: embedded store, sample bundle, dev identities."`
	Serve   serveCmd   `cmd:"" help:"Run a PDP as a configuration file says."`
	Decide  decideCmd  `cmd:"" help:"Ask a PDP about one action. Exits with 3 when denied."`
	Policy  policyCmd  `cmd:"" help:"Check, lint, test, compare, explain and replay policy bundles, put them into force, go back."`
	Log     logCmd     `cmd:"" help:"Read, verify and prove the decision log."`
	Ticket  ticketCmd  `cmd:"" help:"Change tickets: ask for them, approve them, take them back."`
	Vault   vaultCmd   `cmd:"" help:"Tell what tokens of redactions stand for, or forget it."`
	Budget  budgetCmd  `cmd:"" help:"Show what is used and left of budgets, raise and freeze them for a while, on every server of a store."`
	Session sessionCmd `cmd:"" help:"Show which labels a session holds, and take them from it."`
	Lock    lockCmds   `cmd:"" help:"Stop an agent, a tool, a session or whatever else, now, on every server of a store."`
	Unlock  unlockCmd  `cmd:"" help:"Lift a lock before it ends."`
	Locks   locksCmd   `cmd:"" help:"List the locks that are in force, or how they came to be."`
	Doctor  doctorCmd  `cmd:"" help:"Examine a store's database or directory: whether what Writ promises can be kept there."`
	Key     keyCmd     `cmd:"" help:"Look at signing keys."`
	Token   tokenCmd   `cmd:"" help:"Exchange tokens for narrower ones."`
	Migrate migrateCmd `cmd:"" help:"Bring a PostgreSQL database to this version's schema."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

// streams are where a command reads and writes.
type streams struct {
	out, err io.Writer
}

func main() { os.Exit(run(os.Args[1:], streams{out: os.Stdout, err: os.Stderr})) }

// run is the program: from arguments to an exit code.
func run(args []string, to streams) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c cli
	exited := -1
	parser, err := kong.New(&c,
		kong.Name("writ"),
		kong.Description("Writ decides whether an AI agent's action may take effect, and proves that it did.\n\n"+
			"Start with `writ dev`, then paste the lines that it prints.\n\n"+
			"Exit codes: 0 done, 1 failed, 2 wrong usage, 3 denied."),
		kong.Writers(to.out, to.err),
		kong.Exit(func(code int) { exited = code }),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Vars{"dev_agent": devAgent, "dev_tenant": devTenant},
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(to),
	)
	if err != nil {
		fmt.Fprintln(to.err, "writ:", err)
		return exitFailed
	}
	if len(args) > 0 && args[0] == "serve" {
		// Before the parser, whose errors quote arguments.
		if err := refuseSecrets(args[1:], os.Environ()); err != nil {
			fmt.Fprintln(to.err, "writ:", err)
			return exitFailed
		}
	}
	command, err := parser.Parse(args)
	if exited >= 0 {
		return exited // --help
	}
	if err != nil {
		fmt.Fprintln(to.err, "writ:", err)
		return exitUsage
	}
	err = command.Run()
	var code exitCode
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errDenied):
		return exitDenied
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &usage):
		fmt.Fprintln(to.err, "writ:", err)
		return exitUsage
	}
	fmt.Fprintln(to.err, "writ:", err)
	return exitFailed
}

// usageError is a mistake in the arguments that the parser cannot see.
type usageError string

func (e usageError) Error() string { return string(e) }
