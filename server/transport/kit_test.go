package transport

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

const serverID = "spiffe://home.example/writ"

var (
	home  = spiffeid.RequireTrustDomainFromString("home.example")
	other = spiffeid.RequireTrustDomainFromString("other.example")
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	more [][]byte // what its certificates come with
}

// newAuthority is its own root, which ends in a day; change makes it another.
func newAuthority(t testing.TB, change func(*x509.Certificate)) *authority {
	t.Helper()
	template := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	if change != nil {
		change(template)
	}
	pair := (*authority)(nil).sign(t, template)
	return &authority{pair.Leaf, pair.PrivateKey.(crypto.Signer), nil}
}

// below is an authority that a signs.
func (a *authority) below(t testing.TB) *authority {
	t.Helper()
	pair := a.sign(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter})
	return &authority{pair.Leaf, pair.PrivateKey.(crypto.Signer), append([][]byte{pair.Certificate[0]}, a.more...)}
}

func (a *authority) sign(t testing.TB, template *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	must(t, err)
	parent, signer, more := template, crypto.Signer(key), [][]byte(nil)
	if a != nil {
		parent, signer, more = a.cert, a.key, a.more
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	must(t, err)
	leaf, err := x509.ParseCertificate(der)
	must(t, err)
	return tls.Certificate{Certificate: append([][]byte{der}, more...), PrivateKey: key, Leaf: leaf}
}

// issue signs an SVID of an hour. change makes it another.
func (a *authority) issue(t testing.TB, change func(*x509.Certificate), ids ...string) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		NotBefore:   time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour)}
	for _, id := range ids {
		u, err := url.Parse(id)
		must(t, err)
		template.URIs = append(template.URIs, u)
	}
	if change != nil {
		change(template)
	}
	return a.sign(t, template)
}

func encode(kind string, all ...[]byte) []byte {
	var b bytes.Buffer
	for _, der := range all {
		must := pem.Encode(&b, &pem.Block{Type: kind, Bytes: der})
		if must != nil {
			panic(must)
		}
	}
	return b.Bytes()
}

func keyPEM(t testing.TB, c tls.Certificate) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	must(t, err)
	return encode("PRIVATE KEY", der)
}

func bundlePEM(all ...*authority) []byte {
	var ders [][]byte
	for _, a := range all {
		ders = append(ders, a.cert.Raw)
	}
	return encode("CERTIFICATE", ders...)
}

func bundleJSON(t testing.TB, domain spiffeid.TrustDomain, all ...*authority) []byte {
	t.Helper()
	b := spiffebundle.New(domain)
	for _, a := range all {
		b.AddX509Authority(a.cert)
	}
	data, err := b.Marshal()
	must(t, err)
	return data
}

// place is a directory of certificates, reached through a link as a cluster
// mounts them.
type place struct{ dir string }

func newPlace(t testing.TB, c tls.Certificate, bundle []byte) *place {
	t.Helper()
	p := &place{t.TempDir()}
	p.swap(t, "first", c, bundle)
	return p
}

// swap writes a new set beside the old one, and moves the link to it.
func (p *place) swap(t testing.TB, name string, c tls.Certificate, bundle []byte) {
	t.Helper()
	must(t, os.Mkdir(filepath.Join(p.dir, name), 0o700))
	for file, data := range map[string][]byte{"tls.crt": encode("CERTIFICATE", c.Certificate...), "tls.key": keyPEM(t, c), "ca.crt": bundle} {
		must(t, os.WriteFile(filepath.Join(p.dir, name, file), data, 0o600))
	}
	must(t, os.Symlink(name, filepath.Join(p.dir, "next")))
	must(t, os.Rename(filepath.Join(p.dir, "next"), filepath.Join(p.dir, "now")))
}

func (p *place) path(file string) string { return filepath.Join(p.dir, "now", file) }

func (p *place) write(t testing.TB, file string, data []byte) {
	t.Helper()
	must(t, os.WriteFile(p.path(file), data, 0o600))
}

func (p *place) files(more ...BundleFile) *Files {
	return &Files{Certificate: p.path("tls.crt"), Key: p.path("tls.key"), Authorities: p.path("ca.crt"), Bundles: more}
}

// output is a log that can be read while it is written.
type output struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// opened is a source with its log.
type opened struct {
	*Source
	log *output
}

func open(t testing.TB, c Config) *opened {
	t.Helper()
	o := &opened{log: &output{}}
	c.Log = slog.New(slog.NewTextHandler(o.log, nil))
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Every == 0 {
		c.Every = time.Millisecond
	}
	var err error
	o.Source, err = Open(t.Context(), c)
	must(t, err)
	return o
}

// run follows until the test ends.
func (o *opened) run(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
}

// until waits for a condition.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	end := time.NewTimer(time.Minute)
	defer end.Stop()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for !holds() {
		select {
		case <-end.C:
			t.Fatalf("waited in vain: %s", what)
		case <-again.C:
		}
	}
}

// meet makes a connection of a client to a server and returns both sides' view;
// the error is the server's.
func meet(t testing.TB, s *Source, client *tls.Config) (server, caller tls.ConnectionState, err error) {
	t.Helper()
	a, b, err := connect(t, s.TLS(), client)
	if err == nil {
		server, caller = a.ConnectionState(), b.ConnectionState()
	}
	return server, caller, err
}

func connect(t testing.TB, listener, client *tls.Config) (server, caller *tls.Conn, err error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // a pipe would wait for somebody to read an alert
	must(t, err)
	defer l.Close()
	right, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	left, err := l.Accept()
	must(t, err)
	t.Cleanup(func() { left.Close(); right.Close() })
	client = client.Clone()
	client.InsecureSkipVerify = true // what the server presents is looked at afterwards
	server, caller = tls.Server(left, listener), tls.Client(right, client)
	done := make(chan error, 1)
	go func() {
		err := caller.Handshake()
		if err != nil {
			right.Close()
		}
		done <- err
	}()
	err = server.Handshake()
	if err != nil {
		left.Close()
	}
	theirs := <-done
	if err == nil && theirs != nil {
		err = errors.Join(errors.New("the client refuses"), theirs)
	}
	return server, caller, err
}

func with(c ...tls.Certificate) *tls.Config {
	return &tls.Config{GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if len(c) == 0 {
			return &tls.Certificate{}, nil
		}
		return &c[0], nil
	}}
}
