package transport

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

// Who gets in, and who does not: the second trust domain is as trusted as the
// first, for its own IDs.
func TestPeers(t *testing.T) {
	ours, theirs, stranger := newAuthority(t, nil), newAuthority(t, nil), newAuthority(t, nil)
	p := newPlace(t, ours.issue(t, nil, serverID), bundlePEM(ours))
	p.write(t, "other.json", bundleJSON(t, other, theirs))
	s := open(t, Config{Files: p.files(BundleFile{other, p.path("other.json")})})
	between := ours.below(t)
	mixed := ours.issue(t, nil, "spiffe://other.example/gateway")
	mixed.Certificate = append(mixed.Certificate, theirs.cert.Raw, ours.cert.Raw)
	stolen := theirs.issue(t, nil, "spiffe://home.example/gateway")
	stolen.Certificate = append(stolen.Certificate, ours.cert.Raw)
	// An authority of the other domain with the name of ours.
	double := newAuthority(t, func(c *x509.Certificate) { c.Subject, c.SubjectKeyId = ours.cert.Subject, ours.cert.SubjectKeyId })
	for _, c := range []struct {
		name string
		peer tls.Certificate
		want string // of the error; empty: let in
	}{
		{"of our trust domain", ours.issue(t, nil, "spiffe://home.example/gateway"), ""},
		{"of theirs", theirs.issue(t, nil, "spiffe://other.example/gateway"), ""},
		{"by way of another authority", between.issue(t, nil, "spiffe://home.example/gateway"), ""},
		{"without an extended key usage", ours.issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = nil }, "spiffe://home.example/gateway"), ""},
		{"our ID by their authority", theirs.issue(t, nil, "spiffe://home.example/gateway"), "signed by unknown authority"},
		{"their ID by our authority", ours.issue(t, nil, "spiffe://other.example/gateway"), "signed by unknown authority"},
		{"their ID by an authority below ours", between.issue(t, nil, "spiffe://other.example/gateway"), "signed by unknown authority"},
		{"their ID by our authority, theirs beside it", mixed, "signed by unknown authority"},
		{"our ID by their authority, ours beside it", stolen, "signed by unknown authority"},
		{"the server's own ID by their authority", theirs.issue(t, nil, serverID), "signed by unknown authority"},
		{"by an authority of the same name and key id", double.issue(t, nil, "spiffe://home.example/gateway"), "unknown authority"},
		{"by a stranger", stranger.issue(t, nil, "spiffe://home.example/gateway"), "unknown authority"},
		{"of a third trust domain", ours.issue(t, nil, "spiffe://third.example/gateway"), "no X.509 bundle"},
		{"of a trust domain below ours", ours.issue(t, nil, "spiffe://a.home.example/gateway"), "no X.509 bundle"},
		{"of its own making", (*authority)(nil).issue(t, nil, "spiffe://home.example/gateway"), "unknown authority"},
		{"without a SPIFFE ID", ours.issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"home.example"} }), "no URI SAN"},
		{"with two", ours.issue(t, nil, "spiffe://home.example/a", "spiffe://home.example/b"), "more than one URI SAN"},
		{"with another URI", ours.issue(t, nil, "https://home.example/a"), "scheme"},
		{"with a SPIFFE ID and another URI", ours.issue(t, nil, "spiffe://home.example/a", "https://home.example/a"), "more than one URI SAN"},
		{"with the trust domain's ID", ours.issue(t, nil, "spiffe://home.example"), "whole trust domain's"},
		{"with a path that is none", ours.issue(t, nil, "spiffe://home.example/a/../b"), "path"},
		{"an authority's", ours.issue(t, func(c *x509.Certificate) {
			c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, c.KeyUsage|x509.KeyUsageCertSign
		}, "spiffe://home.example/a"), "CA flag"},
		{"that may sign certificates", ours.issue(t, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }, "spiffe://home.example/a"), "KeyCertSign"},
		{"that may sign revocations", ours.issue(t, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }, "spiffe://home.example/a"), "KeyCrlSign"},
		{"that may not sign", ours.issue(t, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }, "spiffe://home.example/a"), "digitalSignature"},
		{"without a key usage", ours.issue(t, func(c *x509.Certificate) { c.KeyUsage = 0 }, "spiffe://home.example/a"), "digitalSignature"},
		{"for servers alone", ours.issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, "spiffe://home.example/a"), "key usage"},
		{"expired", ours.issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }, "spiffe://home.example/a"), "expired"},
		{"not valid yet", ours.issue(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, "spiffe://home.example/a"), "not yet valid"},
		{"the authority itself", tls.Certificate{Certificate: [][]byte{ours.cert.Raw}, PrivateKey: ours.key}, "no URI SAN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			state, _, err := meet(t, s.Source, with(c.peer))
			switch {
			case c.want == "" && (err != nil || len(state.VerifiedChains) == 0):
				t.Errorf("got %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if _, _, err := meet(t, s.Source, with()); err == nil || !strings.Contains(err.Error(), "didn't provide a certificate") {
		t.Errorf("without a certificate: %v", err)
	}
}

// TLS 1.2 is let in where it is asked for, and then with suites that have forward
// secrecy and authenticate what they encrypt.
func TestVersions(t *testing.T) {
	ours := newAuthority(t, nil)
	p := newPlace(t, ours.issue(t, nil, serverID), bundlePEM(ours))
	strict, old := open(t, Config{Files: p.files()}), open(t, Config{Files: p.files(), TLS12: true})
	client := with(ours.issue(t, nil, "spiffe://home.example/gateway"))
	version := func(s *opened, most uint16, suites ...uint16) (uint16, uint16, error) {
		client := client.Clone()
		client.MaxVersion, client.CipherSuites = most, suites
		state, _, err := meet(t, s.Source, client)
		return state.Version, state.CipherSuite, err
	}
	for _, s := range []*opened{strict, old} {
		if v, _, err := version(s, 0); err != nil || v != tls.VersionTLS13 {
			t.Errorf("TLS %x, %v", v, err)
		}
		if _, _, err := version(s, tls.VersionTLS11); err == nil {
			t.Error("TLS 1.1 is let in")
		}
	}
	if _, _, err := version(strict, tls.VersionTLS12); err == nil {
		t.Error("TLS 1.2 is let in and nobody asked for it")
	}
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if strings.HasPrefix(suite.Name, "TLS_AES") || strings.HasPrefix(suite.Name, "TLS_CHACHA20") || strings.Contains(suite.Name, "_RSA_WITH_") {
			continue // of TLS 1.3, and of keys that the server has not
		}
		want := strings.HasPrefix(suite.Name, "TLS_ECDHE_") && (strings.Contains(suite.Name, "_GCM_") || strings.Contains(suite.Name, "POLY1305"))
		if _, got, err := version(old, tls.VersionTLS12, suite.ID); (err == nil) != want || want && got != suite.ID {
			t.Errorf("%s: %v, want it let in: %t", suite.Name, err, want)
		}
	}
}

// A peer that was let in is not let in again by what it remembers.
func TestNoResumption(t *testing.T) {
	ours := newAuthority(t, nil)
	p := newPlace(t, ours.issue(t, nil, serverID), bundlePEM(ours))
	s := open(t, Config{Files: p.files(), TLS12: true})
	listener := s.TLS()
	for _, most := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client := with(ours.issue(t, nil, "spiffe://home.example/gateway"))
		client.MaxVersion, client.ServerName, client.ClientSessionCache = most, "writ", tls.NewLRUClientSessionCache(4)
		for range 2 {
			server, caller, err := connect(t, listener, client)
			must(t, err)
			_, err = server.Write([]byte("x")) // TLS 1.3 gives tickets with the first answer
			must(t, err)
			_, err = caller.Read(make([]byte, 1))
			must(t, err)
			if server.ConnectionState().DidResume {
				t.Errorf("TLS %x: resumed", most)
			}
		}
	}
}

func TestFederatedDomainIsNotOurs(t *testing.T) {
	ours := newAuthority(t, nil)
	p := newPlace(t, ours.issue(t, nil, serverID), bundlePEM(ours))
	_, err := p.files(BundleFile{home, p.path("ca.crt")}).read(&Config{Now: time.Now})
	if err == nil || !strings.Contains(err.Error(), "there are others of the trust domain home.example") {
		t.Errorf("the own trust domain twice: %v", err)
	}
	_, err = p.files(BundleFile{other, p.path("ca.crt")}).read(&Config{Now: time.Now})
	if err == nil || !strings.Contains(err.Error(), "have the same authority") {
		t.Errorf("one authority of two trust domains: %v", err)
	}
}
