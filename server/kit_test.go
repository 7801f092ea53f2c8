package server_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/writpdp/writ/policies"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/decision/stage"
	"github.com/writpdp/writ/server/identity"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/store/sqlite"
)

const (
	agent    = "spiffe://example.org/agent/support"
	issuer   = "https://issuer.example.org"
	audience = "writ"
	origin   = "server.example.org/log"
)

var gateway = decision.Caller{SPIFFEID: "spiffe://example.org/gateway", Tenant: "acme"}

// pdp is a server on an embedded store, with what a test needs to ask it and to
// look behind it.
type pdp struct {
	*server.Server
	store  *sqlite.Store
	bundle *decision.Bundle
	log    *output
	locks  away

	minter *identity.Minter
	signer *audit.Signer
	key    note.Verifier
}

// open makes a server that does not listen. adjust changes its configuration.
func open(t testing.TB, adjust ...func(*pdp, *server.Config)) *pdp {
	t.Helper()
	p := &pdp{log: &output{}}
	var err error
	p.bundle, err = policy.Load(policies.Files)
	must(t, err)
	p.minter, err = identity.NewMinter(rand.Reader)
	must(t, err)
	keys, err := identity.ReadKeys(p.minter.JWKS())
	must(t, err)
	tokens, err := identity.NewVerifier(identity.Config{Issuers: []identity.Issuer{{ID: issuer, Keys: keys}}, Audience: audience})
	must(t, err)
	private, public, err := audit.GenerateKey(rand.Reader, origin)
	must(t, err)
	p.key, err = note.NewVerifier(public)
	must(t, err)
	p.signer, err = audit.NewSigner(origin, private)
	must(t, err)
	p.store, err = sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "writ.db"))
	must(t, err)
	t.Cleanup(func() { must(t, p.store.Close()) })
	config := server.Config{
		Ledger: p.store, Budgets: p.store, Tickets: p.store, Vault: p.store, Bundle: func(*decision.Request) *decision.Bundle { return p.bundle }, Live: func() *decision.Bundle { return p.bundle }, Stages: stage.All, Tokens: tokens,
		Caller: func(*tls.ConnectionState) (decision.Caller, error) { return gateway, nil },
		Origin: origin, BaseURL: "http://127.0.0.1:1", Now: time.Now, Random: rand.Reader,
		Log: slog.New(slog.NewTextHandler(p.log, nil)),
	}
	for _, f := range adjust {
		f(p, &config)
	}
	p.Server, err = server.New(config)
	must(t, err)
	return p
}

// running is a server that listens.
type running struct {
	writv1.DecisionServiceClient
	conn    *grpc.ClientConn
	baseURL string
	// stop tells the server to stop and returns what Serve returns. Once.
	stop func() error
}

// serve listens on loopback until the test ends.
func (p *pdp) serve(t testing.TB) *running {
	t.Helper()
	grpcListener, httpListener := listen(t), listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx, grpcListener, httpListener) }()
	conn, err := grpc.NewClient(grpcListener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(64<<20)))
	must(t, err)
	stop := sync.OnceValue(func() error { cancel(); return <-served })
	t.Cleanup(func() {
		must(t, conn.Close())
		must(t, stop())
	})
	return &running{writv1.NewDecisionServiceClient(conn), conn, "http://" + httpListener.Addr().String(), stop}
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	return l
}

// claims are those of a token that everybody accepts.
func claims() identity.Claims {
	return identity.Claims{Issuer: issuer, Audience: audience, Subject: agent, Purposes: []string{"support"}, Lifetime: 5 * time.Minute}
}

func (p *pdp) mint(t testing.TB, c identity.Claims, at time.Time) string {
	t.Helper()
	token, err := p.minter.Mint(c, at, newID(t))
	must(t, err)
	return token
}

func (p *pdp) token(t testing.TB) string {
	t.Helper()
	return p.mint(t, claims(), time.Now())
}

// call is a question about a tool call, with a fresh token and id.
func (p *pdp) call(t testing.TB, server, name, arguments string) *writv1.DecideRequest {
	t.Helper()
	tool := p.bundle.Tools[decision.ToolName{Server: server, Name: name}]
	return &writv1.DecideRequest{
		RequestId: newID(t), Phase: writv1.Phase_PHASE_CALL, PrincipalToken: p.token(t), Purpose: "support",
		Tool:                 &writv1.Tool{Server: server, Name: name, DefinitionDigest: tool.Digest},
		Arguments:            []byte(arguments),
		SupportedObligations: []string{"redact", "route", "filter_tools", "limit_output", "notify", "step_up", "watermark", "pin"},
	}
}

// listing is a call that is allowed and asks for no obligation; reading /etc is
// one that no policy permits.
func (p *pdp) listing(t testing.TB) *writv1.DecideRequest {
	t.Helper()
	return p.call(t, "filesystem", "list_directory", `{"path":"/srv/files/"}`)
}

func (p *pdp) forbidden(t testing.TB) *writv1.DecideRequest {
	t.Helper()
	return p.call(t, "filesystem", "list_directory", `{"path":"/etc"}`)
}

// cap adds a budget that counts every call of one tool.
func (p *pdp) cap(id string, unit decision.Unit, most int64) {
	bundle := *p.bundle
	rule := decision.BudgetRule{ID: id, Unit: unit, Cap: most, Window: decision.Lifetime, Zone: time.UTC,
		Per: []decision.Dimension{decision.ByTenant}, Tools: []decision.ToolPattern{{Server: "filesystem", Name: "list_directory"}}}
	if unit == decision.Micros {
		rule.Currency = "USD"
	}
	bundle.Budgets = append(bundle.Budgets[:len(bundle.Budgets):len(bundle.Budgets)], rule)
	p.bundle = &bundle
}

// books are all that a decision can change.
type books struct{ records, used, tokens, redemptions int64 }

func (p *pdp) books(t testing.TB) books {
	t.Helper()
	var b books
	must(t, p.store.View(context.Background(), func(r audit.Reader) error {
		ctx := context.Background()
		return firstError(
			r.PendingRows(ctx, func(audit.Row) error { b.records++; return nil }),
			r.Leaves(ctx, 0, 1<<60, func(audit.Leaf) error { b.records++; return nil }),
			r.Uses(ctx, func(u audit.Use) error { b.used += u.Used; return nil }),
			r.UsedTokens(ctx, func(audit.UsedToken) error { b.tokens++; return nil }),
			r.Redemptions(ctx, func(audit.Redemption) error { b.redemptions++; return nil }),
		)
	}))
	return b
}

// verify seals what there is, verifies the whole log and returns how many
// records are in it.
func (p *pdp) verify(t testing.TB) int64 {
	t.Helper()
	for {
		n, err := p.store.Seal(t.Context(), 4096, p.signer.Extend)
		must(t, err)
		if n == 0 {
			break
		}
	}
	report, err := audit.Verify(t.Context(), p.store, []note.Verifier{p.key}, audit.Options{Origin: origin, At: time.Now()})
	must(t, err)
	if report.Problem != nil {
		t.Fatalf("the log does not verify: %v", report.Problem)
	}
	return report.Leaves
}

// failure is an error as a caller sees it.
type failure struct {
	Code    codes.Code
	Reason  string
	Message string
}

func failureOf(err error) failure {
	st := status.Convert(err)
	f := failure{Code: st.Code(), Message: st.Message()}
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.Domain == "writ" {
			f.Reason = info.Reason
		}
	}
	return f
}

// expect holds an error to a code and a reason.
func expect(t testing.TB, err error, code codes.Code, reason string) failure {
	t.Helper()
	f := failureOf(err)
	if f.Code != code || f.Reason != reason {
		t.Errorf("got %s %s (%s), want %s %s", f.Code, f.Reason, f.Message, code, reason)
	}
	return f
}

func newID(t testing.TB) string {
	t.Helper()
	id, err := uuid.NewV7()
	must(t, err)
	return id.String()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// output is a log that can be read while it is written.
type output struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
