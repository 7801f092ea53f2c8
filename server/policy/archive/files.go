package archive

import (
	"bytes"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// recorder is a file system that notes what is read of each regular file.
type recorder struct {
	fsys  fs.FS
	files map[string]*bytes.Buffer
}

// Open opens a file, and notes what is read of it.
func (r *recorder) Open(name string) (fs.File, error) {
	f, err := r.fsys.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return f, nil
	}
	buffer := &bytes.Buffer{}
	r.files[name] = buffer
	return noted{f, io.TeeReader(f, buffer)}, nil
}

// Lstat and ReadLink pass on what the file system knows of symbolic links: who
// looks through it must see them.
func (r *recorder) Lstat(name string) (fs.FileInfo, error) { return fs.Lstat(r.fsys, name) }

// ReadLink is what a symbolic link holds.
func (r *recorder) ReadLink(name string) (string, error) { return fs.ReadLink(r.fsys, name) }

// ReadDir lists a directory.
func (r *recorder) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(r.fsys, name) }

type noted struct {
	fs.File
	tee io.Reader
}

func (n noted) Read(p []byte) (int, error) { return n.tee.Read(p) }

// memory is a file system of files by their paths.
type memory struct {
	files map[string][]byte
	dirs  map[string][]fs.DirEntry // the entries of each, by name
}

func newMemory(files map[string][]byte) *memory {
	m := &memory{files: files, dirs: map[string][]fs.DirEntry{".": nil}}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		n := node{name, int64(len(files[name])), 0o444}
		for {
			dir := path.Dir(n.path)
			_, known := m.dirs[dir]
			m.dirs[dir] = append(m.dirs[dir], fs.FileInfoToDirEntry(n))
			if known {
				break
			}
			n = node{dir, 0, fs.ModeDir | 0o555}
		}
	}
	for _, entries := range m.dirs {
		slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	}
	return m
}

// Open opens a file, or a directory that a path leads through.
func (m *memory) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	if data, ok := m.files[name]; ok {
		return &file{node{name, int64(len(data)), 0o444}, bytes.NewReader(data)}, nil
	}
	if entries, ok := m.dirs[name]; ok {
		return &directory{node{name, 0, fs.ModeDir | 0o555}, entries}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// node is what is known of a file or directory.
type node struct {
	path string
	size int64
	mode fs.FileMode
}

func (n node) Name() string               { return path.Base(n.path) }
func (n node) Size() int64                { return n.size }
func (n node) Mode() fs.FileMode          { return n.mode }
func (n node) ModTime() time.Time         { return time.Time{} }
func (n node) IsDir() bool                { return n.mode.IsDir() }
func (n node) Sys() any                   { return nil }
func (n node) Stat() (fs.FileInfo, error) { return n, nil }
func (n node) Close() error               { return nil }

type file struct {
	node
	*bytes.Reader
}

// Size is in both parts.
func (f *file) Size() int64 { return f.node.size }

type directory struct {
	node
	rest []fs.DirEntry
}

func (d *directory) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.path, Err: fs.ErrInvalid}
}

// ReadDir returns the next n entries, or with n <= 0 all that are left.
func (d *directory) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		n = len(d.rest)
	} else if len(d.rest) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.rest))
	next := d.rest[:n]
	d.rest = d.rest[n:]
	return next, nil
}
