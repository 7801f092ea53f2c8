package identity

import (
	"encoding/json"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Tokens and key sets as other issuers make them, by the library with which SPIRE
// does: each algorithm, each with the header and the claims that its kind of
// issuer adds.
func TestTokensOfOtherIssuers(t *testing.T) {
	signers, _ := testKeys()
	access := func(more map[string]any) map[string]any {
		claims := goodClaims()
		for name, value := range more {
			claims[name] = value
		}
		return claims
	}
	for _, c := range []struct {
		name, alg, typ string
		header         map[jose.HeaderKey]any
		claims         map[string]any
		code           string // empty: accepted
	}{
		{"an OpenID provider's access token", "RS256", "JWT", nil, access(map[string]any{
			"azp": "agent", "auth_time": now.Unix() - 60, "acr": "1", "session_state": "s", "scope": "openid profile email",
			"realm_access": map[string]any{"roles": []string{"offline_access"}}, "resource_access": map[string]any{"account": map[string]any{"roles": []string{}}},
		}), ""},
		{"RFC 9068", "ES256", "at+jwt", nil, access(map[string]any{"client_id": "agent", "scope": "read", "aud": []string{testAudience}}), ""},
		{"RFC 9068 in full", "PS256", "application/at+jwt", nil, access(map[string]any{"client_id": "agent", "amr": []string{"mfa"}}), ""},
		{"a directory's, with a hint at a certificate", "RS256", "JWT", map[jose.HeaderKey]any{"x5t": "aGludA"}, access(map[string]any{
			"ver": "2.0", "tid": "tenant", "oid": "object", "aio": "opaque", "rh": "opaque", "uti": "opaque"}), ""},
		{"P-384", "ES384", "JWT", nil, access(nil), ""},
		{"Ed25519", "EdDSA", "JWT", nil, access(nil), ""},
		{"of a delegation", "EdDSA", "JWT", nil, access(map[string]any{"act": map[string]any{"sub": "gateway", "client_id": "g"}, "may_act": map[string]any{"sub": "x"}}), ""},
		// A JWT-SVID proves an agent and grants nothing: it is for an exchange.
		{"a JWT-SVID", "ES256", "JWT", nil, map[string]any{"sub": "spiffe://example.org/agent", "aud": []string{testAudience}, "exp": now.Unix() + 290, "iat": now.Unix() - 10},
			"token.iss_missing"},
		{"a JWT-SVID with an issuer", "ES256", "JWT", nil, map[string]any{"sub": "spiffe://example.org/agent", "aud": []string{testAudience}, "exp": now.Unix() + 290,
			"iat": now.Unix() - 10, "iss": testIssuer}, "token.jti_missing"},
		{"an ID token", "RS256", "JWT", nil, map[string]any{"iss": testIssuer, "sub": "ada", "aud": "agent", "azp": "agent", "nonce": "n", "jti": "j",
			"exp": now.Unix() + 290, "iat": now.Unix() - 10, "nbf": now.Unix() - 10}, "token.purposes_missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := signers[c.alg]
			own := jose.JSONWebKey{Key: s.private, KeyID: "of-theirs", Algorithm: c.alg, Use: "sig"}
			signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(c.alg), Key: own},
				(&jose.SignerOptions{ExtraHeaders: c.header}).WithType(jose.ContentType(c.typ)))
			if err != nil {
				t.Fatal(err)
			}
			token, err := jwt.Signed(signer).Claims(c.claims).Serialize()
			if err != nil {
				t.Fatal(err)
			}
			// Beside the key that signs, one to encrypt with, and one of a curve
			// that is not used here: both are passed over.
			set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
				{Key: signers["RS256"].public(), KeyID: "enc", Algorithm: "RSA-OAEP", Use: "enc"}, own.Public(),
				{Key: signers["ES256"].public(), KeyID: "ecdh", Algorithm: "ECDH-ES"},
			}})
			if err != nil {
				t.Fatal(err)
			}
			keys, err := ReadKeys(set)
			if err != nil {
				t.Fatal(err)
			}
			if got := keys.IDs(); len(got) != 1 || got[0] != "of-theirs" {
				t.Fatalf("the keys are %q", got)
			}
			v, err := NewVerifier(Config{Issuers: []Issuer{{ID: testIssuer, Keys: keys}}, Audience: testAudience})
			if err != nil {
				t.Fatal(err)
			}
			if c.code != "" {
				_, err := verify(v, token, now)
				if got, ok := err.(*Error); !ok || got.Code != c.code {
					t.Errorf("got %v, want the code %s", err, c.code)
				}
				return
			}
			if _, err := verify(v, token, now); err != nil {
				t.Error(err)
			}
		})
	}
}
