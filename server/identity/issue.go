package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/writpdp/writ/server/secret"
)

// TokenKey signs tokens; *signer.Key is one. Safe for concurrent use.
type TokenKey interface {
	// Public is an ed25519.PublicKey, *ecdsa.PublicKey or *rsa.PublicKey, always
	// the same.
	Public() crypto.PublicKey
	// Sign signs a message: Ed25519 over it, else over its SHA-256 (on P-384
	// SHA-384), ECDSA in ASN.1 and RSA as PKCS#1 v1.5.
	Sign(ctx context.Context, message []byte) ([]byte, error)
}

// Mint issues the tokens of exchanges.
type Mint struct {
	secret.Redacted
	issuer string
	sign   func(ctx context.Context, message []byte) ([]byte, error) // and not the key, which could be printed
	public publicKey
	jwks   []byte
	keys   Keys
}

// NewMint takes the issuer's id, the key that signs, and other public keys that
// are published and trusted beside it: the one that signed before, as long as its
// tokens live, and the one that is to sign next.
func NewMint(issuer string, key TokenKey, others ...crypto.PublicKey) (*Mint, error) {
	if issuer == "" || len(issuer) > maxName {
		return nil, fmt.Errorf("issuing tokens: the issuer is not 1 to %d bytes long", maxName)
	}
	m := &Mint{issuer: issuer, sign: key.Sign}
	set := struct {
		Keys []map[string]string `json:"keys"`
	}{}
	for i, public := range slices.Concat([]crypto.PublicKey{key.Public()}, others) {
		k, err := publicOf(public)
		if err != nil {
			return nil, fmt.Errorf("issuing tokens: reading public key %d: %w", i, err)
		}
		if i == 0 {
			m.public = k
		}
		set.Keys = append(set.Keys, k.jwk)
	}
	var err error
	if m.jwks, err = json.Marshal(set); err != nil {
		return nil, fmt.Errorf("issuing tokens: writing the key set: %w", err)
	}
	// Read back, the set meets the rules that others' are held to.
	if m.keys, err = ReadKeys(m.jwks); err != nil {
		return nil, fmt.Errorf("issuing tokens: %w", err)
	}
	return m, nil
}

// Issuer is the tokens' issuer with all keys that are published.
func (m *Mint) Issuer() Issuer { return Issuer{ID: m.issuer, Keys: m.keys} }

// JWKS is the RFC 7517 key set to publish.
func (m *Mint) JWKS() []byte { return m.jwks }

// Thumbprint is the RFC 7638 thumbprint of the key that signs.
func (m *Mint) Thumbprint() [sha256.Size]byte { return m.public.thumbprint }

// Digest is how the token with a `jti` is known in records.
func (m *Mint) Digest(id string) [sha256.Size]byte {
	return digest([]byte(m.issuer), m.public.thumbprint[:], []byte(id))
}

// Fits reports whether a token of a grant is one that is not too large to be
// accepted, whatever its `jti` of at most 64 bytes.
func (m *Mint) Fits(g Grant) bool {
	signed, err := m.unsigned(g, strings.Repeat("j", 64))
	return err == nil && len(signed)+1+strict64.EncodedLen(maxRSABits/8) <= MaxToken
}

// unsigned is what is signed of a token.
func (m *Mint) unsigned(g Grant, id string) (string, error) {
	header, err := json.Marshal(map[string]string{"typ": "JWT", "alg": m.public.algorithm, "kid": m.public.jwk["kid"]})
	if err != nil {
		return "", fmt.Errorf("writing a token: %w", err)
	}
	body, err := json.Marshal(g.claims(m.issuer, id))
	if err != nil {
		return "", fmt.Errorf("writing a token: %w", err)
	}
	return strict64.EncodeToString(header) + "." + strict64.EncodeToString(body), nil
}

// Token signs what a grant says, as the token with a `jti`. A token that no
// Verifier would take is an *Error.
func (m *Mint) Token(ctx context.Context, g Grant, id string) (string, error) {
	signed, err := m.unsigned(g, id)
	if err != nil {
		return "", err
	}
	signature, err := m.sign(ctx, []byte(signed))
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	if signature, err = m.public.compact(signature); err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	token := signed + "." + strict64.EncodeToString(signature)
	t, err := split(token)
	if err != nil {
		return "", err
	}
	if _, err := readClaims(t.claims); err != nil {
		return "", err
	}
	k, alg, err := t.pick(m.keys, g.Issued)
	if err == nil {
		err = t.prove(alg, k)
	}
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return token, nil
}

// publicKey is a public key as tokens and key sets name it.
type publicKey struct {
	algorithm  string
	width      int // bytes of each half of an ECDSA signature; 0: another kind
	jwk        map[string]string
	thumbprint [sha256.Size]byte
}

func publicOf(public crypto.PublicKey) (publicKey, error) {
	var k publicKey
	switch p := public.(type) {
	case ed25519.PublicKey:
		k = publicKey{algorithm: "EdDSA", jwk: map[string]string{"kty": "OKP", "crv": "Ed25519", "x": strict64.EncodeToString(p)},
			thumbprint: thumbprint(`{"crv":"Ed25519","kty":"OKP","x":"%s"}`, p)}
	case *ecdsa.PublicKey:
		point, err := p.Bytes()
		if err != nil {
			return k, err
		}
		k = publicKey{algorithm: "ES256", width: 32}
		if p.Curve == elliptic.P384() {
			k = publicKey{algorithm: "ES384", width: 48}
		}
		if len(point) != 1+2*k.width {
			return k, errors.New("its curve is neither P-256 nor P-384")
		}
		x, y, crv := point[1:1+k.width], point[1+k.width:], p.Curve.Params().Name
		k.jwk = map[string]string{"kty": "EC", "crv": crv, "x": strict64.EncodeToString(x), "y": strict64.EncodeToString(y)}
		k.thumbprint = thumbprint(`{"crv":"`+crv+`","kty":"EC","x":"%s","y":"%s"}`, x, y)
	case *rsa.PublicKey:
		e := big.NewInt(int64(p.E)).Bytes()
		k = publicKey{algorithm: "RS256", jwk: map[string]string{"kty": "RSA", "n": strict64.EncodeToString(p.N.Bytes()), "e": strict64.EncodeToString(e)},
			thumbprint: thumbprint(`{"e":"%s","kty":"RSA","n":"%s"}`, e, p.N.Bytes())}
	default:
		return k, errors.New("it is not an Ed25519, ECDSA or RSA key")
	}
	k.jwk["use"], k.jwk["alg"], k.jwk["kid"] = "sig", k.algorithm, strict64.EncodeToString(k.thumbprint[:])
	return k, nil
}

// compact is a signature as RFC 7518 has it: of ECDSA both halves, one after the
// other, and not ASN.1.
func (k *publicKey) compact(signature []byte) ([]byte, error) {
	if k.width == 0 {
		return signature, nil
	}
	var halves struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(signature, &halves)
	if err != nil || len(rest) > 0 || halves.R.Sign() <= 0 || halves.S.Sign() <= 0 ||
		halves.R.BitLen() > 8*k.width || halves.S.BitLen() > 8*k.width {
		return nil, errors.New("the key's signature is malformed")
	}
	out := make([]byte, 2*k.width)
	halves.R.FillBytes(out[:k.width])
	halves.S.FillBytes(out[k.width:])
	return out, nil
}
