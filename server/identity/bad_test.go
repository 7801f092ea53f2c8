package identity

import (
	"encoding/base64"
	"strings"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

const (
	wantInvalid = writv1.ErrorReason_ERROR_REASON_TOKEN_INVALID
	wantExpired = writv1.ErrorReason_ERROR_REASON_TOKEN_EXPIRED
	wantClaims  = writv1.ErrorReason_ERROR_REASON_TOKEN_CLAIMS
)

// badToken is a good token with one thing wrong.
type badToken struct {
	name    string
	header  func(map[string]any)
	claims  func(map[string]any)
	token   func(s signer, good string) string
	reason  writv1.ErrorReason
	problem string
}

func set(name string, value any) func(map[string]any) {
	return func(m map[string]any) { m[name] = value }
}

func drop(name string) func(map[string]any) {
	return func(m map[string]any) { delete(m, name) }
}

// parts of a good token, changed by hand.
func rewrite(change func(p []string) string) func(signer, string) string {
	return func(_ signer, good string) string { return change(strings.Split(good, ".")) }
}

// signed makes a correctly signed token of a header and claims as text.
func signed(change func(header, claims string) (string, string)) func(signer, string) string {
	return func(s signer, _ string) string {
		return s.sign(change(encode(s.header()), encode(goodClaims())))
	}
}

func nested(depth int) map[string]any {
	act := map[string]any{"sub": "planted-actor"}
	for range depth - 1 {
		act = map[string]any{"sub": "planted-actor", "act": act}
	}
	return act
}

func many(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = "p" + strings.Repeat("x", i)
	}
	return list
}

var badStructure = []badToken{
	{name: "empty", token: func(signer, string) string { return "" }, problem: "the token is not three parts with dots between"},
	{name: "no dots", token: func(signer, string) string { return "planted" }, problem: "the token is not three parts with dots between"},
	{name: "two parts", token: rewrite(func(p []string) string { return p[0] + "." + p[1] }), problem: "the token is not three parts with dots between"},
	{name: "five parts", token: rewrite(func(p []string) string { return strings.Join(p, ".") + ".a.b" }), problem: "the token is not three parts with dots between"},
	{name: "too large", claims: set("pad", strings.Repeat("x", MaxToken)), problem: "the token is larger than 16384 bytes"},
	{name: "header with padding", token: rewrite(func(p []string) string { return p[0] + "==." + p[1] + "." + p[2] }), problem: "the token's header is not base64url"},
	{name: "claims in standard base64", token: rewrite(func(p []string) string { return p[0] + "." + p[1] + "+/." + p[2] }), problem: "the token's claims is not base64url"},
	{name: "signature with a line break", token: rewrite(func(p []string) string { return p[0] + "." + p[1] + "." + p[2][:8] + "\n" + p[2][8:] }), problem: "the token's signature is not base64url"},
	{name: "signature with stray bits", token: rewrite(func(p []string) string { return p[0] + "." + p[1] + "." + p[2][:len(p[2])-1] + "_" }), problem: "the token's signature is not base64url"},
	{name: "header not JSON", token: signed(func(_, c string) (string, string) { return "planted", c }), problem: "the token's header: invalid JSON near byte 0"},
	{name: "header an array", token: signed(func(_, c string) (string, string) { return "[]", c }), problem: "the token's header: not a JSON object"},
	{name: "header with a duplicate key", token: signed(func(h, c string) (string, string) { return strings.Replace(h, "{", `{"alg":"none",`, 1), c }), problem: "the token's header: duplicate key"},
	{name: "claims not JSON", token: signed(func(h, _ string) (string, string) { return h, `{"planted":` }), problem: "the token's claims: unexpected end of the document"},
	{name: "claims with a duplicate key", token: signed(func(h, c string) (string, string) { return h, strings.Replace(c, "{", `{"sub":"planted-other",`, 1) }), problem: "the token's claims: duplicate key"},
	{name: "claims with a key duplicated by an escape", token: signed(func(h, c string) (string, string) {
		return h, strings.Replace(c, "{", `{"s\u0075b":"planted-other",`, 1)
	}), problem: "the token's claims: duplicate key"},
	{name: "claims with invalid UTF-8", token: signed(func(h, c string) (string, string) { return h, strings.Replace(c, "planted-sub", "planted-\xff", 1) }), problem: "the token's claims: invalid UTF-8 near byte"},
	{name: "claims twice", token: signed(func(h, c string) (string, string) { return h, c + c }), problem: "the token's claims: more than one JSON value"},
	{name: "claims too deep", token: signed(func(h, c string) (string, string) {
		return h, strings.Replace(c, "{", `{"planted":`+strings.Repeat("[", 64)+strings.Repeat("]", 64)+`,`, 1)
	}), problem: "the token's claims: nested deeper than 64"},
	{name: "claims with a number out of range", token: signed(func(h, c string) (string, string) { return h, strings.Replace(c, "{", `{"planted":1e999,`, 1) }), problem: "the token's claims: number out of range"},
}

var badHeader = []badToken{
	{name: "no kid", header: drop("kid"), problem: `the token's header has no "kid"`},
	{name: "empty kid", header: set("kid", ""), problem: `the token's header has no "kid"`},
	{name: "kid a number", header: set("kid", 1), problem: `the token's header has no "kid"`},
	{name: "kid unknown", header: set("kid", "planted"), problem: "the issuer has no such key"},
	{name: "kid in other case", header: set("kid", "ED"), problem: "the issuer has no such key"},
	{name: "alg none", header: set("alg", "none"), problem: `the token's "alg" is not one for its key`},
	{name: "alg missing", header: drop("alg"), problem: `the token's "alg" is not one for its key`},
	{name: "alg in other case", header: set("alg", "eddsa"), problem: `the token's "alg" is not one for its key`},
	{name: "alg of another key", header: set("alg", "ES256"), problem: `the token's "alg" is not one for its key`},
	{name: "alg HS256 on a public key", header: set("alg", "HS256"), problem: `the token's "alg" is not one for its key`},
	{name: "alg an array", header: set("alg", []string{"EdDSA"}), problem: `the token's "alg" is not one for its key`},
	{name: "key of another type", header: set("kid", "p256"), problem: `the token's "alg" is not one for its key`},
	{name: "crit", header: set("crit", []string{"exp"}), problem: `the token's header has "crit"`},
	{name: "jku", header: set("jku", "https://planted.example/keys"), problem: `the token's header has "jku"`},
	{name: "x5u", header: set("x5u", "https://planted.example/cert"), problem: `the token's header has "x5u"`},
	{name: "jwk", header: set("jwk", map[string]any{"kty": "oct"}), problem: `the token's header has "jwk"`},
	{name: "x5c", header: set("x5c", []string{"planted"}), problem: `the token's header has "x5c"`},
	{name: "typ of something else", header: set("typ", "logout+jwt"), problem: `the token's "typ" is not "JWT", "JOSE" or "at+jwt"`},
	{name: "typ not a string", header: set("typ", nil), problem: `the token's "typ" is not "JWT", "JOSE" or "at+jwt"`},
}

var badSignature = []badToken{
	{name: "signature empty", token: rewrite(func(p []string) string { return p[0] + "." + p[1] + "." }), problem: "the token's signature is wrong"},
	{name: "signature cut", token: rewrite(func(p []string) string { return p[0] + "." + p[1] + "." + p[2][:84] }), problem: "the token's signature is wrong"},
	{name: "signature of other claims", token: func(s signer, good string) string {
		other := strings.Split(s.sign(encode(s.header()), `{}`), ".")
		return good[:strings.LastIndexByte(good, '.')+1] + other[2]
	}, problem: "the token's signature is wrong"},
	{name: "claims changed after signing", token: rewrite(func(p []string) string {
		c, _ := base64.RawURLEncoding.DecodeString(p[1])
		return p[0] + "." + b64([]byte(strings.Replace(string(c), "planted-sub", "planted-boss", 1))) + "." + p[2]
	}), problem: "the token's signature is wrong"},
	{name: "issuer unknown", claims: set("iss", "https://planted.example"), problem: "no trusted issuer issued the token"},
	{name: "issuer with a slash more", claims: set("iss", testIssuer+"/"), problem: "no trusted issuer issued the token"},
	{name: "issuer missing", claims: drop("iss"), problem: "no trusted issuer issued the token"},
	{name: "issuer an array", claims: set("iss", []string{testIssuer}), problem: "no trusted issuer issued the token"},
}

var badTime = []badToken{
	{name: "expired", claims: set("exp", now.Unix()-5), reason: wantExpired, problem: "the token is expired"},
	{name: "not valid yet by nbf", claims: set("nbf", now.Unix()+6), reason: wantExpired, problem: "the token is not valid yet"},
	{name: "not valid yet by iat", claims: set("iat", now.Unix()+6), reason: wantExpired, problem: "the token is not valid yet"},
	{name: "valid too long", claims: set("exp", now.Unix()+591), reason: wantClaims, problem: "the token is valid for more than 10m0s"},
	{name: "exp before iat", claims: set("exp", now.Unix()-11), reason: wantClaims, problem: `"exp" is not after "iat" and "nbf"`},
	{name: "exp missing", claims: drop("exp"), reason: wantClaims, problem: `the claim "exp" is missing`},
	{name: "iat missing", claims: drop("iat"), reason: wantClaims, problem: `the claim "iat" is missing`},
	{name: "nbf missing", claims: drop("nbf"), reason: wantClaims, problem: `the claim "nbf" is missing`},
	{name: "exp a string", claims: set("exp", "1790000290"), reason: wantClaims, problem: `the claim "exp" is not a number`},
	{name: "exp null", claims: set("exp", nil), reason: wantClaims, problem: `the claim "exp" is not a number`},
	{name: "exp beyond any date", claims: set("exp", 1e300), reason: wantClaims, problem: `the claim "exp" is not a date from 1970 to 9999`},
	{name: "iat negative", claims: set("iat", -1), reason: wantClaims, problem: `the claim "iat" is not a date from 1970 to 9999`},
}

var badClaims = []badToken{
	{name: "sub missing", claims: drop("sub"), reason: wantClaims, problem: `the claim "sub" is missing`},
	{name: "sub empty", claims: set("sub", ""), reason: wantClaims, problem: `the claim "sub" is empty`},
	{name: "sub too long", claims: set("sub", strings.Repeat("s", 2049)), reason: wantClaims, problem: `the claim "sub" is longer than 2048 bytes`},
	{name: "sub a number", claims: set("sub", 7), reason: wantClaims, problem: `the claim "sub" is not a string`},
	{name: "sub with a NUL", claims: set("sub", "planted\x00"), reason: wantClaims, problem: `the claim "sub" has control characters`},
	{name: "jti missing", claims: drop("jti"), reason: wantClaims, problem: `the claim "jti" is missing`},
	{name: "jti empty", claims: set("jti", ""), reason: wantClaims, problem: `the claim "jti" is empty`},
	{name: "jti too long", claims: set("jti", strings.Repeat("j", 257)), reason: wantClaims, problem: `the claim "jti" is longer than 256 bytes`},
	{name: "aud missing", claims: drop("aud"), reason: wantClaims, problem: `the claim "aud" is missing`},
	{name: "aud of another", claims: set("aud", "planted-aud"), reason: wantClaims, problem: "the token is not for this audience"},
	{name: "aud empty array", claims: set("aud", []string{}), reason: wantClaims, problem: "the token is not for this audience"},
	{name: "aud of numbers", claims: set("aud", []any{1}), reason: wantClaims, problem: `the claim "aud" is not a string`},
	{name: "aud too many", claims: set("aud", many(33)), reason: wantClaims, problem: `the claim "aud" names more than 32 audiences`},
	{name: "purposes missing", claims: drop("purposes"), reason: wantClaims, problem: `the claim "purposes" is missing`},
	{name: "purposes a string", claims: set("purposes", "planted-purpose"), reason: wantClaims, problem: `the claim "purposes" is not an array`},
	{name: "purposes empty", claims: set("purposes", []string{}), reason: wantClaims, problem: `the claim "purposes" is empty`},
	{name: "purposes too many", claims: set("purposes", many(33)), reason: wantClaims, problem: `the claim "purposes" has more than 32 purposes`},
	{name: "purposes all", claims: set("purposes", []string{"*"}), reason: wantClaims, problem: `the claim "purposes" holds a wildcard: every purpose must be named`},
	{name: "purposes with a wildcard", claims: set("purposes", []string{"planted.*"}), reason: wantClaims, problem: `the claim "purposes" holds a wildcard: every purpose must be named`},
	{name: "purposes of numbers", claims: set("purposes", []any{1}), reason: wantClaims, problem: `the claim "purposes" holds something that is not a string`},
	{name: "purposes in capitals", claims: set("purposes", []string{"Planted"}), reason: wantClaims, problem: `the claim "purposes" holds something that is not a purpose's id`},
	{name: "purposes with an empty one", claims: set("purposes", []string{""}), reason: wantClaims, problem: `the claim "purposes" holds something that is not a purpose's id`},
	{name: "purposes with a dot in front", claims: set("purposes", []string{".planted"}), reason: wantClaims, problem: `the claim "purposes" holds something that is not a purpose's id`},
	{name: "purposes with one too long", claims: set("purposes", []string{strings.Repeat("p", 65)}), reason: wantClaims, problem: `the claim "purposes" holds something that is not a purpose's id`},
	{name: "purposes twice", claims: set("purposes", []string{"planted", "planted"}), reason: wantClaims, problem: `the claim "purposes" holds a purpose twice`},
	{name: "tools a string", claims: set("tools", "planted/x"), reason: wantClaims, problem: `the claim "tools" is not an array`},
	{name: "tools null", claims: set("tools", nil), reason: wantClaims, problem: `the claim "tools" is not an array`},
	{name: "tools empty", claims: set("tools", []string{}), reason: wantClaims, problem: `the claim "tools" is empty`},
	{name: "tools too many", claims: set("tools", many(65)), reason: wantClaims, problem: `the claim "tools" has more than 64 tools`},
	{name: "tools all", claims: set("tools", []string{"*"}), reason: wantClaims, problem: `the claim "tools" holds a wildcard: every tool must be named`},
	{name: "tools all of a server", claims: set("tools", []string{"planted/*"}), reason: wantClaims, problem: `the claim "tools" holds a wildcard: every tool must be named`},
	{name: "tools of numbers", claims: set("tools", []any{1}), reason: wantClaims, problem: `the claim "tools" holds something that is not a string`},
	{name: "tools a server alone", claims: set("tools", []string{"planted"}), reason: wantClaims, problem: `the claim "tools" holds something that is not a tool's name`},
	{name: "tools of no server", claims: set("tools", []string{"/planted"}), reason: wantClaims, problem: `the claim "tools" holds something that is not a tool's name`},
	{name: "tools of no name", claims: set("tools", []string{"planted/"}), reason: wantClaims, problem: `the claim "tools" holds something that is not a tool's name`},
	{name: "tools with a space", claims: set("tools", []string{"planted/x y"}), reason: wantClaims, problem: `the claim "tools" holds something that is not a tool's name`},
	{name: "tools with one too long", claims: set("tools", []string{"planted/" + strings.Repeat("x", 129)}), reason: wantClaims, problem: `the claim "tools" holds something that is not a tool's name`},
	{name: "tools twice", claims: set("tools", []string{"planted/x", "planted/x"}), reason: wantClaims, problem: `the claim "tools" holds a tool twice`},
	{name: "on_behalf_of an object", claims: set("on_behalf_of", map[string]any{}), reason: wantClaims, problem: `the claim "on_behalf_of" is not a string`},
	{name: "on_behalf_of empty", claims: set("on_behalf_of", ""), reason: wantClaims, problem: `the claim "on_behalf_of" is empty`},
	{name: "on_behalf_of null", claims: set("on_behalf_of", nil), reason: wantClaims, problem: `the claim "on_behalf_of" is not a string`},
	{name: "act a string", claims: set("act", "planted"), reason: wantClaims, problem: `the claim "act" is not an object`},
	{name: "act without sub", claims: set("act", map[string]any{"iss": testIssuer}), reason: wantClaims, problem: `the claim "act" has no "sub"`},
	{name: "act with an empty sub", claims: set("act", map[string]any{"sub": ""}), reason: wantClaims, problem: `the claim "act.sub" is empty`},
	{name: "act too deep", claims: set("act", nested(9)), reason: wantClaims, problem: `the claim "act" is a chain of more than 8 actors`},
}

func (b badToken) make(s signer) string {
	header, claims := s.header(), goodClaims()
	if b.header != nil {
		b.header(header)
	}
	if b.claims != nil {
		b.claims(claims)
	}
	token := s.sign(encode(header), encode(claims))
	if b.token != nil {
		token = b.token(s, token)
	}
	return token
}
