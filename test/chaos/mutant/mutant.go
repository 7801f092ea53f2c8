// Package mutant holds deliberate breakages of Writ, each of which some test must
// notice. They are no part of the program: a build takes them in only by its overlay
// and with the build tag Tag, so that no other build can have one, and none of its
// sources speaks of them.
//
// A mutated program has all mutants; the environment variable Variable says which
// one is alive.
package mutant

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// Tag is the build tag without which a mutated program does not build.
	Tag = "mutant"
	// Variable names the environment variable that brings a mutant to life.
	Variable = "WRIT_MUTANT"
)

// Mutant is one breakage.
type Mutant struct {
	Name string
	// Breaks says what it breaks, in a few words.
	Breaks string
	// Package is where a test notices it, and Run the tests that must, as for
	// `go test -run`.
	Package, Run string
}

// Patch is a change of a file's text that makes a place for mutants, whose names
// stand in New. Old stands in the file exactly once.
type Patch struct{ File, Old, New string }

// support is what each mutated package is given: its name goes before it.
const support = `
import (
	"os"
	"strings"
)

var aliveMutant = os.Getenv("` + Variable + `")

// mutant reports whether a mutant is alive.
func mutant(name string) bool { return aliveMutant == name }

// mutate changes a text where a mutant is alive.
func mutate(name, text, old, new string) string {
	if !mutant(name) {
		return text
	}
	if !strings.Contains(text, old) {
		panic("the mutant " + name + " changes nothing")
	}
	return strings.ReplaceAll(text, old, new)
}
`

// Find is the mutant of a name.
func Find(name string) (Mutant, error) {
	i := slices.IndexFunc(All, func(m Mutant) bool { return m.Name == name })
	if i < 0 {
		return Mutant{}, fmt.Errorf("there is no mutant %q", name)
	}
	return All[i], nil
}

// Apply is the mutated text of every file that has a patch, by its path in the
// module, whose root is given.
func Apply(root string) (map[string]string, error) {
	texts := map[string]string{}
	for _, p := range Patches {
		text, ok := texts[p.File]
		if !ok {
			raw, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(p.File)))
			if err != nil {
				return nil, fmt.Errorf("mutating: %w", err)
			}
			text = string(raw)
		}
		if n := strings.Count(text, p.Old); n != 1 {
			return nil, fmt.Errorf("mutating %s: this stands there %d times, and not once:\n%s", p.File, n, p.Old)
		}
		texts[p.File] = strings.Replace(text, p.Old, p.New, 1)
	}
	return texts, nil
}

// Overlay writes the mutated files into a directory and adds to replace, as the go
// command's -overlay has it, what stands for what.
func Overlay(root, dir string, replace map[string]string) error {
	texts, err := Apply(root)
	if err != nil {
		return err
	}
	absolute, err := filepath.Abs(root)
	if err != nil {
		return fmt.Errorf("mutating: %w", err)
	}
	packages := map[string]bool{}
	for file, text := range texts {
		to := filepath.Join(dir, "mutant-"+strings.ReplaceAll(file, "/", "-"))
		packages[path.Dir(file)] = true
		replace[filepath.Join(absolute, filepath.FromSlash(file))] = to
		// The tag, so that it is never built by mistake.
		if err := os.WriteFile(to, []byte("//go:build "+Tag+"\n\n"+text), 0o644); err != nil {
			return fmt.Errorf("mutating: %w", err)
		}
	}
	var errs []error
	for pkg := range packages {
		to := filepath.Join(dir, "mutant-"+strings.ReplaceAll(pkg, "/", "-")+".go")
		replace[filepath.Join(absolute, filepath.FromSlash(pkg), "mutant.go")] = to
		text := fmt.Sprintf("//go:build %s\n\npackage %s\n%s", Tag, path.Base(pkg), support)
		errs = append(errs, os.WriteFile(to, []byte(text), 0o644))
	}
	return errors.Join(errs...)
}
