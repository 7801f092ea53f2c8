package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/writpdp/writ/document"
)

// Bounds of the argument types of one tool.
const (
	// maxTypeDepth bounds how deep they go; deeper ones are left out.
	maxTypeDepth = 8
	// maxArgumentTypes bounds how many there are, references put in their
	// places, and maxArgumentText their length in Cedar, in bytes.
	maxArgumentTypes = 4096
	maxArgumentText  = 64 << 10
)

// arguments turns one tool's JSON Schema into Cedar types. A type that is empty
// is one that Cedar does not have.
type arguments struct {
	root map[string]any
	seen int // schemas visited
	size int // bytes written
}

// argumentType is the record type of a tool's arguments.
func argumentType(schema map[string]any) (string, error) {
	a := arguments{root: schema}
	typ := a.record(schema, 0)
	if a.seen > maxArgumentTypes || a.size > maxArgumentText {
		return "", fmt.Errorf("its arguments come to more than %d types or %d bytes of them", maxArgumentTypes, maxArgumentText)
	}
	return typ, nil
}

// record is the record type of a JSON Schema object.
func (a *arguments) record(s map[string]any, depth int) string {
	properties, _ := s["properties"].(map[string]any)
	required, _ := s["required"].([]any)
	var members []string
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		typ, nullable := a.of(properties[name], depth+1)
		if typ == "" {
			continue
		}
		mark := "?"
		if !nullable && slices.Contains(required, any(name)) {
			mark = ""
		}
		member := fmt.Sprintf("%s%s: %s", quote(name), mark, typ)
		a.size += len(member)
		members = append(members, member)
	}
	if len(members) == 0 {
		return "{}"
	}
	return "{ " + strings.Join(members, ", ") + " }"
}

// of is the Cedar type of a JSON Schema, and whether null is one of its values.
func (a *arguments) of(s any, depth int) (typ string, nullable bool) {
	a.seen++
	m, ok := s.(map[string]any)
	if !ok || depth > maxTypeDepth || a.seen > maxArgumentTypes || a.size > maxArgumentText {
		return "", false
	}
	if ref, ok := m["$ref"].(string); ok {
		return a.of(Follow(a.root, ref), depth+1)
	}
	for _, keyword := range []string{"anyOf", "oneOf"} {
		if list, ok := m[keyword].([]any); ok {
			return a.union(list, depth)
		}
	}
	names, nullable := typeNames(m)
	if len(names) != 1 {
		return "", false
	}
	switch names[0] {
	case "string":
		return "String", nullable
	case "integer":
		return "Long", nullable
	case "number":
		return "decimal", nullable
	case "boolean":
		return "Bool", nullable
	case "array":
		return a.set(m, depth), nullable
	case "object":
		if _, ok := m["properties"]; ok {
			return a.record(m, depth), nullable
		}
	}
	return "", false
}

// set is the type of an array. One whose elements have types of their own has
// none, and neither has one of arrays: the hash of a Cedar set is the sum of its
// elements', so a caller could choose sets that make a set of them slow.
func (a *arguments) set(m map[string]any, depth int) string {
	if _, tuple := m["prefixItems"]; tuple {
		return ""
	}
	element, null := a.of(m["items"], depth+1)
	if element == "" || null || strings.Contains(element, "Set<") {
		return ""
	}
	return "Set<" + element + ">"
}

// union has a type when all alternatives but null have the same.
func (a *arguments) union(list []any, depth int) (typ string, nullable bool) {
	for _, alternative := range list {
		if m, ok := alternative.(map[string]any); ok && m["type"] == "null" {
			nullable = true
			continue
		}
		t, null := a.of(alternative, depth+1)
		if t == "" || typ != "" && t != typ {
			return "", false
		}
		typ, nullable = t, nullable || null
	}
	return typ, nullable
}

// typeNames are the type keyword's names without null; those of an enum or a
// const where there is no such keyword.
func typeNames(m map[string]any) (names []string, nullable bool) {
	add := func(name string) {
		if name == "null" {
			nullable = true
		} else if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	switch t := m["type"].(type) {
	case string:
		add(t)
	case []any:
		for _, name := range t {
			if name, ok := name.(string); ok {
				add(name)
			}
		}
	case nil:
		values, _ := m["enum"].([]any)
		if c, ok := m["const"]; ok {
			values = append(values[:len(values):len(values)], c)
		}
		for _, v := range values {
			switch v.(type) {
			case string:
				add("string")
			case bool:
				add("boolean")
			case nil:
				add("null")
			default:
				return nil, false
			}
		}
	}
	return names, nullable
}

// Follow finds a reference within a JSON Schema, "#/…"; nil where there is nothing.
func Follow(root any, ref string) any {
	path, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return nil
	}
	at := root
	for token := range strings.SplitSeq(path, "/") {
		m, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = m[document.Unescape(token)]
	}
	return at
}
