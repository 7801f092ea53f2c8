package identity

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/decision"
)

// Bounds of a token.
const (
	// MaxToken is the largest token, in bytes.
	MaxToken = 16 << 10
	// MaxLifetime is the longest that a token may be valid.
	MaxLifetime = 10 * time.Minute
	// MaxLeeway is the most that an issuer's clock may be wrong.
	MaxLeeway = time.Minute

	defaultLeeway = 5 * time.Second
)

// Config says which tokens are accepted.
type Config struct {
	// Issuers are who may issue them; at least one.
	Issuers []Issuer
	// Audience must be among a token's `aud`.
	Audience string
	// MaxLifetime is the longest that a token may be valid; zero is the
	// package's MaxLifetime, and more is refused.
	MaxLifetime time.Duration
	// Leeway is how far the clocks of issuers may differ; zero is five seconds,
	// and more than MaxLeeway is refused.
	Leeway time.Duration
}

// Issuer issues tokens.
type Issuer struct {
	// ID is the tokens' `iss`, compared exactly.
	ID   string
	Keys Keys
}

// Verifier turns tokens into principals. Immutable.
type Verifier struct {
	issuers  map[string]Keys
	audience string
	lifetime time.Duration
	leeway   time.Duration
}

// NewVerifier refuses a configuration that is incomplete or names an issuer
// twice.
func NewVerifier(c Config) (*Verifier, error) {
	v := &Verifier{issuers: map[string]Keys{}, audience: c.Audience, lifetime: c.MaxLifetime, leeway: c.Leeway}
	if v.lifetime == 0 {
		v.lifetime = MaxLifetime
	}
	if v.leeway == 0 {
		v.leeway = defaultLeeway
	}
	switch {
	case v.audience == "":
		return nil, errors.New("configuring tokens: no audience")
	case v.lifetime < 0 || v.lifetime > MaxLifetime:
		return nil, fmt.Errorf("configuring tokens: the lifetime is not between zero and %s", MaxLifetime)
	case v.leeway < 0 || v.leeway > MaxLeeway:
		return nil, fmt.Errorf("configuring tokens: the leeway is not between zero and %s", MaxLeeway)
	case len(c.Issuers) == 0:
		return nil, errors.New("configuring tokens: no issuer")
	}
	for i, issuer := range c.Issuers {
		if issuer.ID == "" || len(issuer.Keys.byID) == 0 {
			return nil, fmt.Errorf("configuring tokens: issuer %d has no id or no keys", i)
		}
		if _, twice := v.issuers[issuer.ID]; twice {
			return nil, fmt.Errorf("configuring tokens: the issuer %q is there twice", issuer.ID)
		}
		v.issuers[issuer.ID] = issuer.Keys
	}
	return v, nil
}

// Verify is the principal that a token proves at a time. The error is an *Error.
//
// The principal's Expires is when no clock within the leeway would accept the
// token any more: a token must be remembered until then to be accepted once.
func (v *Verifier) Verify(token string, at time.Time) (decision.Principal, error) {
	t, err := split(token)
	if err != nil {
		return decision.Principal{}, err
	}
	// Before the signature is proved only what finds the key is looked at, so
	// that a stranger learns nothing about the claims that would pass.
	issuer, _ := t.claims["iss"].(string)
	keys, ok := v.issuers[issuer]
	if !ok {
		return decision.Principal{}, invalid("no trusted issuer issued the token")
	}
	key, err := t.check(keys)
	if err != nil {
		return decision.Principal{}, err
	}
	c, err := readClaims(t.claims)
	if err != nil {
		return decision.Principal{}, err
	}
	if err := v.judge(c, at); err != nil {
		return decision.Principal{}, err
	}
	return decision.Principal{
		Subject: c.subject, Issuer: c.issuer, OnBehalfOf: c.onBehalfOf, Actors: c.actors, Purposes: c.purposes, Tools: c.tools,
		Token:   digest([]byte(c.issuer), key.thumbprint[:], []byte(c.id)),
		Expires: c.expires.Add(v.leeway),
	}, nil
}

// judge holds the claims against the configuration and the time.
func (v *Verifier) judge(c claims, at time.Time) error {
	if !slices.Contains(c.audience, v.audience) {
		return unclaimed("the token is not for this audience")
	}
	from := c.issued
	if c.notBefore.After(from) {
		from = c.notBefore
	}
	switch {
	case !c.expires.After(from):
		return unclaimed(`"exp" is not after "iat" and "nbf"`)
	case c.expires.Sub(from) > v.lifetime:
		return unclaimed("the token is valid for more than %s", v.lifetime)
	case at.Before(from.Add(-v.leeway)):
		return expired("the token is not valid yet")
	case !at.Before(c.expires.Add(v.leeway)):
		return expired("the token is expired")
	}
	return nil
}

// parts are a token's parts; nothing in them is proved.
type parts struct {
	header, claims map[string]any
	signed         string
	signature      []byte
}

func split(token string) (parts, error) {
	if len(token) > MaxToken {
		return parts{}, invalid("the token is larger than %d bytes", MaxToken)
	}
	header, rest, _ := strings.Cut(token, ".")
	claims, signature, ok := strings.Cut(rest, ".")
	if !ok || strings.Contains(signature, ".") {
		return parts{}, invalid("the token is not three parts with dots between")
	}
	var p parts
	var err error
	if p.header, err = object("header", header); err != nil {
		return parts{}, err
	}
	if p.claims, err = object("claims", claims); err != nil {
		return parts{}, err
	}
	if p.signature, err = decode64(signature); err != nil {
		return parts{}, invalid("the token's signature is not base64url")
	}
	p.signed = token[:len(header)+1+len(claims)]
	return p, nil
}

// object decodes a part of a token. Only the kind of the problem is told: a
// pointer would quote the token's keys.
func object(name, part string) (map[string]any, error) {
	data, err := decode64(part)
	if err != nil {
		return nil, invalid("the token's %s is not base64url", name)
	}
	members, err := document.Members(data)
	if err != nil {
		problem := "invalid JSON"
		if broken, ok := errors.AsType[*document.Error](err); ok {
			problem = broken.Problem
		}
		return nil, invalid("the token's %s: %s", name, problem)
	}
	return members, nil
}

// decode64 decodes strict base64url. The decoder would skip line breaks.
func decode64(s string) ([]byte, error) {
	if strings.IndexByte(s, '\r') >= 0 || strings.IndexByte(s, '\n') >= 0 {
		return nil, errors.New("a line break is not base64url")
	}
	return strict64.DecodeString(s)
}

// check proves the signature and returns the key that made it.
func (p parts) check(keys Keys) (key, error) {
	// A token that brings its own key, or asks for rules that are not these,
	// is not accepted even where these members are not used.
	for _, name := range []string{"crit", "jku", "x5u", "jwk", "x5c"} {
		if _, ok := p.header[name]; ok {
			return key{}, invalid("the token's header has %q", name)
		}
	}
	if typ, ok := p.header["typ"]; ok && typ != "JWT" && typ != "JOSE" && typ != "at+jwt" {
		return key{}, invalid(`the token's "typ" is not "JWT", "JOSE" or "at+jwt"`)
	}
	id, _ := p.header["kid"].(string)
	if id == "" {
		return key{}, invalid(`the token's header has no "kid"`)
	}
	k, ok := keys.byID[id]
	if !ok {
		return key{}, invalid("the issuer has no such key")
	}
	alg, _ := p.header["alg"].(string)
	method, ok := k.method(alg)
	if !ok {
		return key{}, invalid(`the token's "alg" is not one for its key`)
	}
	if err := method.Verify(p.signed, p.signature, k.public); err != nil {
		return key{}, invalid("the token's signature is wrong")
	}
	return k, nil
}

// digest is SHA-256 over fields, each after its length in eight bytes, so that
// no two lists of fields are the same bytes.
func digest(fields ...[]byte) [sha256.Size]byte {
	data := make([]byte, 0, 512) // on the stack, and most fit
	for _, f := range fields {
		data = binary.BigEndian.AppendUint64(data, uint64(len(f)))
		data = append(data, f...)
	}
	return sha256.Sum256(data)
}
