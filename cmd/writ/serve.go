package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/sync/errgroup"

	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/decision/stage"
	"github.com/writpdp/writ/server/identity"
	"github.com/writpdp/writ/server/policy/follow"
	"github.com/writpdp/writ/server/rollout"
)

// config is the file that `writ serve` reads. Unknown keys are errors. Relative
// paths are relative to the file. Secrets are only ever named by file.
type config struct {
	// GRPC and HTTP are the listeners' addresses.
	GRPC string `yaml:"grpc"`
	HTTP string `yaml:"http"`
	// BaseURL is where enforcement points reach the JSON face.
	BaseURL string `yaml:"base_url"`
	// Bundle is where the policy bundle comes from.
	Bundle bundleConfig `yaml:"bundle"`
	// DatabaseFile holds a PostgreSQL connection string. DataDir, in its place,
	// is a directory of an embedded store, of this server alone.
	DatabaseFile string `yaml:"database_file"`
	DataDir      string `yaml:"data_dir"`
	Log          struct {
		// Origin is the log's name in its checkpoints.
		Origin string `yaml:"origin"`
		// The key that signs checkpoints: Ed25519.
		Key signingKey `yaml:",inline"`
		// RetiredKeyFiles are the public keys that signed earlier checkpoints.
		RetiredKeyFiles []string `yaml:"retired_key_files"`
	} `yaml:"log"`
	// Vault is where keys of hashivault:// are.
	Vault vaultConfig `yaml:"vault"`
	// TLS is for both listeners. Without it they must be on loopback and
	// LoopbackCaller be given.
	TLS *struct {
		CertFile string `yaml:"cert_file"`
		KeyFile  string `yaml:"key_file"`
		// ClientCAFile holds the certificates that sign callers' SVIDs.
		ClientCAFile string `yaml:"client_ca_file"`
	} `yaml:"tls"`
	// LoopbackCaller is who a caller without TLS is taken for.
	LoopbackCaller string `yaml:"loopback_caller"`
	Tokens         struct {
		// Audience must be in a token's `aud`.
		Audience string `yaml:"audience"`
		// MaxLifetime shortens the ten minutes that a token may live.
		MaxLifetime time.Duration `yaml:"max_lifetime"`
		Issuers     []struct {
			Issuer   string `yaml:"issuer"`
			JWKSFile string `yaml:"jwks_file"`
		} `yaml:"issuers"`
		// Exchange is how tokens are exchanged; nil: they are not.
		Exchange *exchangeConfig `yaml:"exchange"`
	} `yaml:"tokens"`
	// Callers maps SPIFFE IDs, or prefixes that end in /*, to tenants.
	Callers []struct {
		SPIFFEID string `yaml:"spiffe_id"`
		Tenant   string `yaml:"tenant"`
	} `yaml:"callers"`
}

type serveCmd struct {
	Config string `required:"" type:"existingfile" placeholder:"FILE" help:"The configuration (YAML); docs/operator.md explains every key."`
}

// Run serves until it is told to stop.
func (c serveCmd) Run(ctx context.Context, to streams) (err error) {
	if err := noCoreDumps(); err != nil {
		return err
	}
	conf, err := readConfig(c.Config)
	if err != nil {
		return err
	}
	if err := conf.checkSecrets(); err != nil {
		return fmt.Errorf("%s: %w", c.Config, err)
	}
	tuneGC()
	log := slog.New(slog.NewJSONHandler(to.err, nil))
	store, err := conf.openServed(ctx, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.close()) }()
	source, configured, err := conf.configured(ctx, store, log)
	if err != nil {
		return err
	}
	bundles, err := followRollout(ctx, store, configured, log)
	if err != nil {
		return err
	}
	s, err := conf.server(ctx, store, source, bundles, log)
	if err != nil {
		return err
	}
	var listen net.ListenConfig
	grpcListener, err := listen.Listen(ctx, "tcp", conf.GRPC)
	if err != nil {
		return fmt.Errorf("listening for gRPC: %w", err)
	}
	defer grpcListener.Close()
	httpListener, err := listen.Listen(ctx, "tcp", conf.HTTP)
	if err != nil {
		return fmt.Errorf("listening for JSON: %w", err)
	}
	defer httpListener.Close()
	log.Info("serving", "grpc", grpcListener.Addr().String(), "http", httpListener.Addr().String(), "tls", conf.TLS != nil)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var group errgroup.Group
	if source != nil {
		group.Go(func() error { return source.Run(ctx) })
	}
	group.Go(func() error {
		bundles.Run(ctx)
		return nil
	})
	group.Go(func() error {
		defer stop()
		return s.Serve(ctx, grpcListener, httpListener)
	})
	return group.Wait()
}

// configured is the bundle that the configuration names. Once the store says what
// decides, a bundle that cannot be used is no reason not to start, and is nil.
func (c *config) configured(ctx context.Context, store *servedStore, log *slog.Logger) (*follow.Follower, func() *decision.Bundle, error) {
	actor, err := thisServer()
	if err != nil {
		return nil, nil, err
	}
	f, err := c.Bundle.follow(ctx, func(e follow.Event) {
		tell(ctx, log, e)
		notice(ctx, log, store, actor, e)
	})
	if err == nil {
		return f, f.Bundle, nil
	}
	if _, none := rollout.Newest(ctx, store); none != nil {
		return nil, nil, err
	}
	log.Error("the configured bundle cannot be used: what the store says is in force", "error", err)
	return nil, func() *decision.Bundle { return nil }, nil
}

// tuneGC sets the collector for serving, unless the operator did.
func tuneGC() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(server.GCPercent)
	}
}

// readConfig reads and checks the file.
func readConfig(file string) (*config, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	var c config
	if err := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s:%s", file, yaml.FormatError(err, false, false))
	}
	dir := filepath.Dir(file)
	store := &c.DatabaseFile
	if c.DataDir != "" {
		store = &c.DataDir
	}
	paths := []*string{store}
	if c.TLS != nil {
		paths = append(paths, &c.TLS.CertFile, &c.TLS.KeyFile, &c.TLS.ClientCAFile)
	}
	for i := range c.Tokens.Issuers {
		paths = append(paths, &c.Tokens.Issuers[i].JWKSFile)
	}
	for _, p := range paths {
		if *p == "" {
			return nil, fmt.Errorf("%s: a file or directory is not named; docs/operator.md lists every key", file)
		}
	}
	for _, p := range append(paths, c.keyPaths()...) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	switch err = c.Bundle.resolve(dir); {
	case err != nil:
	case c.DataDir != "" && c.DatabaseFile != "":
		err = errors.New("one of database_file and data_dir: there is one store")
	case c.Log.Origin == "":
		err = errors.New("log.origin is missing")
	case c.TLS == nil && (!loopback(c.GRPC) || !loopback(c.HTTP)):
		err = errors.New("without tls both listeners must be on loopback")
	case c.TLS == nil && c.LoopbackCaller == "":
		err = errors.New("without tls, loopback_caller says who the caller is taken for")
	case c.TLS != nil && c.LoopbackCaller != "":
		err = errors.New("loopback_caller has no place beside tls: callers prove who they are")
	default:
		err = c.checkKeys()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &c, nil
}

// loopback reports whether a host:port is of this machine alone.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// server wires the parts together.
func (c *config) server(ctx context.Context, store *servedStore, source *follow.Follower, bundles *rollout.Follower, log *slog.Logger) (*server.Server, error) {
	routes, err := c.Bundle.routes(source)
	if err != nil {
		return nil, err
	}
	var mint *identity.Mint
	if c.Tokens.Exchange != nil {
		if mint, err = c.Tokens.Exchange.mint(ctx, c.Vault); err != nil {
			return nil, err
		}
	}
	tokens, err := c.tokens(mint)
	if err != nil {
		return nil, err
	}
	exchange, err := c.exchange(mint, tokens)
	if err != nil {
		return nil, err
	}
	caller, err := c.caller()
	if err != nil {
		return nil, err
	}
	tlsConfig, err := c.tls()
	if err != nil {
		return nil, err
	}
	signer, err := c.logSigner(ctx)
	if err != nil {
		return nil, err
	}
	return server.New(server.Config{
		Ledger: store.ledger, Flush: store.flush, Bundle: bundles.Bundle, Recorded: bundles.Recorded, Routes: routes, Stages: stage.All, Tokens: tokens,
		Caller: caller, Origin: c.Log.Origin, TLS: tlsConfig, BaseURL: c.BaseURL,
		Sealer: store.sealer(signer, log), Exchange: exchange,
		Now: time.Now, Random: rand.Reader, Log: log,
	})
}

// tokens verifies principal tokens; those of the PDP's own mint too, if it has one.
func (c *config) tokens(mint *identity.Mint) (*identity.Verifier, error) {
	conf := identity.Config{Audience: c.Tokens.Audience, MaxLifetime: c.Tokens.MaxLifetime}
	for _, i := range c.Tokens.Issuers {
		data, err := os.ReadFile(i.JWKSFile)
		if err != nil {
			return nil, fmt.Errorf("reading an issuer's keys: %w", err)
		}
		keys, err := identity.ReadKeys(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", i.JWKSFile, err)
		}
		conf.Issuers = append(conf.Issuers, identity.Issuer{ID: i.Issuer, Keys: keys})
	}
	if mint != nil {
		conf.Issuers = append(conf.Issuers, mint.Issuer())
	}
	v, err := identity.NewVerifier(conf)
	if err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	return v, nil
}

// caller tells who calls: by SVID, or on loopback as configured.
func (c *config) caller() (func(*tls.ConnectionState) (decision.Caller, error), error) {
	var rules []identity.CallerRule
	for _, r := range c.Callers {
		rules = append(rules, identity.CallerRule{ID: r.SPIFFEID, Tenant: r.Tenant})
	}
	callers, err := identity.NewCallers(rules)
	if err != nil {
		return nil, fmt.Errorf("callers: %w", err)
	}
	if c.TLS == nil {
		id, err := spiffeid.FromString(c.LoopbackCaller)
		if err != nil {
			return nil, fmt.Errorf("loopback_caller: %w", err)
		}
		caller, err := callers.Caller(id)
		if err != nil {
			return nil, fmt.Errorf("loopback_caller: %w", err)
		}
		return func(*tls.ConnectionState) (decision.Caller, error) { return caller, nil }, nil
	}
	return func(state *tls.ConnectionState) (decision.Caller, error) {
		if state == nil {
			state = &tls.ConnectionState{} // FromTLS refuses it
		}
		id, err := identity.FromTLS(*state)
		if err != nil {
			return decision.Caller{}, err
		}
		return callers.Caller(id)
	}, nil
}

// tls is TLS 1.3 with callers' certificates required and verified.
func (c *config) tls() (*tls.Config, error) {
	if c.TLS == nil {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("reading the server's certificate: %w", err)
	}
	data, err := os.ReadFile(c.TLS.ClientCAFile)
	if err != nil {
		return nil, fmt.Errorf("reading the callers' authorities: %w", err)
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s: no certificate in it", c.TLS.ClientCAFile)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authorities,
		NextProtos: []string{"h2", "http/1.1"},
	}, nil
}
