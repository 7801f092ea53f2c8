package content

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/writpdp/writ/document"
)

// closer rewrites a schema so that objects refuse what it does not name, and
// so that draft 7 reads as draft 2020-12. It copies; the input stays as it is.
type closer struct {
	root map[string]any
	// loose are formats that say nothing.
	loose []string
	names map[string]bool
	// problem is the first thing that would be read otherwise than it is meant.
	problem error
	// shapes are those of references, by their text.
	shapes map[string]shape
}

// reading is how a schema relates to the value that it is for.
type reading uint8

const (
	// asWritten is a schema that only decides, under if, not and contains.
	// Were it closed, it would decide otherwise than its author meant.
	asWritten reading = iota
	// shared is one of several schemas for the same value: it must not refuse
	// further properties, or it would refuse what its neighbours name.
	shared
	// whole is the only schema for its value: the place to refuse them.
	whole
)

// Where a keyword's value holds schemas, and how they are read: in a map by
// name, in a list, or as the value itself.
var (
	namedSchemas = map[string]reading{"properties": whole, "patternProperties": whole, "$defs": shared, "definitions": shared, "dependentSchemas": shared}
	listSchemas  = map[string]reading{"allOf": shared, "anyOf": shared, "oneOf": shared, "prefixItems": whole}
	oneSchema    = map[string]reading{
		"items": whole, "additionalProperties": whole, "unevaluatedProperties": whole, "unevaluatedItems": whole, "then": shared, "else": shared,
		"if": asWritten, "not": asWritten, "contains": asWritten, "propertyNames": asWritten}
)

// data are the keywords whose values are no schemas, whatever they look like.
var data = map[string]bool{"const": true, "default": true, "enum": true, "example": true, "examples": true, "dependentRequired": true}

// schema copies one schema. beside are the schemas around it that are for the
// same value.
func (c *closer) schema(s any, as reading, beside []map[string]any) any {
	in, ok := s.(map[string]any)
	if !ok {
		return s
	}
	c.refuse(in)
	in = draft7(in)
	out := make(map[string]any, len(in)+1)
	for keyword, value := range in {
		if how, ok := namedSchemas[keyword]; ok {
			out[keyword] = c.named(in, keyword, min(how, as.below()), beside)
		} else if how, ok := listSchemas[keyword]; ok {
			list, _ := value.([]any)
			copied := make([]any, len(list))
			for i, child := range list {
				copied[i] = c.child(in, keyword, child, min(how, as.below()), beside)
			}
			out[keyword] = copied
		} else if how, ok := oneSchema[keyword]; ok {
			out[keyword] = c.child(in, keyword, value, min(how, as.below()), beside)
		} else if _, nested := value.(map[string]any); nested && !data[keyword] {
			out[keyword] = c.schema(value, min(shared, as.below()), nil) // a reference may lead here
		} else if keyword != "$schema" && keyword != "$id" {
			out[keyword] = value
		}
	}
	_, additional := in["additionalProperties"]
	_, unevaluated := in["unevaluatedProperties"]
	if as == whole && !additional && !unevaluated {
		if shape := c.shape(in); shape.named && !shape.free {
			out["unevaluatedProperties"] = false
		}
	}
	_, items := in["items"]
	_, rest := in["unevaluatedItems"]
	if as == whole && !items && !rest {
		if shape := c.shape(in); shape.tuple && !shape.list {
			out["unevaluatedItems"] = false
		}
	}
	return out
}

// refuse notes what a schema says that would be read otherwise than it is meant.
func (c *closer) refuse(in map[string]any) {
	problem := func(format string, args ...any) {
		if c.problem == nil {
			c.problem = fmt.Errorf(format, args...)
		}
	}
	if dialect, ok := in["$schema"].(string); ok && !knownDialect(dialect) {
		problem("the schema dialect %q is not known: use %s", cut(dialect), draft2020)
	}
	if _, ok := in["$id"].(string); ok && !isRoot(in, c.root) {
		problem("a schema inside has an $id: references would lead elsewhere than within the whole")
	}
	for _, keyword := range []string{"$recursiveRef", "$dynamicRef"} {
		if _, ok := in[keyword].(string); ok {
			problem("a dynamic reference is not supported: %s", keyword)
		}
	}
	if format, ok := in["format"].(string); ok && !slices.Contains(Formats, format) && !slices.Contains(c.loose, format) {
		problem("the format %q is not known, and the bundle does not name it", cut(format))
	}
}

// isRoot reports whether a schema is the whole one.
func isRoot(in, root map[string]any) bool {
	return reflect.ValueOf(in).Pointer() == reflect.ValueOf(root).Pointer()
}

// below is the most that a schema under this one can be.
func (r reading) below() reading {
	if r == asWritten {
		return asWritten
	}
	return whole
}

// child copies a schema that stands under a keyword of another, for the same
// value or for one of its own.
func (c *closer) child(in map[string]any, keyword string, child any, as reading, beside []map[string]any) any {
	if as == shared {
		return c.schema(child, as, append(beside[:len(beside):len(beside)], in))
	}
	return c.own(child, as, beside, func(b map[string]any) any { return b[keyword] })
}

// own copies a schema that is for a value of its own, unless one of those
// beside its parent has a schema for that value too.
func (c *closer) own(child any, as reading, beside []map[string]any, of func(map[string]any) any) any {
	var others []map[string]any
	for _, b := range beside {
		if other, ok := of(b).(map[string]any); ok {
			others = append(others, other)
		}
	}
	if len(others) > 0 {
		as = min(as, shared)
	}
	return c.schema(child, as, others)
}

// named copies the schemas in a map.
func (c *closer) named(in map[string]any, keyword string, as reading, beside []map[string]any) any {
	children, ok := in[keyword].(map[string]any)
	if !ok {
		return in[keyword]
	}
	out := make(map[string]any, len(children))
	for name, child := range children {
		switch keyword {
		case "properties":
			c.names[name] = true
			out[name] = c.own(child, as, beside, func(b map[string]any) any {
				properties, _ := b["properties"].(map[string]any)
				return properties[name]
			})
		case "dependentSchemas":
			out[name] = c.child(in, keyword, child, as, beside)
		default:
			out[name] = c.schema(child, as, nil)
		}
	}
	return out
}

// shape says whether a schema, with all that shares its value, names properties,
// and whether part of it is an object about which it says nothing; likewise of the
// first elements of an array, and of a list.
type shape struct{ named, free, tuple, list bool }

func (c *closer) shape(s map[string]any) shape {
	_, properties := s["properties"]
	_, patterns := s["patternProperties"]
	_, first := s["prefixItems"]
	items, further := s["items"]
	_, old := items.([]any) // draft 7
	found := shape{named: properties || patterns, tuple: first || old, list: further && !old}
	alone := true
	visit := func(other shape) {
		alone = false
		found = shape{found.named || other.named, found.free || other.free, found.tuple || other.tuple, found.list || other.list}
	}
	child := func(s any) {
		if m, ok := s.(map[string]any); ok {
			visit(c.shape(m))
		}
	}
	for keyword, as := range listSchemas {
		if list, ok := s[keyword].([]any); ok && as == shared {
			for _, s := range list {
				child(s)
			}
		}
	}
	for _, keyword := range []string{"if", "then", "else"} {
		child(s[keyword])
	}
	if ref, ok := s["$ref"].(string); ok {
		visit(c.referred(ref))
	}
	if _, additional := s["additionalProperties"]; alone && !found.named && !additional && s["type"] == "object" {
		found.free = true
	}
	found.list = found.list || alone && !found.tuple && s["type"] == "array"
	return found
}

// referred is the shape of a reference, found once: references to references
// would otherwise be followed as often as there are ways. One that leads nowhere
// that is known here counts as naming properties.
func (c *closer) referred(ref string) shape {
	if known, ok := c.shapes[ref]; ok {
		return known
	}
	c.shapes[ref] = shape{named: true, tuple: true} // of a reference to itself too
	if target, ok := c.target(ref).(map[string]any); ok {
		c.shapes[ref] = c.shape(target)
	}
	return c.shapes[ref]
}

// target follows a reference within the schema; nil where there is nothing.
func (c *closer) target(ref string) any {
	path, ok := strings.CutPrefix(ref, "#")
	if !ok {
		return nil
	}
	if path != "" && path[0] != '/' {
		return anchored(c.root, path)
	}
	var at any = c.root
	for token := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if path == "" {
			break
		}
		token = document.Unescape(token)
		switch v := at.(type) {
		case map[string]any:
			at = v[token]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(v) {
				return nil
			}
			at = v[i]
		default:
			return nil
		}
	}
	return at
}

// anchored finds the schema with an anchor; nil: there is none.
func anchored(value any, anchor string) any {
	switch v := value.(type) {
	case map[string]any:
		if v["$anchor"] == anchor {
			return v
		}
		for _, child := range v {
			if found := anchored(child, anchor); found != nil {
				return found
			}
		}
	case []any:
		for _, child := range v {
			if found := anchored(child, anchor); found != nil {
				return found
			}
		}
	}
	return nil
}

// draft7 renames the keywords of draft 7 that 2020-12 spells differently.
func draft7(s map[string]any) map[string]any {
	list, tuple := s["items"].([]any)
	dependencies, depends := s["dependencies"].(map[string]any)
	if !tuple && !depends {
		return s
	}
	out := maps.Clone(s)
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
		required, schemas := copied(s["dependentRequired"]), copied(s["dependentSchemas"])
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

func copied(value any) map[string]any {
	out := map[string]any{}
	m, _ := value.(map[string]any)
	maps.Copy(out, m)
	return out
}
