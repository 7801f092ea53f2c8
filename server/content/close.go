package content

import "strings"

// closer rewrites a schema so that objects refuse what it does not name, and
// so that draft 7 reads as draft 2020-12. It copies; the input stays as it is.
type closer struct {
	root  map[string]any
	names map[string]bool
}

// Where a keyword's value holds schemas: for one of these, in a map by name, in
// a list, or as the value itself.
var (
	namedSchemas = map[string]bool{"properties": true, "patternProperties": true, "$defs": true, "definitions": true, "dependentSchemas": true}
	listSchemas  = map[string]bool{"allOf": true, "anyOf": true, "oneOf": true, "prefixItems": true}
	oneSchema    = map[string]bool{"items": true, "additionalProperties": true, "unevaluatedProperties": true, "unevaluatedItems": true, "if": true, "then": true, "else": true}
	// whole marks the keywords whose schemas see a value of their own, rather
	// than share the value of the schema they stand in.
	whole = map[string]bool{"properties": true, "patternProperties": true, "items": true, "prefixItems": true, "additionalProperties": true, "unevaluatedProperties": true, "unevaluatedItems": true}
)

// schema copies one schema. own says that it is the only one for its value; then
// it is the place to refuse further properties: a schema under allOf must not,
// or it would refuse what its neighbours name.
func (c *closer) schema(s any, own bool) any {
	in, ok := s.(map[string]any)
	if !ok {
		return s
	}
	out := make(map[string]any, len(in)+1)
	for keyword, value := range draft7(in) {
		switch {
		case namedSchemas[keyword]:
			out[keyword] = c.named(keyword, value)
		case listSchemas[keyword]:
			list, _ := value.([]any)
			copied := make([]any, len(list))
			for i, child := range list {
				copied[i] = c.schema(child, whole[keyword])
			}
			out[keyword] = copied
		case oneSchema[keyword]:
			out[keyword] = c.schema(value, whole[keyword])
		case keyword == "$schema":
		default:
			out[keyword] = value
		}
	}
	_, additional := in["additionalProperties"]
	_, unevaluated := in["unevaluatedProperties"]
	if own && !additional && !unevaluated {
		if named, free := c.shape(in, 0); named && !free {
			out["unevaluatedProperties"] = false
		}
	}
	return out
}

func (c *closer) named(keyword string, value any) any {
	children, ok := value.(map[string]any)
	if !ok {
		return value
	}
	out := make(map[string]any, len(children))
	for name, child := range children {
		if keyword == "properties" {
			c.names[name] = true
		}
		out[name] = c.schema(child, whole[keyword])
	}
	return out
}

// shape says whether a schema, with all that shares its value, names properties,
// and whether part of it is an object about which it says nothing.
func (c *closer) shape(s map[string]any, depth int) (named, free bool) {
	if depth > 32 { // a cycle of references
		return false, true
	}
	_, named = s["properties"]
	_, patterns := s["patternProperties"]
	shared := 0
	visit := func(child any) {
		if m, ok := child.(map[string]any); ok {
			shared++
			n, f := c.shape(m, depth+1)
			named, free = named || n, free || f
		}
	}
	for keyword := range listSchemas {
		if list, ok := s[keyword].([]any); ok && !whole[keyword] {
			for _, child := range list {
				visit(child)
			}
		}
	}
	for _, keyword := range []string{"if", "then", "else"} {
		visit(s[keyword])
	}
	if ref, ok := s["$ref"].(string); ok {
		visit(c.target(ref))
	}
	if !named && shared == 0 && !patterns && s["type"] == "object" {
		if _, additional := s["additionalProperties"]; !additional {
			free = true
		}
	}
	return named, free
}

// target follows a reference within the schema; nil where there is nothing.
func (c *closer) target(ref string) any {
	path, ok := strings.CutPrefix(ref, "#")
	if !ok {
		return nil
	}
	var at any = c.root
	for token := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if token == "" {
			continue
		}
		m, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = m[strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")]
	}
	return at
}

// draft7 renames the keywords of draft 7 that 2020-12 spells differently.
func draft7(s map[string]any) map[string]any {
	list, tuple := s["items"].([]any)
	dependencies, depends := s["dependencies"].(map[string]any)
	if !tuple && !depends {
		return s
	}
	out := make(map[string]any, len(s))
	for keyword, value := range s {
		out[keyword] = value
	}
	if tuple {
		out["prefixItems"] = list
		delete(out, "items")
		if rest, ok := s["additionalItems"]; ok {
			out["items"] = rest
			delete(out, "additionalItems")
		}
	}
	if depends {
		delete(out, "dependencies")
		required, schemas := map[string]any{}, map[string]any{}
		for name, value := range dependencies {
			if _, names := value.([]any); names {
				required[name] = value
			} else {
				schemas[name] = value
			}
		}
		out["dependentRequired"], out["dependentSchemas"] = required, schemas
	}
	return out
}
