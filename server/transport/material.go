package transport

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// Bounds of what is read.
const (
	maxChain       = 16 // certificates
	maxAuthorities = 64 // of a trust domain
)

// material is what one handshake is made with: a server's certificate and the
// authorities of each trust domain, checked together. Immutable.
type material struct {
	id      spiffeid.ID
	pair    tls.Certificate // with its Leaf
	bundles *x509bundle.Set
	missing []spiffeid.TrustDomain // configured, and without a bundle
	config  *tls.Config

	certificate string // SHA-256 of the leaf, in hex
	authorities string // the same for the same authorities, in whatever order
}

// newMaterial checks that a certificate and its bundles can be served with at a
// time. chain is the parsed pair.Certificate.
func newMaterial(pair tls.Certificate, chain []*x509.Certificate, bundles []*x509bundle.Bundle, c *Config) (*material, error) {
	if len(chain) > maxChain {
		return nil, fmt.Errorf("the server's certificate comes with more than %d others", maxChain-1)
	}
	for _, b := range bundles {
		if err := checkAuthorities(b.X509Authorities()); err != nil {
			return nil, fmt.Errorf("the authorities of the trust domain %s: %w", b.TrustDomain(), err)
		}
	}
	m := &material{pair: pair, bundles: x509bundle.NewSet(bundles...)}
	m.pair.Leaf = chain[0]
	var err error
	if m.id, err = verify(chain, m.bundles, c.Now()); err != nil {
		return nil, fmt.Errorf("the server's certificate: %w", err)
	}
	if usages := chain[0].ExtKeyUsage; len(usages)+len(chain[0].UnknownExtKeyUsage) > 0 &&
		!slices.Contains(usages, x509.ExtKeyUsageServerAuth) && !slices.Contains(usages, x509.ExtKeyUsageAny) {
		return nil, errors.New("the server's certificate is not for servers: its extended key usage lacks serverAuth")
	}
	m.certificate = fingerprint(chain[0])
	m.authorities = m.describeExactly()
	m.config = m.newTLS(c)
	return m, nil
}

// checkAuthorities refuses what could not sign, because a pool of roots takes a
// certificate that is itself in it for verified, whatever it is.
func checkAuthorities(all []*x509.Certificate) error {
	switch {
	case len(all) == 0:
		return errors.New("there is no certificate of an authority in it")
	case len(all) > maxAuthorities:
		return fmt.Errorf("there are more than %d certificates", maxAuthorities)
	}
	for _, a := range all {
		if !a.BasicConstraintsValid || !a.IsCA || a.KeyUsage != 0 && a.KeyUsage&x509.KeyUsageCertSign == 0 {
			return fmt.Errorf("the certificate with the serial number %s is no authority's", a.SerialNumber)
		}
	}
	return nil
}

// verify is the SPIFFE ID that a chain proves: its leaf first.
func verify(chain []*x509.Certificate, bundles x509bundle.Source, at time.Time) (spiffeid.ID, error) {
	id, _, err := x509svid.Verify(chain, bundles, x509svid.WithTime(at))
	switch {
	case err != nil:
		return spiffeid.ID{}, err
	case id.Path() == "":
		return spiffeid.ID{}, errors.New("its SPIFFE ID is a whole trust domain's")
	case chain[0].KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return spiffeid.ID{}, errors.New("its key usage lacks digitalSignature")
	}
	return id, nil
}

// equal reports whether a handshake comes to the same with both.
func (m *material) equal(other *material) bool {
	return m.certificate == other.certificate && m.authorities == other.authorities && slices.Equal(m.missing, other.missing)
}

func protocols() []string { return []string{"h2", "http/1.1"} }

// newTLS is the configuration of a handshake. The library verifies a peer against
// the authorities of all trust domains, and so knows its chain; VerifyConnection
// then holds it to those of its own. There are no session tickets: one would
// carry a peer past the end of its certificate or of its authority.
func (m *material) newTLS(c *Config) *tls.Config {
	pool := x509.NewCertPool()
	for _, b := range m.bundles.Bundles() {
		for _, a := range b.X509Authorities() {
			pool.AddCert(a)
		}
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{m.pair}, NextProtos: protocols(), Time: c.Now,
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, SessionTicketsDisabled: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := verify(state.PeerCertificates, m.bundles, c.Now())
			return err
		},
	}
	if c.TLS12 {
		config.MinVersion = tls.VersionTLS12
		config.CipherSuites = []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		}
	}
	return config
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// newest is the authority that ends last; there is at least one.
func newest(all []*x509.Certificate) *x509.Certificate {
	return slices.MaxFunc(all, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
}

// describe is the number of authorities by trust domain.
func (m *material) describe() map[string]int {
	counts := map[string]int{}
	for _, b := range m.bundles.Bundles() {
		counts[b.TrustDomain().Name()] = len(b.X509Authorities())
	}
	return counts
}

func (m *material) describeExactly() string {
	lines := map[string]bool{}
	for _, b := range m.bundles.Bundles() {
		for _, a := range b.X509Authorities() {
			lines[b.TrustDomain().Name()+" "+fingerprint(a)] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(lines)), "\n")
}
