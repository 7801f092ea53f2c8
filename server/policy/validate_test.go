package policy

import (
	"strings"
	"testing"
)

// Where Cedar's Go validator falls short of the one in Rust. When it does not any
// more, this fails: docs/policy-author.md says the same, and lints may stand in.
func TestValidatorFallsShort(t *testing.T) {
	schema := string(small()[fileSchema].Data) + "entity Color enum [\"red\"];\nentity Box = { c: Color };\n"
	const policy = "@id(\"a\")\npermit (principal, action, resource) when { "
	taken := map[string]map[string]string{
		"an id that an enumerated type does not list":              {"cedar/a.cedar": policy + "Color::\"blue\" == Color::\"red\" };"},
		"one in an entity":                                         {fileEntities: `[{"uid":{"type":"Color","id":"blue"},"attrs":{},"parents":[]}]`},
		"one in an attribute":                                      {fileEntities: `[{"uid":{"type":"Box","id":"b"},"attrs":{"c":{"__entity":{"type":"Color","id":"blue"}}},"parents":[]}]`},
		"a policy that matches nothing, of which Rust warns":       {"cedar/a.cedar": policy + "false };"},
		"text in two directions, of which Rust warns":              {"cedar/a.cedar": policy + "context.purpose == \"a\u202eb\" };"},
		"a word in two scripts, of which Rust warns":               {"cedar/a.cedar": policy + "context.purpose == \"p\u0430y\" };"},
		"attributes of entities of entities, at any level of them": {fileSchema: schema + "entity Deep = { next?: Deep };", "cedar/a.cedar": policy + "Deep::\"x\" has next && Deep::\"x\".next has next && Deep::\"x\".next.next has next };"},
	}
	for name, changes := range taken {
		if _, ok := changes[fileSchema]; !ok {
			changes[fileSchema] = schema
		}
		if _, err := Load(broken(changes)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	refused := map[string]string{
		"permit (principal == ?principal, action, resource);":                                                            "expected ident", // a template
		"permit (principal, action, resource) when { ip(\"1.2.3.4\").isInRange(ip(\"1.0.0.0/8\"), ip(\"2.0.0.0/8\")) };": "wrong number of arguments",
	}
	for text, want := range refused {
		if _, err := Load(broken(map[string]string{"cedar/a.cedar": "@id(\"a\")\n" + text})); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
