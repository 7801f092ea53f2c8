package signer_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"golang.org/x/mod/sumdb/note"

	"github.com/writpdp/writ/server/signer"
)

func must[T any](t testing.TB) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func file(t testing.TB, data []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func pkcs8(t testing.TB, private any) []byte {
	t.Helper()
	return must[[]byte](t)(x509.MarshalPKCS8PrivateKey(private))
}

func block(kind string, data []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data})
}

// keys are one of each kind.
func keys(t testing.TB) map[signer.Algorithm]crypto.Signer {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return map[signer.Algorithm]crypto.Signer{
		signer.EdDSA: ed,
		signer.ES256: must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		signer.ES384: must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
		signer.RS256: must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048)),
	}
}

var message = []byte("a message")

// signs holds a key to what the standard library makes of its signatures.
func signs(t *testing.T, k *signer.Key) {
	t.Helper()
	signature, err := k.Sign(t.Context(), message)
	if err != nil {
		t.Fatal(err)
	}
	h := func(hash crypto.Hash) []byte { w := hash.New(); w.Write(message); return w.Sum(nil) }
	ok := false
	switch public := k.Public().(type) {
	case ed25519.PublicKey:
		ok = k.Algorithm() == signer.EdDSA && ed25519.Verify(public, message, signature)
	case *ecdsa.PublicKey:
		hash := map[signer.Algorithm]crypto.Hash{signer.ES256: crypto.SHA256, signer.ES384: crypto.SHA384}[k.Algorithm()]
		ok = ecdsa.VerifyASN1(public, h(hash), signature)
	case *rsa.PublicKey:
		ok = k.Algorithm() == signer.RS256 && rsa.VerifyPKCS1v15(public, crypto.SHA256, h(crypto.SHA256), signature) == nil
	}
	if !ok || !k.Verify(message, signature) || k.Verify([]byte("another"), signature) {
		t.Errorf("%s: the signature is wrong", k.Algorithm())
	}
}

func TestFile(t *testing.T) {
	const passphrase = "canary passphrase"
	pass := func(bool) ([]byte, error) { return []byte(passphrase), nil }
	for algorithm, private := range keys(t) {
		t.Run(string(algorithm), func(t *testing.T) {
			k, err := signer.Open(t.Context(), signer.Config{File: file(t, block("PRIVATE KEY", pkcs8(t, private)))})
			if err != nil {
				t.Fatal(err)
			}
			signs(t, k)
			// As sigstore's own tools write it.
			der := must[[]byte](t)(cryptoutils.MarshalPrivateKeyToEncryptedDER(private, pass))
			for _, kind := range []string{"ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"} {
				k, err := signer.Open(t.Context(), signer.Config{File: file(t, block(kind, der)), PassphraseFile: file(t, []byte(passphrase+"\n"))})
				if err != nil {
					t.Fatalf("%s: %v", kind, err)
				}
				signs(t, k)
				if !k.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(private.Public()) {
					t.Error("it is another key")
				}
			}
		})
	}
}

func TestNoteKey(t *testing.T) {
	skey, vkey, err := note.GenerateKey(rand.Reader, "writ.example.org/log")
	if err != nil {
		t.Fatal(err)
	}
	k, err := signer.Open(t.Context(), signer.Config{File: file(t, []byte(skey+"\n"))})
	if err != nil {
		t.Fatal(err)
	}
	signs(t, k)
	if k.Name() != "writ.example.org/log" {
		t.Errorf("the key is named %q", k.Name())
	}
	// The library's own verifier takes what it signs.
	verifier := must[note.Verifier](t)(note.NewVerifier(vkey))
	if signature := must[[]byte](t)(k.Sign(t.Context(), message)); !verifier.Verify(message, signature) {
		t.Error("the signature is not that of the note's key")
	}
}

func TestFileRefuses(t *testing.T) {
	all := keys(t)
	good := block("PRIVATE KEY", pkcs8(t, all[signer.EdDSA]))
	der := must[[]byte](t)(cryptoutils.MarshalPrivateKeyToEncryptedDER(all[signer.EdDSA], func(bool) ([]byte, error) { return []byte("right"), nil }))
	sealed := block("ENCRYPTED SIGSTORE PRIVATE KEY", der)
	skey, vkey, err := note.GenerateKey(rand.Reader, "log")
	if err != nil {
		t.Fatal(err)
	}
	p521 := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	right, wrong := file(t, []byte("right")), file(t, []byte("canary-wrong"))
	open := file(t, good)
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		config signer.Config
		says   string
	}{
		"nothing":                   {signer.Config{}, "one of a file and a KMS URI"},
		"two keys":                  {signer.Config{File: open, KMS: "hashivault://x"}, "one of a file and a KMS URI"},
		"a passphrase for a KMS":    {signer.Config{KMS: "hashivault://x", PassphraseFile: right}, "a passphrase is for a file"},
		"no such file":              {signer.Config{File: "/nothing/key"}, "no such file"},
		"readable by everybody":     {signer.Config{File: open}, "mode 0644"},
		"empty":                     {signer.Config{File: file(t, nil)}, "neither one PEM block"},
		"nonsense":                  {signer.Config{File: file(t, []byte("canary"))}, "neither one PEM block"},
		"two keys in one file":      {signer.Config{File: file(t, append(bytes.Clone(good), good...))}, "neither one PEM block"},
		"broken PKCS#8":             {signer.Config{File: file(t, block("PRIVATE KEY", []byte("canary")))}, "not a PKCS#8"},
		"a certificate":             {signer.Config{File: file(t, block("CERTIFICATE", []byte("canary")))}, "its PEM type"},
		"PKCS#1":                    {signer.Config{File: file(t, block("RSA PRIVATE KEY", []byte("canary")))}, "its PEM type"},
		"another curve":             {signer.Config{File: file(t, block("PRIVATE KEY", pkcs8(t, p521)))}, "neither P-256 nor P-384"},
		"a small RSA key":           {signer.Config{File: file(t, block("PRIVATE KEY", pkcs8(t, must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 1024)))))}, "2048 to 8192"},
		"plain with a passphrase":   {signer.Config{File: file(t, good), PassphraseFile: right}, "not encrypted"},
		"note with a passphrase":    {signer.Config{File: file(t, []byte(skey)), PassphraseFile: right}, "not encrypted"},
		"a note key cut short":      {signer.Config{File: file(t, []byte(skey[:len(skey)-8]))}, "not a signed-note key"},
		"a note's public key":       {signer.Config{File: file(t, []byte(vkey))}, "neither one PEM block"},
		"encrypted, no passphrase":  {signer.Config{File: file(t, sealed)}, "no file with its passphrase"},
		"encrypted, wrong":          {signer.Config{File: file(t, sealed), PassphraseFile: wrong}, "cannot be decrypted"},
		"encrypted, no such file":   {signer.Config{File: file(t, sealed), PassphraseFile: "/nothing/pass"}, "no such file"},
		"encrypted, changed":        {signer.Config{File: file(t, block("ENCRYPTED SIGSTORE PRIVATE KEY", bytes.Replace(der, []byte(`"ciphertext":"`), []byte(`"ciphertext":"AAAA`), 1))), PassphraseFile: right}, "cannot be decrypted"},
		"encrypted that is not":     {signer.Config{File: file(t, block("ENCRYPTED SIGSTORE PRIVATE KEY", pkcs8(t, all[signer.EdDSA]))), PassphraseFile: right}, "cannot be decrypted"},
		"a passphrase of two lines": {signer.Config{File: file(t, sealed), PassphraseFile: file(t, []byte("right\ncanary"))}, "more than one line"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := signer.Open(t.Context(), c.config)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
			if err != nil && (strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "PRIVATE+KEY")) {
				t.Errorf("the error tells a secret: %v", err)
			}
		})
	}
}

// A key tells nothing of itself, wherever it is printed.
func TestKeyIsHidden(t *testing.T) {
	private := ed25519.NewKeyFromSeed([]byte("canary-canary-canary-canary-cana"))
	k, err := signer.Open(t.Context(), signer.Config{File: file(t, block("PRIVATE KEY", pkcs8(t, private)))})
	if err != nil {
		t.Fatal(err)
	}
	type inside struct{ key *signer.Key }
	var out strings.Builder
	for _, value := range []any{k, *k, inside{k}, &inside{k}, []*signer.Key{k}, map[string]any{"k": k}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
			fmt.Fprintf(&out, verb, value)
		}
		text, err := json.Marshal(value)
		if err != nil {
			t.Error(err)
		}
		out.Write(text)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "key", value)
	}
	for _, form := range []string{"canary", fmt.Sprintf("%x", "canary"), fmt.Sprintf("%d", []byte("canary"))[1:20], "Y2FuYXJ5"} {
		if strings.Contains(out.String(), form) {
			t.Errorf("the key is told: %s", out.String())
		}
	}
}
