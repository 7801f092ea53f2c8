package address_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/writpdp/writ/address"
)

func TestOf(t *testing.T) {
	tests := []struct {
		address string
		want    address.Class
	}{
		{"8.8.8.8", ""}, {"1.1.1.1", ""}, {"172.15.255.255", ""}, {"172.32.0.0", ""}, {"100.63.255.255", ""}, {"100.128.0.0", ""}, {"169.253.255.255", ""},
		{"223.255.255.255", ""}, {"11.0.0.0", ""}, {"168.63.129.17", ""}, {"198.20.0.0", ""},
		{"10.0.0.1", "private"}, {"172.16.0.0", "private"}, {"172.31.255.255", "private"}, {"192.168.1.1", "private"}, {"198.19.0.1", "private"},
		{"127.0.0.1", "loopback"}, {"127.255.255.254", "loopback"}, {"0.0.0.0", "loopback"}, {"0.1.2.3", "loopback"},
		{"169.254.0.1", "link-local"}, {"169.254.169.254", "metadata"}, {"169.254.170.2", "metadata"}, {"100.100.100.200", "metadata"},
		{"168.63.129.16", "metadata"}, {"192.0.0.192", "metadata"}, {"100.64.0.1", "shared"}, {"192.0.0.1", "reserved"},
		{"192.0.2.1", "documentation"}, {"203.0.113.9", "documentation"}, {"224.0.0.1", "multicast"}, {"239.255.255.255", "multicast"},
		{"240.0.0.1", "reserved"}, {"255.255.255.255", "reserved"}, {"192.88.99.1", "translated"},
		{"2606:4700::1111", ""}, {"2a00:1450::1", ""}, {"2001:4860:4860::8888", ""}, {"2001:200::1", ""},
		{"::1", "loopback"}, {"::", "loopback"}, {"::2", "loopback"}, {"fc00::1", "private"}, {"fd12::1", "private"}, {"fec0::1", "private"},
		{"fe80::1", "link-local"}, {"fe80::1%eth0", "link-local"}, {"ff02::1", "multicast"}, {"fd00:ec2::254", "metadata"}, {"fd20:ce::254", "metadata"},
		{"2001:db8::1", "documentation"}, {"3fff::1", "documentation"}, {"100::1", "reserved"}, {"4000::1", "reserved"}, {"5f00::1", "reserved"},
		{"9000::1", "reserved"}, {"2001:2::1", "reserved"}, {"64:ff9c::1", "reserved"},
		{"::ffff:127.0.0.1", "loopback"}, {"::ffff:8.8.8.8", ""}, {"::ffff:169.254.169.254", "metadata"}, {"::127.0.0.1", "loopback"}, {"::8.8.8.8", "translated"},
		{"::ffff:0:10.0.0.1", "private"}, {"64:ff9b::10.0.0.1", "private"}, {"64:ff9b::8.8.8.8", "translated"}, {"64:ff9b:1::169.254.169.254", "metadata"},
		{"2002:7f00:1::1", "loopback"}, {"2002:a9fe:a9fe::1", "metadata"}, {"2002:808:808::1", "translated"},
		{"2001:0:4136:e378:8000:63bf:80ff:fffe", "loopback"}, {"2001:0:4136:e378:8000:63bf:f7f7:f7f7", "translated"},
	}
	seen := map[address.Class]bool{}
	for _, test := range tests {
		a := netip.MustParseAddr(test.address)
		if got := address.Of(a); got != test.want {
			t.Errorf("%s: got %q, want %q", test.address, got, test.want)
		}
		if got, want := address.Default(nil).Allow(a), test.want == ""; got != want {
			t.Errorf("%s: the default allows it: %t, want %t", test.address, got, want)
		}
		seen[test.want] = true
	}
	for _, class := range address.Classes {
		if !seen[class] {
			t.Errorf("no address of the class %q was tested", class)
		}
	}
	if got := address.Of(netip.Addr{}); got != address.Reserved {
		t.Errorf("no address is %q", got)
	}
	for _, r := range address.Special() {
		if r.Prefix != r.Prefix.Masked() || !slices.Contains(address.Classes, r.Class) {
			t.Errorf("%v is not a prefix of a known class", r)
		}
	}
}

func TestBounds(t *testing.T) {
	prefixes := func(texts ...string) (all []netip.Prefix) {
		for _, text := range texts {
			all = append(all, netip.MustParsePrefix(text))
		}
		return all
	}
	tests := []struct {
		name      string
		permitted []netip.Prefix
		address   string
		want      bool
	}{
		{"within what is permitted", prefixes("10.20.0.0/16"), "10.20.1.1", true},
		{"beside it", prefixes("10.20.0.0/16"), "10.21.0.1", false},
		{"as wide as what is refused", prefixes("10.0.0.0/8"), "10.1.1.1", true},
		{"wider than what is refused", prefixes("0.0.0.0/0"), "10.1.1.1", false},
		{"a service within a range", prefixes("169.254.0.0/16"), "169.254.169.254", false},
		{"the range around the service", prefixes("169.254.0.0/16"), "169.254.1.1", true},
		{"mapped", prefixes("10.20.0.0/16"), "::ffff:10.20.0.1", true},
		{"NAT64 to a public address", prefixes("64:ff9b::/96"), "64:ff9b::8.8.8.8", true},
		{"NAT64 to a private address", prefixes("64:ff9b::/96"), "64:ff9b::10.0.0.1", false},
		{"NAT64 to a private address that is permitted", prefixes("64:ff9b::/96", "10.0.0.0/8"), "64:ff9b::10.0.0.1", true},
		{"public", nil, "8.8.8.8", true},
		{"a zone", prefixes("fe80::/10"), "fe80::1%eth0", false},
	}
	for _, test := range tests {
		if got := address.Default(test.permitted).Allow(netip.MustParseAddr(test.address)); got != test.want {
			t.Errorf("%s: got %t, want %t", test.name, got, test.want)
		}
	}
	if (address.Bounds{}).Allow(netip.Addr{}) {
		t.Error("no address is allowed")
	}
}

// An address is allowed by default exactly if it is public.
func FuzzBounds(f *testing.F) {
	for _, r := range address.Special() {
		f.Add(r.Prefix.Addr().AsSlice())
	}
	b := address.Default(nil)
	f.Fuzz(func(t *testing.T, data []byte) {
		a, ok := netip.AddrFromSlice(data)
		if !ok {
			return
		}
		if got, want := b.Allow(a), address.Of(a) == address.Public; got != want {
			t.Errorf("%s: allowed %t, of the class %q", a, got, address.Of(a))
		}
	})
}
