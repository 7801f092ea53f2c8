package main

import (
	"strings"
	"testing"

	"github.com/writpdp/writ/server/policy/trust"
	"github.com/writpdp/writ/test/vaulttest"
)

// What is signed here is what a server takes: by a key in a file and by one in a
// Vault.
func TestPolicySign(t *testing.T) {
	s := &site{dir: t.TempDir()}
	s.write(t, "passphrase", hidden)
	s.tokenKey(t)
	v := vaulttest.Start(t)
	v.Do(t, "keys/bundles", `{"type":"ed25519"}`)
	v.Do(t, "keys/wide", `{"type":"ecdsa-p384"}`)
	vault := func(key string) []string {
		return []string{"--kms", "hashivault://" + key, "--vault-address", v.Address, "--vault-token-file", v.TokenFile}
	}
	file := []string{"--key-file", s.path("token.key"), "--passphrase-file", s.path("passphrase")}
	digest := strings.Repeat("ab", 32)
	for name, key := range map[string][]string{"a file": file, "a Vault": vault("bundles")} {
		public := succeed(t, append([]string{"key", "public"}, key...)...)
		keys, err := trust.Read(trust.Material{Public: map[string][]byte{"bundles.pub": []byte(public + "\n")}})
		must(t, err)
		envelope := succeed(t, append([]string{"policy", "sign", "sha256:" + digest}, key...)...)
		if who, err := keys.Artefact([]byte(envelope), digest); err != nil || who.Name != "bundles.pub" {
			t.Errorf("%s: signed by %v, %v", name, who, err)
		}
		if _, err := keys.Artefact([]byte(envelope), strings.Repeat("cd", 32)); err == nil {
			t.Errorf("%s: the signature is good for another artefact", name)
		}
	}
	for name, args := range map[string][]string{
		"no digest":           append([]string{"latest"}, file...),
		"a short digest":      append([]string{"sha256:abcd"}, file...),
		"a digest in capital": append([]string{"sha256:" + strings.ToUpper(digest)}, file...),
		"another kind of key": append([]string{"sha256:" + digest}, vault("wide")...),
		"no key":              {"sha256:" + digest},
		"a wrong passphrase":  {"sha256:" + digest, "--key-file", s.path("token.key"), "--passphrase-file", v.TokenFile},
	} {
		if code, out, errs := writ(t, append([]string{"policy", "sign"}, args...)...); code == exitOK || out != "" || strings.Contains(errs, hidden) || strings.Contains(errs, vaulttest.Token) {
			t.Errorf("%s: exit code %d: %s%s", name, code, out, errs)
		}
	}
}
