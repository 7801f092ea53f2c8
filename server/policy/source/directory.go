package source

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Directory is a directory on this machine. Whoever may write to it decides:
// there is no signature over a directory.
//
// It is watched by reading it: only contents say whether a bundle changed, on
// every file system, through every kind of mount, and a bundle is small.
type Directory struct {
	path string
	seen string // the sum that the last reading found, if it was new
}

// NewDirectory makes a source of a directory, which need not exist yet.
func NewDirectory(path string) *Directory { return &Directory{path: path} }

// Name is the directory's path.
func (d *Directory) Name() string { return "directory " + d.path }

// Fetch reads the directory. A change is there once two readings in a row have
// found the same: somebody may be in the middle of writing it.
func (d *Directory) Fetch(ctx context.Context, at Position) (Found, error) {
	t, err := d.read(ctx)
	if err != nil {
		return Found{}, err
	}
	sum := t.sum()
	found := Found{Revision: sum}
	switch {
	case sum == at.Revision || sum == at.Refused:
		d.seen = ""
		return found, nil
	case at.Revision != "" && sum != d.seen:
		d.seen = sum
		return Found{}, nil
	}
	if found.Files, err = t.fs(); err != nil {
		return Found{}, &Refusal{Revision: sum, Err: err}
	}
	return found, nil
}

// read takes the directory's files into memory, by handles that cannot lead out
// of it.
func (d *Directory) read(ctx context.Context) (*tree, error) {
	root, err := os.OpenRoot(d.path)
	if err != nil {
		return nil, fmt.Errorf("reading the bundle: %w", err)
	}
	defer root.Close()
	t := &tree{}
	visited := 0
	fsys := root.FS()
	err = fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		switch {
		case err != nil:
			return fmt.Errorf("reading the bundle: %w", err)
		case name == ".":
			return nil
		case hidden(name) && entry.IsDir():
			return fs.SkipDir
		case hidden(name):
			return nil
		}
		if visited++; visited > 2*maxFiles {
			return &Refusal{Err: fmt.Errorf("%s has more than %d files and directories", d.path, 2*maxFiles)}
		}
		if err := checkName(name); err != nil {
			return &Refusal{Err: err}
		}
		if entry.IsDir() {
			return nil
		}
		return t.take(fsys, name, entry)
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// take reads one file of a directory. What is no file, or too large for one of a
// bundle, may lie beside the bundle's.
func (t *tree) take(fsys fs.FS, name string, entry fs.DirEntry) error {
	info, err := entry.Info()
	switch {
	case err != nil:
		return fmt.Errorf("reading the bundle: %w", err)
	case !info.Mode().IsRegular():
		err = t.block(name, "not a regular file")
	case info.Size() > maxFile:
		err = t.block(name, blocked(fmt.Sprintf("larger than %d bytes", maxFile)))
	default:
		return t.read(fsys, name, info.Size())
	}
	if err != nil {
		return &Refusal{Err: err}
	}
	return nil
}

func (t *tree) read(fsys fs.FS, name string, size int64) error {
	if err := t.room(name, size); err != nil {
		return &Refusal{Err: err}
	}
	file, err := fsys.Open(name)
	if err != nil {
		return fmt.Errorf("reading the bundle: %w", err)
	}
	defer file.Close()
	var data bytes.Buffer
	data.Grow(int(size) + bytes.MinRead)
	if _, err := data.ReadFrom(io.LimitReader(file, maxFile+1)); err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	if err := t.add(name, data.Bytes()); err != nil {
		return &Refusal{Err: err}
	}
	return nil
}
