package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// corpus is the files of the published archives, by their names in them.
type corpus map[string][]byte

// The archives: what to decide and what Rust Cedar decided, and what its
// validator said.
const (
	archiveTests      = "corpus-tests.tar.gz"
	archiveValidation = "corpus-tests-validation.tar.gz"
)

// module is the directory of the Cedar module that this program is built with:
// the corpus is of that version.
func module() (string, error) {
	const name = "github.com/cedar-policy/cedar-go"
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", name).Output()
	if err != nil {
		return "", fmt.Errorf("finding the module %s: %w", name, err)
	}
	dir := strings.TrimSpace(string(out))
	if dir == "" {
		return "", fmt.Errorf("the module %s is not downloaded", name)
	}
	return dir, nil
}

// add reads one archive of the module.
func (c corpus) add(dir, name string) error {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return fmt.Errorf("opening the corpus: %w", err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	archive := tar.NewReader(unzipped)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		if header.Typeflag != tar.TypeReg || strings.HasPrefix(filepath.Base(header.Name), "._") {
			continue
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			return fmt.Errorf("reading %s of %s: %w", header.Name, name, err)
		}
		c[header.Name] = data
	}
}

// checks is the directory of the module that holds the tests of validation
// alone, which have what is to be rejected of every kind.
const checks = "x/exp/schema/validate/testdata"

// addChecks reads them; their names begin with "testdata/".
func (c corpus) addChecks(dir string) error {
	dir = filepath.Join(dir, filepath.FromSlash(checks))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("reading the tests of validation: %w", err)
	}
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return fmt.Errorf("reading the tests of validation: %w", err)
		}
		c["testdata/"+entry.Name()] = data
	}
	return nil
}

// tests are the names of the tests, in order.
func (c corpus) tests() []string {
	var names []string
	for name := range c {
		dir, _ := path.Split(name)
		base, isTest := strings.CutSuffix(name, ".json")
		if isTest && (dir == "corpus-tests/" || dir == "testdata/") && path.Ext(base) == "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (c corpus) get(name string) ([]byte, error) {
	data, ok := c[name]
	if !ok {
		return nil, fmt.Errorf("the corpus has no %s", name)
	}
	return data, nil
}
