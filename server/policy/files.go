package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
)

// Bounds of a bundle: the bytes of all files, and how many there are.
const (
	MaxBundle = 64 << 20
	MaxFiles  = 10_000

	maxFile = maxCedarFile
)

// files reads a bundle's files within the bounds and remembers what was read
// for the digest.
type files struct {
	fsys  fs.FS
	size  int64
	sums  map[string][sha256.Size]byte
	texts map[string][]byte // kept when not nil
	count int
}

func (f *files) read(name string) ([]byte, error) {
	if dir := path.Dir(name); dir != "." {
		if err := f.directory(dir); err != nil {
			return nil, err
		}
	}
	info, err := fs.Lstat(f.fsys, name)
	if err != nil {
		return nil, fmt.Errorf("reading the bundle: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", name)
	}
	if f.count++; f.count > MaxFiles {
		return nil, fmt.Errorf("the bundle has more than %d files", MaxFiles)
	}
	file, err := f.fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading the bundle: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: larger than %d bytes", name, maxFile)
	}
	if f.size += int64(len(data)); f.size > MaxBundle {
		return nil, fmt.Errorf("the bundle is larger than %d bytes", MaxBundle)
	}
	f.sums[name] = sha256.Sum256(data)
	if f.texts != nil {
		f.texts[name] = data
	}
	return data, nil
}

// directory refuses what is in the place of a directory, a symbolic link to one
// included.
func (f *files) directory(name string) error {
	info, err := fs.Lstat(f.fsys, name)
	if err != nil {
		return fmt.Errorf("reading the bundle: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s: not a directory", name)
	}
	return nil
}

// list returns the files of a directory that end in ext, in the order of their
// names; none when there is no directory. A directory within it, but that of the
// tenants, is an error: what it holds would silently be no part of the bundle.
func (f *files) list(dir, ext string) ([]string, error) {
	if err := f.directory(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(f.fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("reading the bundle: %w", err)
	}
	var names []string
	for _, entry := range entries {
		name := path.Join(dir, entry.Name())
		if entry.IsDir() && entry.Name() == dirTenants && (dir == dirCedar || dir == DirTests) {
			continue
		}
		if entry.IsDir() {
			return nil, fmt.Errorf("%s: a directory, whose files would not be read", name)
		}
		if path.Ext(name) == ext {
			names = append(names, name)
		}
	}
	return names, nil
}

// checkNames refuses files that look like a bundle's and are none of it: a
// misspelt budgets.yaml must not leave a bundle without budgets.
func (f *files) checkNames() error {
	entries, err := fs.ReadDir(f.fsys, ".")
	if err != nil {
		return fmt.Errorf("reading the bundle: %w", err)
	}
	known := []string{fileManifest, fileSchema, fileEntities, fileTools, filePurposes, fileVendors, fileBudgets, fileBreakers, fileLabels, fileChains}
	for _, entry := range entries {
		name := entry.Name()
		if slices.Contains(known, name) || name[0] == '.' {
			continue
		}
		switch path.Ext(name) {
		case ".yaml", ".yml", ".cedar", ".cedarschema":
			return fmt.Errorf("%s: not a file of a bundle", name)
		}
	}
	return nil
}

// digest covers the name and content of every file that was read, in the order
// of their names.
func (f *files) digest() string { return f.digestOf(slices.Sorted(maps.Keys(f.sums))) }

func (f *files) digestOf(names []string) string {
	h := sha256.New()
	for _, name := range names {
		sum := f.sums[name]
		fmt.Fprintf(h, "%x  %s\n", sum, name)
	}
	return hex.EncodeToString(h.Sum(nil))
}
