package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/writpdp/writ/server/secret"
)

func write(t *testing.T, text string, mode fs.FileMode) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
	return file
}

// The owner may do anything, the group may read, others nothing.
func TestReadMode(t *testing.T) {
	for mode := range fs.FileMode(0o1000) {
		if mode&0o400 == 0 && os.Geteuid() != 0 {
			continue // nobody but root reads such a file
		}
		b, err := secret.Read(write(t, "canary", mode))
		want := mode&0o020 == 0 && mode&0o007 == 0
		if got := err == nil; got != want {
			t.Errorf("mode %04o: read %t, want %t (%v)", mode, got, want, err)
		}
		if err != nil && (strings.Contains(err.Error(), "canary") || !strings.Contains(err.Error(), "defaultMode 0440")) {
			t.Errorf("mode %04o: the error is %v", mode, err)
		}
		if err == nil && string(b.Reveal()) != "canary" {
			t.Errorf("mode %04o: read %q", mode, b.Reveal())
		}
	}
}

// A mounted secret is a symbolic link, which is followed: what counts is the file.
func TestReadFollowsLinks(t *testing.T) {
	for mode, want := range map[fs.FileMode]bool{0o440: true, 0o644: false} {
		file := write(t, "x", mode)
		link := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(file, link); err != nil {
			t.Fatal(err)
		}
		if _, err := secret.Read(link); (err == nil) != want {
			t.Errorf("a link to a file of mode %04o: %v", mode, err)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, file := range map[string]string{
		"no such file": filepath.Join(dir, "none"),
		"a directory":  dir,
		"too large":    write(t, strings.Repeat("x", secret.MaxFile+1), 0o600),
		"a device":     os.DevNull,
	} {
		if _, err := secret.Read(file); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: got %v, want an error that names the file", name, err)
		}
	}
	if _, err := secret.Read(write(t, strings.Repeat("x", secret.MaxFile), 0o600)); err != nil {
		t.Errorf("as large as may be: %v", err)
	}
}

func TestLine(t *testing.T) {
	for text, want := range map[string]string{"a": "a", " a\n": "a", "a\r\n": "a", "": "", "\n \n": "", "a\nb": ""} {
		got, err := secret.ReadLine(write(t, text, 0o600))
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
}

// Whatever prints a secret, or something that holds one where no method of it is
// called, prints none of it.
func TestBytesAreHidden(t *testing.T) {
	type inside struct {
		Public  secret.Bytes
		private secret.Bytes
		pointer *secret.Bytes
		any     any
	}
	b := secret.Of([]byte("canary"))
	for _, value := range []any{b, &b, inside{b, b, &b, b}, &inside{b, b, &b, &b}, []secret.Bytes{b}, map[string]secret.Bytes{"x": b}, []any{inside{private: b}}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U", "%t"} {
			told(t, fmt.Sprintf(verb, value))
		}
		text, err := json.Marshal(value)
		if err != nil {
			t.Errorf("%T as JSON: %v", value, err)
		}
		told(t, string(text))
		var out bytes.Buffer
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "value", value)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "value", value)
		told(t, out.String())
	}
	if got := fmt.Sprintf("%v %s %+v %#v", b, b, &b, b); got != "[secret] [secret] [secret] [secret]" {
		t.Errorf("got %s", got)
	}
	if (secret.Bytes{}).Reveal() != nil {
		t.Error("the zero value holds something")
	}
}

// told finds the canary in every form in which fmt writes bytes.
func told(t *testing.T, text string) {
	t.Helper()
	for _, form := range []string{"canary", "63616e617279", "63616E617279", "99 97 110 97 114 121", "0x63, 0x61, 0x6e", "Y2FuYXJ5", "143 141 156", "1100011 1100001"} {
		if strings.Contains(text, form) {
			t.Errorf("the secret is told: %s", text)
		}
	}
}
