package writ

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// balancing spreads questions over all addresses of a name, so that a retry
// meets another replica.
const balancing = `{"loadBalancingConfig":[{"round_robin":{}}]}`

func dial(addr string, config *tls.Config) (*grpc.ClientConn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("reading the address %q, which must be host:port: %w", addr, err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
		return nil, fmt.Errorf("the address %q is not host:port", addr)
	}
	options := []grpc.DialOption{
		// The client's own loop retries (see Client.retry), and nobody's DNS
		// record may change how.
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultServiceConfig(balancing),
		// grpc's own pauses between connections grow to two minutes. Agents
		// would be denied for that long after Writ has come back.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 2 * time.Second,
		}),
		// A host that vanishes without a word would hold the connection for a
		// quarter of an hour. The ping is sent only while a question is open.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
	}
	if config == nil {
		if !loopback(host) {
			return nil, fmt.Errorf("plaintext to %q is refused: tokens and arguments would cross the network; set TLS, or use a loopback address", addr)
		}
		options = append(options,
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(dialLoopback))
	} else {
		if config.InsecureSkipVerify && config.VerifyPeerCertificate == nil && config.VerifyConnection == nil {
			return nil, errors.New("the TLS settings verify nothing: InsecureSkipVerify needs a verification of your own")
		}
		options = append(options, grpc.WithTransportCredentials(credentials.NewTLS(config.Clone())))
	}
	return grpc.NewClient("dns:///"+addr, options...)
}

// dialLoopback connects in plaintext, and only to a loopback address, whatever
// the name localhost resolves to.
func dialLoopback(ctx context.Context, addr string) (net.Conn, error) {
	dialer := net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		if host, _, err := net.SplitHostPort(address); err != nil || host == "localhost" || !loopback(host) {
			return errors.New("plaintext is for loopback addresses only")
		}
		return nil
	}}
	return dialer.DialContext(ctx, "tcp", addr)
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
