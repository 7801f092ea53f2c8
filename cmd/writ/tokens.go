package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

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
	// Exchange is how tokens are exchanged; nil: they are not.
	Exchange *exchangeConfig `yaml:"exchange"`
}

type issuerConfig struct {
	Issuer string   `yaml:"issuer"`
	Keys   keyPlace `yaml:",inline"`
	// RequireCNF refuses its tokens that are bound to nothing.
	RequireCNF bool `yaml:"require_cnf"`
}

// keyPlace is where an issuer's keys are: one of a file, a URL and a trust domain,
// which is that of the Workload API of SPIFFE_ENDPOINT_SOCKET.
type keyPlace struct {
	JWKSFile    string `yaml:"jwks_file"`
	JWKSURL     string `yaml:"jwks_url"`
	TrustDomain string `yaml:"trust_domain"`
	// JWKSCAFile has the authorities of the URL's certificate; empty: the
	// system's.
	JWKSCAFile string `yaml:"jwks_ca_file"`
	// KeysMaxAge is how long the keys are trusted while the issuer is away; zero:
	// 1h.
	KeysMaxAge time.Duration `yaml:"keys_max_age"`
}

// resolve checks what can be checked without reading, and makes paths relative to
// the configuration's directory.
func (p *keyPlace) resolve(dir string) error {
	places := slices.DeleteFunc([]string{p.JWKSFile, p.JWKSURL, p.TrustDomain}, func(p string) bool { return p == "" })
	if len(places) != 1 {
		return errors.New("one of jwks_file, jwks_url and trust_domain says where its keys are")
	}
	if p.JWKSCAFile != "" && p.JWKSURL == "" {
		return errors.New("jwks_ca_file is for a jwks_url")
	}
	for _, file := range []*string{&p.JWKSFile, &p.JWKSCAFile} {
		if *file != "" && !filepath.IsAbs(*file) {
			*file = filepath.Join(dir, *file)
		}
	}
	return nil
}

// resolve checks what can be checked without reading, and makes paths relative to
// the configuration's directory.
func (c *tokensConfig) resolve(dir string) error {
	for i := range c.Issuers {
		if err := c.Issuers[i].Keys.resolve(dir); err != nil {
			return fmt.Errorf("tokens: issuer %q: %w", c.Issuers[i].Issuer, err)
		}
	}
	if c.Exchange != nil {
		if err := c.Exchange.resolve(dir); err != nil {
			return fmt.Errorf("tokens.exchange: %w", err)
		}
	}
	if c.MaxLifetime > identity.MaxLifetime && !c.AllowLongerLifetimes {
		return fmt.Errorf("tokens: a lifetime beyond %s needs allow_longer_lifetimes", identity.MaxLifetime)
	}
	return nil
}

// followed are keys that change while the server runs.
type followed interface {
	identity.KeySource
	// look reads them once; a broken configuration is an error.
	look(context.Context) error
	// run follows them until ctx is done.
	run(context.Context)
}

// keySources are the keys of all issuers.
type keySources []followed

// tokens makes the verifier, and reads all keys once. A file that cannot be used
// is a broken configuration; an issuer that does not answer may come back. The
// PDP's own mint, if it has one, is an issuer too.
func (c *tokensConfig) tokens(ctx context.Context, mint *identity.Mint, log *slog.Logger) (*identity.Verifier, keySources, error) {
	conf := identity.Config{Audience: c.Audience, Servers: c.ServerAudiences, MaxLifetime: c.MaxLifetime, LongLifetimes: c.AllowLongerLifetimes}
	var keys keySources
	for _, i := range c.Issuers {
		source, err := i.Keys.source(i.Issuer, log)
		if err != nil {
			return nil, nil, fmt.Errorf("tokens: issuer %q: %w", i.Issuer, err)
		}
		keys = append(keys, source)
		conf.Issuers = append(conf.Issuers, identity.Issuer{ID: i.Issuer, Keys: source, RequireBinding: i.RequireCNF})
	}
	if mint != nil {
		conf.Issuers = append(conf.Issuers, mint.Issuer())
	}
	v, err := identity.NewVerifier(conf)
	if err != nil {
		return nil, nil, fmt.Errorf("tokens: %w", err)
	}
	if c.MaxLifetime > identity.MaxLifetime {
		log.Warn("tokens may live longer than they should: a stolen one is worth something for as long",
			"max_lifetime", c.MaxLifetime.String(), "should", identity.MaxLifetime.String())
	}
	return v, keys, keys.look(ctx)
}

// source is an issuer's keys, followed.
func (p *keyPlace) source(issuer string, log *slog.Logger) (followed, error) {
	conf := jwks.Config{Issuer: issuer, MaxAge: p.KeysMaxAge, Now: time.Now, Jitter: rand.Float64, Log: log}
	switch {
	case p.TrustDomain != "":
		return newDomainKeys(p.TrustDomain, conf)
	case p.JWKSURL != "":
		source, err := jwks.URL(p.JWKSURL, p.JWKSCAFile, conf)
		return &readKeys{Source: source}, err
	}
	source, err := jwks.File(p.JWKSFile, conf)
	return &readKeys{Source: source, file: p.JWKSFile}, err
}

// readKeys are read again and again.
type readKeys struct {
	*jwks.Source
	file string        // empty: a URL, which may be away
	next time.Duration // to the next read
}

func (k *readKeys) look(ctx context.Context) (err error) {
	if k.next, err = k.Look(ctx); err != nil && k.file != "" {
		return fmt.Errorf("%s: %w", k.file, err)
	}
	return nil
}

func (k *readKeys) run(ctx context.Context) { k.Run(ctx, k.next) }

// domainKeys are told by the Workload API.
type domainKeys struct {
	identity.KeySource
	workload *jwks.Workload
}

func newDomainKeys(name string, conf jwks.Config) (*domainKeys, error) {
	td, err := spiffeid.TrustDomainFromString(name)
	if err != nil {
		return nil, fmt.Errorf("trust_domain: %w", err)
	}
	if _, ok := workloadapi.GetDefaultAddress(); !ok {
		return nil, fmt.Errorf("trust_domain: %s says where the Workload API is", workloadapi.SocketEnv)
	}
	w, err := jwks.NewWorkload(conf, td)
	if err != nil {
		return nil, err
	}
	return &domainKeys{w.Domain(td), w}, nil
}

// look does nothing: the Workload API tells once it is watched.
func (*domainKeys) look(context.Context) error { return nil }

func (k *domainKeys) run(ctx context.Context) {
	if err := k.workload.Run(ctx); err != nil {
		k.workload.Log.Error("the trust domain's keys are not followed", "error", err)
	}
}

// look reads all keys at once.
func (k keySources) look(ctx context.Context) error {
	errs := make([]error, len(k))
	var group sync.WaitGroup
	for i, source := range k {
		group.Go(func() { errs[i] = source.look(ctx) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// run follows all keys until ctx is done.
func (k keySources) run(ctx context.Context) {
	var group sync.WaitGroup
	for _, source := range k {
		group.Go(func() { source.run(ctx) })
	}
	group.Wait()
}
