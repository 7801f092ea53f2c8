package identity

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/writpdp/writ/document"
)

// parts are the parts of a signed JWT; nothing in them is proved.
type parts struct {
	// about is "token" or "proof": what codes and problems speak of.
	about          string
	header, claims map[string]any
	signed         string
	signature      []byte
}

// fail refuses with a code of the token or the proof that is read.
func (p *parts) fail(defect, format string, args ...any) error {
	return invalid(p.about+"."+defect, "the "+p.about+format, args...)
}

// split takes a token apart.
func split(token string) (parts, error) { return splitAs("token", token, MaxToken) }

func splitAs(about, text string, limit int) (parts, error) {
	p := parts{about: about}
	if len(text) > limit {
		return p, p.fail("too_large", " is larger than %d bytes", limit)
	}
	header, rest, _ := strings.Cut(text, ".")
	claims, signature, ok := strings.Cut(rest, ".")
	switch strings.Count(text, ".") {
	case 2:
	case 4:
		return p, p.fail("encrypted", " is encrypted: it must be signed and readable")
	default:
		ok = false
	}
	if !ok {
		return p, p.fail("parts", " is not three parts with dots between")
	}
	var err error
	if p.header, err = p.object("header", header); err != nil {
		return p, err
	}
	if p.claims, err = p.object("claims", claims); err != nil {
		return p, err
	}
	if p.signature, err = decode64(signature); err != nil {
		return p, p.fail("signature_base64", "'s signature is not base64url")
	}
	p.signed = text[:len(header)+1+len(claims)]
	return p, nil
}

// kinds are the codes of what is wrong with a part's JSON.
var kinds = map[document.Kind]string{
	document.Duplicate: "duplicate", document.Encoding: "utf8", document.TooDeep: "depth",
	document.Number: "number", document.NotObject: "object",
}

// object decodes a part. Only the kind of the problem is told: a pointer would
// quote the token's keys.
func (p *parts) object(name, part string) (map[string]any, error) {
	data, err := decode64(part)
	if err != nil {
		return nil, p.fail(name+"_base64", "'s %s is not base64url", name)
	}
	members, err := document.Members(data)
	if err != nil {
		kind, problem := "json", "invalid JSON"
		if broken, ok := errors.AsType[*document.Error](err); ok {
			problem = broken.Problem
			if k, ok := kinds[broken.Kind]; ok {
				kind = k
			}
		}
		return nil, p.fail(name+"_"+kind, "'s %s: %s", name, problem)
	}
	return members, nil
}

// decode64 decodes strict base64url. The decoder would skip line breaks.
func decode64(s string) ([]byte, error) {
	if strings.IndexByte(s, '\r') >= 0 || strings.IndexByte(s, '\n') >= 0 {
		return nil, errors.New("a line break is not base64url")
	}
	return strict64.DecodeString(s)
}

// banned are header members with which nothing is accepted, whatever they hold:
// a key that comes along or is to be fetched, rules that are not these, and
// contents that are not the claims.
var banned = []struct{ member, code, problem string }{
	{"crit", "crit", "'s header has \"crit\": no extension is understood"},
	{"b64", "b64", "'s header has \"b64\""},
	{"jku", "jku", "'s header has \"jku\": keys are configured"},
	{"x5u", "x5u", "'s header has \"x5u\": keys are configured"},
	{"jwk", "jwk", "'s header has \"jwk\": keys are configured"},
	{"x5c", "x5c", "'s header has \"x5c\": keys are configured"},
	{"zip", "zip", "'s header has \"zip\": nothing is decompressed"},
	{"enc", "enc", "'s header has \"enc\": it must be signed and readable"},
	{"cty", "nested", "'s header has \"cty\": nothing is nested"},
}

// checkHeader holds a header to all rules that are not about its key. except is
// a member of banned that is wanted; types are the values that "typ" may have,
// and it must have one where must is set.
func (p *parts) checkHeader(except string, must bool, types ...string) error {
	for _, b := range banned {
		if _, ok := p.header[b.member]; ok && b.member != except {
			return p.fail(b.code, "%s", b.problem)
		}
	}
	value, ok := p.header["typ"]
	if typ, _ := value.(string); (ok || must) && !slices.Contains(types, typ) {
		return p.fail("typ", `'s "typ" is not "%s"`, strings.Join(types, `" or "`))
	}
	return nil
}

// algorithm is the header's algorithm, one that is accepted from some key.
func (p *parts) algorithm() (string, error) {
	value, ok := p.header["alg"]
	if !ok {
		return "", p.fail("alg_missing", `'s header has no "alg"`)
	}
	alg, ok := value.(string)
	switch {
	case !ok:
		return "", p.fail("alg_type", `'s "alg" is not a string`)
	case strings.EqualFold(alg, "none"):
		return "", p.fail("unsecured", " is not signed")
	case len(alg) == 5 && strings.EqualFold(alg[:2], "HS"):
		return "", p.fail("alg_symmetric", `'s "alg" is symmetric: who can verify could sign`)
	case !slices.Contains(algorithms, alg):
		return "", p.fail("alg_unknown", `'s "alg" is not "%s"`, strings.Join(algorithms, `" or "`))
	}
	return alg, nil
}

// pick is the key of a token's issuer that its header names, and the algorithm,
// which is one for this key.
func (p *parts) pick(from KeySource, at time.Time) (key, string, error) {
	if err := p.checkHeader("", false, "JWT", "JOSE", "at+jwt", "application/at+jwt"); err != nil {
		return key{}, "", err
	}
	alg, err := p.algorithm()
	if err != nil {
		return key{}, "", err
	}
	value, ok := p.header["kid"]
	if !ok {
		return key{}, "", p.fail("kid_missing", `'s header has no "kid"`)
	}
	id, ok := value.(string)
	switch {
	case !ok:
		return key{}, "", p.fail("kid_type", `'s "kid" is not a string`)
	case id == "" || len(id) > maxKeyID || strings.ContainsFunc(id, func(c rune) bool { return !unicode.IsPrint(c) }):
		return key{}, "", p.fail("kid_form", `'s "kid" is not 1 to %d bytes that can be printed`, maxKeyID)
	}
	keys, ok := from.At(at)
	if !ok {
		from.Missed() // they may be there by now
		return key{}, "", p.fail("keys_stale", "'s issuer has no keys that may be trusted: they could not be fetched for too long")
	}
	k, ok := keys.byID[id]
	if !ok {
		from.Missed()
		return key{}, "", p.fail("kid_unknown", "'s issuer has no such key")
	}
	if _, ok := k.method(alg); !ok {
		return key{}, "", p.fail("alg_key", `'s "alg" is not one for its key`)
	}
	return k, alg, nil
}

// prove verifies the signature with a key, which must be for the algorithm.
func (p *parts) prove(alg string, k key) error {
	method, ok := k.method(alg)
	if !ok {
		return p.fail("alg_key", `'s "alg" is not one for its key`)
	}
	if len(p.signature) != k.signature {
		return p.fail("signature_length", "'s signature has another length than its key's")
	}
	if err := method.Verify(p.signed, p.signature, k.public); err != nil {
		return p.fail("signature", "'s signature is wrong")
	}
	return nil
}

// digest is SHA-256 over fields, each after its length in eight bytes, so that
// no two lists of fields are the same bytes.
func digest(fields ...[]byte) [sha256.Size]byte {
	data := make([]byte, 0, 512) // on the stack, and most fit
	for _, f := range fields {
		data = binary.BigEndian.AppendUint64(data, uint64(len(f)))
		data = append(data, f...)
	}
	return sha256.Sum256(data)
}
