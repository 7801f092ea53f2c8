// Package policytest lends tests a small bundle, and policies and requests drawn at
// random for it.
package policytest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing/fstest"
	"time"

	"pgregory.net/rapid"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
)

// Bundle is a small bundle with some policies: two servers, a resource of its
// own, agents and humans that entities.json knows and others that it does not.
func Bundle(policies string) fstest.MapFS {
	files := fstest.MapFS{}
	for name, text := range map[string]string{
		"writ.yaml": "version: 1\nname: small\n",
		"schema.cedarschema": `entity Team;
entity Agent in [Team] = { level: Long, chief?: Agent };
entity Human in [Team] = { vip: Bool };
entity Server in [Team] = { zone: String };
entity Thing in [Team] = { hot: Bool, size?: Long, owner: Human };
entity Destination = { host: String, vendor: String, region: String };
type Extra = { limit?: Long, flag?: Bool, human?: Human, note?: String };
`,
		"entities.json": `[
{"uid":{"type":"Agent","id":"a"},"attrs":{"level":3},"parents":[{"type":"Team","id":"t"}]},
{"uid":{"type":"Human","id":"h"},"attrs":{"vip":true},"parents":[{"type":"Team","id":"t"}]},
{"uid":{"type":"Server","id":"s"},"attrs":{"zone":"eu"},"parents":[{"type":"Team","id":"t"}]},
{"uid":{"type":"Thing","id":"x"},"attrs":{"hot":true,"owner":{"__entity":{"type":"Human","id":"h"}}},"parents":[{"type":"Team","id":"u"}]}]`,
		"tools.yaml":    "s:\n  t: { classes: [read-only], resources: [Thing] }\nz:\n  t: { classes: [destructive] }\n",
		"purposes.yaml": "p:\n  tools: [s/*]\nq:\n  tools: [s/*, z/*]\n",
		"tools/s.json": `{"server":"s","tools":[{"name":"t","inputSchema":{"type":"object","properties":{"n":{"type":"integer"},
"few":{"type":"integer","minimum":0,"exclusiveMaximum":10},"b":{"type":"boolean"},"d":{"type":"number"},"w":{"type":"string"},"o":{"type":"object","properties":{"x":{"type":"integer"}}}},"required":["w"]}}]}`,
		"tools/z.json":  `{"server":"z","tools":[{"name":"t","inputSchema":{"type":"object"}}]}`,
		"cedar/a.cedar": policies,
	} {
		files[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o444}
	}
	return files
}

// longs, truths and the rest are expressions of each type, some of which can fail.
var (
	longs = rapid.SampledFrom([]string{"0", "3", "9223372036854775807", "-9223372036854775808", "context.cost.calls", "context.cost.tokens", "context.args.n", "context.args.few",
		"principal.level", "principal.level", "context.cost.tokens", "context.extra.limit", "resource.size", "context.args.o.x", "principal.chief.level", "Agent::\"a\".level", "Agent::\"b\".level", "context.content.size"})
	texts   = rapid.SampledFrom([]string{"\"p\"", "\"q\"", "\"CALL\"", "\"RESULT\"", "\"t\"", "\"eu\"", "\"\"", "context.purpose", "context.phase", "context.args.w", "context.extra.note", "context.tool.server", "context.tool.name", "context.session", "context.tenant", "context.tenant", "\"abc\"", "resource.zone", "Server::\"s\".zone", "context.ticket.id"})
	uids    = rapid.SampledFrom([]string{"principal", "resource", "Agent::\"a\"", "Agent::\"b\"", "Team::\"t\"", "Team::\"u\"", "Team::\"none\"", "Server::\"s\"", "Server::\"z\"", "Thing::\"x\"", "Thing::\"y\"", "context.onBehalfOf", "Human::\"h\"", "resource.owner", "context.extra.human", "action", "Action::\"s\"", "Action::\"s/t\"", "Action::\"read-only\""})
	guards  = rapid.SampledFrom([]string{"context has ticket", "context has session", "context has onBehalfOf", "context has content", "context.args has n", "context.args has few", "context.args has b", "context.args has d", "context.args has o", "context.args.o has x", "context.args has o.x", "context.extra has limit", "context.extra has flag", "context.extra has note", "context.extra has human", "principal has level", "principal has chief", "principal.chief has level", "resource has size", "resource has zone", "resource has hot", "resource has owner", "context.extra.human has vip", "context.onBehalfOf has vip", "resource.owner has vip", "Agent::\"b\" has level"})
	truths  = rapid.SampledFrom([]string{"true", "false", "context.extra.flag", "context.args.b", "resource.hot", "context.onBehalfOf.vip", "context.extra.human.vip", "resource.owner.vip", "context.content.json", "context.ticket.approvers.contains(\"lead\")", "context.actors.isEmpty()", "context.tool.classes.contains(\"destructive\")", "context.now < datetime(\"2026-01-01\")", "context.now.toTime() == duration(\"1h\")", "context.now.offset(duration(\"1d\")) > context.now", "context.args.d.lessThan(decimal(\"1.0\"))", "{a: context.args.b}.a", "context.args.w like \"a*\"", "context.purpose like \"p*\"", "context.tenant like \"ab*\"", "context == context", "context.tool == context.tool", "context.cost == {calls: 1, tokens: 0, micros: 0, currency: \"\"}", "[1, context.cost.calls].containsAny([context.cost.tokens])", "[context.cost.calls] == [1]", "context.actors == context.tool.labels", "principal is Agent", "resource is Thing", "resource is Server", "resource is Thing in Team::\"u\"", "principal is Agent in Team::\"t\""})
	compare = rapid.SampledFrom([]string{"==", "!=", "<", "<=", ">", ">="})
)

func sum(t *rapid.T) string {
	a := longs.Draw(t, "long")
	if rapid.Bool().Draw(t, "sum") {
		return fmt.Sprintf("(%s %s %s)", a, rapid.SampledFrom([]string{"+", "-", "*"}).Draw(t, "operator"), longs.Draw(t, "long"))
	}
	return a
}

// guarded puts before an expression what the validator wants asked first.
func guarded(text string) string {
	var all []string
	for _, optional := range []string{"context.ticket", "context.session", "context.onBehalfOf", "context.content", "context.args.n", "context.args.few", "context.args.b", "context.args.d", "context.args.o",
		"context.args.o.x", "context.extra.limit", "context.extra.flag", "context.extra.note", "context.extra.human", "principal.chief", "resource.size"} {
		if strings.Contains(text, optional) {
			at := strings.LastIndexByte(optional, '.')
			all = append(all, optional[:at]+" has "+optional[at+1:])
		}
	}
	if strings.Contains(text, "resource.zone") {
		all = append([]string{"resource is Server"}, all...)
	} else if strings.Contains(text, "resource.") {
		all = append([]string{"resource is Thing"}, all...)
	}
	return strings.Join(append(all, text), " && ")
}

func atom(t *rapid.T) string {
	text := bare(t)
	if rapid.IntRange(0, 3).Draw(t, "bare") > 0 {
		return guarded(text)
	}
	return text
}

func bare(t *rapid.T) string {
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0, 1:
		return guards.Draw(t, "guard")
	case 2:
		return truths.Draw(t, "truth")
	case 3, 4:
		return fmt.Sprintf("%s %s %s", sum(t), compare.Draw(t, "compare"), sum(t))
	case 5, 6:
		return fmt.Sprintf("%s %s %s", texts.Draw(t, "text"), rapid.SampledFrom([]string{"==", "!="}).Draw(t, "compare"), texts.Draw(t, "text"))
	case 7:
		return fmt.Sprintf("[%s, %s].contains(%s)", texts.Draw(t, "text"), texts.Draw(t, "text"), texts.Draw(t, "text"))
	case 8:
		return fmt.Sprintf("%s in %s", uids.Draw(t, "entity"), uids.Draw(t, "entity"))
	}
	return fmt.Sprintf("%s %s %s", uids.Draw(t, "entity"), rapid.SampledFrom([]string{"==", "!="}).Draw(t, "compare"), uids.Draw(t, "entity"))
}

func clause(t *rapid.T, depth int) string {
	if depth == 0 {
		return atom(t)
	}
	a, b := clause(t, depth-1), clause(t, depth-1)
	switch rapid.IntRange(0, 6).Draw(t, "form") {
	case 0:
		return fmt.Sprintf("!(%s)", a)
	case 1, 2, 3:
		return fmt.Sprintf("(%s) && (%s)", a, b)
	case 4:
		return fmt.Sprintf("(%s) || (%s)", a, b)
	case 5:
		return fmt.Sprintf("if (%s) then (%s) else (%s)", a, b, clause(t, depth-1))
	}
	return fmt.Sprintf("(%s) == (%s)", a, b)
}

// DrawPolicy is any policy on the bundle, which may not fit its schema, in a scope
// and conditions some of which can fail. It has the given id and effect.
func DrawPolicy(t *rapid.T, id, effect string) string {
	scope := func(of string, some ...string) string { return rapid.SampledFrom(append(some, of, of)).Draw(t, of) }
	p := fmt.Sprintf("@id(%q) %s (%s, %s, %s)", id, effect,
		scope("principal", "principal == Agent::\"a\"", "principal == Agent::\"b\"", "principal in Team::\"t\"", "principal in Team::\"none\"", "principal is Agent", "principal is Agent in Team::\"t\""),
		scope("action", "action == Action::\"s/t\"", "action in Action::\"s\"", "action in [Action::\"read-only\", Action::\"prompt\"]", "action == Action::\"connect\""),
		scope("resource", "resource == Server::\"s\"", "resource == Thing::\"x\"", "resource in Team::\"u\"", "resource is Thing", "resource is Thing in Team::\"u\""))
	for range rapid.IntRange(0, 3).Draw(t, "conditions") {
		p += fmt.Sprintf("\n%s { %s }", rapid.SampledFrom([]string{"when", "when", "unless"}).Draw(t, "condition"), clause(t, rapid.IntRange(0, 3).Draw(t, "depth")))
	}
	return p + ";"
}

// DrawPolicies are some random policies that fit the bundle's schema, and one that
// looks at all of the context and obliges.
func DrawPolicies(t *rapid.T) string {
	all := "@id(\"all\") @obligate(\"watermark\") @text(\"all\") permit (principal, action, resource) when { context == context };\n"
	for i := range rapid.IntRange(1, 5).Draw(t, "policies") {
		effect := rapid.SampledFrom([]string{"permit", "permit", "permit", "forbid", "@obligate(\"watermark\") @text(\"w\") permit"}).Draw(t, "effect")
		one := DrawPolicy(t, fmt.Sprintf("p%d", i), effect)
		src, err := policy.Read(Bundle(one))
		if err != nil {
			t.Fatal(err)
		}
		if src.Statements[0].Invalid == "" { // else the validator has its reasons
			all += one + "\n"
		}
	}
	return all
}

func object(t *rapid.T, members map[string]any) *document.Document {
	for name := range members {
		if rapid.Bool().Draw(t, "no "+name) && name != "w" {
			delete(members, name)
		}
	}
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

// DrawQuery is any request that gets as far as the policies: its purpose grants
// its tool, and its arguments fit the tool's schema.
func DrawQuery(t *rapid.T, b *decision.Bundle) decision.Query {
	number := rapid.SampledFrom([]int64{0, 1, 3, 7, 1 << 40, document.MaxSafeInteger, -document.MaxSafeInteger})
	some := func(values ...string) string { return rapid.SampledFrom(values).Draw(t, "some") }
	req := &decision.Request{Phase: rapid.SampledFrom([]decision.Phase{decision.Call, decision.Call, decision.Result, decision.Prompt, decision.Connect}).Draw(t, "phase"),
		Purpose: some("p", "q"), Session: some("", "r"), Principal: decision.Principal{Subject: some("a", "b"), OnBehalfOf: some("", "h", "i")},
		Cost: decision.Cost{Calls: 1, Tokens: rapid.SampledFrom([]int64{0, 3, 1<<63 - 1}).Draw(t, "tokens")}}
	q := decision.Query{Request: req, At: rapid.SampledFrom([]time.Time{time.Unix(0, 0), time.Date(2026, 11, 1, 1, 0, 0, 0, time.UTC)}).Draw(t, "at")}
	if rapid.Bool().Draw(t, "extra") {
		req.Context = object(t, map[string]any{"limit": number.Draw(t, "limit"), "flag": rapid.Bool().Draw(t, "flag"), "human": some("h", "i"), "note": some("p", "t", "")})
	}
	if rapid.Bool().Draw(t, "ticket") {
		q.Ticket = &decision.Ticket{ID: some("t", "u"), Approvers: []string{some("lead", "other")}}
	}
	if req.Phase == decision.Result || req.Phase == decision.Prompt {
		req.Content = decision.Content{Size: rapid.IntRange(0, 9).Draw(t, "size")}
		if rapid.Bool().Draw(t, "document") {
			req.Content.Document = object(t, map[string]any{})
		}
	}
	if req.Phase == decision.Prompt || req.Phase == decision.Connect {
		req.Destination = decision.Destination{Host: some("h", "eu")}
		return q
	}
	name := decision.ToolName{Server: some("s", "s", "z"), Name: "t"}
	req.Tool, q.Tool = decision.ToolRef{ToolName: name}, b.Tools[name]
	req.Arguments = object(t, map[string]any{})
	if name.Server == "z" {
		req.Purpose = "q"
		return q
	}
	req.Arguments = object(t, map[string]any{"n": number.Draw(t, "n"), "few": rapid.IntRange(0, 9).Draw(t, "few"), "b": rapid.Bool().Draw(t, "b"), "d": rapid.SampledFrom([]float64{0.5, 2}).Draw(t, "d"),
		"w": some("p", "abc", "t", ""), "o": map[string]any{"x": number.Draw(t, "x")}})
	if rapid.Bool().Draw(t, "thing") {
		req.Resource = decision.Resource{Type: "Thing", ID: some("x", "y")}
		if req.Resource.ID == "y" {
			properties := map[string]any{"hot": rapid.Bool().Draw(t, "hot"), "owner": some("h", "i")}
			if rapid.Bool().Draw(t, "sized") {
				properties["size"] = number.Draw(t, "size")
			}
			data, _ := json.Marshal(properties)
			req.Resource.Properties, _ = document.ParseObject(data)
		}
	}
	return q
}
