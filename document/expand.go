package document

import (
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// Bounds of what a Finder returns.
const (
	// MaxEdits bounds the edits of one document.
	MaxEdits = 4096
	// maxPointer bounds one pointer, in bytes.
	maxPointer = 1024
	// maxPointers bounds the pointers of one Finder together, in bytes.
	maxPointers = 1 << 20
)

// Errors of a Finder, where the caller tells one from the other.
var (
	// ErrTooMany: the matches are more, longer or deeper in texts than the
	// bounds allow. What else a pattern matches is not known.
	ErrTooMany = errors.New("too much to be redacted")
	// ErrAmbiguous: a text on the way of a pattern is a JSON document that
	// parsers read differently, such as one with duplicate keys. What the
	// pattern matches in it is not known.
	ErrAmbiguous = errors.New("a text holds JSON that can be read in two ways")
)

// Finder finds values in one document. It reads each text that holds a JSON
// document once, whatever the number of patterns, and not more of them together
// than MaxNodes values. It is for one goroutine.
type Finder struct {
	document *Document
	parser   parser // of the texts
	texts    map[string]text
	left     int // values that may still be read in texts
	size     int // bytes of the pointers that were returned
	path     []byte
}

// text is what a string holds: an object or array, or nothing to descend into.
type text struct {
	value any
	err   error
}

// Finder returns a finder that has read nothing yet.
func (d *Document) Finder() *Finder {
	return &Finder{document: d, texts: map[string]text{}, left: MaxNodes}
}

// Expand is Expand of a new Finder.
func (d *Document) Expand(pattern string) ([]string, error) { return d.Finder().Expand(pattern) }

// Expand returns the pointers of all values that a pattern matches, members in
// the order of their names' bytes. A pattern is a pointer in which the token *
// stands for any member or element. A pattern that goes on below a string reads
// the string as a JSON document; a string that is no JSON has nothing below it.
// The error is ErrTooMany, ErrAmbiguous, of a partial document ErrWithheld, or
// about the pattern.
func (f *Finder) Expand(pattern string) ([]string, error) {
	tokens, err := split(pattern)
	if err != nil {
		return nil, err
	}
	var found []string
	f.path = f.path[:0]
	if err := f.expand(f.document.value, tokens, &found); err != nil {
		if known, ok := f.document.found[pattern]; ok && errors.Is(err, ErrWithheld) {
			return known, nil
		}
		return nil, err
	}
	return found, nil
}

func (f *Finder) expand(value any, tokens []string, found *[]string) error {
	if len(tokens) == 0 {
		f.size += len(f.path)
		if len(*found) == MaxEdits || len(f.path) > maxPointer || f.size > maxPointers {
			return ErrTooMany
		}
		*found = append(*found, string(f.path))
		return nil
	}
	token, rest := tokens[0], tokens[1:]
	switch v := value.(type) {
	case map[string]any:
		if _, more := v[Others]; more && (token == "*" || v[token] == nil) {
			return ErrWithheld
		}
		if token != "*" {
			if child, ok := v[token]; ok {
				return f.below(child, token, rest, found)
			}
			return nil
		}
		for _, name := range sortedNames(v) {
			if err := f.below(v[name], name, rest, found); err != nil {
				return err
			}
		}
	case []any:
		if token != "*" {
			if i, ok := index(token, len(v)); ok {
				return f.below(v[i], token, rest, found)
			}
			return nil
		}
		for i, child := range v {
			if err := f.below(child, strconv.Itoa(i), rest, found); err != nil {
				return err
			}
		}
	case string:
		inner, err := f.read(v)
		if err != nil || inner == nil {
			return err
		}
		return f.expand(inner, tokens, found)
	case Withheld:
		return ErrWithheld
	}
	return nil
}

// below goes one token down. The path is one buffer, so that a long name costs
// its length once and not once for each value below it.
func (f *Finder) below(child any, token string, rest []string, found *[]string) error {
	length := len(f.path)
	if length <= maxPointer { // a longer path is refused where it matches
		f.path = append(f.path, '/')
		f.path = append(f.path, Escape(token)...)
	}
	err := f.expand(child, rest, found)
	f.path = f.path[:length]
	return err
}

// read is the object or array that a string holds; nil: none.
func (f *Finder) read(s string) (any, error) {
	if !looksLikeJSON(s) {
		return nil, nil
	}
	known, ok := f.texts[s]
	if !ok {
		known.value, known.err = f.parse(s)
		f.texts[s] = known
	}
	return known.value, known.err
}

func (f *Finder) parse(s string) (any, error) {
	f.parser.reset([]byte(s), s, f.left)
	value, err := f.parser.whole()
	f.left -= min(f.parser.nodes, f.left)
	switch {
	case f.left == 0:
		return nil, ErrTooMany
	case err == nil:
		return value, nil
	case json.Valid([]byte(strings.TrimPrefix(s, bom))):
		// Somebody else's parser takes it, so there may be what the pattern
		// is meant to find, and nothing says where.
		return nil, ErrAmbiguous
	}
	return nil, nil
}

const bom = "\ufeff"

// looksLikeJSON tells cheaply the strings that cannot hold an object or array.
func looksLikeJSON(s string) bool {
	s = strings.TrimLeft(strings.TrimPrefix(s, bom), " \t\r\n")
	return s != "" && (s[0] == '{' || s[0] == '[')
}

// CheckPattern reports whether a pattern is one that Expand takes.
func CheckPattern(pattern string) error {
	_, err := split(pattern)
	return err
}

// Tokens are the parts of a pattern, unescaped.
func Tokens(pattern string) ([]string, error) { return split(pattern) }

func split(pointer string) ([]string, error) {
	if pointer == "" {
		return nil, nil
	}
	if pointer[0] != '/' {
		return nil, fmt.Errorf("the JSON pointer %q does not start with /", shown(pointer))
	}
	tokens := strings.Split(pointer[1:], "/")
	for i, token := range tokens {
		if strings.Count(token, "~") != strings.Count(token, "~0")+strings.Count(token, "~1") {
			return nil, fmt.Errorf("the JSON pointer %q has a ~ that escapes nothing", shown(pointer))
		}
		tokens[i] = Unescape(token)
	}
	return tokens, nil
}

// Unescape is a name as it is, of a JSON pointer's token (RFC 6901).
func Unescape(token string) string {
	return strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
}

// Escape is the token of a JSON pointer for a name.
func Escape(token string) string {
	return strings.ReplaceAll(strings.ReplaceAll(token, "~", "~0"), "/", "~1")
}

// index reads an array index as RFC 6901 writes it: no sign, no leading zero.
func index(token string, n int) (int, bool) {
	i, err := strconv.Atoi(token)
	return i, err == nil && strconv.Itoa(i) == token && i >= 0 && i < n
}

func sortedNames[V any](members map[string]V) []string {
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Embedded is the object or array that a string holds, in the form of Value, if it
// holds one that is strict JSON and of at most limit values; and how many values were
// read.
func Embedded(s string, limit int) (value any, nodes int, ok bool) {
	if limit <= 0 || !looksLikeJSON(s) {
		return nil, 0, false
	}
	p := take()
	defer p.free()
	p.reset([]byte(s), s, min(limit, MaxNodes))
	value, err := p.whole()
	return value, p.nodes, err == nil
}
