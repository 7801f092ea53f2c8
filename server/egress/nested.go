package egress

import (
	neturl "net/url"
	"strings"
)

// nested are the URLs within what follows a URL's authority, written plainly or
// percent-encoded up to twice: where a redirector would lead. There are at most
// maxNested; of more, the first.
func nested(text string) []Found {
	_, rest, _ := strings.Cut(text, "://")
	_, tail := cut(rest)
	var found []Found
	for range 3 {
		for _, one := range occurrences(tail) {
			if t, problem := Read(one); len(found) < maxNested && !known(found, t) {
				found = append(found, Found{Kind: Nested, Target: t, Problem: problem})
			}
		}
		decoded, err := neturl.PathUnescape(tail)
		if err != nil {
			decoded = lenient(tail)
		}
		if decoded == tail {
			break
		}
		tail = decoded
	}
	return found
}

func known(found []Found, t Target) bool {
	for _, f := range found {
		if f.Target == t {
			return true
		}
	}
	return false
}

// occurrences are the places where a URL could begin, each up to where a query's
// value or a quotation ends.
func occurrences(tail string) []string {
	var all []string
	from := 0
	for len(all) < 4*maxNested {
		i := strings.Index(tail[from:], "//")
		if i < 0 {
			break
		}
		at := from + i
		from = at + 2
		start := at
		if at > 0 && tail[at-1] == ':' {
			start = at - 1
			for start > 0 && (letter(tail[start-1]) || digits(tail[start-1:]) || strings.IndexByte("+-.", tail[start-1]) >= 0) {
				start--
			}
		}
		one := tail[start:]
		if end := strings.IndexAny(one, "&\"'<> \t\r\n"); end >= 0 {
			one = one[:end]
		}
		switch {
		case start < at-1:
			all = append(all, one)
		case at > 0 && strings.IndexByte("=:", tail[at-1]) >= 0: // a parameter's value without a scheme
			all = append(all, "http:"+tail[at:start+len(one)])
		}
	}
	return all
}

// lenient decodes what is percent-encoded well and leaves the rest.
func lenient(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) {
			if c, err := neturl.PathUnescape(text[i : i+3]); err == nil {
				b.WriteString(c)
				i += 2
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
