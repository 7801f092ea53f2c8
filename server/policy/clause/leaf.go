package clause

import (
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"
)

// maxLeaves bounds the leaves of one clause.
const maxLeaves = 16

// Leaf is one thing that a clause looks at: a variable, or an attribute of one.
type Leaf struct {
	// Path is the variable's name and those of the attributes below it.
	Path []string
	node ast.IsNode
}

// Leaves are what the clause looks at, in the order in which it is written, each
// once, at most 16.
func (c Clause) Leaves() []Leaf {
	var all []Leaf
	seen := map[string]bool{}
	ast.Inspect(ast.NewNode(c.expression), func(n ast.IsNode) bool {
		path, ok := pathOf(n)
		if !ok {
			return true
		}
		leaf := Leaf{Path: path, node: n}
		if has, ok := n.(ast.NodeTypeHas); ok {
			leaf.node = ast.NodeTypeAccess(has)
		}
		if written := leaf.String(); !seen[written] && len(all) < maxLeaves {
			seen[written] = true
			all = append(all, leaf)
		}
		return false
	})
	return all
}

// pathOf is the path that a node reads or asks for.
func pathOf(n ast.IsNode) ([]string, bool) {
	var below []string
	for {
		switch node := n.(type) {
		case ast.NodeTypeAccess:
			below, n = append(below, string(node.Value)), node.Arg
		case ast.NodeTypeHas:
			below, n = append(below, string(node.Value)), node.Arg
		case ast.NodeTypeVariable:
			path := []string{string(node.Name)}
			for i := len(below) - 1; i >= 0; i-- {
				path = append(path, below[i])
			}
			return path, true
		default:
			return nil, false
		}
	}
}

// String is the leaf in Cedar: context.args.amount.
func (l Leaf) String() string {
	var b strings.Builder
	b.WriteString(l.Path[0])
	for _, name := range l.Path[1:] {
		if plain(name) {
			b.WriteString("." + name)
		} else {
			b.WriteString("[" + string(cedar.String(name).MarshalCedar()) + "]")
		}
	}
	return b.String()
}

// plain reports whether a name can stand after a dot.
func plain(name string) bool {
	for i, r := range name {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}

// Value is what stands there; ok is false where nothing does.
func (l Leaf) Value(env eval.Env) (v cedar.Value, ok bool) {
	v, err := eval.Eval(l.node, env)
	return v, err == nil
}
