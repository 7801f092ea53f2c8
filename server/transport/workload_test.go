package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
)

// api is a Workload API that hands out what it is told to, to whoever asks. The
// real one is in test/spire; this one misbehaves.
type api struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	answers chan *workload.X509SVIDResponse
}

// FetchX509SVID sends each answer to the one who asks.
func (a *api) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	for {
		select {
		case <-stream.Context().Done():
			return nil
		case answer := <-a.answers:
			if err := stream.Send(answer); err != nil {
				return err
			}
		}
	}
}

// newAPI listens on a socket until the test ends.
func newAPI(t *testing.T) (*api, string) {
	t.Helper()
	a := &api{answers: make(chan *workload.X509SVIDResponse, 1)}
	socket := filepath.Join(t.TempDir(), "api.sock")
	listener, err := net.Listen("unix", socket)
	must(t, err)
	server := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(server, a)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		must(t, <-done)
	})
	return a, "unix://" + socket
}

func handOut(t *testing.T, c tls.Certificate, own *authority, federated map[string]*authority) *workload.X509SVIDResponse {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	must(t, err)
	var chain []byte
	for _, der := range c.Certificate {
		chain = append(chain, der...)
	}
	answer := &workload.X509SVIDResponse{FederatedBundles: map[string][]byte{},
		Svids: []*workload.X509SVID{{SpiffeId: c.Leaf.URIs[0].String(), X509Svid: chain, X509SvidKey: key, Bundle: own.cert.Raw}}}
	for name, a := range federated {
		answer.FederatedBundles[name] = a.cert.Raw
	}
	return answer
}

// Of the bundles that the Workload API hands out those of configured trust domains
// count alone; what changes there is taken at once, and what is wrong with it
// changes nothing.
func TestWorkloadAPI(t *testing.T) {
	ours, theirs, third := newAuthority(t, nil), newAuthority(t, nil), newAuthority(t, nil)
	thirdDomain := spiffeid.RequireTrustDomainFromString("third.example")
	a, address := newAPI(t)
	first := ours.issue(t, nil, serverID)
	a.answers <- handOut(t, first, ours, map[string]*authority{"spiffe://third.example": third})
	s := open(t, Config{WorkloadAPI: address, Federated: []spiffeid.TrustDomain{other, home}, Every: time.Hour})
	s.run(t)
	us, them := with(ours.issue(t, nil, "spiffe://home.example/a")), with(theirs.issue(t, nil, "spiffe://other.example/a"))
	thirdOne := with(third.issue(t, nil, thirdDomain.ID().String()+"/a"))
	let := func(who *tls.Config) bool { _, _, err := meet(t, s.Source, who); return err == nil }
	if !let(us) || let(them) || let(thirdOne) {
		t.Errorf("at first: ours %t, theirs %t, of a domain that is not configured %t", let(us), let(them), let(thirdOne))
	}
	status, ready := s.Ready()
	if want := "there is no bundle of the trust domain other.example: its callers are refused"; !ready || len(status.Warnings) != 1 || status.Warnings[0] != want {
		t.Errorf("ready: %t, %q", ready, status.Warnings)
	}
	next := ours.issue(t, nil, serverID)
	both := map[string]*authority{"spiffe://third.example": third, "spiffe://other.example": theirs}
	a.answers <- handOut(t, next, ours, both)
	until(t, "the federated trust domain is let in", func() bool { return let(them) })
	if !let(us) || let(thirdOne) || !s.now().pair.Leaf.Equal(next.Leaf) {
		t.Errorf("federated: ours %t, of a domain that is not configured %t", let(us), let(thirdOne))
	}

	// Their bundle is broken: theirs alone are refused.
	leaf := theirs.issue(t, nil, "spiffe://other.example/a")
	broken := handOut(t, next, ours, both)
	broken.FederatedBundles["spiffe://other.example"] = leaf.Certificate[0]
	a.answers <- broken
	until(t, "a bundle of no authority is not used", func() bool { return !let(them) })
	if !let(us) {
		t.Error("ours are refused because theirs are broken")
	}

	// An SVID that does not come from our own authorities: the old one stays.
	a.answers <- handOut(t, ours.issue(t, nil, serverID), theirs, both)
	until(t, "what does not fit together is noticed", func() bool { status, _ := s.Ready(); return strings.Contains(status.Error, "unknown authority") })
	if !let(us) || !s.now().pair.Leaf.Equal(next.Leaf) {
		t.Error("what does not fit together is in use")
	}
	last := ours.issue(t, nil, serverID)
	a.answers <- handOut(t, last, ours, nil)
	until(t, "what fits again is taken", func() bool { return s.now().pair.Leaf.Equal(last.Leaf) })
}

// The first SVID that is of use is waited for; none that is not is served with.
func TestWorkloadAPIBeginsBadly(t *testing.T) {
	ours := newAuthority(t, nil)
	a, address := newAPI(t)
	expired := handOut(t, ours.issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }, serverID), ours, nil)
	good := ours.issue(t, nil, serverID)
	a.answers <- expired
	go func() { a.answers <- handOut(t, good, ours, nil) }()
	if s := open(t, Config{WorkloadAPI: address}); !s.now().pair.Leaf.Equal(good.Leaf) {
		t.Error("it starts with another certificate")
	}
	b, address := newAPI(t)
	b.answers <- expired
	_, err := Open(t.Context(), Config{WorkloadAPI: address, Patience: 200 * time.Millisecond, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("with an expired one alone: %v", err)
	}
}

// Without an answer there is no start, and the log says what is wrong.
func TestWorkloadAPIIsAway(t *testing.T) {
	log := &output{}
	_, err := Open(t.Context(), Config{WorkloadAPI: "unix://" + filepath.Join(t.TempDir(), "nothing"), Patience: 200 * time.Millisecond,
		Now: time.Now, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err == nil || !strings.Contains(err.Error(), "there was none for 200ms") {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(log.String(), "Failed to watch the Workload API") {
		t.Errorf("the log says %s", log)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, Config{WorkloadAPI: "unix:///nothing", Now: time.Now, Log: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("a start that was called off is one")
	}
}
