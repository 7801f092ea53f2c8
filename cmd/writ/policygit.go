package main

import (
	"bufio"
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
	maxTree  = 128 << 20 // bytes of all files
	maxFiles = 20_000
)

// bundleAt is the bundle in a directory, or at a revision of a Git repository. What
// was made for it is gone after done.
func bundleAt(ctx context.Context, place string) (files fs.FS, done func(), err error) {
	info, err := os.Stat(place)
	if err == nil && info.IsDir() {
		return os.DirFS(place), func() {}, nil
	}
	revision, _, ok := strings.Cut(place, ":")
	if !ok || revision == "" || strings.HasPrefix(revision, "-") {
		return nil, nil, fmt.Errorf("%s: neither a directory nor REVISION:DIRECTORY", place)
	}
	into, err := os.MkdirTemp("", "writ-bundle-")
	if err != nil {
		return nil, nil, fmt.Errorf("making a directory: %w", err)
	}
	done = func() { os.RemoveAll(into) }
	if err := checkOut(ctx, strings.TrimSuffix(place, "/"), into); err != nil {
		done()
		return nil, nil, fmt.Errorf("%s: %w", place, err)
	}
	return os.DirFS(into), done, nil
}

// git is the git binary, which knows every form of revision and of repository. It
// fetches nothing and replaces nothing.
func git(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "git", args...)
	c.Env = append(os.Environ(), "GIT_NO_LAZY_FETCH=1", "GIT_NO_REPLACE_OBJECTS=1", "GIT_TERMINAL_PROMPT=0")
	return c
}

// checkOut puts the files of a tree into an empty directory, byte for byte: not as
// an archive, from which the repository's attributes can leave files out.
func checkOut(ctx context.Context, tree, into string) error {
	var problem bytes.Buffer
	list := git(ctx, "ls-tree", "-r", "-z", "--full-tree", tree)
	list.Stderr = &problem
	entries, err := list.Output()
	if err != nil {
		return fmt.Errorf("git ls-tree: %w: %s", err, strings.TrimSpace(problem.String()))
	}
	if len(entries) == 0 {
		return errors.New("there are no files")
	}
	root, err := os.OpenRoot(into)
	if err != nil {
		return fmt.Errorf("opening a directory: %w", err)
	}
	defer root.Close()
	objects, err := openBlobs(ctx)
	if err != nil {
		return err
	}
	defer objects.close()
	for n, entry := range strings.Split(strings.TrimSuffix(string(entries), "\x00"), "\x00") {
		if n >= maxFiles {
			return fmt.Errorf("more than %d files", maxFiles)
		}
		facts, name, _ := strings.Cut(entry, "\t")
		fields := strings.Fields(facts)
		if len(fields) != 3 || !strings.HasPrefix(fields[0], "100") {
			return fmt.Errorf("%s: not a regular file", name)
		}
		if err := objects.write(root, name, fields[2]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// blobs reads objects from one git process.
type blobs struct {
	ask  io.WriteCloser
	from *bufio.Reader
	wait func() error
	left int64 // bytes that may still come
}

func openBlobs(ctx context.Context) (*blobs, error) {
	c := git(ctx, "cat-file", "--batch")
	ask, err := c.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("running git: %w", err)
	}
	from, err := c.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("running git: %w", err)
	}
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("running git: %w", err)
	}
	return &blobs{ask: ask, from: bufio.NewReader(from), left: maxTree, wait: func() error { from.Close(); return c.Wait() }}, nil
}

// close ends the process. That it ends otherwise than well says nothing: what was
// asked for was read.
func (b *blobs) close() {
	b.ask.Close()
	b.wait()
}

// write puts one object into a file.
func (b *blobs) write(root *os.Root, name, id string) error {
	if _, err := fmt.Fprintln(b.ask, id); err != nil {
		return fmt.Errorf("asking git: %w", err)
	}
	header, err := b.from.ReadString('\n')
	if err != nil {
		return fmt.Errorf("git cat-file: %w", err)
	}
	var got, kind string
	var size int64
	if _, err := fmt.Sscanf(header, "%s %s %d\n", &got, &kind, &size); err != nil || got != id || kind != "blob" {
		return fmt.Errorf("git has no such object")
	}
	if b.left -= size; b.left < 0 {
		return fmt.Errorf("the files are larger than %d bytes", maxTree)
	}
	name = filepath.FromSlash(name)
	if dir := filepath.Dir(name); dir != "." {
		if err := root.MkdirAll(dir, 0o777); err != nil {
			return fmt.Errorf("making a directory: %w", err)
		}
	}
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return fmt.Errorf("making a file: %w", err)
	}
	_, err = io.CopyN(file, b.from, size)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("reading from git: %w", err)
	}
	_, err = b.from.Discard(1) // the line's end
	return err
}
