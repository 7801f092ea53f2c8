package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"

	"github.com/writpdp/writ/policies"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/identity"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/test/pgtest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// writ runs the program to its end, in this process.
func writ(t testing.TB, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	ended := make(chan int, 1)
	go func() { ended <- run(args, streams{out: &stdout, err: &stderr}) }()
	select {
	case code = <-ended:
		return code, stdout.String(), stderr.String()
	case <-time.After(time.Minute):
		t.Fatalf("writ %s does not end", strings.Join(args, " "))
		return 0, "", ""
	}
}

// succeed runs the program and returns what it prints, without the last line
// break.
func succeed(t testing.TB, args ...string) string {
	t.Helper()
	code, out, errs := writ(t, args...)
	if code != exitOK {
		t.Fatalf("writ %s: exit code %d: %s", strings.Join(args, " "), code, errs)
	}
	return strings.TrimSpace(out)
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return authority{cert, key}
}

// issue signs a certificate for SPIFFE IDs. change makes it another.
func (a authority) issue(t testing.TB, change func(*x509.Certificate), ids ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	for _, id := range ids {
		u, err := url.Parse(id)
		must(t, err)
		template.URIs = append(template.URIs, u)
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// save writes a certificate and its key as PEM.
func save(t testing.TB, c tls.Certificate, certFile, keyFile string) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	must(t, err)
	must(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}), 0o600))
	must(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
}

const (
	testOrigin  = "writ.example.org/log"
	testIssuer  = "https://issuer.example.org"
	testAgent   = "spiffe://example.org/agent/support"
	testGateway = "spiffe://example.org/gateway/a"
)

// site is a directory with everything that a server's configuration names.
type site struct {
	dir    string
	ca     authority
	minter *identity.Minter
	bundle *decision.Bundle
}

// goodConfig has relative paths, as in docs/operator.md.
const goodConfig = `grpc: 127.0.0.1:0
http: 127.0.0.1:0
base_url: https://writ.example.org
bundle: policies
database_file: database
log:
  origin: writ.example.org/log
  key_file: log.key
tls:
  cert_file: server.pem
  key_file: server.key
  client_ca_file: ca.pem
tokens:
  audience: writ
  max_lifetime: 5m
  issuers:
    - issuer: https://issuer.example.org
      jwks_file: issuer.json
callers:
  - spiffe_id: spiffe://example.org/gateway/*
    tenant: acme
probes: 127.0.0.1:0
`

// newSite makes a site on a new, empty database.
func newSite(t testing.TB) *site {
	t.Helper()
	return newSiteIn(t, t.TempDir())
}

func newSiteIn(t testing.TB, dir string) *site {
	t.Helper()
	s := &site{dir: dir, ca: newAuthority(t)}
	must(t, os.CopyFS(s.path("policies"), policies.Files))
	s.write(t, "database", pgtest.DSN(t)+"\n")
	s.write(t, "writ.yaml", goodConfig)
	s.write(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.ca.cert.Raw})))
	save(t, s.ca.issue(t, func(c *x509.Certificate) {
		c.DNSNames, c.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	}, "spiffe://example.org/writ"), s.path("server.pem"), s.path("server.key"))
	save(t, s.ca.issue(t, nil, testGateway), s.path("client.pem"), s.path("client.key"))
	succeed(t, "log", "keygen", "--origin", testOrigin, "--dir", s.dir)
	var err error
	s.bundle, err = policy.Load(policies.Files)
	must(t, err)
	s.minter, err = identity.NewMinter(rand.Reader)
	must(t, err)
	s.write(t, "issuer.json", string(s.minter.JWKS()))
	return s
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) write(t testing.TB, name, text string) {
	t.Helper()
	must(t, os.WriteFile(s.path(name), []byte(text), 0o600))
}

func (s *site) token(t testing.TB) string {
	t.Helper()
	id, err := uuid.NewV7()
	must(t, err)
	token, err := s.minter.Mint(identity.Claims{Issuer: testIssuer, Audience: "writ", Subject: testAgent, Purposes: []string{"support"}},
		time.Now(), id.String())
	must(t, err)
	return token
}

// decide asks with the command line and returns its exit code and output.
func (s *site) decide(t testing.TB, p *process, args ...string) (code int, out string) {
	t.Helper()
	s.write(t, "token", s.token(t))
	code, out, errs := writ(t, append([]string{"decide", "--addr", p.grpc, "--ca", s.path("ca.pem"), "--cert", s.path("client.pem"),
		"--key", s.path("client.key"), "--token-file", s.path("token")}, args...)...)
	return code, out + errs
}

// process is a running `writ serve`.
type process struct {
	cmd                *exec.Cmd
	grpc, http, probes string
	stderr             *lines
	ended              chan struct{}
}

// serve starts a server and waits until it serves.
func (s *site) serve(t testing.TB) *process {
	t.Helper()
	p := &process{cmd: exec.Command("writ", "serve", "--config", s.path("writ.yaml")), stderr: &lines{}, ended: make(chan struct{})}
	pipe, err := p.cmd.StderrPipe()
	must(t, err)
	must(t, p.cmd.Start())
	serving := make(chan struct{})
	go func() {
		defer close(p.ended)
		p.read(pipe, serving)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.ended
		_ = p.cmd.Wait()
	})
	select {
	case <-serving:
	case <-p.ended:
		t.Fatalf("writ serve ended: %s", p.stderr)
	case <-time.After(time.Minute):
		t.Fatalf("writ serve does not serve: %s", p.stderr)
	}
	return p
}

// read keeps the log and takes the addresses from it.
func (p *process) read(from io.Reader, serving chan<- struct{}) {
	for in := bufio.NewScanner(from); in.Scan(); {
		p.stderr.add(in.Text())
		var line struct{ Msg, GRPC, HTTP, Probes string }
		if json.Unmarshal(in.Bytes(), &line) == nil && line.Msg == "serving" {
			p.grpc, p.http, p.probes = line.GRPC, line.HTTP, line.Probes
			close(serving)
		}
	}
}

// stop signals the server and returns its exit code; -1: a signal ended it.
func (p *process) stop(t testing.TB, signal os.Signal) int {
	t.Helper()
	must(t, p.cmd.Process.Signal(signal))
	<-p.ended
	_ = p.cmd.Wait() // the state says it all
	return p.cmd.ProcessState.ExitCode()
}

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (l *lines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.WriteString(line + "\n")
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
