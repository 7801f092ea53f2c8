package content_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/writpdp/writ/server/content"
)

// A schema that leads out of itself is refused, and nothing is opened to find
// that out.
func TestReferencesOutOfTheSchema(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		_, _ = w.Write([]byte(`{}`))
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "schema.json")
	if err := os.WriteFile(file, []byte(`{"type":"object"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, schema := range map[string]string{
		"a file":                    `{"$ref":"file://` + file + `"}`,
		"a path":                    `{"$ref":"` + file + `"}`,
		"a relative path":           `{"$ref":"reference_test.go"}`,
		"an address":                `{"$ref":"` + server.URL + `/schema.json"}`,
		"an address inside":         `{"properties":{"a":{"items":{"$ref":"` + server.URL + `#/x"}}}}`,
		"an address behind a base":  `{"$id":"` + server.URL + `/","$ref":"schema.json"}`,
		"a base inside":             `{"properties":{"a":{"$id":"` + server.URL + `/","$ref":"schema.json"}}}`,
		"under not":                 `{"not":{"$ref":"` + server.URL + `"}}`,
		"a dynamic one":             `{"$dynamicRef":"` + server.URL + `#meta"}`,
		"a dynamic one within":      `{"$dynamicAnchor":"n","properties":{"a":{"$dynamicRef":"#n"}}}`,
		"the meta-schema":           `{"properties":{"a":{"$ref":"https://json-schema.org/draft/2020-12/schema"}}}`,
		"the meta-schema of old":    `{"properties":{"a":{"$ref":"http://json-schema.org/draft-07/schema#"}}}`,
		"its own base, absolutely":  `{"$id":"https://example.com/tool","$defs":{"p":{}},"$ref":"https://example.com/tool#/$defs/p"}`,
		"a meta-schema of its own":  `{"properties":{"a":{"$id":"x","$schema":"` + server.URL + `","$ref":"x"}}}`,
		"nowhere":                   `{"$ref":"#/$defs/none"}`,
		"an anchor that nobody has": `{"$ref":"#none"}`,
	} {
		if _, err := content.Compile(parse(t, schema)); err == nil {
			t.Errorf("%s was compiled: %s", name, schema)
		}
	}
	if asked > 0 {
		t.Errorf("the server was asked %d times", asked)
	}
}

func TestCompileRefuses(t *testing.T) {
	tests := []struct{ name, schema, want string }{
		{"no object", `true`, "not a JSON object"},
		{"another dialect", `{"$schema":"http://json-schema.org/draft-04/schema#"}`, "dialect"},
		{"a dialect of its own", `{"$schema":"https://example.com/schema"}`, "dialect"},
		{"a type that is none", `{"type":"integre"}`, "type"},
		{"a keyword of the wrong type", `{"properties":{"a":{"minLength":"1"}}}`, "minLength"},
		{"properties that are none", `{"properties":[]}`, "properties"},
		{"a schema that is none", `{"properties":{"a":1}}`, "properties/a"},
		{"a list of no schemas", `{"anyOf":[]}`, "anyOf"},
		{"a list that is none", `{"allOf":{}}`, "allOf"},
		{"a pattern that looks ahead", `{"properties":{"a":{"pattern":"^(?!x)"}}}`, "^(?!x)"},
		{"a pattern that refers back", `{"properties":{"a":{"patternProperties":{"(a)\\1":{}}}}}`, `(a)\\1`},
		{"a pattern that is broken", `{"properties":{"a":{"pattern":"["}}}`, "pattern"},
		{"a pattern that is long", `{"properties":{"a":{"pattern":"` + strings.Repeat("a", 4097) + `"}}}`, "longer than 4096 bytes"},
		{"a pattern that repeats too much", `{"properties":{"a":{"pattern":"((a{100}){100}){100}"}}}`, "pattern"},
		{"a pattern that repeats within repeats", `{"properties":{"a":{"pattern":"^((ab?){30}){50}$"}}}`, "invalid repeat count"},
		{"patterns that repeat within repeats", `{"patternProperties":{"(([a-z]{10}){10}){10}|(([b-z]{10}){10}){10}|(([c-z]{10}){10}){10}":{}}}`, "more than 4096 instructions"},
		{"many patterns", `{"properties":{` + strings.TrimSuffix(manyPatterns(80), ",") + `}}`, "more than 65536 instructions together"},
		{"a format that is none", `{"properties":{"a":{"type":"string","format":"e-mail"}}}`, `the format "e-mail" is not known`},
		{"a format of another trade", `{"properties":{"a":{"type":"integer","format":"int64"}}}`, `the format "int64" is not known`},
		{"an $id inside", `{"$defs":{"p":{"$id":"https://example.com/p","properties":{"x":{"$ref":"#/$defs/q"}}},"q":{}},"properties":{"o":{"$ref":"#/$defs/p"}}}`, "inside has an $id"},
		{"an $id where no schema belongs", `{"components":{"p":{"$id":"p"}},"$ref":"#/components/p"}`, "inside has an $id"},
		{"another dialect inside", `{"properties":{"a":{"$schema":"http://json-schema.org/draft-04/schema#","exclusiveMinimum":3}}}`, "dialect"},
		{"a recursive reference of draft 2019-09", `{"properties":{"a":{"$recursiveRef":"#"}}}`, "$recursiveRef"},
		{"a dynamic reference", `{"$defs":{"n":{"$dynamicAnchor":"n"}},"properties":{"a":{"$dynamicRef":"#n"}}}`, "$dynamicRef"},
		{"a bound of draft 4", `{"properties":{"a":{"minimum":1,"exclusiveMinimum":true}}}`, "exclusiveMinimum"},
		{"too many values", `{"enum":[` + strings.Repeat("1,", 4000) + `1]}`, "more than 4000 values"},
		{"a reference to itself", `{"$ref":"#"}`, "itself for the same value"},
		{"a reference to itself by others", `{"$defs":{"a":{"allOf":[{"$ref":"#/$defs/b"}]},"b":{"not":{"$ref":"#/$defs/a"}}},"properties":{"x":{"$ref":"#/$defs/a"}}}`, "itself for the same value"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, err := content.Compile(parse(t, test.schema)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want something about %q", err, test.want)
			}
		})
	}
}

// manyPatterns are n properties with a pattern of a thousand characters each.
func manyPatterns(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"p%d":{"pattern":"^.{0,999}$"},`, i)
	}
	return b.String()
}

// What a regular expression costs, a large document shows: it is refused at once.
func TestPatternsAreBounded(t *testing.T) {
	schema := compile(t, `{"properties":{"a":{"type":"string","pattern":"(.{1,900}x)"},"b":{"pattern":"^[a-z ]*$"},"c":{"format":"regex"}}}`)
	if found := schema.Check(parse(t, `{"a":"`+strings.Repeat("y", 1<<20)+`"}`)); len(found) != 1 || found[0].Detail != "the document is too large or too deep for it" {
		t.Errorf("got %v", found)
	}
	if found := schema.Check(parse(t, `{"a":"`+strings.Repeat("y", 4<<10)+`x","b":"`+strings.Repeat("z", 4<<10)+`"}`)); found != nil {
		t.Errorf("got %v", found)
	}
	plain := compile(t, `{"properties":{"b":{"pattern":"^[a-z ]*$"}}}`)
	if found := plain.Check(parse(t, `{"b":"`+strings.Repeat("z", 1<<20)+`"}`)); found != nil {
		t.Errorf("got %v", found)
	}
	for _, expression := range []string{"((a{100}){10}){10}", "(", `(?!x)`} {
		if found := schema.Check(parse(t, `{"c":"`+expression+`"}`)); len(found) != 1 || found[0].Keyword != "format" {
			t.Errorf("%s: got %v", expression, found)
		}
	}
}
