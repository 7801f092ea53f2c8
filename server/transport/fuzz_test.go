package transport

import (
	"crypto/x509"
	"encoding/base64"
	"slices"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// proven fails unless a chain is what newMaterial and a handshake promise.
func proven(t *testing.T, chain []*x509.Certificate, bundles x509bundle.Source) {
	t.Helper()
	leaf := chain[0]
	id, err := x509svid.IDFromCert(leaf)
	if err != nil || len(leaf.URIs) != 1 || id.Path() == "" {
		t.Fatalf("let in with the URIs %v", leaf.URIs)
	}
	if leaf.IsCA || leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 || leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		t.Fatalf("let in with the key usage %b", leaf.KeyUsage)
	}
	own, err := bundles.GetX509BundleForTrustDomain(id.TrustDomain())
	if err != nil {
		t.Fatalf("let in from nowhere: %v", err)
	}
	// Whoever signed it is an authority of that domain, or is signed by one.
	signed := func(c *x509.Certificate) bool {
		return slices.ContainsFunc(own.X509Authorities(), func(a *x509.Certificate) bool { return c.CheckSignatureFrom(a) == nil })
	}
	if !signed(leaf) && !slices.ContainsFunc(chain[1:], signed) {
		t.Fatal("let in and nobody signed it")
	}
}

// FuzzFiles reads what lies in a directory of certificates.
func FuzzFiles(f *testing.F) {
	ours, theirs := newAuthority(f, nil), newAuthority(f, nil)
	c, below := ours.issue(f, nil, serverID), ours.below(f).issue(f, nil, serverID)
	crt, key, chain := encode("CERTIFICATE", c.Certificate...), keyPEM(f, c), encode("CERTIFICATE", below.Certificate...)
	f.Add(crt, key, bundlePEM(ours))
	f.Add(crt, key, bundleJSON(f, home, ours))
	f.Add(chain, keyPEM(f, below), bundlePEM(ours, theirs))
	f.Add(crt, key, bundleJSON(f, home, ours, theirs)[:300])
	f.Add(crt[:100], key[:50], []byte(`{"keys":[{"use":"x509-svid","kty":"EC","crv":"P-256","x":"","y":"","x5c":[""]}]}`))
	f.Add(append(slices.Clone(crt), key...), key, append(bundlePEM(ours), key...))
	config := &Config{Now: time.Now}
	f.Fuzz(func(t *testing.T, certificate, key, bundle []byte) {
		authorities, err := parseBundle(home, bundle)
		if err == nil {
			if err := checkAuthorities(authorities.X509Authorities()); err != nil {
				t.Fatalf("a bundle is taken although %v", err)
			}
		}
		pair, parsed, err := parsePair(certificate, key)
		if err != nil || authorities == nil {
			return
		}
		m, err := newMaterial(pair, parsed, []*x509bundle.Bundle{authorities}, config)
		if err != nil {
			return
		}
		proven(t, parsed, m.bundles)
		m.warnings(time.Now())
	})
}

// FuzzPeer shows a listener of two trust domains what a peer may send as its
// chain.
func FuzzPeer(f *testing.F) {
	ours, theirs := newAuthority(f, nil), newAuthority(f, nil)
	bundles := x509bundle.NewSet(x509bundle.FromX509Authorities(home, []*x509.Certificate{ours.cert}),
		x509bundle.FromX509Authorities(other, []*x509.Certificate{theirs.cert}))
	for _, c := range [][]byte{
		ours.issue(f, nil, "spiffe://home.example/a").Certificate[0], theirs.issue(f, nil, "spiffe://other.example/a").Certificate[0],
		theirs.issue(f, nil, "spiffe://home.example/a").Certificate[0], ours.issue(f, nil, "spiffe://home.example/a", "spiffe://home.example/b").Certificate[0],
		slices.Concat(ours.below(f).issue(f, nil, "spiffe://home.example/a").Certificate...), ours.cert.Raw, {},
	} {
		f.Add(c)
	}
	if odd, err := base64.StdEncoding.DecodeString("MAA="); err == nil {
		f.Add(odd)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		chain, err := x509.ParseCertificates(der)
		if err != nil || len(chain) == 0 {
			return
		}
		if _, err := verify(chain, bundles, time.Now()); err == nil {
			proven(t, chain, bundles)
		}
	})
}
