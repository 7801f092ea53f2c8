package document

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Mask is what a masked value becomes.
const Mask = "[redacted]"

// Edit redacts the value at an RFC 6901 pointer. A pointer that goes on below a
// string reads that string as a JSON document: MCP servers put documents into
// the text blocks of their results.
type Edit struct {
	// Pointer names the value in the document as it was sent.
	Pointer string
	// Remove takes the value out; otherwise it is replaced by Mask.
	Remove bool
}

// Apply returns the document with all edits made. An edit above another one
// decides for both. A pointer to nothing is an error, because then the document
// is not the one that the edits were made for.
func (d *Document) Apply(edits []Edit) (*Document, error) {
	if len(edits) > MaxEdits {
		return nil, fmt.Errorf("more than %d edits", MaxEdits)
	}
	root := &change{}
	for _, e := range edits {
		if err := root.add(e); err != nil {
			return nil, err
		}
	}
	value, keep, err := root.apply(d.value)
	if err != nil {
		return nil, err
	}
	if !keep {
		return nil, fmt.Errorf("the whole document cannot be removed, only masked")
	}
	data, err := encode(value)
	if err != nil {
		return nil, err
	}
	return Parse(data)
}

// change is a trie of edits by pointer token.
type change struct {
	here   bool
	remove bool
	below  map[string]*change
}

func (c *change) add(e Edit) error {
	tokens, err := split(e.Pointer)
	if err != nil {
		return err
	}
	for _, token := range tokens {
		if c.below == nil {
			c.below = map[string]*change{}
		}
		next := c.below[token]
		if next == nil {
			next = &change{}
			c.below[token] = next
		}
		c = next
	}
	c.here, c.remove = true, c.remove || e.Remove
	return nil
}

// errNothing says that an edit's pointer leads nowhere. Each level on the way
// back puts its token before the rest.
type errNothing struct{ pointer string }

func (e *errNothing) Error() string { return fmt.Sprintf("nothing at %q", shown(e.pointer)) }

func (e *errNothing) under(token string) *errNothing {
	return &errNothing{pointer: "/" + Escape(token) + e.pointer}
}

// apply returns the changed value and whether it stays at all.
func (c *change) apply(value any) (any, bool, error) {
	if c.here {
		return Mask, !c.remove, nil
	}
	if len(c.below) == 0 {
		return value, true, nil
	}
	switch v := value.(type) {
	case map[string]any:
		return c.applyObject(v)
	case []any:
		return c.applyArray(v)
	case string:
		return c.applyText(v)
	}
	return nil, false, c.nothing()
}

// nothing is the error of the first pointer below.
func (c *change) nothing() error {
	return (&errNothing{}).under(sortedNames(c.below)[0])
}

// child applies what is below a token.
func (c *change) child(token string, value any) (any, bool, error) {
	changed, keep, err := c.below[token].apply(value)
	var nothing *errNothing
	if errors.As(err, &nothing) {
		err = nothing.under(token)
	}
	return changed, keep, err
}

func (c *change) applyObject(v map[string]any) (any, bool, error) {
	out := maps.Clone(v)
	for _, token := range sortedNames(c.below) {
		child, ok := v[token]
		if !ok {
			return nil, false, (&errNothing{}).under(token)
		}
		changed, keep, err := c.child(token, child)
		if err != nil {
			return nil, false, err
		}
		if out[token] = changed; !keep {
			delete(out, token)
		}
	}
	return out, true, nil
}

func (c *change) applyArray(v []any) (any, bool, error) {
	for _, token := range sortedNames(c.below) {
		if _, ok := index(token, len(v)); !ok {
			return nil, false, (&errNothing{}).under(token)
		}
	}
	out := make([]any, 0, len(v))
	for i, child := range v {
		token := strconv.Itoa(i)
		if c.below[token] == nil {
			out = append(out, child)
			continue
		}
		changed, keep, err := c.child(token, child)
		if err != nil {
			return nil, false, err
		}
		if keep {
			out = append(out, changed)
		}
	}
	return out, true, nil
}

// applyText changes the document that a string holds.
func (c *change) applyText(s string) (any, bool, error) {
	inner, err := Parse([]byte(s))
	if err != nil {
		return nil, false, c.nothing()
	}
	if _, text := inner.value.(string); text {
		return nil, false, c.nothing() // Expand reads no text in a text either
	}
	changed, _, err := c.apply(inner.value)
	if err != nil {
		return nil, false, err
	}
	data, err := encode(changed)
	return string(data), true, err
}

// encode writes a value tree in the form of RFC 8785.
func encode(value any) ([]byte, error) {
	data, err := jsonv2.Marshal(value, jsonv2.WithMarshalers(jsonv2.MarshalToFunc(
		func(enc *jsontext.Encoder, n json.Number) error { return enc.WriteValue(jsontext.Value(n)) })))
	if err != nil {
		return nil, fmt.Errorf("encoding the edited document: %w", err)
	}
	out := jsontext.Value(data)
	if err := out.Canonicalize(); err != nil {
		return nil, fmt.Errorf("encoding the edited document: %w", err)
	}
	return out, nil
}
