package prove

import (
	"strings"

	"github.com/cedar-policy/cedar-go"
	publicast "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// Expressions are put together so that what is certain is left out. Nothing is left
// out that could fail before it is certain.

func boolean(b bool) ast.NodeValue { return ast.NodeValue{Value: cedar.Boolean(b)} }

// is reports whether an expression is a literal.
func is(n ast.IsNode, b bool) bool {
	v, ok := n.(ast.NodeValue)
	return ok && v.Value == cedar.Boolean(b)
}

// settled reports whether an expression comes to a boolean wherever it does not
// fail: what is joined to it with && or || then never counts.
func settled(n ast.IsNode, b bool) bool {
	switch n := n.(type) {
	case ast.NodeTypeAnd:
		return !b && (settled(n.Left, b) || settled(n.Right, b))
	case ast.NodeTypeOr:
		return b && (settled(n.Left, b) || settled(n.Right, b))
	}
	return is(n, b)
}

func and(left, right ast.IsNode) ast.IsNode {
	switch {
	case is(left, true):
		return right
	case is(left, false), is(right, true):
		return left
	}
	return ast.NodeTypeAnd{BinaryNode: ast.BinaryNode{Left: left, Right: right}}
}

func or(left, right ast.IsNode) ast.IsNode {
	switch {
	case is(left, false):
		return right
	case is(left, true), is(right, false):
		return left
	}
	return ast.NodeTypeOr{BinaryNode: ast.BinaryNode{Left: left, Right: right}}
}

func not(n ast.IsNode) ast.IsNode {
	switch {
	case is(n, true):
		return boolean(false)
	case is(n, false):
		return boolean(true)
	}
	return ast.NodeTypeNot{UnaryNode: ast.UnaryNode{Arg: n}}
}

func equal(left, right ast.IsNode) ast.IsNode {
	a, known := left.(ast.NodeValue)
	b, too := right.(ast.NodeValue)
	if known && too {
		return boolean(a.Value.Equal(b.Value))
	}
	return ast.NodeTypeEquals{BinaryNode: ast.BinaryNode{Left: left, Right: right}}
}

func contains(set, element ast.IsNode) ast.IsNode {
	return ast.NodeTypeContains{BinaryNode: ast.BinaryNode{Left: set, Right: element}}
}

// anyOf is whether one of some conditions holds, and allOf whether each does.
func anyOf(conditions []ast.IsNode) ast.IsNode { return join(conditions, false, or) }
func allOf(conditions []ast.IsNode) ast.IsNode { return join(conditions, true, and) }

func join(conditions []ast.IsNode, none bool, two func(a, b ast.IsNode) ast.IsNode) ast.IsNode {
	out := ast.IsNode(boolean(none))
	for _, c := range conditions {
		out = two(out, c)
	}
	return out
}

// text is an expression in Cedar.
func text(n ast.IsNode) string {
	p := ast.Permit().When(ast.NewNode(n))
	written := string(cedar.NewPolicyFromAST((*publicast.Policy)(p)).MarshalCedar())
	_, written, _ = strings.Cut(written, "when { ")
	return strings.TrimSuffix(written, " };")
}
