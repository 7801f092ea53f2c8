package identity

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// A NumericDate may have a fraction; a record holds microseconds.
func TestVerifyFractions(t *testing.T) {
	v := newTestVerifier(t)
	signers, _ := testKeys()
	s := signers["EdDSA"]
	claims := goodClaims()
	claims["exp"] = json.Number("1790000100.1234567")
	p, err := verify(v, s.sign(encode(s.header()), encode(claims)), now)
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
		p, err := verify(v, token, at)
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
		"issuer no source":  {Audience: "a", Issuers: []Issuer{{ID: "i"}}},
		"issuer no keys":    {Audience: "a", Issuers: []Issuer{{ID: "i", Keys: Keys{}}}},
		"server's audience": {Audience: "a", Issuers: one, Servers: map[string]string{"s": "a"}},
		"servers' audience": {Audience: "a", Issuers: one, Servers: map[string]string{"s": "b", "t": "b"}},
		"server no name":    {Audience: "a", Issuers: one, Servers: map[string]string{"": "b"}},
		"server no aud":     {Audience: "a", Issuers: one, Servers: map[string]string{"s": ""}},
		"beyond the bound":  {Audience: "a", Issuers: one, MaxLifetime: LongestLifetime + 1, LongLifetimes: true},
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
	good := map[string]bool{}
	for _, bad := range badTokens() {
		token := bad.presented(signers).Token
		f.Add(token)
		// Bad at another time, or in a request about something else.
		good[claimsPart(token)] = bad.at != 0
	}
	for _, s := range signers {
		good[claimsPart(s.good())] = true
	}
	f.Fuzz(func(t *testing.T, token string) {
		p, err := verify(v, token, now)
		if err == nil {
			// Nobody can sign here but the seeds above.
			if !good[claimsPart(token)] || p.Subject == "" || len(p.Purposes) == 0 {
				t.Errorf("accepted %q as %+v", token, p)
			}
			return
		}
		checkError(t, err)
	})
}

// checkError holds an error to what all must be.
func checkError(t *testing.T, err error) {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Problem == "" || e.Reason == 0 || len(e.Problem) > 200 || !slices.Contains(Codes, e.Code) {
		t.Errorf("error %#v", err)
	}
}

func claimsPart(token string) string {
	if p := strings.Split(token, "."); len(p) == 3 {
		return p[1]
	}
	return ""
}

// BenchmarkVerify is of tokens that were never seen, whose signatures are
// verified and remembered; Again of one that is shown again.
func BenchmarkVerify(b *testing.B) {
	v := newTestVerifier(b)
	signers, _ := testKeys()
	run := func(name, alg string, at time.Time) {
		token := signers[alg].good()
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := verify(v, token, at); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	for _, alg := range []string{"EdDSA", "ES256", "ES384", "RS256", "PS256"} {
		run(alg, alg, now.Add(291*time.Second)) // past exp, where nothing is remembered
	}
	run("Again", "EdDSA", now)
}
