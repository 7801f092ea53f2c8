package policy

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"pgregory.net/rapid"

	"github.com/writpdp/writ/server/decision"
)

// schemaOf is the resolved schema of one tool with an argument schema.
func schemaOf(t *testing.T, name, input string) string {
	t.Helper()
	typ, err := argumentType(value(t, input).(map[string]any))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return typ
}

func TestArgumentTypes(t *testing.T) {
	tests := []struct{ name, input, want string }{
		{"nothing", `{}`, `{}`},
		{"scalars", `{"properties":{"s":{"type":"string"},"i":{"type":"integer"},"n":{"type":"number"},"b":{"type":"boolean"}},"required":["s","n"]}`, `{ "b"?: Bool, "i"?: Long, "n": decimal, "s": String }`},
		{"null beside", `{"properties":{"a":{"type":["string","null"]},"b":{"type":["null"]},"c":{"type":["string","integer"]}},"required":["a"]}`, `{ "a"?: String }`},
		{"enumerations", `{"properties":{"a":{"enum":["x","y"]},"b":{"const":true},"c":{"enum":[1]},"d":{"enum":["x",null]},"e":{"enum":["x",1]}},"required":["a","b","d"]}`, `{ "a": String, "b": Bool, "d"?: String }`},
		{"arrays", `{"properties":{"a":{"type":"array","items":{"type":"string"}},"b":{"type":"array"},"c":{"type":"array","items":{"type":["string","null"]}},"d":{"type":"array","prefixItems":[{}],"items":{"type":"string"}},"e":{"type":"array","items":[{"type":"string"}]}}}`, `{ "a"?: Set<String> }`},
		{"arrays of arrays", `{"properties":{"a":{"type":"array","items":{"type":"array","items":{"type":"integer"}}},"b":{"type":"array","items":{"type":"object","properties":{"c":{"type":"array","items":{"type":"integer"}}}}}}}`, `{}`},
		{"objects", `{"properties":{"o":{"type":"object","properties":{"p":{"type":"object","properties":{}},"x":{"type":"string"}},"required":["x"]},"f":{"type":"object"}}}`, `{ "o"?: { "p"?: {}, "x": String } }`},
		{"alternatives", `{"properties":{"a":{"anyOf":[{"type":"string"},{"type":"null"}]},"b":{"oneOf":[{"type":"string"},{"const":"x"}]},"c":{"anyOf":[{"type":"string"},{"type":"integer"}]},"d":{"anyOf":[]}},"required":["a","b"]}`, `{ "a"?: String, "b": String }`},
		{"references", `{"$defs":{"a/b":{"type":"string"},"r":{"type":"object","properties":{"r":{"$ref":"#/$defs/r"}}}},"properties":{"a":{"$ref":"#/$defs/a~1b"},"b":{"$ref":"#/nowhere"},"c":{"$ref":"https://example.com"},"d":{"$ref":"#/$defs/r"}}}`,
			`{ "a"?: String, "d"?: { "r"?: { "r"?: { "r"?: {} } } } }`},
		{"names to be quoted", `{"properties":{"a\"b\\c":{"type":"string"},"\n\u0000\u007f\u00ad\ud83d\ude00é'":{"type":"string"},"":{"type":"string"},"if":{"type":"string"}}}`,
			`{ ""?: String, "\u{a}\u{0}\u{7f}\u{ad}😀é'"?: String, "a\"b\\c"?: String, "if"?: String }`},
		{"no schemas", `{"properties":{"a":true,"b":1,"c":null,"d":[]}}`, `{}`},
		{"nothing of use", `{"properties":[],"required":{}}`, `{}`},
	}
	for _, test := range tests {
		if got := schemaOf(t, test.name, test.input); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

// The schema has an action for a tool by whatever name, with its arguments by
// theirs, and nothing else: no name is read as text of the schema.
func TestNamesAreNoText(t *testing.T) {
	hostile := rapid.OneOf(
		rapid.SampledFrom([]string{`a"b`, `\`, `\"`, "\n", "a::b", `"; entity Evil; action "x`, `" in [x] appliesTo {`, "é", "\u202e", "😀", "\x00", `\u{41}`, `\x41`, "//", "/*", "*/", "'", "\u2028", "\ufffd", " "}),
		rapid.StringN(1, 20, -1))
	base := []byte(small()[fileSchema].Data)
	rapid.Check(t, func(t *rapid.T) {
		name, argument := strings.ToValidUTF8(hostile.Draw(t, "tool"), "?"), strings.ToValidUTF8(hostile.Draw(t, "argument"), "?")
		quoted, err := json.Marshal(argument)
		if err != nil {
			t.Fatal(err)
		}
		var input map[string]any
		if err := json.Unmarshal(fmt.Appendf(nil, `{"properties":{%s:{"type":"string"}}}`, quoted), &input); err != nil {
			t.Fatal(err)
		}
		generated, err := actions([]toolFacts{{tool: &decision.Tool{ToolName: decision.ToolName{Server: "s", Name: name}}, input: input}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		s, err := resolve("x", base, generated)
		if err != nil {
			t.Fatalf("%v in\n%s", err, generated)
		}
		action, ok := s.Actions[cedar.NewEntityUID(typeAction, cedar.String("s/"+name))]
		if !ok || len(s.Actions) != 4 || len(s.Entities) != 5 {
			t.Fatalf("%d actions and %d entities of\n%s", len(s.Actions), len(s.Entities), generated)
		}
		if _, ok := action.AppliesTo.Context["args"]; !ok || !strings.Contains(fmt.Sprint(action.AppliesTo.Context["args"].Type), argument) {
			t.Fatalf("the arguments are %v", action.AppliesTo.Context["args"].Type)
		}
	})
}

// The whole schema of a bundle is one that Cedar reads again.
func TestSchema(t *testing.T) {
	text, err := Schema(small())
	if err != nil {
		t.Fatal(err)
	}
	var s schema.Schema
	if err := s.UnmarshalCedar(text); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if _, err := s.Resolve(); err != nil {
		t.Error(err)
	}
	for _, want := range []string{`action "s/t" in ["s", "read-only"]`, `"n"?: Long`, "entity Agent in [Team]"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("there is no %s in\n%s", want, text)
		}
	}
	for _, file := range []string{fileSchema, "tools/s.json", fileTools} {
		if _, err := Schema(broken(map[string]string{file: "{{{"})); err == nil {
			t.Errorf("a broken %s has a schema", file)
		}
	}
}
