package main

import (
	"context"
	"crypto"
	"fmt"
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
	// Agents are trust domains whose JWT-SVIDs prove agents.
	Agents []struct {
		TrustDomain string `yaml:"trust_domain"`
		JWKSFile    string `yaml:"jwks_file"`
	} `yaml:"agents"`
	// Humans are issuers whose ID tokens prove humans.
	Humans []struct {
		Issuer   string `yaml:"issuer"`
		Audience string `yaml:"audience"`
		// Prefix stands before their names; with several issuers, each has its own.
		Prefix   string `yaml:"prefix"`
		JWKSFile string `yaml:"jwks_file"`
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
	for i := range x.Agents {
		all = append(all, &x.Agents[i].JWKSFile)
	}
	for i := range x.Humans {
		all = append(all, &x.Humans[i].JWKSFile)
	}
	return all
}

// mint makes what issues the tokens.
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

// exchange is what the server exchanges tokens with; nil: it does not.
func (c *config) exchange(mint *identity.Mint, tokens *identity.Verifier) (*server.Exchange, error) {
	x := c.Tokens.Exchange
	if x == nil {
		return nil, nil
	}
	limits := identity.Limits{MaxLifetime: c.Tokens.MaxLifetime, MaxDepth: x.MaxDepth}
	if limits.MaxLifetime == 0 {
		limits.MaxLifetime = identity.MaxLifetime
	}
	if limits.MaxDepth == 0 {
		limits.MaxDepth = identity.MaxDelegation
	}
	if limits.MaxDepth < 0 || limits.MaxDepth > identity.MaxDelegation {
		return nil, fmt.Errorf("tokens.exchange.max_depth is not 1 to %d", identity.MaxDelegation)
	}
	conf := identity.ProofConfig{Audience: c.Tokens.Audience}
	for _, a := range x.Agents {
		keys, err := keySetIn(a.JWKSFile)
		if err != nil {
			return nil, fmt.Errorf("tokens.exchange.agents: %w", err)
		}
		conf.Agents = append(conf.Agents, identity.TrustDomain{Name: a.TrustDomain, Keys: keys})
	}
	for _, h := range x.Humans {
		keys, err := keySetIn(h.JWKSFile)
		if err != nil {
			return nil, fmt.Errorf("tokens.exchange.humans: %w", err)
		}
		conf.Humans = append(conf.Humans, identity.HumanIssuer{ID: h.Issuer, Audience: h.Audience, Prefix: h.Prefix, Keys: keys})
	}
	proofs, err := identity.NewProofs(conf)
	if err != nil {
		return nil, fmt.Errorf("tokens.exchange: %w", err)
	}
	grants, err := x.grants()
	if err != nil {
		return nil, fmt.Errorf("tokens.exchange.grants: %w", err)
	}
	return &server.Exchange{Mint: mint, Parents: tokens, Proofs: proofs, Grants: grants, Audience: []string{c.Tokens.Audience}, Limits: limits}, nil
}

func keySetIn(file string) (identity.Keys, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return identity.Keys{}, fmt.Errorf("reading keys: %w", err)
	}
	keys, err := identity.ReadKeys(data)
	if err != nil {
		return identity.Keys{}, fmt.Errorf("%s: %w", file, err)
	}
	return keys, nil
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
