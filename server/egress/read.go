// Package egress says where requests lead: it reads URLs as the programs that will
// open them do, finds those in a tool's arguments, and holds them to a bundle's rules.
// It is pure, and resolves no name: what a name resolves to is for the enforcement
// point to check, when it connects.
package egress

import (
	"errors"
	"net/netip"
	neturl "net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nlnwa/whatwg-url/url"
)

// MaxURL bounds a URL, in bytes.
const MaxURL = 8192

// Problem is why a URL is refused whatever the rules say. The zero value is none.
type Problem uint8

// The problems, with the numbers of writ.v1.UrlProblem.
const (
	Fine       Problem = iota
	Malformed          // nobody can read it
	Ambiguous          // programs read it differently
	Userinfo           // it holds a user's name or password
	Confusable         // its host is written to look like another
	TooLong
)

// Target is where a URL leads.
type Target struct {
	// Scheme is in lower case.
	Scheme string
	// Host is a name in ASCII and lower case, without a dot at its end, or an
	// address; empty: the scheme has no hosts that are read.
	Host string
	// Addr is the host where it is an address, as the WHATWG standard reads it: of
	// an ambiguous URL too.
	Addr netip.Addr
	// Port is 0 where the scheme has no hosts that are read.
	Port uint16
}

// ports are the schemes whose URLs are read for their hosts, with their ports.
var ports = map[string]uint16{"http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21}

// Reads reports whether URLs of a scheme are read for their hosts.
func Reads(scheme string) bool { return ports[scheme] != 0 }

// Read reads an absolute URL. It is Fine only where the WHATWG standard (browsers,
// Node), RFC 3986 (curl, Java, Python) and Go agree about scheme, host and port, so
// what is checked is what any of them connects to.
func Read(text string) (Target, Problem) {
	if len(text) > MaxURL {
		return Target{Scheme: schemeOf(text)}, TooLong
	}
	t := Target{Scheme: schemeOf(text)}
	known, hierarchical := ports[t.Scheme]
	switch {
	case t.Scheme == "":
		return t, Malformed
	case !hierarchical:
		return t, Fine // of the scheme alone can be said whether it may be opened
	}
	w, err := browsed(text)
	if err == nil {
		t.Host, t.Addr, t.Port = host(w), addr(w), known
		if p := w.Port(); p != "" {
			n, _ := strconv.ParseUint(p, 10, 16) // it has parsed it
			t.Port = uint16(n)
		}
	}
	rest, plain := strings.CutPrefix(text, text[:min(len(text), len(t.Scheme))]+"://")
	if !plain || !strings.EqualFold(text[:len(t.Scheme)], t.Scheme) || !utf8.ValidString(text) || controls(text) {
		return t, bad(err)
	}
	authority, tail := split(rest)
	problem := t.agree(authority, tail, known)
	switch {
	case problem == Userinfo && err == nil:
		return t, Userinfo
	case problem != Fine, err != nil:
		return t, bad(err)
	case t.Port == 0:
		return t, Malformed
	case confusable(t.Host):
		return t, Confusable
	}
	return t, Fine
}

// maxAuthority bounds what stands between the slashes and the path, in bytes: a
// host and a port take at most 260.
const maxAuthority = 1024

// browsed reads the host and port of a URL as the WHATWG standard does. What comes
// after the authority cannot change them and stays out, as does what comes before its
// last @: the parser's time grows with the cube of the number of these.
func browsed(text string) (*url.Url, error) {
	colon := strings.IndexByte(text, ':') + 1
	start := colon + len(text[colon:]) - len(strings.TrimLeft(text[colon:], "/\\\t\r\n"))
	authority := text[start:]
	if end := strings.IndexAny(authority, `/\?#`); end >= 0 {
		authority = authority[:end]
	}
	authority = authority[strings.LastIndexByte(authority, '@')+1:]
	if len(authority) > maxAuthority {
		return nil, errors.New("the authority is too long")
	}
	return url.Parse(text[:start] + authority)
}

// bad is the problem of a URL that not all read: if nobody does, or some.
func bad(err error) Problem {
	if err != nil {
		return Malformed
	}
	return Ambiguous
}

// maxScheme bounds a scheme, in bytes, without what browsers leave out.
const maxScheme = 64

// schemeOf is a URL's scheme, as browsers find it; empty: it has none.
func schemeOf(text string) string {
	text = strings.TrimLeftFunc(text, blank)
	if strings.IndexByte(text, ':') < 0 {
		return "" // as most texts, and it is cheap to know
	}
	var b strings.Builder
	for i := 0; i < len(text) && b.Len() <= maxScheme; i++ {
		switch c := text[i]; {
		case c == '\t' || c == '\n' || c == '\r':
		case c == ':' && b.Len() > 0:
			return b.String()
		case 'A' <= c && c <= 'Z':
			b.WriteByte(c + 'a' - 'A')
		case 'a' <= c && c <= 'z', b.Len() > 0 && (c == '+' || c == '-' || c == '.' || '0' <= c && c <= '9'):
			b.WriteByte(c)
		default:
			return ""
		}
	}
	return ""
}

// blank reports whether a rune is one that some leave out at a text's beginning.
func blank(r rune) bool {
	return r <= ' ' || unicode.IsSpace(r) || r == 0xfeff || 0x200b <= r && r <= 0x200d || r == 0x2060
}

// controls reports whether a text holds what some leave out and some put into
// headers, or begins or ends with what some trim.
func controls(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) || strings.TrimSpace(text) != text
}

// split splits what comes after "://" as RFC 3986 does.
func split(rest string) (authority, tail string) {
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		return rest[:i], rest[i:]
	}
	return rest, ""
}

func host(w *url.Url) string {
	h := strings.TrimSuffix(strings.Trim(w.Hostname(), "[]"), ".")
	switch a := addr(w); {
	case a.IsValid():
		return a.String()
	case len(h) > maxName:
		return ""
	}
	return h
}

func addr(w *url.Url) netip.Addr {
	if !w.IsIPv4() && !w.IsIPv6() {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(strings.Trim(w.Hostname(), "[]"))
	if err != nil {
		return netip.Addr{}
	}
	return a
}

// agree holds what the WHATWG standard reads against the text itself, as RFC 3986
// splits it, and against Go.
func (t *Target) agree(authority, tail string, known uint16) Problem {
	if strings.ContainsAny(authority, `\ %`) {
		return Ambiguous
	}
	// Not all end the authority at a ? or a #.
	if naive, _, _ := strings.Cut(authority+tail, "/"); naive != authority && strings.ContainsAny(naive[len(authority):], `@\`) {
		return Ambiguous
	}
	if _, after, found := strings.Cut(authority, "@"); found {
		if strings.Contains(after, "@") || t.authority(after, known) != Fine {
			return Ambiguous // the first or the last one ends the user's name
		}
		return Userinfo
	}
	return t.authority(authority, known)
}

// authority holds host and port against the text.
func (t *Target) authority(text string, known uint16) Problem {
	name, port := text, ""
	if i := strings.LastIndexByte(text, ':'); i > strings.LastIndexByte(text, ']') {
		name, port = text[:i], text[i+1:]
	}
	if port != "" && port != strconv.Itoa(int(t.Port)) || port == "" && t.Port != known {
		return Ambiguous
	}
	g, err := neturl.Parse(t.Scheme + "://" + text + "/")
	if err != nil || g.Host != text || g.User != nil || g.Port() != port {
		return Ambiguous
	}
	return t.named(name)
}

// named holds a host against its text.
func (t *Target) named(text string) Problem {
	if bare, ok := strings.CutPrefix(text, "["); ok {
		a, err := netip.ParseAddr(strings.TrimSuffix(bare, "]"))
		if err != nil || !a.Is6() || a.Zone() != "" || a != t.Addr || len(text) != len(bare)+1 || !strings.HasSuffix(text, "]") {
			return Ambiguous
		}
		return Fine
	}
	if t.Addr.IsValid() {
		if text != t.Addr.String() {
			return Ambiguous // octal, hexadecimal, short, with a dot at the end
		}
		return Fine
	}
	text = strings.TrimSuffix(text, ".")
	lower := strings.ToLower(text)
	if ascii(text) && lower != t.Host || !ascii(text) && (ascii(lower) || !unmapped(lower, t.Host)) {
		return Ambiguous
	}
	if !Name(t.Host) {
		return Malformed
	}
	return Fine
}

// ReadHost reads a host that stands alone: a name in lower case or an address
// without brackets, as a connection's destination is given.
func ReadHost(text string) (Target, Problem) {
	bracketed := text
	if strings.Contains(text, ":") {
		bracketed = "[" + text + "]"
	}
	if strings.ContainsAny(text, "/?#@[]") {
		return Target{}, Malformed
	}
	t, problem := Read("https://" + bracketed + "/")
	t.Scheme, t.Port = "", 0
	return t, problem
}

// maxName bounds a host's name, in bytes.
const maxName = 253

// Name reports whether a text is a host's name in ASCII and lower case: labels of
// letters, digits, hyphens and underscores, the last not a number.
func Name(text string) bool {
	if text == "" || len(text) > maxName {
		return false
	}
	last := ""
	for label := range strings.SplitSeq(text, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
		last = label
	}
	return strings.Trim(last, "0123456789") != ""
}

func ascii(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf })
}
