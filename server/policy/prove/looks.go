package prove

import (
	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// looksAt is the part of a context that policies in force look at.
func (env environment) looksAt(context cedar.RecordMap) cedar.Record {
	asked := map[cedar.String]bool{}
	look := func(n ast.IsNode) bool {
		var of ast.IsNode
		var name cedar.String
		switch n := n.(type) {
		case ast.NodeTypeAccess:
			of, name = n.Arg, n.Value
		case ast.NodeTypeHas:
			of, name = n.Arg, n.Value
		}
		if v, ok := of.(ast.NodeTypeVariable); ok && v.Name == "context" {
			asked[name] = true
		}
		return true
	}
	for _, s := range []*scene{env.old, env.new} {
		if s == nil {
			continue
		}
		for _, st := range s.inForce() {
			asked["tenant"] = asked["tenant"] || st.Tenant != ""
			for _, c := range st.Policy.Conditions {
				ast.Inspect(ast.NewNode(c.Body), look)
			}
		}
	}
	shown := cedar.RecordMap{}
	for name, value := range context {
		if asked[name] {
			shown[name] = value
		}
	}
	return cedar.NewRecord(shown)
}
