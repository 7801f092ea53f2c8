package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/gofrs/uuid/v5"

	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/policy/follow"
	"github.com/writpdp/writ/server/policy/source"
	"github.com/writpdp/writ/server/policy/trust"
)

// bundleConfig is where the policy bundle comes from: the path of a directory,
// which is short for `directory` and `trust: none`, or a section.
type bundleConfig struct {
	// Directory, Git and OCI are the sources, of which there is one.
	Directory string     `yaml:"directory"`
	Git       *gitConfig `yaml:"git"`
	OCI       *ociConfig `yaml:"oci"`
	// Trust says who may sign. It has no default.
	Trust *trustConfig `yaml:"trust"`
	// AllowRollback takes what does not come after the bundle in force.
	AllowRollback bool `yaml:"allow_rollback"`
	// Keep is a directory for the last good bundle; empty: none is kept.
	Keep string `yaml:"keep"`
	// Poll is the time between two looks.
	Poll time.Duration `yaml:"poll"`
	// StaleAfter is how long the source may not answer before /readyz says so.
	StaleAfter time.Duration `yaml:"stale_after"`
	// Webhook is a route that asks for a look at once; nil: none.
	Webhook *struct {
		Path       string `yaml:"path"`
		SecretFile string `yaml:"secret_file"`
	} `yaml:"webhook"`
}

type gitConfig struct {
	URL            string `yaml:"url"`
	Branch         string `yaml:"branch"`
	Tag            string `yaml:"tag"`
	Commit         string `yaml:"commit"`
	Since          string `yaml:"since"`
	Directory      string `yaml:"directory"`
	SSHKeyFile     string `yaml:"ssh_key_file"`
	KnownHostsFile string `yaml:"known_hosts_file"`
	Username       string `yaml:"username"`
	PasswordFile   string `yaml:"password_file"`
	CAFile         string `yaml:"ca_file"`
}

type ociConfig struct {
	Reference    string `yaml:"reference"`
	Layout       string `yaml:"layout"`
	Since        string `yaml:"since"`
	Directory    string `yaml:"directory"`
	Username     string `yaml:"username"`
	PasswordFile string `yaml:"password_file"`
	CAFile       string `yaml:"ca_file"`
}

// trustConfig is `none`, or the files of keys.
type trustConfig struct {
	none               bool
	AllowedSignersFile string   `yaml:"allowed_signers_file"`
	OpenPGPKeyringFile string   `yaml:"openpgp_keyring_file"`
	PublicKeyFiles     []string `yaml:"public_key_files"`
}

// webhookPath keeps webhooks out of the way of every other route.
var webhookPath = regexp.MustCompile(`^/hooks/[A-Za-z0-9._-]+$`)

// UnmarshalYAML reads a path or a section.
func (b *bundleConfig) UnmarshalYAML(unmarshal func(any) error) error {
	var directory string
	if unmarshal(&directory) == nil {
		*b = bundleConfig{Directory: directory, Trust: &trustConfig{none: true}}
		return nil
	}
	type section bundleConfig
	return unmarshal((*section)(b))
}

// UnmarshalYAML reads the word none or a section.
func (t *trustConfig) UnmarshalYAML(unmarshal func(any) error) error {
	var word string
	if unmarshal(&word) == nil {
		if word != "none" {
			return fmt.Errorf("trust is %.20q and neither none nor a section", word)
		}
		t.none = true
		return nil
	}
	type section trustConfig
	return unmarshal((*section)(t))
}

// paths are those of the section that are relative to the configuration's file.
func (b *bundleConfig) paths() []*string {
	all := []*string{&b.Directory, &b.Keep}
	if g := b.Git; g != nil {
		all = append(all, &g.SSHKeyFile, &g.KnownHostsFile, &g.PasswordFile, &g.CAFile)
	}
	if o := b.OCI; o != nil {
		all = append(all, &o.Layout, &o.PasswordFile, &o.CAFile)
	}
	if t := b.Trust; t != nil {
		all = append(all, &t.AllowedSignersFile, &t.OpenPGPKeyringFile)
		for i := range t.PublicKeyFiles {
			all = append(all, &t.PublicKeyFiles[i])
		}
	}
	if b.Webhook != nil {
		all = append(all, &b.Webhook.SecretFile)
	}
	return all
}

// resolve makes the paths absolute and checks what needs no file.
func (b *bundleConfig) resolve(dir string) error {
	for _, path := range b.paths() {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(dir, *path)
		}
	}
	sources := 0
	for _, named := range []bool{b.Directory != "", b.Git != nil, b.OCI != nil} {
		if named {
			sources++
		}
	}
	switch {
	case sources != 1:
		return errors.New("bundle: it is not named where the bundle is: one of directory, git and oci")
	case b.Trust == nil:
		return errors.New("bundle.trust is missing: name the keys that sign, or say none")
	case b.Directory != "" && !b.Trust.none:
		return errors.New("bundle.trust: nothing can be signed in a directory; say none, or use git or oci")
	case b.Poll != 0 && b.Poll < time.Second || b.Poll < 0 || b.StaleAfter < 0:
		return errors.New("bundle.poll is less than a second, or bundle.stale_after less than nothing")
	case b.Webhook != nil && (!webhookPath.MatchString(b.Webhook.Path) || b.Webhook.SecretFile == ""):
		return errors.New("bundle.webhook needs a secret_file, and a path such as /hooks/bundle")
	}
	return nil
}

// keys reads the keys that sign.
func (b *bundleConfig) keys() (*trust.Keys, error) {
	if b.Trust.none {
		return trust.None, nil
	}
	var m trust.Material
	read := func(file string) ([]byte, error) {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("bundle.trust: %w", err)
		}
		return data, nil
	}
	var err error
	if file := b.Trust.AllowedSignersFile; file != "" {
		if m.AllowedSigners, err = read(file); err != nil {
			return nil, err
		}
	}
	if file := b.Trust.OpenPGPKeyringFile; file != "" {
		if m.OpenPGP, err = read(file); err != nil {
			return nil, err
		}
	}
	m.Public = map[string][]byte{}
	for _, file := range b.Trust.PublicKeyFiles {
		if m.Public[filepath.Base(file)], err = read(file); err != nil {
			return nil, err
		}
	}
	if len(m.Public) != len(b.Trust.PublicKeyFiles) {
		return nil, errors.New("bundle.trust: two public keys have the same name")
	}
	if (b.Git != nil) != (len(m.Public) == 0) {
		return nil, errors.New("bundle.trust: git is signed by allowed_signers_file or openpgp_keyring_file, oci by public_key_files")
	}
	keys, err := trust.Read(m)
	if err != nil {
		return nil, fmt.Errorf("bundle.trust: %w", err)
	}
	return keys, nil
}

// source is where the section says that the bundle is.
func (b *bundleConfig) source(keys *trust.Keys) (source.Source, error) {
	switch {
	case b.Git != nil:
		g := b.Git
		s, err := source.NewGit(source.GitConfig{
			URL: g.URL, Branch: g.Branch, Tag: g.Tag, Commit: g.Commit, Since: g.Since, Directory: g.Directory,
			SSHKeyFile: g.SSHKeyFile, KnownHostsFile: g.KnownHostsFile, Username: g.Username, PasswordFile: g.PasswordFile,
			CAFile: g.CAFile, Trust: keys, AllowRollback: b.AllowRollback, Now: time.Now,
		})
		if err != nil {
			return nil, fmt.Errorf("bundle.git: %w", err)
		}
		return s, nil
	case b.OCI != nil:
		o := b.OCI
		var since time.Time
		if o.Since != "" {
			var err error
			if since, err = time.Parse(time.RFC3339, o.Since); err != nil {
				return nil, fmt.Errorf("bundle.oci.since: %w", err)
			}
		}
		s, err := source.NewOCI(source.OCIConfig{
			Reference: o.Reference, Layout: o.Layout, Since: since, Directory: o.Directory, Username: o.Username, PasswordFile: o.PasswordFile,
			CAFile: o.CAFile, Trust: keys, AllowRollback: b.AllowRollback, Now: time.Now,
		})
		if err != nil {
			return nil, fmt.Errorf("bundle.oci: %w", err)
		}
		return s, nil
	}
	return source.NewDirectory(b.Directory), nil
}

// directoryPoll is how often a directory is looked at where nothing says it.
const directoryPoll = 2 * time.Second

// follow makes the follower, with a bundle in force. report is told what happens.
func (b *bundleConfig) follow(ctx context.Context, report func(follow.Event)) (*follow.Follower, error) {
	keys, err := b.keys()
	if err != nil {
		return nil, err
	}
	from, err := b.source(keys)
	if err != nil {
		return nil, err
	}
	every := b.Poll
	if every == 0 && b.Directory != "" {
		every = directoryPoll
	}
	return follow.New(ctx, follow.Config{
		Source: from, Trust: keys, Keep: b.Keep, Every: every, StaleAfter: b.StaleAfter, Now: time.Now,
		Report: report,
	})
}

// tell writes what happened to the bundle to the log.
func tell(ctx context.Context, log *slog.Logger, e follow.Event) {
	level := slog.LevelInfo
	switch e.What {
	case follow.Refused, follow.Unkept:
		level = slog.LevelError
	case follow.Unreachable:
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{slog.String("source", e.Source)}
	for _, a := range [][2]string{{"commit", e.Commit}, {"digest", e.Digest}, {"signer", e.Signer.Name}, {"key", e.Signer.Key}, {"why", e.Why}} {
		if a[1] != "" {
			attrs = append(attrs, slog.String(a[0], a[1]))
		}
	}
	log.LogAttrs(ctx, level, "bundle "+string(e.What), attrs...)
}

// notices are the records of what happens to a bundle.
var notices = map[follow.What]audit.NoticeKind{
	follow.Activated: audit.Activated, follow.Refused: audit.Refused, follow.Unreachable: audit.Unreachable,
	follow.Restored: audit.Restored, follow.Unkept: audit.Unkept,
}

// noticePatience bounds how long who noticed something waits for the record of it.
const noticePatience = 10 * time.Second

// notice makes a record of what a server noticed. Where the store does not take
// it, the process's own log has it.
func notice(ctx context.Context, log *slog.Logger, ledger server.Ledger, n audit.NoticeFacts) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noticePatience)
	defer cancel()
	n.At = time.Now().UTC()
	err := func() error {
		id, err := uuid.NewV7()
		if err != nil {
			return err
		}
		entry, err := audit.Noticed(id, n)
		if err != nil {
			return err
		}
		_, err = ledger.Commit(ctx, entry)
		return err
	}()
	if err != nil {
		log.Error("recording a notice", "kind", n.Kind.String(), "error", err)
	}
}

// routes are what the JSON listener serves about the bundle. f is nil where the
// configured bundle cannot be used and the store's is in force.
func (b *bundleConfig) routes(f *follow.Follower) (map[string]http.Handler, error) {
	if f == nil || b.Webhook == nil {
		return nil, nil
	}
	secret, err := readLine(b.Webhook.SecretFile)
	if err != nil {
		return nil, err
	}
	if len(secret) < follow.MinSecret {
		return nil, fmt.Errorf("bundle.webhook: the secret is shorter than %d bytes", follow.MinSecret)
	}
	return map[string]http.Handler{"POST " + b.Webhook.Path: f.Hook(secret)}, nil
}
