package document

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Withheld stands in a document's Value for a value that is not known: a record
// of the document did not keep it.
type Withheld struct{}

// Others is the name, which no document can have, of a Withheld member of an
// object that has further members, whose names are not known either.
const Others = "\xff"

// others ends the pointer of such an object's further members.
const others = "/*"

// ErrWithheld: what a pattern matches is not known, because a value on its way
// is withheld.
var ErrWithheld = errors.New("a value on the pattern's way is withheld")

// Partial is a document as a record keeps it: data is the document with Mask in
// the place of each withheld value, withheld are the pointers of these, digest
// is that of the whole. A pointer that ends in /* is of an object of which data
// leaves members out, names and all. A document that is withheld as a whole has the pointer
// "" and no data. found is what patterns are known to match in the whole
// document, for those that the rest does not tell. The error is about the
// arguments, without values.
func Partial(data []byte, withheld []string, digest Digest, found map[string][]string) (*Document, error) {
	if len(data) == 0 && len(withheld) == 1 && withheld[0] == "" {
		return &Document{value: Withheld{}, digest: digest, withheld: withheld, found: found}, nil
	}
	if len(withheld) > MaxNodes {
		return nil, fmt.Errorf("more than %d withheld values", MaxNodes)
	}
	d, err := Parse(data)
	if err != nil {
		return nil, err
	}
	d.digest, d.withheld, d.found = digest, withheld, found
	for _, pointer := range withheld {
		tokens, err := split(pointer)
		if err != nil {
			return nil, err
		}
		if len(tokens) == 0 {
			return nil, errors.New("a document that is withheld as a whole has data")
		}
		if !withhold(d.value, tokens) {
			return nil, fmt.Errorf("nothing is withheld at %q", shown(pointer))
		}
	}
	return d, nil
}

// withhold takes out the value that some tokens lead to; it must be Mask.
func withhold(value any, tokens []string) bool {
	for i, token := range tokens {
		last := i == len(tokens)-1
		switch v := value.(type) {
		case map[string]any:
			if last && token == others[1:] {
				v[Others] = Withheld{}
				return true
			}
			if last {
				if v[token] != Mask {
					return false
				}
				v[token] = Withheld{}
			}
			value = v[token]
		case []any:
			n, ok := index(token, len(v))
			if !ok {
				return false
			}
			if last {
				if v[n] != Mask {
					return false
				}
				v[n] = Withheld{}
			}
			value = v[n]
		default:
			return false
		}
	}
	return true
}

// Withheld are the pointers of the values that are not known; nil: all are.
func (d *Document) Withheld() []string { return d.withheld }

// Masked is the document with Mask in the place of what is withheld: for those
// who look at its shape alone. The error says that nothing of it is known.
func (d *Document) Masked() (*Document, error) {
	if len(d.withheld) == 0 {
		return d, nil
	}
	if len(d.canonical) == 0 {
		return nil, ErrWithheld
	}
	return Parse(d.canonical)
}

// HasOthers reports whether some object has members whose names are not known.
func (d *Document) HasOthers() bool {
	return slices.ContainsFunc(d.withheld, func(p string) bool { return strings.HasSuffix(p, others) })
}

// Filled is the document with another value: for those who put something in the
// place of what is withheld.
func (d *Document) Filled(value any) *Document {
	filled := *d
	filled.value, filled.withheld, filled.found = value, nil, nil
	return &filled
}

// HoldsWithheld reports whether a value, as Value has them, is withheld or holds
// one that is.
func HoldsWithheld(value any) bool {
	switch v := value.(type) {
	case Withheld:
		return true
	case map[string]any:
		for _, member := range v {
			if HoldsWithheld(member) {
				return true
			}
		}
	case []any:
		for _, element := range v {
			if HoldsWithheld(element) {
				return true
			}
		}
	}
	return false
}

// Matches reports whether a pattern, as Expand takes it, matches a pointer.
func Matches(pattern, pointer string) bool {
	want, err := split(pattern)
	if err != nil {
		return false
	}
	have, err := split(pointer)
	if err != nil || len(want) != len(have) {
		return false
	}
	for i, token := range want {
		if token != "*" && token != have[i] {
			return false
		}
	}
	return true
}

// AppendToken appends a member's name to a pointer.
func AppendToken(pointer []byte, name string) []byte {
	return append(append(pointer, '/'), Escape(name)...)
}

// AppendIndex appends an element's index to a pointer.
func AppendIndex(pointer []byte, i int) []byte {
	return strconv.AppendInt(append(pointer, '/'), int64(i), 10)
}
