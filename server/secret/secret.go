// Package secret owns what must not be told: it reads secrets from files that
// only their owner can read, and keeps whatever holds one out of logs and error
// texts. It never takes a secret from an environment variable or a flag.
package secret

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
)

// MaxFile is the largest file that Read takes, in bytes.
const MaxFile = 64 << 10

// open is what others than the owner must not be able to do with a secret's
// file. The group may read it: that is how a container which does not run as
// root gets at a mounted secret.
const open fs.FileMode = 0o027

// hidden is what is printed in the place of a secret.
const hidden = "[secret]"

// Redacted makes the type that embeds it print as "[secret]", with every verb of
// fmt, in slog and in JSON. A field of such a type that is not exported is beyond
// the reach of methods: therefore the secret itself stands behind a function.
type Redacted struct{}

// String is fmt.Stringer's.
func (Redacted) String() string { return hidden }

// GoString is fmt.GoStringer's.
func (Redacted) GoString() string { return hidden }

// Format is fmt.Formatter's.
func (Redacted) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue is slog.LogValuer's.
func (Redacted) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText is encoding.TextMarshaler's; JSON and YAML use it.
func (Redacted) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Bytes is a secret. The zero value is none.
type Bytes struct {
	Redacted
	reveal func() []byte
}

// Of hides bytes, which must not be changed any more.
func Of(b []byte) Bytes { return Bytes{reveal: func() []byte { return b }} }

// Reveal is the secret itself.
func (b Bytes) Reveal() []byte {
	if b.reveal == nil {
		return nil
	}
	return b.reveal()
}

// Line is the secret as a line of text.
func (b Bytes) Line() (string, error) {
	line := strings.TrimSpace(string(b.Reveal()))
	switch {
	case line == "":
		return "", errors.New("it is empty")
	case strings.ContainsAny(line, "\r\n"):
		return "", errors.New("it holds more than one line")
	}
	return line, nil
}

// Read reads a file that holds a secret. One that others than its owner and the
// group can read, or others than its owner can write, is refused: it is known to
// more than those who should. Errors name the file and nothing of what is in it.
func Read(file string) (Bytes, error) {
	f, err := os.Open(file)
	if err != nil {
		return Bytes{}, fmt.Errorf("reading a secret: %w", err)
	}
	defer f.Close()
	info, err := f.Stat() // of what was opened, whatever the name has become since
	if err != nil {
		return Bytes{}, fmt.Errorf("reading a secret: %w", err)
	}
	switch {
	case !info.Mode().IsRegular():
		return Bytes{}, fmt.Errorf("reading a secret: %s is not a regular file", file)
	case info.Mode().Perm()&open != 0:
		return Bytes{}, fmt.Errorf("reading a secret: %s has the mode %04o, so others can read or change it: give it 0400, or 0440 with a group "+
			"(in Kubernetes: defaultMode 0440 of the volume and fsGroup of the pod)", file, info.Mode().Perm())
	case info.Size() > MaxFile:
		return Bytes{}, fmt.Errorf("reading a secret: %s is larger than %d bytes", file, MaxFile)
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return Bytes{}, fmt.Errorf("reading a secret: %w", err)
	}
	if len(data) > MaxFile {
		return Bytes{}, fmt.Errorf("reading a secret: %s is larger than %d bytes", file, MaxFile)
	}
	return Of(data), nil
}

// ReadLine reads a secret that is one line.
func ReadLine(file string) (string, error) {
	b, err := Read(file)
	if err != nil {
		return "", err
	}
	line, err := b.Line()
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	return line, nil
}

// Check is Read for a file that somebody else reads: nobody but its owner and
// the group can.
func Check(file string) error {
	_, err := Read(file)
	return err
}
