package signer

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"strings"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"golang.org/x/mod/sumdb/note"

	"github.com/writpdp/writ/server/secret"
)

// The PEM types of private keys.
const (
	plainPEM     = "PRIVATE KEY"
	sigstorePEM  = "ENCRYPTED SIGSTORE PRIVATE KEY"
	cosignPEM    = "ENCRYPTED COSIGN PRIVATE KEY" // the same, by its first name
	noteKey      = "PRIVATE+KEY+"
	noteEd25519  = 1
	noteKeyParts = 5
)

func openFile(c Config) (*Key, error) {
	data, err := secret.Read(c.File)
	if err != nil {
		return nil, err
	}
	var passphrase secret.Bytes
	if c.PassphraseFile != "" {
		line, err := secret.ReadLine(c.PassphraseFile)
		if err != nil {
			return nil, err
		}
		passphrase = secret.Of([]byte(line))
	}
	if text := strings.TrimSpace(string(data.Reveal())); strings.HasPrefix(text, noteKey) {
		if c.PassphraseFile != "" {
			return nil, errNotEncrypted
		}
		return readNote(text)
	}
	return readPEM(data, passphrase)
}

// errNotEncrypted keeps a key that somebody took for encrypted from being used.
var errNotEncrypted = errors.New("it is not encrypted, although a passphrase is named")

// readPEM reads one PEM block. Errors quote nothing of it: what the parsers say
// might.
func readPEM(data, passphrase secret.Bytes) (*Key, error) {
	block, rest := pem.Decode(data.Reveal())
	if block == nil || strings.TrimSpace(string(rest)) != "" {
		return nil, errors.New("it is neither one PEM block nor a signed-note key")
	}
	der := block.Bytes
	switch block.Type {
	case plainPEM:
		if passphrase.Reveal() != nil {
			return nil, errNotEncrypted
		}
	case sigstorePEM, cosignPEM:
		if passphrase.Reveal() == nil {
			return nil, errors.New("it is encrypted, and no file with its passphrase is named")
		}
		var err error
		if der, err = encrypted.Decrypt(der, passphrase.Reveal()); err != nil {
			return nil, errors.New("it cannot be decrypted with that passphrase")
		}
	default:
		return nil, errors.New(`its PEM type is neither "` + plainPEM + `" nor "` + sigstorePEM + `"`)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("it is not a PKCS#8 private key")
	}
	private, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, errors.New("it is not a key that signs")
	}
	return held(private)
}

// readNote reads a private key of C2SP signed-note: Ed25519, with a name.
func readNote(text string) (*Key, error) {
	broken := errors.New("it is not a signed-note key")
	if _, err := note.NewSigner(text); err != nil { // checks name and hash
		return nil, broken
	}
	parts := strings.SplitN(text, "+", noteKeyParts)
	if len(parts) != noteKeyParts {
		return nil, broken
	}
	seed, err := base64.StdEncoding.DecodeString(parts[noteKeyParts-1])
	if err != nil || len(seed) != 1+ed25519.SeedSize || seed[0] != noteEd25519 {
		return nil, broken
	}
	k, err := held(ed25519.NewKeyFromSeed(seed[1:]))
	if err != nil {
		return nil, err
	}
	k.name = parts[2]
	return k, nil
}

// ReadPublic reads a public key in PEM, of a kind that signs.
func ReadPublic(data []byte) (crypto.PublicKey, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PUBLIC KEY" || strings.TrimSpace(string(rest)) != "" {
		return nil, errors.New("it is not one PEM block of a public key")
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, errors.New("it is not a public key")
	}
	if _, err := algorithmOf(public); err != nil {
		return nil, err
	}
	return public, nil
}

// held is a key in this process's memory.
func held(private crypto.Signer) (*Key, error) {
	algorithm, err := algorithmOf(private.Public())
	if err != nil {
		return nil, err
	}
	return &Key{public: private.Public(), algorithm: algorithm, sign: func(_ context.Context, message []byte) ([]byte, error) {
		return private.Sign(rand.Reader, algorithm.digest(message), algorithm.hash())
	}}, nil
}
