package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

const (
	wantInvalid = writv1.ErrorReason_ERROR_REASON_TOKEN_INVALID
	wantExpired = writv1.ErrorReason_ERROR_REASON_TOKEN_EXPIRED
	wantClaims  = writv1.ErrorReason_ERROR_REASON_TOKEN_CLAIMS
)

// badToken is a good token with one thing wrong.
type badToken struct {
	name   string
	alg    string // of the signer; empty: EdDSA
	header func(map[string]any)
	claims func(map[string]any)
	token  func(s signer, good string) string
	with   func(*Presented)
	at     time.Duration // after now
	code   string
	reason writv1.ErrorReason // zero: TOKEN_INVALID
}

// presented is what is shown: the token, and whatever else the case has.
func (b badToken) presented(signers map[string]signer) Presented {
	s := signers["EdDSA"]
	if b.alg != "" {
		s = signers[b.alg]
	}
	header, claims := s.header(), goodClaims()
	if b.header != nil {
		b.header(header)
	}
	if b.claims != nil {
		b.claims(claims)
	}
	p := Presented{Token: s.sign(encode(header), encode(claims))}
	if b.token != nil {
		p.Token = b.token(s, p.Token)
	}
	if b.with != nil {
		b.with(&p)
	}
	return p
}

func badTokens() []badToken {
	return slices.Concat(badStructure, badHeader, badKey, badSignature, badTime, badAudience, badClaims, badPurposes, badBinding)
}

// Every bad token is refused with the code of what is wrong with it, and says
// nothing of what it holds. That a token is used a second time is no matter of the
// token alone: the guard is the store's (in store/storetest), and what is answered is held by
// TestTokenReplayed and TestProofReplayed of package server.
func TestBadToken(t *testing.T) {
	v := newTestVerifier(t)
	signers, _ := testKeys()
	met := map[string]bool{}
	for _, bad := range badTokens() {
		if met[bad.name] {
			t.Errorf("two cases are called %q", bad.name)
		}
		met[bad.name], met[bad.code] = true, true
		t.Run(bad.name, func(t *testing.T) {
			p := bad.presented(signers)
			if bad.reason == 0 {
				bad.reason = wantInvalid
			}
			refuses(t, v, p, now.Add(bad.at), bad.reason, bad.code)
		})
	}
	for _, code := range Codes {
		if strings.HasPrefix(code, "token.") && !met[code] {
			t.Errorf("no bad token has the code %s", code)
		}
	}
}

func refuses(t *testing.T, v *Verifier, p Presented, at time.Time, reason writv1.ErrorReason, code string) {
	t.Helper()
	principal, err := v.Verify(p, at)
	got, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("Verify = %+v, %v; want an *Error", principal, err)
	}
	if got.Reason != reason || got.Code != code || !slices.Contains(Codes, code) {
		t.Errorf("got %s %s %q, want %s %s", got.Reason, got.Code, got.Problem, reason, code)
	}
	if text := quotes(got.Problem, p.Token+"."+p.Proof); text != "" {
		t.Errorf("the problem %q quotes %q", got.Problem, text)
	}
	if diff := cmp.Diff(decision.Principal{}, principal); diff != "" {
		t.Errorf("a refused token gave a principal: %s", diff)
	}
}

func set(name string, value any) func(map[string]any) {
	return func(m map[string]any) { m[name] = value }
}

func drop(name string) func(map[string]any) {
	return func(m map[string]any) { delete(m, name) }
}

// rewrite changes the parts of a good token by hand.
func rewrite(change func(p []string) string) func(signer, string) string {
	return func(_ signer, good string) string { return change(strings.Split(good, ".")) }
}

// signed makes a correctly signed token of a header and claims as text.
func signed(change func(header, claims string) (string, string)) func(signer, string) string {
	return func(s signer, _ string) string {
		return s.sign(change(encode(s.header()), encode(goodClaims())))
	}
}

func inHeader(change func(string) string) func(signer, string) string {
	return signed(func(h, c string) (string, string) { return change(h), c })
}

func inClaims(change func(string) string) func(signer, string) string {
	return signed(func(h, c string) (string, string) { return h, change(c) })
}

func swap(old, new string) func(string) string {
	return func(s string) string { return strings.Replace(s, old, new, 1) }
}

// resigned replaces the signature by another one over the same text.
func resigned(sign func(s signer, text string, signature []byte) []byte) func(signer, string) string {
	return func(s signer, good string) string {
		dot := strings.LastIndexByte(good, '.')
		old, err := base64.RawURLEncoding.DecodeString(good[dot+1:])
		if err != nil {
			panic(err)
		}
		return good[:dot+1] + b64(sign(s, good[:dot], old))
	}
}

// hmacWith signs with a public key as the secret: what a verifier that believes
// the header would check.
func hmacWith(secret func(s signer) []byte) func(signer, string) string {
	return resigned(func(s signer, text string, _ []byte) []byte {
		mac := hmac.New(sha256.New, secret(s))
		mac.Write([]byte(text))
		return mac.Sum(nil)
	})
}

func publicPEM(s signer) []byte {
	der, err := x509.MarshalPKIXPublicKey(s.public())
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func deep(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

var badStructure = []badToken{
	{name: "empty", token: func(signer, string) string { return "" }, code: "token.parts"},
	{name: "no dots", token: func(signer, string) string { return "planted" }, code: "token.parts"},
	{name: "two parts", token: rewrite(func(p []string) string { return p[0] + "." + p[1] }), code: "token.parts"},
	{name: "four parts", token: rewrite(func(p []string) string { return strings.Join(p, ".") + ".planted" }), code: "token.parts"},
	{name: "six parts", token: rewrite(func(p []string) string { return strings.Join(p, ".") + "." + strings.Join(p, ".") }), code: "token.parts"},
	{name: "JSON serialization", token: rewrite(func(p []string) string {
		return `{"protected":"` + p[0] + `","payload":"` + p[1] + `","signature":"` + p[2] + `"}`
	}), code: "token.parts"},
	{name: "JWE", token: rewrite(func(p []string) string { return strings.Join(p, ".") + "." + p[1] + "." + p[2] }), code: "token.encrypted"},
	{name: "one byte too large", token: func(_ signer, good string) string { return good + strings.Repeat("A", MaxToken+1-len(good)) }, code: "token.too_large"},
	{name: "header with padding", token: rewrite(func(p []string) string { return p[0] + "==." + p[1] + "." + p[2] }), code: "token.header_base64"},
	{name: "white space in front", token: rewrite(func(p []string) string { return " " + strings.Join(p, ".") }), code: "token.header_base64"},
	{name: "Bearer in front", token: rewrite(func(p []string) string { return "Bearer " + strings.Join(p, ".") }), code: "token.header_base64"},
	{name: "claims in standard base64", token: rewrite(func(p []string) string { return p[0] + "." + p[1] + "+/." + p[2] }), code: "token.claims_base64"},
	{name: "claims with a space", token: rewrite(func(p []string) string { return p[0] + "." + p[1] + " ." + p[2] }), code: "token.claims_base64"},
	{name: "signature with padding", token: rewrite(func(p []string) string { return strings.Join(p, ".") + "==" }), code: "token.signature_base64"},
	{name: "signature with a line break", token: rewrite(func(p []string) string { return p[0] + "." + p[1] + "." + p[2][:8] + "\n" + p[2][8:] }), code: "token.signature_base64"},
	{name: "signature with stray bits", token: rewrite(func(p []string) string { return p[0] + "." + p[1] + "." + p[2][:len(p[2])-1] + "_" }), code: "token.signature_base64"},
	{name: "header not JSON", token: inHeader(func(string) string { return "planted" }), code: "token.header_json"},
	{name: "header empty", token: inHeader(func(string) string { return "" }), code: "token.header_json"},
	{name: "header an array", token: inHeader(func(string) string { return "[]" }), code: "token.header_object"},
	{name: "header with a duplicate key", token: inHeader(swap("{", `{"alg":"none",`)), code: "token.header_duplicate"},
	{name: "header with invalid UTF-8", token: inHeader(swap("{", "{\"planted\":\"\xff\",")), code: "token.header_utf8"},
	{name: "header too deep", token: inHeader(swap("{", `{"planted":`+deep(64)+`,`)), code: "token.header_depth"},
	{name: "header with a number out of range", token: inHeader(swap("{", `{"planted":1e999,`)), code: "token.header_number"},
	{name: "claims not JSON", token: inClaims(func(string) string { return `{"planted":` }), code: "token.claims_json"},
	{name: "claims twice", token: inClaims(func(c string) string { return c + c }), code: "token.claims_json"},
	{name: "claims with NaN", token: inClaims(swap("{", `{"planted":NaN,`)), code: "token.claims_json"},
	{name: "claims a string", token: inClaims(func(string) string { return `"planted"` }), code: "token.claims_object"},
	{name: "claims a token again", token: func(s signer, good string) string { return s.sign(encode(s.header()), encode(good)) }, code: "token.claims_object"},
	{name: "claims with a duplicate key", token: inClaims(swap("{", `{"sub":"planted-other",`)), code: "token.claims_duplicate"},
	{name: "claims with a key duplicated by an escape", token: inClaims(swap("{", `{"s\u0075b":"planted-other",`)), code: "token.claims_duplicate"},
	{name: "claims with two exp", token: inClaims(swap("{", `{"exp":1790000290,`)), code: "token.claims_duplicate"},
	{name: "claims with two jti", token: inClaims(swap("{", `{"jti":"planted-jti-2",`)), code: "token.claims_duplicate"},
	{name: "claims with two aud", token: inClaims(swap("{", `{"aud":"`+testAudience+`",`)), code: "token.claims_duplicate"},
	{name: "claims with two iss", token: inClaims(swap("{", `{"iss":"`+testIssuer+`",`)), code: "token.claims_duplicate"},
	{name: "claims with a duplicate inside act", token: inClaims(swap("{", `{"act":{"sub":"planted","sub":"planted-2"},`)), code: "token.claims_duplicate"},
	{name: "claims with invalid UTF-8", token: inClaims(swap("planted-sub", "planted-\xff")), code: "token.claims_utf8"},
	{name: "claims with half a surrogate", token: inClaims(swap("planted-sub", `planted-\ud800`)), code: "token.claims_json"},
	{name: "claims too deep", token: inClaims(swap("{", `{"planted":`+deep(64)+`,`)), code: "token.claims_depth"},
	{name: "claims deep by far", token: inClaims(swap("{", `{"planted":`+deep(4000)+`,`)), code: "token.claims_depth"},
	{name: "claims with a number out of range", token: inClaims(swap("{", `{"planted":1e999,`)), code: "token.claims_number"},
	{name: "claims with an integer that doubles cannot hold", token: inClaims(swap("{", `{"planted":9007199254740993,`)), code: "token.claims_number"},
}

var badHeader = []badToken{
	{name: "crit", header: set("crit", []string{"exp"}), code: "token.crit"},
	{name: "crit empty", header: set("crit", []string{}), code: "token.crit"},
	{name: "crit null", header: set("crit", nil), code: "token.crit"},
	{name: "b64 false without crit", header: set("b64", false), code: "token.b64"},
	{name: "jku", header: set("jku", "https://planted.example/keys"), code: "token.jku"},
	{name: "jku of the issuer", header: set("jku", testIssuer+"/keys"), code: "token.jku"},
	{name: "x5u", header: set("x5u", "https://planted.example/cert"), code: "token.x5u"},
	{name: "jwk", header: set("jwk", map[string]any{"kty": "oct", "k": "planted"}), code: "token.jwk"},
	{name: "jwk null", header: set("jwk", nil), code: "token.jwk"},
	{name: "x5c", header: set("x5c", []string{"planted"}), code: "token.x5c"},
	{name: "zip", header: set("zip", "DEF"), code: "token.zip"},
	{name: "enc", header: set("enc", "A256GCM"), code: "token.enc"},
	{name: "nested", header: set("cty", "JWT"), code: "token.nested"},
	{name: "typ of something else", header: set("typ", "logout+jwt"), code: "token.typ"},
	{name: "typ of a proof", header: set("typ", "dpop+jwt"), code: "token.typ"},
	{name: "typ of an ID token", header: set("typ", "id_token+jwt"), code: "token.typ"},
	{name: "typ null", header: set("typ", nil), code: "token.typ"},
	{name: "typ an array", header: set("typ", []string{"JWT"}), code: "token.typ"},
	{name: "alg missing", header: drop("alg"), code: "token.alg_missing"},
	{name: "alg an array", header: set("alg", []string{"EdDSA"}), code: "token.alg_type"},
	{name: "alg null", header: set("alg", nil), code: "token.alg_type"},
	{name: "alg none, not signed", header: set("alg", "none"), token: rewrite(func(p []string) string { return p[0] + "." + p[1] + "." }), code: "token.unsecured"},
	{name: "alg none, signed", header: set("alg", "none"), code: "token.unsecured"},
	{name: "alg nOnE", header: set("alg", "nOnE"), code: "token.unsecured"},
	{name: "alg HS256 with the public key", header: set("alg", "HS256"), token: hmacWith(func(s signer) []byte { return s.public().(ed25519.PublicKey) }), code: "token.alg_symmetric"},
	{name: "alg HS256 with the RSA key in PEM", alg: "RS256", header: set("alg", "HS256"), token: hmacWith(publicPEM), code: "token.alg_symmetric"},
	{name: "alg HS512", header: set("alg", "HS512"), code: "token.alg_symmetric"},
	{name: "alg in other case", header: set("alg", "eddsa"), code: "token.alg_unknown"},
	{name: "alg ES512", header: set("alg", "ES512"), code: "token.alg_unknown"},
	{name: "alg ES256K", header: set("alg", "ES256K"), code: "token.alg_unknown"},
	{name: "alg RS1", header: set("alg", "RS1"), code: "token.alg_unknown"},
	{name: "alg of encryption", header: set("alg", "dir"), code: "token.alg_unknown"},
	{name: "alg empty", header: set("alg", ""), code: "token.alg_unknown"},
	{name: "alg with a space", header: set("alg", "EdDSA "), code: "token.alg_unknown"},
}

var badKey = []badToken{
	{name: "alg of another key", header: set("alg", "ES256"), code: "token.alg_key"},
	{name: "key of another type", header: set("kid", "p256"), code: "token.alg_key"},
	{name: "RS256 with a key for PS256 only", alg: "RS256", header: set("kid", "rsa-pss-only"), code: "token.alg_key"},
	{name: "ES256 called ES384", alg: "ES256", header: set("alg", "ES384"), code: "token.alg_key"},
	{name: "RS256 with an EC key", alg: "RS256", header: set("kid", "p384"), code: "token.alg_key"},
	{name: "no kid", header: drop("kid"), code: "token.kid_missing"},
	{name: "kid null", header: set("kid", nil), code: "token.kid_type"},
	{name: "kid a number", header: set("kid", 1), code: "token.kid_type"},
	{name: "kid an object", header: set("kid", map[string]any{"$ne": "planted"}), code: "token.kid_type"},
	{name: "kid empty", header: set("kid", ""), code: "token.kid_form"},
	{name: "kid very long", header: set("kid", strings.Repeat("k", 8<<10)), code: "token.kid_form"},
	{name: "kid one byte too long", header: set("kid", strings.Repeat("k", maxKeyID+1)), code: "token.kid_form"},
	{name: "kid with a NUL", header: set("kid", "ed\x00planted"), code: "token.kid_form"},
	{name: "kid with a line break", header: set("kid", "ed\nplanted"), code: "token.kid_form"},
	{name: "kid with text in the other direction", header: set("kid", "\u202eplanted"), code: "token.kid_form"},
	{name: "kid unknown", header: set("kid", "planted"), code: "token.kid_unknown"},
	{name: "kid in other case", header: set("kid", "ED"), code: "token.kid_unknown"},
	{name: "kid a path", header: set("kid", "../../../../dev/null"), code: "token.kid_unknown"},
	{name: "kid a file URL", header: set("kid", "file:///etc/hostname"), code: "token.kid_unknown"},
	{name: "kid SQL", header: set("kid", "planted' UNION SELECT 'secret' --"), code: "token.kid_unknown"},
	{name: "kid a command", header: set("kid", "ed; planted|sh"), code: "token.kid_unknown"},
	{name: "kid that looks like another", header: set("kid", "еd"), code: "token.kid_unknown"}, // with a Cyrillic letter
	{name: "kid decomposed", header: set("kid", "e\u0301d"), code: "token.kid_unknown"},
	{name: "issuer unknown", claims: set("iss", "https://planted.example"), code: "token.iss_unknown"},
	{name: "issuer with a slash more", claims: set("iss", testIssuer+"/"), code: "token.iss_unknown"},
	{name: "issuer in other case", claims: set("iss", strings.ToUpper(testIssuer)), code: "token.iss_unknown"},
	{name: "issuer empty", claims: set("iss", ""), code: "token.iss_unknown"},
	{name: "issuer missing", claims: drop("iss"), code: "token.iss_missing"},
	{name: "issuer an array", claims: set("iss", []string{testIssuer}), code: "token.iss_type"},
	{name: "issuer whose keys are too old", claims: set("iss", staleIssuer), code: "token.keys_stale"},
}

var badSignature = []badToken{
	{name: "signature empty", token: rewrite(func(p []string) string { return p[0] + "." + p[1] + "." }), code: "token.signature_length"},
	{name: "signature cut", token: rewrite(func(p []string) string { return p[0] + "." + p[1] + "." + p[2][:84] }), code: "token.signature_length"},
	{name: "signature with a byte more", token: resigned(func(_ signer, _ string, old []byte) []byte { return append(old, 0) }), code: "token.signature_length"},
	{name: "ECDSA in DER", alg: "ES256", token: resigned(func(s signer, text string, _ []byte) []byte {
		sum := sha256.Sum256([]byte(text))
		der, err := ecdsa.SignASN1(rand.Reader, s.private.(*ecdsa.PrivateKey), sum[:])
		if err != nil {
			panic(err)
		}
		return der
	}), code: "token.signature_length"},
	{name: "ECDSA with numbers of 48 bytes", alg: "ES256", token: resigned(func(_ signer, _ string, old []byte) []byte {
		return slices.Concat(make([]byte, 16), old[:32], make([]byte, 16), old[32:])
	}), code: "token.signature_length"},
	{name: "RSA with a zero in front", alg: "RS256", token: resigned(func(_ signer, _ string, old []byte) []byte { return append([]byte{0}, old...) }), code: "token.signature_length"},
	{name: "ECDSA of zeros", alg: "ES256", token: resigned(func(signer, string, []byte) []byte { return make([]byte, 64) }), code: "token.signature"},
	{name: "ECDSA with r zero", alg: "ES256", token: resigned(func(_ signer, _ string, old []byte) []byte { return append(make([]byte, 32), old[32:]...) }), code: "token.signature"},
	{name: "ECDSA with s zero", alg: "ES256", token: resigned(func(_ signer, _ string, old []byte) []byte { return append(old[:32:32], make([]byte, 32)...) }), code: "token.signature"},
	{name: "ECDSA with r and s the order", alg: "ES384", token: resigned(func(s signer, _ string, _ []byte) []byte {
		n := s.private.(*ecdsa.PrivateKey).Params().N.Bytes()
		return append(slices.Clone(n), n...)
	}), code: "token.signature"},
	{name: "ECDSA with r and s exchanged", alg: "ES256", token: resigned(func(_ signer, _ string, old []byte) []byte { return append(slices.Clone(old[32:]), old[:32]...) }), code: "token.signature"},
	{name: "Ed25519 with an s beyond the order", token: resigned(func(_ signer, _ string, old []byte) []byte {
		order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
		little := slices.Clone(old[32:])
		slices.Reverse(little)
		more := new(big.Int).Add(new(big.Int).SetBytes(little), order).FillBytes(make([]byte, 32))
		slices.Reverse(more)
		return append(old[:32:32], more...)
	}), code: "token.signature"},
	{name: "RS256 called PS256", alg: "RS256", header: set("alg", "PS256"), code: "token.signature"},
	{name: "PS256 called RS256", alg: "PS256", header: set("alg", "RS256"), code: "token.signature"},
	{name: "PS256 with a salt of 20 bytes", alg: "PS256", token: resigned(func(s signer, text string, _ []byte) []byte {
		sum := sha256.Sum256([]byte(text))
		signature, err := rsa.SignPSS(rand.Reader, s.private.(*rsa.PrivateKey), crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: 20})
		if err != nil {
			panic(err)
		}
		return signature
	}), code: "token.signature"},
	{name: "RS256 over SHA-512", alg: "RS256", token: resigned(func(s signer, text string, _ []byte) []byte {
		signature, err := jwt.SigningMethodRS512.Sign(text, s.private)
		if err != nil {
			panic(err)
		}
		return signature
	}), code: "token.signature"},
	{name: "signature of other claims", token: func(s signer, good string) string {
		other := strings.Split(s.sign(encode(s.header()), `{}`), ".")
		return good[:strings.LastIndexByte(good, '.')+1] + other[2]
	}, code: "token.signature"},
	{name: "claims changed after signing", token: rewrite(func(p []string) string {
		c, _ := base64.RawURLEncoding.DecodeString(p[1])
		return p[0] + "." + b64([]byte(strings.Replace(string(c), "planted-sub", "planted-boss", 1))) + "." + p[2]
	}), code: "token.signature"},
	{name: "header changed after signing", token: rewrite(func(p []string) string {
		h, _ := base64.RawURLEncoding.DecodeString(p[0])
		return b64([]byte(strings.Replace(string(h), "{", `{"planted":1,`, 1))) + "." + p[1] + "." + p[2]
	}), code: "token.signature"},
	{name: "signed by a stranger under a known kid", token: func(s signer, _ string) string {
		return stranger().sign(encode(s.header()), encode(goodClaims()))
	}, code: "token.signature"},
}
