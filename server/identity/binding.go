package identity

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/url"
	"strings"
	"time"
)

// Bounds of a proof of possession.
const (
	// MaxProof is the largest proof, in bytes.
	MaxProof = 8 << 10
	// ProofAge is how long after it was made a proof is accepted, beside the
	// leeway.
	ProofAge = time.Minute
)

// proofMethod is what a proof must have in `htm`: gRPC and MCP ask with a POST.
const proofMethod = "POST"

// binding is the `cnf` of a token: who may show it.
type binding struct {
	certificate, key [sha256.Size]byte // of x5t#S256 and jkt
	// hasCertificate and hasKey say which of them bind; none: anybody may.
	hasCertificate, hasKey bool
}

// binding reads the claim `cnf`. A way to bind that is not known cannot be
// checked, so a token with one is refused.
func (r *reader) binding() binding {
	var b binding
	value, ok := r.members["cnf"]
	if !ok {
		return b
	}
	members, ok := value.(map[string]any)
	if !ok {
		r.fail("cnf", "type", `the claim "cnf" is not an object`)
		return b
	}
	known := 0
	if value, ok := members["x5t#S256"]; ok {
		b.certificate, b.hasCertificate = r.thumbprint("x5t#S256", value), true
		known++
	}
	if value, ok := members["jkt"]; ok {
		b.key, b.hasKey = r.thumbprint("jkt", value), true
		known++
	}
	switch {
	case len(members) == 0:
		r.fail("cnf", "empty", `the claim "cnf" is empty`)
	case known < len(members):
		r.fail("cnf", "unknown", `the claim "cnf" binds the token in a way that cannot be checked`)
	}
	return b
}

func (r *reader) thumbprint(name string, value any) [sha256.Size]byte {
	text, _ := value.(string)
	sum, err := decode64(text)
	if err != nil || len(sum) != sha256.Size {
		r.fail("cnf", "form", `the claim "cnf" has a %q that is not a SHA-256 in base64url`, name)
		return [sha256.Size]byte{}
	}
	return [sha256.Size]byte(sum)
}

// checkBinding holds what was presented against a token's `cnf`, and is the
// digest under which the proof is used up; zero: there is none.
func (v *Verifier) checkBinding(c *claims, required bool, p *Presented, audience []string, at time.Time) (digest [sha256.Size]byte, err error) {
	b := &c.binding
	switch {
	case required && !b.hasCertificate && !b.hasKey:
		return digest, unclaimed("token.cnf_missing", `the claim "cnf" is missing: the issuer's tokens must say who may show them`)
	case b.hasCertificate && p.Certificate == [sha256.Size]byte{}:
		return digest, unclaimed("token.cnf_no_certificate", "the token is bound to a client certificate, and the connection has none")
	case b.hasCertificate && subtle.ConstantTimeCompare(b.certificate[:], p.Certificate[:]) != 1:
		return digest, unclaimed("token.cnf_certificate", "the token is bound to another client certificate")
	case !b.hasKey && p.Proof != "":
		return digest, unclaimed("proof.unbound", "a proof is given, and the token is bound to no key")
	case !b.hasKey:
		return digest, nil
	case p.Proof == "":
		return digest, unclaimed("proof.missing", "the token is bound to a key, and no proof of its possession is given")
	}
	return v.checkProof(p, b.key, audience, at)
}

// checkProof verifies a DPoP proof (RFC 9449): that the holder of a key wants to
// use this token, now, for one of the audiences.
func (v *Verifier) checkProof(p *Presented, want [sha256.Size]byte, audience []string, at time.Time) (used [sha256.Size]byte, err error) {
	proof, err := splitAs("proof", p.Proof, MaxProof)
	if err != nil {
		return used, err
	}
	if err := proof.checkHeader("jwk", true, "dpop+jwt"); err != nil {
		return used, err
	}
	alg, err := proof.algorithm()
	if err != nil {
		return used, err
	}
	k, err := proof.own()
	if err != nil {
		return used, err
	}
	// Before the signature, so that nobody has one verified with a key that no
	// issuer named.
	if subtle.ConstantTimeCompare(k.thumbprint[:], want[:]) != 1 {
		return used, proof.fail("thumbprint", "'s key is not the one that the token is bound to")
	}
	if err := proof.prove(alg, k); err != nil {
		return used, err
	}
	r := reader{about: "proof", members: proof.claims}
	method, target := r.name("htm", maxName), r.name("htu", maxName)
	ath, made, id := r.name("ath", maxName), r.date("iat"), r.name("jti", maxTokenID)
	if r.err != nil {
		return used, r.err
	}
	sum := sha256.Sum256([]byte(p.Token))
	switch {
	case method != proofMethod:
		return used, unclaimed("proof.htm", `the proof's "htm" is not %q`, proofMethod)
	case !targets(target, audience):
		return used, unclaimed("proof.htu", `the proof's "htu" is not the audience that the token is used for`)
	case subtle.ConstantTimeCompare([]byte(ath), []byte(strict64.EncodeToString(sum[:]))) != 1:
		return used, unclaimed("proof.ath", `the proof's "ath" is not that of the token`)
	case at.Before(made.Add(-v.leeway)):
		return used, expired("proof.early", "the proof is of the future")
	case !at.Before(made.Add(ProofAge + v.leeway)):
		return used, expired("proof.expired", "the proof is older than %s", ProofAge)
	}
	return digest([]byte("dpop"), k.thumbprint[:], []byte(id)), nil
}

// own is the key that a proof brings along.
func (p *parts) own() (key, error) {
	object, ok := p.header["jwk"].(map[string]any)
	if !ok {
		return key{}, p.fail("jwk_missing", `'s header has no "jwk" that is an object`)
	}
	own := jwk(object)
	if err := own.checkPublic(); err != nil {
		return key{}, p.fail("jwk_private", "'s key: %s", err)
	}
	k, err := own.public()
	if err != nil {
		return key{}, p.fail("jwk", "'s key: %s", err)
	}
	return k, nil
}

// targets reports whether a proof's `htu` is one of the audiences, as URLs
// without query and fragment.
func targets(htu string, audience []string) bool {
	got, ok := place(htu)
	if !ok {
		return false
	}
	for _, a := range audience {
		if want, ok := place(a); ok && got == want {
			return true
		}
	}
	return false
}

// place is a URL in the form in which two of the same place are equal.
func place(text string) (string, bool) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return "", false
	}
	host := strings.ToLower(u.Host)
	if u.Scheme == "https" {
		host = strings.TrimSuffix(host, ":443")
	} else {
		host = strings.TrimSuffix(host, ":80")
	}
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	return u.Scheme + "://" + host + path, true
}
