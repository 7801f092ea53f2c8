package writ_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	writ "github.com/writpdp/writ/clients/go"
)

// signing is an authority of a trust domain.
type signing struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newSigning(t *testing.T) *signing {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := &signing{key: key}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if s.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *signing) svid(t *testing.T, id string) *x509svid.SVID {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	uri, err := url.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(2), URIs: []*url.URL{uri},
		KeyUsage: x509.KeyUsageDigitalSignature, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}, s.cert, key.Public(), s.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &x509svid.SVID{ID: spiffeid.RequireFromString(id), Certificates: []*x509.Certificate{leaf}, PrivateKey: key}
}

// svids is a source whose SVID can be renewed.
type svids struct {
	*x509bundle.Bundle
	mu      sync.Mutex // guards current
	current *x509svid.SVID
}

// GetX509SVID is x509svid.Source's.
func (s *svids) GetX509SVID() (*x509svid.SVID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return nil, errors.New("there is no SVID")
	}
	return s.current, nil
}

func (s *svids) renew(to *x509svid.SVID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = to
}

// A client with SVIDs knows a server by its SPIFFE ID alone, and comes to each
// connection with its newest SVID.
func TestSPIFFE(t *testing.T) {
	ours, others := newSigning(t), newSigning(t)
	domain := spiffeid.RequireTrustDomainFromString("example.org")
	bundle := x509bundle.FromX509Authorities(domain, []*x509.Certificate{ours.cert})
	caller := ours.svid(t, "spiffe://example.org/gateway")
	for _, test := range []struct {
		name   string
		server *x509svid.SVID
		ids    []string
		ok     bool
	}{
		{"the server", ours.svid(t, "spiffe://example.org/writ"), []string{"spiffe://example.org/writ"}, true},
		{"one of two", ours.svid(t, "spiffe://example.org/writ"), []string{"spiffe://example.org/other", "spiffe://example.org/writ"}, true},
		{"another workload of the trust domain", ours.svid(t, "spiffe://example.org/gateway"), []string{"spiffe://example.org/writ"}, false},
		{"its ID by another authority", others.svid(t, "spiffe://example.org/writ"), []string{"spiffe://example.org/writ"}, false},
		{"its path in another trust domain", ours.svid(t, "spiffe://example.com/writ"), []string{"spiffe://example.org/writ"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			from := &svids{Bundle: bundle, current: caller}
			var seen []*x509.Certificate
			p := &pdp{}
			addr := listen(t, p, grpc.Creds(credentials.NewTLS(&tls.Config{ClientAuth: tls.RequireAnyClientCert,
				Certificates: []tls.Certificate{{Certificate: [][]byte{test.server.Certificates[0].Raw}, PrivateKey: test.server.PrivateKey}},
				VerifyConnection: func(state tls.ConnectionState) error {
					from.mu.Lock()
					defer from.mu.Unlock()
					seen = append(seen, state.PeerCertificates[0])
					return nil
				}})))
			var ids []spiffeid.ID
			for _, id := range test.ids {
				ids = append(ids, spiffeid.RequireFromString(id))
			}
			config, err := writ.SPIFFE(from, ids...)
			if err != nil {
				t.Fatal(err)
			}
			ask := func() (bool, error) {
				cfg := writ.Config{Addr: addr, TLS: config, Token: tokens(), Timeout: 200 * time.Millisecond}
				if test.ok {
					cfg.Timeout, cfg.AttemptTimeout = time.Minute, time.Minute
				}
				c, err := writ.New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				d, err := c.Decide(t.Context(), writ.Call{Phase: writ.PhaseCall})
				return d.Allowed(), err
			}
			if allowed, err := ask(); allowed != test.ok || (err == nil) != test.ok {
				t.Fatalf("got %t, %v", allowed, err)
			}
			if !test.ok {
				return
			}
			next := ours.svid(t, "spiffe://example.org/gateway")
			from.renew(next)
			if allowed, err := ask(); !allowed {
				t.Errorf("renewed: %v", err)
			}
			from.mu.Lock()
			defer from.mu.Unlock()
			if len(seen) != 2 || !seen[0].Equal(caller.Certificates[0]) || !seen[1].Equal(next.Certificates[0]) {
				t.Errorf("the server has seen %d certificates, or not the newest", len(seen))
			}
		})
	}
	for name, make := range map[string]func() (*tls.Config, error){
		"no source": func() (*tls.Config, error) { return writ.SPIFFE(nil, caller.ID) },
		"no server": func() (*tls.Config, error) { return writ.SPIFFE(&svids{Bundle: bundle}) },
	} {
		if _, err := make(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
