package source

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"

	"github.com/writpdp/writ/server/policy/source/pack"
	"github.com/writpdp/writ/server/policy/trust"
)

// GitConfig says which repository to follow. Files are read anew at every
// fetch, so that what is in them can change.
type GitConfig struct {
	// URL is https://…, ssh://user@host/… or file:///…; http:// on loopback.
	URL string
	// One of Branch, Tag and Commit is what is followed.
	Branch, Tag, Commit string
	// Since is the oldest commit that may come into force: any other must come
	// after it, at the first start too; empty: there is none.
	Since string
	// Directory is the bundle's within the repository; empty: the root.
	Directory string
	// SSHKeyFile holds the private key of ssh, KnownHostsFile the hosts' keys.
	SSHKeyFile, KnownHostsFile string
	// Username and PasswordFile are those of https; both or neither.
	Username, PasswordFile string
	// CAFile holds the authorities of the server's certificate; empty: the
	// system's.
	CAFile string
	// Trust says who may sign; trust.None: nobody has to.
	Trust *trust.Keys
	// AllowRollback takes a commit that does not come after the one in force.
	AllowRollback bool
	// Now is the clock that keys must be valid by.
	Now func() time.Time
}

// Git is a Git repository, read over the wire into memory: no copy of it is
// kept, and of its history only the hashes that link a new commit to the one in
// force are looked at.
type Git struct {
	GitConfig
	url *url.URL
}

// NewGit checks the configuration; it connects to nothing.
func NewGit(c GitConfig) (*Git, error) {
	g := &Git{GitConfig: c}
	var err error
	if g.url, err = checkURL(c.URL); err != nil {
		return nil, err
	}
	if g.Directory, err = checkDirectory(c.Directory); err != nil {
		return nil, err
	}
	named := 0
	for _, ref := range []string{c.Branch, c.Tag, c.Commit} {
		if ref != "" {
			named++
		}
		if strings.ContainsAny(ref, " ~^:?*[\\\x7f") || strings.Contains(ref, "..") {
			return nil, fmt.Errorf("%q is not a branch, a tag or a commit", ref)
		}
	}
	if named != 1 {
		return nil, errors.New("one of branch, tag and commit must be named")
	}
	if _, err := pack.ReadHash(c.Commit); c.Commit != "" && err != nil {
		return nil, fmt.Errorf("the commit %q is not a whole SHA-1 in lower case", c.Commit)
	}
	if _, err := pack.ReadHash(c.Since); c.Since != "" && (err != nil || c.Commit != "") {
		return nil, fmt.Errorf("since %q is not a whole SHA-1 in lower case, or stands beside a commit", c.Since)
	}
	ssh, http := g.url.Scheme == "ssh", strings.HasPrefix(g.url.Scheme, "http")
	switch {
	case ssh != (c.SSHKeyFile != "") || ssh != (c.KnownHostsFile != ""):
		return nil, errors.New("a key file and a known hosts file are needed for ssh, and for nothing else")
	case (c.Username == "") != (c.PasswordFile == "") || c.Username != "" && !http:
		return nil, errors.New("a user name and a password file are for https, and go together")
	case c.CAFile != "" && g.url.Scheme != "https":
		return nil, errors.New("a file of authorities is for https")
	case c.Trust == nil:
		return nil, errors.New("it must be said who is trusted, or that nobody has to sign")
	}
	return g, nil
}

func checkURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.RawQuery != "" || u.Fragment != "" || u.Path == "" {
		return nil, errors.New("the URL is not https://…, ssh://… or file:///…") // without it: it may hold a password
	}
	_, password := u.User.Password()
	switch {
	case password || u.User != nil && u.Scheme != "ssh":
		return nil, errors.New("the URL holds a user's credentials: name a file")
	case u.Scheme == "https" && u.Host != "", u.Scheme == "http" && loopback(u.Hostname()):
	case u.Scheme == "ssh" && u.Host != "" && u.User.Username() != "" && !strings.ContainsAny(u.Path, "'\\\n"):
	case u.Scheme == "file" && u.Host == "":
	case u.Scheme == "http":
		return nil, errors.New("http is for loopback: use https")
	default:
		return nil, errors.New("the URL is not https://…, ssh://user@host/… or file:///…")
	}
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Name is the URL, what is followed, and the directory.
func (g *Git) Name() string {
	name := "git " + g.url.String()
	for _, part := range [][2]string{{" branch ", g.Branch}, {" tag ", g.Tag}, {" commit ", g.Commit}} {
		if part[1] != "" {
			name += part[0] + part[1]
		}
	}
	return name + " directory " + g.Directory
}

// tip is what the server says it has.
type tip struct {
	commit plumbing.Hash
	tag    plumbing.Hash // of an annotated tag; zero: none
}

// Fetch reads the newest commit. Its signature is verified before its history
// is looked at, and that before its files.
func (g *Git) Fetch(ctx context.Context, at Position) (Found, error) {
	var head tip
	got, err := g.talk(ctx, func(refs *packp.AdvRefs) (request *packp.UploadPackRequest, err error) {
		if head, err = g.head(refs); err != nil {
			return nil, err
		}
		if name := head.commit.String(); name == at.Revision || name == at.Refused {
			return nil, nil
		}
		request = newRequest(head.commit)
		if !head.tag.IsZero() {
			request.Wants[0] = head.tag
		}
		if refs.Capabilities.Supports(capability.Shallow) {
			request.Depth = packp.DepthCommits(1)
		}
		return request, nil
	})
	if err != nil {
		return Found{}, head.refuse(trust.Signer{}, err)
	}
	found := Found{Revision: head.commit.String(), Commit: head.commit.String()}
	if got == nil {
		return found, nil
	}
	c, signer, err := g.verify(got, head)
	if err != nil {
		return Found{}, head.refuse(signer, err)
	}
	found.Signer = signer
	if err := g.follows(ctx, head, at); err != nil {
		return Found{}, head.refuse(signer, err)
	}
	files, err := gather(got, c.Tree, g.Directory)
	if err == nil {
		found.Files, err = files.fs()
	}
	if err != nil {
		return Found{}, head.refuse(signer, err)
	}
	return found, nil
}

// refuse makes a refusal of what is wrong with a commit, and leaves what is wrong
// with the way to it. A tag can be signed later, and what a server left out it can
// send.
func (t tip) refuse(signer trust.Signer, err error) error {
	var failed *wireError
	if t.commit.IsZero() || errors.As(err, &failed) && !errors.Is(err, errTooMuch) && !errors.Is(err, pack.ErrHeld) {
		return err
	}
	return &Refusal{Revision: t.commit.String(), Signer: signer, Err: err,
		Again: errors.Is(err, errIncomplete) || !t.tag.IsZero() && errors.Is(err, trust.ErrUntrusted)}
}

// head is the commit that the server says the branch or tag is at.
func (g *Git) head(refs *packp.AdvRefs) (tip, error) {
	name := "refs/heads/" + g.Branch
	switch {
	case g.Commit != "":
		hash, err := pack.ReadHash(g.Commit)
		return tip{commit: hash}, err
	case g.Tag != "":
		name = "refs/tags/" + g.Tag
	}
	hash, ok := refs.References[name]
	if !ok {
		return tip{}, fmt.Errorf("the repository has no %s", name)
	}
	if peeled, ok := refs.Peeled[name]; ok {
		return tip{commit: peeled, tag: hash}, nil
	}
	return tip{commit: hash}, nil
}

// verify says who signed: the commit, or the tag that names it. A tag's own name
// is signed with it: another tag's signature is no word on this one.
func (g *Git) verify(got *pack.Objects, head tip) (*pack.Commit, trust.Signer, error) {
	raw, ok := got.Object(plumbing.CommitObject, head.commit)
	if !ok {
		return nil, trust.Signer{}, fmt.Errorf("the commit: %w", errIncomplete)
	}
	c, err := pack.ReadCommit(raw)
	if err != nil {
		return nil, trust.Signer{}, err
	}
	payload, signature := c.Payload, c.Signature
	if !head.tag.IsZero() {
		t, err := g.tag(got, head)
		if err != nil {
			return nil, trust.Signer{}, err
		}
		if t.Signature != "" {
			payload, signature = t.Payload, t.Signature
		}
	}
	if g.Trust.Unsigned() {
		return c, trust.Signer{}, nil
	}
	signer, err := g.Trust.Git(payload, signature, g.Now())
	return c, signer, err
}

// tag holds what the server said of a tag against the tag.
func (g *Git) tag(got *pack.Objects, head tip) (*pack.Tag, error) {
	raw, ok := got.Object(plumbing.TagObject, head.tag)
	if !ok {
		return nil, fmt.Errorf("the tag: %w", errIncomplete)
	}
	t, err := pack.ReadTag(raw)
	if err != nil {
		return nil, err
	}
	if t.Object != head.commit || t.Name != g.Tag {
		return nil, fmt.Errorf("the tag is %.80q of %s, and not the one that was asked for", t.Name, t.Object)
	}
	return t, nil
}

// follows refuses a commit that does not come after the one in force, or after
// the oldest that may be. Its history is fetched for that, the commits alone where
// the server can leave the rest out, and believed only as far as hashes link it.
func (g *Git) follows(ctx context.Context, head tip, at Position) error {
	if g.Since != "" {
		if err := g.comesAfter(ctx, head.commit, plumbing.NewHash(g.Since)); err != nil {
			return err
		}
	}
	if at.Revision == "" || g.AllowRollback || g.Commit != "" {
		return nil
	}
	return g.comesAfter(ctx, head.commit, plumbing.NewHash(at.Revision))
}

func (g *Git) comesAfter(ctx context.Context, commit, before plumbing.Hash) error {
	got, err := g.talk(ctx, func(refs *packp.AdvRefs) (*packp.UploadPackRequest, error) {
		request := newRequest(commit)
		request.Haves = []plumbing.Hash{before}
		if refs.Capabilities.Supports(capability.Filter) {
			request.Filter = packp.FilterTreeDepth(0)
		}
		return request, nil
	})
	if err != nil {
		return fmt.Errorf("reading its history: %w", err)
	}
	after, err := got.Descends(commit, before)
	if err == nil && !after {
		err = fmt.Errorf("%s is not among the commits before it: %w", before, ErrRewound)
	}
	return err
}

func newRequest(want plumbing.Hash) *packp.UploadPackRequest {
	request := packp.NewUploadPackRequest()
	request.Wants = []plumbing.Hash{want}
	return request
}
