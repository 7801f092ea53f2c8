package transport

import (
	"crypto/x509"
	"fmt"
	"time"
)

// Role is what a certificate is to the server.
type Role string

// The roles.
const (
	Server    Role = "server"
	Authority Role = "authority"
)

// Kind is what is wrong with a certificate.
type Kind uint8

// The kinds.
const (
	// LongLived: it lives longer than MaxLife, so who steals its key has long.
	LongLived Kind = iota + 1
	// Expiring: it ends soon, and should have been renewed by now.
	Expiring
	// Expired: it has ended.
	Expired
)

// String is the kind in words.
func (k Kind) String() string {
	return map[Kind]string{LongLived: "long-lived", Expiring: "expiring", Expired: "expired"}[k]
}

// MaxLife is the longest life of a certificate that nobody is warned of.
const MaxLife = 90 * 24 * time.Hour

// soon is when a certificate that was not renewed is about to expire: with less
// than a quarter of its life left, and at most 30 days. SPIRE renews at half of
// the life, cert-manager when a third is left.
func soon(c *x509.Certificate) time.Duration {
	return min(c.NotAfter.Sub(c.NotBefore)/4, 30*24*time.Hour)
}

// Warning is that something is wrong with a certificate. Two of the same
// certificate and kind are equal.
type Warning struct {
	Kind Kind
	Role Role
	// Certificate is its SHA-256, in lower-case hex.
	Certificate string
	// Text is a sentence about it.
	Text string

	fatal bool // nobody can be served
}

// warnings are those at a time. Of a trust domain's authorities the one that ends
// last matters: the others are on their way out.
func (m *material) warnings(at time.Time) []Warning {
	all := judge(m.pair.Leaf, Server, "the server's certificate of "+m.id.String(), at, true)
	for _, b := range m.bundles.Bundles() {
		authorities := b.X509Authorities()
		last := newest(authorities)
		for _, a := range authorities {
			what := fmt.Sprintf("the authority of the trust domain %s with the serial number %s", b.TrustDomain(), a.SerialNumber)
			for _, w := range judge(a, Authority, what, at, b.TrustDomain() == m.id.TrustDomain()) {
				if a == last || w.Kind == LongLived {
					all = append(all, w)
				}
			}
		}
	}
	return all
}

// judge warns of one certificate. needed says that nobody can be served without
// it.
func judge(c *x509.Certificate, role Role, what string, at time.Time, needed bool) (all []Warning) {
	add := func(kind Kind, format string, args ...any) {
		all = append(all, Warning{Kind: kind, Role: role, Certificate: fingerprint(c), Text: what + fmt.Sprintf(format, args...),
			fatal: needed && kind == Expired})
	}
	ends := c.NotAfter.UTC().Format(time.RFC3339)
	if life := c.NotAfter.Sub(c.NotBefore); life > MaxLife {
		add(LongLived, " lives for %d days, until %s", int(life.Hours()/24), ends)
	}
	switch left := c.NotAfter.Sub(at); {
	case left <= 0:
		add(Expired, " expired at %s", ends)
	case left < soon(c):
		add(Expiring, " expires at %s and was not renewed", ends)
	}
	return all
}
