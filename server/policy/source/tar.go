package source

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// maxTar bounds what a tar is long, its headers included.
const maxTar = maxTotal + 32<<20

// untar takes a tar's files into memory: those in a directory of it. All names
// are checked, wherever they lead.
func untar(r io.Reader, directory string) (*tree, error) {
	t := &tree{}
	reader := tar.NewReader(&limited{r, maxTar})
	for entries := 0; ; entries++ {
		header, err := reader.Next()
		switch {
		case errors.Is(err, io.EOF):
			return t, nil
		case err != nil:
			return nil, fmt.Errorf("reading a tar: %w", err)
		case entries > 2*maxFiles:
			return nil, fmt.Errorf("more than %d files and directories", 2*maxFiles)
		case header.Typeflag == tar.TypeXGlobalHeader:
			continue
		}
		name := strings.TrimPrefix(strings.TrimSuffix(header.Name, "/"), "./")
		if name == "" {
			name = "."
		}
		if err := checkName(name); err != nil {
			return nil, err
		}
		if header.Typeflag == tar.TypeDir {
			continue
		}
		if header.Typeflag != tar.TypeReg {
			return nil, fmt.Errorf("%s: neither a file nor a directory", name)
		}
		inner, ok := within(name, directory)
		if !ok || hidden(inner) {
			continue
		}
		if err := t.room(name, header.Size); err != nil {
			return nil, err
		}
		data, err := io.ReadAll(reader)
		if err != nil {
			return nil, fmt.Errorf("reading a tar: %s: %w", name, err)
		}
		if err := t.add(inner, data); err != nil {
			return nil, err
		}
	}
}

// WriteTar writes a bundle's files, in the order of their names and with
// nothing else about them.
func WriteTar(w *tar.Writer, files fs.FS) error {
	return fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, name)
		var why blocked
		if errors.As(err, &why) {
			return nil // no part of the bundle, or it would have been refused
		}
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Mode: 0o600}); err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
}

// ReadTar takes a tar that WriteTar wrote into memory, within the bounds of any
// other.
func ReadTar(r io.Reader) (fs.FS, error) {
	t, err := untar(r, ".")
	if err != nil {
		return nil, err
	}
	return t.fs()
}
