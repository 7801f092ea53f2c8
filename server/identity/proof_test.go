package identity

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	testDomain = "example.org"
	testClient = "client-1"
)

func newTestProofs(t testing.TB) *Proofs {
	t.Helper()
	_, set := testKeys()
	keys, err := ReadKeys([]byte(set))
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewProofs(ProofConfig{Agents: []TrustDomain{{testDomain, keys}}, Audience: testAudience,
		Humans: []HumanIssuer{{ID: testIssuer, Audience: testClient, Prefix: "staff:", Keys: keys}}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A JWT-SVID has neither `iss` nor `jti` nor `nbf`, and no purposes.
func svidClaims() map[string]any {
	return map[string]any{"sub": "spiffe://example.org/planted", "aud": []string{testAudience}, "iat": now.Unix() - 10, "exp": now.Unix() + 290}
}

func idClaims() map[string]any {
	return map[string]any{"iss": testIssuer, "sub": "planted-human", "aud": testClient, "iat": now.Unix() - 10, "exp": now.Unix() + 3590,
		"email": "planted@example.org"}
}

func TestProofs(t *testing.T) {
	p := newTestProofs(t)
	signers, _ := testKeys()
	for alg, s := range signers {
		agent, err := p.Agent(s.sign(encode(s.header()), encode(svidClaims())), now)
		if err != nil || agent.Subject != "spiffe://example.org/planted" || !agent.NotAfter.Equal(now.Add(290*time.Second)) || !agent.Forgotten.Equal(now.Add(295*time.Second)) {
			t.Errorf("%s: %+v, %v", alg, agent, err)
		}
		human, err := p.Human(s.sign(encode(s.header()), encode(idClaims())), now)
		if err != nil || human.Subject != "staff:planted-human" || human.Token == agent.Token {
			t.Errorf("%s: %+v, %v", alg, human, err)
		}
	}
	// The same token is the same, however its signature is written: of ECDSA there
	// are two that verify for each that was made.
	s := signers["ES256"]
	text := encode(svidClaims())
	first, err := p.Agent(s.sign(encode(s.header()), text), now)
	if err != nil {
		t.Fatal(err)
	}
	second, err := p.Agent(s.sign(encode(s.header()), text), now)
	if err != nil || first.Token != second.Token {
		t.Errorf("another signature makes another token: %v", err)
	}
}

func TestProofsRefuse(t *testing.T) {
	p := newTestProofs(t)
	signers, _ := testKeys()
	s := signers["EdDSA"]
	met := map[string]bool{}
	for _, c := range []struct {
		name, says string
		human      bool
		claims     func(map[string]any)
		header     func(map[string]any)
	}{
		{"no SPIFFE ID", `"sub" is not a SPIFFE ID`, false, set("sub", "planted"), nil},
		{"no subject", `"sub" is not a SPIFFE ID`, false, drop("sub"), nil},
		{"of another trust domain", "no trusted trust domain", false, set("sub", "spiffe://planted.org/x"), nil},
		{"for another", "not for this audience", false, set("aud", "planted"), nil},
		{"for nobody", `"aud" is missing`, false, drop("aud"), nil},
		{"for ever", `"exp" is missing`, false, drop("exp"), nil},
		{"since whenever", `"iat" is missing`, false, drop("iat"), nil},
		{"for too long", "more than 1h0m0s", false, set("exp", now.Unix()+3591), nil},
		{"expired", "is expired", false, set("exp", now.Unix()-5), nil},
		{"early", "not valid yet", false, set("nbf", now.Unix()+6), nil},
		{"backwards", `"exp" is not after`, false, set("exp", now.Unix()-11), nil},
		{"a principal token", `the claim "purposes"`, false, set("purposes", []string{"p"}), nil},
		{"a principal token with tools", `the claim "tools"`, false, set("tools", []string{"s/a"}), nil},
		{"somebody else's act", `the claim "act"`, false, set("act", map[string]any{"sub": "x"}), nil},
		{"bound to a key", `the claim "cnf"`, false, set("cnf", map[string]any{"jkt": "x"}), nil},
		{"for somebody to act", `the claim "may_act"`, true, set("may_act", map[string]any{"sub": "x"}), nil},
		{"unsigned", "is not signed", false, nil, set("alg", "none")},
		{"with its own key", `header has "jwk"`, false, nil, set("jwk", map[string]any{})},
		{"of another kind", `"typ" is not`, false, nil, set("typ", "secevent+jwt")},
		{"a human of nobody", "no trusted issuer of humans", true, set("iss", "https://planted.example"), nil},
		{"a human for another client", "not for this audience", true, set("aud", "planted"), nil},
		{"a human for the PDP", "not for this audience", true, set("aud", testAudience), nil},
		{"a human for too long", "more than 2h0m0s", true, set("exp", now.Unix()+2*3600), nil},
		{"a human with purposes", `the claim "purposes"`, true, set("purposes", []string{"p"}), nil},
		{"a human without a name", `"sub" is missing`, true, drop("sub"), nil},
		{"a human with a long name", "with its prefix", true, set("sub", strings.Repeat("x", maxName)), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			claims, header, ask := svidClaims(), s.header(), p.Agent
			if c.human {
				claims, ask = idClaims(), p.Human
			}
			if c.claims != nil {
				c.claims(claims)
			}
			if c.header != nil {
				c.header(header)
			}
			token := s.sign(encode(header), encode(claims))
			got, err := ask(token, now)
			e, ok := errors.AsType[*Error](err)
			if !ok || !strings.Contains(e.Problem, c.says) || got != (Proof{}) || !slices.Contains(Codes, e.Code) {
				t.Fatalf("got %+v, %v, want %q", got, err, c.says)
			}
			met[e.Code] = true
			if err != nil && quotes(err.Error(), token) != "" {
				t.Errorf("the problem quotes the token: %v", err)
			}
		})
	}
	for _, code := range Codes {
		if strings.HasPrefix(code, "identity.") && !met[code] {
			t.Errorf("no case has the code %s", code)
		}
	}
	// What one kind is, the other is not.
	if _, err := p.Human(s.sign(encode(s.header()), encode(svidClaims())), now); err == nil {
		t.Error("a JWT-SVID is taken for a human's")
	}
	if _, err := p.Agent(s.sign(encode(s.header()), encode(idClaims())), now); err == nil {
		t.Error("an ID token is taken for an agent's")
	}
	if _, err := newTestVerifier(t).Verify(Presented{Token: s.sign(encode(s.header()), encode(svidClaims()))}, now); err == nil {
		t.Error("a JWT-SVID is taken for a principal token")
	}
}

func TestNewProofsRefuses(t *testing.T) {
	_, text := testKeys()
	keys, err := ReadKeys([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	agents, human := []TrustDomain{{"example.org", keys}}, HumanIssuer{ID: "i", Audience: "client", Keys: keys}
	for name, c := range map[string]ProofConfig{
		"no audience":           {Agents: agents},
		"leeway too long":       {Audience: "a", Leeway: MaxLeeway + 1},
		"leeway negative":       {Audience: "a", Leeway: -1},
		"no trust domain":       {Audience: "a", Agents: []TrustDomain{{"Not A Name", keys}}},
		"a SPIFFE ID":           {Audience: "a", Agents: []TrustDomain{{"spiffe://example.org", keys}}},
		"a domain without keys": {Audience: "a", Agents: []TrustDomain{{Name: "example.org"}}},
		"a domain twice":        {Audience: "a", Agents: append(agents, agents...)},
		"a human without an id": {Audience: "a", Humans: []HumanIssuer{{Audience: "client", Keys: keys}}},
		"without an audience":   {Audience: "a", Humans: []HumanIssuer{{ID: "i", Keys: keys}}},
		"without keys":          {Audience: "a", Humans: []HumanIssuer{{ID: "i", Audience: "client"}}},
		"a human's for the PDP": {Audience: "client", Humans: []HumanIssuer{human}},
		"an issuer there twice": {Audience: "a", Humans: []HumanIssuer{human, human}},
	} {
		if _, err := NewProofs(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// Two issuers of humans must not be able to name each other's.
	for prefixes, want := range map[[2]string]bool{{"", ""}: false, {"a:", ""}: false, {"a", "ab"}: false, {"a:", "a:"}: false, {"a:", "b:"}: true} {
		_, err := NewProofs(ProofConfig{Audience: "a", Humans: []HumanIssuer{
			{ID: "i", Audience: "c", Prefix: prefixes[0], Keys: keys}, {ID: "j", Audience: "c", Prefix: prefixes[1], Keys: keys}}})
		if (err == nil) != want {
			t.Errorf("the prefixes %q: %v", prefixes, err)
		}
	}
	signers, _ := testKeys()
	s := signers["EdDSA"]
	p, err := NewProofs(ProofConfig{Audience: "a", Humans: []HumanIssuer{{ID: testIssuer, Audience: testClient, Prefix: "staff:", Keys: keys}}})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.Human(s.sign(encode(s.header()), encode(idClaims())), now); err != nil || got.Subject != "staff:planted-human" {
		t.Errorf("got %+v, %v", got, err)
	}
	long := idClaims()
	long["sub"] = strings.Repeat("s", maxName)
	if got, err := p.Human(s.sign(encode(s.header()), encode(long)), now); err == nil {
		t.Errorf("a name that no record can hold: %d bytes", len(got.Subject))
	}
}

func FuzzProofs(f *testing.F) {
	p := newTestProofs(f)
	signers, _ := testKeys()
	good := map[string]bool{}
	for _, s := range signers {
		for _, claims := range []map[string]any{svidClaims(), idClaims()} {
			token := s.sign(encode(s.header()), encode(claims))
			f.Add(token)
			good[claimsPart(token)] = true
		}
	}
	f.Fuzz(func(t *testing.T, token string) {
		for _, ask := range []func(string, time.Time) (Proof, error){p.Agent, p.Human} {
			got, err := ask(token, now)
			if err == nil && (!good[claimsPart(token)] || got.Subject == "") {
				t.Errorf("accepted %q as %+v", token, got)
			}
			if err != nil {
				if e, ok := errors.AsType[*Error](err); !ok || e.Problem == "" || len(e.Problem) > 200 {
					t.Errorf("error %#v", err)
				}
			}
		}
	})
}
