package content_test

import (
	"testing"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/content"
)

// Whatever a schema says, compiling it and checking against it come to an end
// and say something short.
func FuzzCompile(f *testing.F) {
	for _, seed := range []string{
		filter, `{"type":"object","properties":{"a":{"items":[{"pattern":"^a"}]}}}`, `{"$ref":"#"}`, `{"$defs":{"a":{"$anchor":"b"}},"not":{"$ref":"#b"}}`,
		`{"dependencies":{"a":["b"],"c":{}}}`, `{"if":{},"then":{"enum":[1]},"else":{"const":null}}`, `{"properties":{"a":{"oneOf":[{"$ref":"#/properties/a"}]}}}`,
		`{"prefixItems":[true,false],"unevaluatedItems":{}}`, `{"patternProperties":{"^x":{"$ref":"#"}},"propertyNames":{"format":"regex"}}`,
	} {
		f.Add([]byte(seed), []byte(`{"a":[{"b":"x"}],"filter":{"op":"and","of":[]}}`))
	}
	f.Fuzz(func(t *testing.T, schema, arguments []byte) {
		s, err := document.Parse(schema)
		if err != nil {
			return
		}
		d, err := document.Parse(arguments)
		if err != nil {
			return
		}
		compiled, err := content.Compile(s)
		if err != nil {
			return
		}
		for _, v := range compiled.Check(d) {
			if len(v.String()) > 1024 {
				t.Errorf("a violation of %d bytes", len(v.String()))
			}
		}
	})
}
