package reach

import (
	"crypto/sha256"
	"fmt"
	"reflect"
	"strings"

	"github.com/cedar-policy/cedar-go"
	publicast "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// Expr is a Cedar expression with what it is made of. Cedar is pure, so two
// expressions with the same key have the same value in one request.
type Expr struct {
	Node ast.IsNode
	Kids []*Expr
	Key  string
	// Size is how many expressions it is made of, itself included.
	Size int
}

// Parse reads an expression.
func Parse(n ast.IsNode) *Expr {
	e := &Expr{Node: n}
	more := ""
	add := func(nodes ...ast.IsNode) {
		for _, kid := range nodes {
			e.Kids = append(e.Kids, Parse(kid))
		}
	}
	switch n := n.(type) {
	case ast.NodeValue:
		more = fmt.Sprintf("%T %s", n.Value, n.Value.MarshalCedar())
	case ast.NodeTypeVariable:
		more = string(n.Name)
	case ast.NodeTypeIfThenElse:
		add(n.If, n.Then, n.Else)
	case ast.NodeTypeLike:
		add(n.Arg)
		more = string(n.Value.MarshalCedar())
	case ast.NodeTypeIs:
		add(n.Left)
		more = string(n.EntityType)
	case ast.NodeTypeIsIn:
		add(n.Left, n.Entity)
		more = string(n.EntityType)
	case ast.NodeTypeExtensionCall:
		add(n.Args...)
		more = string(n.Name)
	case ast.NodeTypeRecord:
		for _, element := range n.Elements {
			add(element.Value)
			more += fmt.Sprintf("%q,", element.Key)
		}
	case ast.NodeTypeSet:
		add(n.Elements...)
	default:
		// Operators hold their operands in an embedded node.
		switch inner := embedded(n).(type) {
		case ast.BinaryNode:
			add(inner.Left, inner.Right)
		case ast.UnaryNode:
			add(inner.Arg)
		case ast.StrOpNode:
			add(inner.Arg)
			more = fmt.Sprintf("%q", inner.Value)
		}
	}
	var keys []string
	e.Size = 1
	for _, kid := range e.Kids {
		keys = append(keys, kid.Key)
		e.Size += kid.Size
	}
	e.Key = keyOf(n, more, keys...)
	return e
}

// maxKey is how long a key is before it becomes a digest: the keys of nested
// expressions would grow with the square of their length.
const maxKey = 128

func keyOf(n ast.IsNode, more string, kids ...string) string {
	key := strings.TrimPrefix(reflect.TypeOf(n).Name(), "NodeType") + "(" + strings.Join(append(kids, more), " ") + ")"
	if len(key) > maxKey {
		sum := sha256.Sum256([]byte(key))
		return string(sum[:])
	}
	return key
}

// hasKey is the key of `of has name`.
func hasKey(of string, name types.String) string {
	return keyOf(ast.NodeTypeHas{}, fmt.Sprintf("%q", name), of)
}

// embedded is the node that holds an operator's operands.
func embedded(n ast.IsNode) any {
	v := reflect.ValueOf(n)
	for _, name := range []string{"BinaryNode", "UnaryNode", "StrOpNode"} {
		if field := v.FieldByName(name); field.IsValid() {
			return field.Interface()
		}
	}
	return nil
}

// with is the expression's node over other operands.
func (e *Expr) with(values []cedar.Value) ast.IsNode {
	nodes := make([]ast.IsNode, len(values))
	for i, v := range values {
		nodes[i] = ast.NodeValue{Value: v}
	}
	switch n := e.Node.(type) {
	case ast.NodeTypeLike:
		n.Arg = nodes[0]
		return n
	case ast.NodeTypeIs:
		n.Left = nodes[0]
		return n
	case ast.NodeTypeIsIn:
		n.Left, n.Entity = nodes[0], nodes[1]
		return n
	case ast.NodeTypeExtensionCall:
		n.Args = nodes
		return n
	case ast.NodeTypeSet:
		n.Elements = nodes
		return n
	case ast.NodeTypeRecord:
		elements := make([]ast.RecordElementNode, len(nodes))
		for i, v := range nodes {
			elements[i] = ast.RecordElementNode{Key: n.Elements[i].Key, Value: v}
		}
		n.Elements = elements
		return n
	}
	copied := reflect.New(reflect.TypeOf(e.Node)).Elem()
	copied.Set(reflect.ValueOf(e.Node))
	switch inner := embedded(e.Node).(type) {
	case ast.BinaryNode:
		inner.Left, inner.Right = nodes[0], nodes[1]
		copied.FieldByName("BinaryNode").Set(reflect.ValueOf(inner))
	case ast.UnaryNode:
		inner.Arg = nodes[0]
		copied.FieldByName("UnaryNode").Set(reflect.ValueOf(inner))
	case ast.StrOpNode:
		inner.Arg = nodes[0]
		copied.FieldByName("StrOpNode").Set(reflect.ValueOf(inner))
	}
	return copied.Interface().(ast.IsNode)
}

// maxText bounds what a finding quotes of a policy, in bytes.
const maxText = 160

// Text is the expression in Cedar.
func (e *Expr) Text() string {
	p := ast.Permit().When(ast.NewNode(e.Node))
	whole := string(cedar.NewPolicyFromAST((*publicast.Policy)(p)).MarshalCedar())
	_, whole, _ = strings.Cut(whole, "when")
	whole = strings.Join(strings.Fields(strings.TrimSuffix(strings.TrimSpace(whole), ";")), " ")
	whole = strings.TrimSpace(strings.TrimSuffix(strings.TrimPrefix(whole, "{"), "}"))
	if len(whole) > maxText {
		whole = strings.ToValidUTF8(whole[:maxText], "") + "…"
	}
	return whole
}
