package content

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/writpdp/writ/document"
)

// Disclosure says what of a document may stand in a record: numbers, booleans
// and null; the strings that the document's type lists itself; and those that
// the operator named. A member that the type does not name is left out, name and
// all, for the name came from the caller. The nil Disclosure discloses
// nothing. Safe for concurrent use.
type Disclosure struct {
	names map[string]bool
	words map[string]bool
	open  *opening
}

// opening is a trie of the patterns whose strings are disclosed; nil: none.
type opening struct {
	here  bool
	below map[string]*opening
}

// NewDisclosure discloses of documents with these member names, and the strings
// at patterns as document.Document.Expand takes them, but not below texts.
func NewDisclosure(names map[string]bool, patterns []string) (*Disclosure, error) {
	o := &Disclosure{names: names}
	for _, pattern := range patterns {
		if err := o.add(pattern); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// Disclosure discloses of arguments: of strings those that the schema lists
// under enum and const, and those at patterns.
func (s *Schema) Disclosure(patterns []string) (*Disclosure, error) {
	o, err := NewDisclosure(s.names, patterns)
	if err != nil {
		return nil, err
	}
	o.words = s.words
	return o, nil
}

func (o *Disclosure) add(pattern string) error {
	tokens, err := tokensOf(pattern)
	if err != nil {
		return err
	}
	if o.open == nil {
		o.open = &opening{}
	}
	at := o.open
	for _, token := range tokens {
		if at.below == nil {
			at.below = map[string]*opening{}
		}
		if at.below[token] == nil {
			at.below[token] = &opening{}
		}
		at = at.below[token]
	}
	at.here = true
	return nil
}

func tokensOf(pattern string) ([]string, error) {
	if pattern == "" {
		return nil, fmt.Errorf("the pattern %q names a whole document", pattern)
	}
	return document.Tokens(pattern)
}

// Of is a document as document.Partial takes it: its text with document.Mask in
// the place of what is withheld, and the pointers of that. never are pointers of
// values that are withheld whatever they are, in the order of their bytes; one
// below a text withholds the text. Of more than room bytes together nothing is
// disclosed, and ok is false.
func (o *Disclosure) Of(d *document.Document, never []string, room int) (text []byte, withheld []string, ok bool) {
	whole := []string{""}
	if members, object := d.Value().(map[string]any); object && len(members) == 0 {
		return []byte("{}"), nil, true
	}
	if o == nil {
		return nil, whole, true
	}
	w := discloser{Disclosure: o, never: never, room: room}
	w.text = make([]byte, 0, min(len(d.Canonical())+16, room))
	if !w.value(d.Value(), o.open) {
		return nil, whole, false
	}
	if len(w.withheld) == 1 && w.withheld[0] == "" {
		return nil, whole, true
	}
	return w.text, w.withheld, true
}

// discloser writes one document.
type discloser struct {
	*Disclosure
	never    []string
	room     int
	text     []byte
	path     []byte
	withheld []string
	pointers int // bytes of withheld
}

func (w *discloser) fits() bool { return len(w.text)+w.pointers <= w.room }

// withhold masks the value at the path.
func (w *discloser) withhold() bool {
	w.withheld = append(w.withheld, string(w.path))
	w.pointers += len(w.path)
	w.text = append(append(append(w.text, '"'), document.Mask...), '"')
	return w.fits()
}

// value reports whether all still fits.
func (w *discloser) value(value any, open *opening) bool {
	if len(w.never) > 0 && w.is(value) {
		return w.withhold()
	}
	switch v := value.(type) {
	case map[string]any:
		return w.object(v, open)
	case []any:
		w.text = append(w.text, '[')
		length := len(w.path)
		for i, element := range v {
			if i > 0 {
				w.text = append(w.text, ',')
			}
			w.path = document.AppendIndex(w.path, i)
			if !w.value(element, open.step(strconv.Itoa(i))) {
				return false
			}
			w.path = w.path[:length]
		}
		w.text = append(w.text, ']')
	case string:
		if !w.words[v] && (open == nil || !open.here) {
			return w.withhold()
		}
		quoted, err := jsontext.AppendQuote(w.text, v)
		if err != nil {
			return false // no document holds such a string
		}
		w.text = quoted
	case json.Number:
		w.text = append(w.text, v...)
	case bool:
		w.text = strconv.AppendBool(w.text, v)
	case nil:
		w.text = append(w.text, "null"...)
	default:
		return w.withhold()
	}
	return w.fits()
}

func (w *discloser) object(members map[string]any, open *opening) bool {
	var few [8]string // most objects have no more
	names := few[:0]
	for name := range members {
		if w.names[name] && name != "*" { // whose pointer would be that of others
			names = append(names, name)
		}
	}
	slices.Sort(names)
	w.text = append(w.text, '{')
	length := len(w.path)
	for i, name := range names {
		if i > 0 {
			w.text = append(w.text, ',')
		}
		quoted, err := jsontext.AppendQuote(w.text, name)
		if err != nil {
			return false
		}
		w.text = append(quoted, ':')
		w.path = document.AppendToken(w.path, name)
		if !w.value(members[name], open.step(name)) {
			return false
		}
		w.path = w.path[:length]
	}
	w.text = append(w.text, '}')
	if len(names) < len(members) {
		w.withheld = append(w.withheld, string(w.path)+"/*")
		w.pointers += len(w.path) + 2
	}
	return w.fits()
}

// is reports whether the value at the path is one of never, or a text with one
// of them below it.
func (w *discloser) is(value any) bool {
	at := string(w.path)
	if _, found := slices.BinarySearch(w.never, at); found {
		return true
	}
	if _, text := value.(string); !text {
		return false
	}
	at += "/"
	i, _ := slices.BinarySearch(w.never, at)
	return i < len(w.never) && strings.HasPrefix(w.never[i], at)
}

// step is what is open below a token. A * beside a name opens for both.
func (o *opening) step(token string) *opening {
	if o == nil || o.below == nil {
		return nil
	}
	named, any := o.below[token], o.below["*"]
	switch {
	case named == nil || token == "*":
		return any
	case any == nil:
		return named
	}
	return named.and(any)
}

// and is a trie of what either opens.
func (o *opening) and(other *opening) *opening {
	both := &opening{here: o.here || other.here, below: maps.Clone(o.below)}
	for token, below := range other.below {
		if both.below == nil {
			both.below = map[string]*opening{}
		}
		if mine := both.below[token]; mine != nil {
			below = mine.and(below)
		}
		both.below[token] = below
	}
	return both
}

// Reaches reports whether a pattern, as a Disclosure takes it, leads to a place
// that a JSON Schema describes.
func Reaches(schema map[string]any, pattern string) (bool, error) {
	tokens, err := tokensOf(pattern)
	if err != nil {
		return false, err
	}
	c := closer{root: schema}
	places := c.places(schema)
	for _, token := range tokens {
		var next []map[string]any
		for _, place := range places {
			for _, child := range children(place, token) {
				if next = append(next, c.places(child)...); len(next) > maxSchema {
					return false, fmt.Errorf("the pattern %q leads to more than %d places", pattern, maxSchema)
				}
			}
		}
		places = next
	}
	return len(places) > 0, nil
}

// places are a schema and those that are for the same value.
func (c *closer) places(schema any) []map[string]any {
	var all []map[string]any
	seen := map[string]bool{} // references
	var visit func(any)
	visit = func(s any) {
		m, ok := s.(map[string]any)
		if !ok || len(all) > maxSchema {
			return
		}
		all = append(all, draft7(m))
		for _, keyword := range []string{"allOf", "anyOf", "oneOf"} {
			list, _ := m[keyword].([]any)
			for _, child := range list {
				visit(child)
			}
		}
		visit(m["then"])
		visit(m["else"])
		if ref, ok := m["$ref"].(string); ok && !seen[ref] {
			seen[ref] = true
			visit(c.target(ref))
		}
	}
	visit(schema)
	return all
}

// children are the schemas of a member, an element, or of any of them.
func children(s map[string]any, token string) []any {
	var all []any
	properties, _ := s["properties"].(map[string]any)
	prefix, _ := s["prefixItems"].([]any)
	_, err := strconv.Atoi(token)
	element := token == "*" || err == nil
	for name, child := range properties {
		if token == "*" || token == name {
			all = append(all, child)
		}
	}
	if element {
		all = append(all, prefix...)
		if items, ok := s["items"]; ok {
			all = append(all, items)
		}
	}
	return all
}

// listed collects the strings that a schema lists.
func listed(schema any, words map[string]bool) {
	add := func(value any) {
		if s, ok := value.(string); ok {
			words[s] = true
		}
	}
	switch s := schema.(type) {
	case map[string]any:
		for keyword, value := range s {
			switch {
			case keyword == "const":
				add(value)
			case keyword == "enum":
				list, _ := value.([]any)
				for _, one := range list {
					add(one)
				}
			case !data[keyword]:
				listed(value, words)
			}
		}
	case []any:
		for _, child := range s {
			listed(child, words)
		}
	}
}
