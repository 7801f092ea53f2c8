package content_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/writpdp/writ/server/content"
)

func TestViolations(t *testing.T) {
	const unknown = "a property that the schema does not name"
	tests := []struct {
		name, schema, arguments string
		want                    []string
	}{
		{"nothing", `{"properties":{"a":{}}}`, `{"a":1}`, nil},
		{"a type", `{"properties":{"a":{"type":["string","null"]}}}`, `{"a":1}`, []string{"/a: type (null or string)"}},
		{"a missing property", `{"properties":{"a":{},"b":{}},"required":["a","b"]}`, `{}`, []string{"the arguments: required (a, b)"}},
		{"a missing property inside", `{"properties":{"l":{"items":{"required":["x"]}}}}`, `{"l":[{"x":1},{}]}`, []string{"/l/1: required (x)"}},
		{"dependent properties", `{"properties":{"a":{},"b":{}},"dependentRequired":{"a":["b"]}}`, `{"a":1}`, []string{"the arguments: dependentRequired (b)"}},
		{"an unknown property", `{"properties":{"a":{}}}`, `{"b":1}`, []string{"the arguments: " + unknown}},
		{"an unknown property inside", `{"properties":{"a":{"properties":{"b":{}}}}}`, `{"a":{"c":1,"d":2}}`, []string{"/a: " + unknown}},
		{"an unknown property of a closed schema", `{"properties":{"a":{"additionalProperties":false}}}`, `{"a":{"c":1}}`, []string{"/a: " + unknown}},
		{"below an unknown name", `{"additionalProperties":{"type":"object","additionalProperties":{"type":"string"}}}`, `{"4111111111111111":{"0":1}}`, []string{"/*/*: type (string)"}},
		{"below an element", `{"properties":{"l":{"items":{"items":{"type":"string"}}}}}`, `{"l":[["a"],["b",1]]}`, []string{"/l/1/1: type (string)"}},
		{"a name that is forbidden", `{"properties":{"a":false}}`, `{"a":1}`, []string{"/a: false"}},
		{"an element that is forbidden", `{"properties":{"l":{"prefixItems":[{}],"items":false}}}`, `{"l":[1,2]}`, []string{"/l/1: false"}},
		{"an element of no tuple", `{"properties":{"l":{"prefixItems":[{}]}}}`, `{"l":[1,"hunter2"]}`, []string{"/l: an element beyond those that the schema names"}},
		{"an enumeration", `{"properties":{"a":{"enum":["usd","eur",1,null,true,{"x":1},[2]]}}}`, `{"a":"gbp"}`, []string{"/a: enum (usd, eur, 1, <nil>, true, …, …)"}},
		{"a constant", `{"properties":{"a":{"const":"x"}}}`, `{"a":"y"}`, []string{"/a: const (x)"}},
		{"a format", `{"properties":{"a":{"format":"date-time"},"b":{"format":"email"},"c":{"format":"uri"},"d":{"format":"uuid"},"e":{"format":"ipv4"}}}`,
			`{"a":"today","b":"x","c":"x","d":"x","e":"::1"}`, []string{"/a: format (date-time)", "/b: format (email)", "/c: format (uri)", "/d: format (uuid)", "/e: format (ipv4)"}},
		{"formats that are kept", `{"properties":{"a":{"format":"date-time"},"b":{"format":"email"},"c":{"format":"uri"},"d":{"format":"loose"}}}`,
			`{"a":"2026-11-23T10:00:00Z","b":"a@example.org","c":"https://example.org/","d":"x"}`, nil},
		{"a pattern", `{"properties":{"a":{"pattern":"^[a-z]+$"}}}`, `{"a":"A"}`, []string{"/a: pattern (^[a-z]+$)"}},
		{"a regular expression that is none", `{"properties":{"a":{"format":"regex"}}}`, `{"a":"("}`, []string{"/a: format (regex)"}},
		{"a regular expression that is long", `{"properties":{"a":{"format":"regex"}}}`, `{"a":"` + strings.Repeat("a?", 10_000) + `"}`, []string{"/a: format (regex)"}},
		{"bounds", `{"properties":{"a":{"minimum":1},"b":{"maxLength":1},"c":{"minItems":1},"d":{"multipleOf":0.1},"e":{"exclusiveMaximum":1},"f":{"uniqueItems":true}}}`,
			`{"a":0,"b":"xx","c":[],"d":0.25,"e":1,"f":[1,1.0]}`,
			[]string{"/a: minimum", "/b: maxLength", "/c: minItems", "/d: multipleOf", "/e: exclusiveMaximum", "/f: uniqueItems"}},
		{"numbers that are equal", `{"properties":{"a":{"type":"integer"},"b":{"enum":[100]},"c":{"const":1}}}`, `{"a":1.0,"b":1e2,"c":10e-1}`, nil},
		{"names", `{"properties":{"o":{"additionalProperties":true,"propertyNames":{"pattern":"^[a-z]$"}}}}`, `{"o":{"hunter2":1}}`, []string{"/o: propertyNames"}},
		{"not", `{"properties":{"a":{"not":{"const":1}}}}`, `{"a":1}`, []string{"/a: not"}},
		{"two of one", `{"properties":{"a":{"oneOf":[{"type":"integer"},{"minimum":0}]}}}`, `{"a":1}`, []string{"/a: oneOf"}},
		{"none of any", `{"properties":{"a":{"anyOf":[{"type":"integer"},{"type":"null"}]}}}`, `{"a":"x"}`, []string{"/a: type (integer)", "/a: type (null)"}},
		{"nothing contained", `{"properties":{"a":{"contains":{"const":1}}}}`, `{"a":[]}`, []string{"/a: contains"}},
		{"names to be escaped", `{"properties":{"a/b~c":{"type":"string"}}}`, `{"a/b~c":1}`, []string{"/a~1b~0c: type (string)"}},
		{"eight of many", `{"properties":{"l":{"items":{"type":"string"}}}}`, `{"l":[1,2,3,4,5,6,7,8,9,10,11,12]}`,
			[]string{"/l/0: type (string)", "/l/1: type (string)", "/l/10: type (string)", "/l/11: type (string)", "/l/2: type (string)", "/l/3: type (string)", "/l/4: type (string)", "/l/5: type (string)"}},
		{"no object", `{"type":"object"}`, `[]`, []string{"the arguments: type (object)"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			schema, err := content.Compile(parse(t, test.schema), "loose")
			if err != nil {
				t.Fatal(err)
			}
			arguments := parse(t, test.arguments)
			for range 20 { // a decision must not depend on the order of a map
				var got []string
				for _, v := range schema.Check(arguments) {
					got = append(got, v.String())
				}
				if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
					t.Fatalf("-want +got:\n%s", diff)
				}
			}
		})
	}
}

// Nothing of the caller's is in a violation, neither values nor names, and
// nothing of the schema's is long.
func TestViolationsHoldNothingOfTheCaller(t *testing.T) {
	const canary = "4111111111111111"
	long := strings.Repeat("é", 500)
	schema := compile(t, fmt.Sprintf(`{
		"properties": {
			"s": {"type": "string", "maxLength": 3, "pattern": "^(%[1]s)?$", "format": "date", "enum": ["a", %[2]q], "const": %[2]q},
			"n": {"type": "integer", "maximum": 1, "multipleOf": 7, "enum": [1]},
			"o": {"properties": {"x": {}}, "propertyNames": {"maxLength": 1}, "minProperties": 9, "dependentRequired": {"x": ["y"]}},
			"m": {"additionalProperties": {"type": "boolean"}},
			"l": {"items": {"type": "boolean"}, "uniqueItems": true, "contains": {"const": 1}, "maxItems": 1},
			%[2]q: {"properties": {%[2]q: {"type": "string"}}}
		},
		"allOf": [{"not": {"required": ["s"]}}, {"oneOf": [{}, {}]}],
		"if": {"required": ["s"]}, "then": {"required": ["z"]}
	}`, long, long))
	for _, arguments := range []string{
		`{"s":"` + canary + `","n":` + canary + `,"o":{"` + canary + `":1,"x":2},"m":{"` + canary + `":"` + canary + `"},"l":["` + canary + `","` + canary + `"]}`,
		`{"` + canary + `":1}`, `{"o":{"` + canary + `":{"` + canary + `":1}}}`, `{"m":{"` + canary + `":{"0":` + canary + `}}}`, `{"s":{"` + canary + `":1},"n":["` + canary + `"]}`,
		`{"` + long + `":{"` + long + `":1}}`,
	} {
		found := schema.Check(parse(t, arguments))
		if len(found) == 0 || len(found) > 8 {
			t.Errorf("%.80s: %d violations", arguments, len(found))
		}
		for _, v := range found {
			if strings.Contains(v.String(), canary) || strings.Contains(fmt.Sprintf("%#v", v), canary) {
				t.Errorf("the violation holds a value or a name: %s", v)
			}
			if len(v.String()) > 600 {
				t.Errorf("a violation of %d bytes: %s", len(v.String()), v)
			}
		}
	}
}

func TestViolationString(t *testing.T) {
	for v, want := range map[content.Violation]string{
		{Keyword: "type", Detail: "string"}: "the arguments: type (string)",
		{Pointer: "/a", Keyword: "not"}:     "/a: not",
	} {
		if got := v.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
