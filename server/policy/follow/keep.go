package follow

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/source"
	"github.com/writpdp/writ/server/policy/trust"
)

// fileKept holds the last good bundle: a line with the hex SHA-256 of what
// follows, a line about the bundle, and its files as a tar. One file is replaced
// in one step, so it is always of one bundle.
const fileKept = "last-known-good"

// Bounds of that file.
const (
	maxKept     = 128 << 20
	keptVersion = 1
)

// kept is the line about the bundle.
type kept struct {
	Version  int          `json:"version"`
	Source   string       `json:"source"`
	Revision string       `json:"revision"`
	Commit   string       `json:"commit"`
	Dated    time.Time    `json:"dated"`
	Signer   trust.Signer `json:"signer"`
	Digest   string       `json:"digest"`
}

// prepare makes the directory and refuses one that others can enter.
func prepare(directory string) error {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return fmt.Errorf("making the bundle's directory: %w", err)
	}
	info, err := os.Stat(directory)
	if err != nil {
		return fmt.Errorf("making the bundle's directory: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s: others can enter it; its mode must be 0700", directory)
	}
	left, err := filepath.Glob(filepath.Join(directory, fileKept+"-*")) // by a process that was killed
	for _, name := range left {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

// keep writes the bundle beside the old one, makes it durable, and puts it in
// the old one's place.
func (f *Follower) keep(found source.Found, b *decision.Bundle) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("keeping the bundle: %w", err)
		}
	}()
	line, err := json.Marshal(kept{
		Version: keptVersion, Source: f.c.Source.Name(), Revision: found.Revision, Commit: found.Commit, Dated: found.Dated,
		Signer: found.Signer, Digest: b.Digest,
	})
	if err != nil {
		return err
	}
	content := bytes.NewBuffer(append(line, '\n'))
	w := tar.NewWriter(content)
	if err := source.WriteTar(w, found.Files); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(f.c.Keep, fileKept+"-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name()) // gone where it was renamed
	_, err = fmt.Fprintf(temporary, "%x\n", sha256.Sum256(content.Bytes()))
	if err == nil {
		_, err = content.WriteTo(temporary)
	}
	if err == nil {
		err = temporary.Sync()
	}
	if err = errors.Join(err, temporary.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary.Name(), filepath.Join(f.c.Keep, fileKept)); err != nil {
		return err
	}
	directory, err := os.Open(f.c.Keep)
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}

// restore puts what was kept into force, if it may be: it is where a rollback
// would start from, so it comes before the source is asked.
func (f *Follower) restore() {
	k, b, err := f.kept()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil:
		f.report(Event{What: Unkept, Why: clean(err)})
		return
	}
	f.at = source.Position{Revision: k.Revision, Dated: k.Dated}
	f.enforce(b, k.Signer, true)
	f.report(Event{What: Restored, Commit: k.Commit, Digest: b.Digest, Signer: k.Signer})
}

// kept reads what was kept, and refuses it where anything of it is not as it was
// written, or where it would not be accepted from the source as it is configured
// now.
func (f *Follower) kept() (k kept, b *decision.Bundle, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("reading the bundle that was kept: %w", err)
		}
	}()
	file, err := os.Open(filepath.Join(f.c.Keep, fileKept))
	if err != nil {
		return k, nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxKept))
	if err != nil {
		return k, nil, err
	}
	sum, content, _ := bytes.Cut(data, []byte("\n"))
	if string(sum) != fmt.Sprintf("%x", sha256.Sum256(content)) {
		return k, nil, errors.New("it was changed, is cut short, or is too large")
	}
	line, files, _ := bytes.Cut(content, []byte("\n"))
	if err := json.Unmarshal(line, &k, json.RejectUnknownMembers(true)); err != nil {
		return k, nil, err
	}
	switch {
	case k.Version != keptVersion:
		return k, nil, fmt.Errorf("version %d is unknown", k.Version)
	case k.Source != f.c.Source.Name():
		return k, nil, fmt.Errorf("it is of another source, %s", k.Source)
	case !f.c.Trust.Unsigned() && !f.c.Trust.Knows(k.Signer.Key):
		return k, nil, fmt.Errorf("its signer %q is not trusted any more: %w", k.Signer.Name, trust.ErrUntrusted)
	}
	fsys, err := source.ReadTar(bytes.NewReader(files))
	if err != nil {
		return k, nil, err
	}
	if b, err = policy.Load(fsys); err != nil {
		return k, nil, err
	}
	if b.Digest != k.Digest {
		return k, nil, errors.New("its digest is another")
	}
	b.Commit = k.Commit
	return k, b, nil
}
