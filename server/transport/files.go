package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// maxFile bounds a file of certificates, in bytes.
const maxFile = 1 << 20

func (s *Source) openFiles(context.Context) error {
	s.name = "files " + s.c.Files.Certificate
	s.load = func() (*material, error) { return s.c.Files.read(&s.c) }
	return nil
}

// read reads all files. They may be between two states: then something does not
// fit, and the next look finds it done.
func (f *Files) read(c *Config) (*material, error) {
	certificate, err := readFile(f.Certificate)
	if err != nil {
		return nil, fmt.Errorf("reading the server's certificate: %w", err)
	}
	key, err := readFile(f.Key)
	if err != nil {
		return nil, fmt.Errorf("reading the server's key: %w", err)
	}
	pair, chain, err := parsePair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("reading the server's certificate in %s and its key in %s: %w", f.Certificate, f.Key, err)
	}
	id, err := x509svid.IDFromCert(chain[0])
	if err != nil {
		return nil, fmt.Errorf("reading the server's certificate in %s: it has not exactly one SPIFFE ID", f.Certificate)
	}
	all := append([]BundleFile{{id.TrustDomain(), f.Authorities}}, f.Bundles...)
	bundles := make([]*x509bundle.Bundle, len(all))
	seen := map[spiffeid.TrustDomain]bool{}
	for i, b := range all {
		if seen[b.TrustDomain] {
			return nil, fmt.Errorf("reading the authorities in %s: there are others of the trust domain %s", b.File, b.TrustDomain)
		}
		seen[b.TrustDomain] = true
		data, err := readFile(b.File)
		if err != nil {
			return nil, fmt.Errorf("reading the authorities of the trust domain %s: %w", b.TrustDomain, err)
		}
		if bundles[i], err = parseBundle(b.TrustDomain, data); err != nil {
			return nil, fmt.Errorf("reading the authorities in %s: %w", b.File, err)
		}
	}
	if err := disjoint(bundles); err != nil {
		return nil, err
	}
	return newMaterial(pair, chain, bundles, c)
}

// readFile reads a file of bounded size.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: more than %d bytes", name, maxFile)
	}
	return data, nil
}

// errCut says that a file ends inside a certificate.
var errCut = errors.New("it ends inside a PEM block")

// parsePair reads a certificate with its chain, and the private key to it.
func parsePair(certificate, key []byte) (tls.Certificate, []*x509.Certificate, error) {
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	if bytes.Count(certificate, beginCertificate) != len(pair.Certificate) {
		return tls.Certificate{}, nil, errCut
	}
	var chain []*x509.Certificate
	for _, der := range pair.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return tls.Certificate{}, nil, err
		}
		chain = append(chain, c)
	}
	return pair, chain, nil
}

var (
	begin            = []byte("-----BEGIN ")
	beginCertificate = []byte("-----BEGIN CERTIFICATE-----")
)

// parseBundle reads the authorities of a trust domain: PEM, or a SPIFFE bundle in
// JSON. It finds at least one.
func parseBundle(domain spiffeid.TrustDomain, data []byte) (*x509bundle.Bundle, error) {
	bundle := x509bundle.New(domain)
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		b, err := spiffebundle.Parse(domain, data)
		if err != nil {
			return nil, err
		}
		bundle = b.X509Bundle()
	} else if err := addPEM(bundle, data); err != nil {
		return nil, err
	}
	return bundle, checkAuthorities(bundle.X509Authorities())
}

func addPEM(bundle *x509bundle.Bundle, data []byte) error {
	for n := 0; ; n++ {
		block, rest := pem.Decode(data)
		switch {
		case block == nil && bytes.Contains(rest, begin):
			return errCut
		case block == nil:
			return nil
		case block.Type != "CERTIFICATE":
			return errors.New("there is a PEM block that is no certificate")
		case n == maxAuthorities:
			return fmt.Errorf("there are more than %d certificates", maxAuthorities)
		}
		authority, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return err
		}
		bundle.AddX509Authority(authority)
		data = rest
	}
}

// disjoint refuses an authority of two trust domains: it could issue each one's
// IDs, which is hardly what two bundles are for.
func disjoint(bundles []*x509bundle.Bundle) error {
	of := map[string]spiffeid.TrustDomain{}
	for _, b := range bundles {
		for _, a := range b.X509Authorities() {
			if other, twice := of[string(a.Raw)]; twice {
				return fmt.Errorf("the trust domains %s and %s have the same authority, with the serial number %s", other, b.TrustDomain(), a.SerialNumber)
			}
			of[string(a.Raw)] = b.TrustDomain()
		}
	}
	return nil
}
