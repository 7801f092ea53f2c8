package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A process that was told to leave no core dumps says so itself.
func TestNoCoreDumps(t *testing.T) {
	if os.Getenv("TEST_CHILD") != "" {
		must(t, noCoreDumps())
		var limit unix.Rlimit
		must(t, unix.Getrlimit(unix.RLIMIT_CORE, &limit))
		dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		must(t, err)
		fmt.Printf("limit %d of %d, dumpable %d\n", limit.Cur, limit.Max, dumpable)
		return
	}
	child := exec.Command(os.Args[0], "-test.run=^TestNoCoreDumps$", "-test.v")
	child.Env = append(os.Environ(), "TEST_CHILD=1")
	out, err := child.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "limit 0 of 0, dumpable 0\n") {
		t.Errorf("%v: %s", err, out)
	}
}

// A server has done it by the time it serves: the kernel says so.
func TestServeLeavesNoCoreDumps(t *testing.T) {
	s := migrated(t)
	p := s.serve(t)
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.cmd.Process.Pid))
	must(t, err)
	if !regexp.MustCompile(`(?m)^Max core file size +0 +0 `).Match(limits) {
		t.Errorf("the limits are %s", limits)
	}
}
