package writ

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"github.com/writpdp/writ/address"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// Pin has a connection be made to checked addresses alone, whatever its host's name
// resolves to by then.
type Pin struct {
	// Host is whom Addresses and Permitted are for; empty: nobody.
	Host string
	// Addresses, if there are any, are the only ones of Host.
	Addresses []netip.Addr
	// Refused are ranges that no host may have, but for Permitted, which Host may.
	Refused, Permitted []netip.Prefix
}

// Type is "pin".
func (Pin) Type() string { return "pin" }

// Allow reports whether an address may be connected to for a host.
func (p Pin) Allow(host string, a netip.Addr) bool {
	bounds := address.Bounds{Refused: p.Refused}
	if host == p.Host && host != "" {
		if len(p.Addresses) > 0 && !slices.Contains(p.Addresses, a.Unmap()) {
			return false
		}
		bounds.Permitted = p.Permitted
	}
	return bounds.Allow(a)
}

// ErrPinned is of an address that a connection may not be made to.
var ErrPinned = errors.New("the address may not be connected to")

// Dial returns a function that connects to Destination alone and, where Writ pins
// the connection, to addresses that the pin allows: each is looked at by the socket
// that is about to connect to it, after its name was resolved, so a name that
// resolves to something else than it did before is caught. It fits
// http.Transport.DialContext, with a Proxy of nil; base is the rest of the dialer.
//
// A connection that is pinned must be made by it. EnforceConnect withholds the result
// of one that did not ask for it.
func (p Permitted) Dial(base net.Dialer) func(ctx context.Context, network, address string) (net.Conn, error) {
	if p.pin != nil {
		p.pin.taken.Store(true)
	}
	return func(ctx context.Context, network, target string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(target)
		if err != nil {
			return nil, fmt.Errorf("connecting: %w", err)
		}
		host = strings.ToLower(strings.TrimSuffix(host, "."))
		if host != strings.TrimSuffix(p.Destination.Host, ".") || !strings.HasPrefix(network, "tcp") && !strings.HasPrefix(network, "udp") {
			return nil, fmt.Errorf("connecting: %w: it is not the destination that was permitted", ErrPinned)
		}
		dialer := base
		if p.pin != nil {
			dialer.Control, dialer.ControlContext = nil, p.pin.control(host, base)
		}
		return dialer.DialContext(ctx, network, target)
	}
}

// control is what a socket is asked before it connects.
func (p *pinned) control(host string, base net.Dialer) func(context.Context, string, string, syscall.RawConn) error {
	return func(ctx context.Context, network, target string, c syscall.RawConn) error {
		to, err := netip.ParseAddrPort(target)
		if err != nil || !p.duty.Allow(host, to.Addr()) {
			return ErrPinned
		}
		switch {
		case base.ControlContext != nil:
			return base.ControlContext(ctx, network, target, c)
		case base.Control != nil:
			return base.Control(network, target, c)
		}
		return nil
	}
}

// Bounds of a pin.
const (
	maxPinned = 64
	maxRanges = 256
)

// decodePin reads a pin; false: it is broken.
func decodePin(in *writv1.Pin) (Pin, bool) {
	p := Pin{Host: in.GetHost()}
	if in == nil || p.Host != "" && !isHost(p.Host) || len(in.Addresses) > maxPinned || len(in.Refused) > maxRanges || len(in.Permitted) > maxRanges {
		return p, false
	}
	p.Host = strings.TrimSuffix(p.Host, ".")
	for _, text := range in.Addresses {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return p, false
		}
		p.Addresses = append(p.Addresses, a.Unmap())
	}
	for _, list := range []struct {
		texts []string
		into  *[]netip.Prefix
	}{{in.Refused, &p.Refused}, {in.Permitted, &p.Permitted}} {
		for _, text := range list.texts {
			prefix, err := netip.ParsePrefix(text)
			if err != nil {
				return p, false
			}
			*list.into = append(*list.into, prefix)
		}
	}
	return p, len(p.Addresses)+len(p.Refused) > 0
}
