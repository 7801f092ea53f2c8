// Package writtest runs a real Writ in the process of a test: the whole path of
// a decision on real listeners, with an embedded store in a temporary directory
// and a policy bundle of the test's choice. Nothing of it is a fake but the
// issuer of tokens and who the caller is taken for.
package writtest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"
	"golang.org/x/mod/sumdb/note"

	writ "github.com/writpdp/writ/clients/go"
	"github.com/writpdp/writ/policies"
	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/decision/stage"
	"github.com/writpdp/writ/server/identity"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/respond"
	"github.com/writpdp/writ/server/ticket"
	"github.com/writpdp/writ/store/sqlite"
)

// What every PDP of this package believes.
const (
	Tenant   = "acme"
	Caller   = "spiffe://example.org/gateway"
	Issuer   = "https://issuer.example.org"
	Audience = "writ"
	Origin   = "writtest.example.org/log"
)

// Store is what a PDP keeps its facts and its log in.
type Store interface {
	server.Ledger
	View(ctx context.Context, f func(audit.Reader) error) error
	server.Tickets
	Seal(ctx context.Context, max int, extend audit.Extend) (int, error)
	Control(ctx context.Context, version int64) (audit.Row, error)
	Shares(ctx context.Context, tenant, budget string, start int64, from string, limit int) ([]audit.Use, error)
}

// Config says what to run. The zero value runs the sample bundle.
type Config struct {
	// Bundle is the policy bundle, for example os.DirFS("policies"); nil: the
	// sample bundle.
	Bundle fs.FS
	// Now is the PDP's clock; nil: the real one. With a clock of the test's own, the
	// PDP learns of locks and changed budgets by Lock, Adjust and Look alone.
	Now func() time.Time
	// Tenant is the tenant that the caller works for, asked at each call; nil:
	// always the constant of that name.
	Tenant func() string
	// Caller is the SPIFFE ID that the caller is taken for, asked at each call; nil:
	// always the constant of that name.
	Caller func() string
	// Store keeps facts and log; nil: an embedded one in a temporary directory.
	Store Store
}

// PDP is a running Writ. It stops when the test ends.
type PDP struct {
	// Addr is the gRPC address and BaseURL that of the JSON face.
	Addr, BaseURL string
	// Bundle is the policy bundle in force.
	Bundle *decision.Bundle
	// Store is where facts and log are.
	Store Store

	minter *identity.Minter
	signer *audit.Signer
	locks  *respond.Follower
	key    note.Verifier
	now    func() time.Time
}

// Start runs a PDP for the length of a test.
func Start(t testing.TB, c Config) *PDP {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("starting Writ: %v", err)
		}
	}
	p := &PDP{Store: c.Store, now: c.Now}
	if p.now == nil {
		p.now = time.Now
	}
	if c.Tenant == nil {
		c.Tenant = func() string { return Tenant }
	}
	if c.Caller == nil {
		c.Caller = func() string { return Caller }
	}
	if c.Bundle == nil {
		c.Bundle = policies.Files
	}
	var err error
	p.Bundle, err = policy.Load(c.Bundle)
	must(err)
	if p.Store == nil {
		store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "writ.db"))
		must(err)
		t.Cleanup(func() { must(store.Close()) })
		p.Store = store
	}
	tokens, err := p.trust()
	must(err)
	must(p.newLogKey())
	p.locks, err = respond.Follow(t.Context(), respond.Config{Store: p.Store, Now: p.now, Report: func(decision.Control, error) {}})
	must(err)
	grpcListener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	httpListener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	p.Addr, p.BaseURL = grpcListener.Addr().String(), "http://"+httpListener.Addr().String()
	s, err := server.New(server.Config{
		Ledger: p.Store, Bundle: func(*decision.Request) *decision.Bundle { return p.Bundle }, Live: func() *decision.Bundle { return p.Bundle }, Control: p.locks, Budgets: p.Store, Tickets: p.Store, Stages: stage.All, Tokens: tokens,
		Caller: func(*tls.ConnectionState) (decision.Caller, error) {
			return decision.Caller{SPIFFEID: c.Caller(), Tenant: c.Tenant()}, nil
		},
		Origin: Origin, BaseURL: p.BaseURL, Now: p.now, Random: rand.Reader, Log: slog.New(slog.DiscardHandler),
	})
	must(err)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, grpcListener, httpListener) }()
	if c.Now == nil {
		go p.locks.Run(ctx)
	}
	t.Cleanup(func() {
		stop()
		must(<-served)
	})
	return p
}

// trust makes the issuer of tokens and who believes it.
func (p *PDP) trust() (*identity.Verifier, error) {
	var err error
	if p.minter, err = identity.NewMinter(rand.Reader); err != nil {
		return nil, err
	}
	keys, err := identity.ReadKeys(p.minter.JWKS())
	if err != nil {
		return nil, err
	}
	return identity.NewVerifier(identity.Config{
		Issuers: []identity.Issuer{{ID: Issuer, Keys: keys}}, Audience: Audience})
}

func (p *PDP) newLogKey() error {
	private, public, err := audit.GenerateKey(rand.Reader, Origin)
	if err != nil {
		return err
	}
	if p.key, err = note.NewVerifier(public); err != nil {
		return err
	}
	p.signer, err = audit.NewSigner(Origin, private)
	return err
}

// Agent is who a token speaks for.
type Agent struct {
	// Subject is the agent's id.
	Subject string
	// OnBehalfOf is the human; empty: none.
	OnBehalfOf string
	// Purposes are what the token carries.
	Purposes []string
	// Tools are the only tools that it is for; empty: any.
	Tools []string
}

// Token mints a fresh token.
func (p *PDP) Token(a Agent) (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", err
	}
	return p.minter.Mint(identity.Claims{Issuer: Issuer, Audience: Audience, Subject: a.Subject,
		OnBehalfOf: a.OnBehalfOf, Purposes: a.Purposes, Tools: a.Tools, Lifetime: 5 * time.Minute}, p.now(), id.String())
}

// Client is an enforcement point that acts for an agent. Handlers may be zero.
func (p *PDP) Client(t testing.TB, a Agent, handlers writ.Handlers) *writ.Client {
	t.Helper()
	c, err := writ.New(writ.Config{Addr: p.Addr, Handlers: handlers,
		Token: func(context.Context) (string, error) { return p.Token(a) }})
	if err != nil {
		t.Fatalf("making a client: %v", err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("closing a client: %v", err)
		}
	})
	return c
}

// Lock puts a kill switch into force.
func (p *PDP) Lock(t testing.TB, l decision.Lock) {
	t.Helper()
	id, err := uuid.NewV7()
	if err == nil {
		_, err = respond.Set(t.Context(), p.Store, l, audit.By{Actor: "a test", Reason: "To test.", At: p.now(), ID: id})
	}
	if err != nil {
		t.Fatalf("setting a lock: %v", err)
	}
	p.Look(t)
}

// Adjust changes a budget.
func (p *PDP) Adjust(t testing.TB, a decision.Adjustment) {
	t.Helper()
	id, err := uuid.NewV7()
	if err == nil {
		_, err = respond.Adjust(t.Context(), p.Store, a, audit.By{Actor: "a test", Reason: "To test.", At: p.now(), ID: id}, nil)
	}
	if err != nil {
		t.Fatalf("changing a budget: %v", err)
	}
	p.Look(t)
}

// Look learns what others have changed of locks and budgets, at once.
func (p *PDP) Look(t testing.TB) {
	t.Helper()
	if err := p.locks.Look(t.Context()); err != nil {
		t.Fatalf("looking at the locks: %v", err)
	}
}

// AddTicket makes a change ticket, in the state that it says; without one it is
// approved. It returns how many records that took.
func (p *PDP) AddTicket(t testing.TB, made decision.Ticket) int64 {
	t.Helper()
	return p.AddTicketOf(t, Tenant, made)
}

// AddTicketOf is AddTicket for a tenant.
func (p *PDP) AddTicketOf(t testing.TB, tenant string, made decision.Ticket) int64 {
	t.Helper()
	by := func() ticket.By {
		id, err := uuid.NewV7()
		if err != nil {
			t.Fatalf("adding a ticket: %v", err)
		}
		return ticket.By{Caller: decision.Caller{Tenant: tenant}, Actor: "a test", Reason: "To test.", Source: "test",
			Key: id.String(), At: p.now(), ID: id}
	}
	first := by()
	if made.NotBefore.Before(first.At) && !made.NotBefore.IsZero() {
		first.At = made.NotBefore // it may have ended since
	}
	if len(made.Approvers) == 0 {
		made.Approvers = []string{"an approver"}
	}
	make, then := ticket.Create, ticket.Revoke
	switch made.State {
	case decision.TicketRequested, decision.TicketRejected:
		make, then = ticket.Request, ticket.Reject
	}
	_, err := make(t.Context(), p.Store, made, first)
	records := int64(1)
	if err == nil && (made.State == decision.TicketRevoked || made.State == decision.TicketRejected) {
		_, err = then(t.Context(), p.Store, made.ID, by())
		records++
	}
	if err != nil {
		t.Fatalf("adding a ticket: %v", err)
	}
	return records
}

// Verify seals what was recorded and verifies the whole log; it returns the
// number of records.
func (p *PDP) Verify(t testing.TB) int64 {
	t.Helper()
	for {
		n, err := p.Store.Seal(t.Context(), 4096, p.signer.Extend)
		if err != nil {
			t.Fatalf("sealing the log: %v", err)
		}
		if n == 0 {
			break
		}
	}
	var report audit.Report
	err := p.Store.View(t.Context(), func(r audit.Reader) (err error) {
		report, err = audit.Verify(t.Context(), r, []note.Verifier{p.key}, audit.Options{Origin: Origin, At: p.now()})
		return err
	})
	if err != nil {
		t.Fatalf("verifying the log: %v", err)
	}
	if report.Problem != nil {
		t.Fatalf("the log does not verify: %v", report.Problem)
	}
	return report.Leaves
}
