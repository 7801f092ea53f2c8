package lint

import (
	"encoding/json"
	"strconv"

	"github.com/writpdp/writ/server/policy"
)

// shape is a JSON Schema, to be asked which places its documents have.
// The zero value is that of everything.
type shape struct{ root any }

// shapesOf are a tool's inputs and its structured results.
func shapesOf(d policy.Definition) (input, output shape) {
	var in struct {
		Output any `json:"outputSchema"`
	}
	if err := json.Unmarshal(d.Raw, &in); err != nil {
		in.Output = nil // it was read before, so it never fails
	}
	return shape{d.Input}, shape{in.Output}
}

// result reports whether what a tool's call comes back with can have a place.
func result(output shape, tokens []string) bool {
	// Blocks have these members, whatever their types.
	block := map[string]any{}
	for _, name := range []string{"type", "text", "data", "mimeType", "uri", "name", "title", "description", "size", "icons", "resource", "annotations", "_meta"} {
		block[name] = map[string]any{}
	}
	switch {
	case len(tokens) == 0:
		return true
	case tokens[0] == "content":
		return shape{map[string]any{"type": "array", "items": map[string]any{"type": "object", "properties": block}}}.has(tokens[1:])
	case tokens[0] == "structuredContent":
		return output.has(tokens[1:])
	}
	return tokens[0] == "_meta" || tokens[0] == "isError" || tokens[0] == "*"
}

// maxWalk bounds the steps through a schema, whose references may go in circles.
const maxWalk = 2000

// has reports whether a document can have a place, by the tokens of a pointer in
// which * stands for any member or element. What a schema leaves open it may
// have; a member that it does not name it has not, because no call with one
// passes.
func (s shape) has(tokens []string) bool {
	steps := maxWalk
	return s.place(s.root, tokens, &steps)
}

func (s shape) place(at any, tokens []string, steps *int) bool {
	if *steps--; *steps < 0 || len(tokens) == 0 {
		return true
	}
	m, ok := at.(map[string]any)
	if !ok {
		return at != false // true, or no schema
	}
	if ref, ok := m["$ref"].(string); ok {
		return s.place(policy.Follow(s.root, ref), tokens, steps)
	}
	named := false
	for _, keyword := range []string{"anyOf", "oneOf", "allOf"} {
		list, _ := m[keyword].([]any)
		for _, one := range list {
			named = true
			if s.place(one, tokens, steps) && !isBare(one) {
				return true
			}
		}
	}
	if typeNames(m)["string"] {
		return true // a text may be a document
	}
	properties, hasProperties := m["properties"].(map[string]any)
	for name, property := range properties {
		if (tokens[0] == "*" || tokens[0] == name) && s.place(property, tokens[1:], steps) {
			return true
		}
	}
	for _, keyword := range []string{"patternProperties", "prefixItems", "additionalItems", "unevaluatedItems", "then", "else", "if"} {
		if _, open := m[keyword]; open {
			return true // more than is looked into
		}
	}
	if items, ok := m["items"]; ok {
		_, err := strconv.Atoi(tokens[0])
		return (err == nil || tokens[0] == "*") && s.place(items, tokens[1:], steps)
	}
	switch more := m["additionalProperties"].(type) {
	case bool:
		return more
	case map[string]any:
		return s.place(more, tokens[1:], steps)
	}
	if hasProperties || named {
		return false
	}
	// A schema that says nothing of members leaves them open, unless its values
	// have none.
	all := typeNames(m)
	return len(all) == 0 && m["enum"] == nil && m["const"] == nil || all["object"] || all["array"]
}

// isBare reports whether an alternative says nothing of its value's members, as
// one that only requires some does: what it leaves open another names.
func isBare(at any) bool {
	m, ok := at.(map[string]any)
	if !ok {
		return true
	}
	for _, keyword := range []string{"type", "properties", "items", "$ref", "anyOf", "oneOf", "allOf", "additionalProperties"} {
		if _, said := m[keyword]; said {
			return false
		}
	}
	return true
}

func typeNames(m map[string]any) map[string]bool {
	all := map[string]bool{}
	switch t := m["type"].(type) {
	case string:
		all[t] = true
	case []any:
		for _, name := range t {
			if name, ok := name.(string); ok {
				all[name] = true
			}
		}
	}
	return all
}
