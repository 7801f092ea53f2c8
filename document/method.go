package document

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Method is how a value is redacted. The zero value masks.
type Method uint8

// The methods. Of the text that an edit covers they leave:
const (
	// Masked: nothing. The value is replaced by Mask.
	Masked Method = iota
	// Removed: nothing. The member, the element or the span is taken out.
	Removed
	// LastFour: the last four of eight characters or more, each other becomes an
	// asterisk; of fewer characters all do.
	LastFour
	// Hashed: a keyed hash of it, which is the edit's Replacement.
	Hashed
	// Tokenised: a token that leads back to it, which is the edit's Replacement.
	Tokenised
	// Generalised: what Generalise makes of it.
	Generalised
)

// methods are the names of the methods.
var methods = [...]string{Masked: "mask", Removed: "remove", LastFour: "partial", Hashed: "hash", Tokenised: "tokenise", Generalised: "generalise"}

// String is the method's name.
func (m Method) String() string {
	if int(m) < len(methods) {
		return methods[m]
	}
	return fmt.Sprintf("method %d", uint8(m))
}

// MethodOf is the method of a name; ok is false where there is none.
func MethodOf(name string) (m Method, ok bool) {
	for m, known := range methods {
		if known == name {
			return Method(m), true
		}
	}
	return 0, false
}

// Keyed reports whether the method has a Replacement.
func (m Method) Keyed() bool { return m == Hashed || m == Tokenised }

// total reports whether the method leaves nothing of what it covers, so that it
// decides for edits of parts of it too.
func (m Method) total() bool { return m != LastFour && m != Generalised }

// strength orders methods for two edits of the same: the larger decides.
var strength = [...]int{LastFour: 0, Generalised: 1, Tokenised: 2, Hashed: 3, Masked: 4, Removed: 5}

// replacement is the form of what takes the place of a value: it can be written
// into a string of any notation, and is longer than what somebody guesses.
var replacement = regexp.MustCompile(`^\[(hash|token):[0-9a-v]{32}\]$`)

// Replacement is what stands in the place of a value that is hashed or tokenised,
// of 20 bytes: "[hash:" or "[token:", 32 characters of base32hex, "]".
func Replacement(m Method, of [20]byte) string {
	return m.mark() + base32hex.EncodeToString(of[:]) + "]"
}

// mark is what a Replacement begins with.
func (m Method) mark() string {
	if m == Tokenised {
		return "[token:"
	}
	return "[hash:"
}

// IsReplacement reports whether a text is what Replacement makes.
func IsReplacement(text string) bool { return replacement.MatchString(text) }

// TokenOf is the way back from a token's Replacement; ok is false where it is none.
func TokenOf(text string) (of [20]byte, ok bool) {
	mark := Tokenised.mark()
	if !replacement.MatchString(text) || !strings.HasPrefix(text, mark) {
		return of, false
	}
	data, err := base32hex.DecodeString(text[len(mark) : len(text)-1])
	if err != nil || len(data) != len(of) {
		return of, false
	}
	return [20]byte(data), true
}

// check refuses an edit that cannot be of any document.
func (e *Edit) check() error {
	switch {
	case int(e.Method) >= len(methods):
		return fmt.Errorf("an edit by an unknown method")
	case e.Method.Keyed() && (!replacement.MatchString(e.Replacement) || !strings.HasPrefix(e.Replacement, e.Method.mark())):
		return fmt.Errorf("the replacement of an edit at %q is not of its form", shown(e.Pointer))
	case !e.Method.Keyed() && e.Replacement != "":
		return fmt.Errorf("an edit at %q has a replacement that its method does not take", shown(e.Pointer))
	case e.Start < 0 || e.End < e.Start || e.End == e.Start && e.End != 0:
		return fmt.Errorf("the span of an edit at %q is none", shown(e.Pointer))
	}
	return nil
}

// whole reports whether the edit is of a whole value.
func (e *Edit) whole() bool { return e.Start == 0 && e.End == 0 }

// TextOf is the text of a value in the tree of a document: a string itself, of
// anything else its RFC 8785 form. It is what is hashed and tokenised.
func TextOf(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	}
	data, err := encode(value)
	return string(data), err
}

// Reader reads what edits cover in the tree of one document. A string that holds a
// document is read once, however many edits are below it. It is for one goroutine.
type Reader struct {
	value any
	inner map[string]any // by the string that holds it
}

// NewReader is one that has read nothing yet.
func NewReader(value any) *Reader { return &Reader{value: value, inner: map[string]any{}} }

// held is the document that a string holds; false: none.
func (r *Reader) held(s string) (any, bool) {
	if value, ok := r.inner[s]; ok {
		return value, true
	}
	inner, err := Parse([]byte(s))
	if err != nil {
		return nil, false
	}
	r.inner[s] = inner.value
	return inner.value, true
}

// TextAt is the text that an edit covers: that of a whole value, or a part of a string.
// The error is one that Apply would have.
func (r *Reader) TextAt(e Edit) (string, error) {
	value := r.value
	tokens, err := split(e.Pointer)
	if err != nil {
		return "", err
	}
	nothing := &errNothing{pointer: e.Pointer}
	for _, token := range tokens {
		if s, ok := value.(string); ok {
			if value, ok = r.held(s); !ok {
				return "", nothing
			}
		}
		switch v := value.(type) {
		case map[string]any:
			child, ok := v[token]
			if !ok {
				return "", nothing
			}
			value = child
		case []any:
			i, ok := index(token, len(v))
			if !ok {
				return "", nothing
			}
			value = v[i]
		default:
			return "", nothing
		}
	}
	if e.whole() {
		return TextOf(value)
	}
	s, ok := value.(string)
	if !ok {
		return "", fmt.Errorf("an edit at %q is of a part of what is no string", shown(e.Pointer))
	}
	if e.Start < 0 || e.End <= e.Start {
		return "", fmt.Errorf("the span of an edit at %q is none", shown(e.Pointer))
	}
	if err := cuts(s, &e); err != nil {
		return "", err
	}
	return s[e.Start:e.End], nil
}

// redact is what a value becomes; keep is false where it is taken out. Partial and
// generalise make strings of numbers, and a mask of what is neither a string nor a
// number: nothing says what a part of a boolean or an object is.
func (e *Edit) redact(value any) (out any, keep bool) {
	text, scalar := "", true
	switch v := value.(type) {
	case string:
		text = v
	case json.Number:
		text = v.String()
	default:
		scalar = false
	}
	switch {
	case e.Method == Removed:
		return Mask, false
	case e.Method.Keyed():
		return e.Replacement, true
	case e.Method == LastFour && scalar:
		return lastFour(text), true
	case e.Method == Generalised && scalar:
		if _, number := value.(json.Number); !number {
			return Generalise(text), true
		}
	}
	return Mask, true
}

// lastFour puts an asterisk for each character but the last four; for each, of
// fewer than eight.
func lastFour(text string) string {
	n := utf8.RuneCountInString(text)
	if n < 8 {
		return strings.Repeat("*", n)
	}
	tail := len(text)
	for range 4 {
		_, size := utf8.DecodeLastRuneInString(text[:tail])
		tail -= size
	}
	return strings.Repeat("*", n-4) + text[tail:]
}
