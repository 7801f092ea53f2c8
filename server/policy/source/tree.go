package source

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/tools/txtar"

	"github.com/writpdp/writ/server/policy/source/pack"
)

// Bounds of what is taken from a source. They are no narrower than those of a
// bundle, which policy.Load holds again.
const (
	maxFile  = pack.MaxObject
	maxFiles = 10_000
	maxTotal = 64 << 20
	maxDepth = 16
	maxName  = 512
)

// tree gathers files within the bounds.
type tree struct {
	files []txtar.File
	size  int64
	// blocked are files that are there and cannot be read, and why.
	blocked map[string]blocked
}

// checkName refuses the name of a file or directory that could be another than
// it seems, or lead out of the tree.
func checkName(name string) error {
	switch {
	case len(name) > maxName:
		return fmt.Errorf("%.40q…: a name longer than %d bytes", name, maxName)
	case !fs.ValidPath(name) || strings.ContainsFunc(name, func(r rune) bool { return r == '\\' || !unicode.IsPrint(r) }):
		return fmt.Errorf("%q: not a name within the tree", name)
	case strings.Count(name, "/") >= maxDepth:
		return fmt.Errorf("%q: deeper than %d directories", name, maxDepth)
	}
	return nil
}

// hidden reports whether a name, or a directory in it, begins with a dot. Such
// files are no part of a bundle: .git and .github are not, and no file is.
func hidden(name string) bool {
	return strings.HasPrefix(name, ".") || strings.Contains(name, "/.")
}

// room says whether one more file fits.
func (t *tree) room(name string, size int64) error {
	switch {
	case size > maxFile:
		return fmt.Errorf("%s: larger than %d bytes", name, maxFile)
	case t.size+size > maxTotal:
		return fmt.Errorf("the files are larger than %d bytes together", maxTotal)
	case len(t.files) >= maxFiles:
		return fmt.Errorf("more than %d files", maxFiles)
	}
	return nil
}

// add takes a file. The caller has checked its name.
func (t *tree) add(name string, data []byte) error {
	if err := t.room(name, int64(len(data))); err != nil {
		return err
	}
	t.size += int64(len(data))
	t.files = append(t.files, txtar.File{Name: name, Data: data})
	return nil
}

// block takes a file that must not be read: whoever needs it is refused, and
// whoever does not is not troubled by it.
func (t *tree) block(name string, why blocked) error {
	if t.blocked == nil {
		t.blocked = map[string]blocked{}
	}
	t.blocked[name] = why
	return t.add(name, nil)
}

// blocked is why a file cannot be read.
type blocked string

func (b blocked) Error() string { return string(b) }

// blockedFS is a file system of which some files cannot be opened.
type blockedFS struct {
	fs.FS
	blocked map[string]blocked
}

func (b blockedFS) Open(name string) (fs.File, error) {
	if why, ok := b.blocked[name]; ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: why}
	}
	return b.FS.Open(name)
}

// fs is the tree as a file system. A name that stands twice is an error: two
// readers could each see another.
func (t *tree) fs() (fs.FS, error) {
	t.sort()
	fsys, err := txtar.FS(&txtar.Archive{Files: t.files})
	if err != nil {
		return nil, fmt.Errorf("reading the tree: %w", err)
	}
	if len(t.blocked) > 0 {
		return blockedFS{fsys, t.blocked}, nil
	}
	return fsys, nil
}

func (t *tree) sort() {
	slices.SortStableFunc(t.files, func(a, b txtar.File) int { return strings.Compare(a.Name, b.Name) })
}

// sum is the hex SHA-256 of names and contents.
func (t *tree) sum() string {
	t.sort()
	h := sha256.New()
	for _, f := range t.files {
		data := sha256.Sum256(f.Data)
		fmt.Fprintf(h, "%x %s %s\n", data, t.blocked[f.Name], f.Name)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// within cuts a directory's name off a file's; false: the file is not in it.
func within(name, directory string) (string, bool) {
	if directory == "." {
		return name, true
	}
	return strings.CutPrefix(name, directory+"/")
}

// checkDirectory cleans a bundle's directory within a repository or artefact;
// empty is the root.
func checkDirectory(directory string) (string, error) {
	directory = path.Clean(directory)
	if err := checkName(directory); err != nil {
		return "", fmt.Errorf("the directory %w", err)
	}
	if directory != "." && hidden(directory) {
		return "", fmt.Errorf("the directory %q is hidden", directory)
	}
	return directory, nil
}
