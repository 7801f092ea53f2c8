// Package spire runs Writ and its callers on X.509-SVIDs of a real SPIRE: its
// tests start servers and an agent, and workloads as several users. The package
// itself builds SPIRE, of the version that tools/spire pins, once for all runs.
package spire

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// programs are what is built.
var programs = []string{"spire-server", "spire-agent"}

// Build returns the directory of SPIRE's programs in the user's cache, and builds
// them where they are not there yet, which takes some eight minutes of a processor.
// root is the repository's root.
func Build(ctx context.Context, root string) (dir string, err error) {
	module := filepath.Join(root, "tools", "spire")
	version := sha256.New()
	fmt.Fprintln(version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return "", fmt.Errorf("finding out SPIRE's version: %w", err)
		}
		version.Write(data)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding a place for SPIRE: %w", err)
	}
	dir = filepath.Join(cache, "writ", "spire-"+hex.EncodeToString(version.Sum(nil))[:16])
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("making a place for SPIRE: %w", err)
	}
	lock, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", fmt.Errorf("building SPIRE alone: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("building SPIRE alone: %w", err)
	}
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	return dir, build(ctx, module, dir)
}

// build makes the directory when it is complete.
func build(ctx context.Context, module, dir string) error {
	half, err := os.MkdirTemp(filepath.Dir(dir), "half-")
	if err != nil {
		return fmt.Errorf("building SPIRE: %w", err)
	}
	defer os.RemoveAll(half)
	args := []string{"build", "-trimpath", "-ldflags=-s -w", "-o", half + string(filepath.Separator)}
	for _, p := range programs {
		args = append(args, "github.com/spiffe/spire/cmd/"+p)
	}
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = module
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("building SPIRE: %w\n%s", err, out)
	}
	if err := os.Chmod(half, 0o755); err != nil {
		return fmt.Errorf("building SPIRE: %w", err)
	}
	return os.Rename(half, dir)
}
