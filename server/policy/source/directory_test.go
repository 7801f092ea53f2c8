package source

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A directory is there at once, and a change of it once it has stood still.
func TestDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "policies")
	d := NewDirectory(dir)
	if _, err := fetch(t, d, Position{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: got %v", err)
	}
	write(t, filepath.Join(dir, "writ.yaml"), "1")
	write(t, filepath.Join(dir, "cedar/a.cedar"), "a")
	write(t, filepath.Join(dir, ".git/config"), "x")
	first := take(t, d, Position{})
	if got := contents(t, first.Files); got != "cedar/a.cedar=a;writ.yaml=1;" || first.Commit != "" || len(first.Revision) != 64 {
		t.Errorf("got %s, %+v", got, first)
	}
	at := Position{Revision: first.Revision}
	if found := take(t, d, at); found.Files != nil || found.Revision != first.Revision {
		t.Errorf("unchanged: got %+v", found)
	}
	info, err := os.Stat(filepath.Join(dir, "writ.yaml"))
	must(t, err)
	write(t, filepath.Join(dir, "writ.yaml"), "2") // of the same size, and at the same time
	must(t, os.Chtimes(filepath.Join(dir, "writ.yaml"), info.ModTime(), info.ModTime()))
	if found := take(t, d, at); found.Revision != "" {
		t.Errorf("in the middle of writing: got %+v", found)
	}
	write(t, filepath.Join(dir, "cedar/a.cedar"), "b")
	if found := take(t, d, at); found.Revision != "" {
		t.Errorf("still in the middle of writing: got %+v", found)
	}
	second := take(t, d, at)
	if got := contents(t, second.Files); got != "cedar/a.cedar=b;writ.yaml=2;" {
		t.Errorf("got %s", got)
	}
	if found := take(t, d, Position{Revision: first.Revision, Refused: second.Revision}); found.Files != nil || found.Revision != second.Revision {
		t.Errorf("refused before: got %+v", found)
	}
	write(t, filepath.Join(dir, "writ.yaml"), "1")
	write(t, filepath.Join(dir, "cedar/a.cedar"), "a")
	if found := take(t, d, at); found.Revision != first.Revision {
		t.Errorf("set back: got %+v", found)
	}
}

// What leads out of the directory, or is larger than a file of a bundle, cannot be
// read as a part of it. Where nobody needs it, it may be there.
func TestDirectoryBlocks(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	write(t, outside, "secret")
	for name, c := range map[string]struct {
		make func(file string) error
		says string
	}{
		"link to a file":      {func(f string) error { return os.Symlink(outside, f) }, "not a regular file"},
		"link within":         {func(f string) error { return os.Symlink("writ.yaml", f) }, "not a regular file"},
		"link to a directory": {func(f string) error { return os.Symlink(filepath.Dir(outside), f) }, "not a regular file"},
		"pipe":                {func(f string) error { return syscall.Mkfifo(f, 0o600) }, "not a regular file"},
		"large file":          {func(f string) error { return errors.Join(os.WriteFile(f, nil, 0o600), os.Truncate(f, 100<<20)) }, "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "writ.yaml"), "1")
			plain := take(t, NewDirectory(dir), Position{})
			must(t, c.make(filepath.Join(dir, "x")))
			found := take(t, NewDirectory(dir), Position{})
			if found.Revision == plain.Revision {
				t.Error("it changes nothing")
			}
			_, err := fs.ReadFile(found.Files, "x")
			entries, listing := fs.ReadDir(found.Files, ".")
			if err == nil || !strings.Contains(err.Error(), "x: "+c.says) || errors.Is(err, fs.ErrNotExist) || listing != nil || len(entries) != 2 {
				t.Errorf("got %v, %v, want %s", err, entries, c.says)
			}
			if data, err := fs.ReadFile(found.Files, "writ.yaml"); err != nil || string(data) != "1" {
				t.Errorf("got %q, %v", data, err)
			}
			var kept bytes.Buffer
			w := tar.NewWriter(&kept)
			must(t, WriteTar(w, found.Files))
			must(t, w.Close())
			again, err := ReadTar(&kept)
			must(t, err)
			if got := contents(t, again); got != "writ.yaml=1;" {
				t.Errorf("kept %s", got)
			}
		})
	}
}

// More than a bundle may be, and names that could be others than they seem.
func TestDirectoryRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		make func(dir string) error
		says string
	}{
		"large together": {func(d string) error {
			for i := range maxTotal/maxFile + 1 {
				name := filepath.Join(d, fmt.Sprint(i))
				if err := errors.Join(os.WriteFile(name, nil, 0o600), os.Truncate(name, maxFile)); err != nil {
					return err
				}
			}
			return nil
		}, "together"},
		"deep":      {func(d string) error { return os.MkdirAll(filepath.Join(d, strings.Repeat("d/", maxDepth+1)), 0o700) }, "deeper than"},
		"backslash": {func(d string) error { return os.WriteFile(filepath.Join(d, `a\b`), nil, 0o600) }, "not a name within the tree"},
		"control":   {func(d string) error { return os.WriteFile(filepath.Join(d, "a\nb"), nil, 0o600) }, "not a name within the tree"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "writ.yaml"), "1")
			must(t, c.make(dir))
			_, err := fetch(t, NewDirectory(dir), Position{})
			var refusal *Refusal
			if !errors.As(err, &refusal) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want it refused: %s", err, c.says)
			}
		})
	}
	// A release that is swapped by a link to it is a directory like any other.
	release := t.TempDir()
	write(t, filepath.Join(release, "writ.yaml"), "1")
	current := filepath.Join(t.TempDir(), "current")
	must(t, os.Symlink(release, current))
	if got := contents(t, take(t, NewDirectory(current), Position{}).Files); got != "writ.yaml=1;" {
		t.Errorf("got %s", got)
	}
}
