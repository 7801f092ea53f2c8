package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/writpdp/writ/test/chaos/mutant"
)

//go:embed preload/slow.c
var slowSource []byte

// built is what a run is made of.
type built struct {
	writ   string // the program
	slow   string // the library that makes fsync slow
	mutant string // that is to be alive; empty: none
}

// build compiles the program as it is, but that its standard library's clock can be
// shifted from outside where clock says so, and with a mutant where one is named.
func build(ctx context.Context, dir, name string, clock bool) (*built, error) {
	b := &built{writ: filepath.Join(dir, "writ"), slow: filepath.Join(dir, "slow.so"), mutant: name}
	source := filepath.Join(dir, "slow.c")
	if err := os.WriteFile(source, slowSource, 0o644); err != nil {
		return nil, err
	}
	if out, err := exec.CommandContext(ctx, "cc", "-shared", "-fPIC", "-O2", "-o", b.slow, source, "-ldl").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compiling slow.c: %w: %s", err, out)
	}
	replace := map[string]string{}
	if clock {
		if err := shiftClock(ctx, dir, replace); err != nil {
			return nil, err
		}
	}
	args := []string{"build", "-o", b.writ}
	if name != "" {
		if _, err := mutant.Find(name); err != nil {
			return nil, err
		}
		if err := mutant.Overlay(".", dir, replace); err != nil {
			return nil, err
		}
		args = append(args, "-tags", mutant.Tag)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o644); err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, "go", append(args, "-overlay", file, "./cmd/writ")...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("building writ: %w: %s", err, out)
	}
	return b, nil
}

// The clock of Go's programs is not the C library's, and a name space of the kernel
// shifts the monotonic clock alone. So time.Now itself is built with what a step of
// the machine's clock does: it changes the wall's time and leaves the monotonic.
const (
	clockWas = "	sec, nsec, mono := runtimeNow()\n	if mono == 0 {\n		return Time{uint64(nsec), sec + unixToInternal, Local}"
	clockNow = "	sec, nsec, mono := runtimeNow()\n	sec += jumped()\n	if mono == 0 {\n		return Time{uint64(nsec), sec + unixToInternal, Local}"

	clockFile = `package time

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

// jump is by how many seconds the clock was stepped: a file that others change.
var jump = func() *int64 {
	name, ok := syscall.Getenv("` + clockVariable + `")
	if !ok {
		return new(int64)
	}
	file, err := syscall.Open(name, syscall.O_RDONLY, 0)
	if err != nil {
		panic("opening the clock: " + err.Error())
	}
	page, err := syscall.Mmap(file, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic("mapping the clock: " + err.Error())
	}
	return (*int64)(unsafe.Pointer(&page[0]))
}()

func jumped() int64 { return atomic.LoadInt64(jump) }
`
)

func shiftClock(ctx context.Context, dir string, replace map[string]string) error {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("finding Go: %w", err)
	}
	place := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	text, err := os.ReadFile(filepath.Join(place, "time.go"))
	if err != nil {
		return err
	}
	if strings.Count(string(text), clockWas) != 1 {
		return errors.New("time.Now of this version of Go is written another way: see clockWas")
	}
	changed, added := filepath.Join(dir, "time.go"), filepath.Join(dir, "jump.go")
	replace[filepath.Join(place, "time.go")], replace[filepath.Join(place, "jump.go")] = changed, added
	return errors.Join(os.WriteFile(changed, []byte(strings.Replace(string(text), clockWas, clockNow, 1)), 0o644),
		os.WriteFile(added, []byte(clockFile), 0o644))
}
