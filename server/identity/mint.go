package identity

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/writpdp/writ/server/secret"
)

// pemType is the PEM type of a PKCS#8 private key.
const pemType = "PRIVATE KEY"

// defaultLifetime is how long a minted token is valid.
const defaultLifetime = time.Minute

// Claims are what a minted token says.
type Claims struct {
	Issuer, Subject, Audience string
	Purposes                  []string
	// Tools are the only tools that it is for, as "server/name"; empty: any.
	Tools []string
	// OnBehalfOf is the human the agent acts for; empty: none.
	OnBehalfOf string
	// Actors is the delegation chain, current actor first; empty: none.
	Actors []string
	// Lifetime is how long the token is valid; zero is one minute.
	Lifetime time.Duration
}

// Minter issues tokens with an Ed25519 key of its own. It serves development
// and tests; in production an identity provider issues the tokens.
type Minter struct {
	secret.Redacted
	private func() ed25519.PrivateKey // out of the reach of whatever prints it
	id      string                    // the key's RFC 7638 thumbprint
}

// NewMinter makes a key from 32 bytes of random.
func NewMinter(random io.Reader) (*Minter, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(random, seed); err != nil {
		return nil, fmt.Errorf("reading a seed: %w", err)
	}
	return newMinter(ed25519.NewKeyFromSeed(seed)), nil
}

// ReadMinter reads what PEM wrote. The error never quotes the data.
func ReadMinter(data []byte) (*Minter, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != pemType || len(rest) > 0 {
		return nil, errors.New("reading the signing key: not one PEM block of a PKCS#8 private key")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("reading the signing key: not a PKCS#8 private key")
	}
	private, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("reading the signing key: not an Ed25519 key")
	}
	return newMinter(private), nil
}

func newMinter(private ed25519.PrivateKey) *Minter {
	sum := thumbprint(`{"crv":"Ed25519","kty":"OKP","x":"%s"}`, private.Public().(ed25519.PublicKey))
	return &Minter{private: func() ed25519.PrivateKey { return private }, id: strict64.EncodeToString(sum[:])}
}

// PEM is the private key in PKCS#8 and PEM.
func (m *Minter) PEM() ([]byte, error) {
	data, err := x509.MarshalPKCS8PrivateKey(m.private())
	if err != nil {
		return nil, fmt.Errorf("encoding the signing key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: data}), nil
}

// JWKS is the key set that ReadKeys reads: the one public key.
func (m *Minter) JWKS() []byte {
	x := strict64.EncodeToString(m.private().Public().(ed25519.PublicKey))
	return fmt.Appendf(nil, `{"keys":[{"kty":"OKP","crv":"Ed25519","use":"sig","alg":"EdDSA","kid":"%s","x":"%s"}]}`, m.id, x)
}

// Mint issues a token that is valid from a time on, in whole seconds, with id as
// its `jti`. Claims that no Verifier would accept are refused with an *Error.
func (m *Minter) Mint(c Claims, at time.Time, id string) (string, error) {
	lifetime := c.Lifetime
	if lifetime == 0 {
		lifetime = defaultLifetime
	}
	if lifetime < time.Second || lifetime > MaxLifetime {
		return "", unclaimed("token.lifetime", "a token's lifetime is one second to %s", MaxLifetime)
	}
	from := at.Truncate(time.Second)
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, Grant{Subject: c.Subject, OnBehalfOf: c.OnBehalfOf, Actors: c.Actors, Purposes: c.Purposes, Tools: c.Tools,
		Audience: []string{c.Audience}, Issued: from, NotBefore: from, Expires: from.Add(lifetime)}.claims(c.Issuer, id))
	token.Header["kid"] = m.id
	signed, err := token.SignedString(m.private())
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	// Read back, the claims meet the rules that they will be held to.
	t, err := split(signed)
	if err != nil {
		return "", err
	}
	if _, err := readClaims(t.claims); err != nil {
		return "", err
	}
	return signed, nil
}
