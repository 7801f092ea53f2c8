package partial

import (
	"encoding/json"

	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"github.com/writpdp/writ/document"
)

// Filler puts values of a declared type, and of no meaning, into the places of
// what is withheld of a document.
type Filler struct {
	// Label is of the document, in the labels of its values.
	Label string
	// Checked says that the document fits a JSON Schema that the type was made
	// from, if it is to be allowed at all.
	Checked bool
	// Doubt is the label of something withheld that may not fit the type; empty:
	// there is none.
	Doubt string
}

// Fill returns a value, as document.Document.Value has it, without anything
// withheld, and enters in u what was.
func (f *Filler) Fill(typ resolved.IsType, value any, u *Unknown) any {
	return f.fill(typ, value, u, nil)
}

func (f *Filler) fill(typ resolved.IsType, value any, u *Unknown, at []byte) any {
	switch v := value.(type) {
	case document.Withheld:
		u.Label = f.label(at)
		if !f.sure(typ, len(at) == 0) {
			f.Doubt = u.Label
		}
		return dummy(typ)
	case map[string]any:
		if typ, ok := typ.(resolved.RecordType); ok {
			return f.object(typ, v, u, at)
		}
	case []any:
		if typ, ok := typ.(resolved.SetType); ok && document.HoldsWithheld(v) {
			u.Label = f.label(at)
			for _, element := range v {
				f.fill(typ.Element, element, &Unknown{}, at)
			}
			return []any{}
		}
	}
	return value
}

func (f *Filler) object(typ resolved.RecordType, members map[string]any, u *Unknown, at []byte) any {
	_, others := members[document.Others]
	filled := make(map[string]any, len(typ))
	for name, attribute := range typ {
		below := document.AppendToken(at[:len(at):len(at)], string(name))
		member, there := members[string(name)]
		switch {
		case there && document.HoldsWithheld(member):
			filled[string(name)] = f.fill(attribute.Type, member, u.At(name), below)
		case there:
			filled[string(name)] = member
		case others:
			u.At(name).Label, u.At(name).Absent = f.label(below), true
			filled[string(name)] = dummy(attribute.Type)
			if !f.Checked || !f.sure(attribute.Type, false) {
				f.Doubt = f.label(below)
			}
		}
	}
	return filled
}

func (f *Filler) label(at []byte) string {
	if len(at) == 0 {
		return f.Label
	}
	return f.Label + " " + string(at)
}

// sure reports whether any value in a place fits its type. What is withheld of a
// document that no schema was made for is a text or the whole of it.
func (f *Filler) sure(typ resolved.IsType, whole bool) bool {
	switch typ := typ.(type) {
	case resolved.StringType, resolved.EntityType:
		return f.Checked || !whole
	case resolved.LongType, resolved.BoolType:
		return f.Checked
	case resolved.RecordType:
		for _, attribute := range typ {
			if !f.Checked || !f.sure(attribute.Type, false) {
				return false
			}
		}
		return f.Checked
	case resolved.SetType:
		_, sets := typ.Element.(resolved.SetType)
		_, records := typ.Element.(resolved.RecordType)
		return f.Checked && !sets && !records && f.sure(typ.Element, false)
	}
	return false // a decimal can be out of range, a text be none of an extension's
}

// dummy is a value of a type.
func dummy(typ resolved.IsType) any {
	switch typ := typ.(type) {
	case resolved.BoolType:
		return false
	case resolved.LongType:
		return json.Number("0")
	case resolved.RecordType:
		members := make(map[string]any, len(typ))
		for name, attribute := range typ {
			members[string(name)] = dummy(attribute.Type)
		}
		return members
	case resolved.SetType:
		return []any{}
	case resolved.ExtensionType:
		return map[resolved.ExtensionType]any{"decimal": json.Number("0"), "ipaddr": "0.0.0.0", "datetime": "1970-01-01", "duration": "0ms"}[typ]
	}
	return ""
}
