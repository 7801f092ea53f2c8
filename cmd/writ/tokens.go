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
}

type issuerConfig struct {
	Issuer string `yaml:"issuer"`
	// JWKSFile, JWKSURL or TrustDomain is where its keys are; the last, those
	// that the Workload API of SPIFFE_ENDPOINT_SOCKET tells of this trust domain.
	JWKSFile    string `yaml:"jwks_file"`
	JWKSURL     string `yaml:"jwks_url"`
	TrustDomain string `yaml:"trust_domain"`
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
		places := slices.DeleteFunc([]string{issuer.JWKSFile, issuer.JWKSURL, issuer.TrustDomain}, func(p string) bool { return p == "" })
		if len(places) != 1 {
			return fmt.Errorf("tokens: issuer %q: one of jwks_file, jwks_url and trust_domain says where its keys are", issuer.Issuer)
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
// is a broken configuration; an issuer that does not answer may come back.
func (c *tokensConfig) tokens(ctx context.Context, log *slog.Logger) (*identity.Verifier, keySources, error) {
	conf := identity.Config{Audience: c.Audience, Servers: c.ServerAudiences, MaxLifetime: c.MaxLifetime, LongLifetimes: c.AllowLongerLifetimes}
	var keys keySources
	for _, i := range c.Issuers {
		source, err := i.source(log)
		if err != nil {
			return nil, nil, fmt.Errorf("tokens: issuer %q: %w", i.Issuer, err)
		}
		keys = append(keys, source)
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
	return v, keys, keys.look(ctx)
}

func (i *issuerConfig) source(log *slog.Logger) (followed, error) {
	conf := jwks.Config{Issuer: i.Issuer, MaxAge: i.KeysMaxAge, Now: time.Now, Jitter: rand.Float64, Log: log}
	switch {
	case i.TrustDomain != "":
		return newDomainKeys(i.TrustDomain, conf)
	case i.JWKSURL != "":
		source, err := jwks.URL(i.JWKSURL, i.JWKSCAFile, conf)
		return &readKeys{Source: source}, err
	}
	source, err := jwks.File(i.JWKSFile, conf)
	return &readKeys{Source: source, file: i.JWKSFile}, err
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
