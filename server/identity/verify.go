package identity

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/writpdp/writ/server/decision"
)

// Bounds of a token.
const (
	// MaxToken is the largest token, in bytes.
	MaxToken = 16 << 10
	// MaxLifetime is the longest that a token may be valid.
	MaxLifetime = 10 * time.Minute
	// LongestLifetime is the longest where Config.LongLifetimes allows more.
	LongestLifetime = time.Hour
	// MaxLeeway is the most that an issuer's clock may be wrong.
	MaxLeeway = time.Minute

	defaultLeeway = 5 * time.Second
)

// Config says which tokens are accepted.
type Config struct {
	// Issuers are who may issue them; at least one.
	Issuers []Issuer
	// Audience is this PDP: a token with it in `aud` is accepted in every
	// request.
	Audience string
	// Servers are the audiences of tool servers, by the server's name. A token
	// for one is accepted in a request about this server alone. No two are the
	// same, and none is Audience.
	Servers map[string]string
	// MaxLifetime is the longest that a token may be valid; zero is the
	// package's MaxLifetime, and more is refused.
	MaxLifetime time.Duration
	// LongLifetimes allows a MaxLifetime of up to LongestLifetime: a stolen
	// token is then worth something for longer.
	LongLifetimes bool
	// Leeway is how far the clocks of issuers may differ; zero is five seconds,
	// and more than MaxLeeway is refused.
	Leeway time.Duration
}

// Issuer issues tokens.
type Issuer struct {
	// ID is the tokens' `iss`, compared exactly.
	ID string
	// Keys are the keys that it signs with.
	Keys KeySource
	// RequireBinding refuses its tokens without `cnf`.
	RequireBinding bool
}

// Presented is what comes with a request to prove its principal.
type Presented struct {
	// Token is the principal token.
	Token string
	// Proof is a DPoP proof of the key that the token is bound to; empty: none.
	Proof string
	// Server is the one tool server that the request is about; empty: it is
	// about none, or about several.
	Server string
	// Certificate is the SHA-256 of the certificate with which the client of
	// the connection proved itself; zero: it has none.
	Certificate [sha256.Size]byte
}

// Verifier turns tokens into principals. It never changes but for the signatures
// that it remembers as good, and is safe for concurrent use.
type Verifier struct {
	issuers  map[string]Issuer
	audience string
	servers  map[string]string // audience by name
	lifetime time.Duration
	leeway   time.Duration
	// seen are good signatures.
	seen signatures
}

// NewVerifier refuses a configuration that is incomplete or ambiguous.
func NewVerifier(c Config) (*Verifier, error) {
	v := &Verifier{issuers: map[string]Issuer{}, audience: c.Audience, servers: c.Servers, lifetime: c.MaxLifetime, leeway: c.Leeway}
	longest := MaxLifetime
	if c.LongLifetimes {
		longest = LongestLifetime
	}
	if v.lifetime == 0 {
		v.lifetime = MaxLifetime
	}
	if v.leeway == 0 {
		v.leeway = defaultLeeway
	}
	switch {
	case v.audience == "":
		return nil, errors.New("configuring tokens: no audience")
	case v.lifetime < 0 || v.lifetime > longest:
		return nil, fmt.Errorf("configuring tokens: the lifetime is not between zero and %s", longest)
	case v.leeway < 0 || v.leeway > MaxLeeway:
		return nil, fmt.Errorf("configuring tokens: the leeway is not between zero and %s", MaxLeeway)
	case len(c.Issuers) == 0:
		return nil, errors.New("configuring tokens: no issuer")
	}
	for i, issuer := range c.Issuers {
		if issuer.ID == "" || issuer.Keys == nil {
			return nil, fmt.Errorf("configuring tokens: issuer %d has no id or no keys", i)
		}
		if keys, fixed := issuer.Keys.(Keys); fixed && len(keys.byID) == 0 {
			return nil, fmt.Errorf("configuring tokens: issuer %d has no keys", i)
		}
		if _, twice := v.issuers[issuer.ID]; twice {
			return nil, fmt.Errorf("configuring tokens: the issuer %q is there twice", issuer.ID)
		}
		v.issuers[issuer.ID] = issuer
	}
	return v, v.checkServers()
}

// checkServers sees that an audience says which server it is for.
func (v *Verifier) checkServers() error {
	names := map[string]string{v.audience: "this PDP"}
	for name, audience := range v.servers {
		if name == "" || audience == "" {
			return errors.New("configuring tokens: a tool server has no name or no audience")
		}
		if other, twice := names[audience]; twice {
			return fmt.Errorf("configuring tokens: the audience of the tool server %q is also that of %s", name, other)
		}
		names[audience] = "another tool server"
	}
	return nil
}

// Verify is the principal that a token proves at a time. The error is an *Error.
//
// The principal's Expires is when no clock within the leeway would accept the
// token any more: a token must be remembered until then to be accepted once, and
// so must its proof, which is of no use without it.
func (v *Verifier) Verify(p Presented, at time.Time) (decision.Principal, error) {
	t, err := split(p.Token)
	if err != nil {
		return decision.Principal{}, err
	}
	// Before the signature is proved only what finds the key is looked at, so
	// that a stranger learns nothing about the claims that would pass.
	issuer, err := v.issuer(&t)
	if err != nil {
		return decision.Principal{}, err
	}
	k, seen, err := v.check(&t, &issuer, p.Token, at)
	if err != nil {
		return decision.Principal{}, err
	}
	c, err := readClaims(t.claims)
	if err != nil {
		return decision.Principal{}, err
	}
	audience, err := v.judge(&c, p.Server, at)
	if err != nil {
		return decision.Principal{}, err
	}
	proof, err := v.checkBinding(&c, issuer.RequireBinding, &p, audience, at)
	if err != nil {
		return decision.Principal{}, err
	}
	if seen != nil {
		v.seen.add(*seen, c.expires)
	}
	return decision.Principal{
		Subject: c.subject, Issuer: c.issuer, OnBehalfOf: c.onBehalfOf, Actors: c.actors, Purposes: c.purposes, Tools: c.tools,
		Token: digest([]byte(c.issuer), k.thumbprint[:], []byte(c.id)), Proof: proof,
		Expires: c.expires.Add(v.leeway),
	}, nil
}

// issuer is who says to have issued a token.
func (v *Verifier) issuer(t *parts) (Issuer, error) {
	value, ok := t.claims["iss"]
	if !ok {
		return Issuer{}, t.fail("iss_missing", ` has no "iss"`)
	}
	id, ok := value.(string)
	if !ok {
		return Issuer{}, t.fail("iss_type", `'s "iss" is not a string`)
	}
	issuer, ok := v.issuers[id]
	if !ok {
		return Issuer{}, invalid("token.iss_unknown", "no trusted issuer issued the token")
	}
	return issuer, nil
}

// check proves the signature and returns the key that made it, and what to
// remember if the token passes; nil: that is remembered already.
func (v *Verifier) check(t *parts, issuer *Issuer, token string, at time.Time) (key, *signatureID, error) {
	k, alg, err := t.pick(issuer.Keys, at)
	if err != nil {
		return key{}, nil, err
	}
	id := signatureOf(&k, token)
	if v.seen.good(id, at) {
		return k, nil, nil
	}
	return k, &id, t.prove(alg, k)
}

// judge holds the claims against the configuration, the tool server that the
// request is about, and the time. It returns those of the token's audiences for
// which it is used.
func (v *Verifier) judge(c *claims, server string, at time.Time) ([]string, error) {
	audience, err := v.used(c, server)
	if err != nil {
		return nil, err
	}
	switch {
	case !c.expires.After(c.issued) || !c.expires.After(c.notBefore):
		return nil, unclaimed("token.exp_order", `"exp" is not after "iat" and "nbf"`)
	case c.expires.Sub(c.issued) > v.lifetime || c.expires.Sub(c.notBefore) > v.lifetime:
		return nil, unclaimed("token.lifetime", "the token is valid for more than %s", v.lifetime)
	case at.Before(c.issued.Add(-v.leeway)):
		return nil, expired("token.iat_future", "the token is of the future")
	case at.Before(c.notBefore.Add(-v.leeway)):
		return nil, expired("token.early", "the token is not valid yet")
	case !at.Before(c.expires.Add(v.leeway)):
		return nil, expired("token.expired", "the token is expired")
	}
	return audience, nil
}

// used are those of a token's audiences for which it can be used in a request
// about a tool server: this PDP, and this server. Whoever else a token is for
// could have kept it and be showing it here.
func (v *Verifier) used(c *claims, server string) ([]string, error) {
	own := v.servers[server] // empty for none: no audience is
	var used []string
	other := false
	for _, a := range c.audience {
		switch {
		case a == v.audience || a == own:
			used = append(used, a)
		case !other:
			for _, of := range v.servers {
				other = other || a == of
			}
		}
	}
	switch {
	case len(used) > 0:
		return used, nil
	case other:
		return nil, unclaimed("token.aud_server", "the token is for another tool server than the one that the request is about")
	}
	return nil, unclaimed("token.aud_other", "the token is not for this audience")
}
