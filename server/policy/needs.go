package policy

import (
	"github.com/cedar-policy/cedar-go"

	"github.com/writpdp/writ/server/policy/clause"
)

// needs are the attributes of context that some policy looks at. To build the
// others for every request would cost more than to evaluate the policies.
type needs struct {
	all   bool
	names map[cedar.String]bool
}

func (n needs) has(name cedar.String) bool { return n.all || n.names[name] }

// needsOf finds them. A policy that looks at context as a whole needs all.
func needsOf(statements []*statement) needs {
	n := needs{names: map[cedar.String]bool{}}
	for _, s := range statements {
		clause.Context(s.ast, func(name, _ cedar.String) {
			n.all = n.all || name == ""
			n.names[name] = true
		})
	}
	return n
}
