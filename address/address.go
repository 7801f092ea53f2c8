// Package address knows which IP addresses are nobody's business on the open
// internet: private, local, of metadata services, reserved, and those that carry
// another address within. Decision points and enforcement points share it, so both
// refuse the same ones. It resolves nothing and opens nothing.
package address

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// Class is what an address is for. The zero value is a public address.
type Class string

// The classes.
const (
	Public     Class = ""
	Metadata   Class = "metadata"   // a cloud's metadata or credentials service
	Loopback   Class = "loopback"   // this machine
	Private    Class = "private"    // a network behind somebody's router
	LinkLocal  Class = "link-local" // this network segment
	Shared     Class = "shared"     // between a provider and its customers (CGNAT)
	Multicast  Class = "multicast"
	Example    Class = "documentation"
	Translated Class = "translated" // another address is within: NAT64, 6to4, Teredo, mapped
	Reserved   Class = "reserved"
)

// Classes are all but Public, in order.
var Classes = []Class{Example, LinkLocal, Loopback, Metadata, Multicast, Private, Reserved, Shared, Translated}

// Range is addresses of one class.
type Range struct {
	Prefix netip.Prefix
	Class  Class
}

// special are the ranges that are not public. Where they overlap, the longest
// prefix says. Sources: the IANA IPv4 and IPv6 Special-Purpose Address Registries, the
// IANA IPv6 address space (only 2000::/3 is global unicast), RFC 5771 and RFC 4291
// for multicast, RFC 3879 and RFC 4291 for what is deprecated; for metadata services
// the manuals of the clouds, each with its name.
var special = ranges(
	"0.0.0.0/8", Loopback, // "this network"; Linux connects it to itself
	"10.0.0.0/8", Private,
	"100.64.0.0/10", Shared,
	"100.100.100.200/32", Metadata, // Alibaba Cloud
	"127.0.0.0/8", Loopback,
	"168.63.129.16/32", Metadata, // Azure's wire server
	"169.254.0.0/16", LinkLocal,
	"169.254.169.254/32", Metadata, // most clouds
	"169.254.169.253/32", Metadata, // AWS, its resolver
	"169.254.169.123/32", Metadata, // AWS, its clock
	"169.254.170.2/32", Metadata, // AWS, credentials of tasks
	"169.254.170.23/32", Metadata, // AWS, credentials of pods
	"169.254.0.23/32", Metadata, // Tencent Cloud
	"172.16.0.0/12", Private,
	"192.0.0.0/24", Reserved,
	"192.0.0.192/32", Metadata, // Oracle Cloud
	"192.0.2.0/24", Example,
	"192.31.196.0/24", Reserved, // AS112
	"192.52.193.0/24", Reserved, // AMT
	"192.88.99.0/24", Translated, // 6to4 relays
	"192.168.0.0/16", Private,
	"192.175.48.0/24", Reserved, // AS112
	"198.18.0.0/15", Private, // benchmarking
	"198.51.100.0/24", Example,
	"203.0.113.0/24", Example,
	"224.0.0.0/4", Multicast,
	"240.0.0.0/4", Reserved, // 255.255.255.255 too

	"::/3", Reserved,
	"::/96", Translated, // IPv4-compatible
	"::/128", Loopback,
	"::1/128", Loopback,
	"::ffff:0:0/96", Translated, // IPv4-mapped
	"::ffff:0:0:0/96", Translated, // IPv4-translated
	"64:ff9b::/96", Translated, // NAT64
	"64:ff9b:1::/48", Translated, // NAT64 of one network
	"100::/64", Reserved, // discard
	"2001::/23", Reserved, // protocol assignments
	"2001::/32", Translated, // Teredo
	"2001:db8::/32", Example,
	"2002::/16", Translated, // 6to4
	"2620:4f:8000::/48", Reserved, // AS112
	"3fff::/20", Example,
	"4000::/2", Reserved,
	"8000::/1", Reserved,
	"fc00::/7", Private,
	"fd00:ec2::/32", Metadata, // AWS
	"fd00:c1::a9fe:a9fe/128", Metadata, // Oracle Cloud
	"fd20:ce::254/128", Metadata, // Google Cloud
	"fe80::/10", LinkLocal,
	"fec0::/10", Private, // site-local
	"ff00::/8", Multicast,
)

func ranges(pairs ...any) []Range {
	all := make([]Range, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, Range{netip.MustParsePrefix(pairs[i].(string)), pairs[i+1].(Class)})
	}
	return all
}

// Special are the ranges that are not public.
func Special() []Range { return slices.Clone(special) }

// Of is what an address is for. One that carries another within, however often, is
// of the first class that is not public, from the inside: ::ffff:10.0.0.1 is private,
// and 64:ff9b::808:808 is translated. An invalid address is reserved.
func Of(a netip.Addr) Class {
	a = a.WithZone("")
	if !a.IsValid() {
		return Reserved
	}
	if inner, ok := Inner(a); ok {
		if class := Of(inner); class != Public || a.Is4In6() {
			return class
		}
	}
	class, bits := Public, -1
	for _, r := range special {
		if r.Prefix.Bits() > bits && r.Prefix.Contains(a) {
			class, bits = r.Class, r.Prefix.Bits()
		}
	}
	return class
}

// Inner is the IPv4 address that an IPv6 address carries within: IPv4-mapped,
// -compatible and -translated, NAT64, 6to4 and Teredo.
func Inner(a netip.Addr) (netip.Addr, bool) {
	if !a.Is6() {
		return netip.Addr{}, false
	}
	b := a.As16()
	high, middle, low := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint32(b[8:12]), b[12:16]
	switch {
	case high == 0 && middle == 0 && binary.BigEndian.Uint32(low) > 1, // ::1 is itself
		high == 0 && middle == 0x0000ffff,
		high == 0 && middle == 0xffff0000,
		high == 0x0064ff9b_00000000 && middle == 0,
		high>>16 == 0x0064ff9b0001:
		return netip.AddrFrom4([4]byte(low)), true
	case high>>48 == 0x2002:
		return netip.AddrFrom4([4]byte(b[2:6])), true
	case high>>32 == 0x20010000:
		return netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}), true
	}
	return netip.Addr{}, false
}

// Bounds say which addresses may be connected to: those of no refused range, and
// those of a permitted range that is as narrow as the refused one, or narrower. The zero
// value allows every address.
type Bounds struct {
	Refused, Permitted []netip.Prefix
}

// Default refuses everything that is not public, and permits some ranges all the
// same.
func Default(permitted []netip.Prefix) Bounds {
	b := Bounds{Permitted: permitted}
	for _, r := range special {
		b.Refused = append(b.Refused, r.Prefix)
	}
	return b
}

// Allow reports whether an address, and one that it carries within, may be
// connected to. An invalid address may not, nor one with a zone, which is of a link.
func (b Bounds) Allow(a netip.Addr) bool {
	if !a.IsValid() || a.Zone() != "" {
		return false
	}
	if a.Is4In6() {
		a = a.Unmap() // it is what the system connects to
	}
	if inner, ok := Inner(a); ok && longest(b.Permitted, a) < 128 && !b.Allow(inner) {
		return false
	}
	refused := longest(b.Refused, a)
	return refused < 0 || longest(b.Permitted, a) >= refused
}

// longest is the length of the longest prefix that an address is in; -1: of none.
func longest(prefixes []netip.Prefix, a netip.Addr) int {
	bits := -1
	for _, p := range prefixes {
		if p.Bits() > bits && p.Contains(a) {
			bits = p.Bits()
		}
	}
	return bits
}
