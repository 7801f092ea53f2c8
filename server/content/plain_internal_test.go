package content

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/writpdp/writ/document"
)

func compiled(t interface{ Fatal(...any) }, schema string) *Schema {
	d, err := document.Parse([]byte(schema))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Compile(d)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A schema that says more than types, properties and enums is no plain one,
// wherever it does.
func TestPlainSchemas(t *testing.T) {
	for schema, want := range map[string]bool{
		`{}`: true,
		`{"type":"object","title":"t","description":"d","properties":{"a":{"type":["string","null"],"default":1},"b":{"enum":["x"]},"c":{"items":{"type":"integer"}}},"required":["a"],"additionalProperties":false}`: true,
		`{"properties":{"a":{"minLength":1}}}`: false, `{"properties":{"a":{"items":{"maximum":1}}}}`: false, `{"properties":{"a":{"const":1}}}`: false,
		`{"properties":{"a":{"format":"date"}}}`: false, `{"properties":{"a":true}}`: true, `{"properties":{"a":false}}`: false, `{"properties":{"a":{"prefixItems":[{}]}}}`: false,
		`{"$defs":{"a":{}},"properties":{"a":{"$ref":"#/$defs/a"}}}`: false, `{"anyOf":[{"properties":{"a":{}}}]}`: false, `{"minProperties":1,"properties":{"a":{}}}`: false,
		`{"properties":{"a":{"not":{}}}}`: false, `{"properties":{"a":{"uniqueItems":true}}}`: false, `{"patternProperties":{"a":{}}}`: false,
	} {
		if got := compiled(t, schema).plain != nil; got != want {
			t.Errorf("%s: got %v, want %v", schema, got, want)
		}
	}
}

// Whatever a plain schema and a document are: what the plain one takes, the
// validator takes.
func TestPlainAgreesWithValidator(t *testing.T) {
	names := []string{"a", "b", "c"}
	var schema func(t *rapid.T, depth int) string
	schema = func(t *rapid.T, depth int) string {
		kinds := []string{`{}`, `{"type":"string"}`, `{"type":"integer"}`, `{"type":"number"}`, `{"type":"boolean"}`, `{"type":["string","integer"]}`, `{"type":"null"}`, `{"enum":["x","y"]}`, `{"enum":["x",1]}`,
			`{"type":"string","enum":["x"]}`, `{"type":"array"}`, `{"type":"object"}`}
		kind := rapid.IntRange(0, len(kinds)+3).Draw(t, "kind")
		switch {
		case kind < len(kinds):
			return kinds[kind]
		case depth == 0:
			return `{}`
		case kind == len(kinds):
			return fmt.Sprintf(`{"items":%s}`, schema(t, depth-1))
		}
		required, more := rapid.SampledFrom([]string{``, `"required":["a"],`, `"required":["b","c"],`}).Draw(t, "required"), rapid.SampledFrom([]string{``, `"additionalProperties":false,`, `"additionalProperties":true,`, `"additionalProperties":{"type":"string"},`, `"type":"object",`}).Draw(t, "more")
		return fmt.Sprintf(`{%s%s"properties":{"a":%s,"b":%s}}`, required, more, schema(t, depth-1), schema(t, depth-1))
	}
	var value func(t *rapid.T, depth int) string
	value = func(t *rapid.T, depth int) string {
		leaves := []string{`"x"`, `"z"`, `""`, `1`, `-7`, `1.0`, `1.5`, `1e3`, `1e21`, `true`, `null`, `[]`, `{}`, `0`, `-0.0`, `1e-7`}
		kind := rapid.IntRange(0, len(leaves)+5).Draw(t, "kind")
		switch {
		case kind < len(leaves):
			return leaves[kind]
		case depth == 0:
			return `"y"`
		case kind == len(leaves):
			return fmt.Sprintf(`[%s,%s]`, value(t, depth-1), value(t, depth-1))
		}
		members := map[string]string{}
		for range rapid.IntRange(0, 3).Draw(t, "members") {
			members[rapid.SampledFrom(names).Draw(t, "name")] = value(t, depth-1)
		}
		text := ""
		for _, name := range slices.Sorted(maps.Keys(members)) {
			text += fmt.Sprintf(`,%q:%s`, name, members[name])
		}
		return "{" + text[min(1, len(text)):] + "}"
	}
	yes := 0
	rapid.Check(t, func(t *rapid.T) {
		s := compiled(t, schema(t, 3))
		if s.plain == nil {
			t.Fatal("no plain schema")
		}
		d, err := document.Parse([]byte(value(t, 3)))
		if err != nil {
			t.Fatal(err)
		}
		if s.plain.takes(d.Value()) {
			yes++
			if err := s.compiled.Validate(d.Value()); err != nil {
				t.Fatalf("%s is taken: %v", d.Canonical(), err)
			}
		}
	})
	if yes == 0 {
		t.Error("nothing was taken")
	}
}
