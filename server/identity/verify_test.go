package identity

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/decision"
)

func TestVerifyRefuses(t *testing.T) {
	v := newTestVerifier(t)
	signers, _ := testKeys()
	s := signers["EdDSA"]
	for _, group := range [][]badToken{badStructure, badHeader, badSignature, badTime, badClaims} {
		for _, bad := range group {
			t.Run(bad.name, func(t *testing.T) {
				token := bad.make(s)
				if bad.reason == 0 {
					bad.reason = wantInvalid
				}
				p, err := v.Verify(token, now)
				got, ok := errors.AsType[*Error](err)
				if !ok {
					t.Fatalf("Verify = %+v, %v; want an *Error", p, err)
				}
				if got.Reason != bad.reason || !strings.HasPrefix(got.Problem, bad.problem) {
					t.Errorf("got %s %q, want %s %q", got.Reason, got.Problem, bad.reason, bad.problem)
				}
				if text := quotes(got.Problem, token); text != "" {
					t.Errorf("the problem %q quotes %q", got.Problem, text)
				}
				if diff := cmp.Diff(decision.Principal{}, p); diff != "" {
					t.Errorf("a refused token gave a principal: %s", diff)
				}
			})
		}
	}
}

// A signature with the wrong algorithm of the right key's family is refused: the
// claims are right, the key is right, and only the kind of signature is not.
func TestVerifyKeepsAlgorithmsApart(t *testing.T) {
	v := newTestVerifier(t)
	signers, _ := testKeys()
	rsaSigner := signers["RS256"]
	for _, c := range []struct {
		name, kid, alg, problem string
		signer                  signer
	}{
		{"RS256 signature called PS256", "rsa", "PS256", "the token's signature is wrong", rsaSigner},
		{"PS256 signature called RS256", "rsa", "RS256", "the token's signature is wrong", signers["PS256"]},
		{"RS256 with a key for PS256 only", "rsa-pss-only", "RS256", `the token's "alg" is not one for its key`, rsaSigner},
		{"ES256 key called ES384", "p256", "ES384", `the token's "alg" is not one for its key`, signers["ES256"]},
		{"ES384 key called RS256", "p384", "RS256", `the token's "alg" is not one for its key`, signers["ES384"]},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := map[string]any{"alg": c.alg, "kid": c.kid}
			_, err := v.Verify(c.signer.sign(encode(header), encode(goodClaims())), now)
			if err == nil || err.Error() != c.problem {
				t.Errorf("got %v, want %q", err, c.problem)
			}
		})
	}
	t.Run("PS256 with another salt", func(t *testing.T) {
		text := b64([]byte(encode(signers["PS256"].header()))) + "." + b64([]byte(encode(goodClaims())))
		sum := sha256.Sum256([]byte(text))
		signature, err := rsa.SignPSS(rand.Reader, rsaSigner.private.(*rsa.PrivateKey), crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: 20})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Verify(text+"."+b64(signature), now); err == nil {
			t.Error("a salt of 20 bytes was accepted")
		}
	})
}

func TestVerifyAccepts(t *testing.T) {
	v := newTestVerifier(t)
	signers, _ := testKeys()
	for alg, s := range signers {
		t.Run(alg, func(t *testing.T) {
			claims := goodClaims()
			claims["aud"] = []string{"other", testAudience}
			claims["on_behalf_of"] = "user:alice"
			claims["act"] = map[string]any{"sub": "gateway", "iss": "x", "act": map[string]any{"sub": "app"}}
			claims["purposes"] = []string{"a", "b-2.c_d"}
			claims["unknown"] = true
			header := s.header()
			header["typ"] = "at+jwt"
			got, err := v.Verify(s.sign(encode(header), encode(claims)), now)
			if err != nil {
				t.Fatal(err)
			}
			want := decision.Principal{
				Subject: "agent:planted-sub", Issuer: testIssuer, OnBehalfOf: "user:alice",
				Actors: []string{"gateway", "app"}, Purposes: []string{"a", "b-2.c_d"},
				Token:   got.Token, // held to the specification below
				Expires: now.Add(295 * time.Second),
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The bounds are exact, leeway included.
func TestVerifyTime(t *testing.T) {
	v := newTestVerifier(t)
	signers, _ := testKeys()
	token := signers["EdDSA"].good() // valid from -10 s to +290 s
	for _, c := range []struct {
		at   time.Duration
		want bool
	}{
		{-15*time.Second - 1, false}, {-15 * time.Second, true}, {0, true},
		{295*time.Second - 1, true}, {295 * time.Second, false},
	} {
		p, err := v.Verify(token, now.Add(c.at))
		if got := err == nil; got != c.want {
			t.Errorf("at %s: accepted %t, want %t (%v)", c.at, got, c.want, err)
		}
		if err == nil && !now.Add(c.at).Before(p.Expires) {
			t.Errorf("at %s: accepted after the principal's Expires, so it could be forgotten and accepted again", c.at)
		}
	}
}

// A NumericDate may have a fraction; a record holds microseconds.
func TestVerifyFractions(t *testing.T) {
	v := newTestVerifier(t)
	signers, _ := testKeys()
	s := signers["EdDSA"]
	claims := goodClaims()
	claims["exp"] = json.Number("1790000100.1234567")
	p, err := v.Verify(s.sign(encode(s.header()), encode(claims)), now)
	if err != nil {
		t.Fatal(err)
	}
	if want := time.UnixMicro(1_790_000_105_123_456); !p.Expires.Equal(want) {
		t.Errorf("expires %s, want %s", p.Expires, want)
	}
}

// The digest is the one that the records promise: length-prefixed issuer, key
// thumbprint and jti.
func TestTokenDigest(t *testing.T) {
	m, err := NewMinter(strings.NewReader(strings.Repeat("s", 32)))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ReadKeys(m.JWKS())
	if err != nil {
		t.Fatal(err)
	}
	v, err := NewVerifier(Config{Issuers: []Issuer{{ID: "i", Keys: keys}}, Audience: "a"})
	if err != nil {
		t.Fatal(err)
	}
	mint := func(jti, sub string, at time.Time) [32]byte {
		token, err := m.Mint(Claims{Issuer: "i", Audience: "a", Subject: sub, Purposes: []string{"p"}}, at, jti)
		if err != nil {
			t.Fatal(err)
		}
		p, err := v.Verify(token, at)
		if err != nil {
			t.Fatal(err)
		}
		return p.Token
	}
	thumb, err := base64.RawURLEncoding.DecodeString(m.id)
	if err != nil {
		t.Fatal(err)
	}
	var data []byte
	for _, f := range [][]byte{[]byte("i"), thumb, []byte("jti-1")} {
		data = append(binary.BigEndian.AppendUint64(data, uint64(len(f))), f...)
	}
	if got, want := mint("jti-1", "s", now), sha256.Sum256(data); got != want {
		t.Errorf("digest %x, want %x", got, want)
	}
	if mint("jti-1", "s", now) != mint("jti-1", "other", now.Add(time.Hour)) {
		t.Error("the same jti gave two digests")
	}
	if mint("jti-1", "s", now) == mint("jti-2", "s", now) {
		t.Error("two jti gave the same digest")
	}
}

func TestNewVerifierRefuses(t *testing.T) {
	_, text := testKeys()
	keys, err := ReadKeys([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	one := []Issuer{{ID: "i", Keys: keys}}
	for name, c := range map[string]Config{
		"no audience":       {Issuers: one},
		"no issuer":         {Audience: "a"},
		"issuer without id": {Audience: "a", Issuers: []Issuer{{Keys: keys}}},
		"issuer no keys":    {Audience: "a", Issuers: []Issuer{{ID: "i"}}},
		"issuer twice":      {Audience: "a", Issuers: append(one, one...)},
		"lifetime too long": {Audience: "a", Issuers: one, MaxLifetime: MaxLifetime + 1},
		"lifetime negative": {Audience: "a", Issuers: one, MaxLifetime: -1},
		"leeway too long":   {Audience: "a", Issuers: one, Leeway: MaxLeeway + 1},
		"leeway negative":   {Audience: "a", Issuers: one, Leeway: -1},
	} {
		if _, err := NewVerifier(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzVerify(f *testing.F) {
	v := newTestVerifier(f)
	signers, _ := testKeys()
	for _, s := range signers {
		f.Add(s.good())
	}
	for _, group := range [][]badToken{badStructure, badHeader, badSignature, badTime, badClaims} {
		for _, bad := range group {
			f.Add(bad.make(signers["EdDSA"]))
		}
	}
	good := map[string]bool{}
	for _, s := range signers {
		good[claimsPart(s.good())] = true
	}
	f.Fuzz(func(t *testing.T, token string) {
		p, err := v.Verify(token, now)
		if err == nil {
			// Nobody can sign here but the seeds above.
			if !good[claimsPart(token)] || p.Subject == "" || len(p.Purposes) == 0 {
				t.Errorf("accepted %q as %+v", token, p)
			}
			return
		}
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Problem == "" || e.Reason == 0 || len(e.Problem) > 200 {
			t.Errorf("error %#v", err)
		}
	})
}

func claimsPart(token string) string {
	if p := strings.Split(token, "."); len(p) == 3 {
		return p[1]
	}
	return ""
}

func BenchmarkVerify(b *testing.B) {
	v := newTestVerifier(b)
	signers, _ := testKeys()
	for _, alg := range []string{"EdDSA", "ES256", "ES384", "RS256", "PS256"} {
		token := signers[alg].good()
		b.Run(alg, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(token, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
