// Command figures measures Writ against a bare gRPC echo on this machine and
// prints one line per figure:
//
//	figure <name> <value> <unit>
//
// With names as arguments it measures just those. Servers and load generator are
// processes of their own, on loopback, with mTLS. docs/performance.md says what
// the figures mean.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "figures:", err)
		}
		os.Exit(1)
	}
}

// settings are how long and how often is measured.
type settings struct {
	rounds  int
	seconds float64
	records int    // in the store that is replayed
	flips   int    // of the locks
	profile string // directory; empty: no profiles
	dsn     string // of PostgreSQL; empty: none
}

func run(ctx context.Context, args []string, in io.Reader, out, complaints io.Writer) error {
	flags := flag.NewFlagSet("figures", flag.ContinueOnError)
	flags.SetOutput(complaints)
	s := settings{dsn: os.Getenv("WRIT_TEST_POSTGRES")}
	flags.IntVar(&s.rounds, "rounds", 5, "how often each server is measured; the figures are medians")
	flags.Float64Var(&s.seconds, "seconds", 4, "how long each measurement takes, in seconds")
	flags.IntVar(&s.records, "records", 200_000, "how many records are replayed")
	flags.IntVar(&s.flips, "flips", 1000, "how often everything is stopped and let go")
	flags.StringVar(&s.profile, "profile", "", "write CPU profiles of servers and load generator into this `directory`")
	short := flags.Bool("short", false, "one round of a fifth of a second: the numbers then only show that everything runs")
	role := flags.String("role", "", "be the server or load generator of this name (used by the program itself)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *role != "" {
		return play(*role, in, out)
	}
	if *short {
		s.rounds, s.seconds, s.records, s.flips = 1, 0.2, 3000, 10
	}
	if s.rounds < 1 || s.seconds <= 0 || s.records < 1 || s.flips < 1 {
		return errors.New("rounds, seconds, records and flips must be positive")
	}
	wanted, err := choose(flags.Args(), s.dsn != "")
	if err != nil {
		return err
	}
	return measure(ctx, s, wanted, out, complaints)
}
