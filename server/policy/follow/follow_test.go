package follow

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/writpdp/writ/policies"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/source"
	"github.com/writpdp/writ/server/policy/trust"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// events are what a follower reported.
type events struct {
	mu  sync.Mutex // guards all
	all []Event
}

func (e *events) report(event Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, event)
}

// take returns what happened since the last time.
func (e *events) take() (all []Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	all, e.all = e.all, nil
	return all
}

// what are the events without their details.
func (e *events) what() string {
	var all []string
	for _, event := range e.take() {
		all = append(all, string(event.What))
	}
	return strings.Join(all, " ")
}

func bundleDir(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "policies")
	must(t, os.CopyFS(dir, policies.Files))
	return dir
}

func rewrite(t testing.TB, dir, name, old, new string) {
	t.Helper()
	file := filepath.Join(dir, name)
	text, err := os.ReadFile(file)
	must(t, err)
	if !strings.Contains(string(text), old) {
		t.Fatalf("%s has no %q", name, old)
	}
	must(t, os.WriteFile(file, []byte(strings.Replace(string(text), old, new, 1)), 0o600))
}

func digestOf(t testing.TB, fsys fs.FS) string {
	t.Helper()
	b, err := policy.Load(fsys)
	must(t, err)
	return b.Digest
}

// scripted is a source that does what a test says.
type scripted struct {
	name string

	mu    sync.Mutex // guards fetch
	fetch fetch
}

type fetch = func(context.Context, source.Position) (source.Found, error)

func (s *scripted) Name() string { return s.name }

func (s *scripted) Fetch(ctx context.Context, at source.Position) (source.Found, error) {
	s.mu.Lock()
	now := s.fetch
	s.mu.Unlock()
	return now(ctx, at)
}

func (s *scripted) then(f fetch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetch = f
}

// found is the sample bundle at a revision.
func found(revision string) source.Found {
	return source.Found{Revision: revision, Commit: revision, Files: policies.Files, Signer: trust.Signer{Name: "alice", Key: "SHA256:a"}}
}

// A directory is followed: a good change comes into force, a broken one does not
// and says why, and what mends it clears that.
func TestFollowsDirectory(t *testing.T) {
	dir := bundleDir(t)
	synctest.Test(t, func(t *testing.T) {
		var told events
		f, err := New(t.Context(), Config{Source: source.NewDirectory(dir), Trust: trust.None, Every: 10 * time.Second, Report: told.report, Now: time.Now})
		must(t, err)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f.Run(ctx) }()
		polls := func(n int) { time.Sleep(time.Duration(n)*11*time.Second + time.Second); synctest.Wait() }
		first := f.Bundle()
		if got := told.what(); got != "activated" || first.Digest != digestOf(t, policies.Files) || first.Commit != "" {
			t.Errorf("at first: %s, %s", got, first.Digest)
		}
		polls(3)
		if got := told.what(); got != "" || f.Bundle() != first {
			t.Errorf("unchanged: %s", got)
		}
		rewrite(t, dir, "purposes.yaml", "support", "support") // the same text, written anew
		rewrite(t, dir, "writ.yaml", "name: ", "# a comment\nname: ")
		polls(3)
		second := f.Bundle()
		if got := told.what(); got != "activated" || second.Digest == first.Digest || second.Digest != digestOf(t, os.DirFS(dir)) {
			t.Errorf("changed: %s", got)
		}
		rewrite(t, dir, "writ.yaml", "version: 1", "version: 2")
		polls(9)
		all, status := told.take(), f.Status()
		if len(all) != 1 || all[0].What != Refused || !strings.Contains(all[0].Why, "writ.yaml: version 2 is not 1") || f.Bundle() != second ||
			!strings.Contains(status.Error, "version 2") || status.Digest != second.Digest {
			t.Errorf("broken: %+v, %+v", all, status)
		}
		must(t, os.Rename(dir, dir+"-gone"))
		polls(9)
		if got := told.what(); got != "unreachable" || f.Bundle() != second || !strings.Contains(f.Status().Error, "no such file") {
			t.Errorf("gone: %s, %+v", got, f.Status())
		}
		must(t, os.Rename(dir+"-gone", dir))
		polls(9)
		if got := told.what(); got != "" || !strings.Contains(f.Status().Error, "version 2") {
			t.Errorf("back, and broken as before: %s, %+v", got, f.Status())
		}
		rewrite(t, dir, "writ.yaml", "version: 2", "version: 1")
		polls(3)
		if got := told.what(); got != "" || f.Bundle() != second || f.Status().Error != "" {
			t.Errorf("as before: %s, %+v", got, f.Status())
		}
		stop()
		must(t, <-ended)
	})
}

// A link beside a bundle's files is nobody's business; one in the place of a
// bundle's file, or among its policies, refuses it whole.
func TestFollowsPastLinks(t *testing.T) {
	load := func(links ...string) (*Follower, error) {
		dir := bundleDir(t)
		for _, name := range links {
			_ = os.Remove(filepath.Join(dir, name))
			must(t, os.Symlink("/etc/hosts", filepath.Join(dir, name)))
		}
		return New(t.Context(), Config{Source: source.NewDirectory(dir), Trust: trust.None, Keep: filepath.Join(t.TempDir(), "keep"), Report: func(e Event) {
			if e.What == Unkept {
				t.Errorf("unkept: %s", e.Why)
			}
		}, Now: time.Now})
	}
	if f, err := load("README.md", "notes"); err != nil || f.Bundle().Digest != digestOf(t, policies.Files) {
		t.Errorf("got %v", err)
	}
	for _, name := range []string{"budgets.yaml", "vendors.yaml", "entities.json", "schema.cedarschema", "cedar/more.cedar", "tools/more.json"} {
		if _, err := load(name); err == nil || !strings.Contains(err.Error(), name+": not a regular file") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// While a source hangs, decisions have the bundle in force, and the attempt
// ends.
func TestFollowsThroughHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told events
		s := &scripted{name: "s", fetch: func(context.Context, source.Position) (source.Found, error) { return found("1"), nil }}
		f, err := New(t.Context(), Config{Source: s, Trust: trust.None, Every: time.Minute, Deadline: 5 * time.Second, StaleAfter: 3 * time.Minute, Report: told.report, Now: time.Now})
		must(t, err)
		var hanging atomic.Int32
		s.then(func(ctx context.Context, _ source.Position) (source.Found, error) {
			hanging.Add(1)
			<-ctx.Done()
			return source.Found{}, context.Cause(ctx)
		})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f.Run(ctx) }()
		f.Trigger()
		f.Trigger()
		f.Trigger()
		time.Sleep(2 * time.Second) // past the gap, within the deadline
		synctest.Wait()
		if hanging.Load() != 1 || f.Bundle() == nil || f.Status().Error != "" {
			t.Errorf("%d attempts, %+v", hanging.Load(), f.Status())
		}
		time.Sleep(10 * time.Second)
		if _, ready := f.Ready(); !ready || !strings.Contains(f.Status().Error, "within 5s") {
			t.Errorf("ready is %v, %+v", ready, f.Status())
		}
		time.Sleep(4 * time.Minute)
		if _, ready := f.Ready(); ready {
			t.Error("it is ready although the source has not answered for so long")
		}
		if got := told.what(); got != "activated unreachable" {
			t.Errorf("got %s", got)
		}
		s.then(func(context.Context, source.Position) (source.Found, error) {
			return source.Found{}, &source.Refusal{Revision: "2", Err: errors.New("not signed")}
		})
		time.Sleep(2 * time.Minute)
		if s, ready := f.Ready(); !ready || s.Error != "refusing 2: not signed" {
			t.Errorf("who can push can stop it: %v, %+v", ready, s)
		}
		stop()
		must(t, <-ended)
	})
}

// There is no follower without a bundle, and what a server says is one line.
func TestNewRefuses(t *testing.T) {
	for says, fetch := range map[string]func() (source.Found, error){
		"the source is changing": func() (source.Found, error) { return source.Found{}, nil },
		"no route":               func() (source.Found, error) { return source.Found{}, errors.New("no route\x1b[2J\n") },
		"refusing 1: not signed": func() (source.Found, error) {
			return source.Found{}, &source.Refusal{Revision: "1", Err: errors.New("not signed")}
		},
		"writ.yaml": func() (source.Found, error) { return source.Found{Revision: "1", Files: os.DirFS(t.TempDir())}, nil },
	} {
		s := &scripted{name: "s", fetch: func(context.Context, source.Position) (source.Found, error) { return fetch() }}
		f, err := New(t.Context(), Config{Source: s, Trust: trust.None, Report: func(Event) {}, Now: time.Now})
		if f != nil || err == nil || !strings.Contains(err.Error(), says) || strings.ContainsAny(err.Error(), "\x1b\n") {
			t.Errorf("got %v, %q, want %s", f, err, says)
		}
	}
}

// What breaks the reader of a bundle breaks no process, and a text from a server
// is one line of bounded length.
func TestFollowsThroughPanics(t *testing.T) {
	var told events
	s := &scripted{name: "s", fetch: func(context.Context, source.Position) (source.Found, error) { return found("1"), nil }}
	f, err := New(t.Context(), Config{Source: s, Trust: trust.None, Report: told.report, Now: time.Now})
	must(t, err)
	told.take()
	s.then(func(context.Context, source.Position) (source.Found, error) { panic("out of range") })
	if err := f.attempt(t.Context()); err == nil || f.Bundle() == nil || !strings.Contains(f.Status().Error, "out of range") {
		t.Errorf("got %v, %+v", err, f.Status())
	}
	s.then(func(context.Context, source.Position) (source.Found, error) {
		return source.Found{}, fmt.Errorf("the server says\n\x1b[2J%s", strings.Repeat("é\xff", 10_000))
	})
	if err := f.attempt(t.Context()); err == nil {
		t.Error("no error")
	}
	all := told.take()
	if last := all[len(all)-1]; strings.ContainsAny(last.Why, "\n\x1b") || len(last.Why) > maxText+8 || last.What != Unreachable {
		t.Errorf("told %q", last.Why)
	}
}

// A revision that was refused is not fetched again unless it may be mended, and
// is reported once; the one in force stays the measure.
func TestFollowsPastRefusals(t *testing.T) {
	var told events
	var asked []source.Position
	s := &scripted{name: "s", fetch: func(context.Context, source.Position) (source.Found, error) { return found("1"), nil }}
	f, err := New(t.Context(), Config{Source: s, Trust: trust.None, Report: told.report, Now: time.Now})
	must(t, err)
	again := false
	s.then(func(_ context.Context, at source.Position) (source.Found, error) {
		asked = append(asked, at)
		if at.Refused == "2" {
			return source.Found{Revision: "2"}, nil
		}
		return source.Found{}, &source.Refusal{Revision: "2", Again: again, Err: errors.New("not signed")}
	})
	for range 3 {
		_ = f.attempt(t.Context())
	}
	again, f.at.Refused = true, ""
	for range 2 {
		_ = f.attempt(t.Context())
	}
	want := []source.Position{{Revision: "1"}, {Revision: "1", Refused: "2"}, {Revision: "1", Refused: "2"}, {Revision: "1"}, {Revision: "1"}}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Error(diff)
	}
	if got := told.what(); got != "activated refused" {
		t.Errorf("told %s", got)
	}
	if s := f.Status(); s.Error != "refusing 2: not signed" || s.Commit != "1" || f.Bundle().Commit != "1" {
		t.Errorf("got %+v", s)
	}
	s.then(func(context.Context, source.Position) (source.Found, error) { return found("3"), nil })
	must(t, f.attempt(t.Context()))
	if s := f.Status(); s.Error != "" || s.Commit != "3" || s.Signer != "alice" || f.at.Refused != "" {
		t.Errorf("got %+v", s)
	}
}

// Two public keys.
const (
	alice = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
	bob   = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
)

func fingerprintOf(t testing.TB, line string) string {
	t.Helper()
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	must(t, err)
	return ssh.FingerprintSHA256(key)
}

// Who asks for a look gets one, at what was refused too.
func TestTriggerLooksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{name: "s", fetch: func(context.Context, source.Position) (source.Found, error) { return found("1"), nil }}
		f, err := New(t.Context(), Config{Source: s, Trust: trust.None, Every: time.Hour, Report: func(Event) {}, Now: time.Now})
		must(t, err)
		asked := make(chan source.Position, 1)
		s.then(func(_ context.Context, at source.Position) (source.Found, error) {
			asked <- at
			return source.Found{}, &source.Refusal{Revision: "2", Err: errors.New("too large")}
		})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f.Run(ctx) }()
		want := source.Position{Revision: "1"}
		for range 2 {
			f.Trigger()
			if diff := cmp.Diff(want, <-asked); diff != "" {
				t.Error(diff)
			}
		}
		want.Refused = "2"
		if diff := cmp.Diff(want, <-asked); diff != "" { // by itself, an hour later
			t.Error(diff)
		}
		stop()
		must(t, <-ended)
	})
}

// The last good bundle is there when the source is not, and only as it was kept.
func TestKept(t *testing.T) {
	keys, err := trust.Read(trust.Material{AllowedSigners: []byte("alice " + alice)})
	must(t, err)
	good := found("1")
	good.Signer, good.Dated = trust.Signer{Name: "alice", Key: fingerprintOf(t, alice)}, time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	keep := filepath.Join(t.TempDir(), "keep")
	var told events
	var at source.Position
	s := &scripted{name: "git main", fetch: func(context.Context, source.Position) (source.Found, error) { return good, nil }}
	config := Config{Source: s, Trust: keys, Keep: keep, Report: told.report, Now: time.Now}
	first, err := New(t.Context(), config)
	must(t, err)
	info, err := os.Stat(keep)
	must(t, err)
	kept, err := os.Stat(filepath.Join(keep, fileKept))
	must(t, err)
	if info.Mode().Perm() != 0o700 || kept.Mode().Perm() != 0o600 {
		t.Errorf("the modes are %s and %s", info.Mode(), kept.Mode())
	}
	told.take()

	away := errors.New("no route to host")
	s.then(func(_ context.Context, p source.Position) (source.Found, error) { at = p; return source.Found{}, away })
	f, err := New(t.Context(), config)
	must(t, err)
	if err := f.attempt(t.Context()); !errors.Is(err, away) {
		t.Errorf("got %v", err)
	}
	if got := told.what(); got != "restored unreachable" || f.Bundle().Digest != first.Bundle().Digest || f.Bundle().Commit != "1" {
		t.Errorf("told %s", got)
	}
	if status := f.Status(); !status.Kept || status.Signer != "alice" || status.Error != "no route to host" {
		t.Errorf("got %+v", status)
	}
	if diff := cmp.Diff(source.Position{Revision: "1", Dated: good.Dated}, at); diff != "" {
		t.Errorf("it forgets where it was: %s", diff)
	}
	// A restart is no way round a refusal: the source is asked from where it was.
	s.then(func(_ context.Context, p source.Position) (source.Found, error) {
		return source.Found{}, &source.Refusal{Revision: "0", Err: source.ErrRewound}
	})
	f, err = New(t.Context(), config)
	must(t, err)
	if err := f.attempt(t.Context()); !errors.Is(err, source.ErrRewound) {
		t.Errorf("got %v", err)
	}
	if got := told.what(); got != "restored refused" || f.Bundle().Commit != "1" || !f.Status().Kept {
		t.Errorf("told %s, %+v", got, f.Status())
	}
	s.then(func(_ context.Context, p source.Position) (source.Found, error) {
		return source.Found{Revision: p.Revision}, nil
	})
	must(t, f.attempt(t.Context()))
	if status := f.Status(); status.Kept || status.Error != "" {
		t.Errorf("confirmed: got %+v", status)
	}
	told.take()

	s.then(func(context.Context, source.Position) (source.Found, error) { return source.Found{}, away })
	refused := func(name, says string, c Config) {
		t.Helper()
		_, err := New(t.Context(), c)
		all := told.take()
		if !errors.Is(err, away) || len(all) == 0 || all[0].What != Unkept || !strings.Contains(all[0].Why, says) {
			t.Errorf("%s: got %v, %+v, want %s", name, err, all, says)
		}
	}
	other := config
	other.Source = &scripted{name: "git other", fetch: s.fetch}
	refused("another source", "of another source, git main", other)
	other = config
	if other.Trust, err = trust.Read(trust.Material{AllowedSigners: []byte("bob " + bob)}); err != nil {
		t.Fatal(err)
	}
	refused("a signer who was taken out", "not trusted any more", other)
	file := filepath.Join(keep, fileKept)
	whole, err := os.ReadFile(file)
	must(t, err)
	for i := 0; i < len(whole); i += 1 + i/50 {
		changed := append([]byte(nil), whole...)
		changed[i] ^= 1
		must(t, os.WriteFile(file, changed, 0o600))
		refused(fmt.Sprintf("byte %d", i), "reading the bundle that was kept", config)
	}
	for name, text := range map[string][]byte{"empty": nil, "cut": whole[:len(whole)/2], "another sum": append([]byte(strings.Repeat("0", 64)), whole[64:]...), "longer": append(append([]byte(nil), whole...), 0)} {
		must(t, os.WriteFile(file, text, 0o600))
		refused(name, "reading the bundle that was kept", config)
	}
	for says, change := range map[string][2]string{ // with a sum that fits
		"version 2 is unknown":  {`"version":1`, `"version":2`},
		"its digest is another": {`"digest":"`, `"digest":"0`},
		"unknown object member": {`"version":1`, `"version":1,"more":1`},
		"version 7 is not 1":    {"version: 1", "version: 7"},
		"reading a tar":         {"ustar", "dusty"},
	} {
		content := strings.Replace(string(whole[65:]), change[0], change[1], 1)
		if content == string(whole[65:]) {
			t.Fatalf("%q is not in it", change[0])
		}
		must(t, os.WriteFile(file, fmt.Appendf(nil, "%x\n%s", sha256.Sum256([]byte(content)), content), 0o600))
		refused(says, says, config)
	}
	must(t, os.Chmod(keep, 0o755))
	if _, err := New(t.Context(), config); err == nil || !strings.Contains(err.Error(), "others can enter it") {
		t.Errorf("an open directory: got %v", err)
	}
	must(t, os.Chmod(keep, 0o700))
	must(t, os.Remove(file))
	if _, err := New(t.Context(), config); !errors.Is(err, away) || told.what() != "unreachable" {
		t.Errorf("nothing kept: got %v", err)
	}
}

// With a bundle that was kept, a server that hangs holds up no start.
func TestKeptBeforeHangs(t *testing.T) {
	keep := filepath.Join(t.TempDir(), "keep")
	s := &scripted{name: "s", fetch: func(context.Context, source.Position) (source.Found, error) { return found("1"), nil }}
	config := Config{Source: s, Trust: trust.None, Keep: keep, StaleAfter: time.Hour, Report: func(Event) {}, Now: time.Now}
	_, err := New(t.Context(), config)
	must(t, err)
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		asked := make(chan struct{}, 1)
		s.then(func(ctx context.Context, _ source.Position) (source.Found, error) {
			asked <- struct{}{}
			<-ctx.Done()
			return source.Found{}, context.Cause(ctx)
		})
		f, err := New(t.Context(), config)
		must(t, err)
		if _, ready := f.Ready(); time.Since(began) != 0 || !ready || f.Bundle().Commit != "1" {
			t.Errorf("after %s: ready is %v", time.Since(began), ready)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f.Run(ctx) }()
		<-asked // soon
		if waited := time.Since(began); waited > gap {
			t.Errorf("it asks after %s", waited)
		}
		stop()
		must(t, <-ended)
	})
}

// A bundle that cannot be kept is in force all the same.
func TestUnkept(t *testing.T) {
	keep := t.TempDir()
	must(t, os.Chmod(keep, 0o700))
	var told events
	s := &scripted{name: "s", fetch: func(context.Context, source.Position) (source.Found, error) { return found("1"), nil }}
	must(t, os.Mkdir(filepath.Join(keep, fileKept), 0o700))               // in its place
	must(t, os.WriteFile(filepath.Join(keep, fileKept+"-1"), nil, 0o600)) // of a process that was killed
	f, err := New(t.Context(), Config{Source: s, Trust: trust.None, Keep: keep, Report: told.report, Now: time.Now})
	must(t, err)
	if got := told.what(); got != "unkept unkept activated" || f.Bundle().Commit != "1" {
		t.Errorf("told %s", got)
	}
	left, err := os.ReadDir(keep)
	must(t, err)
	if len(left) != 1 {
		t.Errorf("it leaves %v", left)
	}
}

const secret = "a-secret-of-many-bytes"

// A webhook is for who knows the secret; it asks for a look and says nothing.
func TestHook(t *testing.T) {
	s := &scripted{name: "s", fetch: func(context.Context, source.Position) (source.Found, error) { return found("1"), nil }}
	f, err := New(t.Context(), Config{Source: s, Trust: trust.None, Report: func(Event) {}, Now: time.Now})
	must(t, err)
	body := `{"ref":"refs/heads/main"}`
	signed := func(key, body string) string {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte(body))
		return "sha256=" + hex.EncodeToString(mac.Sum(nil))
	}
	for name, c := range map[string]struct {
		method, body, header, value string
		code                        int
	}{
		"signed":          {"POST", body, "X-Hub-Signature-256", signed(secret, body), 202},
		"bearer":          {"POST", body, "Authorization", "Bearer " + secret, 202},
		"token":           {"POST", "", "X-Gitlab-Token", secret, 202},
		"nothing":         {"POST", body, "X-Other", "x", 401},
		"empty token":     {"POST", body, "X-Gitlab-Token", "", 401},
		"half the secret": {"POST", body, "X-Gitlab-Token", secret[:8], 401},
		"another secret":  {"POST", body, "Authorization", "Bearer " + strings.ToUpper(secret), 401},
		"basic":           {"POST", body, "Authorization", "Basic " + secret, 401},
		"another body":    {"POST", body, "X-Hub-Signature-256", signed(secret, "x"), 401},
		"another key":     {"POST", body, "X-Hub-Signature-256", signed("x", body), 401},
		"empty key":       {"POST", body, "X-Hub-Signature-256", signed("", body), 401},
		"no hex":          {"POST", body, "X-Hub-Signature-256", "sha256=zz", 401},
		"short":           {"POST", body, "X-Hub-Signature-256", "sha256=", 401},
		"too large":       {"POST", strings.Repeat("x", maxHook+1), "X-Gitlab-Token", secret, 413},
		"another method":  {"GET", "", "X-Gitlab-Token", secret, 405},
	} {
		t.Run(name, func(t *testing.T) {
			select {
			case <-f.wake:
			default:
			}
			r := httptest.NewRequest(c.method, "/hooks/bundle", strings.NewReader(c.body))
			r.Header.Set(c.header, c.value)
			w := httptest.NewRecorder()
			f.Hook(secret).ServeHTTP(w, r)
			if w.Code != c.code || strings.Contains(w.Body.String(), secret) || (len(f.wake) == 1) != (c.code == 202) {
				t.Errorf("got %d %s, %d wake", w.Code, w.Body, len(f.wake))
			}
		})
	}
	r := httptest.NewRequest("POST", "/", nil)
	r.Header.Set("Authorization", "Bearer ")
	w := httptest.NewRecorder()
	f.Hook("").ServeHTTP(w, r)
	if w.Code != http.StatusUnauthorized {
		t.Errorf("without a secret: got %d", w.Code)
	}
}

func TestReady(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	s := &scripted{name: "git https://example.org/p branch main directory .", fetch: func(context.Context, source.Position) (source.Found, error) { return found("1"), nil }}
	f, err := New(t.Context(), Config{Source: s, Trust: trust.None, StaleAfter: time.Hour, Report: func(Event) {}, Now: func() time.Time { return now }})
	must(t, err)
	want := `{"source":"git https://example.org/p branch main directory .","name":"` + f.Bundle().Name + `","digest":"` + f.Bundle().Digest +
		`","commit":"1","signer":"alice","key":"SHA256:a","since":"2026-11-23T12:00:00Z","tried":"2026-11-23T12:00:00Z","answered":"2026-11-23T12:00:00Z"}`
	status, ready := f.Ready()
	got, err := json.Marshal(status)
	must(t, err)
	if !ready || string(got) != want {
		t.Errorf("got %t %s, want %s", ready, got, want)
	}
	now = now.Add(time.Hour + 1)
	if _, ready := f.Ready(); ready {
		t.Error("it is ready with a source that has not answered for long")
	}
}
