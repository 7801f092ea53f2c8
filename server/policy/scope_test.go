package policy

import (
	"crypto/sha256"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/writpdp/writ/server/decision"
)

var theTool = decision.ToolName{Server: "s", Name: "t"}

func scopeBundle(t testing.TB) *decision.Bundle {
	t.Helper()
	b, err := withheldBundle(`@id("p") permit (principal, action == Action::"s/t", resource) when { context.args.s == "x" };`)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func scopeQuery(t fataler, b *decision.Bundle, args map[string]any) decision.Query {
	return decision.Query{Tool: b.Tools[theTool], Request: &decision.Request{Phase: decision.Call, Purpose: "p", Caller: decision.Caller{Tenant: "acme"},
		Principal: decision.Principal{Subject: "a"}, Tool: decision.ToolRef{ToolName: theTool}, Arguments: documentOf(t, args), Cost: decision.Cost{Calls: 1}}}
}

// A scope is one valid condition, whatever its text tries to be, and holds where it
// can be evaluated and is true.
func TestScope(t *testing.T) {
	b := scopeBundle(t)
	for _, c := range []struct {
		scope string
		valid string // what is wrong with it; empty: nothing
		holds decision.Verdict
	}{
		{"true", "", decision.Permit},
		{`context.args.s == "y"`, "", decision.Permit},
		{`context.args.s == "x"`, "", decision.Deny},
		{`context.tenant == "acme" && context.purpose == "p"`, "", decision.Permit}, // what no policy of the bundle looks at
		{`principal in Team::"t"`, "", decision.Permit},
		{"true // and so on", "", decision.Permit},
		{`context.args has n && context.args.n + 9223372036854775807 > 0`, "", decision.Deny}, // it fails
		{`context has ticket`, "", decision.Deny},
		{"", "not a Cedar condition", decision.Deny},
		{"true;", "not a Cedar condition", decision.Deny},
		{"true } unless { false", "more than one", decision.Deny},
		{"true } when { true", "more than one", decision.Deny},
		{"true }; permit (principal, action, resource) when { true", "more than one", decision.Permit},
		{"true }; @id(\"x\") forbid (principal, action, resource) when { false", "more than one", decision.Deny},
		{"context.args.nothing == 1", "not valid", decision.Deny},
		{"context.args.n > 1", "not valid", decision.Permit}, // optional
		{`"text"`, "not valid", decision.Deny},
		{strings.Repeat("(", 100) + "true" + strings.Repeat(")", 100), "nested deeper", decision.Deny},
		{strings.Repeat(" ", 4097) + "true", "longer than", decision.Deny},
	} {
		err := b.Policies.CheckScope(c.scope, theTool)
		if (err == nil) != (c.valid == "") || err != nil && !strings.Contains(err.Error(), c.valid) {
			t.Errorf("%.60q: got %v, want %q", c.scope, err, c.valid)
		}
		if c.valid == "more than one" {
			c.holds = decision.Deny
		}
		if holds, _ := b.Policies.Within(c.scope, scopeQuery(t, b, map[string]any{"s": "y", "n": 5})); holds != c.holds {
			t.Errorf("%.60q: holds is %v, want %v", c.scope, holds, c.holds)
		}
	}
	if err := b.Policies.CheckScope("true", decision.ToolName{Server: "s", Name: `t", resource) when {true}; //`}); err == nil {
		t.Error("a tool that there is not")
	}
	q := scopeQuery(t, b, map[string]any{"s": "y"})
	q.Request.Tool.Name = "another"
	if holds, _ := b.Policies.Within("true", q); holds != decision.Deny {
		t.Errorf("of another tool: %v", holds)
	}
	q = scopeQuery(t, b, map[string]any{"s": 7}) // does not fit the schema
	if holds, _ := b.Policies.Within("true", q); holds != decision.Deny {
		t.Errorf("of arguments that do not fit: %v", holds)
	}
}

// What is said of a scope on a request of which parts are withheld is true whatever
// they are.
func TestScopeIsNeverGuessed(t *testing.T) {
	b := scopeBundle(t)
	determined := map[decision.Verdict]int{}
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.SampledFrom(conditions), 1, 3).Draw(t, "parts")
		scope := strings.Join(parts, rapid.SampledFrom([]string{" && ", " || "}).Draw(t, "joined"))
		if rapid.Bool().Draw(t, "not") {
			scope = "!(" + scope + ")"
		}
		args, otherArgs := hide(t, argumentValues, argumentValues.draw(t, "args"), "args")
		context, otherContexts := hide(t, extras, extras.draw(t, "extra"), "extra")
		req := decision.Request{Phase: decision.Call, Purpose: "p", Principal: decision.Principal{Subject: "a"},
			Tool: decision.ToolRef{ToolName: theTool}, Arguments: args, Context: context, Cost: decision.Cost{Calls: 1}}
		thing := rapid.SampledFrom([]string{"", "known", "named", "neither"}).Draw(t, "thing")
		members := map[string]any{}
		if thing != "" {
			if thing != "known" {
				members = properties.draw(t, "properties")
			}
			req.Resource = decision.Resource{Type: "Thing", Digest: sha256.Sum256([]byte(thing)), Properties: documentOf(t, members)}
		}
		says, withheld := b.Policies.Within(scope, decision.Query{Request: &req, Tool: b.Tools[theTool]})
		if says == decision.Undetermined {
			if len(withheld) == 0 {
				t.Fatal("undetermined, and nothing would tell")
			}
			return
		}
		determined[says]++
		for _, a := range otherArgs {
			for _, c := range otherContexts {
				full := req
				full.Arguments, full.Context = documentOf(t, a), documentOf(t, c)
				if thing != "" {
					full.Resource = decision.Resource{Type: "Thing", ID: thing, Properties: documentOf(t, members)}
				}
				if is, _ := b.Policies.Within(scope, decision.Query{Request: &full, Tool: b.Tools[theTool]}); is != says {
					t.Fatalf("%s: says %v, and for %v %v of %q it is %v", scope, says, a, c, thing, is)
				}
			}
		}
	})
	if determined[decision.Permit] == 0 || determined[decision.Deny] == 0 {
		t.Errorf("determined %v", determined)
	}
}

// Who has which role is read from the manifest, and a role that nobody has is a
// mistake.
func TestTicketRoles(t *testing.T) {
	with := func(text string) (*decision.Bundle, error) {
		return Load(broken(map[string]string{fileManifest: "version: 1\nname: x\n" + text}))
	}
	b, err := with("tickets:\n  approvals: 2\n  approver_roles: [dba]\n  roles: { dba: [ann, bob], finance: [ann] }\n")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(b.Roles["ann"], " ") != "dba finance" || strings.Join(b.Roles["bob"], " ") != "dba" || b.Approvals != 2 || len(b.ApproverRoles) != 1 {
		t.Errorf("got %v, %d, %v", b.Roles, b.Approvals, b.ApproverRoles)
	}
	for text, want := range map[string]string{
		"tickets: { roles: { dba: [] } }":                                "not 1 to",
		"tickets: { roles: { dba: [ann, ann] } }":                        "twice",
		"tickets: { roles: { 'D B': [ann] } }":                           "not of the form",
		"tickets: { roles: { dba: [\"a\\nb\"] } }":                       "control characters",
		"tickets: { approver_roles: [dba] }":                             "has no members",
		"tickets: { approver_roles: [dba, dba], roles: { dba: [ann] } }": "twice",
		"tickets: { approvals: 17 }":                                     "not 0 to 16",
		"tickets: { approvals: -1 }":                                     "not 0 to 16",
		"tickets: { rolls: { dba: [ann] } }":                             "unknown field",
	} {
		if _, err := with(text + "\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

// Whatever a scope is, asking it neither crashes nor holds where it is refused.
func FuzzScope(f *testing.F) {
	for _, scope := range []string{"true", `context.args.s == "y"`, "true } unless { false", "true }; permit (principal, action, resource) when { true", "// x", `"}`, "context.args has n && context.args.n > 1"} {
		f.Add(scope)
	}
	b := scopeBundle(f)
	f.Fuzz(func(t *testing.T, scope string) {
		_, err := scopePolicy(scope, theTool)
		holds, _ := b.Policies.Within(scope, scopeQuery(t, b, map[string]any{"s": "y", "n": 5}))
		if err != nil && holds != decision.Deny {
			t.Errorf("%q is refused (%v), and holds", scope, err)
		}
		if b.Policies.CheckScope(scope, theTool) == nil && err != nil {
			t.Errorf("%q is valid, and refused: %v", scope, err)
		}
	})
}
