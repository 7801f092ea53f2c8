package lint_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/lint"
)

// small is a bundle in which nothing is found, with some files replaced.
func small(changes map[string]string) fstest.MapFS {
	files := fstest.MapFS{}
	texts := map[string]string{
		"writ.yaml": "version: 1\nname: small\n",
		"schema.cedarschema": "entity Team;\nentity Agent in [Team] = { level: Long };\nentity Human in [Team];\nentity Server;\nentity Thing in [Team] = { hot: Bool };\nentity Color enum [\"red\"];\n" +
			"entity Destination = { host: String, vendor: String, region: String };\ntype Extra = { limit?: Long, color?: Color };\n",
		"entities.json": `[{"uid":{"type":"Team","id":"t"},"attrs":{},"parents":[]},{"uid":{"type":"Agent","id":"a"},"attrs":{"level":1},"parents":[{"type":"Team","id":"t"}]}]`,
		"tools.yaml":    "s:\n  read: { classes: [read-only] }\n  wipe: { classes: [destructive] }\n  move: { classes: [write], resources: [Thing] }\n",
		"purposes.yaml": "p:\n  tools: [s/read, s/wipe, s/move, z/add]\nq:\n  tools: [s/read]\n",
		"cedar/a.cedar": "@id(\"base\") @owner(\"o\")\npermit (principal, action == Action::\"s/read\", resource)\nwhen { context.purpose == \"p\" };\n",
		"tools/s.json": `{"server":"s","tools":[
  {"name":"read","inputSchema":{"type":"object","properties":{"path":{"type":"string"},"deep":{"type":"object","properties":{"card":{"type":"integer"}}}}},
   "outputSchema":{"type":"object","properties":{"rows":{"type":"array","items":{"type":"object","properties":{"phone":{"type":"string"}}}}}}},
  {"name":"wipe","inputSchema":{"type":"object","properties":{"n":{"type":"integer"}}}},
  {"name":"move","inputSchema":{"type":"object","properties":{"to":{"type":"string"}}},"annotations":{"destructiveHint":true}}]}`,
		"tools/z.json": `{"server":"z","tools":[
  {"name":"add","inputSchema":{"type":"object"}},
  {"name":"drop","inputSchema":{"type":"object"},"annotations":{"destructiveHint":true}}]}`,
	}
	for name, text := range changes {
		texts[name] = text
	}
	for name, text := range texts {
		files[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o444}
	}
	return files
}

func check(t *testing.T, changes map[string]string) []lint.Finding {
	t.Helper()
	src, err := policy.Read(small(changes))
	if err != nil {
		t.Fatal(err)
	}
	return lint.Check(src)
}

// found writes findings as lines.
func found(all []lint.Finding) string {
	var b strings.Builder
	for _, f := range all {
		fmt.Fprintf(&b, "%s %s %s %q %s\n", f.At(), f.Severity, f.Code, f.Policy, f.Text)
	}
	return b.String()
}

const (
	read = "(principal, action == Action::\"s/read\", resource)"
	wipe = "(principal, action == Action::\"s/wipe\", resource)"
	when = " when { context.purpose == \"p\" };"
)

// The policies of a case are owned and called one, two, …, and stand alone.
var cases = []struct {
	code, name string
	policies   []string
	files      map[string]string
	// want is a part of the only finding; empty: there is none.
	want string
}{
	{"invalid", "a wrong type", []string{"permit " + read + " when { context.purpose == 1 };"}, nil, `cedar/a.cedar:1:1 error invalid "one" The policy is not valid: `},
	{"invalid", "an optional attribute", []string{"permit " + wipe + " when { context.args.n > 1 };"}, nil, "unable to guarantee safety"},
	{"invalid", "a route to nobody", []string{"@obligate(\"route\") @region(\"eu\") permit " + read + when}, nil, `no vendor is "" with the region "eu"`},
	{"invalid", "a valid policy", []string{"permit " + wipe + " when { context.args has n && context.args.n > 1 };"}, nil, ""},

	{"unknown-tool", "in the scope", []string{"permit (principal, action == Action::\"s/reed\", resource)" + when}, nil, `cedar/a.cedar:1:1 error unknown-tool "one" No manifest has a tool for Action::"s/reed".`},
	{"unknown-tool", "in a set", []string{"permit (principal, action in [Action::\"s/read\", Action::\"w/x\"], resource)" + when}, nil, `Action::"w/x"`},
	{"unknown-tool", "in a condition", []string{"permit (principal, action, resource) when { action == Action::\"w/x\" };"}, nil, `Action::"w/x"`},
	{"unknown-tool", "a server and a class", []string{"permit (principal, action in [Action::\"s\", Action::\"read-only\"], resource) when { context.purpose == \"q\" };"}, nil, ""},

	{"enum-id", "in a condition", []string{"permit " + read + " when { context.extra has color && context.extra.color == Color::\"blue\" };"}, nil, `error enum-id "one" The schema lists no Color::"blue".`},
	{"enum-id", "in entities.json", []string{"permit " + read + when}, map[string]string{"entities.json": `[{"uid":{"type":"Thing","id":"x"},"attrs":{"hot":true,"paint":[{"__entity":{"type":"Color","id":"blue"}}]},"parents":[]}]`,
		"schema.cedarschema": strings.Replace(string(small(nil)["schema.cedarschema"].Data), "hot: Bool", "hot: Bool, paint: Set<Color>", 1)}, `entities.json:1:2 error enum-id "" The entity Thing::"x" names Color::"blue"`},
	{"enum-id", "one that is listed", []string{"permit " + read + " when { context.extra has color && context.extra.color == Color::\"red\" };"}, nil, ""},

	{"always-fails", "an overflow", []string{"forbid " + read + " when { 9223372036854775807 + 1 > 0 };"}, nil, "error always-fails \"one\" Every call of s/read on a Server is denied by an error: `9223372036854775807 + 1` is an error whatever comes."},
	{"always-fails", "an agent that is not declared", []string{"permit (principal == Agent::\"b\", action == Action::\"s/read\", resource) when { principal.level > 1 };"}, nil, ""},
	{"always-fails", "a server without attributes", []string{"permit " + read + " when { Agent::\"b\".level > 1 };"}, nil, "which entities.json does not declare"},
	{"always-fails", "after what can fail", []string{"forbid " + read + " when { [principal.level].contains(9223372036854775807 + 1) };"}, nil, "`9223372036854775807 + 1` is an error whatever comes"},
	{"always-fails", "behind a condition", []string{"forbid " + read + " when { context has session && 9223372036854775807 + 1 > 0 };"}, nil, ""},

	{"can-fail", "an overflow", []string{"forbid " + wipe + " when { context.args has n && context.args.n * 100 > 5 };"}, nil, "warning can-fail \"one\" `context.args.n * 100` can overflow 64 bits"},
	{"can-fail", "in a permit", []string{"permit " + wipe + " when { context.args has n && context.args.n + 1 > 5 };"}, nil, "note can-fail"},
	{"can-fail", "what is bounded", []string{"forbid " + wipe + " when { context.args has n && context.args.n < 1000 && context.args.n > 0 && context.args.n * 100 > 500 };"}, nil, ""},
	{"can-fail", "what the tool bounds", []string{"forbid " + wipe + " when { context.args has n && context.args.n * 100 > 5 };"},
		map[string]string{"tools/s.json": strings.Replace(string(small(nil)["tools/s.json"].Data), `"n":{"type":"integer"}`, `"n":{"type":"integer","minimum":0,"maximum":1000}`, 1)}, ""},
	{"can-fail", "an agent's attribute", []string{"forbid " + read + " when { principal.level > 3 };"}, nil, "`principal.level` is of an entity Agent that entities.json may not declare"},
	{"can-fail", "an agent's attribute that is asked for", []string{"forbid " + read + " when { principal has level && principal.level > 3 };"}, nil, ""},
	{"can-fail", "a resource's attribute", []string{"forbid (principal, action == Action::\"s/move\", resource is Thing) when { resource.hot };"}, nil, ""},
	{"can-fail", "a moment", []string{"forbid " + read + " when { context.now.offset(duration(\"1d\")) > datetime(\"2026-01-01\") };"}, nil, "can leave the range of time"},

	{"never-matches", "a contradiction", []string{"permit " + read + " when { context.purpose == \"p\" && context.purpose == \"q\" };"}, nil, "warning never-matches \"one\" No request matches it: `context.purpose == \"q\"` is never true there."},
	{"never-matches", "a contradiction across conditions", []string{"forbid " + read + " when { context has session } unless { context has session };"}, nil, "never-matches"},
	{"never-matches", "the wrong server", []string{"permit (principal, action == Action::\"s/read\", resource == Server::\"z\")" + when}, nil, "`resource == Server::\"z\"` is never true there"},
	{"never-matches", "a team that nobody is in", []string{"permit (principal in Team::\"u\", action == Action::\"s/read\", resource)" + when}, nil, "`principal in Team::\"u\"` is never true there"},
	{"never-matches", "an agent that is in no team", []string{"permit (principal == Agent::\"b\", action == Action::\"s/read\", resource) when { principal in Team::\"t\" };"}, nil, "never-matches"},
	{"never-matches", "the content of a call", []string{"permit " + read + " when { context.phase == \"CALL\" && context has content };"}, nil, "`context has content` is never true there"},
	{"never-matches", "a phase that tools have not", []string{"permit " + read + " when { context.phase == \"PROMPT\" };"}, nil, "never-matches"},
	{"never-matches", "a tool that no purpose grants", []string{"permit (principal, action == Action::\"z/drop\", resource);"}, nil, "No purpose that it could match grants a tool that it is for."},
	{"never-matches", "a purpose that does not grant the tool", []string{"permit " + wipe + " when { context.purpose == \"q\" };"}, nil, "No purpose that it could match grants a tool that it is for."},
	{"never-matches", "a contradiction about a tool that no purpose grants", []string{"permit (principal, action in Action::\"z\", resource) when { context has session && !(context has session) };"}, nil, "`!(context has session)` is never true there"},
	{"never-matches", "a group without tools", []string{"permit (principal, action in Action::\"wide\", resource)" + when}, map[string]string{"schema.cedarschema": string(small(nil)["schema.cedarschema"].Data) + "action \"wide\" appliesTo { principal: [Agent], resource: [Server], context: {purpose: String} };\n"}, "Its scope fits no action that is ever asked for."},
	{"never-matches", "numbers", []string{"permit " + wipe + " when { context.args has n && context.args.n > 5 && context.args.n < 5 };"}, nil, "`context.args.n < 5` is never true there"},
	{"never-matches", "what matches", []string{"permit (principal in Team::\"t\", action == Action::\"s/read\", resource == Server::\"s\") when { context.phase == \"RESULT\" && context has content };"}, nil, ""},
	{"never-matches", "a resource of its own", []string{"permit (principal, action == Action::\"s/move\", resource is Thing)" + when}, nil, ""},
	{"never-matches", "prompts and connections", []string{"permit (principal, action in [Action::\"prompt\", Action::\"connect\"], resource)" + when}, nil, ""},

	{"shadowed", "a permit in a wider one", []string{"permit " + read + ";", "permit " + read + " when { context has session };"}, nil, `warning shadowed "two" It permits nothing that "one" at cedar/a.cedar:1:1 does not.`},
	{"shadowed", "a permit twice", []string{"permit " + read + when, "permit " + read + when}, nil, `"two" It permits nothing that "one"`},
	{"shadowed", "clauses in another order", []string{"permit " + read + " when { context has session && context has ticket };", "permit " + read + " when { context has ticket } unless { context has onBehalfOf || !(context has session) };"}, nil, `"two" It permits nothing that "one"`},
	{"shadowed", "an agent in a team", []string{"permit (principal == Agent::\"a\", action == Action::\"s/read\", resource)" + when, "permit (principal in Team::\"t\", action in Action::\"read-only\", resource)" + when}, nil, `"one" It permits nothing that "two"`},
	{"shadowed", "another agent", []string{"permit (principal == Agent::\"b\", action == Action::\"s/read\", resource)" + when, "permit (principal in Team::\"t\", action == Action::\"s/read\", resource)" + when}, nil, ""},
	{"shadowed", "another condition", []string{"permit " + read + " when { context has session };", "permit " + read + " when { context has ticket };"}, nil, ""},
	{"shadowed", "more actions", []string{"permit " + read + when, "permit (principal, action in [Action::\"s/read\", Action::\"z/add\"], resource) when { context.purpose == \"p\" && context has session };"}, nil, ""},
	{"shadowed", "a narrower resource", []string{"permit (principal, action == Action::\"s/move\", resource is Thing)" + when, "permit (principal, action == Action::\"s/move\", resource)" + when}, nil, `"one" It permits nothing that "two"`},
	{"shadowed", "an obligation", []string{"permit " + read + when, "@obligate(\"watermark\") @text(\"t\") permit " + read + when}, nil, ""},
	{"shadowed", "a forbid", []string{"permit " + read + when, "forbid (principal, action in Action::\"s\", resource);"}, nil, `"one" Whatever it permits, "two" at cedar/a.cedar:4:1 forbids.`},
	{"shadowed", "a forbid on its condition", []string{"permit " + read + when, "forbid " + read + when}, nil, `Whatever it permits, "two"`},
	{"shadowed", "two forbids", []string{"permit (principal, action in [Action::\"s/read\", Action::\"z/add\"], resource)" + when, "forbid " + read + ";", "forbid (principal, action == Action::\"z/add\", resource);"}, nil, `"one" Whatever it permits`},
	{"shadowed", "a forbid of a part", []string{"permit (principal, action in [Action::\"s/read\", Action::\"z/add\"], resource)" + when, "forbid " + read + ";"}, nil, ""},
	{"shadowed", "a forbid on more", []string{"permit " + read + when, "forbid " + read + " when { context has session };"}, nil, ""},
	{"shadowed", "a forbid of another", []string{"permit " + read + when, "forbid (principal == Agent::\"a\", action, resource);"}, nil, ""},

	{"unconditional", "a destructive tool", []string{"permit " + wipe + ";"}, nil, `warning unconditional "one" It permits s/wipe, which is destructive`},
	{"unconditional", "a server with one", []string{"permit (principal in Team::\"t\", action in Action::\"s\", resource);"}, nil, "s/wipe"},
	{"unconditional", "a condition", []string{"permit " + wipe + when}, nil, ""},
	{"unconditional", "a ticket", []string{"permit " + wipe + ";", "forbid (principal, action in Action::\"destructive\", resource) unless { context has ticket };"}, nil, ""},
	{"unconditional", "a ticket for some", []string{"permit " + wipe + ";", "forbid (principal in Team::\"t\", action in Action::\"destructive\", resource) unless { context has ticket };"}, nil, "s/wipe"},
	{"unconditional", "a tool that is not", []string{"permit " + read + ";"}, nil, ""},

	{"unclassed", "a tool that says so", []string{"permit (principal, action in Action::\"z\", resource)" + when}, map[string]string{"purposes.yaml": "p:\n  tools: [z/add, z/drop]\n"}, `tools/z.json:3:3 warning unclassed "" z/drop is permitted`},
	{"unclassed", "one that is not permitted", []string{"permit (principal, action == Action::\"z/add\", resource)" + when}, nil, ""},
	{"unclassed", "one with classes", []string{"permit (principal, action == Action::\"s/move\", resource)" + when}, nil, ""},

	{"broad-purpose", "destructive tools", []string{"permit " + read + when}, map[string]string{"purposes.yaml": "p:\n  tools: [s/*]\n"}, `purposes.yaml:1:1 warning broad-purpose "" The purpose p grants s/*`},
	{"broad-purpose", "tools that say so", []string{"permit " + read + when}, map[string]string{"purposes.yaml": "p:\n  tools: [s/read]\nr:\n  tools: [z/*]\n"}, `purposes.yaml:3:1 warning broad-purpose "" The purpose r grants z/*`},
	{"broad-purpose", "everything", []string{"permit " + read + when}, map[string]string{"purposes.yaml": "p:\n  tools: [s/read, s/wipe, s/move, z/add, z/drop]\n"}, `The purpose p grants every tool of every server.`},
	{"broad-purpose", "harmless tools", []string{"permit " + read + when}, map[string]string{"purposes.yaml": "p:\n  tools: [s/*]\n", "tools/s.json": `{"server":"s","tools":[{"name":"read","inputSchema":{}}]}`, "tools.yaml": ""}, ""},

	{"private-range", "of this machine", []string{"permit " + read + when}, map[string]string{"egress.yaml": "allow:\n  x:\n    hosts: [localhost]\n    addresses: [127.0.0.1]\n"},
		`egress.yaml:2:3 warning private-range "" The allow list x lets its hosts have the addresses 127.0.0.1/32, which are not public (loopback).`},
	{"private-range", "of a network", []string{"permit " + read + when}, map[string]string{"egress.yaml": "allow:\n  x:\n    addresses: [10.0.0.0/8]\n"}, "(private)"},
	{"private-range", "of everything", []string{"permit " + read + when}, map[string]string{"egress.yaml": "allow:\n  x:\n    addresses: ['2000::/3']\n"}, "permits nothing that is refused"},
	{"private-range", "a public range", []string{"permit " + read + when}, map[string]string{"egress.yaml": "allow:\n  x:\n    addresses: [8.8.8.0/24]\n"}, ""},
	{"broad-suffix", "a top level", []string{"permit " + read + when}, map[string]string{"egress.yaml": "allow:\n  x:\n    hosts: ['*.com']\n"},
		`egress.yaml:2:3 warning broad-suffix "" The allow list x names *.com, below which anybody can have a name.`},
	{"broad-suffix", "a registry's second level", []string{"permit " + read + when}, map[string]string{"egress.yaml": "allow:\n  x:\n    hosts: ['*.co.uk']\n"}, "*.co.uk"},
	{"broad-suffix", "everybody's pages", []string{"permit " + read + when}, map[string]string{"egress.yaml": "allow:\n  x:\n    hosts: ['*.github.io']\n"}, "*.github.io"},
	{"broad-suffix", "one owner's", []string{"permit " + read + when}, map[string]string{"egress.yaml": "allow:\n  x:\n    hosts: ['*.example.com', com]\n"}, ""},
	{"open-scheme", "for all", []string{"permit " + read + when}, map[string]string{"egress.yaml": "schemes: [https, file]\n"},
		`egress.yaml:1:1 warning open-scheme "" The scheme file is listed, and of its URLs nothing else is looked at.`},
	{"open-scheme", "of a list", []string{"permit " + read + when}, map[string]string{"egress.yaml": "allow:\n  x:\n    hosts: [example.com]\n    schemes: [gopher]\n"}, "The scheme gopher is listed"},
	{"open-scheme", "one that is read", []string{"permit " + read + when}, map[string]string{"egress.yaml": "schemes: [https, wss]\n"}, ""},

	{"unknown-purpose", "compared", []string{"permit " + read + " when { context.purpose == \"p\" || context.purpose == \"support\" };"}, nil, `warning unknown-purpose "one" There is no purpose "support"`},
	{"unknown-purpose", "in a list", []string{"permit " + read + " unless { [\"q\", \"support\"].contains(context.purpose) };"}, nil, `"support"`},
	{"unknown-purpose", "one that there is", []string{"permit " + read + " when { [\"p\", \"q\"].contains(context.purpose) && context.tenant == \"support\" };"}, nil, ""},

	{"no-such-field", "in the arguments", []string{redact("/nothing", read, "CALL")}, nil, `warning no-such-field "one" No tool that it is for has a field /nothing`},
	{"no-such-field", "below one", []string{redact("/deep/nothing", read, "CALL")}, nil, "/deep/nothing"},
	{"no-such-field", "of another tool", []string{redact("/n", read, "CALL")}, nil, "a field /n,"},
	{"no-such-field", "in the result", []string{redact("/rows/*/phone", read, "RESULT")}, nil, "/rows/*/phone"},
	{"no-such-field", "in the structured result", []string{redact("/structuredContent/rows/*/fax", read, "RESULT")}, nil, "/structuredContent/rows/*/fax"},
	{"no-such-field", "in a block", []string{redact("/content/*/body", read, "RESULT")}, nil, "/content/*/body"},
	{"no-such-field", "one of two", []string{redact("/path /nothing", read, "CALL")}, nil, "a field /nothing,"},
	{"no-such-field", "fields that there are", []string{redact("/path /deep/card /deep/* /path/*/x", read, "CALL"), redact("/content/*/text/*/email /structuredContent/rows/*/phone /structuredContent/rows/0/phone /_meta/x", read, "RESULT"),
		redact("/content/0/text /path", read, ""), redact("/messages/*/x", "(principal, action == Action::\"prompt\", resource)", "PROMPT"), redact("/anything", "(principal, action == Action::\"z/add\", resource)", "CALL")}, nil, ""},

	{"hidden-text", "in a string", []string{"permit " + read + " when { context.tenant == \"a\u202eb\" };"}, nil, `cedar/a.cedar:2:85 warning hidden-text "one" The character U+202E is not seen as it is.`},
	{"hidden-text", "escaped", []string{"permit " + read + " when { context.tenant == \"a\\u{200b}b\" };"}, nil, "U+200B"},
	{"hidden-text", "in a comment", []string{"permit " + read + " /* \u2066 */" + when}, nil, "U+2066"},
	{"hidden-text", "in a description", []string{"permit " + read + when}, map[string]string{"tools/z.json": `{"server":"z","tools":[{"name":"add","inputSchema":{}},` + "\n" + ` {"name":"drop","description":"adds\udb40\udc41","inputSchema":{}}]}`}, `tools/z.json:2:2 warning hidden-text "" z/drop has the character U+E0041 at /description`},
	{"hidden-text", "in an argument's name", []string{"permit " + read + when}, map[string]string{"tools/z.json": `{"server":"z","tools":[{"name":"sub","inputSchema":{}},{"name":"add","inputSchema":{"properties":{"a\u200bb":{}}}}]}`}, `at /inputSchema/properties/"a\u200bb"`},
	{"hidden-text", "what is seen", []string{"permit " + read + " when { context.tenant == \"añ\\u{e9}日本😀👩\u200d🚀\\n\" };"}, nil, ""},

	{"mixed-scripts", "in a condition", []string{"permit " + read + " when { context.tenant == \"p\u0430yroll\" };"}, nil, `warning mixed-scripts "one" "pаyroll" mixes scripts and may look like another name: "p\u0430yroll".`},
	{"mixed-scripts", "in an entity", []string{"permit (principal == Agent::\"\u0430gent\", action == Action::\"s/read\", resource)" + when}, nil, "mixed-scripts"},
	{"mixed-scripts", "in a pattern", []string{"permit " + read + " when { context.tenant like \"\u0440ay*\" };"}, nil, "mixed-scripts"},
	{"mixed-scripts", "in another width", []string{"permit " + read + " when { context.tenant == \"p\uff41y\" };"}, nil, "mixed-scripts"},
	{"mixed-scripts", "a tool", []string{"permit " + read + when}, map[string]string{"tools/z.json": `{"server":"z","tools":[{"name":"add","inputSchema":{}},{"name":"re\u0430d","inputSchema":{}}]}`}, `tools/z.json:1:56 warning mixed-scripts "" The tool's name mixes scripts and may look like another: "z/re\u0430d".`},
	{"mixed-scripts", "words of one script each", []string{"permit " + read + " when { context.tenant == \"привет world 日本go\" || context.tenant == \"naïve\" };"}, nil, ""},
}

func redact(fields, scope, phase string) string {
	p := fmt.Sprintf("@obligate(\"redact\") @fields(%q) permit %s", fields, scope)
	if phase == "" {
		return p + ";"
	}
	return fmt.Sprintf("%s when { context.phase == %q };", p, phase)
}

// Each lint finds what it is for, and nothing else is found beside it; and where
// it finds nothing, nothing is found at all.
func TestLints(t *testing.T) {
	tested := map[string]map[bool]bool{}
	for _, test := range cases {
		t.Run(test.code+"/"+test.name, func(t *testing.T) {
			var text strings.Builder
			for i, p := range test.policies {
				fmt.Fprintf(&text, "@id(%q) @owner(\"o\")\n%s\n\n", []string{"one", "two", "three", "four", "five"}[i], p)
			}
			changes := map[string]string{"cedar/a.cedar": text.String()}
			for name, file := range test.files {
				changes[name] = file
			}
			all := check(t, changes)
			if tested[test.code] == nil {
				tested[test.code] = map[bool]bool{}
			}
			tested[test.code][test.want != ""] = true
			if test.want == "" {
				// What cannot be permitted otherwise may still be found to be something else.
				if slices.ContainsFunc(all, func(f lint.Finding) bool { return f.Code == test.code }) || test.code != "always-fails" && test.code != "can-fail" && len(all) > 0 {
					t.Errorf("found\n%s", found(all))
				}
				return
			}
			if len(all) != 1 || all[0].Code != test.code || !strings.Contains(found(all), test.want) || all[0].Fix == "" {
				t.Errorf("found\n%swant %s", found(all), test.want)
			}
		})
	}
	for _, rule := range lint.Rules {
		if !slices.Contains([]string{"no-owner", "broken", "unknown-lint", "unused-lint"}, rule.Code) && (!tested[rule.Code][true] || !tested[rule.Code][false]) {
			t.Errorf("%s is not tested both ways", rule.Code)
		}
	}
}

func TestNoOwner(t *testing.T) {
	for owner, want := range map[string]int{"": 1, "@owner": 1, "@owner(\" \")": 1, "@owner(\"o\")": 0} {
		all := check(t, map[string]string{"cedar/a.cedar": "@id(\"one\") " + owner + "\npermit " + read + when})
		if len(all) != want || want == 1 && (all[0].Code != "no-owner" || all[0].Policy != "one") {
			t.Errorf("%q: found\n%s", owner, found(all))
		}
	}
}

// The bundle of the tests itself is clean.
func TestSmall(t *testing.T) {
	if all := check(t, nil); len(all) > 0 {
		t.Error(found(all))
	}
}

func TestSilence(t *testing.T) {
	tests := []struct {
		name string
		file string
		text string
		want string
	}{
		{"a policy", "cedar/a.cedar", "@id(\"one\") @lint(\"-no-owner\")\npermit " + read + when, ""},
		{"two lints", "cedar/a.cedar", "@id(\"one\") @lint(\"-no-owner -unconditional\")\npermit " + wipe + ";", ""},
		{"another lint", "cedar/a.cedar", "@id(\"one\") @owner(\"o\") @lint(\"-no-owner\")\npermit " + wipe + ";",
			"cedar/a.cedar:1:1 warning unconditional \"one\" It permits s/wipe, which is destructive, whatever the arguments and the purpose, and no policy asks more of it.\n" +
				"cedar/a.cedar:1:1 warning unused-lint \"one\" The policy one silences no-owner, which finds nothing there.\n"},
		{"another policy", "cedar/a.cedar", "@id(\"one\") @lint(\"-no-owner\")\npermit " + read + when + "\n@id(\"two\")\npermit (principal, action == Action::\"z/add\", resource);",
			"cedar/a.cedar:3:1 warning no-owner \"two\" Nobody owns the policy.\n"},
		{"no lint", "cedar/a.cedar", "@id(\"one\") @owner(\"o\") @lint(\"-no-body\")\npermit " + read + when, "cedar/a.cedar:1:1 error unknown-lint \"one\" The policy one silences \"-no-body\", which is no lint.\n"},
		{"without a minus", "cedar/a.cedar", "@id(\"one\") @lint(\"no-owner\") @owner(\"o\")\npermit " + read + when, "cedar/a.cedar:1:1 error unknown-lint \"one\" The policy one silences \"no-owner\", which is no lint.\n"},
		{"all", "cedar/a.cedar", "@id(\"one\") @lint(\"-*\") @owner(\"o\")\npermit " + read + when, "cedar/a.cedar:1:1 error unknown-lint \"one\" The policy one silences \"-*\", which is no lint.\n"},
		{"nothing", "cedar/a.cedar", "@id(\"one\") @lint @owner(\"o\")\npermit " + read + when, "cedar/a.cedar:1:1 error unknown-lint \"one\" The policy one silences no lint.\n"},
		{"the lints of lints", "cedar/a.cedar", "@id(\"one\") @lint(\"-unused-lint\") @owner(\"o\")\npermit " + read + when, "cedar/a.cedar:1:1 error unknown-lint \"one\" The policy one silences \"-unused-lint\", which is no lint.\n"},
		{"a purpose", "purposes.yaml", "p:\n  tools: [s/*]\n  lint: [-broad-purpose]\n", ""},
		{"a purpose for nothing", "purposes.yaml", "p:\n  tools: [s/read]\n  lint: [-broad-purpose]\n", "purposes.yaml:1:1 warning unused-lint \"\" The purpose p silences broad-purpose, which finds nothing there.\n"},
		{"a tool for nothing", "tools.yaml", "s:\n  read: { classes: [x] }\n  wipe: { lint: [-unclassed, -x] }\n",
			"tools.yaml:3:3 error unknown-lint \"\" The tool s/wipe silences \"-x\", which is no lint.\ntools.yaml:3:3 warning unused-lint \"\" The tool s/wipe silences unclassed, which finds nothing there.\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, found(check(t, map[string]string{test.file: test.text}))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What servers and authors call things moves no cursor and ends no line.
func TestPlain(t *testing.T) {
	all := check(t, map[string]string{
		"tools/z.json":  `{"server":"z","tools":[{"name":"add","inputSchema":{}},{"name":"ev\u001b[2J\n::error::\u202eil","inputSchema":{},"annotations":{"destructiveHint":true}}]}`,
		"purposes.yaml": "p:\n  tools: [s/read, z/*]\n",
		"cedar/a.cedar": "@id(\"one\") @owner(\"o\") @lint(\"-\u001b[2J\u202e\")\npermit (principal, action in Action::\"z\", resource) when { context.tenant == \"\u001b\" && context.tenant == \"\u202e\" };",
	})
	all = append(all, lint.Bundle(small(map[string]string{"tools/\u001bz.json": "{"}))...)
	codes := map[string]bool{}
	for _, f := range all {
		codes[f.Code] = true
	}
	if got := found(all); strings.ContainsAny(got, "\u001b\u202e") || strings.Count(got, "\n") != len(all) || !codes["never-matches"] || !codes["hidden-text"] || !codes["unknown-lint"] || !codes["broken"] {
		t.Errorf("found\n%q", got)
	}
}

// A bundle that cannot be read is a finding too, with its place.
func TestBroken(t *testing.T) {
	tests := []struct{ name, file, text, want string }{
		{"broken Cedar", "cedar/a.cedar", "@id(\"a\")\npermit (principal, action, resource) when { 1 + };", "cedar/a.cedar:2:50 error broken"},
		{"a million brackets", "cedar/a.cedar", "@id(\"a\")\npermit (principal, action, resource) when { " + strings.Repeat("(", 1_000_000), "cedar/a.cedar:2:108 error broken"},
		{"a type in a circle", "schema.cedarschema", string(small(nil)["schema.cedarschema"].Data) + "type A = { b: B };\ntype B = Set<A>;", "schema.cedarschema:9:1 error broken"},
		{"a broken schema", "schema.cedarschema", "entity A;\nentty B;", "schema.cedarschema:2:1 error broken"},
		{"unknown keys", "purposes.yaml", "p:\n  tolls: []\n", "purposes.yaml:2:3 error broken"},
		{"a tool that is none", "tools/s.json", "{", "tools/s.json:1:1 error broken"},
		{"no schema", "schema.cedarschema", "", "error broken"},
	}
	for _, test := range tests {
		all := lint.Bundle(small(map[string]string{test.file: test.text}))
		if len(all) != 1 || !strings.Contains(found(all), test.want) || len(all[0].Text) > 4096 {
			t.Errorf("%s: found\n%.300swant %s", test.name, found(all), test.want)
		}
	}
	if all := lint.Bundle(small(nil)); len(all) > 0 {
		t.Error(found(all))
	}
}

// Every lint has its section in the documentation, in the same order.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "lints.md"))
	if err != nil {
		t.Fatal(err)
	}
	var sections, codes []string
	for line := range strings.Lines(string(text)) {
		if code, ok := strings.CutPrefix(strings.TrimSpace(line), "## `"); ok {
			sections = append(sections, strings.TrimSuffix(code, "`"))
		}
	}
	for _, rule := range lint.Rules {
		codes = append(codes, rule.Code)
	}
	if diff := cmp.Diff(codes, sections); diff != "" {
		t.Error(diff)
	}
}

// Findings come in the same order every time, and 10,000 policies are linted in
// a time that a pull request can wait for.
func TestManyPolicies(t *testing.T) {
	n := 10_000
	if testing.Short() {
		n = 500
	}
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "@id(\"p%d\") @owner(\"o\")\npermit (principal == Agent::\"%d\", action in [Action::\"s/read\", Action::\"s/wipe\"], resource) when { context.purpose == \"p\" && context.tenant == \"%d\" };\n", i, i/4, i%4)
	}
	b.WriteString("@id(\"last\") @owner(\"o\")\npermit (principal, action == Action::\"s/read\", resource) when { context.tenant == \"2\" };\n@id(\"double\") @owner(\"o\")\npermit (principal == Agent::\"7\", action == Action::\"s/read\", resource) when { context.tenant == \"2\" };\n")
	start := time.Now()
	all := check(t, map[string]string{"cedar/a.cedar": b.String()})
	t.Logf("%d policies in %v", n, time.Since(start))
	if got := found(all); strings.Count(got, "\n") != 1 || !strings.Contains(got, `shadowed "double" It permits nothing that "last"`) {
		t.Errorf("found\n%s", got)
	}
}

// Whatever a file of policies holds, linting it ends, and within a time.
func FuzzCheck(f *testing.F) {
	for _, test := range cases {
		f.Add("@id(\"one\") @owner(\"o\")\n" + test.policies[0])
	}
	f.Add("@id(\"a\") permit (principal, action, resource) when { if {a: [1, 2]}.a.containsAll([1]) then -1 < -(2) else ip(\"::1\").isInRange(ip(\"::/0\")) };")
	f.Add("@id(\"a\") permit (principal is Agent in Team::\"t\", action, resource) unless { principal.hasTag(\"x\") && principal.getTag(\"x\") == 1 || resource is Thing in Team::\"t\" };")
	f.Fuzz(func(t *testing.T, text string) {
		for _, finding := range lint.Bundle(small(map[string]string{"cedar/a.cedar": text})) {
			if finding.Code == "" || finding.Severity == "" || finding.Line < 1 || finding.Column < 1 || finding.Text == "" || finding.Fix == "" {
				t.Errorf("a finding that is not whole: %+v", finding)
			}
		}
	})
}

// The largest policies that are read are linted too, in the end.
func TestLargePolicies(t *testing.T) {
	for name, clause := range map[string]string{"ands": "context.tenant == \"%d\" && ", "ors": "context.tenant == \"%d\" || ", "nots": "!(context.tenant == \"%d\" && context.caller != \"%[1]d\") && ", "sums": "1 + %d < 5 && "} {
		var b strings.Builder
		b.WriteString("@id(\"one\") @owner(\"o\")\npermit (principal, action, resource) when { ")
		for i := 0; i < 500 || !strings.Contains(clause, "context") && b.Len() < 63_000; i++ {
			fmt.Fprintf(&b, clause, i)
		}
		b.WriteString("context.purpose == \"p\" };")
		start := time.Now()
		all := check(t, map[string]string{"cedar/a.cedar": b.String()})
		t.Logf("%s: %d findings in %v", name, len(all), time.Since(start))
		want := map[string]string{"ands": "`context.tenant == \"1\"` is never true there."}[name]
		if got := found(all); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: found\n%.500s", name, got)
		}
	}
}
