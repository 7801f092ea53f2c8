package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"
	"github.com/golang-jwt/jwt/v5"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/writpdp/writ/server/identity"
)

// remote is an issuer that serves its keys itself.
type remote struct {
	*httptest.Server
	key ed25519.PrivateKey
}

func newRemote(t *testing.T) *remote {
	t.Helper()
	r := &remote{key: ed25519.NewKeyFromSeed([]byte(strings.Repeat("r", 32)))}
	r.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"r","x":%q}]}`, base64.RawURLEncoding.EncodeToString(r.key.Public().(ed25519.PublicKey)))
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *remote) issue(t *testing.T, issuer string, more jwt.MapClaims) string {
	t.Helper()
	id, err := uuid.NewV7()
	must(t, err)
	at := time.Now().Unix()
	claims := jwt.MapClaims{"iss": issuer, "sub": testAgent, "aud": "writ", "jti": id.String(), "iat": at, "nbf": at, "exp": at + 60, "purposes": []string{"support"}}
	for name, value := range more {
		claims[name] = value
	}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	token.Header["kid"] = "r"
	text, err := token.SignedString(r.key)
	must(t, err)
	return text
}

// codeOf is the rule that a token breaks, as the error tells it; empty: none.
func codeOf(t *testing.T, err error) string {
	t.Helper()
	s := status.Convert(err)
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && s.Code() == codes.Unauthenticated {
			return info.Metadata["code"]
		}
	}
	if err != nil {
		t.Errorf("got %v", err)
	}
	return ""
}

// Issuers by URL and by file, an issuer that is away, tokens for a tool server,
// tokens bound to the connection's certificate, and keys that change while it
// serves.
func TestServeTokens(t *testing.T) {
	s := newSite(t)
	r := newRemote(t)
	s.write(t, "remote.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw})))
	const bound, away = "https://bound.example.org", "https://away.example.org"
	s.write(t, "writ.yaml", strings.NewReplacer("database_file: database", "data_dir: data",
		"  max_lifetime: 5m\n", "  max_lifetime: 20m\n  allow_longer_lifetimes: true\n  server_audiences: { filesystem: https://files.example.org/mcp, stripe: https://stripe.example.org/mcp }\n",
		"      jwks_file: issuer.json\n", "      jwks_file: issuer.json\n    - issuer: "+bound+"\n      jwks_url: "+r.URL+"/keys\n      jwks_ca_file: remote.pem\n      keys_max_age: 10m\n      require_cnf: true\n    - issuer: "+away+"\n      jwks_url: https://127.0.0.1:1/keys\n",
	).Replace(goodConfig))
	p := s.serve(t)
	if log := p.stderr.String(); !strings.Contains(log, "tokens may live longer than they should") || !strings.Contains(log, "keys cannot be fetched") {
		t.Errorf("the log says nothing of long lifetimes, or of the issuer that is away: %s", log)
	}
	mine, other := s.ca.issue(t, nil, testGateway), s.ca.issue(t, nil, testGateway)
	sum := sha256.Sum256(mine.Certificate[0])
	cnf := jwt.MapClaims{"cnf": map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}}
	ask := func(with tls.Certificate, token string) string {
		in := s.listing(t)
		in.PrincipalToken = token
		_, err := p.dial(t, credentials.NewTLS(s.client(with))).Decide(t.Context(), in)
		return codeOf(t, err)
	}
	for _, c := range []struct{ name, token, want string }{
		{"of a file", s.token(t), ""},
		{"of a URL, bound", r.issue(t, bound, cnf), ""},
		{"of a URL, not bound", r.issue(t, bound, nil), "token.cnf_missing"},
		{"of an issuer that is away", r.issue(t, away, nil), "token.keys_stale"},
		{"of another issuer's key", r.issue(t, testIssuer, nil), "token.kid_unknown"},
		{"for the tool's server", r.issue(t, bound, jwt.MapClaims{"aud": "https://files.example.org/mcp", "cnf": cnf["cnf"]}), ""},
		{"for another server", r.issue(t, bound, jwt.MapClaims{"aud": "https://stripe.example.org/mcp", "cnf": cnf["cnf"]}), "token.aud_server"},
		{"for 20 minutes", r.issue(t, bound, jwt.MapClaims{"exp": time.Now().Unix() + 1190, "cnf": cnf["cnf"]}), ""},
		{"for longer", r.issue(t, bound, jwt.MapClaims{"exp": time.Now().Unix() + 1300, "cnf": cnf["cnf"]}), "token.lifetime"},
	} {
		if got := ask(mine, c.token); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	if got := ask(other, r.issue(t, bound, cnf)); got != "token.cnf_certificate" {
		t.Errorf("shown on another connection: got %q", got)
	}
	old := s.token(t)
	fresh, err := identity.NewMinter(strings.NewReader(strings.Repeat("f", 32)))
	must(t, err)
	s.minter = fresh
	s.write(t, "issuer.json", string(fresh.JWKS()))
	for tick := time.NewTicker(50 * time.Millisecond); ask(mine, s.token(t)) != ""; {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("the new key is not taken")
		}
	}
	if got := ask(mine, old); got != "token.kid_unknown" {
		t.Errorf("with the key that is gone: got %q", got)
	}
	if code := p.stop(t, os.Interrupt); code != exitOK {
		t.Errorf("exit code %d: %s", code, p.stderr)
	}
}

// bundles is a Workload API that tells the keys of a trust domain, as a channel
// has them.
type bundles struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	sets chan map[string][]byte
}

func (b *bundles) FetchJWTBundles(_ *workload.JWTBundlesRequest, to grpc.ServerStreamingServer[workload.JWTBundlesResponse]) error {
	for {
		select {
		case <-to.Context().Done():
			return to.Context().Err()
		case set := <-b.sets:
			if err := to.Send(&workload.JWTBundlesResponse{Bundles: set}); err != nil {
				return err
			}
		}
	}
}

// An issuer whose keys are those of a trust domain: tokens are accepted when the
// Workload API has told them, and no more once it tells others.
func TestServeTrustDomain(t *testing.T) {
	s := newSite(t)
	socket := s.path("agent.sock")
	listener, err := net.Listen("unix", socket)
	must(t, err)
	api, told := grpc.NewServer(), &bundles{sets: make(chan map[string][]byte)}
	workload.RegisterSpiffeWorkloadAPIServer(api, told)
	go func() { _ = api.Serve(listener) }()
	t.Cleanup(api.Stop)
	t.Setenv("SPIFFE_ENDPOINT_SOCKET", "unix://"+socket)
	s.write(t, "writ.yaml", strings.NewReplacer("database_file: database", "data_dir: data", "jwks_file: issuer.json", "trust_domain: example.org").Replace(goodConfig))
	p := s.serve(t)
	with := credentials.NewTLS(s.client(s.ca.issue(t, nil, testGateway)))
	client := p.dial(t, with)
	ask := func() string {
		_, err := client.Decide(t.Context(), s.listing(t))
		return codeOf(t, err)
	}
	until := func(want string) {
		t.Helper()
		for tick := time.NewTicker(20 * time.Millisecond); ask() != want; {
			select {
			case <-tick.C:
			case <-t.Context().Done():
				t.Fatalf("it never says %q", want)
			}
		}
	}
	if got := ask(); got != "token.keys_stale" {
		t.Errorf("before the Workload API said anything: got %q", got)
	}
	told.sets <- map[string][]byte{"spiffe://example.org": s.minter.JWKS()}
	until("")
	other, err := identity.NewMinter(strings.NewReader(strings.Repeat("o", 32)))
	must(t, err)
	told.sets <- map[string][]byte{"spiffe://example.org": other.JWKS()}
	until("token.kid_unknown")
	told.sets <- map[string][]byte{"spiffe://other.example.org": s.minter.JWKS()}
	until("token.kid_unknown")
	if code := p.stop(t, os.Interrupt); code != exitOK {
		t.Errorf("exit code %d: %s", code, p.stderr)
	}
}
