package content_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/content"
)

func parse(t testing.TB, data string) *document.Document {
	t.Helper()
	d, err := document.Parse([]byte(data))
	if err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	return d
}

func compile(t testing.TB, schema string) *content.Schema {
	t.Helper()
	s, err := content.Compile(parse(t, schema))
	if err != nil {
		t.Fatalf("%s: %v", schema, err)
	}
	return s
}

// What schemas that say nothing of further properties take and refuse.
func TestClosing(t *testing.T) {
	tests := []struct {
		name, schema  string
		takes, refuse []string
	}{
		{"nothing said", `{"type":"object","properties":{"a":{"type":"string"}}}`, []string{`{}`, `{"a":"x"}`}, []string{`{"b":1}`, `{"a":"x","b":1}`}},
		{"an empty schema", `{}`, []string{`{}`}, []string{`{"a":1}`}},
		{"only a type", `{"type":"object"}`, []string{`{}`}, []string{`{"a":1}`}},
		{"additional ones refused", `{"properties":{"a":{}},"additionalProperties":false}`, []string{`{"a":1}`}, []string{`{"b":1}`}},
		{"additional ones taken", `{"properties":{"a":{}},"additionalProperties":true}`, []string{`{"a":1,"b":[{}]}`}, nil},
		{"additional ones of a type", `{"properties":{"a":{}},"additionalProperties":{"type":"string"}}`, []string{`{"a":1,"b":"x"}`}, []string{`{"b":1}`}},
		{"additional ones that are objects", `{"additionalProperties":{"properties":{"x":{}}}}`, []string{`{"b":{"x":1}}`}, []string{`{"b":{"y":1}}`}},
		{"unevaluated ones taken", `{"properties":{"a":{}},"unevaluatedProperties":true}`, []string{`{"b":1}`}, nil},
		{"patterns", `{"properties":{"o":{"patternProperties":{"^x-":{"type":"string"}}}}}`, []string{`{"o":{"x-a":"b"}}`}, []string{`{"o":{"a":"b"}}`, `{"o":{"x-a":1}}`}},
		{"a free object inside", `{"properties":{"o":{"type":"object"}}}`, []string{`{"o":{"any":{"thing":1}}}`}, []string{`{"x":1}`}},
		{"an object without properties inside", `{"properties":{"o":{"type":"object","properties":{}}}}`, []string{`{"o":{}}`}, []string{`{"o":{"any":1}}`}},
		{"a nested object", `{"properties":{"o":{"properties":{"p":{"properties":{"x":{}}}}}}}`, []string{`{"o":{"p":{"x":1}}}`}, []string{`{"o":{"p":{"y":1}}}`, `{"o":{"q":1}}`}},
		{"nested arrays", `{"properties":{"l":{"items":{"items":{"properties":{"x":{}}}}}}}`, []string{`{"l":[[{"x":1}],[]]}`}, []string{`{"l":[[{"x":1,"y":1}]]}`}},
		{"a tuple", `{"properties":{"l":{"prefixItems":[{"properties":{"x":{}}}],"items":{"properties":{"y":{}}}}}}`, []string{`{"l":[{"x":1},{"y":1}]}`}, []string{`{"l":[{"y":1}]}`, `{"l":[{},{"x":1}]}`}},
		{"a tuple of draft 7", `{"$schema":"http://json-schema.org/draft-07/schema#","properties":{"l":{"items":[{"properties":{"x":{}}}],"additionalItems":{"type":"string"}}}}`,
			[]string{`{"l":[{"x":1},"s"]}`}, []string{`{"l":[{"y":1}]}`, `{"l":[{},1]}`}},
		{"a tuple of draft 7 that is all", `{"properties":{"l":{"items":[{"type":"string"}],"additionalItems":false}}}`, []string{`{"l":["a"]}`}, []string{`{"l":["a","b"]}`}},
		{"dependencies of draft 7", `{"properties":{"a":{},"b":{},"c":{}},"dependencies":{"a":["b"],"b":{"required":["c"]}},"dependentRequired":{"c":["a"]}}`,
			[]string{`{"a":1,"b":1,"c":1}`, `{}`}, []string{`{"a":1}`, `{"b":1}`, `{"c":1}`, `{"a":1,"b":1}`}},
		{"a dependent schema's properties", `{"properties":{"a":{}},"dependentSchemas":{"a":{"properties":{"b":{"type":"string"}}}}}`, []string{`{"a":1,"b":"x"}`}, []string{`{"b":"x"}`, `{"a":1,"c":1}`}},
		{"allOf", `{"allOf":[{"properties":{"a":{}}},{"properties":{"b":{}}}],"properties":{"c":{}}}`, []string{`{"a":1,"b":2,"c":3}`}, []string{`{"d":1}`}},
		{"anyOf", `{"anyOf":[{"properties":{"a":{}},"required":["a"]},{"properties":{"b":{}},"required":["b"]}]}`, []string{`{"a":1}`, `{"b":1}`, `{"a":1,"b":1}`}, []string{`{"a":1,"c":1}`, `{}`}},
		{"oneOf", `{"oneOf":[{"properties":{"k":{"const":"x"},"x":{}},"required":["k"]},{"properties":{"k":{"const":"y"},"y":{}},"required":["k"]}]}`,
			[]string{`{"k":"x","x":1}`, `{"k":"y","y":1}`}, []string{`{"k":"x","y":1}`, `{"k":"z"}`}},
		{"anyOf with a free object", `{"properties":{"o":{"anyOf":[{"type":"object"},{"properties":{"a":{}}}]}}}`, []string{`{"o":{"b":1}}`}, nil},
		{"anyOf with null", `{"properties":{"o":{"anyOf":[{"properties":{"a":{}},"type":"object"},{"type":"null"}]}}}`, []string{`{"o":null}`, `{"o":{"a":1}}`}, []string{`{"o":{"b":1}}`}},
		{"references", `{"$defs":{"p":{"properties":{"x":{"$ref":"#/$defs/q"}}},"q":{"properties":{"y":{}}}},"properties":{"o":{"$ref":"#/$defs/p"}}}`,
			[]string{`{"o":{"x":{"y":1}}}`}, []string{`{"o":{"x":{"z":1}}}`, `{"o":{"y":1}}`}},
		{"a reference and more", `{"definitions":{"p":{"properties":{"x":{}}}},"properties":{"o":{"$ref":"#/definitions/p","properties":{"y":{}}}}}`, []string{`{"o":{"x":1,"y":1}}`}, []string{`{"o":{"z":1}}`}},
		{"a reference by an anchor", `{"$defs":{"p":{"$anchor":"P","properties":{"x":{}}}},"properties":{"o":{"$ref":"#P"}}}`, []string{`{"o":{"x":1}}`}, []string{`{"o":{"z":1}}`}},
		{"a reference into a list", `{"properties":{"a":{"anyOf":[{"properties":{"x":{}}}]},"b":{"$ref":"#/properties/a/anyOf/0"}}}`, []string{`{"b":{"x":1}}`}, []string{`{"b":{"z":1}}`}},
		{"a reference to where no schema belongs", `{"components":{"schemas":{"p":{"properties":{"x":{"properties":{"y":{}}}}}}},"properties":{"o":{"$ref":"#/components/schemas/p"}}}`,
			[]string{`{"o":{"x":{"y":1}}}`}, []string{`{"o":{"x":{"z":1}}}`, `{"o":{"z":1}}`}},
		{"a reference to an escaped name", `{"$defs":{"a/b~":{"properties":{"x":{}}}},"properties":{"o":{"$ref":"#/$defs/a~1b~0"}}}`, []string{`{"o":{"x":1}}`}, []string{`{"o":{"z":1}}`}},
		{"a recursive reference", `{"properties":{"v":{},"next":{"$ref":"#"}}}`, []string{`{"v":1,"next":{"next":{"v":2}}}`}, []string{`{"next":{"next":{"w":2}}}`}},
		{"a property called properties", `{"properties":{"properties":{"properties":{"properties":{"type":"string"}}}}}`, []string{`{"properties":{"properties":"x"}}`}, []string{`{"properties":{"items":1}}`, `{"items":1}`}},
		{"properties called as keywords are", `{"properties":{"items":{"type":"string"},"$ref":{"type":"string"},"not":{"properties":{"enum":{}}},"$id":{"type":"string"}}}`,
			[]string{`{"items":"a","$ref":"b","not":{"enum":1},"$id":"c"}`}, []string{`{"not":{"x":1}}`, `{"$ref":1}`, `{"allOf":1}`}},
		{"data that looks like a schema", `{"properties":{"a":{"const":{"properties":{"x":1}}},"b":{"enum":[{"properties":{}}]},"c":{"default":{"$ref":"https://example.com"}}}}`,
			[]string{`{"a":{"properties":{"x":1}},"b":{"properties":{}},"c":1}`}, []string{`{"a":{"properties":{}}}`}},
		{"not", `{"properties":{"a":{},"b":{}},"not":{"required":["a","b"]}}`, []string{`{"a":1}`}, []string{`{"a":1,"b":1}`, `{"c":1}`}},
		{"not decides as it is written", `{"properties":{"o":{}},"not":{"properties":{"o":{"properties":{"x":{"const":1}}}},"required":["o"]}}`, []string{`{"o":{"x":2}}`}, []string{`{"o":{"x":1}}`, `{"o":{"x":1,"y":1}}`}},
		{"if, then and else", `{"properties":{"k":{}},"if":{"properties":{"k":{"const":1}},"required":["k"]},"then":{"properties":{"a":{}}},"else":{"properties":{"b":{}}}}`,
			[]string{`{"k":1,"a":1}`, `{"k":2,"b":1}`}, []string{`{"k":1,"b":1}`, `{"k":2,"a":1}`}},
		{"if decides as it is written", `{"properties":{"o":{"properties":{"c":{},"s":{}}},"vat":{}},"if":{"properties":{"o":{"properties":{"c":{"const":"DE"}}}}},"then":{"required":["vat"]}}`,
			[]string{`{"o":{"c":"DE","s":1},"vat":1}`, `{"o":{"c":"FR","s":1}}`}, []string{`{"o":{"c":"DE","s":1}}`, `{"o":{"z":1},"vat":1}`}},
		{"contains decides as it is written", `{"properties":{"l":{"contains":{"properties":{"x":{"const":1}},"required":["x"]},"maxContains":1}}}`, []string{`{"l":[{"x":1,"y":1}]}`}, []string{`{"l":[{"x":1,"y":1},{"x":1,"y":2}]}`}},
		{"a branch that says more of the same object", `{"properties":{"o":{"properties":{"c":{},"s":{}}}},"anyOf":[{"properties":{"o":{"properties":{"c":{"const":1}}}}}]}`, []string{`{"o":{"c":1,"s":1}}`}, []string{`{"o":{"c":1,"z":1}}`}},
		{"then says more of the same elements", `{"properties":{"l":{"items":{"properties":{"c":{},"s":{}}}}},"if":true,"then":{"properties":{"l":{"items":{"properties":{"c":{"type":"string"}}}}}}}`,
			[]string{`{"l":[{"c":"x","s":1}]}`}, []string{`{"l":[{"c":1}]}`, `{"l":[{"z":1}]}`}},
		{"its own $id", `{"$id":"https://example.com/tool","$schema":"https://json-schema.org/draft/2020-12/schema","$defs":{"p":{"properties":{"x":{}}}},"properties":{"o":{"$ref":"#/$defs/p"}}}`,
			[]string{`{"o":{"x":1}}`}, []string{`{"o":{"z":1}}`}},
		{"a tuple closes", `{"properties":{"l":{"prefixItems":[{},{}]}}}`, []string{`{"l":[1,2]}`, `{"l":[1]}`}, []string{`{"l":[1,2,3]}`}},
		{"a tuple with further elements", `{"properties":{"l":{"prefixItems":[{}],"items":{"type":"string"}},"m":{"prefixItems":[{}],"unevaluatedItems":true}}}`, []string{`{"l":[1,"a"],"m":[1,2,3]}`}, []string{`{"l":[1,2]}`}},
		{"a tuple in parts", `{"properties":{"l":{"allOf":[{"prefixItems":[{}]},{"prefixItems":[{},{}]}]}}}`, []string{`{"l":[1,2]}`}, []string{`{"l":[1,2,3]}`}},
		{"a tuple behind a reference", `{"$defs":{"p":{"prefixItems":[{}]}},"properties":{"l":{"$ref":"#/$defs/p"}}}`, []string{`{"l":[1]}`}, []string{`{"l":[1,2]}`}},
		{"a tuple or any list", `{"properties":{"l":{"anyOf":[{"type":"array"},{"prefixItems":[{}]}]}}}`, []string{`{"l":[1,2]}`}, nil},
		{"a tuple under not", `{"properties":{"l":{"type":"array","not":{"prefixItems":[{"const":1}],"minItems":1}}}}`, []string{`{"l":[2,2]}`}, []string{`{"l":[1,2]}`}},
		{"an old tuple closes", `{"properties":{"l":{"items":[{}]}}}`, []string{`{"l":[1]}`}, []string{`{"l":[1,2]}`}},
		{"true and false", `{"properties":{"a":true,"b":false}}`, []string{`{"a":[1]}`}, []string{`{"b":1}`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in := parse(t, test.schema)
			s, err := content.Compile(in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(parse(t, test.schema).Value(), in.Value()); diff != "" {
				t.Errorf("the schema was changed: %s", diff)
			}
			for _, arguments := range test.takes {
				if found := s.Check(parse(t, arguments)); found != nil {
					t.Errorf("%s is refused: %v", arguments, found)
				}
			}
			for _, arguments := range test.refuse {
				if found := s.Check(parse(t, arguments)); found == nil {
					t.Errorf("%s is taken", arguments)
				}
			}
		})
	}
}
