package main

import (
	"context"
	"crypto"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/identity"
	"github.com/writpdp/writ/server/signer"
)

// exchangeConfig is how tokens are exchanged.
type exchangeConfig struct {
	// Issuer is the `iss` of the tokens that are issued.
	Issuer string `yaml:"issuer"`
	// The key that signs them.
	Key signingKey `yaml:",inline"`
	// PublicKeyFiles are further public keys, in PEM, that are published and
	// trusted: the one that signed before, and the next.
	PublicKeyFiles []string `yaml:"public_key_files"`
	// MaxDepth shortens the longest delegation chain; 0: 8.
	MaxDepth int `yaml:"max_depth"`
	// Agents are trust domains whose JWT-SVIDs prove agents. Without a file or URL
	// their keys are those that the Workload API tells.
	Agents []struct {
		Keys   keyPlace `yaml:",inline"`
		domain string   // their trust domain, wherever its keys are
	} `yaml:"agents"`
	// Humans are issuers whose ID tokens prove humans.
	Humans []struct {
		Issuer   string `yaml:"issuer"`
		Audience string `yaml:"audience"`
		// Prefix stands before their names; with several issuers, each has its own.
		Prefix string   `yaml:"prefix"`
		Keys   keyPlace `yaml:",inline"`
	} `yaml:"humans"`
	// Grants are what agents without a principal token may ask for.
	Grants []grantConfig `yaml:"grants"`
}

// grantConfig is what one agent may ask for.
type grantConfig struct {
	SPIFFEID string   `yaml:"spiffe_id"`
	Tenant   string   `yaml:"tenant"`
	Purposes []string `yaml:"purposes"`
	Tools    []string `yaml:"tools"`
}

// paths are those that are relative to the configuration's file.
func (x *exchangeConfig) paths() []*string {
	all := x.Key.paths()
	for i := range x.PublicKeyFiles {
		all = append(all, &x.PublicKeyFiles[i])
	}
	return all
}

// resolve says where keys are, and checks what can be checked without reading.
func (x *exchangeConfig) resolve(dir string) error {
	for i := range x.Agents {
		a := &x.Agents[i]
		if a.domain = a.Keys.TrustDomain; a.Keys.JWKSFile != "" || a.Keys.JWKSURL != "" {
			a.Keys.TrustDomain = "" // it is no place then
		}
		if err := a.Keys.resolve(dir); err != nil {
			return fmt.Errorf("agents: trust domain %q: %w", a.domain, err)
		}
	}
	for i := range x.Humans {
		if err := x.Humans[i].Keys.resolve(dir); err != nil {
			return fmt.Errorf("humans: issuer %q: %w", x.Humans[i].Issuer, err)
		}
	}
	return nil
}

// mint makes what issues the tokens; nil: nothing does.
func (c *config) mint(ctx context.Context) (*identity.Mint, error) {
	if c.Tokens.Exchange == nil {
		return nil, nil
	}
	return c.Tokens.Exchange.mint(ctx, c.Vault)
}

func (x *exchangeConfig) mint(ctx context.Context, v vaultConfig) (*identity.Mint, error) {
	key, err := x.Key.open(ctx, v)
	if err != nil {
		return nil, fmt.Errorf("tokens.exchange: %w", err)
	}
	var others []crypto.PublicKey
	for _, file := range x.PublicKeyFiles {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("tokens.exchange: reading a public key: %w", err)
		}
		public, err := signer.ReadPublic(data)
		if err != nil {
			return nil, fmt.Errorf("tokens.exchange: reading the public key in %s: %w", file, err)
		}
		others = append(others, public)
	}
	m, err := identity.NewMint(x.Issuer, key, others...)
	if err != nil {
		return nil, fmt.Errorf("tokens.exchange: %w", err)
	}
	return m, nil
}

// exchange is what the server exchanges tokens with, and the keys that it follows;
// nil: it does not. All keys are read once.
func (c *config) exchange(ctx context.Context, mint *identity.Mint, tokens *identity.Verifier, log *slog.Logger) (*server.Exchange, keySources, error) {
	x := c.Tokens.Exchange
	if x == nil {
		return nil, nil, nil
	}
	limits := identity.Limits{MaxLifetime: c.Tokens.MaxLifetime, MaxDepth: x.MaxDepth}
	if limits.MaxLifetime == 0 {
		limits.MaxLifetime = identity.MaxLifetime
	}
	if limits.MaxDepth == 0 {
		limits.MaxDepth = identity.MaxDelegation
	}
	if limits.MaxDepth < 0 || limits.MaxDepth > identity.MaxDelegation {
		return nil, nil, fmt.Errorf("tokens.exchange.max_depth is not 1 to %d", identity.MaxDelegation)
	}
	conf := identity.ProofConfig{Audience: c.Tokens.Audience}
	var keys keySources
	for i := range x.Agents {
		a := &x.Agents[i]
		source, err := a.Keys.source(a.domain, log)
		if err != nil {
			return nil, nil, fmt.Errorf("tokens.exchange.agents: trust domain %q: %w", a.domain, err)
		}
		keys = append(keys, source)
		conf.Agents = append(conf.Agents, identity.TrustDomain{Name: a.domain, Keys: source})
	}
	for i := range x.Humans {
		h := &x.Humans[i]
		source, err := h.Keys.source(h.Issuer, log)
		if err != nil {
			return nil, nil, fmt.Errorf("tokens.exchange.humans: issuer %q: %w", h.Issuer, err)
		}
		keys = append(keys, source)
		conf.Humans = append(conf.Humans, identity.HumanIssuer{ID: h.Issuer, Audience: h.Audience, Prefix: h.Prefix, Keys: source})
	}
	proofs, err := identity.NewProofs(conf)
	if err != nil {
		return nil, nil, fmt.Errorf("tokens.exchange: %w", err)
	}
	grants, err := x.grants()
	if err != nil {
		return nil, nil, fmt.Errorf("tokens.exchange.grants: %w", err)
	}
	if err := keys.look(ctx); err != nil {
		return nil, nil, fmt.Errorf("tokens.exchange: %w", err)
	}
	return &server.Exchange{Mint: mint, Parents: tokens, Proofs: proofs, Grants: grants, Audience: []string{c.Tokens.Audience}, Limits: limits}, keys, nil
}

// grants is what the configuration grants each agent: one whole SPIFFE ID, of one
// tenant. What no token could carry is refused here.
func (x *exchangeConfig) grants() (func(agent, tenant string) (purposes, tools []string), error) {
	type who struct{ agent, tenant string }
	all := map[who]grantConfig{}
	for i, g := range x.Grants {
		if _, err := spiffeid.FromString(g.SPIFFEID); err != nil {
			return nil, fmt.Errorf("grant %d: spiffe_id: %w", i, err)
		}
		if g.Tenant == "" {
			return nil, fmt.Errorf("grant %d: no tenant", i)
		}
		if err := identity.CheckScope(g.Purposes, g.Tools); err != nil {
			return nil, fmt.Errorf("grant %d: %w", i, err)
		}
		key := who{g.SPIFFEID, g.Tenant}
		if _, twice := all[key]; twice {
			return nil, fmt.Errorf("grant %d: there are two for its agent and tenant", i)
		}
		all[key] = grantConfig{Purposes: slices.Clone(g.Purposes), Tools: slices.Clone(g.Tools)}
	}
	return func(agent, tenant string) (purposes, tools []string) {
		g := all[who{agent, tenant}]
		return g.Purposes, g.Tools
	}, nil
}
