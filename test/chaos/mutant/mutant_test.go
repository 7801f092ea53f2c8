package mutant_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/writpdp/writ/test/chaos/mutant"
)

const root = "../../.."

var names = regexp.MustCompile(`(?:mutant|mutate)\("([a-z-]+)"`)

// Every patch finds its place, every place is of a mutant, and every mutant has one.
func TestPatches(t *testing.T) {
	texts, err := mutant.Apply(root)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for file, text := range texts {
		for _, match := range names.FindAllStringSubmatch(text, -1) {
			found[match[1]] = true
			if _, err := mutant.Find(match[1]); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
	seen := map[string]bool{}
	for _, m := range mutant.All {
		if !found[m.Name] || seen[m.Name] {
			t.Errorf("the mutant %s has no place, or is there twice", m.Name)
		}
		seen[m.Name] = true
	}
	if got, want := len(seen), 15; got < want {
		t.Errorf("%d mutants, want at least %d", got, want)
	}
}

// No source of the program has a mutant, or anything that a build tag or a variable
// of the environment would bring to life.
func TestTheProgramHasNone(t *testing.T) {
	tag := regexp.MustCompile(`(?m)^//go:build .*\b` + mutant.Tag + `\b`)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if rel == filepath.Join("test", "chaos") || rel != "." && strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if names.Match(text) || tag.Match(text) || strings.Contains(string(text), mutant.Variable) {
			t.Errorf("%s: it speaks of mutants", rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
