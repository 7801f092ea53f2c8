package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Bounds of what is read from Git, somewhat above a bundle's own.
const (
	maxArchive = 128 << 20 // bytes
	maxEntries = 20_000
)

// bundleAt is the bundle in a directory, or at a revision of a Git repository. What
// was made for it is gone after done.
func bundleAt(ctx context.Context, place string) (files fs.FS, done func(), err error) {
	info, err := os.Stat(place)
	if err == nil && info.IsDir() {
		return os.DirFS(place), func() {}, nil
	}
	revision, dir, ok := strings.Cut(place, ":")
	if !ok || revision == "" || strings.HasPrefix(revision, "-") {
		return nil, nil, fmt.Errorf("%s: neither a directory nor REVISION:DIRECTORY", place)
	}
	into, err := os.MkdirTemp("", "writ-bundle-")
	if err != nil {
		return nil, nil, fmt.Errorf("making a directory: %w", err)
	}
	done = func() { os.RemoveAll(into) }
	if err := checkOut(ctx, revision, dir, into); err != nil {
		done()
		return nil, nil, fmt.Errorf("%s: %w", place, err)
	}
	return os.DirFS(into), done, nil
}

// checkOut puts a directory of a revision into an empty one, by the git binary: it
// knows every form of revision and of repository.
func checkOut(ctx context.Context, revision, dir, into string) error {
	git := exec.CommandContext(ctx, "git", "archive", "--format=tar", revision+":"+strings.TrimSuffix(filepath.ToSlash(dir), "/"))
	var problem bytes.Buffer
	git.Stderr = &problem
	out, err := git.StdoutPipe()
	if err != nil {
		return fmt.Errorf("running git: %w", err)
	}
	if err := git.Start(); err != nil {
		return fmt.Errorf("running git: %w", err)
	}
	unpacked := unpack(io.LimitReader(out, maxArchive), into)
	_, drained := io.Copy(io.Discard, io.LimitReader(out, maxArchive))
	if err := git.Wait(); err != nil {
		return fmt.Errorf("git archive: %w: %s", err, strings.TrimSpace(problem.String()))
	}
	return errors.Join(unpacked, drained)
}

// unpack writes the regular files of an archive below a directory, and refuses
// every other kind.
func unpack(archive io.Reader, into string) error {
	root, err := os.OpenRoot(into)
	if err != nil {
		return fmt.Errorf("opening a directory: %w", err)
	}
	defer root.Close()
	t := tar.NewReader(archive)
	for n := 0; ; n++ {
		header, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("reading the archive: %w", err)
		case n > maxEntries:
			return fmt.Errorf("more than %d files", maxEntries)
		}
		switch header.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(filepath.Clean(header.Name), 0o777)
		case tar.TypeReg:
			err = unpackFile(root, header.Name, t)
		case tar.TypeXGlobalHeader: // the commit's id
		default:
			err = fmt.Errorf("%s: neither a file nor a directory", header.Name)
		}
		if err != nil {
			return err
		}
	}
}

func unpackFile(root *os.Root, name string, from io.Reader) error {
	file, err := root.OpenFile(filepath.Clean(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return fmt.Errorf("unpacking: %w", err)
	}
	_, err = io.Copy(file, from)
	return errors.Join(err, file.Close())
}
