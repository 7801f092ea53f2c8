package identity

import (
	"crypto/ecdsa"
	"encoding/base64"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/decision"
)

func TestGoodToken(t *testing.T) {
	v := newTestVerifier(t)
	signers, _ := testKeys()
	for alg, s := range signers {
		t.Run(alg, func(t *testing.T) {
			claims := goodClaims()
			claims["aud"] = []string{"other", testAudience}
			claims["on_behalf_of"] = "user:alice"
			claims["act"] = map[string]any{"sub": "gateway", "iss": "x", "act": map[string]any{"sub": "app"}}
			claims["purposes"] = []string{"a", "b-2.c_d"}
			claims["scope"] = "read write"
			claims["unknown"] = true
			header := s.header()
			header["typ"] = "at+jwt"
			header["x5t"] = "a hint that is not needed"
			got, err := verify(v, s.sign(encode(header), encode(claims)), now)
			if err != nil {
				t.Fatal(err)
			}
			want := decision.Principal{
				Subject: "agent:planted-sub", Issuer: testIssuer, OnBehalfOf: "user:alice",
				Actors: []string{"gateway", "app"}, Purposes: []string{"a", "b-2.c_d"},
				Token:   got.Token, // held to the specification in TestTokenDigest
				Expires: now.Add(295 * time.Second),
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	for name, c := range map[string]badToken{
		"typ absent":                 {header: drop("typ")},
		"typ JOSE":                   {header: set("typ", "JOSE")},
		"typ at+jwt in full":         {header: set("typ", "application/at+jwt")},
		"PS256 with its own key":     {alg: "PS256", header: set("kid", "rsa-pss-only")},
		"for the server asked about": {claims: set("aud", mailServer), with: about("mail")},
		"for both":                   {claims: set("aud", []string{mailServer, testAudience}), with: about("files")},
		"bound to the certificate":   {claims: set("cnf", boundTo('p')), with: func(p *Presented) { p.Certificate = certificate('p') }},
		"of an issuer that binds": {claims: func(c map[string]any) { c["iss"], c["cnf"] = bindsIssuer, boundTo('p') },
			with: func(p *Presented) { p.Certificate = certificate('p') }},
		"certificate without need": {with: func(p *Presented) { p.Certificate = certificate('p') }},
		"as large as can be":       {token: padded},
		"claims as deep as can be": {token: inClaims(swap("{", `{"planted":`+deep(63)+`,`))},
		"white space in the JSON":  {token: inClaims(swap("{", " {\r\n\t "))},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := v.Verify(c.presented(signers), now); err != nil {
				t.Error(err)
			}
		})
	}
}

// padded is a token of exactly MaxToken bytes. Not every length can be had by
// padding one part.
func padded(s signer, good string) string {
	header, claims := s.header(), goodClaims()
	for h := range 4 {
		header["planted"] = strings.Repeat("x", h)
		for n := (MaxToken - len(good)) * 3 / 4; n > 12_000-len(good); n-- {
			claims["planted"] = strings.Repeat("x", n)
			if token := s.sign(encode(header), encode(claims)); len(token) == MaxToken {
				return token
			} else if len(token) < MaxToken {
				break
			}
		}
	}
	panic("no token of this size")
}

// The bounds in time are exact, leeway included, on both sides.
func TestTokenEdges(t *testing.T) {
	v := newTestVerifier(t)
	signers, _ := testKeys()
	s := signers["EdDSA"]
	token := s.good() // valid from -10 s to +290 s
	for _, c := range []struct {
		at   time.Duration
		want bool
	}{
		{-15*time.Second - 1, false}, {-15 * time.Second, true}, {0, true},
		{295*time.Second - 1, true}, {295 * time.Second, false},
	} {
		p, err := verify(v, token, now.Add(c.at))
		if got := err == nil; got != c.want {
			t.Errorf("at %s: accepted %t, want %t (%v)", c.at, got, c.want, err)
		}
		if err == nil && !now.Add(c.at).Before(p.Expires) {
			t.Errorf("at %s: accepted after the principal's Expires, so it could be forgotten and accepted again", c.at)
		}
	}
	for name, claims := range map[string]func(map[string]any){
		"nbf to the leeway":        set("nbf", now.Unix()+5),
		"iat to the leeway":        set("iat", now.Unix()+5),
		"as long as it may be":     set("exp", now.Unix()+590),
		"iat as early as it may":   set("iat", now.Unix()-310),
		"nbf as early as it may":   set("nbf", now.Unix()-310),
		"exp a second after both":  func(c map[string]any) { c["exp"], c["iat"], c["nbf"] = now.Unix()+1, now.Unix(), now.Unix() },
		"exp just not over":        set("exp", now.Unix()-4),
		"dates with a fraction":    set("exp", 1790000290.25),
		"dates with an exponent":   set("exp", 1.79000029e9),
		"jti as long as it may be": set("jti", strings.Repeat("j", maxTokenID)),
		"sub as long as it may be": set("sub", strings.Repeat("s", maxName)),
		"act as deep as it may be": set("act", nested(maxActors)),
		"as many purposes":         set("purposes", many(maxPurposes)),
	} {
		if _, err := v.Verify(badToken{claims: claims}.presented(signers), now); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Longer lifetimes need both the flag and the number, and have a bound.
func TestLongLifetimes(t *testing.T) {
	signers, _ := testKeys()
	token := badToken{claims: set("exp", now.Unix()+3590)}.presented(signers)
	c := Config{Issuers: []Issuer{{ID: testIssuer, Keys: testKeySet(t)}}, Audience: testAudience, LongLifetimes: true}
	v, err := NewVerifier(c)
	if err != nil {
		t.Fatal(err)
	}
	refuses(t, v, token, now, wantClaims, "token.lifetime")
	c.MaxLifetime = LongestLifetime
	if v, err = NewVerifier(c); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(token, now); err != nil {
		t.Error(err)
	}
	c.LongLifetimes = false
	if _, err := NewVerifier(c); err == nil {
		t.Error("a long lifetime is accepted without the flag")
	}
}

// An ECDSA signature has a twin that anybody can make: (r, n-s). Issuers make
// either, so both are good, and both are the same token: the second one shown is
// a replay.
func TestTwinSignatureIsTheSameToken(t *testing.T) {
	v := newTestVerifier(t)
	signers, _ := testKeys()
	for _, alg := range []string{"ES256", "ES384"} {
		s := signers[alg]
		twin := resigned(func(s signer, _ string, old []byte) []byte {
			half := len(old) / 2
			other := new(big.Int).Sub(s.private.(*ecdsa.PrivateKey).Params().N, new(big.Int).SetBytes(old[half:]))
			return append(slices.Clone(old[:half]), other.FillBytes(make([]byte, half))...)
		})
		token := s.good()
		first, err := verify(v, token, now)
		if err != nil {
			t.Fatal(err)
		}
		second, err := verify(v, twin(s, token), now)
		if err != nil {
			t.Fatal(err)
		}
		if first.Token != second.Token {
			t.Errorf("%s: the twin would be accepted as another token", alg)
		}
	}
}

// The signatures of the JOSE specifications' own examples are good, and no other
// text has them.
func TestPublishedSignatures(t *testing.T) {
	for _, c := range []struct{ name, alg, jwk, token string }{
		{"RFC 7515, A.2", "RS256", `{"kty":"RSA","kid":"k","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}`,
			"eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"},
		{"RFC 7515, A.3", "ES256", `{"kty":"EC","kid":"k","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`,
			"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"},
		{"RFC 8037, A.4", "EdDSA", rfc8037,
			"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"},
	} {
		keys, err := ReadKeys([]byte(`{"keys":[` + c.jwk + `]}`))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		dot := strings.LastIndexByte(c.token, '.')
		signature, err := base64.RawURLEncoding.DecodeString(c.token[dot+1:])
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys.byID {
			p := parts{about: "token", signed: c.token[:dot], signature: signature}
			if err := p.prove(c.alg, k); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			p.signed += "A"
			if err := p.prove(c.alg, k); err == nil {
				t.Errorf("%s: another text has the signature", c.name)
			}
		}
	}
}

// Whatever single character of a token is changed, into whatever class of
// character, it is refused; also where the token itself was accepted before.
func TestEveryCharacterCounts(t *testing.T) {
	v := newTestVerifier(t)
	signers, _ := testKeys()
	for alg, s := range signers {
		token := s.good()
		if _, err := verify(v, token, now); err != nil {
			t.Fatal(err)
		}
		for i := range len(token) {
			for _, c := range []byte{token[i] ^ 1, 'A', '_', '.', ' ', 0} {
				changed := token[:i] + string(rune(c)) + token[i+1:]
				if changed == token {
					continue
				}
				if p, err := verify(v, changed, now); err == nil {
					t.Fatalf("%s: with character %d changed it is accepted as %+v", alg, i, p)
				}
			}
			if _, err := verify(v, token[:i]+token[i+1:], now); err == nil {
				t.Fatalf("%s: without character %d it is accepted", alg, i)
			}
		}
	}
}
