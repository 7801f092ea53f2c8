// Package clause takes a Cedar policy apart into its clauses: what must all hold
// for the policy to match. Each can be evaluated on its own, which is how Writ
// says why a policy did not match, and which clauses a run of tests has seen true
// and false. It does no I/O and knows nothing of bundles.
package clause

import (
	"strings"

	"github.com/cedar-policy/cedar-go"
	publicast "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"
)

// Kind is where a clause stands in its policy.
type Kind uint8

// The kinds. The parts of a scope have a clause where they ask for something.
const (
	Action Kind = iota + 1
	Principal
	Resource
	When   // a conjunct of a when
	Unless // a disjunct of an unless
)

// Outcome is what a clause comes to on a request.
type Outcome uint8

// The outcomes. The zero value is that of a clause that cannot be evaluated.
const (
	Error Outcome = iota
	False
	True
)

// Clause is one constraint of a policy. It holds (True) when it does not stand in
// the way of a match: an unless clause when its expression is false.
type Clause struct {
	Kind Kind
	// Condition is the index of the condition that the clause is of; -1: none.
	Condition int

	expression ast.IsNode
	alone      *ast.Policy
	node       ast.IsNode
}

// Alone is a permit with this clause and no other.
func (c Clause) Alone() *ast.Policy { return c.alone }

// Of are the clauses of a policy in the order in which they are asked: action,
// principal, resource, then the conditions as they are written.
func Of(p *ast.Policy) []Clause {
	var all []Clause
	scoped := func(kind Kind, variable string, set func(*ast.Policy)) {
		one := ast.Permit()
		set(one)
		all = append(all, newClause(kind, -1, ast.NodeTypeVariable{Name: cedar.String(variable)}, one))
	}
	if _, any := p.Action.(ast.ScopeTypeAll); !any {
		scoped(Action, "action", func(one *ast.Policy) { one.Action = p.Action })
	}
	if _, any := p.Principal.(ast.ScopeTypeAll); !any {
		scoped(Principal, "principal", func(one *ast.Policy) { one.Principal = p.Principal })
	}
	if _, any := p.Resource.(ast.ScopeTypeAll); !any {
		scoped(Resource, "resource", func(one *ast.Policy) { one.Resource = p.Resource })
	}
	for i, condition := range p.Conditions {
		kind := Unless
		if condition.Condition == ast.ConditionWhen {
			kind = When
		}
		for _, part := range split(condition) {
			one := ast.Permit()
			one.Conditions = []ast.ConditionType{{Condition: condition.Condition, Body: part}}
			all = append(all, newClause(kind, i, part, one))
		}
	}
	return all
}

// newClause is the clause of a policy that has no other.
func newClause(kind Kind, condition int, expression ast.IsNode, only *ast.Policy) Clause {
	return Clause{Kind: kind, Condition: condition, expression: expression, alone: only, node: eval.PolicyToNode(only).AsIsNode()}
}

// split takes apart what a condition joins: when a && b, and unless a || b.
func split(c ast.ConditionType) []ast.IsNode {
	var parts []ast.IsNode
	var walk func(ast.IsNode)
	walk = func(n ast.IsNode) {
		switch n := n.(type) {
		case ast.NodeTypeAnd:
			if c.Condition == ast.ConditionWhen {
				walk(n.Left)
				walk(n.Right)
				return
			}
		case ast.NodeTypeOr:
			if c.Condition == ast.ConditionUnless {
				walk(n.Left)
				walk(n.Right)
				return
			}
		}
		parts = append(parts, n)
	}
	walk(c.Body)
	return parts
}

// Eval evaluates the clause alone.
func (c Clause) Eval(env eval.Env) Outcome {
	v, err := eval.Eval(c.node, env)
	switch {
	case err != nil:
		return Error
	case v == cedar.Boolean(true):
		return True
	}
	return False
}

// oneLine undoes the layout of a scope; a string literal holds no line break.
var oneLine = strings.NewReplacer("\n    ", " ", "\n", " ")

// Text is the clause in Cedar, on one line: the part of the scope, or the
// condition.
func (c Clause) Text() string {
	written := oneLine.Replace(Normal(c.alone))
	written = strings.TrimSuffix(strings.TrimPrefix(written, "permit "), ";")
	switch scope := strings.TrimSuffix(strings.TrimPrefix(written, "( "), " )"); c.Kind {
	case Principal:
		return strings.TrimSuffix(scope, ", action, resource")
	case Action:
		return strings.TrimSuffix(strings.TrimPrefix(scope, "principal, "), ", resource")
	case Resource:
		return strings.TrimPrefix(scope, "principal, action, ")
	}
	return strings.TrimPrefix(written, "( principal, action, resource ) ")
}

// Normal is a policy in Cedar's own layout, without its annotations: two policies
// that differ in formatting and comments only have the same.
func Normal(p *ast.Policy) string {
	bare := *p
	bare.Annotations = nil
	return strings.TrimSpace(string(cedar.NewPolicyFromAST((*publicast.Policy)(&bare)).MarshalCedar()))
}
