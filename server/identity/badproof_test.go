package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// keyHolder has the key that tokens are bound to.
var keyHolder = sync.OnceValue(func() signer {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return signer{"", jwt.SigningMethodES256, private}
})

// thumbprintOf is a key's RFC 7638 thumbprint, made by the test itself.
func thumbprintOf(s signer) string {
	var text string
	switch k := s.public().(type) {
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			panic(err)
		}
		half := len(point) / 2
		text = `{"crv":"` + k.Curve.Params().Name + `","kty":"EC","x":"` + b64(point[1:1+half]) + `","y":"` + b64(point[1+half:]) + `"}`
	case ed25519.PublicKey:
		text = `{"crv":"Ed25519","kty":"OKP","x":"` + b64(k) + `"}`
	default:
		panic("a key of another type")
	}
	sum := sha256.Sum256([]byte(text))
	return b64(sum[:])
}

// badProof is a good proof for a good token with one thing wrong.
type badProof struct {
	name   string
	by     func() signer // nil: keyHolder
	token  func(map[string]any)
	header func(map[string]any)
	claims func(map[string]any)
	proof  func(s signer, good string) string
	with   func(*Presented)
	at     time.Duration
	code   string
	reason writv1.ErrorReason // zero: TOKEN_INVALID
}

func (b badProof) presented(signers map[string]signer) Presented {
	s := keyHolder()
	claims := goodClaims()
	claims["aud"], claims["cnf"] = mailServer, map[string]any{"jkt": thumbprintOf(s)}
	if b.token != nil {
		b.token(claims)
	}
	if b.by != nil {
		s = b.by()
	}
	issuer := signers["EdDSA"]
	p := Presented{Token: issuer.sign(encode(issuer.header()), encode(claims)), Server: "mail"}
	ath := sha256.Sum256([]byte(p.Token))
	proof := map[string]any{"jti": "planted-proof-1", "htm": "POST", "htu": mailServer, "iat": now.Unix(), "ath": b64(ath[:])}
	header := map[string]any{"typ": "dpop+jwt", "alg": s.method.Alg(), "jwk": json.RawMessage(jwkOf(map[string]any{}, s.public()))}
	if b.header != nil {
		b.header(header)
	}
	if b.claims != nil {
		b.claims(proof)
	}
	p.Proof = s.sign(encode(header), encode(proof))
	if b.proof != nil {
		p.Proof = b.proof(s, p.Proof)
	}
	if b.with != nil {
		b.with(&p)
	}
	return p
}

// reproof is resigned, but for the header and claims as text.
func reproof(change func(header, claims string) (string, string)) func(signer, string) string {
	return func(s signer, good string) string {
		p := strings.Split(good, ".")
		h, err := base64.RawURLEncoding.DecodeString(p[0])
		if err != nil {
			panic(err)
		}
		c, err := base64.RawURLEncoding.DecodeString(p[1])
		if err != nil {
			panic(err)
		}
		return s.sign(change(string(h), string(c)))
	}
}

func proofHeader(change func(string) string) func(signer, string) string {
	return reproof(func(h, c string) (string, string) { return change(h), c })
}

func proofClaims(change func(string) string) func(signer, string) string {
	return reproof(func(h, c string) (string, string) { return h, change(c) })
}

func TestGoodProof(t *testing.T) {
	v := newTestVerifier(t)
	signers, _ := testKeys()
	other := func() signer { return signers["EdDSA"] }
	for name, c := range map[string]badProof{
		"as it should be":   {},
		"EdDSA":             {by: other, token: set("cnf", map[string]any{"jkt": thumbprintOf(other())})},
		"made a little ago": {claims: set("iat", now.Unix()-60)},
		"to the moment":     {at: 65*time.Second - 1},
		"of a hasty clock":  {claims: set("iat", now.Unix()+5)},
		"with a query":      {claims: set("htu", mailServer+"?x=1#y")},
		"with a port":       {claims: set("htu", "HTTPS://Mail.Example:443/mcp")},
		"for this PDP":      {token: set("aud", []string{"https://writ.example", mailServer}), claims: set("htu", mailServer)},
		"with a certificate too": {token: func(c map[string]any) {
			cnf := boundTo('p')
			cnf["jkt"] = thumbprintOf(keyHolder())
			c["cnf"] = cnf
		}, with: func(p *Presented) { p.Certificate = certificate('p') }},
		"of an issuer that binds": {token: set("iss", bindsIssuer)},
	} {
		t.Run(name, func(t *testing.T) {
			p := c.presented(signers)
			got, err := v.Verify(p, now.Add(c.at))
			if err != nil {
				t.Fatal(err)
			}
			if got.Proof == [32]byte{} || got.Proof == got.Token {
				t.Error("the proof has no digest of its own, so it could be shown again")
			}
			again, err := v.Verify(c.presented(signers), now.Add(c.at))
			if err != nil || again.Proof != got.Proof {
				t.Errorf("the same jti and key gave another digest: %v", err)
			}
		})
	}
	first, err := v.Verify(badProof{}.presented(signers), now)
	if err != nil {
		t.Fatal(err)
	}
	second, err := v.Verify(badProof{claims: set("jti", "planted-proof-2")}.presented(signers), now)
	if err != nil || first.Proof == second.Proof {
		t.Errorf("another jti gave the same digest: %v", err)
	}
}

func TestBadProof(t *testing.T) {
	v := newTestVerifier(t)
	signers, _ := testKeys()
	met := map[string]bool{}
	for _, bad := range badProofs() {
		if met[bad.name] {
			t.Errorf("two cases are called %q", bad.name)
		}
		met[bad.name], met[bad.code] = true, true
		t.Run(bad.name, func(t *testing.T) {
			if bad.reason == 0 {
				bad.reason = wantInvalid
			}
			refuses(t, v, bad.presented(signers), now.Add(bad.at), bad.reason, bad.code)
		})
	}
	for _, code := range Codes {
		if strings.HasPrefix(code, "proof.") && !met[code] {
			t.Errorf("no bad proof has the code %s", code)
		}
	}
}

func FuzzProof(f *testing.F) {
	v := newTestVerifier(f)
	signers, _ := testKeys()
	good := badProof{}.presented(signers)
	f.Add(good.Proof)
	for _, bad := range badProofs() {
		f.Add(bad.presented(signers).Proof)
	}
	want := claimsPart(good.Proof)
	f.Fuzz(func(t *testing.T, proof string) {
		p := good
		p.Proof = proof
		principal, err := v.Verify(p, now)
		if err == nil {
			// Nobody here has the key but the seeds above.
			if c := claimsPart(proof); c != want && !seeded(c) || principal.Proof == [32]byte{} {
				t.Errorf("accepted %q as %+v", proof, principal)
			}
			return
		}
		checkError(t, err)
	})
}

// seeded reports whether the claims are those of a case that is bad for another
// reason than its proof.
func seeded(part string) bool {
	data, err := base64.RawURLEncoding.DecodeString(part)
	return err == nil && strings.Contains(string(data), "planted-proof-1")
}

func badProofs() []badProof {
	cases := []badProof{
		{name: "none", with: func(p *Presented) { p.Proof = "" }, reason: wantClaims, code: "proof.missing"},
		{name: "for a token that is not bound", token: drop("cnf"), reason: wantClaims, code: "proof.unbound"},
		{name: "for a token bound to a certificate alone", token: set("cnf", boundTo('p')),
			with: func(p *Presented) { p.Certificate = certificate('p') }, reason: wantClaims, code: "proof.unbound"},
		{name: "the token itself", with: func(p *Presented) { p.Proof = p.Token }, code: "proof.typ"},
		{name: "one byte too large", proof: func(_ signer, good string) string { return good + strings.Repeat("A", MaxProof+1-len(good)) }, code: "proof.too_large"},
		{name: "two parts", proof: rewrite(func(p []string) string { return p[0] + "." + p[1] }), code: "proof.parts"},
		{name: "two proofs", proof: func(_ signer, good string) string { return good + "," + good }, code: "proof.encrypted"},
		{name: "header in other base64", proof: rewrite(func(p []string) string { return p[0] + "=." + p[1] + "." + p[2] }), code: "proof.header_base64"},
		{name: "claims in other base64", proof: rewrite(func(p []string) string { return p[0] + "." + p[1] + "=." + p[2] }), code: "proof.claims_base64"},
		{name: "signature in other base64", proof: rewrite(func(p []string) string { return strings.Join(p, ".") + "=" }), code: "proof.signature_base64"},
		{name: "typ missing", header: drop("typ"), code: "proof.typ"},
		{name: "typ JWT", header: set("typ", "JWT"), code: "proof.typ"},
		{name: "jwk missing", header: drop("jwk"), code: "proof.jwk_missing"},
		{name: "jwk a string", header: set("jwk", "planted"), code: "proof.jwk_missing"},
		{name: "jwk with the private part", header: set("jwk", map[string]any{"kty": "EC", "d": "planted"}), code: "proof.jwk_private"},
		{name: "jwk symmetric", header: set("jwk", map[string]any{"kty": "oct", "k": "planted"}), code: "proof.jwk_private"},
		{name: "jwk of no type", header: set("jwk", map[string]any{}), code: "proof.jwk"},
		{name: "jwk of another curve", header: set("jwk", map[string]any{"kty": "EC", "crv": "P-521", "x": "planted", "y": "planted"}), code: "proof.jwk"},
		{name: "jwk of another key", by: stranger, code: "proof.thumbprint"},
		{name: "jwk of the holder, signed by a stranger", proof: func(s signer, good string) string {
			return resigned(func(signer, string, []byte) []byte { return make([]byte, 64) })(s, good)
		}, code: "proof.signature"},
		{name: "signature cut", proof: rewrite(func(p []string) string { return p[0] + "." + p[1] + "." + p[2][:80] }), code: "proof.signature_length"},
		{name: "alg none", header: set("alg", "none"), code: "proof.unsecured"},
		{name: "alg missing", header: drop("alg"), code: "proof.alg_missing"},
		{name: "alg a number", header: set("alg", 1), code: "proof.alg_type"},
		{name: "alg HS256", header: set("alg", "HS256"), code: "proof.alg_symmetric"},
		{name: "alg ES512", header: set("alg", "ES512"), code: "proof.alg_unknown"},
		{name: "alg of another key", header: set("alg", "EdDSA"), code: "proof.alg_key"},
		{name: "method GET", claims: set("htm", "GET"), reason: wantClaims, code: "proof.htm"},
		{name: "method in lower case", claims: set("htm", "post"), reason: wantClaims, code: "proof.htm"},
		{name: "for another server", claims: set("htu", filesServer), reason: wantClaims, code: "proof.htu"},
		{name: "for another path", claims: set("htu", mailServer+"/x"), reason: wantClaims, code: "proof.htu"},
		{name: "for another scheme", claims: set("htu", strings.Replace(mailServer, "https", "http", 1)), reason: wantClaims, code: "proof.htu"},
		{name: "for another port", claims: set("htu", "https://mail.example:8443/mcp"), reason: wantClaims, code: "proof.htu"},
		{name: "for the place with a user", claims: set("htu", "https://planted@mail.example/mcp"), reason: wantClaims, code: "proof.htu"},
		{name: "for no URL", claims: set("htu", "%zz"), reason: wantClaims, code: "proof.htu"},
		{name: "for an audience that is no URL", token: set("aud", testAudience), claims: set("htu", testAudience), reason: wantClaims, code: "proof.htu"},
		{name: "for another token", claims: set("ath", b64(make([]byte, 32))), reason: wantClaims, code: "proof.ath"},
		{name: "of the future", claims: set("iat", now.Unix()+6), reason: wantExpired, code: "proof.early"},
		{name: "too old", claims: set("iat", now.Unix()-65), reason: wantExpired, code: "proof.expired"},
		{name: "too old to the moment", at: 65 * time.Second, reason: wantExpired, code: "proof.expired"},
		{name: "iat missing", claims: drop("iat"), reason: wantClaims, code: "proof.iat_missing"},
		{name: "iat a string", claims: set("iat", "now"), reason: wantClaims, code: "proof.iat_type"},
		{name: "iat negative", claims: set("iat", -1), reason: wantClaims, code: "proof.iat_range"},
	}
	for member, value := range map[string]any{
		"crit": []string{"b64"}, "b64": false, "jku": "https://planted.example", "x5u": "https://planted.example", "x5c": []string{"planted"}, "zip": "DEF", "enc": "A256GCM",
	} {
		cases = append(cases, badProof{name: member, header: set(member, value), code: "proof." + member})
	}
	cases = append(cases, badProof{name: "nested", header: set("cty", "JWT"), code: "proof.nested"})
	for kind, change := range map[string]func(string) string{
		"json":      func(s string) string { return s + s },
		"object":    func(string) string { return "[]" },
		"duplicate": swap("{", `{"alg":"ES256","alg":"ES256",`),
		"utf8":      swap("{", "{\"planted\":\"\xff\","),
		"depth":     swap("{", `{"planted":`+deep(64)+`,`),
		"number":    swap("{", `{"planted":1e999,`),
	} {
		cases = append(cases,
			badProof{name: "header " + kind, proof: proofHeader(change), code: "proof.header_" + kind},
			badProof{name: "claims " + kind, proof: proofClaims(change), code: "proof.claims_" + kind})
	}
	for _, claim := range []string{"htm", "htu", "ath", "jti"} {
		for defect, change := range map[string]func(map[string]any){
			"missing": drop(claim), "type": set(claim, 1), "empty": set(claim, ""),
			"long": set(claim, strings.Repeat("x", maxName+1)), "characters": set(claim, "planted\x00"),
		} {
			cases = append(cases, badProof{name: claim + " " + defect, claims: change, reason: wantClaims, code: "proof." + claim + "_" + defect})
		}
	}
	return cases
}
