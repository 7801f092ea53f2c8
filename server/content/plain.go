package content

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// plain is a schema that says nothing but types, properties, which of them are
// required, elements and enums, as those of most tools do. It says yes without
// the bookkeeping that the errors of a validator need, and only where it is sure:
// whatever else, valid or not, is for the validator.
type plain struct {
	any      bool     // it says nothing at all
	types    []string // none: any
	members  map[string]*plain
	required []string
	elements *plain // nil: any
	enum     []any  // nil: any
}

// plainKeywords are the fields of a compiled schema that plain reads, and those
// that say nothing of values. Further properties need not be read, for plain
// knows those that are named alone.
var plainKeywords = strings.Fields(`Bool Types Properties Required AdditionalProperties UnevaluatedProperties Items2020 Enum
	DraftVersion Location Title Description Default Comment ReadOnly WriteOnly Examples Deprecated`)

// plainOf is nil for a schema that says more.
func plainOf(s *jsonschema.Schema) *plain {
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() && !v.Field(i).IsZero() && !slices.Contains(plainKeywords, f.Name) {
			return nil
		}
	}
	if s.Bool != nil && !*s.Bool {
		return nil
	}
	p := &plain{any: s.Bool != nil, members: map[string]*plain{}, required: s.Required}
	if s.Types != nil {
		p.types = s.Types.ToStrings()
	}
	if s.Enum != nil {
		p.enum = s.Enum.Values
	}
	for name, member := range s.Properties {
		if p.members[name] = plainOf(member); p.members[name] == nil {
			return nil
		}
	}
	if s.Items2020 != nil {
		if p.elements = plainOf(s.Items2020); p.elements == nil {
			return nil
		}
	}
	return p
}

// takes reports whether a value surely fits; false says nothing.
func (p *plain) takes(value any) bool {
	if p.any {
		return true
	}
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			if known := p.members[name]; known == nil || !known.takes(member) {
				return false
			}
		}
		for _, name := range p.required {
			if _, ok := v[name]; !ok {
				return false
			}
		}
		return p.is("object") && p.enum == nil
	case []any:
		for _, element := range v {
			if p.elements != nil && !p.elements.takes(element) {
				return false
			}
		}
		return p.is("array") && p.enum == nil
	case string:
		return p.is("string") && (p.enum == nil || slices.Contains(p.enum, value))
	case json.Number:
		// As a document spells it, an integer is digits alone.
		return (p.is("number") || p.is("integer") && strings.Trim(string(v), "-0123456789") == "") && p.enum == nil
	case bool:
		return p.is("boolean") && p.enum == nil
	}
	return false
}

func (p *plain) is(name string) bool { return len(p.types) == 0 || slices.Contains(p.types, name) }
