package postgres_test

import (
	"io"
	"net"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/writpdp/writ/store/postgres"
	"github.com/writpdp/writ/store/storetest"
	"github.com/writpdp/writ/test/pgtest"
)

// freezer passes connections on to a server until it is frozen: then it takes what is
// sent and answers nothing, as a server does whose disk hangs.
type freezer struct {
	net.Listener
	frozen atomic.Bool
}

func newFreezer(t *testing.T, server string) *freezer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &freezer{Listener: listener}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go f.pass(client, server)
		}
	}()
	return f
}

func (f *freezer) pass(client net.Conn, server string) {
	defer client.Close()
	there, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer there.Close()
	go f.copy(client, there)
	f.copy(there, client)
}

// copy takes everything and passes it on, or not.
func (f *freezer) copy(to io.Writer, from io.Reader) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && !f.frozen.Load() {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// A server freezes on a machine that still answers: it is given up, and the batch goes
// to the host that takes its place.
func TestTheServerFreezes(t *testing.T) {
	dsn := pgtest.DSN(t)
	openNew(t, dsn).Close()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	f := newFreezer(t, u.Host)
	u.Host = f.Addr().String() + "," + u.Host
	s, err := postgres.Open(t.Context(), u.String()+"&statement_timeout=300&connect_timeout=1")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Commit(t.Context(), storetest.Load(1, storetest.DayCalls)); err != nil {
		t.Fatal(err)
	}
	f.frozen.Store(true)
	if _, err := s.Commit(t.Context(), storetest.Load(2, storetest.DayCalls)); err != nil {
		t.Fatal(err)
	}
	if got, want := used(t, s), int64(2); got != want {
		t.Errorf("the counter holds %d, want %d", got, want)
	}
}
