package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// A caller is proved once, when its connection is made, and the proof ends with
// its certificate. So no request is answered on a certificate that has ended
// (Config.Caller refuses it), and a connection is asked to go before that: whoever
// has been given a newer certificate by then comes back with it and loses no
// request.

// Ages of a connection.
const (
	// maxAge is how old a connection gets. After it a caller proves itself anew,
	// to the authorities that are trusted then.
	maxAge = 10 * time.Minute
	// ageGrace is how long calls in flight may take after that.
	ageGrace = time.Minute
	// maxIdle is how long the JSON face keeps a connection that nobody uses.
	maxIdle = 30 * time.Second
)

// spare is what is left of a certificate when its connections are asked to go: a
// sixth of its life, so that it should have been renewed for long, and no more
// than connections get old anyway.
func spare(leaf *x509.Certificate) time.Duration {
	return min(leaf.NotAfter.Sub(leaf.NotBefore)/6, maxAge)
}

// leaveBy is when a connection that is made at a time is asked to go. One that is
// made later than that goes half way to the certificate's end.
func leaveBy(leaf *x509.Certificate, at time.Time) time.Time {
	return leaf.NotAfter.Add(-min(spare(leaf), leaf.NotAfter.Sub(at)/2))
}

// escorts are the connections that leave before they are old. The gRPC library
// ends a connection at an age that is its server's, so each of these has a server
// of its own.
type escorts struct {
	mu      sync.Mutex // guards what is below
	running map[*grpc.Server]bool
	ended   bool
}

// add keeps a server until remove; false: nobody is to be served any more.
func (e *escorts) add(g *grpc.Server) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return false
	}
	if e.running == nil {
		e.running = map[*grpc.Server]bool{}
	}
	e.running[g] = true
	return true
}

func (e *escorts) remove(g *grpc.Server) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.running, g)
}

// stop lets running calls finish, until ctx is done.
func (e *escorts) stop(ctx context.Context) {
	e.mu.Lock()
	e.ended = true
	var group sync.WaitGroup
	for g := range e.running {
		group.Go(func() {
			defer context.AfterFunc(ctx, g.Stop)()
			g.GracefulStop()
		})
	}
	e.mu.Unlock()
	group.Wait()
}

// listening is the gRPC listener's side of TLS.
type listening struct {
	credentials.TransportCredentials
	s *Server
}

// ServerHandshake proves who calls, and gives a connection that has to leave
// early into the hands of a server of its own.
func (l listening) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := l.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		if err != io.EOF { // who only looks whether somebody listens
			l.s.counts.handshake.Add(context.Background(), 1)
		}
		return nil, nil, err
	}
	proof, ok := info.(credentials.TLSInfo)
	if !ok || len(proof.State.PeerCertificates) == 0 {
		return conn, info, nil
	}
	at := l.s.now()
	leave := leaveBy(proof.State.PeerCertificates[0], at)
	if leave.Sub(at) > maxAge+maxAge/10 { // the library ends it up to a tenth later
		return conn, info, nil
	}
	go l.s.escort(conn, info, leave.Sub(at))
	return nil, nil, credentials.ErrConnDispatched
}

// Clone is credentials.TransportCredentials's.
func (l listening) Clone() credentials.TransportCredentials {
	return listening{l.TransportCredentials.Clone(), l.s}
}

// escort serves one connection until the caller goes or is asked to.
func (s *Server) escort(conn net.Conn, info credentials.AuthInfo, within time.Duration) {
	listener := newLone(conn)
	g := s.newGRPC(grpc.Creds(proved{info: info}))
	if !s.escorts.add(g) {
		_ = conn.Close() // the server ends
		return
	}
	defer s.escorts.remove(g)
	stop := time.AfterFunc(max(within, 0)+ageGrace, g.Stop)
	defer stop.Stop()
	leave := time.AfterFunc(max(within, 0), g.GracefulStop)
	defer leave.Stop()
	_ = g.Serve(listener) // ends with the connection, whatever the error
	g.Stop()
	_ = conn.Close() // where it was stopped before it served
}

// proved are the credentials of a connection whose handshake is done.
type proved struct {
	credentials.TransportCredentials // of a client: none
	info                             credentials.AuthInfo
}

// ServerHandshake is done.
func (p proved) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return conn, p.info, nil
}

// Info is credentials.TransportCredentials's.
func (p proved) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone is credentials.TransportCredentials's.
func (p proved) Clone() credentials.TransportCredentials { return p }

// lone is a listener that accepts one connection.
type lone struct {
	accept chan net.Conn // holds it until it is accepted
	conn   *watched
	shut   func()
	closed chan struct{}
}

func newLone(conn net.Conn) *lone {
	l := &lone{accept: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.shut = sync.OnceFunc(func() { close(l.closed) })
	l.conn = &watched{conn, l.shut}
	l.accept <- l.conn
	return l
}

// Accept returns the connection, and then waits until it is closed or nobody
// listens any more.
func (l *lone) Accept() (net.Conn, error) {
	select {
	case conn := <-l.accept:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close is net.Listener's. The connection stays.
func (l *lone) Close() error {
	l.shut()
	return nil
}

// Addr is net.Listener's.
func (l *lone) Addr() net.Addr { return l.conn.LocalAddr() }

// watched tells when it is closed.
type watched struct {
	net.Conn
	told func()
}

// Close is net.Conn's.
func (w *watched) Close() error {
	defer w.told()
	return w.Conn.Close()
}

// connectedAt is the key of when a request's connection was made: net/http hands
// it on in the context alone.
type connectedAt struct{}

func (s *Server) connected(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, connectedAt{}, s.now())
}

// leaving ends a connection of the JSON face with an answer, before it is too old
// or its caller's certificate ends: early enough that it does not lie idle past
// that.
func (s *Server) leaving(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if since, ok := r.Context().Value(connectedAt{}).(time.Time); ok && mustLeave(r.TLS, since, s.now()) {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

func mustLeave(state *tls.ConnectionState, since, at time.Time) bool {
	if state == nil || len(state.PeerCertificates) == 0 {
		return false
	}
	leaf := state.PeerCertificates[0]
	return at.Sub(since) >= maxAge || leaf.NotAfter.Sub(at) <= max(spare(leaf), 2*maxIdle)
}
