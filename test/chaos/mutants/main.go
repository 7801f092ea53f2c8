// Command mutants breaks Writ on purpose, in one way after the other, and wants a
// test to fail each time. Run it in the module's root:
//
//	go run ./test/chaos/mutants [NAME...]
//
// It prints which test catches which mutant, and exits with 1 when one survives.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/writpdp/writ/test/chaos/mutant"
	"github.com/writpdp/writ/test/pgtest"
)

func main() {
	survivors, err := run(context.Background(), os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
	if survivors > 0 {
		os.Exit(1)
	}
}

// lab is where mutants are tried.
type lab struct {
	dir      string
	binaries map[string]string // test binaries, by package
	server   string            // of the tests that need PostgreSQL
}

func run(ctx context.Context, names []string) (survivors int, err error) {
	wanted := mutant.All
	if len(names) > 0 {
		wanted = nil
		for _, name := range names {
			m, err := mutant.Find(name)
			if err != nil {
				return 0, err
			}
			wanted = append(wanted, m)
		}
	}
	dir, err := os.MkdirTemp("", "writ-mutants-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	l := &lab{dir: dir, binaries: map[string]string{}}
	began := time.Now()
	if err := l.build(ctx, wanted); err != nil {
		return 0, err
	}
	fmt.Printf("# built in %.0f s\n", time.Since(began).Seconds())
	cluster, err := pgtest.Start(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, cluster.Stop()) }()
	l.server = cluster.DSN
	if err := l.healthy(ctx, wanted); err != nil {
		return 0, err
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, m := range wanted {
		by, err := l.try(ctx, m)
		if err != nil {
			return 0, err
		}
		if by == "" {
			survivors++
			by = "SURVIVES"
		}
		fmt.Fprintf(out, "%s\t%s\t%s\n", m.Name, m.Breaks, by)
	}
	if err := out.Flush(); err != nil {
		return 0, err
	}
	fmt.Printf("mutants %d caught %d survived %d in %.0f s\n", len(wanted), len(wanted)-survivors, survivors, time.Since(began).Seconds())
	return survivors, nil
}

// build compiles the tests of every package, all mutants within.
func (l *lab) build(ctx context.Context, wanted []mutant.Mutant) error {
	replace := map[string]string{}
	if err := mutant.Overlay(".", l.dir, replace); err != nil {
		return err
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	overlay := filepath.Join(l.dir, "overlay.json")
	if err := os.WriteFile(overlay, text, 0o644); err != nil {
		return err
	}
	for _, m := range wanted {
		if l.binaries[m.Package] != "" {
			continue
		}
		to := filepath.Join(l.dir, filepath.Base(m.Package)+".test")
		out, err := exec.CommandContext(ctx, "go", "test", "-c", "-tags", mutant.Tag, "-overlay", overlay, "-o", to, m.Package).CombinedOutput()
		if err != nil {
			return fmt.Errorf("building the tests of %s: %w: %s", m.Package, err, out)
		}
		l.binaries[m.Package] = to
	}
	return nil
}

// healthy runs the tests without any mutant: what fails then catches nothing.
func (l *lab) healthy(ctx context.Context, wanted []mutant.Mutant) error {
	var done []string
	for _, m := range wanted {
		if key := m.Package + " " + m.Run; !slices.Contains(done, key) {
			done = append(done, key)
			if out, err := l.test(ctx, m, ""); err != nil {
				return fmt.Errorf("%s -run %s fails without a mutant: %w: %s", m.Package, m.Run, err, out)
			}
		}
	}
	return nil
}

// timeLimit is how long a mutant's tests may take.
const timeLimit = 2 * time.Minute

func (l *lab) test(ctx context.Context, m mutant.Mutant, alive string) ([]byte, error) {
	c := exec.CommandContext(ctx, l.binaries[m.Package], "-test.run", m.Run, "-test.failfast", "-test.count=1", "-test.timeout", timeLimit.String())
	c.Dir = m.Package
	c.Env = append(os.Environ(), mutant.Variable+"="+alive, pgtest.Variable+"="+l.server, "RAPID_NOFAILFILE=1")
	return c.CombinedOutput()
}

var failed = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

// try brings a mutant to life, and tells which test notices; empty: none does.
func (l *lab) try(ctx context.Context, m mutant.Mutant) (string, error) {
	out, err := l.test(ctx, m, m.Name)
	exit := &exec.ExitError{}
	switch {
	case err == nil && bytes.Contains(out, []byte("no tests to run")):
		return "", fmt.Errorf("%s: there is no test %s in %s", m.Name, m.Run, m.Package)
	case err == nil:
		return "", nil
	case !errors.As(err, &exit):
		return "", fmt.Errorf("running the tests of %s: %w", m.Package, err)
	case bytes.Contains(out, []byte("changes nothing")):
		return "", fmt.Errorf("the mutant %s changes nothing", m.Name)
	}
	// The last of those that fail is the innermost of the first.
	name := ""
	for _, match := range failed.FindAllSubmatch(out, -1) {
		if text := string(match[1]); strings.HasPrefix(text, name) {
			name = text
		}
	}
	if name == "" {
		return "", fmt.Errorf("the tests of %s end with the mutant %s, and none fails: %s", m.Package, m.Name, out)
	}
	return strings.TrimPrefix(m.Package, "./") + " " + name, nil
}
