package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

func TestCaller(t *testing.T) {
	callers, err := NewCallers([]CallerRule{
		{"spiffe://corp.example/*", "rest"},
		{"spiffe://corp.example/ns/*", "ns"},
		{"spiffe://corp.example/ns/a/*", "a"},
		{"spiffe://corp.example/ns/a", "exact-a"},
		{"spiffe://corp.example/ns/a/sa/gateway", "gateway"},
		{"spiffe://other.example", "root"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{
		"spiffe://corp.example/x":                            "rest",
		"spiffe://corp.example/ns":                           "rest",
		"spiffe://corp.example/nsx/b":                        "rest",
		"spiffe://corp.example/ns/b":                         "ns",
		"spiffe://corp.example/ns/ab/c":                      "ns",
		"spiffe://corp.example/ns/a":                         "exact-a",
		"spiffe://corp.example/ns/a/sa":                      "a",
		"spiffe://corp.example/ns/a/sa/gateway":              "gateway",
		"spiffe://corp.example/ns/a/sa/gateway/1":            "a",
		"spiffe://other.example":                             "root",
		"spiffe://corp.example":                              "",
		"spiffe://other.example/x":                           "",
		"spiffe://corp.example.evil/ns/a":                    "",
		"spiffe://corp.example/" + strings.Repeat("x", 2048): "",
	} {
		got, err := callers.Caller(spiffeid.RequireFromString(id))
		if want == "" {
			if e, ok := errors.AsType[*Error](err); !ok || e.Reason != writv1.ErrorReason_ERROR_REASON_CALLER_UNKNOWN {
				t.Errorf("%s: got %v, %v, want CALLER_UNKNOWN", id, got, err)
			}
			continue
		}
		if err != nil || got != (decision.Caller{SPIFFEID: id, Tenant: want}) {
			t.Errorf("%s: got %v, %v, want tenant %s", id, got, err, want)
		}
	}
	if _, err := callers.Caller(spiffeid.ID{}); err == nil {
		t.Error("no SPIFFE ID at all is a caller")
	}
}

func TestNewCallersRefuses(t *testing.T) {
	for name, rules := range map[string][]CallerRule{
		"none":                   nil,
		"the reserved tenant":    {{"spiffe://corp.example/a", "writ:system"}},
		"no scheme":              {{"corp.example/a", "t"}},
		"other scheme":           {{"https://corp.example/a", "t"}},
		"capital trust domain":   {{"spiffe://Corp.example/a", "t"}},
		"trailing slash":         {{"spiffe://corp.example/a/", "t"}},
		"empty segment":          {{"spiffe://corp.example//a", "t"}},
		"dots":                   {{"spiffe://corp.example/../a", "t"}},
		"wildcard alone":         {{"*", "t"}},
		"any trust domain":       {{"spiffe://*", "t"}},
		"wildcard in the middle": {{"spiffe://corp.example/*/a", "t"}},
		"wildcard of half":       {{"spiffe://corp.example/a*", "t"}},
		"two wildcards":          {{"spiffe://corp.example/*/*", "t"}},
		"empty":                  {{"", "t"}},
		"no tenant":              {{"spiffe://corp.example/a", ""}},
		"tenant with a space":    {{"spiffe://corp.example/a", "a b"}},
		"tenant not UTF-8":       {{"spiffe://corp.example/a", "\xff"}},
		"tenant too long":        {{"spiffe://corp.example/a", strings.Repeat("t", 129)}},
		"exact twice":            {{"spiffe://corp.example/a", "t"}, {"spiffe://corp.example/a", "u"}},
		"prefix twice":           {{"spiffe://corp.example/a/*", "t"}, {"spiffe://corp.example/a/*", "t"}},
	} {
		if _, err := NewCallers(rules); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// authority signs certificates of one test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (a *authority) issue(t *testing.T, template *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(1)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	parent, signer := template, key
	if a != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func uris(ids ...string) []*url.URL {
	var list []*url.URL
	for _, id := range ids {
		u, err := url.Parse(id)
		if err != nil {
			panic(err)
		}
		list = append(list, u)
	}
	return list
}

// handshake is what a server sees of a client with a certificate.
func handshake(t *testing.T, server tls.Certificate, roots *x509.CertPool, policy tls.ClientAuthType, client ...tls.Certificate) tls.ConnectionState {
	t.Helper()
	left, right := net.Pipe()
	defer left.Close()
	defer right.Close()
	done := make(chan error, 1)
	go func() {
		c := tls.Client(right, &tls.Config{Certificates: client, RootCAs: roots, ServerName: "writ.example", MinVersion: tls.VersionTLS13})
		done <- c.Handshake()
	}()
	s := tls.Server(left, &tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: roots, ClientAuth: policy, MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true})
	if err := s.Handshake(); err != nil {
		t.Fatalf("handshake: %v", err)
	}
	if err := <-done; err != nil {
		t.Fatalf("client's handshake: %v", err)
	}
	return s.ConnectionState()
}

func TestFromTLS(t *testing.T) {
	root := (*authority)(nil).issue(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	ca := &authority{root.Leaf, root.PrivateKey.(*ecdsa.PrivateKey)}
	roots := x509.NewCertPool()
	roots.AddCert(root.Leaf)
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	server := ca.issue(t, &x509.Certificate{DNSNames: []string{"writ.example"}, ExtKeyUsage: both})
	leaf := func(ids ...string) *x509.Certificate {
		return &x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: both, URIs: uris(ids...)}
	}
	verify := tls.RequireAndVerifyClientCert

	good := handshake(t, server, roots, verify, ca.issue(t, leaf("spiffe://corp.example/gateway")))
	ends := good.VerifiedChains[0][0].NotAfter
	for _, at := range []time.Time{time.Now(), ends} {
		id, err := FromTLS(good, at)
		if err != nil || id.String() != "spiffe://corp.example/gateway" {
			t.Errorf("at %s: got %s, %v", at, id, err)
		}
	}
	if _, err := FromTLS(good, ends.Add(time.Second)); err == nil || !strings.Contains(err.Error(), "has expired since") {
		t.Errorf("after its end: got %v", err)
	}
	signing := leaf("spiffe://corp.example/ca")
	signing.KeyUsage |= x509.KeyUsageCertSign
	signing.IsCA, signing.BasicConstraintsValid = true, true
	for _, c := range []struct {
		name   string
		policy tls.ClientAuthType
		certs  []tls.Certificate
		want   string
	}{
		{"no certificate", tls.VerifyClientCertIfGiven, nil, "the connection has no verified client certificate"},
		{"unverified certificate", tls.RequireAnyClientCert, []tls.Certificate{ca.issue(t, leaf("spiffe://corp.example/gateway"))}, "the connection has no verified client certificate"},
		{"no SPIFFE ID", verify, []tls.Certificate{ca.issue(t, leaf())}, "the client certificate has not exactly one SPIFFE ID"},
		{"two SPIFFE IDs", verify, []tls.Certificate{ca.issue(t, leaf("spiffe://corp.example/a", "spiffe://corp.example/b"))}, "the client certificate has not exactly one SPIFFE ID"},
		{"another URI", verify, []tls.Certificate{ca.issue(t, leaf("https://corp.example/a"))}, "the client certificate has not exactly one SPIFFE ID"},
		{"an authority", verify, []tls.Certificate{ca.issue(t, signing)}, "the client certificate is an authority's"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := FromTLS(handshake(t, server, roots, c.policy, c.certs...), time.Now())
			if e, ok := errors.AsType[*Error](err); !ok || e.Reason != writv1.ErrorReason_ERROR_REASON_CALLER_UNKNOWN || e.Problem != c.want {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if _, err := FromTLS(tls.ConnectionState{}, time.Now()); err == nil {
		t.Error("a connection without a handshake has an identity")
	}
}
