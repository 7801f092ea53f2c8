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

// Edit redacts the value at an RFC 6901 pointer, or a part of the string there. A
// pointer that goes on below a string reads that string as a JSON document: MCP
// servers put documents into the text blocks of their results.
type Edit struct {
	// Pointer names the value in the document as it was sent.
	Pointer string
	// Method is how.
	Method Method
	// Start and End are the part of the string at Pointer, in bytes of its UTF-8;
	// both 0: the whole value.
	Start, End int
	// Replacement takes the value's place where the method is Hashed or Tokenised;
	// else it is empty.
	Replacement string
}

// Apply returns the document with all edits made. An edit above others, or of a
// string as a whole beside parts of it, decides for all of them, if its method
// leaves nothing of the value; else the value is masked. So it is where a string is
// edited both in parts and below it. Of several edits of the same value the stronger
// decides: remove, mask, hash, tokenise, generalise, partial, in this order. A
// pointer to nothing is an error, because then the document is not the one that the
// edits were made for; so is a span that is not of whole characters of a string.
//
// To make edits of whole values again, where nothing was removed, changes nothing.
func (d *Document) Apply(edits []Edit) (*Document, error) {
	value, err := d.edited(edits)
	if err != nil {
		return nil, err
	}
	data, err := encode(value)
	if err != nil {
		return nil, err
	}
	return Parse(data)
}

// edited is the document's value with all edits made.
func (d *Document) edited(edits []Edit) (any, error) {
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
	return value, nil
}

// change is a trie of edits by pointer token.
type change struct {
	here  *Edit  // of the whole value
	parts []Edit // of the string
	below map[string]*change
}

func (c *change) add(e Edit) error {
	if err := e.check(); err != nil {
		return err
	}
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
	switch {
	case !e.whole():
		c.parts = append(c.parts, e)
	case c.here == nil:
		c.here = &e
	case c.here.Method == e.Method && c.here.Replacement != e.Replacement:
		c.here = &Edit{Pointer: e.Pointer} // neither is the right one
	case strength[e.Method] > strength[c.here.Method]:
		c.here = &e
	}
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
	inside := len(c.parts)+len(c.below) > 0
	switch {
	case c.here != nil && inside && !c.here.Method.total():
		return Mask, true, nil
	case c.here != nil:
		changed, keep := c.here.redact(value)
		return changed, keep, nil
	case !inside:
		return value, true, nil
	}
	if len(c.parts) > 0 {
		return c.applyParts(value)
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

// applyParts changes parts of a string. One that is also edited below is masked: the
// parts are of the text as it was sent, and what is below is written anew.
func (c *change) applyParts(value any) (any, bool, error) {
	s, ok := value.(string)
	if !ok {
		return nil, false, fmt.Errorf("an edit at %q is of a part of what is no string", shown(c.parts[0].Pointer))
	}
	changed, err := spans(s, c.parts)
	if err == nil && len(c.below) > 0 {
		changed = Mask
	}
	return changed, true, err
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
