package egress

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Profiles of IDNA: as browsers have it, and as those do that still map ß to ss.
var (
	current      = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false))
	transitional = idna.New(idna.MapForLookup(), idna.Transitional(true), idna.StrictDomainName(false))
)

// unmapped reports whether a name that is not ASCII is its ASCII form written out,
// so that nobody who maps less, or otherwise, reads another name: no full-width
// letters, no other dots, nothing that is left out.
func unmapped(lower, ascii string) bool {
	written, err := current.ToUnicode(ascii)
	if err != nil || written != lower {
		return false
	}
	older, err := transitional.ToASCII(lower)
	return err == nil && older == ascii
}

// confusable reports whether a label of a name holds other signs than letters, such as
// one that looks like a slash, mixes scripts that no language does, or consists of
// Cyrillic or Greek letters alone that look like Latin ones, below a Latin top level
// domain. What is Punycode and cannot be read is confusable.
func confusable(ascii string) bool {
	if !strings.Contains(ascii, "xn--") {
		return false
	}
	written, err := current.ToUnicode(ascii)
	if err != nil {
		return true
	}
	labels := strings.Split(written, ".")
	for i, label := range labels {
		if strings.ContainsFunc(label, sign) || mixed(label) || i < len(labels)-1 && !nonASCII(labels[len(labels)-1]) && disguised(label) {
			return true
		}
	}
	return false
}

// sign reports whether a rune is none of a word: neither letter, mark nor digit, nor one
// of the few signs within words.
func sign(r rune) bool {
	return r >= utf8.RuneSelf && !unicode.In(r, unicode.L, unicode.M, unicode.Nd) && !strings.ContainsRune("·・゠", r)
}

func nonASCII(label string) bool { return !ascii(label) }

// together are the scripts that languages mix, which UTS 39 calls highly
// restrictive.
var together = [][]*unicode.RangeTable{
	{unicode.Latin, unicode.Han, unicode.Hiragana, unicode.Katakana},
	{unicode.Latin, unicode.Han, unicode.Bopomofo},
	{unicode.Latin, unicode.Han, unicode.Hangul},
}

func mixed(label string) bool {
	first := script(label)
	if first != nil && within(label, first) {
		return false
	}
	for _, some := range together {
		if within(label, some...) {
			return false
		}
	}
	return true
}

// script is that of the first letter that has one.
func script(label string) *unicode.RangeTable {
	for _, r := range label {
		if common(r) {
			continue
		}
		for _, table := range unicode.Scripts {
			if unicode.Is(table, r) {
				return table
			}
		}
	}
	return unicode.Latin
}

func common(r rune) bool { return unicode.In(r, unicode.Common, unicode.Inherited) }

func within(label string, tables ...*unicode.RangeTable) bool {
	for _, r := range label {
		if !common(r) && !unicode.In(r, tables...) {
			return false
		}
	}
	return true
}

// lookalikes are the Cyrillic and Greek letters that look like Latin ones.
const lookalikes = "асԁеһіјӏорԛѕԝхуъьҽпгѵѡ" + "αενικορτυχω"

func disguised(label string) bool {
	letters := false
	for _, r := range label {
		if common(r) {
			continue
		}
		if !strings.ContainsRune(lookalikes, r) {
			return false
		}
		letters = true
	}
	return letters
}

// Local is what a name stands for that is not of the open internet; empty: it is.
type Local string

// The kinds of local names.
const (
	ThisMachine Local = "this machine"
	OfMetadata  Local = "a metadata service"
	OfNetwork   Local = "a name of this network alone"
)

// metadata are the names of clouds' metadata services, and of what containers and
// clusters reach their hosts and masters by.
var metadata = []string{
	"metadata", "metadata.google.internal", "metadata.goog", "metadata.azure.com", "metadata.azure.internal", "metadata.tencentyun.com",
	"metadata.platformequinix.com", "metadata.packet.net", "instance-data", "instance-data.ec2.internal", "rancher-metadata",
	"metadata.oraclecloud.com", "metadata.linode.com", "metadata.nifcloud.com", "metadata.hetzner.cloud",
}

// machines are names of this machine that do not end in .localhost.
var machines = []string{"localhost", "localhost.localdomain", "localhost6", "localhost6.localdomain6", "ip6-localhost", "ip6-loopback", "loopback", "broadcasthost",
	"host.docker.internal", "gateway.docker.internal", "host.containers.internal", "host.lima.internal", "host.rancher-desktop.internal"}

// networks are the top level domains that are of a network alone: special-use names
// of the IANA, ICANN's .internal, and those that ICANN will not delegate because
// networks use them.
var networks = []string{"internal", "local", "localdomain", "lan", "home", "corp", "mail", "intranet", "private", "localhost", "test", "invalid", "onion", "alt",
	"home.arpa", "in-addr.arpa", "ip6.arpa", "resolver.arpa", "service.arpa"}

// LocalName says what a name stands for, if it is of no use on the open internet.
func LocalName(name string) Local {
	for _, m := range machines {
		if name == m {
			return ThisMachine
		}
	}
	if strings.HasSuffix(name, ".localhost") {
		return ThisMachine
	}
	for _, m := range metadata {
		if name == m || strings.HasSuffix(name, "."+m) {
			return OfMetadata
		}
	}
	if !strings.Contains(name, ".") {
		return OfNetwork // a search domain is put behind it
	}
	for _, top := range networks {
		if strings.HasSuffix(name, "."+top) {
			return OfNetwork
		}
	}
	return ""
}
