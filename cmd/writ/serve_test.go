package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// migrated is a site whose database has the schema.
func migrated(t testing.TB) *site {
	t.Helper()
	s := newSite(t)
	succeed(t, "migrate", "--database-file", s.path("database"))
	return s
}

// listing is a question that is allowed.
func (s *site) listing(t testing.TB) *writv1.DecideRequest {
	t.Helper()
	id, err := uuid.NewV7()
	must(t, err)
	return &writv1.DecideRequest{
		RequestId: id.String(), Phase: writv1.Phase_PHASE_CALL, PrincipalToken: s.token(t), Purpose: "support",
		Tool: &writv1.Tool{Server: "filesystem", Name: "list_directory",
			DefinitionDigest: s.bundle.Tools[toolName("filesystem/list_directory")].Digest},
		Arguments: []byte(`{"path":"/srv/files/"}`),
	}
}

// client is the TLS configuration of a caller.
func (s *site) client(certificates ...tls.Certificate) *tls.Config {
	return &tls.Config{RootCAs: s.ca.pool(), Certificates: certificates, MinVersion: tls.VersionTLS12}
}

func (p *process) dial(t testing.TB, with credentials.TransportCredentials) writv1.DecisionServiceClient {
	t.Helper()
	conn, err := grpc.NewClient(p.grpc, grpc.WithTransportCredentials(with))
	must(t, err)
	t.Cleanup(func() { must(t, conn.Close()) })
	return writv1.NewDecisionServiceClient(conn)
}

// evaluate asks the JSON face.
func (s *site) evaluate(t testing.TB, p *process, config *tls.Config) (int, string, error) {
	t.Helper()
	in := s.listing(t)
	body := fmt.Sprintf(`{"subject":{"type":"agent","id":"","properties":{"token":%q}},"action":{"name":"tools/call"},
		"resource":{"type":"tool","id":"filesystem/list_directory","properties":{"definition_digest":%q}},
		"context":{"purpose":"support","arguments":%s}}`, in.PrincipalToken, in.Tool.DefinitionDigest, in.Arguments)
	client := http.Client{Transport: &http.Transport{TLSClientConfig: config}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	response, err := client.Post("https://"+p.http+"/access/v1/evaluation", "application/json", strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// verified is what `writ log verify` counts.
type verified struct {
	OK                           bool
	Leaves, Pending, Settlements int64
}

func (s *site) verify(t testing.TB) verified {
	t.Helper()
	var v verified
	must(t, json.Unmarshal([]byte(succeed(t, "log", "verify", "--database-file", s.path("database"), "--key", s.path("log.pub"), "-o", "json")), &v))
	return v
}

// The life of a server: migrate, serve, ask on both faces, lift a denial by a
// ticket, stop, and find it all in the log.
func TestServe(t *testing.T) {
	s := newSite(t)
	database := []string{"--database-file", s.path("database")}
	if code, _, errs := writ(t, "serve", "--config", s.path("writ.yaml")); code != exitFailed || !strings.Contains(errs, "migrate") {
		t.Fatalf("an empty database: exit code %d, %s", code, errs)
	}
	for range 2 { // the second time there is nothing to do
		succeed(t, append([]string{"migrate"}, database...)...)
	}
	p := s.serve(t)
	if code, out := s.decide(t, p, "--tool", "filesystem/list_directory", "--args", `{"path":"/srv/files/"}`); code != exitOK || !strings.Contains(out, "ALLOW") {
		t.Fatalf("exit code %d: %s", code, out)
	}
	status, body, err := s.evaluate(t, p, s.client(s.ca.issue(t, nil, testGateway)))
	if err != nil || status != http.StatusOK || !strings.Contains(body, `"decision":true`) {
		t.Fatalf("over JSON: %d %s %v", status, body, err)
	}
	refund := []string{"--tool", "stripe/create_refund", "--args", `{"payment_intent":"pi_1","amount":9000}`}
	code, out := s.decide(t, p, refund...)
	if code != exitDenied || !strings.Contains(out, "a ticket lifts this") {
		t.Fatalf("exit code %d: %s", code, out)
	}
	digest := regexp.MustCompile(`--arguments-digest ([0-9a-f]{64})`).FindStringSubmatch(out)
	ticket := succeed(t, append([]string{"ticket", "create", "--tenant", "acme", "--principal", testAgent, "--tool", "stripe/create_refund",
		"--arguments-digest", digest[1], "--approver", "finance-lead", "--reason", "Twice."}, database...)...)
	if code, out := s.decide(t, p, append(refund, "--ticket", ticket)...); code != exitOK || !strings.Contains(out, "must notify") {
		t.Fatalf("with a ticket: exit code %d: %s", code, out)
	}
	if code, out := s.decide(t, p, append(refund, "--ticket", ticket)...); code != exitDenied || !strings.Contains(out, "ticket.used") {
		t.Fatalf("with a used ticket: exit code %d: %s", code, out)
	}
	if code := p.stop(t, syscall.SIGTERM); code != exitOK {
		t.Errorf("exit code %d after SIGTERM: %s", code, p.stderr)
	}
	if strings.Contains(p.stderr.String(), "ERROR") {
		t.Errorf("the log has errors: %s", p.stderr)
	}
	// Five decisions, a ticket, and that the bundle came into force.
	if got, want := s.verify(t), (verified{OK: true, Leaves: 7}); got != want {
		t.Errorf("the log: got %+v, want %+v", got, want)
	}
	s.prove(t)
}

// prove takes a record out of the log and checks it with the key alone.
func (s *site) prove(t *testing.T) {
	t.Helper()
	database := []string{"--database-file", s.path("database"), "--tenant", "acme"}
	table := succeed(t, append([]string{"log", "list"}, database...)...)
	rows := strings.Split(table, "\n")[1:]
	if len(rows) != 6 || strings.Count(table, "stripe/create_refund") != 4 {
		t.Fatalf("the log lists %s", table)
	}
	id := strings.Fields(rows[0])[1]
	if out := succeed(t, append([]string{"log", "show", id}, database...)...); !strings.Contains(out, testGateway) {
		t.Errorf("the record is %s", out)
	}
	record, proof := s.path("record"), s.path("proof")
	succeed(t, append([]string{"log", "prove", id, "--key", s.path("log.pub"), "--record", record, "--proof", proof}, database...)...)
	if out := succeed(t, "log", "check", "--key", s.path("log.pub"), record, proof); !strings.Contains(out, "of a log of 7") {
		t.Errorf("got %s", out)
	}
	// Another tenant has no such record.
	if code, _, errs := writ(t, "log", "show", id, "--database-file", s.path("database"), "--tenant", "other"); code != exitFailed || !strings.Contains(errs, "has no record") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}

// Who does not prove to be a known caller gets no further than that.
func TestServeCallers(t *testing.T) {
	s := migrated(t)
	p := s.serve(t)
	other := newAuthority(t)
	good := s.ca.issue(t, nil, testGateway)
	none := codes.Code(0) // refused in the handshake
	for _, c := range []struct {
		name   string
		config *tls.Config
		code   codes.Code
	}{
		{"no certificate", s.client(), none},
		{"another authority", s.client(other.issue(t, nil, testGateway)), none},
		{"expired", s.client(s.ca.issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, testGateway)), none},
		{"not valid yet", s.client(s.ca.issue(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, testGateway)), none},
		{"for servers alone", s.client(s.ca.issue(t, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}, testGateway)), none},
		{"TLS 1.2", &tls.Config{RootCAs: s.ca.pool(), Certificates: []tls.Certificate{good}, MaxVersion: tls.VersionTLS12}, none},
		{"not under callers", s.client(s.ca.issue(t, nil, "spiffe://example.org/other")), codes.Unauthenticated},
		{"half a segment", s.client(s.ca.issue(t, nil, "spiffe://example.org/gateway2/a")), codes.Unauthenticated},
		{"the prefix itself", s.client(s.ca.issue(t, nil, "spiffe://example.org/gateway")), codes.Unauthenticated},
		{"another trust domain", s.client(s.ca.issue(t, nil, "spiffe://example.com/gateway/a")), none},
		{"no SPIFFE ID", s.client(s.ca.issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"gateway.example.org"} })), none},
		{"two SPIFFE IDs", s.client(s.ca.issue(t, nil, testGateway, "spiffe://example.org/gateway/b")), none},
		{"another scheme", s.client(s.ca.issue(t, nil, "https://example.org/gateway/a")), none},
		{"an authority", s.client(s.ca.issue(t, func(c *x509.Certificate) {
			c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		}, testGateway)), none},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer, err := p.dial(t, credentials.NewTLS(c.config.Clone())).Decide(t.Context(), s.listing(t))
			want := c.code
			if want == none {
				want = codes.Unavailable
			}
			if status.Code(err) != want {
				t.Errorf("over gRPC: got %v, %v, want %s", answer, err, want)
			}
			code, body, err := s.evaluate(t, p, c.config)
			if c.code == none && err == nil {
				t.Errorf("over JSON: got %d %s, want no connection", code, body)
			}
			if c.code != none && (code != http.StatusUnauthorized || !strings.Contains(body, "CALLER_UNKNOWN")) {
				t.Errorf("over JSON: got %d %s %v", code, body, err)
			}
		})
	}
	if _, err := p.dial(t, insecure.NewCredentials()).Decide(t.Context(), s.listing(t)); status.Code(err) != codes.Unavailable {
		t.Errorf("in the plain: %v", err)
	}
	if _, err := p.dial(t, credentials.NewTLS(s.client(good))).Decide(t.Context(), s.listing(t)); err != nil {
		t.Errorf("a good caller afterwards: %v", err)
	}
	if got := s.verify(t); got.Leaves+got.Pending != 2 { // with that of the bundle
		t.Errorf("the log: %+v", got)
	}
}

// Killed between commit and answer or at any other moment, what was answered is
// there, and a retry through another replica finds it.
func TestServeKilled(t *testing.T) {
	s := migrated(t)
	first, second := s.serve(t), s.serve(t)
	good := credentials.NewTLS(s.client(s.ca.issue(t, nil, testGateway)))
	a, b := first.dial(t, good), second.dial(t, good)
	var mu sync.Mutex // guards answered
	answered := map[string]*writv1.DecideRequest{}
	var group sync.WaitGroup
	enough := make(chan struct{})
	for range 4 {
		group.Go(func() {
			for {
				in := s.listing(t)
				answer, err := a.Decide(t.Context(), in)
				if err != nil {
					return // killed
				}
				mu.Lock()
				answered[answer.DecisionId] = in
				if len(answered) == 50 {
					close(enough)
				}
				mu.Unlock()
			}
		})
	}
	ended := make(chan struct{})
	go func() { group.Wait(); close(ended) }()
	select {
	case <-enough:
	case <-ended:
		t.Fatalf("only %d were answered: %s", len(answered), first.stderr)
	}
	// The log of a running server verifies at any moment.
	if got := s.verify(t); !got.OK {
		t.Errorf("while it runs: %+v", got)
	}
	if code := first.stop(t, os.Kill); code != -1 {
		t.Errorf("exit code %d", code)
	}
	<-ended
	for id, in := range answered {
		retry := proto.CloneOf(in)
		retry.PrincipalToken = s.token(t)
		again, err := b.Decide(t.Context(), retry)
		must(t, err)
		if !again.Replayed || again.DecisionId != id {
			t.Fatalf("asked again: %v, want %s again", again, id)
		}
	}
	if code := second.stop(t, syscall.SIGTERM); code != exitOK {
		t.Errorf("exit code %d: %s", code, second.stderr)
	}
	if got := s.verify(t); !got.OK || got.Pending != 0 || got.Leaves < int64(len(answered)) {
		t.Errorf("%d were answered, the log: %+v", len(answered), got)
	}
}
