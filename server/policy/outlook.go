package policy

import (
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/writpdp/writ/server/decision"
)

// Outlook is what the policies make of a call of which only the agent, the tool
// and the purpose are known.
type Outlook uint8

// The outlooks.
const (
	Denied  Outlook = iota // whatever comes
	Depends                // on arguments, resource, time, cost or the caller
	Allowed                // whatever comes
)

// Outlook rules on a question about a List's candidate as the list does, but
// leaves open the time and the caller too. It is asked of an agent that acts for
// no human in no session, with some valid ticket or with none. Obligations,
// budgets and the tool's schema are not looked at.
func (s *Set) Outlook(q decision.Query, ticket bool) Outlook {
	ask, why := s.ask(q)
	if why.Code != "" || q.Request.Phase != decision.List {
		return Denied
	}
	context := ask.context.Map()
	if !ticket {
		delete(context, "ticket")
	}
	for _, name := range []cedar.String{"now", "extra", "tenant", "caller", "issuer", "actors"} {
		if _, asked := context[name]; asked {
			context[name] = unknown(name)
		}
	}
	ask.context = cedar.NewRecord(context)
	deciding, obligating := s.index.candidates(&ask)
	permitted, possible, doubt := false, false, false
	for st, residual := range residuals(&ask, deciding) {
		whole := certain(residual) && len(residual.Conditions) == 0
		switch {
		case certain(residual) && fails(residual), st.forbid && whole:
			return Denied
		case st.forbid:
			doubt = true
		case whole:
			permitted = true
		default:
			possible = true
		}
		doubt = doubt || canFail(residual)
	}
	for _, residual := range residuals(&ask, obligating) {
		doubt = doubt || canFail(residual)
	}
	switch {
	case permitted && !doubt:
		return Allowed
	case permitted, possible:
		return Depends
	}
	return Denied
}

// infallible are the methods that are no error on values of their types.
var infallible = []string{"lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual",
	"isIpv4", "isIpv6", "isLoopback", "isMulticast", "isInRange"}

// canFail reports whether what is left of a policy can be an error, which denies:
// sums can overflow, and texts need not be what they are parsed as. That an
// attribute is there is the validator's to see.
func canFail(residual *ast.Policy) bool {
	found := false
	for _, c := range residual.Conditions {
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
			switch n := n.(type) {
			case ast.NodeTypeAdd, ast.NodeTypeSub, ast.NodeTypeMult, ast.NodeTypeNegate:
				found = true
			case ast.NodeTypeExtensionCall:
				found = found || !slices.Contains(infallible, string(n.Name))
			}
			return !found
		})
	}
	return found
}
