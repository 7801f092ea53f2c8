// Package prover gives tests the real tools of `writ policy diff --prove`.
package prover

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Programs are Cedar's command line and the solver: those that CEDAR and CVC5 name,
// else the ones that install puts into a cache, which takes minutes once. A test
// that cannot have them fails.
func Programs(t testing.TB) (cedar, cvc5 string) {
	t.Helper()
	if cedar, cvc5 = os.Getenv("CEDAR"), os.Getenv("CVC5"); cedar != "" && cvc5 != "" {
		return cedar, cvc5
	}
	_, file, _, _ := runtime.Caller(0)
	var problem bytes.Buffer
	c := exec.Command(filepath.Join(filepath.Dir(file), "install"))
	c.Stderr = &problem
	out, err := c.Output()
	if err != nil {
		t.Fatalf("installing the prover: %v\n%s", err, problem.String())
	}
	for line := range strings.Lines(string(out)) {
		name, path, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "CEDAR":
			cedar = path
		case "CVC5":
			cvc5 = path
		}
	}
	if cedar == "" || cvc5 == "" {
		t.Fatalf("installing the prover says not where it is:\n%s", out)
	}
	return cedar, cvc5
}
