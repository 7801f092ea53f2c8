package jwks

import (
	"bytes"
	"context"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/writpdp/writ/server/identity"
)

// agent is a Workload API that tells key sets, one after the other.
type agent struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	sets chan map[string][]byte
}

func (a *agent) FetchJWTBundles(_ *workload.JWTBundlesRequest, to grpc.ServerStreamingServer[workload.JWTBundlesResponse]) error {
	for {
		select {
		case <-to.Context().Done():
			return to.Context().Err()
		case set, ok := <-a.sets:
			if !ok {
				return status.Error(codes.Unavailable, "away")
			}
			if err := to.Send(&workload.JWTBundlesResponse{Bundles: set}); err != nil {
				return err
			}
		}
	}
}

// noticed is a log that a test waits for.
type noticed struct {
	mu    sync.Mutex // guards text
	text  bytes.Buffer
	lines chan string
}

func (n *noticed) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines <- string(p)
	return n.text.Write(p)
}

// await waits until each of the texts was in a line.
func (n *noticed) await(t *testing.T, texts ...string) {
	t.Helper()
	for len(texts) > 0 {
		select {
		case line := <-n.lines:
			texts = slices.DeleteFunc(texts, func(text string) bool { return strings.Contains(line, text) })
		case <-t.Context().Done():
			t.Fatalf("no line says %q", texts)
		}
	}
}

// Keys come and go as the agent says; while it is away the last ones stay, up to
// MaxAge.
func TestWorkload(t *testing.T) {
	ours, theirs, other := spiffeid.RequireTrustDomainFromString("ours.example"), spiffeid.RequireTrustDomainFromString("theirs.example"), spiffeid.RequireTrustDomainFromString("other.example")
	a := &agent{sets: make(chan map[string][]byte)}
	socket := filepath.Join(t.TempDir(), "agent.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(server, a)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	log := &noticed{lines: make(chan string, 1<<10)}
	w, err := NewWorkload(config(log), ours, theirs)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- w.Run(ctx, workloadapi.WithAddr("unix://"+socket)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	if w.Domain(other) != nil {
		t.Error("a trust domain that is not followed has keys")
	}
	if got := has(w.Domain(ours), time.Now()); got != "none" {
		t.Errorf("before the agent said anything: %s", got)
	}
	a.sets <- map[string][]byte{ours.IDString(): keySet("a"), theirs.IDString(): keySet("b"), other.IDString(): keySet("c")}
	log.await(t, ours.Name(), theirs.Name())
	// Each has its own keys: none signs for another.
	expectKeys(t, w, map[spiffeid.TrustDomain]string{ours: "a", theirs: "b"})
	a.sets <- map[string][]byte{ours.IDString(): keySet("d"), theirs.IDString(): keySet("b")}
	log.await(t, ours.Name())
	expectKeys(t, w, map[spiffeid.TrustDomain]string{ours: "d", theirs: "b"})
	a.sets <- map[string][]byte{ours.IDString(): keySet("d")}
	log.await(t, theirs.Name())
	expectKeys(t, w, map[spiffeid.TrustDomain]string{ours: "d", theirs: ""})
	close(a.sets)
	log.await(t, "away")
	lost := time.Now()
	expectKeys(t, w, map[spiffeid.TrustDomain]string{ours: "d"})
	if got := has(w.Domain(ours), lost.Add(DefaultMaxAge)); got != "none" {
		t.Errorf("when the agent is away for too long: %s", got)
	}
	if got := has(w.Domain(ours), lost.Add(DefaultMaxAge-time.Minute)); got != "d" {
		t.Errorf("just before: %s", got)
	}
}

func expectKeys(t *testing.T, w *Workload, want map[spiffeid.TrustDomain]string) {
	t.Helper()
	for td, ids := range want {
		if got := has(w.Domain(td), time.Now()); got != ids {
			t.Errorf("the keys of %s are %q, want %q", td, got, ids)
		}
	}
}

var _ identity.KeySource = (*domain)(nil)
