package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// noCoreDumps keeps keys out of core dumps, and out of the reach of debuggers of
// the same user. The limit alone would not do where the system pipes dumps to a
// program, for which it does not count.
func noCoreDumps() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("turning core dumps off: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("turning core dumps off: %w", err)
	}
	return nil
}
