// Package archive turns a policy bundle into one sequence of bytes and back. The
// form is canonical: the same files give the same bytes, and whatever is not
// exactly those bytes is refused, so that the digest of an archive names what a
// bundle holds. It knows no file system but what it is given.
package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
)

// Max is the most bytes of an archive: what a bundle may hold, and for each file
// its header, that of a long name, and what fills its last block.
const Max = policy.MaxBundle + policy.MaxFiles*(6*512) + 1024

// Bounds of a name: its bytes, and the directories that it leads through.
const (
	maxName  = 512
	maxDepth = 8
)

// Pack reads the bundle at the root of a file system, as policy.Load does, and
// returns it with its archive: a tar of the files that were read and no others,
// in the order of their names, all of the same owner, mode and time. Each file is
// read once: what is loaded is what is packed.
func Pack(fsys fs.FS) (archive []byte, bundle *decision.Bundle, err error) {
	seen := &recorder{fsys: fsys, files: map[string]*bytes.Buffer{}}
	if bundle, err = policy.Load(seen); err != nil {
		return nil, nil, err
	}
	files := map[string][]byte{}
	for name, buffer := range seen.files {
		files[name] = buffer.Bytes()
	}
	if archive, err = write(files); err != nil {
		return nil, nil, fmt.Errorf("packing the bundle: %w", err)
	}
	again, err := Open(archive)
	if err != nil {
		return nil, nil, fmt.Errorf("packing the bundle: %w", err)
	}
	if again.Digest != bundle.Digest {
		return nil, nil, errors.New("packing the bundle: its archive gives another bundle")
	}
	return archive, bundle, nil
}

// Open loads the bundle that an archive holds. It refuses every sequence of bytes
// that Pack would not have written: other members than regular files, names that
// lead out of the root, members out of order or twice, trailing bytes, files that
// the bundle does not read.
func Open(archive []byte) (*decision.Bundle, error) {
	files, err := read(archive)
	if err != nil {
		return nil, fmt.Errorf("reading the archive of a bundle: %w", err)
	}
	fsys, err := tree(files)
	if err != nil {
		return nil, fmt.Errorf("reading the archive of a bundle: %w", err)
	}
	seen := &recorder{fsys: fsys, files: map[string]*bytes.Buffer{}}
	bundle, err := policy.Load(seen)
	if err != nil {
		return nil, fmt.Errorf("loading the archive of a bundle: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if seen.files[name] == nil {
			return nil, fmt.Errorf("reading the archive of a bundle: %s: no part of the bundle", name)
		}
	}
	return bundle, nil
}

func write(files map[string][]byte) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(files[name])), Mode: 0o444}
		if err := w.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if _, err := w.Write(files[name]); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// read takes the members apart and wants to have been given exactly what they
// would be written as.
func read(archive []byte) (map[string][]byte, error) {
	if len(archive) > Max {
		return nil, fmt.Errorf("it is larger than %d bytes", Max)
	}
	files := map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		switch _, twice := files[header.Name]; {
		case header.Typeflag != tar.TypeReg:
			return nil, fmt.Errorf("%.200q: not a regular file", header.Name)
		case !fs.ValidPath(header.Name) || header.Name == "." || len(header.Name) > maxName || strings.Count(header.Name, "/") > maxDepth:
			return nil, fmt.Errorf("%.200q: not the name of a file", header.Name)
		case twice:
			return nil, fmt.Errorf("%.200q: it is there twice", header.Name)
		case len(files) == policy.MaxFiles:
			return nil, fmt.Errorf("it has more than %d files", policy.MaxFiles)
		}
		// No longer than the archive: a sparse file could be.
		data, err := io.ReadAll(io.LimitReader(r, int64(len(archive))))
		if err != nil {
			return nil, fmt.Errorf("%.200q: %w", header.Name, err)
		}
		files[header.Name] = data
	}
	canonical, err := write(files)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(canonical, archive) {
		return nil, errors.New("it is not in the canonical form")
	}
	return files, nil
}
