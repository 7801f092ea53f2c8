package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	"github.com/writpdp/writ/server/identity"
	"github.com/writpdp/writ/server/identity/jwks"
)

// tokensConfig says whose principal tokens are accepted.
type tokensConfig struct {
	// Audience must be in a token's `aud`, but where ServerAudiences says
	// otherwise.
	Audience string `yaml:"audience"`
	// ServerAudiences are those of tool servers, by name: a token for one is
	// accepted in requests about this server alone.
	ServerAudiences map[string]string `yaml:"server_audiences"`
	// MaxLifetime shortens the ten minutes that a token may live. With
	// AllowLongerLifetimes it may lengthen them, up to an hour.
	MaxLifetime          time.Duration  `yaml:"max_lifetime"`
	AllowLongerLifetimes bool           `yaml:"allow_longer_lifetimes"`
	Issuers              []issuerConfig `yaml:"issuers"`
}

type issuerConfig struct {
	Issuer string `yaml:"issuer"`
	// JWKSFile or JWKSURL is where its keys are.
	JWKSFile string `yaml:"jwks_file"`
	JWKSURL  string `yaml:"jwks_url"`
	// JWKSCAFile has the authorities of the URL's certificate; empty: the
	// system's.
	JWKSCAFile string `yaml:"jwks_ca_file"`
	// KeysMaxAge is how long its keys are trusted while it is away; zero: 1h.
	KeysMaxAge time.Duration `yaml:"keys_max_age"`
	// RequireCNF refuses its tokens that are bound to nothing.
	RequireCNF bool `yaml:"require_cnf"`
}

// resolve checks what can be checked without reading, and makes paths relative to
// the configuration's directory.
func (c *tokensConfig) resolve(dir string) error {
	for i := range c.Issuers {
		issuer := &c.Issuers[i]
		if (issuer.JWKSFile == "") == (issuer.JWKSURL == "") {
			return fmt.Errorf("tokens: issuer %q: one of jwks_file and jwks_url says where its keys are", issuer.Issuer)
		}
		if issuer.JWKSCAFile != "" && issuer.JWKSURL == "" {
			return fmt.Errorf("tokens: issuer %q: jwks_ca_file is for a jwks_url", issuer.Issuer)
		}
		for _, p := range []*string{&issuer.JWKSFile, &issuer.JWKSCAFile} {
			if *p != "" && !filepath.IsAbs(*p) {
				*p = filepath.Join(dir, *p)
			}
		}
	}
	if c.MaxLifetime > identity.MaxLifetime && !c.AllowLongerLifetimes {
		return fmt.Errorf("tokens: a lifetime beyond %s needs allow_longer_lifetimes", identity.MaxLifetime)
	}
	return nil
}

// keySources are the keys of all issuers, followed.
type keySources struct {
	sources []*jwks.Source
	next    []time.Duration // when each is read next
}

// tokens makes the verifier, and reads all keys once. A file that cannot be used
// is a broken configuration; an issuer that does not answer may come back.
func (c *tokensConfig) tokens(ctx context.Context, log *slog.Logger) (*identity.Verifier, *keySources, error) {
	conf := identity.Config{Audience: c.Audience, Servers: c.ServerAudiences, MaxLifetime: c.MaxLifetime, LongLifetimes: c.AllowLongerLifetimes}
	keys := &keySources{}
	for _, i := range c.Issuers {
		source, err := i.source(log)
		if err != nil {
			return nil, nil, fmt.Errorf("tokens: issuer %q: %w", i.Issuer, err)
		}
		keys.sources = append(keys.sources, source)
		conf.Issuers = append(conf.Issuers, identity.Issuer{ID: i.Issuer, Keys: source, RequireBinding: i.RequireCNF})
	}
	v, err := identity.NewVerifier(conf)
	if err != nil {
		return nil, nil, fmt.Errorf("tokens: %w", err)
	}
	if c.MaxLifetime > identity.MaxLifetime {
		log.Warn("tokens may live longer than they should: a stolen one is worth something for as long",
			"max_lifetime", c.MaxLifetime.String(), "should", identity.MaxLifetime.String())
	}
	return v, keys, keys.look(ctx, c.Issuers)
}

func (i *issuerConfig) source(log *slog.Logger) (*jwks.Source, error) {
	conf := jwks.Config{Issuer: i.Issuer, MaxAge: i.KeysMaxAge, Now: time.Now, Jitter: rand.Float64, Log: log}
	if i.JWKSURL != "" {
		return jwks.URL(i.JWKSURL, i.JWKSCAFile, conf)
	}
	return jwks.File(i.JWKSFile, conf)
}

// look reads all keys at once.
func (k *keySources) look(ctx context.Context, issuers []issuerConfig) error {
	k.next = make([]time.Duration, len(k.sources))
	errs := make([]error, len(k.sources))
	var group sync.WaitGroup
	for i, source := range k.sources {
		group.Go(func() {
			var err error
			if k.next[i], err = source.Look(ctx); err != nil && issuers[i].JWKSFile != "" {
				errs[i] = fmt.Errorf("%s: %w", issuers[i].JWKSFile, err)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// run follows all keys until ctx is done.
func (k *keySources) run(ctx context.Context) {
	var group sync.WaitGroup
	for i, source := range k.sources {
		group.Go(func() { source.Run(ctx, k.next[i]) })
	}
	group.Wait()
}
