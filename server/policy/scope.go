package policy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy/partial"
)

// maxScope bounds a ticket's scope, in bytes.
const maxScope = 4096

// scopePolicy is a ticket's scope as the one policy that permits, of calls of a tool,
// those for which it holds. A text that closes the condition to go on with something
// else is more than that, and refused.
func scopePolicy(scope string, tool decision.ToolName) (*cedar.Policy, error) {
	if len(scope) > maxScope {
		return nil, fmt.Errorf("the scope is longer than %d bytes", maxScope)
	}
	action := cedar.NewEntityUID(typeAction, cedar.String(tool.String()))
	// A line of its own, so that a comment at its end hides nothing.
	text := []byte("permit (principal, action == " + string(action.MarshalCedar()) + ", resource) when {\n" + scope + "\n};")
	if err := checkCedar("scope", text); err != nil {
		return nil, err
	}
	list, err := cedar.NewPolicyListFromBytes("scope", text)
	if err != nil {
		return nil, errors.New("the scope is not a Cedar condition")
	}
	if len(list) != 1 || len((*ast.Policy)(list[0].AST()).Conditions) != 1 {
		return nil, errors.New("the scope is more than one Cedar condition")
	}
	return list[0], nil
}

// CheckScope refuses a scope that is not one condition, valid on calls of a tool.
func (s *Set) CheckScope(scope string, tool decision.ToolName) error {
	p, err := scopePolicy(scope, tool)
	if err != nil {
		return err
	}
	if _, known := s.schema.Actions[cedar.NewEntityUID(typeAction, cedar.String(tool.String()))]; !known {
		return fmt.Errorf("the bundle has no tool %s", strconv.Quote(tool.String()))
	}
	if err := NewValidator(s.schema).Check((*ast.Policy)(p.AST())); err != nil {
		return fmt.Errorf("the scope is not valid: %s", mistakes(err))
	}
	return nil
}

// Within tells whether a ticket's scope holds of a query.
func (s *Set) Within(scope string, q decision.Query) (decision.Verdict, []string) {
	p, err := scopePolicy(scope, q.Request.Tool.ToolName)
	if err != nil || q.Request.Phase == decision.List {
		return decision.Deny, nil
	}
	whole := *s
	whole.needs = needs{all: true} // the policies' own needs are not the scope's
	if incomplete(q) {
		return whole.withinIncomplete((*ast.Policy)(p.AST()), q)
	}
	ask, why := whole.ask(q)
	if why.Code != "" {
		return decision.Deny, nil
	}
	set := cedar.NewPolicySet()
	set.Add("scope", p)
	verdict, diagnostic := cedar.Authorize(set, ask.entities, ask.request())
	if verdict != cedar.Allow || len(diagnostic.Errors) > 0 {
		return decision.Deny, nil
	}
	return decision.Permit, nil
}

// withinIncomplete is Within for a request of which parts are not known.
func (s *Set) withinIncomplete(scope *ast.Policy, q decision.Query) (decision.Verdict, []string) {
	if q.Matched != nil {
		switch holds, known := q.Matched(decision.TicketScope); {
		case known && holds:
			return decision.Permit, nil
		case known:
			return decision.Deny, nil
		}
	}
	known, unknown, doubts := s.fill(q)
	q.Request = &known
	ask, why := s.ask(q)
	if why.Code != "" {
		return decision.Deny, nil
	}
	unknown.Env = eval.Env{Entities: ask.entities, Principal: ask.principal, Action: ask.action, Resource: ask.resource, Context: ask.context}
	out, open := unknown.Policy(scope)
	if unknown.Nameless && asksResource(scope) {
		open = append(open, "resource") // the scope may name what nobody else does
	}
	switch open = append(open, doubts...); {
	case len(open) == 0 && out == partial.Match:
		return decision.Permit, nil
	case !out.Can(partial.Match) && !(unknown.Nameless && asksResource(scope)):
		return decision.Deny, nil
	}
	slices.Sort(open)
	return decision.Undetermined, slices.Compact(open)
}

// asksResource reports whether a policy looks at the resource.
func asksResource(p *ast.Policy) (asks bool) {
	for _, c := range p.Conditions {
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
			v, ok := n.(ast.NodeTypeVariable)
			asks = asks || ok && v.Name == "resource"
			return true
		})
	}
	return asks
}
