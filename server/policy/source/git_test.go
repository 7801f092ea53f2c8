package source

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/policy/trust"
)

// over are the ways to a repository that need no key.
func over(t *testing.T, r repository) map[string]string {
	return map[string]string{"file": r.url(), "http": r.serve(t, nil)}
}

// A repository is followed from commit to commit: a directory of it, and
// nothing that is hidden.
func TestGitFollows(t *testing.T) {
	r := newRepository(t)
	r.write(t, "acme/.hidden", "x")
	r.write(t, "acme/cedar/a.cedar", strings.Repeat("a", 5000))
	r.write(t, "other/a", "elsewhere")
	first := r.put(t, "acme/writ.yaml", "one")
	for name, url := range over(t, r) {
		t.Run(name, func(t *testing.T) {
			r.git(t, "reset", "--quiet", "--hard", first)
			g := newGit(t, GitConfig{URL: url, Directory: "acme"})
			found := take(t, g, Position{})
			want := "cedar/a.cedar=" + strings.Repeat("a", 5000) + ";writ.yaml=one;"
			if got := contents(t, found.Files); found.Commit != first || found.Revision != first || got != want {
				t.Errorf("got %s of %s, want %s of %s", got, found.Commit, want, first)
			}
			at := Position{Revision: first}
			if found := take(t, g, at); found.Files != nil || found.Revision != first {
				t.Errorf("unchanged: got %+v", found)
			}
			r.put(t, "acme/cedar/a.cedar", strings.Repeat("a", 4000)+"b") // a delta
			r.commit(t)
			third := r.put(t, "acme/writ.yaml", "two")
			found = take(t, g, at)
			want = "cedar/a.cedar=" + strings.Repeat("a", 4000) + "b;writ.yaml=two;"
			if got := contents(t, found.Files); found.Commit != third || got != want {
				t.Errorf("got %s of %s, want %s of %s", got, found.Commit, want, third)
			}
			if found := take(t, g, Position{Revision: first, Refused: third}); found.Files != nil || found.Revision != third {
				t.Errorf("refused before: got %+v", found)
			}
		})
	}
}

// What comes after the commit in force is taken; what would undo it is not.
func TestGitRollback(t *testing.T) {
	r := newRepository(t)
	r.git(t, "config", "uploadpack.allowReachableSHA1InWant", "true")
	r.git(t, "config", "uploadpack.allowFilter", "true") // the other tests are without
	old := r.put(t, "writ.yaml", "0")
	active := r.put(t, "writ.yaml", "1")
	at := Position{Revision: active}
	r.git(t, "branch", "active")
	for name, url := range over(t, r) {
		t.Run(name, func(t *testing.T) {
			for _, c := range []struct {
				name   string
				change func() string
				ok     bool
			}{
				{"the next", func() string { return r.put(t, "writ.yaml", "2") }, true},
				{"a merge", func() string {
					r.git(t, "checkout", "--quiet", "-b", "side-"+name, old)
					r.put(t, "side", "s")
					r.git(t, "checkout", "--quiet", "main")
					r.git(t, "merge", "--quiet", "--no-edit", "side-"+name)
					return r.git(t, "rev-parse", "HEAD")
				}, true},
				{"far", func() string {
					for range 60 {
						r.commit(t)
					}
					return r.put(t, "writ.yaml", "far")
				}, true},
				{"set back", func() string { r.git(t, "reset", "--quiet", "--hard", old); return old }, false},
				{"another line", func() string {
					r.git(t, "reset", "--quiet", "--hard", old)
					return r.put(t, "writ.yaml", "3")
				}, false},
				{"another history", func() string {
					r.git(t, "checkout", "--quiet", "--orphan", "orphan-"+name)
					hash := r.put(t, "writ.yaml", "4")
					r.git(t, "checkout", "--quiet", "main")
					r.git(t, "reset", "--quiet", "--hard", hash)
					return hash
				}, false},
			} {
				t.Run(c.name, func(t *testing.T) {
					r.git(t, "checkout", "--quiet", "main")
					r.git(t, "reset", "--quiet", "--hard", active)
					hash := c.change()
					found, err := fetch(t, newGit(t, GitConfig{URL: url}), at)
					if c.ok && (err != nil || found.Commit != hash) {
						t.Errorf("got %s, %v, want %s", found.Commit, err, hash)
					}
					var refusal *Refusal
					if !c.ok && (!errors.As(err, &refusal) || refusal.Revision != hash || !errors.Is(err, ErrRewound)) {
						t.Errorf("got %v, want %s refused as rewound", err, hash)
					}
					if found := take(t, newGit(t, GitConfig{URL: url, AllowRollback: true}), at); found.Commit != hash {
						t.Errorf("asked for: got %s, want %s", found.Commit, hash)
					}
					if found := take(t, newGit(t, GitConfig{URL: url, Commit: hash}), at); found.Commit != hash {
						t.Errorf("pinned: got %s, want %s", found.Commit, hash)
					}
				})
			}
		})
	}
}

// A replica that starts without anything kept has no commit to come after. The
// oldest that may be keeps it from what was signed long ago, here or elsewhere.
func TestGitSince(t *testing.T) {
	r := newRepository(t)
	old := r.put(t, "writ.yaml", "0")
	since := r.put(t, "writ.yaml", "1")
	next := r.put(t, "writ.yaml", "2")
	last := r.put(t, "writ.yaml", "3")
	for name, url := range over(t, r) {
		r.git(t, "reset", "--quiet", "--hard", last)
		if found := take(t, newGit(t, GitConfig{URL: url, Since: since}), Position{Revision: next}); found.Commit != last {
			t.Errorf("%s: got %s", name, found.Commit)
		}
		for _, c := range []struct {
			head string
			ok   bool
		}{{next, true}, {since, true}, {old, false}} {
			r.git(t, "reset", "--quiet", "--hard", c.head)
			for _, rollback := range []bool{false, true} {
				found, err := fetch(t, newGit(t, GitConfig{URL: url, Since: since, AllowRollback: rollback}), Position{})
				if c.ok && (err != nil || found.Commit != c.head) || !c.ok && !errors.Is(err, ErrRewound) {
					t.Errorf("%s, %s: got %s, %v", name, c.head, found.Commit, err)
				}
			}
		}
	}
}

// A force-push that removes the commit in force, and a server that has forgotten
// it, change nothing about that.
func TestGitForgotten(t *testing.T) {
	r := newRepository(t)
	old := r.put(t, "writ.yaml", "0")
	active := r.put(t, "writ.yaml", "1")
	r.git(t, "reset", "--quiet", "--hard", old)
	forced := r.put(t, "writ.yaml", "2")
	r.git(t, "reflog", "expire", "--expire=now", "--all")
	r.git(t, "gc", "--quiet", "--prune=now")
	if out, err := os.ReadDir(filepath.Join(r.dir, ".git/objects", active[:2])); err == nil && len(out) > 0 {
		t.Fatalf("%s is still there", active)
	}
	for name, url := range over(t, r) {
		if _, err := fetch(t, newGit(t, GitConfig{URL: url}), Position{Revision: active}); !errors.Is(err, ErrRewound) || !strings.Contains(err.Error(), active) {
			t.Errorf("%s: got %v, want %s refused as rewound", name, err, forced)
		}
	}
}

// Only who is named signs, and only what was signed is taken.
func TestGitTrust(t *testing.T) {
	alice, mallory := newSSHKey(t), newSSHKey(t)
	r := newRepository(t)
	unsigned := r.put(t, "writ.yaml", "0")
	good := r.signed(t, alice, "writ.yaml", "1")
	bad := r.signed(t, mallory, "writ.yaml", "2")
	raw := command(t, r.dir, "", "git", "cat-file", "commit", good) + "\n"
	forge := func(old, new string) string {
		if !strings.Contains(raw, old) {
			t.Fatalf("%q is not in the commit", old)
		}
		return r.object(t, "commit", strings.Replace(raw, old, new, 1))
	}
	tree := func(c string) string { return r.git(t, "rev-parse", c+"^{tree}") }
	allow := signers(t, "alice@example.org "+alice.public)
	for _, c := range []struct {
		name, commit, says string
		keys               *trust.Keys
	}{
		{"signed", good, "", allow},
		{"nobody has to sign", unsigned, "", trust.None},
		{"not signed", unsigned, "it has no signature", allow},
		{"signed by somebody", bad, "not among the allowed signers", allow},
		{"another tree", forge(tree(good), tree(bad)), "does not fit", allow},
		{"another parent", forge("parent "+unsigned, "parent "+bad), "does not fit", allow},
		{"another message", forge("change", "changed"), "does not fit", allow},
		{"another header", forge("author ", "note x\nauthor "), "does not fit", allow},
		{"two signatures", forge("gpgsig ", "gpgsig x\ngpgsig "), "two signatures", allow},
		{"a tree more", forge("\nparent ", "\ntree "+tree(bad)+"\nparent "), "2 trees", allow},
		{"key of another namespace", good, "not among the allowed signers",
			signers(t, `alice namespaces="file" `+alice.public, "mallory "+mallory.public)},
		{"key of this namespace", good, "", signers(t, `alice namespaces="file,git" `+alice.public)},
		{"key not valid any more", good, "not valid at this time", signers(t, `alice valid-before="20200101" `+alice.public)},
		{"key not valid yet", good, "not valid at this time", signers(t, `alice valid-after="29990101" `+alice.public)},
		{"key valid", good, "", signers(t, `alice valid-after="20200101",valid-before="29990101" `+alice.public)},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.git(t, "update-ref", "refs/heads/main", c.commit)
			found, err := fetch(t, newGit(t, GitConfig{URL: r.url(), Trust: c.keys}), Position{})
			var refusal *Refusal
			switch {
			case c.says == "" && err != nil:
				t.Errorf("got %v", err)
			case c.says == "" && !c.keys.Unsigned() && (found.Signer.Name == "" || !c.keys.Knows(found.Signer.Key)):
				t.Errorf("got the signer %+v", found.Signer)
			case c.says != "" && (!errors.As(err, &refusal) || refusal.Revision != c.commit || !strings.Contains(err.Error(), c.says)):
				t.Errorf("got %v, want %s refused: %s", err, c.commit, c.says)
			}
		})
	}
}

// Commits and tags as Git signs them with OpenPGP: the signature is a header of a
// commit and the end of a tag.
func TestGitOpenPGP(t *testing.T) {
	entity := func(name string) *openpgp.Entity {
		e, err := openpgp.NewEntity(name, "", name+"@example.org", nil)
		must(t, err)
		return e
	}
	alice, mallory := entity("alice"), entity("mallory")
	var ring bytes.Buffer
	w, err := armor.Encode(&ring, openpgp.PublicKeyType, nil)
	must(t, err)
	must(t, alice.Serialize(w))
	must(t, w.Close())
	keys, err := trust.Read(trust.Material{OpenPGP: ring.Bytes()})
	must(t, err)
	r := newRepository(t)
	unsigned := r.put(t, "writ.yaml", "1")
	raw := command(t, r.dir, "", "git", "cat-file", "commit", unsigned) + "\n"
	sign := func(e *openpgp.Entity, over string) string {
		var b bytes.Buffer
		must(t, openpgp.ArmoredDetachSign(&b, e, strings.NewReader(over), nil))
		return b.String() + "\n"
	}
	commit := func(e *openpgp.Entity, over string) string {
		header := "gpgsig " + strings.ReplaceAll(strings.TrimSpace(sign(e, over)), "\n", "\n ") + "\n"
		return r.object(t, "commit", strings.Replace(raw, "\n\n", "\n"+header+"\n", 1))
	}
	tag := "object " + unsigned + "\ntype commit\ntag v1\ntagger alice <alice@example.org> 0 +0000\n\nrelease\n"
	r.git(t, "update-ref", "refs/tags/v1", r.object(t, "tag", tag+sign(alice, tag)))
	if found := take(t, newGit(t, GitConfig{URL: r.url(), Tag: "v1", Trust: keys}), Position{}); found.Commit != unsigned || found.Signer.Name != "alice <alice@example.org>" {
		t.Errorf("a tag: got %+v", found)
	}
	for name, c := range map[string]struct{ commit, says string }{
		"signed":          {commit(alice, raw), ""},
		"somebody":        {commit(mallory, raw), "not in the keyring"},
		"another message": {commit(alice, raw+"x"), "not valid"},
	} {
		r.git(t, "update-ref", "refs/heads/main", c.commit)
		found, err := fetch(t, newGit(t, GitConfig{URL: r.url(), Trust: keys}), Position{})
		if c.says == "" && (err != nil || found.Signer.Name != "alice <alice@example.org>" || !keys.Knows(found.Signer.Key)) {
			t.Errorf("%s: got %+v, %v", name, found, err)
		}
		if c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: got %v, want %s", name, err, c.says)
		}
	}
}

// A tag is signed, or its commit is. A signature is for the tag's name.
func TestGitTags(t *testing.T) {
	alice, mallory := newSSHKey(t), newSSHKey(t)
	r := newRepository(t)
	unsigned := r.put(t, "writ.yaml", "0")
	r.git(t, append(alice.sign(), "tag", "-s", "-m", "release", "v1")...)
	r.git(t, append(mallory.sign(), "tag", "-s", "-m", "release", "theirs")...)
	r.git(t, "tag", "-m", "release", "annotated")
	r.git(t, "tag", "light")
	r.git(t, "update-ref", "refs/tags/v2", "refs/tags/v1") // the server's word against the tag's
	signed := r.signed(t, alice, "writ.yaml", "1")
	r.git(t, "tag", "-m", "release", "annotated-signed")
	r.git(t, "tag", "light-signed")
	r.git(t, "tag", "tree", "HEAD^{tree}")
	r.git(t, append(alice.sign(), "tag", "-s", "-m", "of a tag", "nested", "v1")...)
	keys := signers(t, "alice@example.org "+alice.public)
	for _, c := range []struct{ tag, commit, says string }{
		{"v1", unsigned, ""},
		{"light-signed", signed, ""},
		{"annotated-signed", signed, ""},
		{"theirs", "", "not among the allowed signers"},
		{"annotated", "", "no signature"},
		{"light", "", "no signature"},
		{"v2", "", `the tag is "v1"`},
		{"nested", "", "something other than a commit"},
		{"tree", "", "the commit: the server did not send it"},
		{"none", "", "has no refs/tags/none"},
	} {
		t.Run(c.tag, func(t *testing.T) {
			found, err := fetch(t, newGit(t, GitConfig{URL: r.url(), Tag: c.tag, Trust: keys}), Position{})
			if c.says == "" && (err != nil || found.Commit != c.commit || found.Signer.Name != "alice@example.org") {
				t.Errorf("got %+v, %v", found, err)
			}
			if c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("got %v, want %s", err, c.says)
			}
		})
	}
}

// Configurations that name too much or too little, or credentials in the open.
func TestGitConfig(t *testing.T) {
	for url, says := range map[string]string{
		"":                                      "URL",
		"/srv/policies":                         "URL",
		"git@example.org:policies":              "URL",
		"git://example.org/policies":            "URL",
		"ext::sh -c id":                         "URL",
		"http://example.org/policies":           "use https",
		"https://user@example.org/p":            "name a file",
		"https://u:canary-secret@example.org/p": "name a file",
		"ssh://git:canary-secret@example.org/p": "name a file",
		"ssh://example.org/p":                   "URL",
		"ssh://git@example.org/p'x":             "URL",
		"file://example.org/p":                  "URL",
		"https://example.org/p?x=canary-secret": "URL",
	} {
		if _, err := NewGit(GitConfig{URL: url, Branch: "main", Trust: trust.None}); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: got %v, want %s", url, err, says)
		}
	}
	good := GitConfig{URL: "https://example.org/p", Branch: "main", Trust: trust.None}
	for name, change := range map[string]func(*GitConfig){
		"no ref":                func(c *GitConfig) { c.Branch = "" },
		"two refs":              func(c *GitConfig) { c.Tag = "v1" },
		"short commit":          func(c *GitConfig) { c.Branch, c.Commit = "", "abc" },
		"upper-case commit":     func(c *GitConfig) { c.Branch, c.Commit = "", strings.Repeat("A", 40) },
		"a range":               func(c *GitConfig) { c.Branch = "a..b" },
		"directory above":       func(c *GitConfig) { c.Directory = "../x" },
		"directory from root":   func(c *GitConfig) { c.Directory = "/x" },
		"hidden directory":      func(c *GitConfig) { c.Directory = ".git" },
		"short since":           func(c *GitConfig) { c.Since = "abc" },
		"since and commit":      func(c *GitConfig) { c.Branch, c.Commit, c.Since = "", strings.Repeat("a", 40), strings.Repeat("a", 40) },
		"nobody":                func(c *GitConfig) { c.Trust = nil },
		"key without ssh":       func(c *GitConfig) { c.SSHKeyFile = "k" },
		"ssh without key":       func(c *GitConfig) { c.URL = "ssh://git@example.org/p" },
		"user without password": func(c *GitConfig) { c.Username = "u" },
		"authorities on file":   func(c *GitConfig) { c.URL, c.CAFile = "file:///p", "ca" },
	} {
		c := good
		change(&c)
		if _, err := NewGit(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	g, err := NewGit(good)
	must(t, err)
	if diff := cmp.Diff("git https://example.org/p branch main directory .", g.Name()); diff != "" {
		t.Error(diff)
	}
}
