package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/identity"
)

// issuing is an authority of callers and of the server.
type issuing struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuing(t testing.TB) *issuing {
	t.Helper()
	template := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(100 * time.Hour)}
	c := (*issuing)(nil).sign(t, template)
	return &issuing{c.Leaf, c.PrivateKey.(*ecdsa.PrivateKey)}
}

func (i *issuing) sign(t testing.TB, template *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	must(t, err)
	parent, signer := template, key
	if i != nil {
		parent, signer = i.cert, i.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	must(t, err)
	leaf, err := x509.ParseCertificate(der)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// caller is a certificate of a life, of which some is over.
func (i *issuing) caller(t testing.TB, life, over time.Duration) tls.Certificate {
	t.Helper()
	id, err := url.Parse(gateway.SPIFFEID)
	must(t, err)
	now := time.Now().Add(-over)
	return i.sign(t, &x509.Certificate{NotBefore: now, NotAfter: now.Add(life), URIs: []*url.URL{id}, DNSNames: []string{"writ.example.org"},
		KeyUsage: x509.KeyUsageDigitalSignature})
}

// overTLS has a server ask callers for certificates, and believe them for as long
// as these last.
func (i *issuing) overTLS(t testing.TB, now func() time.Time) func(*pdp, *server.Config) {
	return func(_ *pdp, c *server.Config) {
		pool := x509.NewCertPool()
		pool.AddCert(i.cert)
		c.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{i.caller(t, 24*time.Hour, 0)}, ClientCAs: pool,
			ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"h2", "http/1.1"}}
		c.Caller = func(state *tls.ConnectionState) (decision.Caller, error) {
			_, err := identity.FromTLS(*state, now())
			return gateway, err
		}
	}
}

// connecting is a caller who counts its connections, and has a certificate for
// each.
type connecting struct {
	renewed func() tls.Certificate

	mu   sync.Mutex // guards made
	made int
}

// having is a caller whose certificate stays.
func having(c tls.Certificate) *connecting {
	return &connecting{renewed: func() tls.Certificate { return c }}
}

func (c *connecting) connections() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.made
}

func (c *connecting) config(i *issuing) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(i.cert)
	return &tls.Config{RootCAs: pool, ServerName: "writ.example.org", GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.made++
		next := c.renewed()
		return &next, nil
	}}
}

// listening serves until the test ends, and returns both addresses.
func (p *pdp) listening(t testing.TB) (grpcAddress, httpAddress string, stop func() error) {
	t.Helper()
	grpcListener, httpListener := listen(t), listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx, grpcListener, httpListener) }()
	stop = sync.OnceValue(func() error { cancel(); return <-served })
	t.Cleanup(func() { must(t, stop()) })
	return grpcListener.Addr().String(), httpListener.Addr().String(), stop
}

func dialing(t testing.TB, address string, c *connecting, i *issuing) writv1.DecisionServiceClient {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(c.config(i))), grpc.WithDisableRetry())
	must(t, err)
	t.Cleanup(func() { must(t, conn.Close()) })
	return writv1.NewDecisionServiceClient(conn)
}

// A connection leaves before its caller's certificate ends. A caller who has been
// given another by then loses no request, at however many a time.
func TestConnectionLeavesInTime(t *testing.T) {
	i := newIssuing(t)
	p := open(t, i.overTLS(t, time.Now))
	address, _, _ := p.listening(t)
	// Half way to its end it leaves, with four seconds left.
	c := &connecting{renewed: func() tls.Certificate { return i.caller(t, time.Minute, 52*time.Second) }}
	client := dialing(t, address, c, i)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for c.connections() < 3 {
				if _, err := client.Explain(t.Context(), &writv1.ExplainRequest{Request: p.listing(t)}); err != nil {
					t.Errorf("after %d connections: %v", c.connections(), err)
					return
				}
			}
		})
	}
	group.Wait()
}

// A caller who has not been given another certificate is served to the end of the
// one it has, and then no more.
func TestConnectionDoesNotOutliveItsCertificate(t *testing.T) {
	i := newIssuing(t)
	p := open(t, i.overTLS(t, time.Now))
	address, _, _ := p.listening(t)
	mine := i.caller(t, 2*time.Second, 0)
	c := having(mine)
	client := dialing(t, address, c, i)
	answered := 0
	for begun := time.Now(); ; begun = time.Now() {
		_, err := client.Explain(t.Context(), &writv1.ExplainRequest{Request: p.listing(t)})
		if err == nil {
			if answered++; begun.After(mine.Leaf.NotAfter) {
				t.Fatal("a request is answered on a certificate that had ended before")
			}
			continue
		}
		if f := failureOf(err); time.Now().Before(mine.Leaf.NotAfter) || f.Code != codes.Unavailable && f.Reason != "CALLER_UNKNOWN" {
			t.Errorf("%s before its end: %v", time.Until(mine.Leaf.NotAfter), err)
		}
		break
	}
	if answered == 0 {
		t.Error("it was never answered")
	}
}

// A request on a connection whose certificate has ended is refused, on both
// faces, whenever the connection was to leave.
func TestExpiredIsRefused(t *testing.T) {
	i := newIssuing(t)
	var mu sync.Mutex // guards ahead
	ahead := time.Duration(0)
	now := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return time.Now().Add(ahead)
	}
	p := open(t, i.overTLS(t, now))
	address, web, _ := p.listening(t)
	c := having(i.caller(t, time.Hour, 0))
	client := dialing(t, address, c, i)
	browser := &http.Client{Transport: &http.Transport{TLSClientConfig: c.config(i), ForceAttemptHTTP2: true}}
	evaluate := func() (int, string) {
		response, err := browser.Post("https://"+web+"/access/v1/evaluation", "application/json", strings.NewReader("{}"))
		must(t, err)
		defer response.Body.Close()
		body := make([]byte, 4096)
		n, _ := response.Body.Read(body)
		return response.StatusCode, string(body[:n])
	}
	ask := func() error {
		_, err := client.Explain(t.Context(), &writv1.ExplainRequest{Request: p.listing(t)})
		return err
	}
	must(t, ask())
	if code, body := evaluate(); code != http.StatusBadRequest {
		t.Errorf("before: %d %s", code, body)
	}
	mu.Lock()
	ahead = time.Hour + time.Second
	mu.Unlock()
	expect(t, ask(), codes.Unauthenticated, "CALLER_UNKNOWN")
	if code, body := evaluate(); code != http.StatusUnauthorized || !strings.Contains(body, "CALLER_UNKNOWN") {
		t.Errorf("after: %d %s", code, body)
	}
	if n := c.connections(); n != 2 {
		t.Errorf("%d connections, want one over gRPC and one over JSON", n)
	}
}

// The JSON face ends a connection with an answer when it is time, over both
// versions of HTTP.
func TestJSONLeaves(t *testing.T) {
	i := newIssuing(t)
	p := open(t, i.overTLS(t, time.Now))
	_, web, _ := p.listening(t)
	for name, test := range map[string]struct {
		life, over time.Duration
		want       int // connections that three requests take
	}{
		"new":                     {time.Hour, 0, 1},
		"at half of its life":     {time.Hour, 30 * time.Minute, 1},
		"with a sixth of it left": {time.Hour, 51 * time.Minute, 3},
		"with less than a minute": {2 * time.Minute, 70 * time.Second, 3},
		"with a month of a year":  {365 * 24 * time.Hour, 335 * 24 * time.Hour, 1},
	} {
		for _, two := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, HTTP/2: %t", name, two), func(t *testing.T) {
				c := having(i.caller(t, test.life, test.over))
				browser := &http.Client{Transport: &http.Transport{TLSClientConfig: c.config(i), ForceAttemptHTTP2: two}}
				defer browser.CloseIdleConnections()
				for range 3 {
					response, err := browser.Get("https://" + web + "/.well-known/authzen-configuration")
					must(t, err)
					_, err = io.Copy(io.Discard, response.Body)
					must(t, err)
					must(t, response.Body.Close())
					if want := map[bool]int{false: 1, true: 2}[two]; response.StatusCode != http.StatusOK || response.ProtoMajor != want {
						t.Errorf("status %d over HTTP/%d", response.StatusCode, response.ProtoMajor)
					}
				}
				if n := c.connections(); n != test.want {
					t.Errorf("%d connections, want %d", n, test.want)
				}
			})
		}
	}
}

// A server that stops waits for calls on connections that leave early, too.
func TestGracefulStopOfEarlyLeavers(t *testing.T) {
	i := newIssuing(t)
	p, f := openFaulty(t, i.overTLS(t, time.Now))
	address, _, stop := p.listening(t)
	c := having(i.caller(t, 5*time.Minute, 0))
	client := dialing(t, address, c, i)
	_, err := client.Decide(t.Context(), p.listing(t))
	must(t, err)
	g := newGate()
	f.commit = g.guard(f.Ledger)
	answered := make(chan error, 1)
	request := p.listing(t)
	go func() { _, err := client.Decide(t.Context(), request); answered <- err }()
	g.wait(t)
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	refused(t, address)
	select {
	case err := <-stopped:
		t.Fatalf("Serve returned before its call: %v", err)
	default:
	}
	close(g.open)
	must(t, <-answered)
	must(t, <-stopped)
}

// What comes in on a connection that was handed over is bounded as any other, and
// a caller that goes leaves nothing behind.
func TestEarlyLeaverGoes(t *testing.T) {
	i := newIssuing(t)
	p := open(t, i.overTLS(t, time.Now))
	address, _, stop := p.listening(t)
	c := having(i.caller(t, 5*time.Minute, 0))
	for range 3 {
		conn, err := tls.Dial("tcp", address, func() *tls.Config { x := c.config(i); x.NextProtos = []string{"h2"}; return x }())
		must(t, err)
		must(t, conn.Close())
	}
	client := dialing(t, address, c, i)
	large := p.listing(t)
	large.Arguments = make([]byte, 5<<20)
	_, err := client.Explain(t.Context(), &writv1.ExplainRequest{Request: large})
	expect(t, err, codes.ResourceExhausted, "")
	must(t, stop()) // does not wait for those that went
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("it still listens")
	}
}
