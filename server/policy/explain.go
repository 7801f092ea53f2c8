package policy

import (
	"bytes"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	publicast "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"github.com/writpdp/writ/server/decision"
)

// maxNear is how many policies Explain names.
const maxNear = 16

// Explain names the deciding policies that did not match, nearest first: the
// larger the share of its clauses that hold, the nearer. A clause is one
// constraint of the scope or one conjunct of a condition. Permits come before
// forbids. A list is not explained: its policies have no arguments to fail on.
func (s *Set) Explain(q decision.Query) []decision.Near {
	ask, why := s.ask(q)
	if why.Code != "" || q.Request.Phase == decision.List {
		return nil
	}
	env := eval.Env{Entities: ask.entities, Principal: ask.principal, Action: ask.action, Resource: ask.resource, Context: ask.context}
	var near []decision.Near
	line := s.index.lineage(ask.action)
	for _, st := range s.index.statements {
		if st.obligate != nil || !s.index.applies(st, line) {
			continue // no policy for another action is near
		}
		n := decision.Near{Policy: st.id, Forbid: st.forbid, Position: st.at()}
		for _, c := range clauses(st.ast) {
			n.Clauses++
			if c.holds(env) {
				n.Held++
			} else if n.Failed == "" {
				n.Failed = short(c.text())
			}
		}
		if n.Failed != "" {
			near = append(near, n)
		}
	}
	slices.SortStableFunc(near, func(a, b decision.Near) int {
		if a.Forbid != b.Forbid {
			return map[bool]int{false: -1, true: 1}[a.Forbid]
		}
		return b.Held*a.Clauses - a.Held*b.Clauses
	})
	return near[:min(len(near), maxNear)]
}

// clause is a policy with one constraint only.
type clause struct{ policy ast.Policy }

func clauses(p *ast.Policy) []clause {
	var all []clause
	scoped := func(set func(*ast.Policy)) {
		c := clause{policy: *ast.Permit()}
		set(&c.policy)
		all = append(all, c)
	}
	if _, any := p.Principal.(ast.ScopeTypeAll); !any {
		scoped(func(c *ast.Policy) { c.Principal = p.Principal })
	}
	if _, any := p.Action.(ast.ScopeTypeAll); !any {
		scoped(func(c *ast.Policy) { c.Action = p.Action })
	}
	if _, any := p.Resource.(ast.ScopeTypeAll); !any {
		scoped(func(c *ast.Policy) { c.Resource = p.Resource })
	}
	for _, condition := range p.Conditions {
		for _, body := range split(condition) {
			scoped(func(c *ast.Policy) {
				c.Conditions = []ast.ConditionType{{Condition: condition.Condition, Body: body}}
			})
		}
	}
	return all
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

// holds reports whether the clause is true; one that cannot be evaluated is not.
func (c clause) holds(env eval.Env) bool {
	v, err := eval.Eval(eval.PolicyToNode(&c.policy).AsIsNode(), env)
	return err == nil && v == cedar.Boolean(true)
}

// text is the clause in Cedar: its policy without what is the same in all.
func (c clause) text() string {
	text := strings.TrimSpace(string(cedar.NewPolicyFromAST((*publicast.Policy)(&c.policy)).MarshalCedar()))
	if at := strings.IndexByte(text, ')'); len(c.policy.Conditions) > 0 && at >= 0 {
		text = strings.TrimSuffix(strings.TrimSpace(text[at+1:]), ";")
	} else {
		text = strings.TrimSuffix(strings.TrimPrefix(text, "permit "), ";")
	}
	return string(bytes.Join(bytes.Fields([]byte(text)), []byte(" ")))
}
