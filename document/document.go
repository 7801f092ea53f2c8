// Package document reads the JSON that agents and tools exchange, as strictly
// as a policy decision needs: what it accepts, every other parser reads the
// same way. It refuses duplicate keys, invalid UTF-8, numbers that a double
// cannot hold, and anything too deep or too large. It owns the digest of a
// document (RFC 8785) and the edits of a redaction (RFC 6901 pointers), so that
// an enforcement point changes exactly what the decision point meant.
//
// It does no I/O, and it never puts a value into an error.
package document

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
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

// Digest is the SHA-256 of a document's RFC 8785 form.
type Digest [sha256.Size]byte

// Document is one JSON document, immutable.
type Document struct {
	value     any
	canonical []byte
	digest    Digest
}

// Error says what is wrong with a document and where, without its values.
type Error struct {
	// Pointer is the RFC 6901 pointer of the place, as far as it was read.
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
	p := parser{dec: jsontext.NewDecoder(bytes.NewReader(data))}
	value, err := p.value(0)
	if err != nil {
		return nil, p.explain(err)
	}
	if _, err := p.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, &Error{Problem: "more than one JSON value"}
	}
	canonical := jsontext.Value(bytes.Clone(data))
	if err := canonical.Canonicalize(); err != nil {
		return nil, p.explain(err)
	}
	return &Document{value: value, canonical: canonical, digest: sha256.Sum256(canonical)}, nil
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
		return nil, &Error{Problem: "not a JSON object"}
	}
	return d, nil
}

// Value is the document as map[string]any, []any, string, json.Number, bool and
// nil. It must not be changed.
func (d *Document) Value() any { return d.value }

// Canonical is the document in the form of RFC 8785. It must not be changed.
func (d *Document) Canonical() []byte { return d.canonical }

// Digest is the SHA-256 of Canonical.
func (d *Document) Digest() Digest { return d.digest }

// parser builds the value tree token by token, so that depth and size are
// bounded before memory is spent.
type parser struct {
	dec   *jsontext.Decoder
	nodes int
}

func (p *parser) value(depth int) (any, error) {
	if p.nodes++; p.nodes > MaxNodes {
		return nil, p.problem("more than %d values", MaxNodes)
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
	case '"':
		return tok.String(), nil
	case '0':
		return p.number(tok.String())
	case 't', 'f':
		return tok.Bool(), nil
	case 'n':
		return nil, nil
	}
	return nil, p.problem("unexpected %s", tok.Kind())
}

func (p *parser) object(depth int) (any, error) {
	if depth > MaxDepth {
		return nil, p.problem("nested deeper than %d", MaxDepth)
	}
	members := map[string]any{}
	for p.dec.PeekKind() != '}' {
		name, err := p.dec.ReadToken()
		if err != nil {
			return nil, err
		}
		key := name.String() // the token is valid only until the next read
		if members[key], err = p.value(depth); err != nil {
			return nil, err
		}
	}
	_, err := p.dec.ReadToken()
	return members, err
}

func (p *parser) array(depth int) (any, error) {
	if depth > MaxDepth {
		return nil, p.problem("nested deeper than %d", MaxDepth)
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

// number refuses what two parsers could read as two numbers.
func (p *parser) number(literal string) (any, error) {
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil {
		return nil, p.problem("number out of range")
	}
	if !strings.ContainsAny(literal, ".eE") && (f > MaxSafeInteger || f < -MaxSafeInteger) {
		return nil, p.problem("integer beyond 2^53")
	}
	return json.Number(literal), nil
}

func (p *parser) problem(format string, args ...any) error {
	return &Error{Pointer: string(p.dec.StackPointer()), Problem: fmt.Sprintf(format, args...)}
}

// explain turns the decoder's errors into ours; theirs may quote the input.
func (p *parser) explain(err error) error {
	var ours *Error
	if errors.As(err, &ours) {
		return ours
	}
	pointer := string(p.dec.StackPointer())
	var syntax *jsontext.SyntacticError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &Error{Pointer: pointer, Problem: "unexpected end of the document"}
	case errors.Is(err, jsontext.ErrDuplicateName):
		return &Error{Pointer: pointer, Problem: "duplicate key"}
	case errors.As(err, &syntax):
		if strings.Contains(syntax.Err.Error(), "UTF-8") {
			return &Error{Pointer: pointer, Problem: fmt.Sprintf("invalid UTF-8 near byte %d", syntax.ByteOffset)}
		}
		return &Error{Pointer: pointer, Problem: fmt.Sprintf("invalid JSON near byte %d", syntax.ByteOffset)}
	}
	return &Error{Pointer: pointer, Problem: "invalid JSON"}
}

// CheckText reports what keeps bytes from being a text: only invalid UTF-8.
func CheckText(data []byte) error {
	if !utf8.Valid(data) {
		return &Error{Problem: "invalid UTF-8"}
	}
	return nil
}
