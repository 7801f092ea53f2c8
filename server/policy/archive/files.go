package archive

import (
	"bytes"
	"io"
	"io/fs"
	"maps"
	"slices"

	"golang.org/x/tools/txtar"
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

// tree is a file system of files by their paths.
func tree(files map[string][]byte) (fs.FS, error) {
	var all txtar.Archive
	for _, name := range slices.Sorted(maps.Keys(files)) {
		all.Files = append(all.Files, txtar.File{Name: name, Data: files[name]})
	}
	return txtar.FS(&all)
}
