package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/identity"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/store/postgres"
	"github.com/writpdp/writ/test/bench/workload"
	"github.com/writpdp/writ/test/chaos/pair"
)

const (
	replicas = 3
	origin   = "chaos.example.org/log"
	gateway  = "spiffe://example.org/gateway"
	tenant   = "acme"
	// clockVariable names the file by which a server's clock is shifted.
	clockVariable = "WRIT_CHAOS_CLOCK"
	serving       = "writ_serve" // the role that serves
)

// The budgets of a run, in the bundle's words and in the checker's. The human's are
// small: each human is asked for during a few seconds, and their budgets run out.
const budgets = `
tenant-tokens:
  description: All tokens of the hour. It never runs out; everybody waits for it.
  unit: tokens
  cap: 1000000000
  window: hour
  per: [tenant]
human-calls:
  description: What is done for one human.
  unit: calls
  cap: 60
  window: lifetime
  per: [tenant, human]
human-tokens:
  description: Tokens for one human.
  unit: tokens
  cap: 12000
  window: lifetime
  per: [tenant, human]
human-money:
  description: Money for one human.
  unit: money
  currency: USD
  cap: 6000000
  window: lifetime
  per: [tenant, human]
`

var caps = map[string]int64{"tenant-tokens": 1_000_000_000, "human-calls": 60, "human-tokens": 12_000, "human-money": 6_000_000}

// site is everything of one run.
type site struct {
	home, binary string
	mutant       string
	pair         *pair.Pair
	replicas     [replicas]*replica
	bundle       *decision.Bundle
	minter       *identity.Minter
}

// newSite starts PostgreSQL and the servers.
func newSite(ctx context.Context, home string, b *built, on pair.Place) (_ *site, err error) {
	s := &site{home: home, binary: b.writ, mutant: b.mutant}
	if s.pair, err = pair.New(ctx, home, b.slow, on); err != nil {
		return nil, err
	}
	if s.minter, err = identity.NewMinter(rand.Reader); err != nil {
		return nil, err
	}
	if err := s.write("issuer.json", string(s.minter.JWKS())); err != nil {
		return nil, err
	}
	if err := s.writeBundle(); err != nil {
		return nil, err
	}
	if err := s.migrate(ctx); err != nil {
		return nil, err
	}
	for i := range s.replicas {
		if s.replicas[i], err = s.newReplica(i); err != nil {
			return nil, err
		}
		go func() {
			if err := s.replicas[i].run(ctx); err != nil && ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, "chaos:", err)
			}
		}()
	}
	return s, nil
}

func (s *site) path(name string) string { return filepath.Join(s.home, name) }

func (s *site) write(name, text string) error { return os.WriteFile(s.path(name), []byte(text), 0o600) }

// writeBundle writes the sample bundle with the run's agents and budgets.
func (s *site) writeBundle() error {
	sample, err := workload.Sample()
	if err != nil {
		return err
	}
	if err := os.CopyFS(s.path("policies"), sample); err != nil {
		return err
	}
	file := s.path("policies/budgets.yaml")
	if err := errors.Join(os.Chmod(file, 0o600), os.WriteFile(file, []byte(budgets), 0o600)); err != nil {
		return err
	}
	// The sample's billing desk has other agents.
	refunds := `@id("chaos-refunds") permit (principal in Team::"support", action == Action::"stripe/create_refund", resource);`
	if err := s.write("policies/cedar/chaos.cedar", refunds); err != nil {
		return err
	}
	s.bundle, err = policy.Load(os.DirFS(s.path("policies")))
	return err
}

// run runs the program's own commands.
func (s *site) run(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, s.binary, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("writ %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// migrate makes the schema, the role that serves, and the log's key.
func (s *site) migrate(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.pair.First().DSN())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "CREATE ROLE "+serving+" LOGIN"); err != nil {
		return err
	}
	if err := s.write("owner", s.dsn("postgres")+"\n"); err != nil {
		return err
	}
	return errors.Join(s.run(ctx, "migrate", "--database-file", s.path("owner"), "--grant", serving),
		s.run(ctx, "log", "keygen", "--origin", origin, "--dir", s.home))
}

// dsn leads to both databases, past the proxies.
func (s *site) dsn(role string) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d,127.0.0.1:%d/postgres?sslmode=disable&target_session_attrs=read-write&connect_timeout=2",
		role, s.pair.Nodes[0].Port, s.pair.Nodes[1].Port)
}

func (s *site) newReplica(i int) (*replica, error) {
	name := fmt.Sprint("writ-", i)
	r := &replica{name: name, binary: s.binary, config: s.path(name + ".yaml"), log: s.path(name + ".log"), clock: s.path(name + ".clock"), mutant: s.mutant, ended: make(chan struct{})}
	for j, n := range s.pair.Nodes {
		var err error
		if r.ways[j], err = pair.NewProxy(fmt.Sprintf("127.0.0.1:%d", n.Port)); err != nil {
			return nil, err
		}
	}
	grpc, err := pair.FreePort()
	if err != nil {
		return nil, err
	}
	http, err := pair.FreePort()
	if err != nil {
		return nil, err
	}
	dsn := fmt.Sprintf("postgres://%s@127.0.0.1:%d,127.0.0.1:%d/postgres?sslmode=disable&target_session_attrs=read-write&connect_timeout=2\n",
		serving, r.ways[0].Port(), r.ways[1].Port())
	config := fmt.Sprintf(`grpc: 127.0.0.1:%d
http: 127.0.0.1:%d
base_url: http://127.0.0.1:%d
bundle: policies
database_file: %s.database
log: { origin: %s, key_file: log.key }
loopback_caller: %s
tokens:
  audience: %s
  issuers: [{ issuer: %q, jwks_file: issuer.json }]
callers: [{ spiffe_id: %s, tenant: %s }]
`, grpc, http, http, name, origin, gateway, workload.Audience, workload.Issuer, gateway, tenant)
	if err := errors.Join(s.write(name+".database", dsn), s.write(name+".yaml", config), os.WriteFile(r.clock, make([]byte, 8), 0o600)); err != nil {
		return nil, err
	}
	return r, r.dial(fmt.Sprintf("127.0.0.1:%d", grpc))
}

// store opens the ledger as the operator's commands do.
func (s *site) store(ctx context.Context) (*postgres.Store, error) {
	return postgres.New(ctx, postgres.Config{DSN: s.dsn("postgres"), Lanes: 1})
}

// stop ends the servers, which seal what waits, and tells what was wrong with their
// ends.
func (s *site) stop(ctx context.Context) error {
	var errs []error
	for _, r := range s.replicas {
		code, err := r.stop(ctx)
		if err == nil && code != 0 {
			err = fmt.Errorf("%s ends with the exit code %d: its log says why", r.name, code)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// close ends the databases and all that led to them.
func (s *site) close() error {
	errs := []error{s.pair.Stop(), s.pair.Unmount()}
	for _, r := range s.replicas {
		for _, way := range r.ways {
			errs = append(errs, way.Close())
		}
	}
	return errors.Join(errs...)
}

// complaints are the errors that the servers' logs have, counted by their messages.
func (s *site) complaints() map[string]int {
	counts := map[string]int{}
	for _, r := range s.replicas {
		text, err := os.ReadFile(r.log)
		if err != nil {
			continue
		}
		for line := range bytes.Lines(text) {
			var entry struct{ Level, Msg, Doing string }
			if json.Unmarshal(line, &entry) == nil && entry.Level == "ERROR" {
				counts[strings.TrimSpace(entry.Msg+" "+entry.Doing)]++
			} else if bytes.Contains(line, []byte("panic")) || bytes.Contains(line, []byte("fatal error")) {
				counts["panic"]++
			}
		}
	}
	return counts
}

// patience is how long something may take that must come in the end.
const patience = 2 * time.Minute

// pause waits, but no longer than until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
