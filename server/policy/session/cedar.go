package session

import (
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy/clause"
)

// The attributes of context that are about a session.
const (
	Taint = cedar.String("taint") // the labels that it holds
	Chain = cedar.String("chain") // the bundle's values over its events
)

// Types declares the attributes in Cedar's schema language.
func Types(chains []decision.ChainRule) string {
	var values []string
	for i := range chains {
		typ := "Long"
		if chains[i].Kind == decision.Formerly {
			typ = "Bool"
		}
		values = append(values, chains[i].ID+": "+typ)
	}
	return string(Taint) + ": Set<String>, " + string(Chain) + ": {" + strings.Join(values, ", ") + "}"
}

// TaintOf is the set of a session's labels.
func TaintOf(labels []string) cedar.Value {
	all := make([]cedar.Value, len(labels))
	for i, label := range labels {
		all[i] = cedar.String(label)
	}
	return cedar.NewSet(all...)
}

// ChainOf is the record of the values, by the places of the rules; what is not there
// is 0.
func ChainOf(chains []decision.ChainRule, values []int64) cedar.Value {
	m := make(cedar.RecordMap, len(chains))
	for i := range chains {
		value := int64(0)
		if i < len(values) {
			value = values[i]
		}
		if name := cedar.String(chains[i].ID); chains[i].Kind == decision.Formerly {
			m[name] = cedar.Boolean(value > 0)
		} else {
			m[name] = cedar.Long(value)
		}
	}
	return cedar.NewRecord(m)
}

// Looks is what of its session a policy looks at. One that looks at context, or at
// context.chain, as a whole looks at all of it.
func Looks(p *ast.Policy, chains []decision.ChainRule) (l decision.Looked) {
	whole := uint64(1)<<len(chains) - 1
	place := func(name cedar.String) uint64 {
		i := slices.IndexFunc(chains, func(r decision.ChainRule) bool { return r.ID == string(name) })
		if i < 0 {
			return 0
		}
		return 1 << i
	}
	clause.Context(p, func(name, member cedar.String) {
		switch {
		case name == "":
			l = decision.Looked{Labels: true, Chains: whole}
		case name == Taint:
			l.Labels = true
		case name == Chain && member == "":
			l.Chains |= whole
		case name == Chain:
			l.Chains |= place(member)
		}
	})
	return l
}
