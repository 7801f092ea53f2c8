package test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	writ "github.com/writpdp/writ/clients/go"
	"github.com/writpdp/writ/clients/go/writtest"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/store/sqlite"
)

// proxy stands between a client and a PDP and can cut what it carries.
type proxy struct {
	listener net.Listener
	to       string

	mu    sync.Mutex // guards conns
	conns map[net.Conn]bool
}

func startProxy(t *testing.T, to string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, to: to, conns: map[net.Conn]bool{}}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return // the test is over
			}
			wait.Go(func() { p.carry(in) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		p.cut()
		wait.Wait()
	})
	return p
}

// carry copies both ways until either end is gone.
func (p *proxy) carry(in net.Conn) {
	out, err := net.Dial("tcp", p.to)
	if err != nil {
		in.Close()
		return
	}
	p.mu.Lock()
	p.conns[in], p.conns[out] = true, true
	p.mu.Unlock()
	var wait sync.WaitGroup
	for from, to := range map[net.Conn]net.Conn{in: out, out: in} {
		wait.Go(func() {
			io.Copy(to, from) // an end that is gone ends both
			in.Close()
			out.Close()
		})
	}
	wait.Wait()
	p.mu.Lock()
	delete(p.conns, in)
	delete(p.conns, out)
	p.mu.Unlock()
}

// cut ends all connections at once; new ones are carried.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		conn.Close()
	}
}

// losing is a store whose PDP loses the answer to each first commit of a record:
// the record is durable, the connection is gone.
type losing struct {
	writtest.Store

	mu   sync.Mutex // guards the fields below
	cut  func()
	seen map[string]bool
}

// Commit cuts the connection between the commit and the answer.
func (l *losing) Commit(ctx context.Context, e audit.Entry) (audit.Receipt, error) {
	receipt, err := l.Store.Commit(ctx, e)
	key := string(rune(e.Kind)) + e.Key
	l.mu.Lock()
	first := !l.seen[key]
	l.seen[key] = true
	cut := l.cut
	l.mu.Unlock()
	if err == nil && first {
		cut()
	}
	return receipt, err
}

// Every answer is lost once on its way: the same question is asked again, and
// the same answer comes. Nothing is decided, recorded or spent twice.
func TestClientAnswersLost(t *testing.T) {
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "writ.db"))
	if err != nil {
		t.Fatal(err)
	}
	closing(t, store.Close)
	l := &losing{Store: store, seen: map[string]bool{}}
	p := writtest.Start(t, writtest.Config{Store: l, Now: workday})
	between := startProxy(t, p.Addr)
	l.mu.Lock()
	l.cut = between.cut
	l.mu.Unlock()
	c, err := writ.New(writ.Config{Addr: between.listener.Addr().String(),
		Token:         func(context.Context) (string, error) { return p.Token(support) },
		OnSettleError: func(_ writ.Report, err error) { t.Errorf("a report was lost: %v", err) },
		// Longer than the machine can be slow: the cut alone ends an attempt.
		Timeout: time.Minute, AttemptTimeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	closing(t, c.Close)
	echo := capture(t, "everything/echo")
	tool := &action{answer: echo.Result}
	_, err = c.Enforce(t.Context(), writ.Call{Purpose: "support", Tool: definition(t, "everything/echo"), Arguments: echo.Arguments}, tool.next)
	if err != nil || tool.ran != 1 {
		t.Fatalf("ran %d times, %v", tool.ran, err)
	}
	d := tool.permitted.Decision
	if !d.Replayed {
		t.Error("the answer was not given again")
	}
	if got := records(t, p)[0].Id; got != d.ID || d.Receipt == nil || d.Receipt.RecordID != got {
		t.Errorf("the answer is of the decision %s, the record is %s", d.ID, got)
	}
	for _, line := range d.Budgets {
		if line.Budget == "agent-daily-calls" && (line.Reserved != 1 || line.Remaining != line.Cap-1) {
			t.Errorf("reserved %d, %d of %d left", line.Reserved, line.Remaining, line.Cap)
		}
	}
	tells(t, p, "CALL ALLOW", "RESULT ALLOW", "settled CALL SUCCEEDED")
}

// Without Writ there is no answer, and so nothing runs.
func TestClientWithoutWrit(t *testing.T) {
	var stopped *writtest.PDP
	t.Run("while it runs", func(t *testing.T) { stopped = startPDP(t) })
	c, err := writ.New(writ.Config{Addr: stopped.Addr, Timeout: time.Second,
		Token: func(context.Context) (string, error) { return stopped.Token(support) }})
	if err != nil {
		t.Fatal(err)
	}
	closing(t, c.Close)
	nothing := &action{}
	call := writ.Call{Purpose: "support", Tool: definition(t, "everything/echo"), Arguments: json.RawMessage(`{"message": "hello"}`),
		Destination: writ.Destination{Host: "api.example-ai.com"}, Content: writ.Content{Data: []byte(`{}`)}}
	for name, enforce := range map[string]func(context.Context, writ.Call, writ.Next) (writ.Result, error){
		"call": c.Enforce, "prompt": c.EnforcePrompt, "connect": c.EnforceConnect,
		"list": func(ctx context.Context, call writ.Call, _ writ.Next) (writ.Result, error) {
			tools, err := c.FilterTools(ctx, call, []writ.Tool{call.Tool})
			nothing.ran += len(tools)
			return writ.Result{}, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := enforce(t.Context(), call, nothing.next)
			if code := status.Code(err); code != codes.Unavailable {
				t.Errorf("got %v, want %s", err, codes.Unavailable)
			}
		})
	}
	t.Cleanup(func() {
		if nothing.ran != 0 {
			t.Errorf("ran %d times", nothing.ran)
		}
	})
}
