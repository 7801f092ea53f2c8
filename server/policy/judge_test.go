package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/decision"
)

// things is the small bundle with other policies, and a tool that acts on things
// of which one is declared.
func things(t testing.TB, policies string) *decision.Bundle {
	t.Helper()
	b, err := thingsOf(policies)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func thingsOf(policies string) (*decision.Bundle, error) { return Load(thingsWith(policies)) }

func thingsWith(policies string) fstest.MapFS {
	return broken(map[string]string{"cedar/a.cedar": policies + "\n", fileTools: "s: { t: { classes: [read-only], resources: [Thing] } }\n",
		fileSchema: string(small()[fileSchema].Data) + "entity Thing in [Team] = { hot: Bool };",
		fileEntities: `[{"uid":{"type":"Agent","id":"a"},"attrs":{},"parents":[{"type":"Team","id":"t"}]},
			{"uid":{"type":"Thing","id":"known"},"attrs":{"hot":true},"parents":[{"type":"Team","id":"t"}]}]`})
}

func parsed(t testing.TB, data string) *document.Document {
	t.Helper()
	d, err := document.ParseObject([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func calling(t testing.TB, b *decision.Bundle) decision.Query {
	name := decision.ToolName{Server: "s", Name: "t"}
	return decision.Query{At: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC), Tool: b.Tools[name], Request: &decision.Request{
		Phase: decision.Call, Purpose: "p", Principal: decision.Principal{Subject: "a"}, Tool: decision.ToolRef{ToolName: name}, Arguments: parsed(t, `{}`),
		Cost: decision.Cost{Calls: 1}}}
}

// ruled is a ruling in one line.
func ruled(r decision.Ruling) string {
	var all []string
	add := func(what string, matches []decision.Match) {
		for _, m := range matches {
			all = append(all, what+" "+m.Policy)
		}
	}
	add("permit", r.Permits)
	add("forbid", r.Forbids)
	add("error", r.Errors)
	for _, o := range r.Obligations {
		all = append(all, "oblige "+o.Policy+" "+o.Duty.Type())
	}
	for _, rule := range r.Routes {
		all = append(all, "route "+rule.Policy)
	}
	if r.Refused.Code != "" {
		all = append(all, r.Refused.Code+": "+r.Refused.Text)
	}
	return strings.Join(all, ", ")
}

func TestJudge(t *testing.T) {
	const permit = "@id(\"p\") permit (principal, action == Action::\"s/t\", resource)"
	type change = func(*decision.Query)
	tests := []struct {
		name, policies string
		change         change
		want           string
	}{
		{"nothing", "", nil, ""},
		{"in the order of ids", "@id(\"c\")" + rest + "@id(\"a\")" + rest + "@id(\"b\")" + rest, nil, "permit a, permit b, permit c"},
		{"a permit beside a forbid", permit + "; @id(\"f\") forbid (principal, action, resource);", nil, "permit p, forbid f"},
		{"a forbid that fails", permit + "; @id(\"f\") forbid (principal, action, resource) when { context.cost.calls + 9223372036854775807 > 0 };", nil, "permit p, error f"},
		{"an obligation that fails", permit + "; @id(\"o\") @obligate(\"watermark\") @text(\"w\") permit (principal, action, resource) when { context.cost.calls + 9223372036854775807 > 0 };", nil, "permit p, error o"},
		{"obligations", permit + "; @id(\"w\") @obligate(\"watermark\") @text(\"w\")" + rest + "@id(\"r\") @obligate(\"route\") @region(\"eu\")" + rest + "@id(\"n\") @obligate(\"notify\") @to(\"x\") @body(\"y\")" + rest, nil,
			"permit p, oblige n notify, oblige w watermark, route r"},
		{"an obligation that does not match", permit + "; @id(\"w\") @obligate(\"watermark\") @text(\"w\") permit (principal, action, resource) when { context.phase == \"RESULT\" };", nil, "permit p"},
		{"by team", "@id(\"p\") permit (principal in Team::\"t\", action in Action::\"read-only\", resource == Server::\"s\");", nil, "permit p"},
		{"another agent", "@id(\"p\") permit (principal in Team::\"t\", action, resource);", func(q *decision.Query) { q.Request.Principal.Subject = "b" }, ""},
		{"an agent called as a team is", "@id(\"p\") permit (principal in Team::\"t\", action, resource);", func(q *decision.Query) { q.Request.Principal.Subject = "t" }, ""},
		{"arguments", permit + " when { context.args has n && context.args.n == 3 };", func(q *decision.Query) { q.Request.Arguments = parsed(t, `{"n":3.0,"other":[]}`) }, "permit p"},
		{"arguments that do not fit", permit + ";", func(q *decision.Query) { q.Request.Arguments = parsed(t, `{"n":"hunter2"}`) }, "policy.context: The request cannot be put to the policies: args.n is not of the declared type."},
		{"an unknown tool", permit + ";", func(q *decision.Query) { q.Request.Tool.Name = "u" }, `policy.action: The policies know no action "s/u".`},
		{"a group is no tool", permit + ";", func(q *decision.Query) { q.Request.Tool = decision.ToolRef{} }, `policy.action: The policies know no action "/".`},
		{"facts", permit + " when { context.extra has limit && context.extra.limit == 3 };", func(q *decision.Query) { q.Request.Context = parsed(t, `{"limit":3,"other":1}`) }, "permit p"},
		{"facts that do not fit", permit + ";", func(q *decision.Query) { q.Request.Context = parsed(t, `{"limit":"hunter2"}`) }, "policy.context: The request cannot be put to the policies: extra.limit is not of the declared type."},
		{"a thing", permit + " when { resource is Thing && resource.hot };", func(q *decision.Query) {
			q.Request.Resource = decision.Resource{Type: "Thing", ID: "x", Properties: parsed(t, `{"hot":true}`)}
		}, "permit p"},
		{"a thing without attributes", permit + ";", func(q *decision.Query) { q.Request.Resource = decision.Resource{Type: "Thing", ID: "x"} }, "policy.resource: The resource does not fit the schema: resource.hot is missing."},
		{"a thing that is known", "@id(\"p\") permit (principal, action, resource in Team::\"t\");", func(q *decision.Query) { q.Request.Resource = decision.Resource{Type: "Thing", ID: "known"} }, "permit p"},
		{"a thing that is known, with other attributes", permit + ";", func(q *decision.Query) {
			q.Request.Resource = decision.Resource{Type: "Thing", ID: "known", Properties: parsed(t, `{"hot":false}`)}
		}, "policy.resource: The bundle declares this resource, so the request cannot give it attributes."},
		{"a server that is named", permit + ";", func(q *decision.Query) { q.Request.Resource = decision.Resource{Type: "Server", ID: "x"} }, `policy.resource: The action does not apply to resources of the type "Server".`},
		{"a thing of a type that the tool has not", permit + ";", func(q *decision.Query) { q.Request.Resource = decision.Resource{Type: "Team", ID: "t"} }, `policy.resource: The action does not apply to resources of the type "Team".`},
		{"a prompt", "@id(\"p\") permit (principal, action == Action::\"prompt\", resource) when { resource.vendor == \"v\" && context.destination.vendor == \"v\" && context.content.size == 5 };", func(q *decision.Query) {
			q.Request.Phase, q.Request.Destination, q.Vendor, q.Request.Content.Size = decision.Prompt, decision.Destination{Host: "v.example.org"}, "v", 5
		}, "permit p"},
		{"a connection", "@id(\"p\") permit (principal, action == Action::\"connect\", resource == Destination::\"v.example.org\");", func(q *decision.Query) {
			q.Request.Phase, q.Request.Destination = decision.Connect, decision.Destination{Host: "v.example.org", Vendor: "v"}
		}, "permit p"},
		{"a vendor that is only claimed", "@id(\"p\") permit (principal, action == Action::\"connect\", resource) when { resource.vendor == \"v\" };", func(q *decision.Query) {
			q.Request.Phase, q.Request.Destination = decision.Connect, decision.Destination{Host: "evil.example.org", Vendor: "v"}
		}, ""},
		{"who and where from", permit + " when { context.tenant == \"acme\" && context.caller == \"c\" && context.issuer == \"i\" && context.actors.contains(\"x\") && context has session && context.session == \"run\" && " +
			"context has onBehalfOf && context.onBehalfOf == Human::\"h\" && context.now == datetime(\"2026-11-23T10:00:00Z\") && context.tool.name == \"t\" && context.tool.classes.contains(\"read-only\") && " +
			"context.cost == {calls: 1, tokens: 2, micros: 3, currency: \"EUR\"} && context has destination && context.destination.region == \"eu\" && context has ticket && context.ticket == {id: \"T\", approvers: [\"lead\"]} };",
			func(q *decision.Query) {
				r := q.Request
				r.Caller, r.Session, r.Destination.Region = decision.Caller{Tenant: "acme", SPIFFEID: "c"}, "run", "eu"
				r.Principal = decision.Principal{Subject: "a", Issuer: "i", Actors: []string{"x"}, OnBehalfOf: "h"}
				r.Cost, q.Ticket = decision.Cost{Calls: 1, Tokens: 2, Micros: 3, Currency: "EUR"}, &decision.Ticket{ID: "T", Approvers: []string{"lead"}}
			}, "permit p"},
		{"a context that is looked at as a whole", permit + " when { context == context && context.tenant == \"acme\" };", func(q *decision.Query) { q.Request.Caller.Tenant = "acme" }, "permit p"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := things(t, test.policies)
			q := calling(t, b)
			if test.change != nil {
				test.change(&q)
			}
			if diff := cmp.Diff(test.want, ruled(b.Policies.Judge(q))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestRedaction(t *testing.T) {
	redact := func(id, fields, method string) string {
		return fmt.Sprintf("@id(%q) @obligate(\"redact\") @fields(%q) @method(%q)", id, fields, method) + rest
	}
	content := func(data string) func(*decision.Query) {
		return func(q *decision.Query) {
			q.Request.Phase = decision.Result
			d, err := document.Parse([]byte(data))
			if err != nil {
				panic(err)
			}
			q.Request.Content = decision.Content{Document: d, Size: len(data)}
		}
	}
	many, err := json.Marshal(make([]int, document.MaxEdits+1))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, policies string
		change         func(*decision.Query)
		want           string
	}{
		{"nothing there", redact("r", "/x", "mask"), nil, ""},
		{"arguments", redact("r", "/n", "remove"), func(q *decision.Query) { q.Request.Arguments = parsed(t, `{"n":1}`) }, "r arguments remove /n"},
		{"arguments that the tool would refuse then", redact("r", "/n", "mask"), func(q *decision.Query) { q.Request.Arguments = parsed(t, `{"n":1}`) },
			`redact.breaks_schema: After the redaction of "r" the arguments would not fit the tool: /n: type (integer).`},
		{"content", redact("r", "/a /b/*", "mask"), content(`{"b":[1,2],"a":3}`), "r content mask /a mask /b/0 mask /b/1"},
		{"content in a text", redact("r", "/t/card", "mask"), content(`{"t":"{\"card\":1}"}`), "r content mask /t/card"},
		{"two policies", redact("b", "/b", "mask") + redact("a", "/a", "remove"), content(`{"b":1,"a":2}`), "a content remove /a mask /b"},
		{"two policies of which one finds something", redact("a", "/x", "mask") + redact("b", "/b", "mask"), content(`{"b":1}`), "b content mask /b"},
		{"a text", redact("r", "/a", "mask"), func(q *decision.Query) { q.Request.Phase, q.Request.Content.Size = decision.Result, 5 },
			`redact.not_a_document: The policy "r" redacts fields, and the content is no JSON document.`},
		{"a text that can be read in two ways", redact("r", "/t/card", "mask"), content(`{"t":"{\"card\":1,\"card\":2}"}`),
			`redact.not_a_document: The policy "r" redacts inside a text that is JSON, and not such that all read the same in it.`},
		{"too much", redact("r", "/*", "mask"), content(string(many)), `redact.too_many: What the policy "r" redacts is too much for one document.`},
		{"too much of two", redact("a", "/a/*", "mask") + redact("b", "/b/*", "mask"), content(`{"a":` + string(many[:len(many)/2-1]) + `],"b":` + string(many[:len(many)/2+3]) + `]}`),
			`redact.too_many: What the policy "b" redacts is too much for one document.`},
		{"everything, by removal", redact("r", "/*", "remove"), content(`[1,2]`), "r content remove /0 remove /1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := things(t, test.policies)
			q := calling(t, b)
			if test.change != nil {
				test.change(&q)
			}
			r := b.Policies.Judge(q)
			got := ""
			for _, o := range r.Obligations {
				duty := o.Duty.(decision.Redact)
				got += o.Policy + map[bool]string{true: " content", false: " arguments"}[duty.Content]
				for _, e := range duty.Edits {
					got += " " + e.Method.String() + " " + e.Pointer
				}
			}
			if r.Refused.Code != "" {
				got += r.Refused.Code + ": " + r.Refused.Text
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestExplain(t *testing.T) {
	b := things(t, `@id("far") permit (principal == Agent::"x", action == Action::"s/t", resource == Server::"x") when { context.purpose == "q" };
@id("near") permit (principal in Team::"t", action in Action::"read-only", resource) when { context.purpose == "p" && context.args has n && context.args.n > 3 };
@id("nearer") permit (principal in Team::"t", action in [Action::"s/t"], resource is Server) when { context.purpose == "p" } unless { context.cost.calls == 1 };
@id("matches") permit (principal, action, resource);
@id("elsewhere") permit (principal, action == Action::"prompt", resource);
@id("fails") forbid (principal, action == Action::"s/t", resource) when { context.args has n && context.args.n + 9223372036854775807 > 0 };
@id("holds") forbid (principal, action == Action::"s/t", resource) unless { context.phase == "CALL" || context.purpose == "p" };
@id("needs") permit (principal, action == Action::"s/t", resource) when { context has ticket };
@id("obliges") @obligate("watermark") @text("w") permit (principal, action, resource);
@id("does-not") @obligate("watermark") @text("w") permit (principal == Agent::"x", action, resource);`)
	q := calling(t, b)
	q.Request.Arguments = parsed(t, `{"n":2}`)
	saw := func(expression, value string) []decision.Seen {
		return []decision.Seen{{Expression: expression, Value: value}}
	}
	want := decision.Explanation{
		Matched: []decision.Matched{
			{Policy: "fails", Effect: "error", Decided: true, Position: "cedar/a.cedar:6:1"},
			{Policy: "matches", Effect: "permit", Position: "cedar/a.cedar:4:1"},
			{Policy: "obliges", Effect: "oblige", Position: "cedar/a.cedar:9:1"},
		},
		Near: []decision.Near{
			{Policy: "near", Held: 4, Clauses: 5, Failed: `when { context.args.n > 3 }`, Saw: saw("context.args.n", "2"), Position: "cedar/a.cedar:2:1"},
			{Policy: "nearer", Held: 4, Clauses: 5, Failed: `unless { context.cost.calls == 1 }`, Saw: saw("context.cost.calls", "1"), Position: "cedar/a.cedar:3:1"},
			{Policy: "needs", Held: 1, Clauses: 2, Failed: `when { context has ticket }`, Saw: saw("context.ticket", "absent"), Position: "cedar/a.cedar:8:1"},
			{Policy: "far", Held: 1, Clauses: 4, Failed: `principal == Agent::"x"`, Saw: saw("principal", `Agent::"a"`), Position: "cedar/a.cedar:1:1"},
			{Policy: "fails", Forbid: true, Held: 2, Clauses: 3, Failed: `when { context.args.n + 9223372036854775807 > 0 }`, Error: true,
				Saw: saw("context.args.n", "2"), Position: "cedar/a.cedar:6:1"},
			{Policy: "holds", Forbid: true, Held: 1, Clauses: 3, Failed: `unless { context.phase == "CALL" }`, Saw: saw("context.phase", `"CALL"`), Position: "cedar/a.cedar:7:1"},
		},
	}
	if diff := cmp.Diff(want, b.Policies.Explain(q), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	q.Request.Phase = decision.List
	if got := b.Policies.Explain(q); len(got.Near)+len(got.Matched) > 0 {
		t.Errorf("a list is explained: %v", got)
	}
}

// Who won is said of permits and obligations too.
func TestExplainMatched(t *testing.T) {
	for _, test := range []struct{ name, policies, want string }{
		{"allowed", `@id("p") permit (principal, action, resource); @id("o") @obligate("watermark") @text("w") permit (principal, action, resource);`, "permit p true, oblige o true"},
		{"forbidden", `@id("p") permit (principal, action, resource); @id("f") forbid (principal, action, resource);`, "forbid f true, permit p false"},
		{"obliged only", `@id("o") @obligate("watermark") @text("w") permit (principal, action, resource);`, "oblige o false"},
		{"nothing", `@id("p") permit (principal, action, resource) when { context.purpose == "q" };`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := things(t, test.policies)
			var got []string
			for _, m := range b.Policies.Explain(calling(t, b)).Matched {
				got = append(got, fmt.Sprint(m.Effect, " ", m.Policy, " ", m.Decided))
			}
			if diff := cmp.Diff(test.want, strings.Join(got, ", ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// An explanation shows no text of the request's that the bundle does not hold.
func TestExplainHoldsNoSecrets(t *testing.T) {
	const canary = "hunter2"
	var text strings.Builder
	for i, clause := range []string{
		`context.tenant == "x"`, `context.caller == "x"`, `context.issuer == "x"`, `context.purpose == "x"`, `context.session == "x"`,
		`context.onBehalfOf in Team::"t"`, `context.actors.contains("x")`, `context.actors.containsAll(["CALL", "x"])`,
		`principal == Agent::"x"`, `context.ticket.id == "x"`, `context.ticket.approvers.contains("x")`,
		`context.args.n > 300000`,
	} {
		for _, optional := range []string{"session", "onBehalfOf", "ticket"} {
			if strings.Contains(clause, "context."+optional) {
				clause = "context has " + optional + " && " + clause
			}
		}
		if strings.Contains(clause, ".n ") {
			clause = "context.args has n && " + clause
		}
		fmt.Fprintf(&text, "@id(\"s%02d\") forbid (principal, action == Action::\"s/t\", resource) when { %s };\n", i, clause)
	}
	b := things(t, text.String())
	q := calling(t, b)
	q.Request.Arguments = parsed(t, `{"n":271828}`)
	q.Request.Caller = decision.Caller{Tenant: canary, SPIFFEID: canary}
	q.Request.Principal = decision.Principal{Subject: canary, Issuer: canary, OnBehalfOf: canary, Actors: []string{canary, "CALL"}}
	q.Request.Session, q.Request.Purpose, q.Request.Context = canary, canary, parsed(t, `{"`+canary+`":1}`)
	q.Ticket = &decision.Ticket{ID: canary, Approvers: []string{canary}}
	var got []string
	for _, n := range b.Policies.Explain(q).Near {
		got = append(got, fmt.Sprint(n.Policy, " ", n.Saw))
		if strings.Contains(fmt.Sprintf("%+v", n), canary) {
			t.Errorf("got %+v", n)
		}
	}
	slices.Sort(got)
	want := []string{
		`s00 [{context.tenant (a string) true}]`, `s01 [{context.caller (a string) true}]`, `s02 [{context.issuer (a string) true}]`,
		`s03 [{context.purpose (a string) true}]`, `s04 [{context.session (a string) true}]`, `s05 [{context.onBehalfOf Human::(a string) true}]`,
		`s06 [{context.actors ["CALL", (1 more)] true}]`, `s07 [{context.actors ["CALL", (1 more)] true}]`, `s08 [{principal Agent::(a string) true}]`,
		`s09 [{context.ticket.id (a string) true}]`, `s10 [{context.ticket.approvers [(1 more)] true}]`, `s11 [{context.args.n 271828 false}]`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// A number of a field that some policy redacts is masked too.
	b = things(t, text.String()+`@id("r") @obligate("redact") @fields("/other/*/x /n/*") permit (principal == Agent::"x", action, resource);`)
	for _, n := range b.Policies.Explain(q).Near {
		if said := fmt.Sprintf("%+v", n); strings.Contains(said, "271828") {
			t.Errorf("got %s", said)
		}
	}
	// The same goes for what is refused.
	q.Request.Arguments = parsed(t, `{"n":"`+canary+`"}`)
	if r := b.Policies.Judge(q); r.Refused.Code == "" || strings.Contains(r.Refused.Text, canary) {
		t.Errorf("got %+v", r.Refused)
	}
}

// Of policies that are as near, those come first that are about the agent.
func TestExplainOrder(t *testing.T) {
	b := things(t, `@id("a") permit (principal == Agent::"x", action == Action::"s/t", resource) when { context.phase == "CALL" };
@id("b") permit (principal == Agent::"a", action == Action::"s/t", resource) when { context.phase == "RESULT" };
@id("c") permit (principal == Agent::"a", action == Action::"s/t", resource) when { context.phase == "CALL" } when { context.phase == "RESULT" };
@id("d") permit (principal == Agent::"y", action == Action::"s/t", resource) when { context.phase == "CALL" };`)
	var got []string
	for _, n := range b.Policies.Explain(calling(t, b)).Near {
		got = append(got, n.Policy)
	}
	if diff := cmp.Diff([]string{"c", "b", "a", "d"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestExplainIsBounded(t *testing.T) {
	var text strings.Builder
	for i := range 400 {
		fmt.Fprintf(&text, "@id(\"p%d\") permit (principal, action == Action::\"s/t\", resource) when { context.tenant like \"%s*\" };\n", i, strings.Repeat("y", 3000))
		fmt.Fprintf(&text, "@id(\"q%d\") permit (principal, action == Action::\"s/t\", resource);\n", i)
	}
	b := things(t, text.String())
	e := b.Policies.Explain(calling(t, b))
	if len(e.Near) != maxNear || len(e.Matched) != maxMatched {
		t.Errorf("%d near, %d matched", len(e.Near), len(e.Matched))
	}
	for _, n := range e.Near {
		if said := fmt.Sprintf("%+v", n); len(said) > 4096 {
			t.Errorf("%d bytes", len(said))
		}
	}
}
