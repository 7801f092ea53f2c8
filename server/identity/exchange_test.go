package identity

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/writpdp/writ/server/decision"
)

// tokenKey signs as a signer.Key does.
type tokenKey struct{ crypto.Signer }

func (k tokenKey) Sign(_ context.Context, message []byte) ([]byte, error) {
	public, err := publicOf(k.Public())
	if err != nil {
		return nil, err
	}
	hash := map[string]crypto.Hash{"EdDSA": 0, "ES256": crypto.SHA256, "ES384": crypto.SHA384, "RS256": crypto.SHA256}[public.algorithm]
	if hash != 0 {
		h := hash.New()
		h.Write(message)
		message = h.Sum(nil)
	}
	return k.Signer.Sign(rand.Reader, message, hash)
}

func newTestMint(t testing.TB, algorithm string, others ...crypto.PublicKey) *Mint {
	t.Helper()
	signers, _ := testKeys()
	m, err := NewMint(testIssuer, tokenKey{signers[algorithm].private.(crypto.Signer)}, others...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// verifierOf takes the tokens of a mint for an audience.
func verifierOf(t rapidT, m *Mint, audience string) *Verifier {
	v, err := NewVerifier(Config{Issuers: []Issuer{m.Issuer()}, Audience: audience})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

type rapidT interface{ Fatal(...any) }

// some draws a few of a small set of names, so that lists often overlap.
func some(t *rapid.T, label string, least int, names ...string) []string {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(names), least, len(names), rapid.ID[string]).Draw(t, label)
}

func drawParent(t *rapid.T) Parent {
	from := now.Add(time.Duration(rapid.Int64Range(-600_000_000, 5_000_000).Draw(t, "from")) * time.Microsecond)
	p := Parent{
		Subject:    rapid.SampledFrom([]string{"agent-a", "agent-b"}).Draw(t, "subject"),
		OnBehalfOf: rapid.SampledFrom([]string{"", "ann", "bob"}).Draw(t, "human"),
		Actors:     rapid.SliceOfN(rapid.SampledFrom([]string{"agent-a", "agent-b", "agent-c"}), 0, MaxDelegation).Draw(t, "actors"),
		Purposes:   some(t, "purposes", 1, "p1", "p2", "p3"),
		Tools:      some(t, "tools", 0, "s/a", "s/b", "z/c"),
		Audience:   some(t, "audience", 1, "pdp", "tool", "other"),
		NotBefore:  from,
		Expires:    from.Add(time.Duration(rapid.Int64Range(1, 600_000_000).Draw(t, "lifetime")) * time.Microsecond),
	}
	if rapid.IntRange(0, 9).Draw(t, "root") == 0 {
		p.NotBefore, p.Expires = time.Time{}, time.Time{}
	}
	return p
}

func drawAsk(t *rapid.T) Ask {
	return Ask{
		Actor:      rapid.SampledFrom([]string{"agent-a", "agent-b", "agent-c", "agent-d"}).Draw(t, "actor"),
		OnBehalfOf: rapid.SampledFrom([]string{"", "", "ann", "bob"}).Draw(t, "asked human"),
		Purposes:   some(t, "asked purposes", 0, "p1", "p2", "p3"),
		Tools:      some(t, "asked tools", 0, "s/a", "s/b", "z/c"),
		Audience:   some(t, "asked audience", 0, "pdp", "tool", "other"),
		Lifetime:   rapid.SampledFrom([]time.Duration{0, 0, 0, time.Second, 30 * time.Second, 5 * time.Minute, 10 * time.Minute, time.Hour}).Draw(t, "asked lifetime"),
	}
}

// Whatever is exchanged for whatever: the token that comes of it is one that the
// PDP accepts and that allows nothing that its parent does not; or there is a
// reason that names what would have been wider, and it would have been.
func TestNarrowNeverWidens(t *testing.T) {
	m := newTestMint(t, "EdDSA")
	rapid.Check(t, func(t *rapid.T) {
		p, a := drawParent(t), drawAsk(t)
		limits := Limits{MaxLifetime: rapid.SampledFrom([]time.Duration{time.Minute, MaxLifetime, time.Hour}).Draw(t, "most"),
			MaxDepth: rapid.IntRange(0, MaxDelegation+2).Draw(t, "depth")}
		at := now.Add(time.Duration(rapid.Int64Range(0, 999_999).Draw(t, "at")) * time.Microsecond)
		g, err := Narrow(p, a, limits, at)
		if err != nil {
			refused(t, p, a, limits, at, err)
			return
		}
		audience := rapid.SampledFrom(g.Audience).Draw(t, "audience that verifies")
		token, err := m.Token(context.Background(), g, "id.0")
		if err != nil {
			t.Fatalf("signing %+v: %v", g, err)
		}
		// At every moment at which the child is accepted without leeway the parent is.
		for _, when := range []time.Time{maxTime(at, g.NotBefore), g.Expires.Add(-time.Microsecond)} {
			child, principal, err := verifierOf(t, m, audience).Parent(token, when)
			if err != nil {
				t.Fatalf("the token of %+v is not accepted at %s: %v", g, when, err)
			}
			narrower(t, p, a, limits, child)
			if principal.Token != m.Digest("id.0") {
				t.Fatal("the token has another digest than was said")
			}
		}
	})
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func subset(small, large []string) bool {
	return !slices.ContainsFunc(small, func(s string) bool { return !slices.Contains(large, s) })
}

// narrower holds a child to its parent in every respect, written anew.
func narrower(t *rapid.T, p Parent, a Ask, l Limits, c Parent) {
	chain := c.Actors
	if len(chain) != len(p.Actors) && len(chain) > 0 && chain[0] == a.Actor {
		chain = chain[1:]
	}
	switch {
	case c.Subject != p.Subject:
		t.Fatalf("another agent: %+v", c)
	case p.OnBehalfOf != "" && c.OnBehalfOf != p.OnBehalfOf, c.OnBehalfOf != "" && c.OnBehalfOf != p.OnBehalfOf && c.OnBehalfOf != a.OnBehalfOf:
		t.Fatalf("another human: %+v", c)
	case len(c.Purposes) == 0 || !subset(c.Purposes, p.Purposes) || !subset(c.Purposes, a.Purposes):
		t.Fatalf("more purposes: %+v", c)
	case len(p.Tools) > 0 && (len(c.Tools) == 0 || !subset(c.Tools, p.Tools)), len(a.Tools) > 0 && !cmp.Equal(c.Tools, slices.Sorted(slices.Values(a.Tools))):
		t.Fatalf("more tools: %+v", c)
	case len(c.Audience) == 0 || !subset(c.Audience, p.Audience):
		t.Fatalf("more audience: %+v", c)
	case !p.Expires.IsZero() && (c.Expires.After(p.Expires) || c.NotBefore.Before(p.NotBefore)):
		t.Fatalf("valid when the parent is not: %+v", c)
	case c.Expires.Sub(c.NotBefore) > min(MaxLifetime, l.MaxLifetime):
		t.Fatalf("valid for too long: %+v", c)
	case !slices.Equal(chain, p.Actors) || len(c.Actors) > min(l.MaxDepth, MaxDelegation):
		t.Fatalf("another chain: %v of %v", c.Actors, p.Actors)
	case holder(c) != a.Actor:
		t.Fatalf("the actor %s does not hold it: %+v", a.Actor, c)
	}
}

func holder(p Parent) string {
	if len(p.Actors) > 0 {
		return p.Actors[0]
	}
	return p.Subject
}

// refused holds a refusal to what is wider.
func refused(t *rapid.T, p Parent, a Ask, l Limits, at time.Time, err error) {
	refusal, ok := errors.AsType[*Refusal](err)
	if !ok || len(refusal.Reasons) == 0 {
		t.Fatalf("error %v", err)
	}
	var got []string
	for _, r := range refusal.Reasons {
		if r.Text == "" || r.Lift == "" || len(r.Text) > 2048 {
			t.Fatalf("the reason is %+v", r)
		}
		if !slices.Contains(got, r.Code) {
			got = append(got, r.Code)
		}
	}
	depth := len(p.Actors)
	if holder(p) != a.Actor {
		depth++
	}
	rest := min(MaxLifetime, l.MaxLifetime)
	if !p.Expires.IsZero() {
		rest = min(rest, p.Expires.Truncate(time.Second).Sub(at.Truncate(time.Second)))
	}
	wait := p.NotBefore.Sub(at.Truncate(time.Second))
	var want []string
	for code, wide := range map[string]bool{
		"exchange.on_behalf_of": p.OnBehalfOf != "" && a.OnBehalfOf != "" && p.OnBehalfOf != a.OnBehalfOf,
		"exchange.depth":        depth > min(l.MaxDepth, MaxDelegation),
		"exchange.purposes":     len(a.Purposes) == 0 || !subset(a.Purposes, p.Purposes),
		"exchange.audience":     !subset(a.Audience, p.Audience),
		"exchange.tools":        len(p.Tools) > 0 && !subset(a.Tools, p.Tools),
		"exchange.lifetime":     a.Lifetime > rest || rest <= 0 || !p.NotBefore.IsZero() && wait > 0 && (a.Lifetime == 0 && rest <= wait.Truncate(time.Second)+tick(wait) || a.Lifetime > 0 && a.Lifetime <= wait.Truncate(time.Second)+tick(wait)),
	} {
		if wide {
			want = append(want, code)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("reasons (-want +got):\n%s", diff)
	}
}

// tick is the second that a wait of no whole seconds is rounded up by.
func tick(wait time.Duration) time.Duration {
	if wait%time.Second == 0 {
		return 0
	}
	return time.Second
}

// A grant for nobody's token is as narrow as it is said.
func TestNarrowOfAGrant(t *testing.T) {
	g, err := Narrow(Parent{Subject: "agent", Purposes: []string{"p1", "p2"}, Audience: []string{"pdp"}},
		Ask{Actor: "agent", OnBehalfOf: "ann", Purposes: []string{"p2"}, Tools: []string{"s/b", "s/a"}}, Limits{MaxLifetime: time.Minute, MaxDepth: 1}, now.Add(500*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	want := Grant{Subject: "agent", OnBehalfOf: "ann", Purposes: []string{"p2"}, Tools: []string{"s/a", "s/b"}, Audience: []string{"pdp"},
		Issued: now.UTC(), NotBefore: now.UTC(), Expires: now.Add(time.Minute).UTC()}
	if diff := cmp.Diff(want, g); diff != "" {
		t.Error(diff)
	}
	if _, err := Narrow(Parent{}, Ask{Actor: "x", Purposes: []string{"p"}}, Limits{MaxLifetime: time.Minute, MaxDepth: 8}, now); err == nil {
		t.Error("something was given for nothing")
	}
}

// Tokens are accepted whatever key signs them, and are what records say they are.
func TestMintTokens(t *testing.T) {
	signers, _ := testKeys()
	for _, algorithm := range []string{"EdDSA", "ES256", "ES384", "RS256"} {
		t.Run(algorithm, func(t *testing.T) {
			m := newTestMint(t, algorithm)
			g := Grant{Subject: "agent", OnBehalfOf: "ann", Actors: []string{"b", "c"}, Purposes: []string{"p"}, Tools: []string{"s/a"}, Audience: []string{"pdp", "tool"},
				Issued: now, NotBefore: now, Expires: now.Add(time.Minute)}
			for range 20 { // ECDSA signatures have halves of different lengths
				token, err := m.Token(t.Context(), g, "id")
				if err != nil {
					t.Fatal(err)
				}
				got, err := verifierOf(t, m, "pdp").Verify(Presented{Token: token}, now)
				if err != nil {
					t.Fatal(err)
				}
				want := decision.Principal{Subject: "agent", Issuer: testIssuer, OnBehalfOf: "ann", Actors: []string{"b", "c"}, Purposes: []string{"p"},
					Tools: []string{"s/a"}, Token: m.Digest("id"), Expires: now.Add(65 * time.Second)}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatal(diff)
				}
			}
		})
	}
	// The key before and the one after are published and trusted, and do not sign.
	before, after := signers["ES256"].private.(crypto.Signer).Public(), signers["RS256"].private.(crypto.Signer).Public()
	m := newTestMint(t, "EdDSA", before, after)
	old := newTestMint(t, "ES256")
	token, err := old.Token(t.Context(), Grant{Subject: "a", Purposes: []string{"p"}, Audience: []string{"pdp"}, Issued: now, NotBefore: now, Expires: now.Add(time.Minute)}, "id")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verifierOf(t, m, "pdp").Verify(Presented{Token: token}, now); err != nil {
		t.Errorf("a token of the key before: %v", err)
	}
	if _, err := verifierOf(t, newTestMint(t, "EdDSA"), "pdp").Verify(Presented{Token: token}, now); err == nil {
		t.Error("a token of a key that is not published any more is accepted")
	}
	if n := strings.Count(string(m.JWKS()), `"kid"`); n != 3 || strings.Contains(string(m.JWKS()), `"d"`) {
		t.Errorf("the key set is %s", m.JWKS())
	}
}

type brokenKey struct {
	tokenKey
	made []byte
	err  error
}

func (k brokenKey) Sign(context.Context, []byte) ([]byte, error) { return k.made, k.err }

func TestMintRefusesKeys(t *testing.T) {
	signers, _ := testKeys()
	ec := tokenKey{signers["ES256"].private.(crypto.Signer)}
	g := Grant{Subject: "a", Purposes: []string{"p"}, Audience: []string{"pdp"}, Issued: now, NotBefore: now, Expires: now.Add(time.Minute)}
	for name, k := range map[string]brokenKey{
		"that fails":             {ec, nil, errors.New("away")},
		"that answers nothing":   {ec, nil, nil},
		"that answers nonsense":  {ec, []byte("nonsense"), nil},
		"of other halves":        {ec, []byte{0x30, 6, 2, 1, 1, 2, 1, 1}, nil},
		"of halves of zero":      {ec, []byte{0x30, 6, 2, 1, 0, 2, 1, 0}, nil},
		"with something after":   {ec, []byte{0x30, 6, 2, 1, 1, 2, 1, 1, 0}, nil},
		"of another kind of key": {tokenKey{signers["EdDSA"].private.(crypto.Signer)}, make([]byte, 64), nil},
	} {
		m, err := NewMint(testIssuer, k)
		if err != nil {
			t.Fatal(err)
		}
		if token, err := m.Token(t.Context(), g, "id"); err == nil {
			t.Errorf("a key %s: %s", name, token)
		}
	}
	if _, err := NewMint("", ec); err == nil {
		t.Error("no issuer")
	}
	if _, err := NewMint(testIssuer, ec, ec.Public()); err == nil {
		t.Error("the same key twice")
	}
	if _, err := NewMint(testIssuer, ec, "nonsense"); err == nil {
		t.Error("a key that is none")
	}
}

// A token that is bound to a key, or names who may act for it, would be free of
// that after an exchange.
func TestParentIsUnconstrained(t *testing.T) {
	signers, _ := testKeys()
	s := signers["EdDSA"]
	v := newTestVerifier(t)
	for claim, value := range map[string]any{"cnf": map[string]any{"jkt": "x"}, "may_act": map[string]any{"sub": "x"}} {
		claims := goodClaims()
		claims[claim] = value
		_, _, err := v.Parent(s.sign(encode(s.header()), encode(claims)), now)
		if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Problem, claim) {
			t.Errorf("%s: got %v", claim, err)
		}
	}
	if _, _, err := v.Parent(s.good(), now); err != nil {
		t.Errorf("a token without: %v", err)
	}
}
