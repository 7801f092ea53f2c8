package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/writpdp/writ/server/decision"
)

const (
	testIssuer   = "https://issuer.example"
	testAudience = "writ://tests"
)

var now = time.Unix(1_790_000_000, 0)

// signer is a key that the test's issuer has published.
type signer struct {
	kid     string
	method  jwt.SigningMethod
	private any
}

// testKeys are one signer for each algorithm, and the set with their public
// keys, encoded by the test itself and not by the code under test. Making RSA
// keys is slow, so they are made once.
var testKeys = sync.OnceValues(func() (map[string]signer, string) {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	_, ed, err := ed25519.GenerateKey(nil)
	must(err)
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(err)
	rsa2048, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	signers := map[string]signer{
		"EdDSA": {"ed", jwt.SigningMethodEdDSA, ed},
		"ES256": {"p256", jwt.SigningMethodES256, p256},
		"ES384": {"p384", jwt.SigningMethodES384, p384},
		"RS256": {"rsa", jwt.SigningMethodRS256, rsa2048},
		"PS256": {"rsa", jwt.SigningMethodPS256, rsa2048},
	}
	set := fmt.Sprintf(`{"keys":[%s,%s,%s,%s,%s]}`,
		jwkOf(map[string]any{"kid": "ed", "use": "sig", "alg": "EdDSA"}, ed.Public()),
		jwkOf(map[string]any{"kid": "p256", "key_ops": []string{"verify"}}, p256.Public()),
		jwkOf(map[string]any{"kid": "p384"}, p384.Public()),
		jwkOf(map[string]any{"kid": "rsa"}, rsa2048.Public()),
		jwkOf(map[string]any{"kid": "rsa-pss-only", "alg": "PS256"}, rsa2048.Public()))
	return signers, set
})

func jwkOf(extra map[string]any, public any) string {
	members := maps.Clone(extra)
	switch k := public.(type) {
	case ed25519.PublicKey:
		members["kty"], members["crv"], members["x"] = "OKP", "Ed25519", b64(k)
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			panic(err)
		}
		half := len(point) / 2
		members["kty"], members["crv"] = "EC", k.Curve.Params().Name
		members["x"], members["y"] = b64(point[1:1+half]), b64(point[1+half:])
	case *rsa.PublicKey:
		members["kty"], members["n"], members["e"] = "RSA", b64(k.N.Bytes()), b64(big.NewInt(int64(k.E)).Bytes())
	}
	return encode(members)
}

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

func encode(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// sign makes a token of any two texts.
func (s signer) sign(header, claims string) string {
	signed := b64([]byte(header)) + "." + b64([]byte(claims))
	signature, err := s.method.Sign(signed, s.private)
	if err != nil {
		panic(err)
	}
	return signed + "." + b64(signature)
}

func (s signer) public() any { return s.private.(crypto.Signer).Public() }

func (s signer) header() map[string]any {
	return map[string]any{"typ": "JWT", "alg": s.method.Alg(), "kid": s.kid}
}

func goodClaims() map[string]any {
	return map[string]any{
		"iss": testIssuer, "sub": "agent:planted-sub", "aud": testAudience, "jti": "planted-jti-1",
		"iat": now.Unix() - 10, "nbf": now.Unix() - 10, "exp": now.Unix() + 290,
		"purposes": []string{"planted-purpose"},
	}
}

func (s signer) good() string { return s.sign(encode(s.header()), encode(goodClaims())) }

func testKeySet(t testing.TB) Keys {
	t.Helper()
	_, set := testKeys()
	keys, err := ReadKeys([]byte(set))
	if err != nil {
		t.Fatalf("reading the test keys: %v", err)
	}
	return keys
}

// The issuers of the tests beside testIssuer, and the audiences of tool servers.
const (
	staleIssuer = "https://stale.example"
	bindsIssuer = "https://binds.example"
	mailServer  = "https://mail.example/mcp"
	filesServer = "https://files.example/mcp"
)

// stale are keys that could not be fetched for too long.
type stale struct{}

func (stale) At(time.Time) (Keys, bool) { return Keys{}, false }
func (stale) Missed()                   {}

func newTestVerifier(t testing.TB) *Verifier {
	t.Helper()
	keys := testKeySet(t)
	v, err := NewVerifier(Config{
		Issuers:  []Issuer{{ID: testIssuer, Keys: keys}, {ID: staleIssuer, Keys: stale{}}, {ID: bindsIssuer, Keys: keys, RequireBinding: true}},
		Audience: testAudience, Servers: map[string]string{"mail": mailServer, "files": filesServer},
	})
	if err != nil {
		t.Fatalf("making the verifier: %v", err)
	}
	return v
}

// verify shows a token, and nothing beside it.
func verify(v *Verifier, token string, at time.Time) (decision.Principal, error) {
	return v.Verify(Presented{Token: token}, at)
}

// planted are texts of the good claims that no problem may quote.
func quotes(problem, token string) string {
	for _, text := range []string{"planted", testIssuer, testAudience, mailServer} {
		if strings.Contains(problem, text) {
			return text
		}
	}
	for _, part := range strings.Split(token, ".") {
		if len(part) > 4 && strings.Contains(problem, part) {
			return part
		}
	}
	return ""
}

// stranger signs with a key that nobody has published.
var stranger = sync.OnceValue(func() signer {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	return signer{"ed", jwt.SigningMethodEdDSA, private}
})
