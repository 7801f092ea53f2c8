package policy

import (
	"fmt"

	"github.com/cedar-policy/cedar-go"

	publicast "github.com/cedar-policy/cedar-go/ast"

	"github.com/writpdp/writ/server/policy/access"
)

// access reads the policies that say who may call. Where the bundle has none,
// callers work for their own tenants.
func (f *files) access() (*access.Policies, error) {
	statements, err := f.statementsIn(dirAccess)
	if err != nil {
		return nil, err
	}
	if len(statements) == 0 {
		return access.Default(), nil
	}
	validator, policies, tickets := NewValidator(access.Schema()), map[string]*cedar.Policy{}, map[string]bool{}
	for _, st := range statements {
		if st.obligate != nil || st.shadow {
			return nil, fmt.Errorf("%s: policy %q: an access policy permits or forbids: it has no @obligate or @mode", st.at(), st.id)
		}
		if err := validator.Check(st.ast); err != nil {
			return nil, fmt.Errorf("%s: policy %q: %s", st.at(), st.id, mistakes(err))
		}
		tickets[st.id] = st.ticket
		policies[st.id] = cedar.NewPolicyFromAST((*publicast.Policy)(st.ast))
	}
	return access.New(policies, func(id string) bool { return tickets[id] }), nil
}
