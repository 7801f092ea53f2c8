package develop

import (
	"encoding/base64"
	"fmt"
	"strings"
)

const (
	base62 = letters + "abcdefghijklmnopqrstuvwxyz" + digits
	lower  = "abcdefghijklmnopqrstuvwxyz"
	hexes  = "0123456789abcdef"
)

func (r *draw) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.IntN(256))
	}
	return b
}

func (r *draw) jwt() string {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	header := part(r.pick(`{"alg":"HS256","typ":"JWT"}`, `{"typ":"JWT","alg":"RS256","kid":"k1"}`, `{"alg":"ES256"}`))
	claims := part(fmt.Sprintf(`{"sub":"%d","iss":"https://login.example.%s","iat":%d}`, r.IntN(1e9), r.pick("com", "org"), 1700000000+r.IntN(9e7)))
	return header + "." + claims + "." + base64.RawURLEncoding.EncodeToString(r.bytes(r.pickInt(32, 64, 256)))
}

func (r *draw) pickInt(of ...int) int { return of[r.IntN(len(of))] }

func (r *draw) privateKey() string {
	kind := r.pick("RSA PRIVATE KEY", "EC PRIVATE KEY", "PRIVATE KEY", "OPENSSH PRIVATE KEY", "ENCRYPTED PRIVATE KEY")
	return pem(kind, r.bytes(r.pickInt(120, 600, 1190)))
}

// pem is a block as such files have it.
func pem(kind string, body []byte) string {
	text := base64.StdEncoding.EncodeToString(body)
	var b strings.Builder
	fmt.Fprintf(&b, "-----BEGIN %s-----\n", kind)
	for len(text) > 64 {
		b.WriteString(text[:64] + "\n")
		text = text[64:]
	}
	fmt.Fprintf(&b, "%s\n-----END %s-----", text, kind)
	return b.String()
}

func (r *draw) database() string {
	user, password := r.pick("app", "writer", "svc_orders", "report"), r.some(base62, 12+r.IntN(12))
	host := r.pick("db", "pg-1", "shard-00", "cache") + "." + r.pick("internal", "prod.example.net", "example.org")
	switch r.IntN(5) {
	case 0:
		return fmt.Sprintf("postgres://%s:%s@%s:5432/orders?sslmode=require", user, password, host)
	case 1:
		return fmt.Sprintf("mysql://%s:%s@%s:3306/shop", user, password, host)
	case 2:
		return fmt.Sprintf("mongodb+srv://%s:%s@%s/billing?retryWrites=true", user, password, host)
	case 3:
		return fmt.Sprintf("redis://%s:%s@%s:6379/0", user, password, host)
	}
	return fmt.Sprintf("postgresql://%s:%s@%s/ledger", user, password, host)
}

func (r *draw) webhook() string {
	if r.chance(50) {
		return "https://hooks.slack.com/services/T" + r.some(letters+digits, 8) + "/B" + r.some(letters+digits, 10) + "/" + r.some(base62, 24)
	}
	return "https://discord.com/api/webhooks/1" + r.some(digits, 17) + "/" + r.some(base62+"_-", 68)
}

func (r *draw) cloudKey() string {
	if r.chance(60) {
		return r.pick("AKIA", "AKIA", "ASIA") + r.some(letters+"234567", 16)
	}
	return "AIza" + r.some(base62+"_-", 35)
}

func (r *draw) oauthToken() string {
	switch r.IntN(4) {
	case 0:
		return r.pick("ghp_", "gho_", "ghs_") + r.some(base62, 36)
	case 1:
		return "glpat-" + r.some(base62, 20)
	case 2:
		return "xoxb-" + r.some(digits, 12) + "-" + r.some(digits, 13) + "-" + r.some(base62, 24)
	}
	return "ya29." + r.some(base62+"_-", 120)
}

func (r *draw) apiKey() string {
	switch r.IntN(4) {
	case 0:
		return r.pick("sk_live_", "rk_live_", "sk_test_") + r.some(base62, 24)
	case 1:
		return "SG." + r.some(base62+"_-", 22) + "." + r.some(base62+"_-", 43)
	case 2:
		return "npm_" + r.some(base62, 36)
	}
	return "key-" + r.some(hexes, 32)
}

// entropy is a secret that only what stands before it tells from other strings.
func (r *draw) entropy() string {
	switch r.IntN(3) {
	case 0:
		return r.some(base62, 24+r.IntN(20))
	case 1:
		return base64.StdEncoding.EncodeToString(r.bytes(32))
	}
	return r.some(hexes, 40)
}
