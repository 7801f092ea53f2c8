// Package result knows what MCP tools answer (2025-11-25): the result object, its
// content blocks, and structured content that a tool's own schema describes. It is
// pure, and says nothing of values.
package result

import (
	"fmt"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/content"
)

// Form is how far a content is a tool result of MCP.
type Form uint8

// The forms, from good to bad.
const (
	// Whole is a tool result, every block of which is of a type that MCP has.
	Whole Form = iota + 1
	// Unknown is one with blocks of other types.
	Unknown
	// Foreign is something else: a text, or a document of another shape.
	Foreign
)

// Misfit is one thing that is wrong with a content as a tool result.
type Misfit = content.Violation

// maxMisfits is how many are told.
const maxMisfits = 8

// FormOf says what a content is, and what is wrong with it where it is no whole
// result. nil is a text.
func FormOf(d *document.Document) (Form, []Misfit) {
	if d == nil {
		return Foreign, []Misfit{{Keyword: "no tool result of MCP", Detail: "it is a text"}}
	}
	members, ok := d.Value().(map[string]any)
	if !ok {
		return Foreign, []Misfit{{Keyword: "no tool result of MCP", Detail: "it is no object"}}
	}
	r := reader{form: Whole}
	blocks, ok := members["content"].([]any)
	if !ok {
		r.foreign("/content", "no array of blocks")
	}
	if structured, there := members["structuredContent"]; there {
		if _, ok := structured.(map[string]any); !ok {
			r.foreign("/structuredContent", "no object")
		}
	}
	if failed, there := members["isError"]; there {
		if _, ok := failed.(bool); !ok {
			r.foreign("/isError", "neither true nor false")
		}
	}
	if meta, there := members["_meta"]; there {
		if _, ok := meta.(map[string]any); !ok {
			r.foreign("/_meta", "no object")
		}
	}
	if kind, there := members["resultType"]; there && kind != "complete" {
		r.foreign("/resultType", "a result that is not complete")
	}
	for i, block := range blocks {
		r.block(fmt.Sprintf("/content/%d", i), block)
	}
	return r.form, r.found
}

type reader struct {
	form  Form
	found []Misfit
}

func (r *reader) foreign(pointer, what string) {
	if r.form != Foreign { // what was found of unknown types matters no more
		r.form, r.found = Foreign, nil
	}
	r.add(Misfit{Pointer: pointer, Keyword: "no tool result of MCP", Detail: what})
}

func (r *reader) add(m Misfit) {
	if len(r.found) < maxMisfits {
		r.found = append(r.found, m)
	}
}

// members are, by a block's type, those that it must have, all of them strings.
var members = map[string][]string{"text": {"text"}, "image": {"data", "mimeType"}, "audio": {"data", "mimeType"}, "resource_link": {"uri", "name"}, "resource": {}}

func (r *reader) block(pointer string, block any) {
	m, ok := block.(map[string]any)
	if !ok {
		r.foreign(pointer, "a block that is no object")
		return
	}
	kind, ok := m["type"].(string)
	if !ok {
		r.foreign(pointer, "a block without a type")
		return
	}
	wanted, known := members[kind]
	if !known {
		if r.form == Whole {
			r.form = Unknown
		}
		if r.form == Unknown {
			r.add(Misfit{Pointer: pointer, Keyword: "a block of a type that MCP does not have"})
		}
		return
	}
	r.strings(pointer, m, wanted)
	if kind != "resource" {
		return
	}
	resource, ok := m["resource"].(map[string]any)
	if !ok {
		r.foreign(pointer+"/resource", "no object")
		return
	}
	r.strings(pointer+"/resource", resource, []string{"uri"})
	_, text := resource["text"].(string)
	_, blob := resource["blob"].(string)
	if text == blob {
		r.foreign(pointer+"/resource", "not either a text or a blob")
	}
}

func (r *reader) strings(pointer string, m map[string]any, names []string) {
	for _, name := range names {
		if _, ok := m[name].(string); !ok {
			r.foreign(pointer+"/"+name, "no string")
		}
	}
}

// Misfits are what breaks a tool's schema for structured content in a tool result:
// at most 8. It must be there, but in a result that says isError, which must fit all
// the same where it has one: what a server calls an error is no way around. No
// schema: there is nothing to fit.
func Misfits(schema *content.Schema, d *document.Document) []Misfit {
	if schema == nil {
		return nil
	}
	if d == nil {
		return []Misfit{{Keyword: "required", Detail: "structuredContent"}}
	}
	members, _ := d.Value().(map[string]any)
	if _, there := members["structuredContent"]; !there {
		if members["isError"] == true {
			return nil
		}
		return []Misfit{{Keyword: "required", Detail: "structuredContent"}}
	}
	return schema.CheckMember(d, "structuredContent")
}

// Limits bound a result; a field that is 0 bounds nothing.
type Limits struct {
	// Bytes is the size of the content, Values how many values, members and elements
	// a document has, Depth how deep it is nested.
	Bytes, Values, Depth int64
}

// Tighter are the limits of both.
func (l Limits) Tighter(other Limits) Limits {
	return Limits{tighter(l.Bytes, other.Bytes), tighter(l.Values, other.Values), tighter(l.Depth, other.Depth)}
}

func tighter(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// Beyond says which limits a size is beyond; empty: none.
func (l Limits) Beyond(size Limits) []string {
	var beyond []string
	for _, one := range []struct {
		name        string
		limit, size int64
	}{{"bytes", l.Bytes, size.Bytes}, {"values", l.Values, size.Values}, {"levels", l.Depth, size.Depth}} {
		if one.limit > 0 && one.size > one.limit {
			beyond = append(beyond, fmt.Sprintf("more than %d %s", one.limit, one.name))
		}
	}
	return beyond
}

// Looked is what was seen of a content as a tool result, which a record keeps.
type Looked struct {
	Form Form
	Size Limits
	// Schema says that the tool has a schema for results, and Fits that the content
	// fits it.
	Schema, Fits bool
}
