package policy

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/decision"
)

// withheldBundle is a bundle whose tool has arguments of every type, with some policies.
func withheldBundle(policies string) (*decision.Bundle, error) {
	return Load(broken(map[string]string{
		"cedar/a.cedar": policies + "\n", fileTools: "s: { t: { resources: [Thing] } }\n",
		"tools/s.json": `{"server":"s","tools":[{"name":"t","inputSchema":{"type":"object","properties":{
			"n":{"type":"integer"},"s":{"type":"string"},"b":{"type":"boolean"},"d":{"type":"number"},
			"list":{"type":"array","items":{"type":"string"}},
			"o":{"type":"object","properties":{"s":{"type":"string"},"n":{"type":"integer"}},"required":["s"]}},"required":["s"]}}]}`,
		fileSchema: "entity Team; entity Agent in [Team]; entity Human in [Team]; entity Server;\n" +
			"entity Destination = { host: String, vendor: String, region: String };\n" +
			"type Extra = { who?: Human, word?: String, n?: Long, thing?: Thing };\nentity Thing in [Team] = { hot: Bool, name?: String };",
		fileEntities: `[{"uid":{"type":"Agent","id":"a"},"attrs":{},"parents":[{"type":"Team","id":"t"}]},
			{"uid":{"type":"Human","id":"h"},"attrs":{},"parents":[{"type":"Team","id":"t"}]},
			{"uid":{"type":"Thing","id":"known"},"attrs":{"hot":true},"parents":[{"type":"Team","id":"t"}]}]`}))
}

// conditions are of all operators, on what can be withheld and on what cannot.
var conditions = []string{
	`context.args.s == "x"`, `context.args.s like "x*"`, `context.args has n`, `context.args has n && context.args.n > 3`,
	`context.args has n && context.args.n + 9223372036854775800 > 3`, `context.args has b && context.args.b`,
	`context.args has list && context.args.list.contains("x")`, `context.args has list && context.args.list == ["x"]`,
	`context.args has list && context.args.list.isEmpty()`, `["x", "y"].contains(context.args.s)`,
	`context.args has o && context.args.o.s == "x"`, `context.args has o && context.args.o == {s: "x"}`,
	`context.args has o && context.args.o has n && context.args.o.n < 2`, `context.args has d && context.args.d.lessThan(decimal("2.5"))`,
	`(if context.args.s == "x" then context.purpose == "p" else context.purpose == "q")`,
	`context.purpose == "p"`, `context.purpose == "q"`, `context has ticket`, `context.extra has word && context.extra.word == "x"`,
	`context.extra has who && context.extra.who in Team::"t"`, `context.extra has n && context.extra.n * 9223372036854775807 > 0`,
	`context.extra has thing && context.extra.thing == resource`, `context.extra has thing && resource in context.extra.thing`,
	`resource == Thing::"named"`, `resource in Team::"t"`, `resource is Thing && resource.hot`, `resource is Thing && resource has name && resource.name == "x"`,
	`(context.args.s == "x") == (context.args has n)`,
}

func drawIncompletePolicies(t *rapid.T) string {
	var b strings.Builder
	n := rapid.IntRange(1, 5).Draw(t, "policies")
	for i := range n {
		kind := rapid.SampledFrom([]string{"permit", "permit", "forbid", "oblige", "redact"}).Draw(t, "kind")
		effect, notes := kind, ""
		switch kind {
		case "oblige":
			effect, notes = "permit", `@obligate("watermark") @text("w")`
		case "redact":
			fields := rapid.SampledFrom([]string{"/s", "/n", "/list/*", "/o/s", "/o", "/s/x", "/s /list/*"}).Draw(t, "fields")
			effect, notes = "permit", fmt.Sprintf(`@obligate("redact") @fields(%q) @method(%q)`, fields, rapid.SampledFrom([]string{"mask", "remove"}).Draw(t, "method"))
		}
		resource := rapid.SampledFrom([]string{"resource", `resource == Thing::"named"`, `resource in Team::"t"`, "resource is Thing"}).Draw(t, "scope")
		fmt.Fprintf(&b, "@id(\"p%d\") %s\n%s (principal, action == Action::\"s/t\", %s)", i, notes, effect, resource)
		for range rapid.IntRange(0, 2).Draw(t, "conditions") {
			parts := rapid.SliceOfN(rapid.SampledFrom(conditions), 1, 3).Draw(t, "parts")
			joined := strings.Join(parts, rapid.SampledFrom([]string{" && ", " || "}).Draw(t, "joined"))
			if rapid.Bool().Draw(t, "not") {
				joined = "!(" + joined + ")"
			}
			fmt.Fprintf(&b, "\n%s { %s }", rapid.SampledFrom([]string{"when", "unless"}).Draw(t, "condition"), joined)
		}
		b.WriteString(";\n")
	}
	return b.String()
}

// values are what each member of a document can be; nil: it is not there.
type values map[string][]any

var (
	argumentValues = values{"s": {"x", "y", "xx"}, "n": {nil, 1.0, 5.0, 9e8}, "b": {nil, true, false}, "d": {nil, 1.5, 9.5},
		"list": {nil, []any{}, []any{"x"}, []any{"x", "y"}}, "o": {nil, map[string]any{"s": "x"}, map[string]any{"s": "y", "n": 1.0}}}
	extras = values{"word": {nil, "x", "y", 7.0}, "who": {nil, "h", "a"}, "n": {nil, 1.0, 3.0},
		"thing": {nil, "named", "neither", "known"}}
	properties = values{"hot": {true, false}, "name": {nil, "x", "y"}}
)

func (v values) draw(t *rapid.T, label string) map[string]any {
	out := map[string]any{}
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range v {
			if !yield(name) {
				return
			}
		}
	}) {
		if one := rapid.SampledFrom(v[name]).Draw(t, label+" "+name); one != nil {
			out[name] = one
		}
	}
	return out
}

func documentOf(t fataler, members map[string]any) *document.Document {
	t.Helper()
	data, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	d, err := document.ParseObject(data)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// fataler is a test or a property.
type fataler interface {
	Helper()
	Fatal(...any)
}

// hide withholds some members' texts, or all of the document, as a record does.
// vary are the same document with other values in their places.
func hide(t *rapid.T, all values, members map[string]any, label string) (*document.Document, []map[string]any) {
	whole, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	complete, err := document.ParseObject(whole)
	if err != nil {
		t.Fatal(err)
	}
	if rapid.IntRange(0, 4).Draw(t, label+" whole") == 0 {
		d, err := document.Partial(nil, []string{""}, complete.Digest(), nil)
		if err != nil {
			t.Fatal(err)
		}
		var vary []map[string]any
		for range 12 {
			vary = append(vary, all.draw(t, label+" other"))
		}
		return d, append(vary, members)
	}
	masked := map[string]any{}
	var withheld []string
	vary := []map[string]any{members}
	for name, value := range members {
		_, text := value.(string)
		redacted := label == "args" && name == "n" // as what a redacting policy matched
		if (text || redacted) && rapid.Bool().Draw(t, label+" hide") {
			masked[name] = document.Mask
			withheld = append(withheld, "/"+name)
			var more []map[string]any
			for _, other := range all[name] {
				if reflect.TypeOf(other) == reflect.TypeOf(value) && other != value {
					for _, v := range vary {
						changed := map[string]any{}
						for k, x := range v {
							changed[k] = x
						}
						changed[name] = other
						more = append(more, changed)
					}
				}
			}
			vary = append(vary, more...)
			continue
		}
		masked[name] = value
	}
	if list, ok := members["list"].([]any); ok && len(list) > 0 && rapid.Bool().Draw(t, label+" element") {
		element := append([]any{document.Mask}, list[1:]...)
		masked["list"] = element
		withheld = append(withheld, "/list/0")
		var more []map[string]any
		for _, v := range vary {
			changed := map[string]any{}
			for k, x := range v {
				changed[k] = x
			}
			changed["list"] = append([]any{"other"}, list[1:]...)
			more = append(more, changed)
		}
		vary = append(vary, more...)
	}
	if len(withheld) == 0 {
		return complete, []map[string]any{members}
	}
	data, err := json.Marshal(masked)
	if err != nil {
		t.Fatal(err)
	}
	d, err := document.Partial(data, withheld, complete.Digest(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return d, vary
}

// come is what a ruling comes to for the caller.
func come(r decision.Ruling) string {
	if !permittedRuling(r) {
		return "deny"
	}
	text := "allow"
	for _, o := range r.Obligations {
		text += fmt.Sprintf(" %s %+v", o.Policy, o.Duty)
	}
	return text
}

func permittedRuling(r decision.Ruling) bool {
	return r.Refused.Code == "" && len(r.Permits) > 0 && len(r.Forbids)+len(r.Errors) == 0
}

// What is said of a request of which parts are withheld is true whatever they
// are: the real request, and others that differ in what is withheld, get it.
func TestIncompleteIsNeverGuessed(t *testing.T) {
	determined := 0
	rapid.Check(t, func(t *rapid.T) {
		text := drawIncompletePolicies(t)
		b, err := withheldBundle(text)
		if err != nil {
			t.Skip(err) // the validator takes no condition that can never hold
		}
		args, otherArgs := hide(t, argumentValues, argumentValues.draw(t, "args"), "args")
		context, otherContexts := hide(t, extras, extras.draw(t, "extra"), "extra")
		name := decision.ToolName{Server: "s", Name: "t"}
		req := decision.Request{Phase: decision.Call, Purpose: "p", Principal: decision.Principal{Subject: "a"},
			Tool: decision.ToolRef{ToolName: name}, Arguments: args, Context: context, Cost: decision.Cost{Calls: 1}}
		q := decision.Query{Request: &req, Tool: b.Tools[name]}
		thing := rapid.SampledFrom([]string{"", "known", "named", "neither"}).Draw(t, "thing")
		var otherProperties []map[string]any
		if thing != "" {
			members := map[string]any{}
			if thing != "known" {
				members = properties.draw(t, "properties")
			}
			req.Resource = decision.Resource{Type: "Thing", Digest: sha256.Sum256([]byte(thing))}
			req.Resource.Properties, otherProperties = hide(t, properties, members, "resource")
			if thing == "known" {
				req.Resource.Properties, otherProperties = documentOf(t, members), []map[string]any{members}
			}
		}
		r := b.Policies.Judge(q)
		if r.Open {
			return
		}
		determined++
		for _, a := range otherArgs {
			for _, c := range otherContexts {
				for i := range max(1, len(otherProperties)) {
					full := req
					full.Arguments, full.Context = documentOf(t, a), documentOf(t, c)
					if thing != "" {
						full.Resource = decision.Resource{Type: "Thing", ID: thing, Properties: documentOf(t, otherProperties[i])}
					}
					want := b.Policies.Judge(decision.Query{Request: &full, Tool: q.Tool})
					if come(want) != come(r) {
						t.Fatalf("with\n%s\nfor %s, of which %v %v is withheld, it says %s\nand for %v %v it is %s (%+v)", text, args.Canonical(),
							args.Withheld(), context.Withheld(), come(r), a, c, come(want), want)
					}
				}
			}
		}
	})
	if determined == 0 {
		t.Error("nothing was determined")
	}
}
