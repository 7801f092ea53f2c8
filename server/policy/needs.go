package policy

import (
	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
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
	attribute := func(of ast.IsNode, name cedar.String) bool {
		if v, ok := of.(ast.NodeTypeVariable); ok && v.Name == "context" {
			n.names[name] = true
			return false // the variable itself is accounted for
		}
		return true
	}
	for _, s := range statements {
		for _, c := range s.ast.Conditions {
			ast.Inspect(ast.NewNode(c.Body), func(node ast.IsNode) bool {
				switch node := node.(type) {
				case ast.NodeTypeAccess:
					return attribute(node.Arg, node.Value)
				case ast.NodeTypeHas:
					return attribute(node.Arg, node.Value)
				case ast.NodeTypeVariable:
					n.all = n.all || node.Name == "context"
				}
				return true
			})
		}
	}
	return n
}
