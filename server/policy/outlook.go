package policy

import (
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy/clause"
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
// leaves open the time and the caller too, and for no tenant also whose it is:
// then of the policies only those of every tenant are asked. It is asked of an agent that acts for
// no human in no session to no stated destination, with some valid ticket or with
// none. What obligations ask for, budgets and the tool's schema are not looked at.
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
		if name == "tenant" && ask.tenant != "" {
			continue
		}
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
	}
	switch {
	case !permitted && !possible:
		return Denied
	case permitted && !doubt && !slices.ContainsFunc(slices.Concat(deciding, obligating), func(st *statement) bool { return canFail(st, &ask) }):
		return Allowed
	}
	return Depends
}

// Apart reports whether what a tenant's agent may call can differ from what it may
// call for no tenant in particular: a policy of the tenant's own is for it, or some
// policy looks at context.tenant.
func (s *Set) Apart(tenant, agent string, tool decision.ToolName) bool {
	own := s.index.tenants[tenant]
	return s.needs.has("tenant") || own != nil && len(s.index.findOn(own, nil, cedar.NewEntityUID(typeAgent, cedar.String(agent)),
		cedar.NewEntityUID(typeAction, cedar.String(tool.String())), cedar.EntityUID{}, true)) > 0
}

// canFail reports whether a policy can be an error, which denies, in some case
// that is left open. One whose clauses are asked up to a false one can be before
// it; what is left of it does not show that.
func canFail(st *statement, ask *question) bool {
	if !fallible(st.ast.Conditions) {
		return false
	}
	env := ask.env()
	if ask.resource.IsZero() {
		env.Resource = unknown("resource")
	}
	for _, c := range clause.Of(st.ast) {
		if c.Condition >= 0 && fallible(c.Alone().Conditions) {
			return true
		}
		if _, keep := eval.PartialPolicy(env, c.Alone()); !keep {
			return false
		}
	}
	return false
}

// infallible are the methods that are no error on values of their types.
var infallible = []string{"lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual",
	"isIpv4", "isIpv6", "isLoopback", "isMulticast", "isInRange"}

// fallible reports whether conditions can be an error: sums can overflow, and
// texts need not be what they are parsed as. A literal is, and that an attribute
// is there: the validator sees to both.
func fallible(conditions []ast.ConditionType) bool {
	found := false
	for _, c := range conditions {
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
			switch n := n.(type) {
			case ast.NodeTypeAdd, ast.NodeTypeSub, ast.NodeTypeMult, ast.NodeTypeNegate:
				found = true
			case ast.NodeTypeExtensionCall:
				literal := len(n.Args) == 1
				if literal {
					_, literal = n.Args[0].(ast.NodeValue)
				}
				found = found || !literal && !slices.Contains(infallible, string(n.Name))
			}
			return !found
		})
	}
	return found
}
