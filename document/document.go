// Package document reads the JSON that agents and tools exchange, as strictly
// as a policy decision needs: what it accepts, every other parser reads the
// same way. It refuses duplicate keys, invalid UTF-8, numbers that a double
// cannot hold, and anything too deep or too large. It owns the digest of a
// document (RFC 8785) and the edits of a redaction (RFC 6901 pointers), so that
// an enforcement point changes exactly what the decision point meant.
//
// It does no I/O, and it never puts a value into an error. The names of members
// can appear in one, as part of a pointer, cut and without control characters.
package document

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of every document.
const (
	// MaxDepth is the deepest nesting of objects and arrays.
	MaxDepth = 64
	// MaxNodes is the largest number of values, members and elements together.
	MaxNodes = 200_000
	// MaxSafeInteger is the largest integer that a double holds exactly
	// together with its successor (RFC 7493, section 2.2).
	MaxSafeInteger = 1<<53 - 1
)

// maxShown bounds a pointer in an error, in bytes.
const maxShown = 256

// Digest is the SHA-256 of a document's RFC 8785 form.
type Digest [sha256.Size]byte

// Document is one JSON document, immutable.
type Document struct {
	value     any
	canonical []byte
	digest    Digest
	depth     int
	nodes     int
	withheld  []string            // of a partial document
	found     map[string][]string // see Partial
}

// Kind is the sort of thing that is wrong with a document.
type Kind uint8

// The kinds of problems.
const (
	Syntax    Kind = iota // it is not JSON, or not one value
	Duplicate             // an object has a key twice
	Encoding              // it is not UTF-8
	TooDeep               // it is nested deeper than MaxDepth
	TooMany               // it has more values than MaxNodes
	Number                // a number is out of range
	NotObject             // it is another value than an object
)

// Error says what is wrong with a document and where, without its values.
type Error struct {
	// Kind is the sort of thing that is wrong.
	Kind Kind
	// Pointer is the RFC 6901 pointer of the place, as far as it was read. It
	// holds names of members as the document has them, so it is for people: at
	// most 256 bytes, in which U+FFFD stands for what cannot be printed.
	Pointer string
	// Problem is what is wrong there.
	Problem string
}

func (e *Error) Error() string {
	if e.Pointer == "" {
		return e.Problem
	}
	return fmt.Sprintf("at %s: %s", e.Pointer, e.Problem)
}

// Parse reads exactly one JSON value of any kind. The error is an *Error.
func Parse(data []byte) (*Document, error) {
	p := take()
	defer p.free()
	value, err := p.read(data)
	if err != nil {
		return nil, err
	}
	canonical := jsontext.Value(bytes.Clone(data))
	if err := canonical.Canonicalize(); err != nil {
		return nil, p.explain(err)
	}
	return &Document{value: value, canonical: canonical, digest: sha256.Sum256(canonical), depth: p.depth, nodes: p.nodes}, nil
}

// Members reads exactly one JSON object, as strictly as Parse, for those who need
// neither its form nor its digest. The error is an *Error.
func Members(data []byte) (map[string]any, error) {
	p := take()
	defer p.free()
	value, err := p.read(data)
	if err != nil {
		return nil, err
	}
	members, ok := value.(map[string]any)
	if !ok {
		return nil, &Error{Kind: NotObject, Problem: "not a JSON object"}
	}
	return members, nil
}

// ParseObject reads exactly one JSON object; no bytes at all are an empty one.
func ParseObject(data []byte) (*Document, error) {
	if len(data) == 0 {
		data = []byte("{}")
	}
	d, err := Parse(data)
	if err != nil {
		return nil, err
	}
	if _, ok := d.value.(map[string]any); !ok {
		return nil, &Error{Kind: NotObject, Problem: "not a JSON object"}
	}
	return d, nil
}

// Value is the document as map[string]any, []any, string, json.Number, bool and
// nil. A number is spelt as RFC 8785 does, so that whoever reads it sees what
// the digest covers. It must not be changed.
func (d *Document) Value() any { return d.value }

// Canonical is the document in the form of RFC 8785. It must not be changed.
func (d *Document) Canonical() []byte { return d.canonical }

// Digest is the SHA-256 of Canonical.
func (d *Document) Digest() Digest { return d.digest }

// Depth is how deep objects and arrays are nested; 0 for a scalar.
func (d *Document) Depth() int { return d.depth }

// Nodes is the number of values, members and elements together.
func (d *Document) Nodes() int { return d.nodes }

// parser builds the value tree token by token, so that depth and size are
// bounded before memory is spent.
type parser struct {
	dec   jsontext.Decoder
	in    bytes.Buffer // what dec reads
	text  string       // the same; the strings of the tree are parts of it
	limit int          // of nodes
	nodes int
	depth int // the deepest yet
}

// parsers are used again, because the buffers of a decoder cost as much as a
// third of reading a token or the arguments of a call. One that waits here holds
// nothing of a document but names of members, in buffers that are overwritten
// before they are read; one that read a large document is not kept.
var parsers = sync.Pool{New: func() any { return new(parser) }}

// maxKept is the largest document, in bytes, whose parser is used again.
const maxKept = 16 << 10

func take() *parser { return parsers.Get().(*parser) }

func (p *parser) free() {
	if len(p.text) <= maxKept {
		p.reset(nil, "", 0)
		parsers.Put(p)
	}
}

// read reads exactly one value.
func (p *parser) read(data []byte) (any, error) {
	p.reset(data, string(data), MaxNodes)
	value, err := p.whole()
	if err != nil {
		return nil, p.explain(err)
	}
	return value, nil
}

// reset starts anew on other bytes, given as a string too.
func (p *parser) reset(data []byte, text string, limit int) {
	p.in = *bytes.NewBuffer(data)
	p.dec.Reset(&p.in)
	p.text, p.limit, p.nodes, p.depth = text, limit, 0, 0
}

// whole reads one value and sees that nothing follows.
func (p *parser) whole() (any, error) {
	value, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if _, err := p.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, &Error{Problem: "more than one JSON value"}
	}
	return value, nil
}

func (p *parser) value(depth int) (any, error) {
	if p.nodes++; p.nodes > p.limit {
		return nil, p.problem(TooMany, "more than %d values", p.limit)
	}
	switch p.dec.PeekKind() {
	case '"':
		return p.string()
	case '0':
		literal, err := p.literal()
		if err != nil {
			return nil, err
		}
		return p.number(literal)
	}
	tok, err := p.dec.ReadToken()
	if err != nil {
		return nil, err
	}
	switch tok.Kind() {
	case '{':
		return p.object(depth + 1)
	case '[':
		return p.array(depth + 1)
	case 't', 'f':
		return tok.Bool(), nil
	case 'n':
		return nil, nil
	}
	return nil, p.problem(Syntax, "unexpected %s", tok.Kind())
}

// literal reads a string, quotes and all, or a number: what comes next must be
// one, for anything larger would be read unbounded.
func (p *parser) literal() (string, error) {
	raw, err := p.dec.ReadValue()
	if err != nil {
		return "", err
	}
	end := p.dec.InputOffset()
	return p.text[end-int64(len(raw)) : end], nil
}

// string reads a string or a name.
func (p *parser) string() (string, error) {
	if p.dec.PeekKind() != '"' {
		tok, err := p.dec.ReadToken()
		if err == nil {
			err = p.problem(Syntax, "unexpected %s", tok.Kind())
		}
		return "", err
	}
	literal, err := p.literal()
	if err != nil {
		return "", err
	}
	if strings.IndexByte(literal, '\\') < 0 {
		return literal[1 : len(literal)-1], nil
	}
	unquoted, err := jsontext.AppendUnquote(nil, literal)
	return string(unquoted), err
}

// enter goes one level down.
func (p *parser) enter(depth int) error {
	if depth > MaxDepth {
		return p.problem(TooDeep, "nested deeper than %d", MaxDepth)
	}
	p.depth = max(p.depth, depth)
	return nil
}

func (p *parser) object(depth int) (any, error) {
	if err := p.enter(depth); err != nil {
		return nil, err
	}
	members := map[string]any{}
	for p.dec.PeekKind() != '}' {
		name, err := p.string()
		if err != nil {
			return nil, err
		}
		if members[name], err = p.value(depth); err != nil {
			return nil, err
		}
	}
	_, err := p.dec.ReadToken()
	return members, err
}

func (p *parser) array(depth int) (any, error) {
	if err := p.enter(depth); err != nil {
		return nil, err
	}
	elements := []any{}
	for p.dec.PeekKind() != ']' {
		element, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		elements = append(elements, element)
	}
	_, err := p.dec.ReadToken()
	return elements, err
}

// number refuses what two parsers could read as two numbers, and spells the
// rest in one way.
func (p *parser) number(literal string) (any, error) {
	if len(literal) <= 15 && strings.Trim(literal, "0123456789") == "" {
		return json.Number(literal), nil // already as RFC 8785 spells it
	}
	f, err := strconv.ParseFloat(literal, 64)
	mantissa, _, _ := strings.Cut(strings.ToLower(literal), "e")
	switch {
	case err != nil, f == 0 && strings.ContainsAny(mantissa, "123456789"):
		return nil, p.problem(Number, "number out of range")
	case math.Abs(f) > MaxSafeInteger && (math.Abs(f) < 1e21 || !strings.ContainsAny(literal, ".eE")):
		// However it is spelt here: RFC 8785 spells it as an integer.
		return nil, p.problem(Number, "integer beyond 2^53")
	case f == 0:
		return json.Number("0"), nil // -0 too
	}
	return json.Number(jsontext.Float(f).String()), nil
}

func (p *parser) problem(kind Kind, format string, args ...any) error {
	return &Error{Kind: kind, Pointer: p.pointer(), Problem: fmt.Sprintf(format, args...)}
}

func (p *parser) pointer() string { return shown(string(p.dec.StackPointer())) }

// explain turns the decoder's errors into ours; theirs may quote the input.
func (p *parser) explain(err error) error {
	var ours *Error
	if errors.As(err, &ours) {
		return ours
	}
	var syntax *jsontext.SyntacticError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return p.problem(Syntax, "unexpected end of the document")
	case errors.Is(err, jsontext.ErrDuplicateName):
		return p.problem(Duplicate, "duplicate key")
	case errors.As(err, &syntax):
		if strings.Contains(syntax.Err.Error(), "UTF-8") {
			return p.problem(Encoding, "invalid UTF-8 near byte %d", syntax.ByteOffset)
		}
		return p.problem(Syntax, "invalid JSON near byte %d", syntax.ByteOffset)
	}
	return p.problem(Syntax, "invalid JSON")
}

// shown is a pointer as an error may hold it: members can be called anything.
func shown(pointer string) string {
	var b strings.Builder
	for _, r := range pointer {
		if !unicode.IsPrint(r) {
			r = utf8.RuneError
		}
		if b.Len()+utf8.RuneLen(r) > maxShown-len("…") {
			b.WriteString("…")
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

// CheckText reports what keeps bytes from being a text: only invalid UTF-8.
func CheckText(data []byte) error {
	if !utf8.Valid(data) {
		return &Error{Kind: Encoding, Problem: "invalid UTF-8"}
	}
	return nil
}
