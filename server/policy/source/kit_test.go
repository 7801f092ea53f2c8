package source

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/writpdp/writ/server/policy/trust"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, name, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(name), 0o700))
	must(t, os.WriteFile(name, []byte(text), 0o600))
}

// command runs a program with input and returns what it prints.
func command(t testing.TB, dir, input, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(input)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=author", "GIT_AUTHOR_EMAIL=author@example.org", "GIT_COMMITTER_NAME=author", "GIT_COMMITTER_EMAIL=author@example.org"}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// repository is a real Git repository.
type repository struct{ dir string }

func newRepository(t testing.TB) repository {
	t.Helper()
	r := repository{t.TempDir()}
	r.git(t, "init", "--quiet", "--initial-branch=main")
	return r
}

func (r repository) git(t testing.TB, args ...string) string {
	t.Helper()
	return command(t, r.dir, "", "git", args...)
}

// write writes a file and adds it.
func (r repository) write(t testing.TB, name, text string) {
	t.Helper()
	write(t, filepath.Join(r.dir, name), text)
	r.git(t, "add", name)
}

// commit commits all and returns the commit. args are more of git's.
func (r repository) commit(t testing.TB, args ...string) string {
	t.Helper()
	r.git(t, append([]string{"commit", "--quiet", "--allow-empty", "--message", "change"}, args...)...)
	return r.git(t, "rev-parse", "HEAD")
}

// put makes a file of a text with a commit of it.
func (r repository) put(t testing.TB, name, text string, args ...string) string {
	t.Helper()
	r.write(t, name, text)
	return r.commit(t, args...)
}

// object writes a raw object, malformed as it may be, and returns its hash.
func (r repository) object(t testing.TB, kind, raw string) string {
	t.Helper()
	return command(t, r.dir, raw, "git", "hash-object", "-w", "--literally", "--stdin", "-t", kind)
}

// serve serves the repository over HTTP with Git's own server.
func (r repository) serve(t testing.TB, wrap func(http.Handler) http.Handler) string {
	t.Helper()
	backend := filepath.Join(command(t, "/", "", "git", "--exec-path"), "git-http-backend")
	var handler http.Handler = &cgi.Handler{Path: backend, Stderr: io.Discard,
		Env: []string{"GIT_PROJECT_ROOT=" + r.dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1"}}
	if wrap != nil {
		handler = wrap(handler)
	}
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.URL + "/.git"
}

func (r repository) url() string { return "file://" + r.dir + "/.git" }

// sshKey is a key of ssh-keygen's.
type sshKey struct{ file, public string }

func newSSHKey(t testing.TB, args ...string) sshKey {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	if len(args) == 0 {
		args = []string{"-t", "ed25519"}
	}
	command(t, "/", "", "ssh-keygen", append(args, "-q", "-N", "", "-C", "", "-f", file)...)
	public, err := os.ReadFile(file + ".pub")
	must(t, err)
	return sshKey{file, strings.TrimSpace(string(public))}
}

// sign are the arguments before git's command with which it signs.
func (k sshKey) sign() []string {
	return []string{"-c", "gpg.format=ssh", "-c", "user.signingkey=" + k.file}
}

// signed makes a signed commit of a file.
func (r repository) signed(t testing.TB, k sshKey, name, text string) string {
	t.Helper()
	r.write(t, name, text)
	r.git(t, append(k.sign(), "commit", "--quiet", "--allow-empty", "--message", "change", "-S")...)
	return r.git(t, "rev-parse", "HEAD")
}

// signers are the keys of allowed signers.
func signers(t testing.TB, lines ...string) *trust.Keys {
	t.Helper()
	keys, err := trust.Read(trust.Material{AllowedSigners: []byte(strings.Join(lines, "\n"))})
	must(t, err)
	return keys
}

func newGit(t testing.TB, c GitConfig) *Git {
	t.Helper()
	if c.Branch == "" && c.Tag == "" && c.Commit == "" {
		c.Branch = "main"
	}
	if c.Trust == nil {
		c.Trust = trust.None
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	g, err := NewGit(c)
	must(t, err)
	return g
}

// fetch fetches within a time that is no part of what is tested.
func fetch(t testing.TB, s Source, at Position) (Found, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return s.Fetch(ctx, at)
}

// take fetches what must be acceptable.
func take(t testing.TB, s Source, at Position) Found {
	t.Helper()
	found, err := fetch(t, s, at)
	must(t, err)
	return found
}

// contents is a file system as text.
func contents(t testing.TB, fsys fs.FS) string {
	t.Helper()
	if fsys == nil {
		return "nothing new"
	}
	var text strings.Builder
	must(t, fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(fsys, name)
		fmt.Fprintf(&text, "%s=%s;", name, data)
		return err
	}))
	return text.String()
}
