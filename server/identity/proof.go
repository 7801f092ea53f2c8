package identity

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Bounds of the tokens that prove an identity and grant nothing. They come from
// other systems, so they may live longer than principal tokens; but no longer than
// a store can be asked to remember that they were used.
const (
	// MaxAgentLifetime is that of a JWT-SVID.
	MaxAgentLifetime = time.Hour
	// MaxHumanLifetime is that of an ID token.
	MaxHumanLifetime = 2 * time.Hour
)

// ProofConfig says which tokens prove an identity and nothing more.
type ProofConfig struct {
	// Agents are the trust domains whose JWT-SVIDs prove agents.
	Agents []TrustDomain
	// Audience must be in a JWT-SVID's `aud`: this PDP's.
	Audience string
	// Humans are the issuers whose ID tokens prove humans.
	Humans []HumanIssuer
	// Leeway is as Config's.
	Leeway time.Duration
}

// TrustDomain is a SPIFFE trust domain with its keys for JWT-SVIDs.
type TrustDomain struct {
	Name string
	Keys KeySource
}

// HumanIssuer is an OpenID provider, for one client.
type HumanIssuer struct {
	ID string
	// Audience must be in an ID token's `aud`: the client's id. It is not that of
	// principal tokens, so that none of these can be taken for an ID token.
	Audience string
	// Prefix stands before `sub` in the human's name; may be empty. With several
	// issuers no name of one can be that of another: no prefix begins with another.
	Prefix string
	Keys   KeySource
}

// Proof is who a token proves.
type Proof struct {
	// Subject is the token's `sub`, a human's after its issuer's prefix.
	Subject string
	// Token identifies the token: SHA-256 over "proof" and what is signed of it.
	Token [sha256.Size]byte
	// NotAfter is its `exp`; Forgotten is when no clock within the leeway accepts
	// it any more.
	NotAfter, Forgotten time.Time
}

// Proofs verifies tokens that prove an identity. Safe for concurrent use.
type Proofs struct {
	agents   map[string]KeySource
	humans   map[string]HumanIssuer
	audience string
	leeway   time.Duration
}

// NewProofs refuses a configuration that is incomplete, names somebody twice, or
// by which one kind of token could pass for another.
func NewProofs(c ProofConfig) (*Proofs, error) {
	p := &Proofs{agents: map[string]KeySource{}, humans: map[string]HumanIssuer{}, audience: c.Audience, leeway: c.Leeway}
	if p.leeway == 0 {
		p.leeway = defaultLeeway
	}
	switch {
	case p.leeway < 0 || p.leeway > MaxLeeway:
		return nil, fmt.Errorf("configuring proofs: the leeway is not between zero and %s", MaxLeeway)
	case p.audience == "":
		return nil, errors.New("configuring proofs: no audience")
	}
	for _, a := range c.Agents {
		name, err := spiffeid.TrustDomainFromString(a.Name)
		if err != nil || name.Name() != a.Name || a.Keys == nil {
			return nil, fmt.Errorf("configuring proofs: %.255q is not a trust domain's name, or it has no keys", a.Name)
		}
		if _, twice := p.agents[a.Name]; twice {
			return nil, fmt.Errorf("configuring proofs: the trust domain %q is there twice", a.Name)
		}
		p.agents[a.Name] = a.Keys
	}
	for i, h := range c.Humans {
		_, twice := p.humans[h.ID]
		switch {
		case h.ID == "" || h.Audience == "" || h.Keys == nil:
			return nil, fmt.Errorf("configuring proofs: the issuer %d of humans has no id, audience or keys", i)
		case h.Audience == p.audience:
			return nil, fmt.Errorf("configuring proofs: the issuer %d of humans has the audience of agents: a token of one could pass for another's", i)
		case twice:
			return nil, fmt.Errorf("configuring proofs: the issuer %.255q of humans is there twice", h.ID)
		}
		for _, other := range p.humans {
			if strings.HasPrefix(h.Prefix, other.Prefix) || strings.HasPrefix(other.Prefix, h.Prefix) {
				return nil, fmt.Errorf("configuring proofs: the prefix of the issuer %.255q of humans and that of %.255q begin alike: "+
					"a human of one could have the name of another's", h.ID, other.ID)
			}
		}
		p.humans[h.ID] = h
	}
	return p, nil
}

// Agent is the agent that a JWT-SVID proves. The error is an *Error.
func (p *Proofs) Agent(token string, at time.Time) (Proof, error) {
	t, err := split(token)
	if err != nil {
		return Proof{}, err
	}
	subject, _ := t.claims["sub"].(string)
	id, err := spiffeid.FromString(subject)
	if err != nil || len(subject) > maxID {
		return Proof{}, invalid("identity.sub_form", `the token's "sub" is not a SPIFFE ID`)
	}
	keys, known := p.agents[id.TrustDomain().Name()]
	if !known {
		return Proof{}, invalid("identity.domain_unknown", "no trusted trust domain issued the token")
	}
	return p.prove(t, keys, p.audience, MaxAgentLifetime, at)
}

// Human is the human that an ID token proves. The error is an *Error.
func (p *Proofs) Human(token string, at time.Time) (Proof, error) {
	t, err := split(token)
	if err != nil {
		return Proof{}, err
	}
	issuer, _ := t.claims["iss"].(string)
	h, known := p.humans[issuer]
	if !known {
		return Proof{}, invalid("identity.iss_unknown", "no trusted issuer of humans issued the token")
	}
	proof, err := p.prove(t, h.Keys, h.Audience, MaxHumanLifetime, at)
	if err != nil {
		return Proof{}, err
	}
	if proof.Subject = h.Prefix + proof.Subject; len(proof.Subject) > maxName {
		return Proof{}, unclaimed("identity.sub_long", `the claim "sub" is longer than %d bytes with its prefix`, maxName)
	}
	return proof, nil
}

// prove checks what both kinds have in common. A token that carries purposes is a
// principal token, and one with a chain is somebody else's act.
func (p *Proofs) prove(t parts, keys KeySource, audience string, most time.Duration, at time.Time) (Proof, error) {
	k, alg, err := t.pick(keys, at)
	if err != nil {
		return Proof{}, err
	}
	if err := t.prove(alg, k); err != nil {
		return Proof{}, err
	}
	if err := unconstrained(t.claims); err != nil {
		return Proof{}, err
	}
	for _, claim := range []string{"purposes", "tools", "act"} {
		if _, ok := t.claims[claim]; ok {
			return Proof{}, unclaimed("identity.claims", "a token that proves an identity has the claim %q", claim)
		}
	}
	r := reader{members: t.claims}
	subject, expires, issued := r.name("sub", maxName), r.date("exp"), r.date("iat")
	from := issued
	if _, ok := t.claims["nbf"]; ok {
		if begin := r.date("nbf"); begin.After(from) {
			from = begin
		}
	}
	aud := r.audience()
	switch {
	case r.err != nil:
		return Proof{}, r.err
	case !slices.Contains(aud, audience):
		return Proof{}, unclaimed("identity.aud_other", "the token is not for this audience")
	case !expires.After(from):
		return Proof{}, unclaimed("identity.exp_order", `"exp" is not after "iat" and "nbf"`)
	case expires.Sub(from) > most:
		return Proof{}, unclaimed("identity.lifetime", "the token is valid for more than %s", most)
	case at.Before(from.Add(-p.leeway)):
		return Proof{}, expired("identity.early", "the token is not valid yet")
	case !at.Before(expires.Add(p.leeway)):
		return Proof{}, expired("identity.expired", "the token is expired")
	}
	return Proof{Subject: strings.Clone(subject), Token: digest([]byte("proof"), []byte(t.signed)), NotAfter: expires, Forgotten: expires.Add(p.leeway)}, nil
}
