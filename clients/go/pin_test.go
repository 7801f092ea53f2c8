package writ_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/writpdp/writ/address"
	writ "github.com/writpdp/writ/clients/go"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// names is a name server on loopback that answers every A with one address, which
// can change between two questions, as that of an attacker does.
type names struct {
	resolver *net.Resolver
	answer   atomic.Pointer[netip.Addr]
	asked    atomic.Int64
}

func serveNames(t *testing.T, first string) *names {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &names{}
	n.rebind(first)
	n.resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 4096)
		for {
			size, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			if reply, ok := n.reply(buffer[:size]); ok {
				_, _ = conn.WriteTo(reply, from) // who hears nothing asks again
			}
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return n
}

func (n *names) rebind(to string) {
	a := netip.MustParseAddr(to)
	n.answer.Store(&a)
}

func (n *names) reply(question []byte) ([]byte, bool) {
	var m dnsmessage.Message
	if m.Unpack(question) != nil || len(m.Questions) != 1 {
		return nil, false
	}
	m.Response, m.Authoritative, m.Additionals = true, true, nil
	if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
		n.asked.Add(1)
		m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
			Body: &dnsmessage.AResource{A: n.answer.Load().As4()}}}
	}
	data, err := m.Pack()
	return data, err == nil
}

// accepting accepts on an address of loopback, and counts.
func accepting(t *testing.T, at string) (port string, accepted *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	accepted = &atomic.Int64{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			_, _ = io.WriteString(c, "hello")
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port, accepted
}

func pinOf(addresses []string, permitted ...string) *writv1.Obligation {
	p := &writv1.Pin{Host: "rebind.example.com", Addresses: addresses, Permitted: permitted}
	for _, r := range address.Special() {
		p.Refused = append(p.Refused, r.Prefix.String())
	}
	return &writv1.Obligation{Id: "pin-1", Type: "pin", Params: &writv1.Obligation_Pin{Pin: p}}
}

// A name that resolves to another address when it is connected to than when it was
// checked is not connected to.
func TestRebinding(t *testing.T) {
	tests := []struct {
		name    string
		pin     *writv1.Obligation
		rebind  string
		connect bool
	}{
		{"the address that was checked", pinOf([]string{"127.0.0.2"}, "127.0.0.0/8"), "127.0.0.2", true},
		{"another of a permitted range", pinOf([]string{"127.0.0.2"}, "127.0.0.0/8"), "127.0.0.1", false},
		{"a permitted range", pinOf(nil, "127.0.0.2/32"), "127.0.0.2", true},
		{"beside a permitted range", pinOf(nil, "127.0.0.2/32"), "127.0.0.1", false},
		{"a refused range", pinOf(nil), "127.0.0.1", false},
		{"an address that was checked and is refused", pinOf([]string{"127.0.0.1"}), "127.0.0.1", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dns := serveNames(t, "127.0.0.2")
			checked, err := dns.resolver.LookupNetIP(t.Context(), "ip4", "rebind.example.com")
			if err != nil || len(checked) != 1 || checked[0].Unmap() != netip.MustParseAddr("127.0.0.2") {
				t.Fatalf("got %v, %v", checked, err)
			}
			port, accepted := accepting(t, test.rebind+":0")
			dns.rebind(test.rebind)
			p := &pdp{decide: func(_ int, req *writv1.DecideRequest) (*writv1.DecideResponse, error) {
				return allow(req, test.pin), nil
			}}
			c := client(t, p, writ.Config{})
			question := writ.Call{Purpose: "support", Destination: writ.Destination{Host: "rebind.example.com"},
				Connection: writ.Connection{Addresses: checked, Method: "GET", Port: 443}}
			before := dns.asked.Load()
			result, err := c.EnforceConnect(t.Context(), question, func(ctx context.Context, permitted writ.Permitted) (writ.Result, error) {
				conn, err := permitted.Dial(net.Dialer{Resolver: dns.resolver})(ctx, "tcp", net.JoinHostPort("rebind.example.com", port))
				if err != nil {
					return writ.Result{}, errors.Join(writ.ErrNotRun, err)
				}
				defer conn.Close()
				data, err := io.ReadAll(conn)
				return writ.Result{Content: writ.Content{MediaType: writ.MediaText, Data: data}}, err
			})
			if dns.asked.Load() == before {
				t.Error("the name was not resolved again")
			}
			switch {
			case test.connect && (err != nil || string(result.Content.Data) != "hello"):
				t.Errorf("got %q, %v", result.Content.Data, err)
			case !test.connect && (!errors.Is(err, writ.ErrPinned) || accepted.Load() != 0):
				t.Errorf("got %v, %d connections", err, accepted.Load())
			}
			if got := p.questions()[0].Destination; !slices.Equal(got.Addresses, []string{"127.0.0.2"}) || got.Method != "GET" || got.Port != 443 {
				t.Errorf("asked about %v", got)
			}
		})
	}
}

// Only the destination that was permitted is connected to, over IP alone.
func TestDialOfAnotherDestination(t *testing.T) {
	a := act(t, connect, writ.Config{}, pin())
	if a.err != nil {
		t.Fatal(a.err)
	}
	dial := a.permitted.Dial(net.Dialer{})
	for _, to := range [][2]string{{"tcp", "evil.example:443"}, {"unix", "api.anthropic.com:443"}, {"tcp", "127.0.0.1:443"}} {
		if _, err := dial(t.Context(), to[0], to[1]); !errors.Is(err, writ.ErrPinned) {
			t.Errorf("%v: got %v", to, err)
		}
	}
	if _, err := dial(t.Context(), "tcp", "api.anthropic.com"); err == nil {
		t.Error("an address without a port is dialled")
	}
}

// A connection that was pinned and made otherwise has no result.
func TestPinThatIsIgnored(t *testing.T) {
	p := &pdp{decide: func(_ int, req *writv1.DecideRequest) (*writv1.DecideResponse, error) { return allow(req, pin()), nil }}
	c := client(t, p, writ.Config{})
	result, err := c.EnforceConnect(t.Context(), writ.Call{Purpose: "support", Destination: writ.Destination{Host: "api.anthropic.com"}},
		func(context.Context, writ.Permitted) (writ.Result, error) { return jsonResult(`{"a":1}`), nil })
	var unmet *writ.Unmet
	if !errors.Is(err, writ.ErrWithheld) || !errors.As(err, &unmet) || result.Content.Data != nil {
		t.Errorf("got %v, %v", result, err)
	}
	if report := p.outcomes()[decisionID(connect)]; report.GetObligations()[0].GetMet() {
		t.Errorf("got the report %v", report)
	}
}

func TestBrokenPins(t *testing.T) {
	for name, params := range map[string]*writv1.Pin{
		"nothing": {}, "no address": {Addresses: []string{"x"}}, "a zone": {Addresses: []string{"fe80::1%eth0"}}, "no range": {Refused: []string{"10.0.0.0"}},
		"no host": {Host: "a/b", Refused: []string{"10.0.0.0/8"}}, "a permitted thing": {Refused: []string{"10.0.0.0/8"}, Permitted: []string{"all"}},
		"many": {Addresses: make([]string, 65)},
	} {
		a := act(t, connect, writ.Config{}, &writv1.Obligation{Id: "pin-1", Type: "pin", Params: &writv1.Obligation_Pin{Pin: params}})
		var broken *writ.BrokenAnswer
		if !errors.As(a.err, &broken) || a.ran {
			t.Errorf("%s: ran %t, got %v", name, a.ran, a.err)
		}
	}
}
