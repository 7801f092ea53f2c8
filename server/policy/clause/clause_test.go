package clause_test

import (
	"fmt"
	"testing"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"
	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/policy/clause"
)

func parsed(t *testing.T, text string) *ast.Policy {
	t.Helper()
	var p cedar.Policy
	if err := p.UnmarshalCedar([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return (*ast.Policy)(p.AST())
}

var env = eval.Env{
	Principal: cedar.NewEntityUID("Agent", "a"), Action: cedar.NewEntityUID("Action", "s/t"), Resource: cedar.NewEntityUID("Server", "s"),
	Entities: cedar.EntityMap{},
	Context: cedar.NewRecord(cedar.RecordMap{"phase": cedar.String("CALL"), "n": cedar.Long(2), "odd name": cedar.True,
		"args": cedar.NewRecord(cedar.RecordMap{"path": cedar.String("x")})}),
}

func TestOf(t *testing.T) {
	for _, test := range []struct {
		name, policy string
		want         []string
	}{
		{"nothing asked", `permit (principal, action, resource);`, nil},
		{"a scope", `permit (principal == Agent::"a", action in [Action::"x  y", Action::"s/t"], resource is Server in Server::"s");`, []string{
			`action in [Action::"x  y", Action::"s/t"]: 2`, `principal == Agent::"a": 2`, `resource is Server in Server::"s": 2`}},
		{"a scope that fails", `forbid (principal is Human, action == Action::"x", resource == Server::"s");`, []string{
			`action == Action::"x": 1`, `principal is Human: 1`, `resource == Server::"s": 2`}},
		{"conjuncts", `permit (principal, action, resource) when { (context.phase == "CALL" && context.n > 2) && context.n < 3 };`, []string{
			`when { context.phase == "CALL" }: 2`, `when { context.n > 2 }: 1`, `when { context.n < 3 }: 2`}},
		{"disjuncts", `permit (principal, action, resource) unless { context.n > 3 || (context.n == 2 || context has ticket) };`, []string{
			`unless { context.n > 3 }: 2`, `unless { context.n == 2 }: 1`, `unless { context has ticket }: 2`}},
		{"what is not split", `permit (principal, action, resource) when { context.n > 3 || context.n > 1 } unless { context.n > 1 && context.n > 2 };`, []string{
			`when { context.n > 3 || context.n > 1 }: 2`, `unless { context.n > 1 && context.n > 2 }: 2`}},
		{"an error", `permit (principal, action, resource) when { context.m == 1 } unless { context.n + 9223372036854775807 > 1 } when { context.n };`, []string{
			`when { context.m == 1 }: 0`, `unless { context.n + 9223372036854775807 > 1 }: 0`, `when { context.n }: 0`}},
		{"text of a literal", `permit (principal, action, resource) when { context.phase like "a  b\n    c*" };`, []string{
			`when { context.phase like "a  b\n    c*" }: 1`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, c := range clause.Of(parsed(t, test.policy)) {
				got = append(got, fmt.Sprintf("%s: %d", c.Text(), c.Eval(env)))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestLeaves(t *testing.T) {
	for _, test := range []struct {
		clause string
		want   []string
	}{
		{`context.n > 3 + context.n`, []string{"context.n = 2"}},
		{`context.args.path like "/srv/*"`, []string{`context.args.path = "x"`}},
		{`context.args has amount`, []string{"context.args.amount absent"}},
		{`context.args has path`, []string{`context.args.path = "x"`}},
		{`context["odd name"]`, []string{`context["odd name"] = true`}},
		{`principal.team == resource`, []string{"principal.team absent", `resource = Server::"s"`}},
		{`[context.phase, "x"].contains("CALL")`, []string{`context.phase = "CALL"`}},
		{`if context.n > 1 then context.phase == "x" else action == Action::"y"`, []string{"context.n = 2", `context.phase = "CALL"`, `action = Action::"s/t"`}},
		{`true`, nil},
	} {
		t.Run(test.clause, func(t *testing.T) {
			var got []string
			for _, c := range clause.Of(parsed(t, "permit (principal, action, resource) when { "+test.clause+" };")) {
				for _, leaf := range c.Leaves() {
					if v, ok := leaf.Value(env); ok {
						got = append(got, fmt.Sprintf("%s = %s", leaf, v.MarshalCedar()))
					} else {
						got = append(got, leaf.String()+" absent")
					}
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	scope := clause.Of(parsed(t, `permit (principal == Agent::"x", action, resource);`))[0].Leaves()
	if len(scope) != 1 || scope[0].String() != "principal" {
		t.Errorf("a scope looks at %v", scope)
	}
}

func TestLeavesAreBounded(t *testing.T) {
	text := "true"
	for i := range 40 {
		text += fmt.Sprintf(" || context.a%d == 1", i)
	}
	if n := len(clause.Of(parsed(t, "permit (principal, action, resource) when { "+text+" };"))[0].Leaves()); n != 16 {
		t.Errorf("%d leaves", n)
	}
}

// A policy matches exactly when all its clauses hold.
func TestClausesAreThePolicy(t *testing.T) {
	for _, text := range []string{
		`permit (principal, action, resource) when { context.n == 2 && context.phase == "CALL" } unless { context.n > 5 || context has ticket };`,
		`permit (principal == Agent::"a", action, resource) when { context.n == 2 && context.phase == "X" };`,
		`permit (principal == Agent::"b", action, resource);`,
		`permit (principal, action == Action::"s/t", resource is Server) unless { context.n == 2 || context.n == 3 };`,
		`permit (principal, action == Action::"s/t", resource is Server) unless { context.n == 1 || context.n == 3 };`,
	} {
		p := parsed(t, text)
		holds := true
		for _, c := range clause.Of(p) {
			holds = holds && c.Eval(env) == clause.True
		}
		v, err := eval.Eval(eval.PolicyToNode(p).AsIsNode(), env)
		if err != nil || v != cedar.Boolean(holds) {
			t.Errorf("%s: the clauses say %t, Cedar %v %v", text, holds, v, err)
		}
	}
}

func TestNormal(t *testing.T) {
	a := parsed(t, "@id(\"x\")\npermit(principal,action,resource)when{context.n==1};")
	b := parsed(t, "// a comment\n@id(\"y\") @owner(\"z\")\npermit (\n  principal, action,\n  resource\n)\nwhen { ((context.n) == 1) };")
	if clause.Normal(a) != clause.Normal(b) {
		t.Errorf("%s\n%s", clause.Normal(a), clause.Normal(b))
	}
	if c := parsed(t, "permit(principal,action,resource)when{context.n==2};"); clause.Normal(a) == clause.Normal(c) {
		t.Error("another number makes no difference")
	}
}
