package identity

import (
	"encoding/json"
	"strings"
	"time"
)

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

func about(server string) func(*Presented) {
	return func(p *Presented) { p.Server = server }
}

// The good token is valid from 10 s before now until 290 s after, and the leeway
// is 5 s: the last moments that are accepted are in TestTokenEdges.
var badTime = []badToken{
	{name: "expired to the moment", at: 295 * time.Second, reason: wantExpired, code: "token.expired"},
	{name: "expired by years", claims: func(c map[string]any) { c["exp"], c["iat"], c["nbf"] = 1300819380, 1300819000, 1300819000 }, reason: wantExpired, code: "token.expired"},
	{name: "not valid yet by a moment", claims: set("iat", now.Unix()-20), at: -15*time.Second - 1, reason: wantExpired, code: "token.early"},
	{name: "not valid yet by nbf", claims: set("nbf", now.Unix()+6), reason: wantExpired, code: "token.early"},
	{name: "issued in the future", claims: set("iat", now.Unix()+6), reason: wantExpired, code: "token.iat_future"},
	{name: "issued a moment too late", at: -15*time.Second - 1, reason: wantExpired, code: "token.iat_future"},
	{name: "valid a second too long", claims: set("exp", now.Unix()+591), reason: wantClaims, code: "token.lifetime"},
	{name: "valid a fraction too long", claims: set("exp", json.Number("1790000590.001")), reason: wantClaims, code: "token.lifetime"},
	{name: "valid for years", claims: set("exp", now.Unix()+1e9), reason: wantClaims, code: "token.lifetime"},
	{name: "valid too long by iat", claims: set("iat", now.Unix()-3600), reason: wantClaims, code: "token.lifetime"},
	{name: "valid too long by nbf", claims: set("nbf", now.Unix()-3600), reason: wantClaims, code: "token.lifetime"},
	{name: "exp before iat", claims: set("exp", now.Unix()-11), reason: wantClaims, code: "token.exp_order"},
	{name: "exp at iat", claims: set("exp", now.Unix()-10), reason: wantClaims, code: "token.exp_order"},
	{name: "exp at nbf", claims: set("nbf", now.Unix()+290), reason: wantClaims, code: "token.exp_order"},
	{name: "exp missing", claims: drop("exp"), reason: wantClaims, code: "token.exp_missing"},
	{name: "iat missing", claims: drop("iat"), reason: wantClaims, code: "token.iat_missing"},
	{name: "nbf missing", claims: drop("nbf"), reason: wantClaims, code: "token.nbf_missing"},
	{name: "exp a string", claims: set("exp", "1790000290"), reason: wantClaims, code: "token.exp_type"},
	{name: "exp null", claims: set("exp", nil), reason: wantClaims, code: "token.exp_type"},
	{name: "exp true", claims: set("exp", true), reason: wantClaims, code: "token.exp_type"},
	{name: "exp an array", claims: set("exp", []int64{now.Unix() + 290}), reason: wantClaims, code: "token.exp_type"},
	{name: "iat a string", claims: set("iat", "1790000000"), reason: wantClaims, code: "token.iat_type"},
	{name: "nbf an RFC 3339 date", claims: set("nbf", "2026-09-21T14:13:20Z"), reason: wantClaims, code: "token.nbf_type"},
	{name: "exp beyond any date", claims: set("exp", 1e300), reason: wantClaims, code: "token.exp_range"},
	{name: "exp in milliseconds", claims: set("exp", now.UnixMilli()+290_000), reason: wantClaims, code: "token.exp_range"},
	{name: "exp negative", claims: set("exp", -1), reason: wantClaims, code: "token.exp_range"},
	{name: "exp a little negative", claims: set("exp", json.Number("-0.001")), reason: wantClaims, code: "token.exp_range"},
	{name: "iat negative", claims: set("iat", -1), reason: wantClaims, code: "token.iat_range"},
	{name: "nbf beyond any date", claims: set("nbf", 253402300800), reason: wantClaims, code: "token.nbf_range"},
}

var badAudience = []badToken{
	{name: "aud missing", claims: drop("aud"), reason: wantClaims, code: "token.aud_missing"},
	{name: "aud of another", claims: set("aud", "planted-aud"), reason: wantClaims, code: "token.aud_other"},
	{name: "aud a part of it", claims: set("aud", testAudience[:len(testAudience)-1]), reason: wantClaims, code: "token.aud_other"},
	{name: "aud in other case", claims: set("aud", strings.ToUpper(testAudience)), reason: wantClaims, code: "token.aud_other"},
	{name: "aud with a slash more", claims: set("aud", testAudience+"/"), reason: wantClaims, code: "token.aud_other"},
	{name: "aud the issuer", claims: set("aud", testIssuer), reason: wantClaims, code: "token.aud_other"},
	{name: "aud a wildcard", claims: set("aud", "*"), reason: wantClaims, code: "token.aud_other"},
	{name: "aud in two words", claims: set("aud", testAudience+" planted"), reason: wantClaims, code: "token.aud_other"},
	{name: "aud a tool server by its name", claims: set("aud", "mail"), with: about("mail"), reason: wantClaims, code: "token.aud_other"},
	{name: "aud of an unknown server in a request about it", claims: set("aud", "https://planted.example"), with: about("planted"), reason: wantClaims, code: "token.aud_other"},
	{name: "aud of another tool server", claims: set("aud", mailServer), with: about("files"), reason: wantClaims, code: "token.aud_server"},
	{name: "aud of a tool server in a request about none", claims: set("aud", mailServer), reason: wantClaims, code: "token.aud_server"},
	{name: "aud of a tool server in a request about an unknown one", claims: set("aud", mailServer), with: about("planted"), reason: wantClaims, code: "token.aud_server"},
	{name: "aud empty array", claims: set("aud", []string{}), reason: wantClaims, code: "token.aud_empty"},
	{name: "aud empty", claims: set("aud", ""), reason: wantClaims, code: "token.aud_empty"},
	{name: "aud empty among others", claims: set("aud", []string{testAudience, ""}), reason: wantClaims, code: "token.aud_empty"},
	{name: "aud a number", claims: set("aud", 1), reason: wantClaims, code: "token.aud_type"},
	{name: "aud of numbers", claims: set("aud", []any{testAudience, 1}), reason: wantClaims, code: "token.aud_type"},
	{name: "aud an object", claims: set("aud", map[string]any{testAudience: true}), reason: wantClaims, code: "token.aud_type"},
	{name: "aud too long", claims: set("aud", strings.Repeat("a", 2049)), reason: wantClaims, code: "token.aud_long"},
	{name: "aud with a NUL", claims: set("aud", testAudience+"\x00planted"), reason: wantClaims, code: "token.aud_characters"},
	{name: "aud too many", claims: set("aud", append(many(32), testAudience)), reason: wantClaims, code: "token.aud_many"},
}

var badClaims = []badToken{
	{name: "sub missing", claims: drop("sub"), reason: wantClaims, code: "token.sub_missing"},
	{name: "sub empty", claims: set("sub", ""), reason: wantClaims, code: "token.sub_empty"},
	{name: "sub too long", claims: set("sub", strings.Repeat("s", 2049)), reason: wantClaims, code: "token.sub_long"},
	{name: "sub a number", claims: set("sub", 7), reason: wantClaims, code: "token.sub_type"},
	{name: "sub an array", claims: set("sub", []string{"planted"}), reason: wantClaims, code: "token.sub_type"},
	{name: "sub with a NUL", claims: set("sub", "planted\x00"), reason: wantClaims, code: "token.sub_characters"},
	{name: "sub with a line break", claims: set("sub", "planted\nlevel=info"), reason: wantClaims, code: "token.sub_characters"},
	{name: "jti missing", claims: drop("jti"), reason: wantClaims, code: "token.jti_missing"},
	{name: "jti empty", claims: set("jti", ""), reason: wantClaims, code: "token.jti_empty"},
	{name: "jti too long", claims: set("jti", strings.Repeat("j", 257)), reason: wantClaims, code: "token.jti_long"},
	{name: "jti a number", claims: set("jti", 1), reason: wantClaims, code: "token.jti_type"},
	{name: "jti with a NUL", claims: set("jti", "planted\x00"), reason: wantClaims, code: "token.jti_characters"},
	{name: "on_behalf_of an object", claims: set("on_behalf_of", map[string]any{}), reason: wantClaims, code: "token.on_behalf_of_type"},
	{name: "on_behalf_of null", claims: set("on_behalf_of", nil), reason: wantClaims, code: "token.on_behalf_of_type"},
	{name: "on_behalf_of empty", claims: set("on_behalf_of", ""), reason: wantClaims, code: "token.on_behalf_of_empty"},
	{name: "on_behalf_of too long", claims: set("on_behalf_of", strings.Repeat("u", 2049)), reason: wantClaims, code: "token.on_behalf_of_long"},
	{name: "on_behalf_of with an escape", claims: set("on_behalf_of", "planted\x1b[2J"), reason: wantClaims, code: "token.on_behalf_of_characters"},
	{name: "act a string", claims: set("act", "planted"), reason: wantClaims, code: "token.act_type"},
	{name: "act null", claims: set("act", nil), reason: wantClaims, code: "token.act_type"},
	{name: "act too deep", claims: set("act", nested(9)), reason: wantClaims, code: "token.act_deep"},
	{name: "act without sub", claims: set("act", map[string]any{"iss": testIssuer}), reason: wantClaims, code: "token.act.sub_missing"},
	{name: "act with an empty sub", claims: set("act", map[string]any{"sub": ""}), reason: wantClaims, code: "token.act.sub_empty"},
	{name: "act with a sub that is a number", claims: set("act", map[string]any{"sub": 1}), reason: wantClaims, code: "token.act.sub_type"},
	{name: "act with a sub too long", claims: set("act", map[string]any{"sub": strings.Repeat("a", 2049)}), reason: wantClaims, code: "token.act.sub_long"},
	{name: "act with a DEL in its sub", claims: set("act", map[string]any{"sub": "planted\x7f"}), reason: wantClaims, code: "token.act.sub_characters"},
	{name: "scope all", claims: set("scope", "*"), reason: wantClaims, code: "token.scope_wildcard"},
	{name: "scope with a wildcard", claims: set("scope", "read planted:*"), reason: wantClaims, code: "token.scope_wildcard"},
	{name: "scope an array", claims: set("scope", []string{"planted"}), reason: wantClaims, code: "token.scope_type"},
}

var badPurposes = []badToken{
	{name: "purposes missing", claims: drop("purposes"), reason: wantClaims, code: "token.purposes_missing"},
	{name: "purposes a string", claims: set("purposes", "planted-purpose"), reason: wantClaims, code: "token.purposes_type"},
	{name: "purposes null", claims: set("purposes", nil), reason: wantClaims, code: "token.purposes_type"},
	{name: "purposes an object", claims: set("purposes", map[string]any{"planted": true}), reason: wantClaims, code: "token.purposes_type"},
	{name: "purposes empty", claims: set("purposes", []string{}), reason: wantClaims, code: "token.purposes_empty"},
	{name: "purposes too many", claims: set("purposes", many(33)), reason: wantClaims, code: "token.purposes_many"},
	{name: "purposes all", claims: set("purposes", []string{"*"}), reason: wantClaims, code: "token.purposes_wildcard"},
	{name: "purposes with a wildcard", claims: set("purposes", []string{"planted.*"}), reason: wantClaims, code: "token.purposes_wildcard"},
	{name: "purposes of numbers", claims: set("purposes", []any{1}), reason: wantClaims, code: "token.purposes_item"},
	{name: "purposes in capitals", claims: set("purposes", []string{"Planted"}), reason: wantClaims, code: "token.purposes_form"},
	{name: "purposes in one string", claims: set("purposes", []string{"planted refunds"}), reason: wantClaims, code: "token.purposes_form"},
	{name: "purposes with an empty one", claims: set("purposes", []string{""}), reason: wantClaims, code: "token.purposes_form"},
	{name: "purposes with a dot in front", claims: set("purposes", []string{".planted"}), reason: wantClaims, code: "token.purposes_form"},
	{name: "purposes with one too long", claims: set("purposes", []string{strings.Repeat("p", 65)}), reason: wantClaims, code: "token.purposes_form"},
	{name: "purposes that look like others", claims: set("purposes", []string{"suррort"}), reason: wantClaims, code: "token.purposes_form"}, // with Cyrillic letters
	{name: "purposes twice", claims: set("purposes", []string{"planted", "planted"}), reason: wantClaims, code: "token.purposes_twice"},
	{name: "tools a string", claims: set("tools", "planted/x"), reason: wantClaims, code: "token.tools_type"},
	{name: "tools null", claims: set("tools", nil), reason: wantClaims, code: "token.tools_type"},
	{name: "tools empty", claims: set("tools", []string{}), reason: wantClaims, code: "token.tools_empty"},
	{name: "tools too many", claims: set("tools", many(65)), reason: wantClaims, code: "token.tools_many"},
	{name: "tools all", claims: set("tools", []string{"*"}), reason: wantClaims, code: "token.tools_wildcard"},
	{name: "tools all of a server", claims: set("tools", []string{"planted/*"}), reason: wantClaims, code: "token.tools_wildcard"},
	{name: "tools of numbers", claims: set("tools", []any{1}), reason: wantClaims, code: "token.tools_item"},
	{name: "tools a server alone", claims: set("tools", []string{"planted"}), reason: wantClaims, code: "token.tools_form"},
	{name: "tools of no server", claims: set("tools", []string{"/planted"}), reason: wantClaims, code: "token.tools_form"},
	{name: "tools of no name", claims: set("tools", []string{"planted/"}), reason: wantClaims, code: "token.tools_form"},
	{name: "tools with a space", claims: set("tools", []string{"planted/x y"}), reason: wantClaims, code: "token.tools_form"},
	{name: "tools with one too long", claims: set("tools", []string{"planted/" + strings.Repeat("x", 129)}), reason: wantClaims, code: "token.tools_form"},
	{name: "tools twice", claims: set("tools", []string{"planted/x", "planted/x"}), reason: wantClaims, code: "token.tools_twice"},
}

func certificate(b byte) [32]byte { return [32]byte([]byte(strings.Repeat(string(rune(b)), 32))) }

func boundTo(b byte) map[string]any {
	sum := certificate(b)
	return map[string]any{"x5t#S256": b64(sum[:])}
}

var badBinding = []badToken{
	{name: "cnf missing where the issuer must bind", claims: set("iss", bindsIssuer), reason: wantClaims, code: "token.cnf_missing"},
	{name: "cnf a string", claims: set("cnf", "planted"), reason: wantClaims, code: "token.cnf_type"},
	{name: "cnf null", claims: set("cnf", nil), reason: wantClaims, code: "token.cnf_type"},
	{name: "cnf empty", claims: set("cnf", map[string]any{}), reason: wantClaims, code: "token.cnf_empty"},
	{name: "cnf with a key", claims: set("cnf", map[string]any{"jwk": map[string]any{"kty": "OKP"}}), reason: wantClaims, code: "token.cnf_unknown"},
	{name: "cnf with what is known and more", claims: func(c map[string]any) {
		cnf := boundTo('p')
		cnf["kid"] = "planted"
		c["cnf"] = cnf
	}, with: func(p *Presented) { p.Certificate = certificate('p') }, reason: wantClaims, code: "token.cnf_unknown"},
	{name: "cnf with a SHA-1", claims: set("cnf", map[string]any{"x5t#S256": b64(make([]byte, 20))}), reason: wantClaims, code: "token.cnf_form"},
	{name: "cnf in hex", claims: set("cnf", map[string]any{"x5t#S256": strings.Repeat("ab", 32)}), reason: wantClaims, code: "token.cnf_form"},
	{name: "cnf with a key's thumbprint that is a number", claims: set("cnf", map[string]any{"jkt": 1}), reason: wantClaims, code: "token.cnf_form"},
	{name: "bound to a certificate, shown without one", claims: set("cnf", boundTo('p')), reason: wantClaims, code: "token.cnf_no_certificate"},
	{name: "bound to zeros, shown without a certificate", claims: set("cnf", boundTo(0)), reason: wantClaims, code: "token.cnf_no_certificate"},
	{name: "bound to another certificate", claims: set("cnf", boundTo('p')), with: func(p *Presented) { p.Certificate = certificate('q') }, reason: wantClaims, code: "token.cnf_certificate"},
}
