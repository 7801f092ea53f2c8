package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"

	"github.com/writpdp/writ/policies"
	"github.com/writpdp/writ/server/policy/follow"
	"github.com/writpdp/writ/server/policy/source"
)

// configured is a configuration with a section for the bundle, in a directory
// with files that sections name.
func configured(t testing.TB, section string) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.CopyFS(filepath.Join(dir, "policies"), policies.Files))
	for name, text := range map[string]string{
		"writ.yaml": strings.Replace(goodConfig, "bundle: policies\n", section, 1),
		"nonsense":  hidden + "\n",
		"signers":   "alice ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n",
		"key.pub":   "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n-----END PUBLIC KEY-----\n",
		"short":     "short\n",
	} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

// start reads the configuration and makes the follower and its routes.
func start(t testing.TB, dir string) (digest string, err error) {
	t.Helper()
	c, err := readConfig(filepath.Join(dir, "writ.yaml"))
	if err != nil {
		return "", err
	}
	f, err := c.Bundle.follow(t.Context(), func(follow.Event) {})
	if err != nil {
		return "", err
	}
	if _, err := c.Bundle.routes(f); err != nil {
		return "", err
	}
	return f.Bundle().Digest, nil
}

// A section that names too much, too little or what is not there is refused, with
// the place and without a secret.
func TestBundleSectionRefuses(t *testing.T) {
	const git, none = "bundle:\n  git:\n    url: file:///nowhere\n    branch: main\n", "  trust: none\n"
	for name, c := range map[string]struct{ section, says string }{
		"nothing":              {"bundle:\n", "one of directory, git and oci"},
		"empty":                {"bundle: ''\n", "one of directory, git and oci"},
		"a list":               {"bundle: [policies]\n", "writ.yaml:["},
		"unknown key":          {"bundle:\n  directory: policies\n  trusted: none\n", "writ.yaml:[6:3] unknown field"},
		"unknown key of git":   {git + "    brunch: x\n" + none, "writ.yaml:[8:5] unknown field"},
		"unknown key of trust": {git + "  trust:\n    keys: x\n", "writ.yaml:[9:5] unknown field"},
		"two sources":          {git + "  directory: policies\n" + none, "one of directory, git and oci"},
		"nobody":               {git, "bundle.trust is missing"},
		"nobody by directory":  {"bundle:\n  directory: policies\n", "bundle.trust is missing"},
		"a word":               {git + "  trust: all\n", "neither none nor a section"},
		"an empty trust":       {git + "  trust: {}\n", "no key is named"},
		"keys of a directory":  {"bundle:\n  directory: policies\n  trust:\n    allowed_signers_file: signers\n", "nothing can be signed in a directory"},
		"no such keys":         {git + "  trust:\n    allowed_signers_file: nothing\n", "nothing: no such file"},
		"nonsense for keys":    {git + "  trust:\n    allowed_signers_file: nonsense\n", "line 1"},
		"nonsense for PGP":     {git + "  trust:\n    openpgp_keyring_file: nonsense\n", "OpenPGP keyring"},
		"OCI's keys for Git":   {git + "  trust:\n    public_key_files: [key.pub]\n", "git is signed by"},
		"Git's keys for OCI":   {"bundle:\n  oci:\n    reference: registry.example.org/p:x\n  trust:\n    allowed_signers_file: signers\n", "oci by public_key_files"},
		"a key twice":          {"bundle:\n  oci:\n    reference: registry.example.org/p:x\n  trust:\n    public_key_files: [key.pub, ./key.pub]\n", "the same name"},
		"no branch":            {"bundle:\n  git:\n    url: file:///nowhere\n" + none, "bundle.git: one of branch, tag and commit"},
		"password in the URL":  {"bundle:\n  git:\n    url: https://u:" + hidden + "@example.org/p\n    branch: main\n" + none, "bundle.git: the URL holds"},
		"no reference":         {"bundle:\n  oci: {}\n" + none, "bundle.oci: the artefact's reference"},
		"no time":              {"bundle:\n  oci:\n    reference: registry.example.org/p:x\n    since: yesterday\n" + none, "bundle.oci.since"},
		"often":                {git + none + "  poll: 10ms\n", "bundle.poll"},
		"never":                {git + none + "  poll: -1s\n", "bundle.poll"},
		"webhook for all":      {git + none + "  webhook:\n    path: /hooks/x\n", "needs a secret_file"},
		"webhook in the way":   {git + none + "  webhook:\n    path: /access/v1/evaluation\n    secret_file: nonsense\n", "a path such as"},
		"webhook, short":       {"bundle:\n  directory: policies\n" + none + "  webhook:\n    path: /hooks/x\n    secret_file: short\n", "shorter than"},
		"webhook, no secret":   {"bundle:\n  directory: policies\n" + none + "  webhook:\n    path: /hooks/x\n    secret_file: nothing\n", "nothing"},
		"nothing there":        {git + none, "loading the bundle: fetching from file:///nowhere"},
		"keep is open":         {"bundle:\n  directory: policies\n" + none + "  keep: policies\n", "others can enter"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := configured(t, c.section)
			must(t, os.Chmod(filepath.Join(dir, "policies"), 0o755))
			_, err := start(t, dir)
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), hidden) {
				t.Errorf("got %v, want %s", err, c.says)
			}
		})
	}
}

// layout writes the sample bundle as an OCI layout.
func layout(t testing.TB, dir string) {
	t.Helper()
	store, err := oci.New(dir)
	must(t, err)
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	must(t, source.WriteTar(w, policies.Files))
	must(t, w.Close())
	push := func(mediaType string, data []byte) ocispec.Descriptor {
		d := content.NewDescriptorFromBytes(mediaType, data)
		must(t, store.Push(t.Context(), d, bytes.NewReader(data)))
		return d
	}
	manifest, err := json.Marshal(ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: push(ocispec.MediaTypeEmptyJSON, []byte("{}")),
		Layers: []ocispec.Descriptor{push(ocispec.MediaTypeImageLayer, files.Bytes())}, Annotations: map[string]string{ocispec.AnnotationCreated: "2026-11-23T12:00:00Z"}})
	must(t, err)
	must(t, store.Tag(t.Context(), push(ocispec.MediaTypeImageManifest, manifest), "stable"))
}

// The same bundle is the same, wherever it comes from.
func TestBundleSection(t *testing.T) {
	var want string
	for i, section := range []string{
		"bundle: policies\n",
		"bundle:\n  directory: policies\n  trust: none\n",
		"bundle:\n  directory: policies\n  trust: none\n  keep: kept\n  poll: 5s\n  stale_after: 1h\n  webhook:\n    path: /hooks/bundle\n    secret_file: key.pub2\n",
		"bundle:\n  oci:\n    layout: layout\n    reference: stable\n    since: 2026-11-01T00:00:00Z\n  trust: none\n",
		"bundle:\n  git:\n    url: file://WORK/policies\n    branch: main\n  trust: none\n",
	} {
		dir := configured(t, section)
		must(t, os.WriteFile(filepath.Join(dir, "writ.yaml"), []byte(strings.ReplaceAll(strings.Replace(goodConfig, "bundle: policies\n", section, 1), "WORK", dir)), 0o600))
		must(t, os.WriteFile(filepath.Join(dir, "key.pub2"), fmt.Appendf(nil, "%032d\n", 7), 0o600))
		layout(t, filepath.Join(dir, "layout"))
		gitRepository(t, filepath.Join(dir, "policies"))
		got, err := start(t, dir)
		must(t, err)
		if i == 0 {
			want = got
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", section, got, want)
		}
	}
}

// gitRepository makes a directory one.
func gitRepository(t testing.TB, dir string) {
	t.Helper()
	for _, args := range [][]string{{"init", "--quiet", "--initial-branch=main"}, {"add", "."},
		{"-c", "user.name=author", "-c", "user.email=author@example.org", "commit", "--quiet", "--no-gpg-sign", "--message", "all"}} {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
}
