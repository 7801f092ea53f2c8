package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/sync/errgroup"

	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/decision/stage"
	"github.com/writpdp/writ/server/identity"
	"github.com/writpdp/writ/server/policy/follow"
	"github.com/writpdp/writ/server/respond"
	"github.com/writpdp/writ/server/rollout"
	"github.com/writpdp/writ/server/telemetry"
	"github.com/writpdp/writ/server/transport"
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
	// AllowFailoverLoss serves from several hosts none of which is a synchronous
	// standby: a failover then loses what was answered last.
	AllowFailoverLoss bool `yaml:"allow_failover_loss"`
	// Notify is whether to listen to what the database tells of changes; without: yes.
	Notify *bool `yaml:"notify"`
	Log    struct {
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
	TLS *tlsSection `yaml:"tls"`
	// Probes is the address of a plain listener for health and metrics alone;
	// empty: there is none.
	Probes string `yaml:"probes"`
	// LoopbackCaller is who a caller without TLS is taken for.
	LoopbackCaller string `yaml:"loopback_caller"`
	// Tokens says whose principal tokens are accepted.
	Tokens tokensConfig `yaml:"tokens"`
	// Redaction is what redacting takes beyond the policies.
	Redaction struct {
		// KeyFile holds the key with which values are hashed and tokenised, 32 bytes or
		// more in base64; empty: policies that do so deny.
		KeyFile string `yaml:"key_file"`
	} `yaml:"redaction"`
	// TicketWebhooks are the trackers whose approvals become tickets.
	TicketWebhooks []ticketWebhook `yaml:"ticket_webhooks"`
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
	locks, err := followLocks(ctx, store, log)
	if err != nil {
		return err
	}
	mint, err := conf.mint(ctx)
	if err != nil {
		return err
	}
	tokens, keys, err := conf.Tokens.tokens(ctx, mint, log)
	if err != nil {
		return err
	}
	exchange, more, err := conf.exchange(ctx, mint, tokens, log)
	if err != nil {
		return err
	}
	keys = append(keys, more...)
	metrics, err := telemetry.New()
	if err != nil {
		return err
	}
	if err := locks.Observe(metrics.Meter()); err != nil {
		return err
	}
	clocks, err := store.compareClocks(ctx, metrics, log)
	if err != nil {
		return err
	}
	certificates, err := conf.certificates(ctx, store, metrics, log)
	if err != nil {
		return err
	}
	s, err := conf.server(ctx, parts{store, source, bundles, locks, tokens, exchange, certificates, metrics}, log)
	if err != nil {
		return err
	}
	on, err := conf.listen(ctx)
	if err != nil {
		return err
	}
	defer on.close()
	on.tell(log, conf.TLS != nil)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var group errgroup.Group
	if certificates != nil {
		group.Go(func() error { return certificates.Run(ctx) })
	}
	if on.probes != nil {
		group.Go(func() error {
			defer stop()
			return serveProbes(ctx, on.probes, probes(source, certificates, locks, clocks, metrics), log)
		})
	}
	if source != nil {
		group.Go(func() error { return source.Run(ctx) })
	}
	group.Go(func() error {
		locks.Run(ctx)
		return nil
	})
	if clocks != nil {
		group.Go(func() error {
			clocks.Run(ctx)
			return nil
		})
	}
	group.Go(func() error {
		store.hint(ctx, locks, bundles, log)
		return nil
	})
	group.Go(func() error { return announce(ctx, locks, store, log) })
	group.Go(func() error {
		store.forgetTokens(ctx, log)
		return nil
	})
	group.Go(func() error {
		bundles.Run(ctx)
		return nil
	})
	group.Go(func() error {
		keys.run(ctx)
		return nil
	})
	group.Go(func() error {
		defer stop()
		return s.Serve(ctx, on.grpc, on.http)
	})
	return group.Wait()
}

// listeners are those of a server. probes is nil where there is none.
type listeners struct{ grpc, http, probes net.Listener }

func (c *config) listen(ctx context.Context) (_ *listeners, err error) {
	on := &listeners{}
	defer func() {
		if err != nil {
			on.close()
		}
	}()
	var listen net.ListenConfig
	if on.grpc, err = listen.Listen(ctx, "tcp", c.GRPC); err != nil {
		return nil, fmt.Errorf("listening for gRPC: %w", err)
	}
	if on.http, err = listen.Listen(ctx, "tcp", c.HTTP); err != nil {
		return nil, fmt.Errorf("listening for JSON: %w", err)
	}
	if c.Probes != "" {
		if on.probes, err = listen.Listen(ctx, "tcp", c.Probes); err != nil {
			return nil, fmt.Errorf("listening for probes: %w", err)
		}
	}
	return on, nil
}

// close is for those that were not served; the others are closed already.
func (l *listeners) close() {
	for _, one := range []net.Listener{l.grpc, l.http, l.probes} {
		if one != nil {
			_ = one.Close()
		}
	}
}

func (l *listeners) tell(log *slog.Logger, secure bool) {
	attrs := []any{"grpc", l.grpc.Addr().String(), "http", l.http.Addr().String(), "tls", secure}
	if l.probes != nil {
		attrs = append(attrs, "probes", l.probes.Addr().String())
	}
	log.Info("serving", attrs...)
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
		notice(ctx, log, store, audit.NoticeFacts{Kind: notices[e.What], Actor: actor, Source: e.Source, Commit: e.Commit,
			Digest: e.Digest, Signer: e.Signer.Name, Key: e.Signer.Key, Why: e.Why})
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
		paths = append(paths, c.TLS.paths()...)
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
	switch err = errors.Join(c.Bundle.resolve(dir), c.Tokens.resolve(dir), c.TLS.check()); {
	case err != nil:
	case c.DataDir != "" && c.DatabaseFile != "":
		err = errors.New("one of database_file and data_dir: there is one store")
	case c.DataDir != "" && (c.AllowFailoverLoss || c.Notify != nil):
		err = errors.New("allow_failover_loss and notify have no place beside data_dir")
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

// parts are what a server is wired of, beside its configuration.
type parts struct {
	store        *servedStore
	source       *follow.Follower // nil: the store says what decides
	bundles      *rollout.Follower
	locks        *respond.Follower
	tokens       *identity.Verifier
	exchange     *server.Exchange  // nil: none
	certificates *transport.Source // nil: without TLS
	metrics      *telemetry.Metrics
}

// server wires the parts together.
func (c *config) server(ctx context.Context, p parts, log *slog.Logger) (*server.Server, error) {
	routes, err := c.Bundle.routes(p.source)
	if err != nil {
		return nil, err
	}
	hooks, err := c.ticketRoutes(p, log)
	if err != nil {
		return nil, err
	}
	maps.Copy(hooks, routes)
	caller, err := c.caller()
	if err != nil {
		return nil, err
	}
	var listeners *tls.Config
	if p.certificates != nil {
		listeners = p.certificates.TLS()
	}
	signer, err := c.logSigner(ctx)
	if err != nil {
		return nil, err
	}
	pseudonyms, err := c.pseudonyms()
	if err != nil {
		return nil, err
	}
	return server.New(server.Config{
		Pseudonyms: pseudonyms, Vault: p.store,
		Ledger: p.store.ledger, Flush: p.store.flush, Bundle: p.bundles.Bundle, Live: p.bundles.Live, Recorded: p.bundles.Recorded,
		Control: p.locks, Budgets: p.store, Tickets: p.store, Routes: hooks, Stages: stage.All, Tokens: p.tokens,
		Caller: caller, Origin: c.Log.Origin, TLS: listeners, BaseURL: c.BaseURL,
		Sealer: p.store.sealer(signer, log), Lapses: p.store, Exchange: p.exchange,
		Now: time.Now, Random: rand.Reader, Log: log, Meter: p.metrics.Meter(),
	})
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
		id, err := identity.FromTLS(*state, time.Now())
		if err != nil {
			return decision.Caller{}, err
		}
		return callers.Caller(id)
	}, nil
}
