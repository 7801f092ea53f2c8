package egress

import (
	"crypto/sha256"
	"slices"
	"strings"

	"github.com/writpdp/writ/document"
)

// Kind is in what way a URL was come by.
type Kind uint8

// The kinds, with the numbers of writ.v1.UrlKind.
const (
	Stated  Kind = iota + 1 // it is an argument
	Guessed                 // an argument that stands where URLs do, and is a host or without a scheme
	Nested                  // it is within another
	Reached                 // the destination of a connection
	Origin                  // where a connection was redirected from
)

// Found is one URL, as it was read.
type Found struct {
	// Pointer is the argument that it is in; empty: it is in none.
	Pointer string
	Kind    Kind
	Target
	Problem Problem
}

// Facts are the URLs of a request's arguments.
type Facts struct {
	// By is the digest of the finder that looked.
	By    [32]byte
	Found []Found
	// Cut says that there were more than are looked at.
	Cut bool
	// Unknown says that it is not known which there were: of a record that does not
	// tell.
	Unknown bool
}

// Hosts are those of the URLs that are arguments, in order.
func (f *Facts) Hosts() []string { return each(f, func(u Found) string { return u.Host }) }

// Schemes are those of the URLs that are arguments, in order.
func (f *Facts) Schemes() []string { return each(f, func(u Found) string { return u.Scheme }) }

// each is something of all URLs that are arguments, each once and in order.
func each(f *Facts, of func(Found) string) []string {
	if f == nil {
		return nil
	}
	var all []string
	for _, u := range f.Found {
		if v := of(u); u.Kind == Stated && v != "" {
			all = append(all, v)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Bounds of what is looked at.
const (
	maxFound  = 512 // URLs of one document
	maxNested = 32  // within one URL
	maxWithin = 2   // how deep strings that hold JSON lie in one another
	minWithin = 8   // bytes of one: less holds no URL
)

// Finder finds the URLs in the arguments of one tool.
type Finder struct {
	places []string
	digest [32]byte
}

// version changes when the same finder finds other things.
const version = "1"

// NewFinder is a finder that takes the strings at some places for URLs, whatever
// they look like: pointer patterns, of a schema's formats and the bundle's word.
func NewFinder(places []string) *Finder {
	places = slices.Clone(places)
	slices.Sort(places)
	places = slices.Compact(places)
	return &Finder{places: places, digest: sha256.Sum256([]byte(version + "\n" + strings.Join(places, "\n")))}
}

// Places are the patterns that it takes for places of URLs, in order; of none: none.
func (f *Finder) Places() []string {
	if f == nil {
		return nil
	}
	return slices.Clone(f.places)
}

// Digest identifies what the finder finds.
func (f *Finder) Digest() [32]byte { return f.digest }

// Find looks into every string of a document, and of the documents that its strings
// hold.
func (f *Finder) Find(d *document.Document) Facts {
	s := search{finder: f, facts: Facts{By: f.digest}}
	s.walk(d.Value(), "", 0)
	return s.facts
}

type search struct {
	finder *Finder
	facts  Facts
	path   []byte // the pointer to where it is
}

// walk goes through the value at the path, which a member of this name holds.
func (s *search) walk(value any, name string, depth int) {
	if s.facts.Cut {
		return
	}
	switch v := value.(type) {
	case string:
		s.text(v, name, depth)
	case []any:
		for i, element := range v {
			here := len(s.path)
			s.path = document.AppendIndex(s.path, i)
			s.walk(element, name, depth)
			s.path = s.path[:here]
		}
	case map[string]any:
		names := make([]string, 0, len(v))
		for member := range v {
			names = append(names, member)
		}
		slices.Sort(names)
		for _, member := range names {
			here := len(s.path)
			s.path = document.AppendToken(s.path, member)
			s.walk(v[member], member, depth)
			s.path = s.path[:here]
		}
	}
}

func (s *search) text(text, name string, depth int) {
	if text == "" {
		return
	}
	if isJSON(text) {
		d, err := document.Parse([]byte(text))
		if err == nil && depth < maxWithin {
			s.walk(d.Value(), name, depth+1)
			return
		}
		s.within(text) // parsers read it in several ways, or it lies too deep
	}
	place := named(name)
	if !place && len(s.finder.places) > 0 {
		pointer := string(s.path)
		place = slices.ContainsFunc(s.finder.places, func(p string) bool { return document.Matches(p, pointer) })
	}
	switch {
	case absolute(text, place):
		s.state(text, string(s.path), place)
	case place:
		s.guess(text, string(s.path))
	}
}

// isJSON reports whether a text looks like a JSON document that could hold a URL.
func isJSON(text string) bool {
	text = strings.Trim(text, " \t\r\n")
	return len(text) >= minWithin && (text[0] == '{' && text[len(text)-1] == '}' || text[0] == '[' && text[len(text)-1] == ']')
}

// state enters a URL and those within it.
func (s *search) state(text, pointer string, place bool) {
	t, problem := Read(text)
	if first := strings.IndexAny(text, " \t\r\n"); problem != Fine && first > 0 && !place {
		// A text that begins with a URL is that one, unless it is another to who
		// leaves out the lines.
		if begin, why := Read(text[:first]); why != Malformed && (t.Host == "" || begin.Host == t.Host) {
			text, t, problem = text[:first], begin, why
		}
	}
	s.add(Found{Pointer: pointer, Kind: Stated, Target: t, Problem: problem})
	if problem == Fine {
		found, cut := nested(text)
		s.enter(found, cut)
	}
}

// within enters the URLs somewhere in a text.
func (s *search) within(text string) {
	var found []Found
	all, cut := occurrences(text)
	for _, one := range all {
		t, problem := Read(one)
		found = append(found, Found{Kind: Nested, Target: t, Problem: problem})
	}
	s.enter(found, cut)
}

// enter enters URLs that are within the value at the path. Where there are more than
// are looked at, the last is one that is refused.
func (s *search) enter(found []Found, cut bool) {
	if cut {
		found = append(found, Found{Kind: Nested, Problem: TooLong})
	}
	for _, f := range found {
		f.Pointer = string(s.path)
		s.add(f)
	}
}

// guess enters a host, or a URL without its scheme, as programs complete it.
func (s *search) guess(text, pointer string) {
	rest, open := strings.CutPrefix(strings.ReplaceAll(text, `\`, "/"), "//")
	if !open && (strings.HasPrefix(rest, "/") || strings.HasPrefix(rest, "#") || strings.HasPrefix(rest, "?") || strings.HasPrefix(rest, ".")) {
		return // within a site that is not named
	}
	if len(rest) < 8 && strings.Trim(rest, "0123456789") == "" {
		return // a number, and not an address
	}
	for _, full := range []string{"http://" + rest, "http://[" + rest + "]/"} {
		if t, problem := Read(full); t.Host != "" && problem != TooLong {
			s.add(Found{Pointer: pointer, Kind: Guessed, Target: t, Problem: problem})
			return
		}
	}
	s.within(text) // in brackets, behind a word
}

func (s *search) add(f Found) {
	if len(s.facts.Found) == maxFound {
		s.facts.Cut = true
		return
	}
	s.facts.Found = append(s.facts.Found, f)
}

// words are the parts of names of arguments that hold URLs and hosts.
var words = map[string]bool{"url": true, "urls": true, "uri": true, "uris": true, "href": true, "link": true, "links": true, "endpoint": true, "endpoints": true,
	"webhook": true, "webhooks": true, "callback": true, "callbacks": true, "redirect": true, "proxy": true, "host": true, "hosts": true, "hostname": true,
	"origin": true, "site": true, "domain": true, "feed": true, "website": true, "src": true, "baseurl": true, "fetch": true}

// named reports whether an argument's name says that it holds URLs: its last word
// does, in camelCase, snake_case or kebab-case.
func named(name string) bool {
	end := len(name)
	start := end
	for start > 0 && letter(name[start-1]) {
		start--
		if 'A' <= name[start] && name[start] <= 'Z' && start > 0 && !('A' <= name[start-1] && name[start-1] <= 'Z') {
			break // the camel's last hump
		}
	}
	return words[strings.ToLower(name[start:end])] || words[strings.ToLower(name)]
}

func letter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

// opaque are schemes without hosts that programs follow.
var opaque = map[string]bool{"data": true, "javascript": true, "vbscript": true, "jar": true, "view-source": true, "blob": true, "file": true, "about": true, "filesystem": true}

// absolute reports whether a text is a URL with a scheme. Where URLs stand, whatever
// has a scheme is one, but for a host with a port.
func absolute(text string, place bool) bool {
	scheme := schemeOf(text)
	if scheme == "" {
		return false
	}
	_, rest, _ := strings.Cut(text, ":")
	slashes := strings.TrimLeft(rest, "\t\r\n")
	switch {
	case strings.HasPrefix(slashes, "//"), strings.HasPrefix(slashes, `\\`), strings.HasPrefix(slashes, `/\`), strings.HasPrefix(slashes, `\/`):
		return true
	case slashes != "" && opaque[scheme]:
		return place || slashes[0] != ' '
	case ports[scheme] != 0:
		t, _ := Read(text)
		return t.Host != ""
	case place:
		return !strings.ContainsAny(scheme, ".") && !digits(slashes)
	}
	return false
}

// digits reports whether a text begins as a port does.
func digits(text string) bool { return text != "" && '0' <= text[0] && text[0] <= '9' }
