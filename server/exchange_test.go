package server_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/identity"
)

const (
	ownIssuer   = "https://writ.example.org"
	humanIssuer = "https://login.example.org"
	client      = "client-1"
	jwtType     = "urn:ietf:params:oauth:token-type:jwt"
	accessType  = "urn:ietf:params:oauth:token-type:access_token"
	idType      = "urn:ietf:params:oauth:token-type:id_token"
)

// p256 is a key as signer.Key is one. fail makes it refuse.
type p256 struct {
	*ecdsa.PrivateKey
	mu   *sync.Mutex
	fail *error
}

func newP256(t testing.TB) p256 {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return p256{private, &sync.Mutex{}, new(error)}
}

func (k p256) Public() crypto.PublicKey { return k.PrivateKey.Public() }

func (k p256) Sign(_ context.Context, message []byte) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if *k.fail != nil {
		return nil, *k.fail
	}
	sum := sha256.Sum256(message)
	return k.PrivateKey.Sign(rand.Reader, sum[:], crypto.SHA256)
}

func (k p256) failing(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	*k.fail = err
}

// exchange is a server that exchanges tokens, with what proves agents and humans.
type exchange struct {
	*pdp
	key    p256 // the PDP's
	others *ecdsa.PrivateKey
}

func openExchange(t testing.TB, adjust ...func(*server.Exchange)) *exchange {
	t.Helper()
	e := &exchange{key: newP256(t)}
	var err error
	e.others, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	e.pdp = open(t, func(p *pdp, c *server.Config) {
		mint, err := identity.NewMint(ownIssuer, e.key)
		must(t, err)
		keys, err := identity.ReadKeys(p.minter.JWKS())
		must(t, err)
		verifier, err := identity.NewVerifier(identity.Config{Issuers: []identity.Issuer{{ID: issuer, Keys: keys}, mint.Issuer()}, Audience: audience})
		must(t, err)
		c.Tokens = verifier
		point, err := e.others.PublicKey.Bytes()
		must(t, err)
		b64 := func(b []byte) string { return jwtEncode(b) }
		theirs, err := identity.ReadKeys(fmt.Appendf(nil, `{"keys":[{"kty":"EC","crv":"P-256","kid":"k","x":%q,"y":%q}]}`, b64(point[1:33]), b64(point[33:])))
		must(t, err)
		proofs, err := identity.NewProofs(identity.ProofConfig{Agents: []identity.TrustDomain{{Name: "example.org", Keys: theirs}}, Audience: audience,
			Humans: []identity.HumanIssuer{{ID: humanIssuer, Audience: client, Keys: theirs}}})
		must(t, err)
		c.Exchange = &server.Exchange{Mint: mint, Parents: verifier, Proofs: proofs, Audience: []string{audience},
			Limits: identity.Limits{MaxLifetime: 10 * time.Minute, MaxDepth: 2},
			Grants: func(who, tenant string) (purposes, tools []string) {
				if who == agent && tenant == gateway.Tenant {
					return []string{"support", "research"}, nil
				}
				return nil, nil
			}}
		for _, f := range adjust {
			f(c.Exchange)
		}
	})
	return e
}

func jwtEncode(b []byte) string { return (&jwt.Token{}).EncodeSegment(b) }

func (e *exchange) proof(t testing.TB, claims jwt.MapClaims) string {
	t.Helper()
	claims["iat"] = time.Now().Unix()
	if claims["exp"] == nil {
		claims["exp"] = time.Now().Add(5 * time.Minute).Unix()
	}
	claims["nonce"] = newID(t) // so that each is another
	token := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	token.Header["kid"] = "k"
	signed, err := token.SignedString(e.others)
	must(t, err)
	return signed
}

func (e *exchange) svid(t testing.TB, id string) string {
	t.Helper()
	return e.proof(t, jwt.MapClaims{"sub": id, "aud": audience})
}

func (e *exchange) human(t testing.TB, name string) string {
	t.Helper()
	return e.proof(t, jwt.MapClaims{"iss": humanIssuer, "sub": name, "aud": client})
}

func (e *exchange) parent(t testing.TB, change func(*identity.Claims)) string {
	t.Helper()
	c := claims()
	c.Purposes = []string{"support", "research"}
	if change != nil {
		change(&c)
	}
	return e.mint(t, c, time.Now())
}

func asks(t testing.TB, purposes ...string) *writv1.ExchangeRequest {
	t.Helper()
	return &writv1.ExchangeRequest{RequestId: newID(t), Purposes: purposes}
}

func (e *exchange) actor(t testing.TB, token, kind string, purposes ...string) *writv1.ExchangeRequest {
	t.Helper()
	in := asks(t, purposes...)
	in.ActorToken, in.ActorTokenType = token, kind
	return in
}

// ask exchanges without a certificate.
func (e *exchange) ask(t testing.TB, in *writv1.ExchangeRequest) (*writv1.ExchangeResponse, error) {
	t.Helper()
	return e.Exchange(t.Context(), gateway, time.Time{}, in)
}

func (e *exchange) mustAsk(t testing.TB, in *writv1.ExchangeRequest) *writv1.ExchangeResponse {
	t.Helper()
	out, err := e.ask(t, in)
	must(t, err)
	return out
}

// says is what a token says.
func (e *exchange) says(t testing.TB, token string) jwt.MapClaims {
	t.Helper()
	c := jwt.MapClaims{}
	_, err := jwt.NewParser(jwt.WithValidMethods([]string{"ES256"})).ParseWithClaims(token, c, func(*jwt.Token) (any, error) { return e.key.Public(), nil })
	must(t, err)
	return c
}

// recorded is the exchange of a receipt.
func (e *exchange) recorded(t testing.TB, id string) *audit.ExchangeFacts {
	t.Helper()
	row, err := e.store.Record(t.Context(), gateway.Tenant, uuid.FromStringOrNil(id))
	must(t, err)
	x, err := audit.ExchangeOf(row.Body)
	must(t, err)
	return x
}

// From an agent's JWT-SVID and a human's ID token to a decision, and the auditor
// follows it all.
func TestExchangeToDecision(t *testing.T) {
	e := openExchange(t)
	r := e.serve(t)
	in := e.actor(t, e.svid(t, agent), jwtType, "support")
	in.SubjectToken, in.SubjectTokenType = e.human(t, "ann"), idType
	in.Tools, in.Ttl, in.Count = []string{"filesystem/list_directory"}, durationpb.New(time.Minute), 3
	out, err := writv1.NewTokenServiceClient(r.conn).Exchange(t.Context(), in)
	must(t, err)
	if out.IssuedTokenType != accessType || out.TokenType != "Bearer" || out.ExpiresIn < 55 || out.ExpiresIn > 60 || len(out.FurtherAccessTokens) != 2 {
		t.Errorf("the answer is %v", out)
	}
	tokens := append([]string{out.AccessToken}, out.FurtherAccessTokens...)
	x := e.recorded(t, out.Receipt.RecordId)
	want := &audit.IssuedFacts{Issuer: ownIssuer, Subject: agent, OnBehalfOf: "ann", Purposes: []string{"support"}, Tools: in.Tools, Audience: []string{audience},
		At: x.Issued.At, NotBefore: x.Issued.At, Expires: x.Issued.At.Add(time.Minute), Key: x.Issued.Key, Tokens: x.Issued.Tokens}
	if diff := cmp.Diff(want, x.Issued); diff != "" {
		t.Errorf("the record (-want +got):\n%s", diff)
	}
	for i, token := range tokens {
		got := e.says(t, token)
		if diff := cmp.Diff(jwt.MapClaims{"iss": ownIssuer, "sub": agent, "aud": []any{audience}, "on_behalf_of": "ann", "purposes": []any{"support"},
			"tools": []any{"filesystem/list_directory"}, "jti": audit.JTI(out.Receipt.RecordId, i), "iat": got["iat"], "nbf": got["iat"],
			"exp": got["iat"].(float64) + 60}, got); diff != "" {
			t.Errorf("token %d (-want +got):\n%s", i, diff)
		}
	}
	// Each is accepted once, for its tool alone, and its decision names its digest.
	call := e.listing(t)
	call.PrincipalToken = tokens[1]
	answer, err := r.Decide(t.Context(), call)
	must(t, err)
	if answer.Effect != writv1.Effect_EFFECT_ALLOW {
		t.Errorf("a call with the token: %v", answer)
	}
	row, err := e.store.Record(t.Context(), gateway.Tenant, uuid.FromStringOrNil(answer.DecisionId))
	must(t, err)
	q, err := audit.QuestionOf(row.Body, nil)
	must(t, err)
	if p := q.Request.Principal; p.Token != x.Issued.Tokens[1] || p.OnBehalfOf != "ann" || !slices.Equal(p.Tools, in.Tools) {
		t.Errorf("the decision's principal is %+v", p)
	}
	again := e.listing(t)
	again.PrincipalToken = tokens[1]
	answer, err = r.Decide(t.Context(), again)
	must(t, err)
	if answer.Reasons[0].Code != "token.replayed" {
		t.Errorf("the same token again: %v", answer.Reasons)
	}
	other := e.call(t, "filesystem", "read_text_file", `{"path":"/srv/files/a"}`)
	other.PrincipalToken = tokens[2]
	answer, err = r.Decide(t.Context(), other)
	must(t, err)
	if codes := reasonsOf(answer); !slices.Contains(codes, "purpose.tool_not_carried") {
		t.Errorf("another tool: %v", codes)
	}
	if n := e.verify(t); n != 4 {
		t.Errorf("%d records", n)
	}
}

func reasonsOf(a *writv1.DecideResponse) []string {
	var all []string
	for _, r := range a.Reasons {
		all = append(all, r.Code)
	}
	return all
}

// One token is exchanged once, whoever asks and in whatever order; and a token
// that decided something is not exchanged, nor the other way round.
func TestExchangeUsesUp(t *testing.T) {
	e := openExchange(t)
	token := e.parent(t, nil)
	out := e.mustAsk(t, e.actor(t, token, accessType, "support"))
	_, err := e.ask(t, e.actor(t, token, accessType, "support"))
	f := expect(t, err, codes.PermissionDenied, "EXCHANGE_REFUSED")
	if !strings.HasPrefix(f.Message, "token.replayed: ") {
		t.Errorf("the message is %s", f.Message)
	}
	call := e.listing(t)
	call.PrincipalToken = token
	answer, err := e.Decide(t.Context(), gateway, call)
	must(t, err)
	if answer.Reasons[0].Code != "token.replayed" {
		t.Errorf("a decision by an exchanged token: %v", answer.Reasons)
	}
	call = e.listing(t)
	call.PrincipalToken = out.AccessToken
	_, err = e.Decide(t.Context(), gateway, call)
	must(t, err)
	_, err = e.ask(t, e.actor(t, out.AccessToken, accessType, "support"))
	expect(t, err, codes.PermissionDenied, "EXCHANGE_REFUSED")
	svid, human := e.svid(t, agent), e.human(t, "ann")
	first := e.actor(t, svid, jwtType, "support")
	first.SubjectToken, first.SubjectTokenType = human, idType
	e.mustAsk(t, first)
	_, err = e.ask(t, e.actor(t, svid, jwtType, "support"))
	expect(t, err, codes.PermissionDenied, "EXCHANGE_REFUSED")
	second := e.actor(t, e.svid(t, agent), jwtType, "support")
	second.SubjectToken, second.SubjectTokenType = human, idType
	_, err = e.ask(t, second)
	expect(t, err, codes.PermissionDenied, "EXCHANGE_REFUSED")
	e.verify(t)
}

// Of many exchanges of one token at once exactly one gives something.
func TestExchangeRace(t *testing.T) {
	e := openExchange(t)
	token := e.parent(t, nil)
	const n = 50
	var wait sync.WaitGroup
	issued := make([]bool, n)
	for i := range n {
		in := e.actor(t, token, accessType, "support")
		wait.Go(func() {
			_, err := e.Exchange(t.Context(), gateway, time.Time{}, in)
			issued[i] = err == nil
		})
	}
	wait.Wait()
	count := 0
	for _, ok := range issued {
		if ok {
			count++
		}
	}
	if count != 1 {
		t.Errorf("the token was exchanged %d times", count)
	}
	if got := e.verify(t); got != n {
		t.Errorf("%d records of %d exchanges and refusals", got, n)
	}
}

// A lost answer is asked for again, and is the same tokens: none is minted twice.
func TestExchangeAgain(t *testing.T) {
	e := openExchange(t)
	in := e.actor(t, e.parent(t, nil), accessType, "support")
	in.Count, in.Ttl = 2, durationpb.New(5*time.Minute)
	e.key.failing(errors.New("the KMS is away"))
	_, err := e.ask(t, in)
	expect(t, err, codes.Unavailable, "NOT_SIGNED")
	e.key.failing(nil)
	first := e.mustAsk(t, in)
	again := e.mustAsk(t, in)
	if !first.Replayed || !again.Replayed {
		t.Errorf("the answers are not told as earlier ones: %v", again)
	}
	for i, token := range []string{first.AccessToken, first.FurtherAccessTokens[0]} {
		same := append([]string{again.AccessToken}, again.FurtherAccessTokens...)[i]
		if diff := cmp.Diff(e.says(t, token), e.says(t, same)); diff != "" {
			t.Errorf("token %d (-first +again):\n%s", i, diff)
		}
	}
	// The same id for anything else is refused, and so for anybody else.
	other := proto.CloneOf(in)
	other.Purposes = []string{"research"}
	_, err = e.ask(t, other)
	expect(t, err, codes.AlreadyExists, "REQUEST_ID_REUSED")
	other = proto.CloneOf(in)
	other.ActorToken = e.parent(t, nil)
	_, err = e.ask(t, other)
	expect(t, err, codes.AlreadyExists, "REQUEST_ID_REUSED")
	_, err = e.Exchange(t.Context(), decision.Caller{SPIFFEID: "spiffe://example.org/other", Tenant: gateway.Tenant}, time.Time{}, in)
	expect(t, err, codes.AlreadyExists, "REQUEST_ID_REUSED")
	if n := e.verify(t); n != 1 {
		t.Errorf("%d records", n)
	}
}

// What is refused is recorded, with all reasons, and uses nothing up.
func TestExchangeRefuses(t *testing.T) {
	e := openExchange(t)
	deep := func(c *identity.Claims) { c.Actors = []string{"spiffe://example.org/b", "spiffe://example.org/c"} }
	narrow := func(c *identity.Claims) { c.Tools = []string{"memory/search_nodes"} }
	for name, c := range map[string]struct {
		codes []string
		make  func(*testing.T) *writv1.ExchangeRequest
	}{
		"another purpose": {[]string{"exchange.purposes"}, func(t *testing.T) *writv1.ExchangeRequest {
			return e.actor(t, e.parent(t, nil), accessType, "support", "billing")
		}},
		"another tool": {[]string{"exchange.tools"}, func(t *testing.T) *writv1.ExchangeRequest {
			in := e.actor(t, e.parent(t, narrow), accessType, "support")
			in.Tools = []string{"memory/search_nodes", "memory/delete_entities"}
			return in
		}},
		"another audience": {[]string{"exchange.audience"}, func(t *testing.T) *writv1.ExchangeRequest {
			in := e.actor(t, e.parent(t, nil), accessType, "support")
			in.Audience = []string{audience, "https://else.example.org"}
			return in
		}},
		"too long": {[]string{"exchange.lifetime"}, func(t *testing.T) *writv1.ExchangeRequest {
			in := e.actor(t, e.parent(t, nil), accessType, "support")
			in.Ttl = durationpb.New(6 * time.Minute)
			return in
		}},
		"too deep": {[]string{"exchange.depth"}, func(t *testing.T) *writv1.ExchangeRequest {
			in := e.actor(t, e.svid(t, "spiffe://example.org/d"), jwtType, "support")
			in.SubjectToken, in.SubjectTokenType = e.parent(t, deep), accessType
			return in
		}},
		"another human": {[]string{"exchange.on_behalf_of"}, func(t *testing.T) *writv1.ExchangeRequest {
			in := e.actor(t, e.parent(t, func(c *identity.Claims) { c.OnBehalfOf = "bob" }), accessType, "support")
			in.SubjectToken, in.SubjectTokenType = e.human(t, "ann"), idType
			return in
		}},
		"an agent without a grant": {[]string{"exchange.grant"}, func(t *testing.T) *writv1.ExchangeRequest {
			return e.actor(t, e.svid(t, agent+"-of-another-kind"), jwtType, "support")
		}},
		"more than the grant": {[]string{"exchange.purposes"}, func(t *testing.T) *writv1.ExchangeRequest {
			return e.actor(t, e.svid(t, agent), jwtType, "billing")
		}},
		"more than a token holds": {[]string{"exchange.size"}, func(t *testing.T) *writv1.ExchangeRequest {
			in := e.actor(t, e.parent(t, nil), accessType, "support")
			for i := range 64 {
				in.Tools = append(in.Tools, fmt.Sprintf("%s%02d/%s", strings.Repeat("s", 62), i, strings.Repeat("n", 128)))
			}
			return in
		}},
		"all at once": {[]string{"exchange.purposes", "exchange.audience", "exchange.lifetime"}, func(t *testing.T) *writv1.ExchangeRequest {
			in := e.actor(t, e.svid(t, agent), jwtType, "billing")
			in.Audience, in.Ttl = []string{"x"}, durationpb.New(10*time.Minute)
			return in
		}},
	} {
		t.Run(name, func(t *testing.T) {
			in := c.make(t)
			before := e.books(t)
			_, err := e.ask(t, in)
			f := expect(t, err, codes.PermissionDenied, "EXCHANGE_REFUSED")
			after := e.books(t)
			if after.records != before.records+1 || after.tokens != before.tokens {
				t.Errorf("from %+v to %+v", before, after)
			}
			rows, err := e.store.List(t.Context(), gateway.Tenant, uuid.Nil, 1)
			must(t, err)
			x, err := audit.ExchangeOf(rows[0].Body)
			must(t, err)
			var got []string
			for _, r := range x.Reasons {
				got = append(got, r.Code)
				if !strings.Contains(f.Message, r.Code+": "+r.Text) {
					t.Errorf("the message %q does not say %s", f.Message, r.Code)
				}
			}
			if diff := cmp.Diff(c.codes, got); diff != "" || x.Issued != nil || rows[0].Outcome != decision.Denied {
				t.Errorf("the record (-want +got):\n%s", diff)
			}
			// It is refused again the same way, and recorded once.
			_, err = e.ask(t, in)
			if again := expect(t, err, codes.PermissionDenied, "EXCHANGE_REFUSED"); again.Message != f.Message || e.books(t) != after {
				t.Errorf("again: %s", again.Message)
			}
			// With less, the same tokens give something.
			if name == "another purpose" {
				in.RequestId, in.Purposes = newID(t), []string{"support"}
				e.mustAsk(t, in)
			}
		})
	}
	e.verify(t)
}

// Delegation: who acts is in front of the chain, the agent and the human stay.
func TestExchangeDelegates(t *testing.T) {
	e := openExchange(t)
	in := e.actor(t, e.svid(t, "spiffe://example.org/helper"), jwtType, "research")
	in.SubjectToken, in.SubjectTokenType = e.parent(t, func(c *identity.Claims) { c.OnBehalfOf = "bob" }), accessType
	in.Count = 2
	out := e.mustAsk(t, in)
	got := e.says(t, out.AccessToken)
	if got["sub"] != agent || got["on_behalf_of"] != "bob" || !cmp.Equal(got["act"], any(map[string]any{"sub": "spiffe://example.org/helper"})) {
		t.Errorf("the token says %v", got)
	}
	// The helper narrows its own: the chain stays.
	out = e.mustAsk(t, e.actor(t, out.AccessToken, accessType, "research"))
	if again := e.says(t, out.AccessToken); !cmp.Equal(again["act"], got["act"]) || again["exp"].(float64) > got["exp"].(float64) {
		t.Errorf("narrowed by who holds it: %v", again)
	}
	x := e.recorded(t, out.Receipt.RecordId)
	if x.Proof != audit.ByToken || x.Actor != "spiffe://example.org/helper" || x.Parent == nil || x.Parent.Subject != agent {
		t.Errorf("the record is %+v", x)
	}
	// It delegates on, and there the chain ends.
	next := e.actor(t, e.svid(t, "spiffe://example.org/third"), jwtType, "research")
	next.SubjectToken, next.SubjectTokenType = out.AccessToken, accessType
	out = e.mustAsk(t, next)
	last := e.actor(t, e.svid(t, "spiffe://example.org/fourth"), jwtType, "research")
	last.SubjectToken, last.SubjectTokenType = out.AccessToken, accessType
	_, err := e.ask(t, last)
	if f := expect(t, err, codes.PermissionDenied, "EXCHANGE_REFUSED"); !strings.Contains(f.Message, "exchange.depth") {
		t.Errorf("got %s", f.Message)
	}
	e.verify(t)
}

// An agent that calls by itself is proved by its certificate, and its token does
// not outlive that.
func TestExchangeByCertificate(t *testing.T) {
	e := openExchange(t)
	self := decision.Caller{SPIFFEID: agent, Tenant: gateway.Tenant}
	until := time.Now().Add(90 * time.Second).Truncate(time.Second)
	out, err := e.Exchange(t.Context(), self, until, asks(t, "support"))
	must(t, err)
	if got := e.says(t, out.AccessToken); got["sub"] != agent || got["exp"].(float64) != float64(until.Unix()) {
		t.Errorf("the token says %v", got)
	}
	if x := e.recorded(t, out.Receipt.RecordId); x.Proof != audit.ByX509SVID || x.Actor != agent || len(x.Presented) != 0 {
		t.Errorf("the record is %+v", x)
	}
	// The grant is the tenant's.
	_, err = e.Exchange(t.Context(), decision.Caller{SPIFFEID: agent, Tenant: "bolt"}, until, asks(t, "support"))
	expect(t, err, codes.PermissionDenied, "EXCHANGE_REFUSED")
	// Who is not proved by a certificate is nobody, whatever a configuration says.
	_, err = e.Exchange(t.Context(), self, time.Time{}, asks(t, "support"))
	expect(t, err, codes.InvalidArgument, "FIELD_INVALID")
	_, err = e.Exchange(t.Context(), self, time.Now().Add(-time.Second), asks(t, "support"))
	expect(t, err, codes.PermissionDenied, "EXCHANGE_REFUSED")
}

func TestExchangeChecksFields(t *testing.T) {
	e := openExchange(t)
	token := e.parent(t, nil)
	for name, c := range map[string]struct {
		code   codes.Code
		reason string
		change func(*writv1.ExchangeRequest)
	}{
		"no id":                     {codes.InvalidArgument, "FIELD_INVALID", func(r *writv1.ExchangeRequest) { r.RequestId = "" }},
		"no purpose":                {codes.InvalidArgument, "FIELD_INVALID", func(r *writv1.ExchangeRequest) { r.Purposes = nil }},
		"every purpose":             {codes.InvalidArgument, "FIELD_INVALID", func(r *writv1.ExchangeRequest) { r.Purposes = []string{"*"} }},
		"a purpose twice":           {codes.InvalidArgument, "FIELD_INVALID", func(r *writv1.ExchangeRequest) { r.Purposes = []string{"support", "support"} }},
		"every tool of a server":    {codes.InvalidArgument, "FIELD_INVALID", func(r *writv1.ExchangeRequest) { r.Tools = []string{"memory/*"} }},
		"too many tokens":           {codes.InvalidArgument, "FIELD_INVALID", func(r *writv1.ExchangeRequest) { r.Count = 65 }},
		"longer than ten minutes":   {codes.InvalidArgument, "FIELD_INVALID", func(r *writv1.ExchangeRequest) { r.Ttl = durationpb.New(601 * time.Second) }},
		"no time at all":            {codes.InvalidArgument, "FIELD_INVALID", func(r *writv1.ExchangeRequest) { r.Ttl = &durationpb.Duration{} }},
		"a type without a token":    {codes.InvalidArgument, "FIELD_INVALID", func(r *writv1.ExchangeRequest) { r.SubjectTokenType = idType }},
		"a token without a type":    {codes.InvalidArgument, "FIELD_INVALID", func(r *writv1.ExchangeRequest) { r.SubjectToken = "x" }},
		"an unknown type":           {codes.InvalidArgument, "FIELD_INVALID", func(r *writv1.ExchangeRequest) { r.ActorTokenType = "urn:ietf:params:oauth:token-type:saml2" }},
		"a human's token as actor":  {codes.InvalidArgument, "FIELD_INVALID", func(r *writv1.ExchangeRequest) { r.ActorTokenType = idType }},
		"the same token twice":      {codes.InvalidArgument, "FIELD_INVALID", func(r *writv1.ExchangeRequest) { r.SubjectToken, r.SubjectTokenType = r.ActorToken, accessType }},
		"no actor":                  {codes.InvalidArgument, "FIELD_INVALID", func(r *writv1.ExchangeRequest) { r.ActorToken, r.ActorTokenType = "", "" }},
		"nonsense for a token":      {codes.Unauthenticated, "TOKEN_INVALID", func(r *writv1.ExchangeRequest) { r.ActorToken = "a.b.c" }},
		"a principal token as SVID": {codes.Unauthenticated, "TOKEN_INVALID", func(r *writv1.ExchangeRequest) { r.ActorTokenType = jwtType }},
		"an SVID as principal":      {codes.Unauthenticated, "TOKEN_INVALID", func(r *writv1.ExchangeRequest) { r.ActorToken = e.svid(t, agent) }},
		"an SVID as a human":        {codes.Unauthenticated, "TOKEN_INVALID", func(r *writv1.ExchangeRequest) { r.SubjectToken, r.SubjectTokenType = e.svid(t, agent), idType }},
	} {
		t.Run(name, func(t *testing.T) {
			in := e.actor(t, token, accessType, "support")
			c.change(in)
			_, err := e.ask(t, in)
			expect(t, err, c.code, c.reason)
		})
	}
	if b := e.books(t); b != (books{}) {
		t.Errorf("what is no request changes %+v", b)
	}
}

// The key set is public and says how long it may be kept; without exchanges there
// is none.
func TestExchangeKeySet(t *testing.T) {
	e := openExchange(t)
	r := e.serve(t)
	response, err := http.Get(r.baseURL + "/.well-known/jwks.json")
	must(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	must(t, err)
	var set struct{ Keys []map[string]string }
	must(t, json.Unmarshal(body, &set))
	if h := response.Header; len(set.Keys) != 1 || set.Keys[0]["alg"] != "ES256" || set.Keys[0]["d"] != "" ||
		h.Get("Content-Type") != "application/jwk-set+json" || h.Get("Cache-Control") != "public, max-age=300" {
		t.Errorf("%s %v: %s", response.Status, h, body)
	}
	keys, err := identity.ReadKeys(body)
	must(t, err)
	v, err := identity.NewVerifier(identity.Config{Issuers: []identity.Issuer{{ID: ownIssuer, Keys: keys}}, Audience: audience})
	must(t, err)
	out := e.mustAsk(t, e.actor(t, e.parent(t, nil), accessType, "support"))
	if _, err := v.Verify(identity.Presented{Token: out.AccessToken}, time.Now()); err != nil {
		t.Errorf("the published keys do not verify a token: %v", err)
	}

	off := open(t).serve(t)
	_, err = writv1.NewTokenServiceClient(off.conn).Exchange(t.Context(), e.actor(t, "x", jwtType, "support"))
	expect(t, err, codes.Unimplemented, "")
	none, err := http.Get(off.baseURL + "/.well-known/jwks.json")
	must(t, err)
	defer none.Body.Close()
	if none.StatusCode != http.StatusNotFound {
		t.Errorf("without exchanges there are keys: %s", none.Status)
	}
}

// No token is in the log, in a record or in an error.
func TestExchangeKeepsNoToken(t *testing.T) {
	e := openExchange(t)
	in := e.actor(t, e.svid(t, agent), jwtType, "support")
	in.SubjectToken, in.SubjectTokenType = e.human(t, "ann"), idType
	out := e.mustAsk(t, in)
	in.RequestId = newID(t)
	_, err := e.ask(t, in)
	told := e.log.String() + failureOf(err).Message
	rows, err := e.store.List(t.Context(), gateway.Tenant, uuid.Nil, 10)
	must(t, err)
	for _, row := range rows {
		told += string(row.Body)
	}
	for _, token := range []string{in.ActorToken, in.SubjectToken, out.AccessToken} {
		for _, part := range strings.Split(token, ".") {
			if strings.Contains(told, part) {
				t.Errorf("a part of a token is kept: %s", part)
			}
		}
	}
}
