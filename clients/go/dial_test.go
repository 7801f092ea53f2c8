package writ_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	writ "github.com/writpdp/writ/clients/go"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

func TestNewRefuses(t *testing.T) {
	verifies := &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(tls.ConnectionState) error { return nil }}
	tests := []struct {
		name string
		cfg  writ.Config
		want string // empty: it is taken
	}{
		{"loopback", writ.Config{Addr: "127.0.0.1:7070"}, ""},
		{"another loopback", writ.Config{Addr: "127.1.2.3:7070"}, ""},
		{"loopback of IPv6", writ.Config{Addr: "[::1]:7070"}, ""},
		{"mapped loopback", writ.Config{Addr: "[::ffff:127.0.0.1]:7070"}, ""},
		{"localhost", writ.Config{Addr: "localhost:7070"}, ""},
		{"TLS", writ.Config{Addr: "writ.example.com:7070", TLS: &tls.Config{}}, ""},
		{"TLS with a verification of its own", writ.Config{Addr: "writ.example.com:7070", TLS: verifies}, ""},
		{"plaintext to a name", writ.Config{Addr: "writ.example.com:7070"}, "plaintext"},
		{"plaintext to a name that looks local", writ.Config{Addr: "localhost.example.com:7070"}, "plaintext"},
		{"plaintext to an address", writ.Config{Addr: "10.0.0.1:7070"}, "plaintext"},
		{"plaintext to all addresses", writ.Config{Addr: "0.0.0.0:7070"}, "plaintext"},
		{"TLS that verifies nothing", writ.Config{Addr: "writ.example.com:7070", TLS: &tls.Config{InsecureSkipVerify: true}}, "verify nothing"},
		{"no address", writ.Config{}, "host:port"},
		{"no port", writ.Config{Addr: "localhost"}, "host:port"},
		{"no host", writ.Config{Addr: ":7070"}, "host:port"},
		{"port 0", writ.Config{Addr: "localhost:0"}, "host:port"},
		{"a port's name", writ.Config{Addr: "localhost:http"}, "host:port"},
		{"a URL", writ.Config{Addr: "https://localhost:7070"}, "host:port"},
		{"a socket", writ.Config{Addr: "unix:/run/writ.sock"}, "host:port"},
		{"a connection and an address", writ.Config{Conn: mute{}, Addr: "localhost:7070"}, "excludes"},
		{"a negative timeout", writ.Config{Conn: mute{}, Timeout: -1}, "negative"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, err := writ.New(test.cfg)
			if (err == nil) != (test.want == "") || err != nil && !contains(err, test.want) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			if err == nil && c.Close() != nil {
				t.Error("closing failed")
			}
		})
	}
}

// listen serves p on a loopback port.
func listen(t *testing.T, p *pdp, options ...grpc.ServerOption) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(options...)
	writv1.RegisterDecisionServiceServer(server, p)
	go server.Serve(lis)
	t.Cleanup(server.Stop)
	return lis.Addr().String()
}

func TestPlaintextOverLoopback(t *testing.T) {
	p := &pdp{}
	_, port, _ := net.SplitHostPort(listen(t, p))
	for _, host := range []string{"127.0.0.1", "localhost"} {
		c, err := writ.New(writ.Config{Addr: net.JoinHostPort(host, port), Token: tokens(), Timeout: time.Minute, AttemptTimeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if d, err := c.Decide(t.Context(), writ.Call{Phase: writ.PhaseCall}); err != nil || !d.Allowed() {
			t.Errorf("%s: got %v, %v", host, d.Effect, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if d, err := c.Decide(t.Context(), writ.Call{Phase: writ.PhaseCall}); err == nil || d.Allowed() {
			t.Errorf("%s: after Close got %v, %v", host, d.Effect, err)
		}
	}
}

func TestTLS(t *testing.T) {
	serverCert, serverRoots := certificate(t, "writ.example.com")
	clientCert, clientRoots := certificate(t, "gateway")
	p := &pdp{}
	addr := listen(t, p, grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{serverCert}, ClientCAs: clientRoots, ClientAuth: tls.RequireAndVerifyClientCert})))
	tests := []struct {
		name   string
		config *tls.Config
		ok     bool
	}{
		{"both proved", &tls.Config{RootCAs: serverRoots, Certificates: []tls.Certificate{clientCert}, ServerName: "writ.example.com"}, true},
		{"a server with another name", &tls.Config{RootCAs: serverRoots, Certificates: []tls.Certificate{clientCert}, ServerName: "other.example.com"}, false},
		{"a server of another authority", &tls.Config{RootCAs: clientRoots, Certificates: []tls.Certificate{clientCert}, ServerName: "writ.example.com"}, false},
		{"a caller without a certificate", &tls.Config{RootCAs: serverRoots, ServerName: "writ.example.com"}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg := writ.Config{Addr: addr, TLS: test.config, Token: tokens(), Timeout: 200 * time.Millisecond}
			if test.ok {
				cfg.Timeout, cfg.AttemptTimeout = time.Minute, time.Minute
			}
			c, err := writ.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if d, err := c.Decide(t.Context(), writ.Call{Phase: writ.PhaseCall}); d.Allowed() != test.ok || (err == nil) != test.ok {
				t.Errorf("got %v, %v", d.Effect, err)
			}
		})
	}
}

// certificate is a certificate that is its own authority.
func certificate(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

func TestNewID(t *testing.T) {
	p := &pdp{}
	c := client(t, p, writ.Config{NewID: func() string { return settlementID }})
	if _, err := c.Decide(t.Context(), writ.Call{Phase: writ.PhaseCall}); err != nil {
		t.Fatal(err)
	}
	if got := p.questions()[0].GetRequestId(); got != settlementID {
		t.Errorf("got %q", got)
	}
}

func TestNoSourceOfTokens(t *testing.T) {
	c, err := writ.New(writ.Config{Conn: mute{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Decide(t.Context(), writ.Call{Phase: writ.PhaseCall}); err == nil || !contains(err, "token") {
		t.Errorf("got %v", err)
	}
}

func TestTheCallsTokenComesFirst(t *testing.T) {
	p := &pdp{}
	c := client(t, p, writ.Config{})
	question := writ.Call{Phase: writ.PhaseCall, Token: func(context.Context) (string, error) { return "of the call", nil }}
	if _, err := c.Decide(t.Context(), question); err != nil {
		t.Fatal(err)
	}
	if got := p.questions()[0].GetPrincipalToken(); got != "of the call" {
		t.Errorf("got %q", got)
	}
}

// A proof is made for the very token that is sent, and without one nothing is
// asked.
func TestTheCallsProof(t *testing.T) {
	p := &pdp{}
	c := client(t, p, writ.Config{})
	question := writ.Call{Phase: writ.PhaseCall, Token: func(context.Context) (string, error) { return "bound", nil },
		Proof: func(_ context.Context, token string) (string, error) { return "proof of " + token, nil }}
	if _, err := c.Decide(t.Context(), question); err != nil {
		t.Fatal(err)
	}
	if got := p.questions()[0].GetPrincipalProof(); got != "proof of bound" {
		t.Errorf("got the proof %q", got)
	}
	question.Proof = func(context.Context, string) (string, error) { return "", errors.New("no key") }
	if _, err := c.Decide(t.Context(), question); err == nil || len(p.questions()) != 1 {
		t.Errorf("without a proof: got %v after %d questions", err, len(p.questions()))
	}
}
