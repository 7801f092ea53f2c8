package transport

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net/url"
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

// fixed signs the same certificate in every process: fuzzing works in several, and
// a seed of one would be a stranger's in the others. A nil authority signs itself.
func fixed(f *testing.F, a *authority, seed byte, change func(*x509.Certificate), ids ...string) tls.Certificate {
	f.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	template := &x509.Certificate{SerialNumber: big.NewInt(int64(seed)), KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0)}
	for _, id := range ids {
		u, err := url.Parse(id)
		must(f, err)
		template.URIs = append(template.URIs, u)
	}
	if change != nil {
		change(template)
	}
	parent, signer, more := template, crypto.Signer(key), [][]byte(nil)
	if a != nil {
		parent, signer, more = a.cert, a.key, a.more
	}
	der, err := x509.CreateCertificate(nil, template, parent, key.Public(), signer)
	must(f, err)
	leaf, err := x509.ParseCertificate(der)
	must(f, err)
	return tls.Certificate{Certificate: append([][]byte{der}, more...), PrivateKey: key, Leaf: leaf}
}

func fixedAuthority(f *testing.F, above *authority, seed byte) *authority {
	f.Helper()
	c := fixed(f, above, seed, func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	})
	a := &authority{cert: c.Leaf, key: c.PrivateKey.(crypto.Signer)}
	if above != nil {
		a.more = c.Certificate
	}
	return a
}

// FuzzFiles reads what lies in a directory of certificates.
func FuzzFiles(f *testing.F) {
	ours, theirs := fixedAuthority(f, nil, 1), fixedAuthority(f, nil, 2)
	c, below := fixed(f, ours, 3, nil, serverID), fixed(f, fixedAuthority(f, ours, 4), 5, nil, serverID)
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
	ours, theirs := fixedAuthority(f, nil, 1), fixedAuthority(f, nil, 2)
	bundles := x509bundle.NewSet(x509bundle.FromX509Authorities(home, []*x509.Certificate{ours.cert}),
		x509bundle.FromX509Authorities(other, []*x509.Certificate{theirs.cert}))
	for _, c := range []struct {
		peer tls.Certificate
		in   bool
	}{
		{fixed(f, ours, 3, nil, "spiffe://home.example/a"), true}, {fixed(f, theirs, 4, nil, "spiffe://other.example/a"), true},
		{fixed(f, theirs, 5, nil, "spiffe://home.example/a"), false}, {fixed(f, ours, 6, nil, "spiffe://home.example/a", "spiffe://home.example/b"), false},
		{fixed(f, fixedAuthority(f, ours, 7), 8, nil, "spiffe://home.example/a"), true},
		{fixed(f, fixedAuthority(f, theirs, 9), 10, nil, "spiffe://home.example/a"), false},
	} {
		der := slices.Concat(c.peer.Certificate...)
		chain, err := x509.ParseCertificates(der)
		must(f, err)
		if _, err := verify(chain, bundles, time.Now()); (err == nil) != c.in {
			f.Fatalf("a seed: %v", err)
		}
		f.Add(der)
	}
	f.Add(ours.cert.Raw)
	f.Add([]byte{})
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
