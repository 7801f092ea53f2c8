package signer_test

import (
	"context"
	"crypto"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/writpdp/writ/server/signer"
	"github.com/writpdp/writ/test/vaulttest"
)

// at names a key of the engine.
func at(v *vaulttest.Vault, key string, version int) signer.Config {
	return signer.Config{KMS: "hashivault://" + key, Vault: signer.Vault{Address: v.Address, TokenFile: v.TokenFile, Version: version}}
}

// Every kind of key signs, by the engine's own code.
func TestVault(t *testing.T) {
	v := vaulttest.Start(t)
	for kind, want := range map[string]signer.Algorithm{"ed25519": signer.EdDSA, "ecdsa-p256": signer.ES256, "ecdsa-p384": signer.ES384, "rsa-2048": signer.RS256} {
		t.Run(kind, func(t *testing.T) {
			v.Do(t, "keys/"+kind, `{"type":"`+kind+`"}`)
			k, err := signer.Open(t.Context(), at(v, kind, 0))
			if err != nil {
				t.Fatal(err)
			}
			if k.Algorithm() != want {
				t.Errorf("the algorithm is %s, want %s", k.Algorithm(), want)
			}
			signs(t, k)
		})
	}
	v.Do(t, "keys/wide", `{"type":"ecdsa-p521"}`)
	v.Do(t, "keys/cipher", `{"type":"aes256-gcm96"}`)
	for name, c := range map[string]struct {
		config signer.Config
		says   string
	}{
		"a curve that tokens do not have": {at(v, "wide", 0), "neither P-256 nor P-384"},
		"a key that does not sign":        {at(v, "cipher", 0), "public key"},
		"no such key":                     {at(v, "nothing", 0), "public key"},
		"no such version":                 {at(v, "ed25519", 7), "signing by hashivault://ed25519"},
	} {
		if _, err := signer.Open(t.Context(), c.config); err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %v, want %q", name, err, c.says)
		}
	}
}

// A key that is rotated makes no signature that the published half does not
// verify; one that is pinned to its version signs on.
func TestVaultRotates(t *testing.T) {
	v := vaulttest.Start(t)
	v.Do(t, "keys/log", `{"type":"ed25519"}`)
	newest := must[*signer.Key](t)(signer.Open(t.Context(), at(v, "log", 0)))
	pinned := must[*signer.Key](t)(signer.Open(t.Context(), at(v, "log", 1)))
	v.Do(t, "keys/log/rotate", `{}`)
	if signature, err := newest.Sign(t.Context(), message); err == nil || !strings.Contains(err.Error(), "was the key rotated") {
		t.Errorf("a rotated key: %x, %v", signature, err)
	}
	signs(t, pinned)
	again := must[*signer.Key](t)(signer.Open(t.Context(), at(v, "log", 0)))
	signs(t, again)
	if again.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(newest.Public()) {
		t.Error("the key was not rotated")
	}
	// An old version is not the public key that is given out, so it is refused at
	// the start and not at the first signature.
	if _, err := signer.Open(t.Context(), at(v, "log", 1)); err == nil {
		t.Error("an old version is opened under the newest public key")
	}
}

// The token is read for every signature: renewing it takes no restart. One that
// is revoked, or that others can read, signs nothing.
func TestVaultToken(t *testing.T) {
	v := vaulttest.Start(t)
	v.Do(t, "keys/log", `{"type":"ed25519"}`)
	k := must[*signer.Key](t)(signer.Open(t.Context(), at(v, "log", 0)))
	// The engine takes what its file holds, so the signer's is another from here on.
	mine := file(t, []byte(vaulttest.Token))
	config := at(v, "log", 0)
	config.Vault.TokenFile = mine
	own := must[*signer.Key](t)(signer.Open(t.Context(), config))
	write := func(name, token string) {
		if err := os.WriteFile(name, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(v.TokenFile, "canary-token-2")
	signs(t, k)
	if _, err := own.Sign(t.Context(), message); err == nil || !strings.Contains(err.Error(), "permission denied") || strings.Contains(err.Error(), "canary") {
		t.Errorf("a revoked token: %v", err)
	}
	write(mine, "canary-token-2")
	signs(t, own)
	if err := os.Chmod(mine, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := own.Sign(t.Context(), message); err == nil || !strings.Contains(err.Error(), "mode 0644") {
		t.Errorf("a token that everybody can read: %v", err)
	}
}

// Nothing is taken from the environment, and no program is looked for.
func TestKMSRefuses(t *testing.T) {
	t.Setenv("VAULT_ADDR", "http://127.0.0.1:1")
	t.Setenv("VAULT_TOKEN", "canary")
	t.Setenv("TRANSIT_SECRET_ENGINE_PATH", "elsewhere")
	// sigstore would run a program of this name for a scheme of its own.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sigstore-kms-planted"), []byte("#!/bin/sh\ntouch "+dir+"/ran\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	token := file(t, []byte("canary"))
	where := func(address string) signer.Vault { return signer.Vault{Address: address, TokenFile: token} }
	for name, c := range map[string]struct {
		config signer.Config
		says   string
	}{
		"a program":               {signer.Config{KMS: "planted://key"}, "begins with one of awskms://"},
		"a file":                  {signer.Config{KMS: "file:///etc/passwd"}, "begins with one of"},
		"no scheme":               {signer.Config{KMS: "key"}, "begins with one of"},
		"no address":              {signer.Config{KMS: "hashivault://key", Vault: where("")}, "not said where the Vault is"},
		"no token":                {signer.Config{KMS: "hashivault://key", Vault: signer.Vault{Address: "https://vault"}}, "which file holds"},
		"in the plain":            {signer.Config{KMS: "hashivault://key", Vault: where("http://vault.example.org")}, "not https"},
		"in the plain on a name":  {signer.Config{KMS: "hashivault://key", Vault: where("http://127.0.0.1.example.org")}, "not https"},
		"another scheme":          {signer.Config{KMS: "hashivault://key", Vault: where("unix:///vault.sock")}, "not a plain URL"},
		"an address with a name":  {signer.Config{KMS: "hashivault://key", Vault: where("https://u:canary@vault")}, "not a plain URL"},
		"a negative version":      {signer.Config{KMS: "hashivault://key", Vault: signer.Vault{Address: "https://vault", TokenFile: token, Version: -1}}, "negative"},
		"a key with a path":       {signer.Config{KMS: "hashivault://../../sys/seal", Vault: where("http://127.0.0.1:1")}, "hashivault"},
		"a malformed key of AWS":  {signer.Config{KMS: "awskms://x"}, "awskms"},
		"a malformed key of GCP":  {signer.Config{KMS: "gcpkms://x"}, "gcpkms"},
		"a malformed Azure vault": {signer.Config{KMS: "azurekms://x"}, "azurekms"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := signer.Open(t.Context(), c.config)
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "canary") {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
		t.Error("a program was run")
	}
}

// A service that takes calls and never answers holds up nobody for longer than
// the caller waits.
func TestKMSThatHangs(t *testing.T) {
	listener := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	defer listener.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := signer.Open(ctx, signer.Config{KMS: "hashivault://key",
		Vault: signer.Vault{Address: "http://" + listener.Addr().String(), TokenFile: file(t, []byte("x"))}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
