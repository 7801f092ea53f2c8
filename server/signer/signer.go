// Package signer owns private keys: those of the log, of tokens and of bundles.
// A key is named by reference, a file or the URI of a key management service,
// and all that leaves this package of it is signatures and the public key. No
// key is ever made here, none is taken from the environment, and nothing here
// starts another program.
package signer

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha512" // hash of ES384
	"errors"
	"fmt"

	"github.com/writpdp/writ/server/secret"
)

// Config names a key. Exactly one of File and KMS is given.
type Config struct {
	// File holds the key: PKCS#8 in PEM, the same encrypted as sigstore does it,
	// or a signed-note key as `writ log keygen` writes it.
	File string
	// PassphraseFile holds the passphrase of an encrypted File; empty: File is
	// not encrypted.
	PassphraseFile string
	// KMS is awskms://, azurekms://, gcpkms:// or hashivault:// with a key's name,
	// as sigstore writes them.
	KMS string
	// Vault is where a hashivault:// key is.
	Vault Vault
}

// Vault is a HashiCorp Vault, or an OpenBao, with a transit engine.
type Vault struct {
	// Address is https://…; in the plain only on loopback.
	Address string
	// TokenFile holds the token. It is read again for every signature, so that
	// whoever renews the token need only write the file.
	TokenFile string
	// Mount is the transit engine's path; empty: transit.
	Mount string
	// Version of the key that signs; 0: the newest.
	Version int
}

// Algorithm is how a key signs, by its name in JOSE.
type Algorithm string

// The algorithms.
const (
	EdDSA Algorithm = "EdDSA" // Ed25519, over the message itself
	ES256 Algorithm = "ES256" // ECDSA on P-256, SHA-256
	ES384 Algorithm = "ES384" // ECDSA on P-384, SHA-384
	RS256 Algorithm = "RS256" // RSA PKCS#1 v1.5, SHA-256
)

// Bounds of an RSA key, in bits.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// Key is a private key that signs, wherever it is. Safe for concurrent use.
type Key struct {
	secret.Redacted
	public    crypto.PublicKey
	algorithm Algorithm
	name      string
	sign      func(ctx context.Context, message []byte) ([]byte, error)
}

// Public is the public key: ed25519.PublicKey, *ecdsa.PublicKey or
// *rsa.PublicKey.
func (k *Key) Public() crypto.PublicKey { return k.public }

// Algorithm is how the key signs.
func (k *Key) Algorithm() Algorithm { return k.algorithm }

// Name is the name that a signed-note key has; empty: another kind of key.
func (k *Key) Name() string { return k.name }

// Sign signs a message: with ECDSA in ASN.1, else as the algorithm says. What a
// key management service answers is verified before it is returned.
func (k *Key) Sign(ctx context.Context, message []byte) ([]byte, error) {
	return k.sign(ctx, message)
}

// Open finds a key. It asks a key management service for the public key and for
// one signature, so that a key that may not be used is noticed at once. Errors
// name the reference and never a secret.
func Open(ctx context.Context, c Config) (*Key, error) {
	switch {
	case (c.File == "") == (c.KMS == ""):
		return nil, errors.New("opening a signing key: one of a file and a KMS URI names it")
	case c.KMS != "" && c.PassphraseFile != "":
		return nil, errors.New("opening a signing key: a passphrase is for a file, and not for a KMS")
	case c.KMS != "":
		k, err := openKMS(ctx, c)
		if err != nil {
			return nil, fmt.Errorf("opening the signing key %s: %w", c.KMS, err)
		}
		return k, nil
	}
	k, err := openFile(c)
	if err != nil {
		return nil, fmt.Errorf("opening the signing key %s: %w", c.File, err)
	}
	return k, nil
}

// algorithmOf is the one algorithm that a key is used with.
func algorithmOf(public crypto.PublicKey) (Algorithm, error) {
	switch key := public.(type) {
	case ed25519.PublicKey:
		return EdDSA, nil
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return ES256, nil
		case elliptic.P384():
			return ES384, nil
		}
		return "", errors.New("its curve is neither P-256 nor P-384")
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return "", fmt.Errorf("an RSA key must have %d to %d bits", minRSABits, maxRSABits)
		}
		return RS256, nil
	}
	return "", errors.New("it is not an Ed25519, ECDSA or RSA key")
}

// hash is what a message is hashed with before it is signed; 0: it is not.
func (a Algorithm) hash() crypto.Hash {
	switch a {
	case ES256, RS256:
		return crypto.SHA256
	case ES384:
		return crypto.SHA384
	}
	return 0
}

// digest is what is signed of a message.
func (a Algorithm) digest(message []byte) []byte {
	hash := a.hash()
	if hash == 0 {
		return message
	}
	h := hash.New()
	h.Write(message)
	return h.Sum(nil)
}

// Verify reports whether a signature of a message is this key's.
func (k *Key) Verify(message, signature []byte) bool {
	digest := k.algorithm.digest(message)
	switch key := k.public.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(key, digest, signature)
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(key, digest, signature)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, k.algorithm.hash(), digest, signature) == nil
	}
	return false
}
