package content_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/writpdp/writ/server/content"
)

// definitions are n definitions called d0, d1 and so on, each made from the
// name of the next, and a last one.
func definitions(n int, schema func(next string) string, last string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"d%d":%s,`, i, schema(fmt.Sprintf(`{"$ref":"#/$defs/d%d"}`, i+1)))
	}
	fmt.Fprintf(&b, `"d%d":%s`, n, last)
	return b.String()
}

// Schemas that double with each reference are refused at once, or cost no more
// than what they say.
func TestSchemasThatGrow(t *testing.T) {
	const last = `{"type":"object","properties":{"x":{}}}`
	tests := []struct {
		name, definitions string
		want              string // empty: it compiles
	}{
		{"allOf twice", definitions(40, func(next string) string { return `{"allOf":[` + next + `,` + next + `]}` }, last), "too many"},
		{"anyOf twice", definitions(40, func(next string) string { return `{"anyOf":[` + next + `,` + next + `]}` }, last), "too many"},
		{"if, then and else", definitions(40, func(next string) string { return `{"if":` + next + `,"then":` + next + `,"else":` + next + `}` }, last), "too many"},
		{"a chain", definitions(1000, func(next string) string { return next }, last), "too many"},
		{"a short chain", definitions(60, func(next string) string { return next }, last), ""},
		{"properties twice", definitions(40, func(next string) string { return `{"properties":{"a":` + next + `,"b":` + next + `}}` }, last), ""},
		{"a property twice", definitions(40, func(next string) string {
			return `{"anyOf":[{"properties":{"a":` + next + `}},{"properties":{"a":` + next + `}}]}`
		}, last), ""},
		{"all for all", func() string {
			var refs []string
			for i := range 30 {
				refs = append(refs, fmt.Sprintf(`{"$ref":"#/$defs/e%d"}`, i))
			}
			var b strings.Builder
			for layer := range 40 {
				fmt.Fprintf(&b, `"l%d":{"properties":{"a":{"$ref":"#/$defs/l%d"}},"anyOf":[%s]},`, layer, layer+1, strings.Join(refs, ","))
			}
			for i := range 30 {
				fmt.Fprintf(&b, `"e%d":{"properties":{"p%d":{"const":%d}}},`, i, i, i)
			}
			return b.String() + `"d0":{"$ref":"#/$defs/l0"},"l40":{}`
		}(), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := content.Compile(parse(t, `{"$defs":{`+test.definitions+`},"properties":{"o":{"$ref":"#/$defs/d0"}}}`))
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// A filter as tools have them: a tree in which the same name leads on in two of
// the alternatives. Each level would double the work.
const filter = `{
	"$defs": {"f": {"anyOf": [
		{"properties": {"op": {"const": "and"}, "of": {"items": {"$ref": "#/$defs/f"}}}, "required": ["op", "of"]},
		{"properties": {"op": {"const": "or"}, "of": {"items": {"$ref": "#/$defs/f"}}}, "required": ["op", "of"]},
		{"properties": {"field": {"type": "string"}}, "required": ["field"]}
	]}},
	"properties": {"filter": {"$ref": "#/$defs/f"}}
}`

func deepFilter(levels int) string {
	return `{"filter":` + strings.Repeat(`{"op":"or","of":[`, levels) + `{"field":"a"}` + strings.Repeat(`]}`, levels) + `}`
}

func TestDeepArgumentsOfRecursiveSchemas(t *testing.T) {
	s := compile(t, filter)
	for _, levels := range []int{0, 1, 5, 8} {
		if found := s.Check(parse(t, deepFilter(levels))); found != nil {
			t.Errorf("%d levels: %v", levels, found)
		}
	}
	found := s.Check(parse(t, deepFilter(31)))
	if len(found) != 1 || found[0].String() != "the arguments: schema (the document is too large or too deep for it)" {
		t.Errorf("got %v", found)
	}
	// A tree whose branches have names of their own doubles nothing.
	tree := compile(t, `{"properties":{"v":{"type":"integer"},"left":{"$ref":"#"},"right":{"$ref":"#"}}}`)
	arguments := strings.Repeat(`{"v":1,"left":`, 60) + `{"right":{"v":2}}` + strings.Repeat(`}`, 60)
	if found := tree.Check(parse(t, arguments)); found != nil {
		t.Errorf("a tree: %v", found)
	}
}

func TestLargeArguments(t *testing.T) {
	schema := compile(t, `{"properties":{"l":{"type":"array","items":{"type":"object","properties":{"id":{"type":"integer"},"name":{"type":"string"}},"required":["id"]}}}}`)
	arguments := `{"l":[` + strings.Repeat(`{"id":1,"name":"x"},`, 50_000) + `{"id":2}]}`
	if found := schema.Check(parse(t, arguments)); found != nil {
		t.Errorf("an array of a MiB: %v", found)
	}
	// Every element against every value of an enumeration is another matter.
	var values []string
	for i := range 1000 {
		values = append(values, fmt.Sprintf("%q", fmt.Sprint("v", i)))
	}
	schema = compile(t, `{"properties":{"l":{"items":{"enum":[`+strings.Join(values, ",")+`]}}}}`)
	if found := schema.Check(parse(t, `{"l":[`+strings.Repeat(`"v999",`, 1000)+`"v0"]}`)); found != nil {
		t.Errorf("an array of a thousand values: %v", found)
	}
	if found := schema.Check(parse(t, `{"l":[`+strings.Repeat(`"v999",`, 100_000)+`"v0"]}`)); found == nil {
		t.Error("a hundred million comparisons")
	}
}

func BenchmarkCheckAtTheBound(b *testing.B) {
	for _, test := range []struct{ name, schema, arguments string }{
		{"filter", filter, deepFilter(13)},
		{"filters", filter, `{"filter":{"op":"or","of":[` + strings.Repeat(strings.TrimSuffix(strings.TrimPrefix(deepFilter(8), `{"filter":`), "}")+",", 80) + `{"field":"a"}]}}`},
		{"patterns", `{"additionalProperties":{"allOf":[` + strings.Repeat(`{"pattern":"^([a-z]+[0-9]?)*x$"},`, 40) + `{}]}}`, `{"s":"` + strings.Repeat("a", 1<<20) + `"}`},
		{"wide", `{"additionalProperties":{"allOf":[` + strings.Repeat(`{"type":"string"},`, 20) + `{}]}}`, func() string {
			var names []string
			for i := range 90_000 {
				names = append(names, fmt.Sprintf(`"%d":"x"`, i))
			}
			return "{" + strings.Join(names, ",") + "}"
		}()},
	} {
		b.Run(test.name, func(b *testing.B) {
			s, d := compile(b, test.schema), parse(b, test.arguments)
			b.ReportAllocs()
			for b.Loop() {
				if found := s.Check(d); len(found) == 1 && found[0].Keyword == "schema" {
					b.Log("refused")
				}
			}
		})
	}
}
