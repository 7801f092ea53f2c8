package clause

import (
	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// Context visits what a policy's conditions look at of context: an attribute, with the
// member of it that alone is looked at, which is empty where more may be. An empty
// attribute is context as a whole.
func Context(p *ast.Policy, visit func(attribute, member cedar.String)) {
	of := func(n ast.IsNode) bool {
		v, ok := n.(ast.NodeTypeVariable)
		return ok && v.Name == "context"
	}
	// look takes up on.name, and reports whether what is below is still to be visited.
	look := func(on ast.IsNode, name cedar.String) bool {
		if of(on) {
			visit(name, "")
			return false // the variable itself is accounted for
		}
		if a, ok := on.(ast.NodeTypeAccess); ok && of(a.Arg) {
			visit(a.Value, name)
			return false
		}
		return true
	}
	for _, c := range p.Conditions {
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
			switch n := n.(type) {
			case ast.NodeTypeAccess:
				return look(n.Arg, n.Value)
			case ast.NodeTypeHas:
				return look(n.Arg, n.Value)
			case ast.NodeTypeVariable:
				if of(n) {
					visit("", "")
				}
			}
			return true
		})
	}
}
