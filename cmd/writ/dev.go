package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/decision/stage"
	"github.com/writpdp/writ/server/identity"
	"github.com/writpdp/writ/server/pseudonym"
	"github.com/writpdp/writ/server/respond"
	"github.com/writpdp/writ/server/rollout"
)

// What development mode makes up: nobody outside this machine knows them.
const (
	devOrigin   = "writ.dev/log"
	devIssuer   = "https://writ.dev/issuer"
	devAudience = "writ"
	devCaller   = "spiffe://writ.dev/caller"
	devTenant   = "dev"
	devAgent    = "spiffe://example.org/agent/support"
	devPurpose  = "support"
	devTool     = "filesystem/read_text_file"
	devArgs     = `{"path":"/srv/files/customers.json"}`
)

type devCmd struct {
	Data    string   `type:"path" placeholder:"DIR" help:"Keep the store and the keys in DIR. Without: a temporary directory, gone afterwards."`
	Bundle  string   `type:"existingdir" placeholder:"DIR" help:"The policy bundle, until one is activated in the store. Without: the sample bundle in this binary."`
	GRPC    string   `name:"grpc" default:"127.0.0.1:7700" help:"Loopback address of the gRPC face. With a COMMAND: a free port." placeholder:"ADDR"`
	HTTP    string   `name:"http" default:"127.0.0.1:7701" help:"Loopback address of the JSON face. With a COMMAND: a free port." placeholder:"ADDR"`
	Command []string `arg:"" optional:"" passthrough:"" help:"After --: a command to run with WRIT_ADDR and WRIT_HTTP set; its exit code becomes writ's."`
}

// Run serves until it is interrupted or the command ends.
func (c devCmd) Run(ctx context.Context, to streams) (err error) {
	command := c.Command
	if len(command) > 0 && command[0] == "--" {
		command = command[1:]
	}
	if len(command) > 0 {
		c.GRPC, c.HTTP = "127.0.0.1:0", "127.0.0.1:0"
	}
	if c.Data == "" {
		if c.Data, err = os.MkdirTemp("", "writ-dev-"); err != nil {
			return fmt.Errorf("making a data directory: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(c.Data)) }()
	}
	grpcListener, err := listenLoopback(ctx, c.GRPC)
	if err != nil {
		return err
	}
	defer grpcListener.Close()
	httpListener, err := listenLoopback(ctx, c.HTTP)
	if err != nil {
		return err
	}
	defer httpListener.Close()
	tuneGC()
	log := slog.New(slog.NewTextHandler(to.err, nil))
	d, err := newDev(ctx, c, "http://"+httpListener.Addr().String(), log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.store.close()) }()
	d.grpc, d.http = grpcListener.Addr().String(), httpListener.Addr().String()

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var group errgroup.Group
	group.Go(func() error {
		defer stop()
		return d.server.Serve(ctx, grpcListener, httpListener)
	})
	group.Go(func() error {
		d.rollout.Run(ctx)
		return nil
	})
	group.Go(func() error {
		d.locks.Run(ctx)
		return nil
	})
	group.Go(func() error { return announce(ctx, d.locks, d.store, log) })
	group.Go(func() error {
		d.store.forgetTokens(ctx, log)
		return nil
	})
	if len(command) == 0 {
		d.greet(to, c.Data)
	} else {
		group.Go(func() error {
			defer stop()
			return d.run(ctx, command, to)
		})
	}
	return group.Wait()
}

// dev is a development PDP.
type dev struct {
	store      *servedStore
	server     *server.Server
	minter     *identity.Minter
	rollout    *rollout.Follower
	locks      *respond.Follower
	grpc, http string // addresses
}

func newDev(ctx context.Context, c devCmd, baseURL string, log *slog.Logger) (*dev, error) {
	d := &dev{}
	var err error
	if d.minter, err = tokenKey(filepath.Join(c.Data, fileTokenKey)); err != nil {
		return nil, err
	}
	signer, err := logKey(c.Data, devOrigin)
	if err != nil {
		return nil, err
	}
	keys, err := identity.ReadKeys(d.minter.JWKS())
	if err != nil {
		return nil, fmt.Errorf("reading the dev issuer's keys: %w", err)
	}
	tokens, err := identity.NewVerifier(identity.Config{
		Issuers: []identity.Issuer{{ID: devIssuer, Keys: keys}}, Audience: devAudience})
	if err != nil {
		return nil, fmt.Errorf("trusting the dev issuer: %w", err)
	}
	exchange, err := devExchange(ctx, filepath.Join(c.Data, fileTokenKey), tokens)
	if err != nil {
		return nil, err
	}
	if d.store, err = openEmbedded(ctx, c.Data, log); err != nil {
		return nil, err
	}
	configured, err := directory(ctx, d.store, c.Bundle)
	if err == nil {
		d.rollout, err = followRollout(ctx, d.store, configured, log)
	}
	if err == nil {
		d.locks, err = followLocks(ctx, d.store, log)
	}
	if err != nil {
		return nil, errors.Join(err, d.store.close())
	}
	pseudonyms, err := devPseudonyms(filepath.Join(c.Data, fileRedactionKey))
	if err != nil {
		return nil, errors.Join(err, d.store.close())
	}
	d.server, err = server.New(server.Config{
		Pseudonyms: pseudonyms, Vault: d.store,
		Ledger: d.store.ledger, Tickets: d.store, Flush: d.store.flush, Bundle: d.rollout.Bundle, Live: d.rollout.Live, Control: d.locks, Budgets: d.store, Recorded: d.rollout.Recorded, Stages: stage.All, Tokens: tokens,
		Caller: func(*tls.ConnectionState) (decision.Caller, error) {
			return decision.Caller{SPIFFEID: devCaller, Tenant: devTenant}, nil
		},
		Origin: devOrigin, BaseURL: baseURL, Routes: d.routes(),
		Sealer: d.store.sealer(signer, log), Lapses: d.store, Exchange: exchange,
		Now: time.Now, Random: rand.Reader, Log: log,
	})
	if err != nil {
		return nil, errors.Join(err, d.store.close())
	}
	return d, nil
}

// fileRedactionKey is where `writ dev` keeps the key that a server has in
// redaction.key_file.
const fileRedactionKey = "redaction.key"

// devPseudonyms hashes with the key of a file, made where there is none, so that what
// tokens stand for can be told after a restart too.
func devPseudonyms(file string) (*pseudonym.Key, error) {
	_, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		key := make([]byte, pseudonym.MinKey)
		if _, err := rand.Read(key); err != nil {
			return nil, fmt.Errorf("making a key: %w", err)
		}
		if err := writePrivate(file, []byte(base64.StdEncoding.EncodeToString(key)+"\n")); err != nil {
			return nil, err
		}
	}
	return pseudonym.Read(file)
}

// listenLoopback refuses any address that others can reach: development mode
// believes whoever connects.
func listenLoopback(ctx context.Context, address string) (net.Listener, error) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, usageError(fmt.Sprintf("the address %q is not host:port", address))
	}
	if !loopback(address) {
		return nil, usageError(fmt.Sprintf("the address %q is not on loopback", address))
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening: %w (choose another port with --grpc and --http)", err)
	}
	return l, nil
}

// run runs a command beside the server and passes on its exit code.
func (d *dev) run(ctx context.Context, command []string, to streams) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "WRIT_ADDR="+d.grpc, "WRIT_HTTP=http://"+d.http)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, to.out, to.err
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return exitCode(exit.ExitCode())
	case errors.As(err, &exit):
		return exitCode(128 + int(exit.Sys().(syscall.WaitStatus).Signal())) // as a shell says it
	case err != nil:
		return fmt.Errorf("running the command: %w", err)
	}
	return nil
}

// greet prints what to paste.
func (d *dev) greet(to streams, data string) {
	self, bundle := selfCommand(), d.rollout.Live()
	digest := bundle.Tools[toolName(devTool)]
	from := ""
	if version := d.rollout.Status().Version; version > 0 {
		from = fmt.Sprintf(", version %d of the rollout in its store", version)
	}
	fmt.Fprintf(to.out, `Writ decides here, by the bundle %q (%.12s)%s:
  gRPC  %s
  JSON  http://%s
  data  %s

`, bundle.Name, bundle.Digest, from, d.grpc, d.http, data)
	box(to, "DEVELOPMENT MODE, for this machine alone:",
		"no TLS: whoever connects is taken for "+devCaller,
		"anybody here gets a token for any agent from /dev/v1/token",
		"the signing keys lie unencrypted in the data directory",
		"one process, one tenant ("+devTenant+"), embedded SQLite, no witnesses")
	fmt.Fprintf(to.out, "\nAsk, from another terminal:\n\n  %s decide --http http://%s --addr %s --tool %s --args '%s'\n", self, d.http, d.grpc, devTool, devArgs)
	if digest != nil {
		fmt.Fprintf(to.out, "\n  %s\n", d.curl(digest.Digest))
	}
	fmt.Fprintf(to.out, "\nThen read the record:\n\n  %s log list --data %s\n  %s log verify --data %s\n\n", self, data, self, data)
}

func (d *dev) curl(digest string) string {
	base := "http://" + d.http
	body := fmt.Sprintf(`{"subject":{"type":"agent","id":"%s","properties":{"token":"'"$(curl -sX POST %s/dev/v1/token)"'"}},"action":{"name":"tools/call"},`+
		`"resource":{"type":"tool","id":"%s","properties":{"definition_digest":"%s"}},"context":{"purpose":"%s","arguments":%s}}`,
		devAgent, base, devTool, digest, devPurpose, devArgs)
	return fmt.Sprintf("curl -s %s/access/v1/evaluation -H 'Content-Type: application/json' -d '%s'", base, body)
}

// selfCommand is how this program is started again from a shell.
func selfCommand() string {
	self := os.Args[0]
	if strings.Contains(self, "go-build") {
		return "go run ./cmd/writ"
	}
	return self
}

// box frames a warning.
func box(to streams, lines ...string) {
	width := 0
	for _, l := range lines {
		width = max(width, len(l))
	}
	edge := strings.Repeat("─", width+2)
	fmt.Fprintf(to.out, "┌%s┐\n", edge)
	for _, l := range lines {
		fmt.Fprintf(to.out, "│ %-*s │\n", width, l)
	}
	fmt.Fprintf(to.out, "└%s┘\n", edge)
}
