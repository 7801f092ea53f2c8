package document

import (
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Mask is what a masked value becomes.
const Mask = "[redacted]"

// MaxEdits bounds the edits of one document.
const MaxEdits = 4096

// Edit redacts the value at an RFC 6901 pointer. A pointer that goes on below a
// string reads that string as a JSON document: MCP servers put documents into
// the text blocks of their results.
type Edit struct {
	// Pointer names the value in the document as it was sent.
	Pointer string
	// Remove takes the value out; otherwise it is replaced by Mask.
	Remove bool
}

// Expand returns the pointers of all values in d that a pattern matches, in the
// order of the document's RFC 8785 form. A pattern is a pointer in which the
// token * stands for any member or element. Not more than MaxEdits+1.
func (d *Document) Expand(pattern string) ([]string, error) {
	tokens, err := split(pattern)
	if err != nil {
		return nil, err
	}
	var found []string
	expand(d.value, "", tokens, &found)
	return found, nil
}

func expand(value any, at string, tokens []string, found *[]string) {
	if len(*found) > MaxEdits {
		return
	}
	if len(tokens) == 0 {
		*found = append(*found, at)
		return
	}
	token, rest := tokens[0], tokens[1:]
	switch v := value.(type) {
	case map[string]any:
		if token != "*" {
			if child, ok := v[token]; ok {
				expand(child, at+"/"+escape(token), rest, found)
			}
			return
		}
		for _, name := range sortedNames(v) {
			expand(v[name], at+"/"+escape(name), rest, found)
		}
	case []any:
		if token != "*" {
			if i, ok := index(token, len(v)); ok {
				expand(v[i], at+"/"+token, rest, found)
			}
			return
		}
		for i, child := range v {
			expand(child, at+"/"+strconv.Itoa(i), rest, found)
		}
	case string:
		if inner, err := Parse([]byte(v)); err == nil {
			if _, scalar := inner.value.(string); !scalar {
				expand(inner.value, at, tokens, found)
			}
		}
	}
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
	value, keep, err := root.apply(d.value, "")
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

// apply returns the changed value and whether it stays at all.
func (c *change) apply(value any, at string) (any, bool, error) {
	if c.here {
		return Mask, !c.remove, nil
	}
	if len(c.below) == 0 {
		return value, true, nil
	}
	switch v := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, child := range v {
			out[name] = child
		}
		for token, below := range c.below {
			child, ok := v[token]
			if !ok {
				return nil, false, nothingAt(at, token)
			}
			changed, keep, err := below.apply(child, at+"/"+escape(token))
			if err != nil {
				return nil, false, err
			}
			if out[token] = changed; !keep {
				delete(out, token)
			}
		}
		return out, true, nil
	case []any:
		return c.applyArray(v, at)
	case string:
		inner, err := Parse([]byte(v))
		if err != nil {
			return nil, false, fmt.Errorf("the string at %q is not a JSON document", at)
		}
		changed, _, err := c.apply(inner.value, at)
		if err != nil {
			return nil, false, err
		}
		data, err := encode(changed)
		return string(data), true, err
	}
	return nil, false, fmt.Errorf("nothing below %q", at)
}

func (c *change) applyArray(v []any, at string) (any, bool, error) {
	for token := range c.below {
		if _, ok := index(token, len(v)); !ok {
			return nil, false, nothingAt(at, token)
		}
	}
	out := make([]any, 0, len(v))
	for i, child := range v {
		token := strconv.Itoa(i)
		below, ok := c.below[token]
		if !ok {
			out = append(out, child)
			continue
		}
		changed, keep, err := below.apply(child, at+"/"+token)
		if err != nil {
			return nil, false, err
		}
		if keep {
			out = append(out, changed)
		}
	}
	return out, true, nil
}

func nothingAt(at, token string) error {
	return fmt.Errorf("nothing at %q", at+"/"+escape(token))
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

// CheckPattern reports whether a pattern is one that Expand takes.
func CheckPattern(pattern string) error {
	_, err := split(pattern)
	return err
}

func split(pointer string) ([]string, error) {
	if pointer == "" {
		return nil, nil
	}
	if pointer[0] != '/' {
		return nil, fmt.Errorf("the JSON pointer %q does not start with /", pointer)
	}
	tokens := strings.Split(pointer[1:], "/")
	for i, token := range tokens {
		plain := strings.ReplaceAll(strings.ReplaceAll(token, "~1", ""), "~0", "")
		if strings.Contains(plain, "~") {
			return nil, fmt.Errorf("the JSON pointer %q has a ~ that escapes nothing", pointer)
		}
		tokens[i] = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
	}
	return tokens, nil
}

func escape(token string) string {
	return strings.ReplaceAll(strings.ReplaceAll(token, "~", "~0"), "/", "~1")
}

// index reads an array index as RFC 6901 writes it: no sign, no leading zero.
func index(token string, n int) (int, bool) {
	i, err := strconv.Atoi(token)
	return i, err == nil && strconv.Itoa(i) == token && i >= 0 && i < n
}

func sortedNames(members map[string]any) []string {
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
