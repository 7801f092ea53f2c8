package server_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/identity"
)

func TestHealth(t *testing.T) {
	at := open(t).serve(t)
	client := healthv1.NewHealthClient(at.conn)
	for _, service := range []string{"", "writ.v1.DecisionService"} {
		got, err := client.Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
		must(t, err)
		if got.Status != healthv1.HealthCheckResponse_SERVING {
			t.Errorf("%q is %s", service, got.Status)
		}
	}
	_, err := client.Check(t.Context(), &healthv1.HealthCheckRequest{Service: "other"})
	expect(t, err, codes.NotFound, "")
}

func TestReflection(t *testing.T) {
	at := open(t).serve(t)
	stream, err := reflectionv1.NewServerReflectionClient(at.conn).ServerReflectionInfo(t.Context())
	must(t, err)
	must(t, stream.Send(&reflectionv1.ServerReflectionRequest{
		MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}))
	got, err := stream.Recv()
	must(t, err)
	var names []string
	for _, s := range got.GetListServicesResponse().GetService() {
		names = append(names, s.Name)
	}
	if !slices.Contains(names, "writ.v1.DecisionService") {
		t.Errorf("the services are %v", names)
	}
	must(t, stream.Send(&reflectionv1.ServerReflectionRequest{
		MessageRequest: &reflectionv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "writ.v1.DecisionService"}}))
	got, err = stream.Recv()
	must(t, err)
	if len(got.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
		t.Errorf("no descriptor: %v", got)
	}
}

// sealed gives a server a sealer that looks once an hour: what is sealed within a
// test was sealed on the way out.
func sealed(p *pdp, c *server.Config) {
	c.Sealer = audit.NewSealer(audit.SealerConfig{Seal: p.store.Seal, Extend: p.signer.Extend, Interval: time.Hour})
}

// leaves counts the records in the tree and those that wait.
func (p *pdp) leaves(t testing.TB) (inTree, waiting int) {
	t.Helper()
	ctx := context.Background()
	must(t, p.store.View(ctx, func(r audit.Reader) error {
		return firstError(
			r.Leaves(ctx, 0, 1<<60, func(audit.Leaf) error { inTree++; return nil }),
			r.PendingRows(ctx, func(audit.Row) error { waiting++; return nil }))
	}))
	return inTree, waiting
}

// Told to stop, the server takes nothing new, answers what it has begun, and
// seals it all.
func TestGracefulStop(t *testing.T) {
	p, f := openFaulty(t, sealed)
	at := p.serve(t)
	_, err := at.Decide(t.Context(), p.listing(t))
	must(t, err)
	g := newGate()
	f.commit = g.guard(f.Ledger)
	requests := []*writv1.DecideRequest{p.listing(t), p.forbidden(t)}
	evaluation := p.evaluation(t)
	var calls sync.WaitGroup
	for _, request := range requests {
		calls.Go(func() {
			if _, err := at.Decide(t.Context(), request); err != nil {
				t.Errorf("a call in flight failed: %v", err)
			}
		})
	}
	calls.Go(func() {
		if status, body := at.evaluate(t, evaluation); status != http.StatusOK {
			t.Errorf("an evaluation in flight failed: %d %s", status, body)
		}
	})
	for range 3 {
		g.wait(t)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- at.stop() }()
	refused(t, at.conn.Target())
	refused(t, strings.TrimPrefix(at.baseURL, "http://"))
	select {
	case err := <-stopped:
		t.Fatalf("Serve returned before its calls: %v", err)
	default:
	}
	close(g.open)
	calls.Wait()
	must(t, <-stopped)
	if inTree, waiting := p.leaves(t); inTree != 4 || waiting != 0 {
		t.Errorf("%d records are sealed and %d wait, want 4 and none", inTree, waiting)
	}
	if n := p.verify(t); n != 4 {
		t.Errorf("%d records", n)
	}
}

// refused waits until nobody listens at an address.
func refused(t testing.TB, address string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		conn.Close()
		select {
		case <-ctx.Done():
			t.Fatalf("%s still listens", address)
		case <-again.C:
		}
	}
}

// A stop that comes before the start is a stop.
func TestStopAtOnce(t *testing.T) {
	for range 5 {
		p := open(t, sealed)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.Serve(ctx, listen(t), listen(t)); err != nil {
			t.Fatal(err)
		}
	}
}

// When one listener fails the whole server ends and says why.
func TestListenerFails(t *testing.T) {
	for name, broken := range map[string]int{"serving gRPC": 0, "serving JSON": 1} {
		t.Run(name, func(t *testing.T) {
			p := open(t, sealed)
			p.decide(t, p.listing(t), writv1.Effect_EFFECT_ALLOW)
			listeners := []net.Listener{listen(t), listen(t)}
			must(t, listeners[broken].Close())
			err := p.Serve(t.Context(), listeners[0], listeners[1])
			if err == nil || !strings.HasPrefix(err.Error(), name+": ") {
				t.Errorf("got %v", err)
			}
			if _, waiting := p.leaves(t); waiting != 0 {
				t.Errorf("%d records are not sealed", waiting)
			}
		})
	}
}

// Without a sealer of its own a server leaves the log to others.
func TestNoSealer(t *testing.T) {
	p := open(t)
	at := p.serve(t)
	_, err := at.Decide(t.Context(), p.listing(t))
	must(t, err)
	must(t, at.stop())
	if inTree, waiting := p.leaves(t); inTree != 0 || waiting != 1 {
		t.Errorf("%d records are sealed and %d wait", inTree, waiting)
	}
}

// Nothing that a request holds is in the server's log, whatever goes wrong.
func TestLogTellsNoSecrets(t *testing.T) {
	p, f := openFaulty(t)
	at := p.serve(t)
	text := fmt.Sprintf(`{"path":"/srv/files/%s"}`, canary)
	ask := func() []string {
		call := p.call(t, "filesystem", "list_directory", text)
		call.Context = []byte(text)
		call.Resource = &writv1.Resource{Type: "Payment", Id: canary, Properties: []byte(text)}
		prompt := p.listing(t)
		into(prompt, writv1.Phase_PHASE_PROMPT)
		prompt.Content.Data = []byte(text)
		broken := p.listing(t)
		broken.Arguments = []byte(text[:len(text)-1])
		requests := []*writv1.DecideRequest{call, prompt, broken}
		var tokens []string
		for i, r := range requests {
			tokens = append(tokens, r.PrincipalToken)
			_, err := at.Decide(t.Context(), r)
			secretive(t, err)
			_, err = at.Explain(t.Context(), &writv1.ExplainRequest{Request: r})
			secretive(t, err)
			got, err := at.DecideBatch(t.Context(), &writv1.DecideBatchRequest{Items: []*writv1.BatchItem{item(fmt.Sprint(i), r)}})
			must(t, err)
			if strings.Contains(got.String(), canary) {
				t.Errorf("an answer repeats a value: %v", got)
			}
		}
		return append(tokens, strings.Split(tokens[0], ".")...)
	}
	secrets := append(ask(), canary)
	f.commit = func(context.Context, audit.Entry) (audit.Receipt, error) {
		return audit.Receipt{}, fmt.Errorf("the disk is full")
	}
	secrets = append(secrets, ask()...)
	f.commit = func(context.Context, audit.Entry) (audit.Receipt, error) { panic("a defect") }
	secrets = append(secrets, ask()...)
	log := p.log.String()
	if !strings.Contains(log, "the disk is full") || !strings.Contains(log, "a defect") {
		t.Fatalf("the log misses what went wrong: %s", log)
	}
	for _, secret := range secrets {
		if strings.Contains(log, secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

// A caller whom nobody knows is told that, on every method, and gets no further.
func TestUnknownCaller(t *testing.T) {
	p := open(t, func(_ *pdp, c *server.Config) {
		c.Caller = func(*tls.ConnectionState) (decision.Caller, error) {
			return decision.Caller{}, &identity.Error{Reason: writv1.ErrorReason_ERROR_REASON_CALLER_UNKNOWN, Problem: "no rule knows the caller"}
		}
	})
	at := p.serve(t)
	request := p.listing(t)
	for _, err := range []error{
		second(at.Decide(t.Context(), request)),
		second(at.Explain(t.Context(), &writv1.ExplainRequest{Request: request})),
		second(at.DecideBatch(t.Context(), &writv1.DecideBatchRequest{Items: []*writv1.BatchItem{item("a", request)}})),
		second(at.Settle(t.Context(), succeeded(newID(t), nil))),
	} {
		expect(t, err, codes.Unauthenticated, "CALLER_UNKNOWN")
	}
	if status, body := at.evaluate(t, p.evaluation(t)); status != http.StatusUnauthorized || !strings.Contains(body, `"CALLER_UNKNOWN"`) {
		t.Errorf("over JSON: %d %s", status, body)
	}
	if got := p.books(t); got != (books{}) {
		t.Errorf("wrote %+v", got)
	}
	err := at.conn.Invoke(t.Context(), "/writ.v1.DecisionService/Other", &writv1.SettleRequest{}, &writv1.SettleResponse{})
	expect(t, err, codes.Unimplemented, "")
}

func second[T any](_ T, err error) error { return err }
