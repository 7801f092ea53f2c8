package detect

import (
	"encoding/json"
	"strings"

	"github.com/writpdp/writ/document"
)

// Bounds of what is put together of neighbouring values.
const (
	maxParts = 8   // values
	maxPart  = 64  // bytes of one
	maxWhole = 256 // bytes of all
)

// split looks at values that only together are something: a card in four elements, a
// key in two. Neighbours are the elements of an array, and members whose names differ
// in their end alone (part1, part2), in the order of the names. What stands in them is
// put together without anything between, from each of them on, and only cards and
// secrets of a fixed form are told, for other numbers would be there by chance.
func (in *inspector) split(names []string, value func(int) any, several bool) {
	if !several {
		return
	}
	var parts []string
	var stem string
	first := 0
	flush := func() {
		if len(parts) > 1 {
			in.together(names, first, parts)
		}
		parts = parts[:0]
	}
	for i := 0; names == nil || i < len(names); i++ {
		v := value(i)
		if v == nil {
			break
		}
		part, ok := partOf(v)
		if !ok {
			flush()
			continue
		}
		if names != nil {
			if s := stemOf(names[i]); s != stem {
				flush()
				stem = s
			}
		}
		if len(parts) == 0 {
			first = i
		}
		if parts = append(parts, part); len(parts) == maxParts {
			flush()
		}
	}
	flush()
}

// stemOf is a name without what tells it from its neighbours.
func stemOf(name string) string {
	for name != "" {
		if c := name[len(name)-1]; class[c]&digit == 0 && c != '_' && c != '-' && (c|0x20 < 'a' || c|0x20 > 'c') {
			break
		}
		name = name[:len(name)-1]
	}
	return name
}

// partOf is a value as a part of something: one word.
func partOf(v any) (string, bool) {
	s, ok := v.(string)
	if n, number := v.(json.Number); number {
		s, ok = string(n), true
	}
	if !ok || s == "" || len(s) > maxPart {
		return "", false
	}
	for i := range len(s) {
		if class[s[i]]&(alpha|digit|wideOnly) == 0 && s[i] != '.' {
			return "", false
		}
	}
	return s, true
}

// together looks at parts put together, all of them and no fewer.
func (in *inspector) together(names []string, first int, parts []string) {
	whole := strings.Join(parts, "")
	if len(whole) > maxWhole || len(whole) < 13 || !in.afford() {
		return
	}
	for _, m := range in.read(whole, 0, 0, 0) {
		if !joinable(m.detector) {
			continue
		}
		at, touched := 0, []int(nil)
		for i, part := range parts {
			if m.start < at+len(part) && m.end > at {
				touched = append(touched, i)
			}
			at += len(part)
		}
		if len(touched) < 2 {
			continue
		}
		length := len(in.path)
		for _, i := range touched {
			if names != nil {
				in.path = document.AppendToken(in.path, names[first+i])
			} else {
				in.path = document.AppendIndex(in.path, first+i)
			}
			in.tell(match{detector: m.detector, confidence: 75, validator: m.validator, encoding: "split"})
			in.path = in.path[:length]
		}
	}
}

func joinable(detector int) bool {
	switch detector {
	case paymentCard, iban, jwt, cloudKey, oauthToken, apiKey, webhookURL:
		return true
	}
	return false
}
