package egress

import (
	neturl "net/url"
	"strings"
)

// nested are the URLs within what follows a URL's authority, written plainly or
// percent-encoded up to twice: where a redirector would lead. cut says that there are
// more than maxNested.
func nested(text string) (found []Found, cut bool) {
	_, rest, _ := strings.Cut(text, "://")
	_, tail := split(rest)
	for range 3 {
		all, more := occurrences(tail)
		cut = cut || more
		for _, one := range all {
			t, problem := Read(one)
			if known(found, t) {
				continue
			}
			if len(found) == maxNested {
				return found, true
			}
			found = append(found, Found{Kind: Nested, Target: t, Problem: problem})
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
	return found, cut
}

func known(found []Found, t Target) bool {
	for _, f := range found {
		if f.Target == t {
			return true
		}
	}
	return false
}

// occurrences are the places where a URL could begin, each up to its path or to where
// a query's value or a quotation ends; cut says that there are more than twice maxNested.
func occurrences(tail string) (all []string, cut bool) {
	tail = strings.ReplaceAll(tail, `\`, "/") // as browsers do
	for from := 0; ; {
		i := strings.Index(tail[from:], "//")
		if i < 0 {
			return all, false
		}
		at := from + i
		from = at + 2
		prefix := ""
		switch {
		case at > 1 && tail[at-1] == ':' && scheming(tail[at-2]):
			start := at - 1
			for start > 0 && at-start <= maxScheme && scheming(tail[start-1]) {
				start--
			}
			prefix = tail[start:at]
		case at > 0 && (tail[at-1] == '=' || tail[at-1] == ':'): // a parameter's value without a scheme
			prefix = "http:"
		default:
			continue
		}
		if len(all) == 2*maxNested {
			return all, true
		}
		one := strings.TrimLeft(tail[at:], "/")
		if end := strings.IndexAny(one, "/?#&\"'<> \t\r\n"); end >= 0 {
			one = one[:end] // what follows is of no matter, or looked at by itself
		}
		all = append(all, prefix+"//"+one+"/")
	}
}

// scheming reports whether a scheme can hold a byte.
func scheming(c byte) bool {
	return letter(c) || '0' <= c && c <= '9' || c == '+' || c == '-' || c == '.'
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
