package identity

import (
	"slices"
	"strings"
)

// Codes are all that an Error's Code can be, sorted. They are published in
// docs/reasons.md and only ever added to.
var Codes = slices.Sorted(slices.Values(slices.Concat(
	prefixed("token", jwtCodes), prefixed("token", tokenCodes), prefixed("proof", jwtCodes), prefixed("proof", proofCodes),
	prefixed("identity", identityCodes))))

const (
	// jwtCodes are of a signed JWT, whatever it is for.
	jwtCodes = `too_large parts encrypted header_base64 claims_base64 signature_base64
		header_json header_object header_duplicate header_utf8 header_depth header_number
		claims_json claims_object claims_duplicate claims_utf8 claims_depth claims_number
		crit b64 jku x5u jwk x5c zip enc nested typ
		unsecured alg_missing alg_type alg_symmetric alg_unknown alg_key
		signature_length signature
		jti_missing jti_type jti_empty jti_long jti_characters
		iat_missing iat_type iat_range early expired`

	tokenCodes = `iss_missing iss_type iss_unknown keys_stale
		kid_missing kid_type kid_form kid_unknown
		sub_missing sub_type sub_empty sub_long sub_characters
		aud_missing aud_type aud_empty aud_long aud_characters aud_many aud_other aud_server
		exp_missing exp_type exp_range exp_order nbf_missing nbf_type nbf_range iat_future lifetime
		purposes_missing purposes_type purposes_empty purposes_many purposes_item purposes_wildcard purposes_form purposes_twice
		on_behalf_of_type on_behalf_of_empty on_behalf_of_long on_behalf_of_characters
		act_type act_deep act.sub_missing act.sub_type act.sub_empty act.sub_long act.sub_characters
		tools_type tools_empty tools_many tools_item tools_wildcard tools_form tools_twice
		scope_type scope_wildcard
		cnf_missing cnf_type cnf_empty cnf_unknown cnf_form cnf_no_certificate cnf_certificate`

	proofCodes = `missing unbound jwk_missing jwk_private thumbprint
		htm_missing htm_type htm_empty htm_long htm_characters htm
		htu_missing htu_type htu_empty htu_long htu_characters htu
		ath_missing ath_type ath_empty ath_long ath_characters ath`
)

// identityCodes are of tokens that prove an identity to an exchange, beside what
// holds of every signed JWT and its claims.
const identityCodes = `sub_form domain_unknown iss_unknown sub_long bound claims aud_other exp_order lifetime early expired`

func prefixed(about, codes string) []string {
	list := strings.Fields(codes)
	for i := range list {
		list[i] = about + "." + list[i]
	}
	return list
}
