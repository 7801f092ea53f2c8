package server_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/identity"
)

// bound is a server whose issuer signs what a test wants.
type bound struct {
	*pdp
	key ed25519.PrivateKey
}

const filesAudience = "https://files.example.org/mcp"

func openBound(t *testing.T, audiences map[string]string) *bound {
	t.Helper()
	b := &bound{key: ed25519.NewKeyFromSeed([]byte(strings.Repeat("k", 32)))}
	b.pdp = open(t, func(p *pdp, c *server.Config) {
		keys, err := identity.ReadKeys([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"` + b64(b.key.Public().(ed25519.PublicKey)) + `"}]}`))
		must(t, err)
		c.Tokens, err = identity.NewVerifier(identity.Config{
			Issuers: []identity.Issuer{{ID: issuer, Keys: keys}}, Audience: audience, Servers: audiences})
		must(t, err)
	})
	return b
}

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

func (b *bound) sign(t *testing.T, header, claims map[string]any) string {
	t.Helper()
	header["alg"] = "EdDSA"
	h, err := json.Marshal(header)
	must(t, err)
	c, err := json.Marshal(claims)
	must(t, err)
	text := b64(h) + "." + b64(c)
	return text + "." + b64(ed25519.Sign(b.key, []byte(text)))
}

// issue makes a token with some claims more.
func (b *bound) issue(t *testing.T, more map[string]any) string {
	t.Helper()
	at := time.Now().Unix()
	claims := map[string]any{"iss": issuer, "sub": agent, "aud": audience, "jti": newID(t), "purposes": []string{"support"},
		"iat": at, "nbf": at, "exp": at + 300}
	for name, value := range more {
		claims[name] = value
	}
	return b.sign(t, map[string]any{"typ": "JWT", "kid": "k"}, claims)
}

// prove makes a proof for a token, by the same key.
func (b *bound) prove(t *testing.T, token, jti string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(token))
	x := b64(b.key.Public().(ed25519.PublicKey))
	return b.sign(t, map[string]any{"typ": "dpop+jwt", "jwk": map[string]any{"kty": "OKP", "crv": "Ed25519", "x": x}},
		map[string]any{"jti": jti, "htm": "POST", "htu": filesAudience, "iat": time.Now().Unix(), "ath": b64(sum[:])})
}

func (b *bound) cnf() map[string]any {
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + b64(b.key.Public().(ed25519.PublicKey)) + `"}`))
	return map[string]any{"jkt": b64(sum[:])}
}

// ruleOf is the code of the rule that a token breaks; empty: the error has none.
func ruleOf(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.Domain == "writ" {
			return info.Metadata["code"]
		}
	}
	return ""
}

// The code of what is wrong with a token is told on every way to ask.
func TestTokenCodes(t *testing.T) {
	p := open(t)
	at := p.serve(t)
	request := p.listing(t)
	request.PrincipalToken = p.mint(t, claims(), time.Now().Add(-time.Hour))
	_, err := at.Decide(t.Context(), request)
	expect(t, err, codes.Unauthenticated, "TOKEN_EXPIRED")
	if got := ruleOf(err); got != "token.expired" {
		t.Errorf("over gRPC: got the code %q", got)
	}
	batch, err := at.DecideBatch(t.Context(), &writv1.DecideBatchRequest{Items: []*writv1.BatchItem{item("a", request)}})
	must(t, err)
	if got := batch.Results[0].GetError(); got.GetReason() != "TOKEN_EXPIRED" || got.GetReasonCode() != "token.expired" {
		t.Errorf("in a batch: got %v", got)
	}
	status, text := at.evaluate(t, evaluationOf(request))
	if status != http.StatusUnauthorized || !strings.Contains(text, `"code":"token.expired"`) {
		t.Errorf("over JSON: %d %s", status, text)
	}
}

// A token for a tool server is good for questions about this server, and for no
// other: what holds it there could ask with it here.
func TestTokenOfAToolServer(t *testing.T) {
	b := openBound(t, map[string]string{"filesystem": filesAudience, "stripe": "https://stripe.example.org/mcp"})
	listing := func(servers ...string) *writv1.DecideRequest {
		r := &writv1.DecideRequest{RequestId: newID(t), Phase: writv1.Phase_PHASE_LIST, Purpose: "support", SupportedObligations: []string{"filter_tools"}}
		for _, s := range servers {
			r.Candidates = append(r.Candidates, &writv1.Tool{Server: s, Name: "a"})
		}
		return r
	}
	prompt := b.listing(t)
	prompt.Phase, prompt.Arguments = writv1.Phase_PHASE_PROMPT, nil
	prompt.Content = &writv1.Content{MediaType: "text/plain", Data: []byte("hello")}
	prompt.Destination = &writv1.Destination{Host: "api.example.com"}
	for _, c := range []struct {
		name    string
		request *writv1.DecideRequest
		code    string // empty: the token is accepted
	}{
		{"a call of its tool", b.listing(t), ""},
		{"a call of another server's", b.call(t, "stripe", "list_customers", `{}`), "token.aud_server"},
		{"a list of its tools", listing("filesystem", "filesystem"), ""},
		{"a list of others too", listing("filesystem", "stripe"), "token.aud_server"},
		{"a list with one of no server that is known", listing("filesystem", "other"), "token.aud_server"},
		{"a prompt that names its tool", prompt, "token.aud_server"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.request.PrincipalToken = b.issue(t, map[string]any{"aud": filesAudience})
			_, err := b.Decide(t.Context(), gateway, c.request)
			if got := ruleOf(err); got != c.code {
				t.Errorf("got the code %q (%v), want %q", got, err, c.code)
			}
		})
	}
}

// A proof is used up with the record, like its token: a question with a fresh
// token and an old proof, or with the old both, gets no permission.
func TestProofReplayed(t *testing.T) {
	b := openBound(t, map[string]string{"filesystem": filesAudience})
	ask := func(token, proof string) (*writv1.DecideResponse, error) {
		request := b.listing(t)
		request.PrincipalToken, request.PrincipalProof = token, proof
		return b.Decide(t.Context(), gateway, request)
	}
	token := b.issue(t, map[string]any{"aud": filesAudience, "cnf": b.cnf()})
	proof := b.prove(t, token, "proof-1")
	request := b.listing(t)
	request.PrincipalToken, request.PrincipalProof = token, proof
	b.decide(t, proto.CloneOf(request), writv1.Effect_EFFECT_ALLOW)
	if got := b.books(t); got.tokens != 2 {
		t.Errorf("%d tokens are used up, want the token and its proof", got.tokens)
	}
	// A retry is the same answer, and spends nothing.
	if again, err := b.Decide(t.Context(), gateway, request); err != nil || !again.Replayed {
		t.Errorf("the retry got %v, %v", again, err)
	}
	answer, err := ask(token, proof)
	must(t, err)
	if answer.Effect != writv1.Effect_EFFECT_DENY || answer.Reasons[0].Code != "token.replayed" {
		t.Errorf("both again: got %s %v", answer.Effect, answer.Reasons)
	}
	// The same jti and key for another token: whoever holds the key made a proof
	// that is none of its own.
	fresh := b.issue(t, map[string]any{"aud": filesAudience, "cnf": b.cnf()})
	_, err = ask(fresh, proof)
	if got := ruleOf(err); got != "proof.ath" {
		t.Errorf("the old proof with another token: got %v", err)
	}
	answer, err = ask(fresh, b.prove(t, fresh, "proof-1"))
	must(t, err)
	if answer.Effect != writv1.Effect_EFFECT_DENY || answer.Reasons[0].Code != "token.replayed" {
		t.Errorf("a proof under a jti that is used up: got %s %v", answer.Effect, answer.Reasons)
	}
	answer, err = ask(fresh, b.prove(t, fresh, "proof-2"))
	must(t, err)
	if answer.Effect != writv1.Effect_EFFECT_ALLOW {
		t.Errorf("a fresh proof: got %s %v", answer.Effect, answer.Reasons)
	}
	if n := b.verify(t); n != 4 {
		t.Errorf("%d records, want 4", n)
	}
}

// The certificate that a token is bound to is that of the connection.
func TestTokenBoundToTheConnection(t *testing.T) {
	b := openBound(t, nil)
	der := []byte("a certificate")
	sum := sha256.Sum256(der)
	for name, c := range map[string]struct {
		caller decision.Caller
		code   string
	}{
		"its own": {decision.Caller{SPIFFEID: gateway.SPIFFEID, Tenant: gateway.Tenant, Certificate: sum}, ""},
		"another": {decision.Caller{SPIFFEID: gateway.SPIFFEID, Tenant: gateway.Tenant, Certificate: [32]byte{1}}, "token.cnf_certificate"},
		"none":    {gateway, "token.cnf_no_certificate"},
	} {
		request := b.listing(t)
		request.PrincipalToken = b.issue(t, map[string]any{"cnf": map[string]any{"x5t#S256": b64(sum[:])}})
		_, err := b.Decide(t.Context(), c.caller, request)
		if got := ruleOf(err); got != c.code {
			t.Errorf("%s: got the code %q (%v), want %q", name, got, err, c.code)
		}
	}
}
