package prove

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
)

// A prover takes any entities that fit the schema. Writ has those of the bundle, and
// of a request no more than its resource's attributes. So expressions are rewritten
// until nothing is left open that the bundle settles: what is in what, whether an
// entity is there to have attributes, the action, the tool.

// rewrite is an expression as the scene makes it. It comes to the same value, or
// fails, on the same requests.
func (s *scene) rewrite(n ast.IsNode) (ast.IsNode, error) {
	switch n := n.(type) {
	case ast.NodeTypeVariable:
		return s.variable(n), nil
	case ast.NodeTypeIsIn:
		return s.rewrite(ast.NodeTypeAnd{BinaryNode: ast.BinaryNode{Left: n.NodeTypeIs, Right: ast.NodeTypeIn{BinaryNode: ast.BinaryNode{Left: n.Left, Right: n.Entity}}}})
	case ast.NodeTypeIs:
		if typ, ok := s.typeOf(n.Left).(resolved.EntityType); ok && certain(n.Left) {
			return boolean(cedar.EntityType(typ) == n.EntityType), nil
		}
	case ast.NodeTypeAnd:
		return s.until(n.BinaryNode, false, and)
	case ast.NodeTypeOr:
		return s.until(n.BinaryNode, true, or)
	case ast.NodeTypeIfThenElse:
		return s.choice(n)
	case ast.NodeTypeIn:
		return s.in(n)
	case ast.NodeTypeHas:
		return s.has(n)
	case ast.NodeTypeAccess:
		return s.access(n)
	case ast.NodeTypeHasTag, ast.NodeTypeGetTag:
		return nil, errors.New("tags of entities are not compared")
	}
	return s.kids(n)
}

// until is a conjunction or a disjunction, whose right side counts unless the left
// is certain to decide. A validator types what does not count in no way.
func (s *scene) until(n ast.BinaryNode, decisive bool, join func(left, right ast.IsNode) ast.IsNode) (ast.IsNode, error) {
	left, err := s.rewrite(n.Left)
	if err != nil || settled(left, decisive) {
		return left, err
	}
	right, err := s.rewrite(n.Right)
	return join(left, right), err
}

func (s *scene) choice(n ast.NodeTypeIfThenElse) (ast.IsNode, error) {
	test, err := s.rewrite(n.If)
	switch {
	case err != nil:
		return nil, err
	case settled(test, true):
		n.Else = n.Then
	case settled(test, false):
		n.Then = n.Else
	}
	then, err := s.rewrite(n.Then)
	if err != nil {
		return nil, err
	}
	if is(test, true) || is(test, false) {
		return then, nil
	}
	otherwise, err := s.rewrite(n.Else)
	return ast.NodeTypeIfThenElse{If: test, Then: then, Else: otherwise}, err
}

// variable puts in what is certain of the request.
func (s *scene) variable(n ast.NodeTypeVariable) ast.IsNode {
	switch {
	case n.Name == "action":
		return ast.NodeValue{Value: s.action}
	case n.Name == "resource" && !s.server.IsZero():
		return ast.NodeValue{Value: s.server}
	case n.Name == "context":
		s.whole = true
	}
	return n
}

// operand is what an attribute is asked of.
func (s *scene) operand(n ast.IsNode) (ast.IsNode, error) {
	if v, ok := n.(ast.NodeTypeVariable); ok && v.Name == "context" {
		return n, nil
	}
	return s.rewrite(n)
}

// certain reports whether an expression cannot fail, whatever the request.
func certain(n ast.IsNode) bool {
	switch n.(type) {
	case ast.NodeTypeVariable, ast.NodeValue:
		return true
	}
	return false
}

// typeOf is the type of what can be an entity, or lead to one; nil: neither.
func (s *scene) typeOf(n ast.IsNode) resolved.IsType {
	switch n := n.(type) {
	case ast.NodeTypeVariable:
		switch n.Name {
		case "principal":
			return resolved.EntityType(s.principal)
		case "resource":
			return resolved.EntityType(s.resource)
		case "action":
			return resolved.EntityType(typeAction)
		}
		return s.context
	case ast.NodeValue:
		if uid, ok := n.Value.(cedar.EntityUID); ok {
			return resolved.EntityType(uid.Type)
		}
	case ast.NodeTypeAccess:
		switch of := s.typeOf(n.Arg).(type) {
		case resolved.RecordType:
			return of[n.Value].Type
		case resolved.EntityType:
			return s.Source.Schema.Entities[cedar.EntityType(of)].Shape[n.Value].Type
		}
	case ast.NodeTypeIfThenElse:
		if t := s.typeOf(n.Then); t != nil {
			return t
		}
		return s.typeOf(n.Else)
	case ast.NodeTypeRecord:
		typ := resolved.RecordType{}
		for _, e := range n.Elements {
			typ[e.Key] = resolved.Attribute{Type: s.typeOf(e.Value)}
		}
		return typ
	case ast.NodeTypeSet:
		if len(n.Elements) > 0 {
			return resolved.SetType{Element: s.typeOf(n.Elements[0])}
		}
	}
	return nil
}

// entityType is the type of an expression that is an entity; ok: it is one.
func (s *scene) entityType(n ast.IsNode) (cedar.EntityType, bool) {
	typ, ok := s.typeOf(n).(resolved.EntityType)
	return cedar.EntityType(typ), ok
}

// has is a test for an attribute: there must be an entity to have it.
func (s *scene) has(n ast.NodeTypeHas) (ast.IsNode, error) {
	arg, err := s.operand(n.Arg)
	if err != nil {
		return nil, err
	}
	test := ast.NodeTypeHas{StrOpNode: ast.StrOpNode{Arg: arg, Value: n.Value}}
	typ, entity := s.entityType(n.Arg)
	if !entity {
		if v, ok := n.Arg.(ast.NodeTypeVariable); ok && v.Name == "context" && n.Value == "destination" && s.tool == nil {
			return stated(access(arg, "destination")), nil
		}
		if record, ok := s.typeOf(n.Arg).(resolved.RecordType); ok {
			if _, declared := record[n.Value]; !declared {
				return and(defined(arg), boolean(false)), nil
			}
		}
		return test, nil
	}
	if _, declared := s.Source.Schema.Entities[typ].Shape[n.Value]; !declared {
		return and(defined(arg), boolean(false)), nil
	}
	there, err := s.there(n.Arg, arg, typ)
	if err != nil {
		return nil, err
	}
	return and(there, test), nil
}

// access is an attribute's value. That of an entity that is not there is a failure,
// unless a test for it has come before, as validation asks for optional ones.
func (s *scene) access(n ast.NodeTypeAccess) (ast.IsNode, error) {
	if known, ok := s.ofTool(n); ok {
		return known, nil
	}
	arg, err := s.operand(n.Arg)
	if err != nil {
		return nil, err
	}
	value := ast.NodeTypeAccess{StrOpNode: ast.StrOpNode{Arg: arg, Value: n.Value}}
	if v, ok := n.Arg.(ast.NodeTypeVariable); ok && v.Name == "context" {
		switch {
		case n.Value == "tool":
			s.whole = true
		case n.Value == "destination" && s.tool == nil:
			return orFail(stated(value), value), nil
		}
	}
	typ, entity := s.entityType(n.Arg)
	if !entity {
		return value, nil
	}
	there, err := s.there(n.Arg, arg, typ)
	if err != nil {
		return nil, err
	}
	if is(there, true) || s.Source.Schema.Entities[typ].Shape[n.Value].Optional {
		return value, nil
	}
	return orFail(there, value), nil
}

// orFail is a value where there is one, and else a failure.
func orFail(there, value ast.IsNode) ast.IsNode {
	return ast.NodeTypeIfThenElse{If: there, Then: value, Else: ast.NodeTypeIfThenElse{If: failure, Then: value, Else: value}}
}

// failure is a condition that fails whenever it is asked.
var failure = func() ast.IsNode {
	sum := ast.NodeTypeAdd{BinaryNode: ast.BinaryNode{Left: ast.NodeValue{Value: cedar.Long(math.MaxInt64)}, Right: ast.NodeValue{Value: cedar.Long(1)}}}
	return ast.NodeTypeEquals{BinaryNode: ast.BinaryNode{Left: sum, Right: ast.NodeValue{Value: cedar.Long(0)}}}
}()

// there is whether an entity has attributes: the bundle declares it, or it is the
// request's resource. An agent that the bundle does not declare has none, and
// neither has a server.
func (s *scene) there(was, arg ast.IsNode, typ cedar.EntityType) (ast.IsNode, error) {
	if _, declared := s.Source.Schema.Entities[typ]; !declared {
		return boolean(false), nil // an enumerated type has no attributes
	}
	s.looked[typ] = true
	known, err := s.oneOf(arg, s.declared[typ])
	if err != nil || typ != s.resource || typ == typeServer {
		return known, err
	}
	resource := ast.NodeTypeVariable{Name: "resource"}
	asked := ast.IsNode(boolean(true))
	if v, ok := was.(ast.NodeTypeVariable); !ok || v.Name != "resource" {
		asked = equal(arg, resource)
	}
	if typ == s.principal { // of the two the principal comes first, which has none
		asked = and(asked, not(equal(resource, ast.NodeTypeVariable{Name: "principal"})))
	}
	if is(asked, true) {
		return asked, nil
	}
	return or(known, asked), nil
}

// ofTool is what the bundle says of the tool that is called. A set that is empty
// has no type in Cedar: it is left open here, and a fact says that it is empty.
func (s *scene) ofTool(n ast.NodeTypeAccess) (ast.IsNode, bool) {
	of, ok := n.Arg.(ast.NodeTypeAccess)
	if !ok || s.tool == nil || of.Value != "tool" {
		return nil, false
	}
	if v, ok := of.Arg.(ast.NodeTypeVariable); !ok || v.Name != "context" {
		return nil, false
	}
	var list []string
	switch n.Value {
	case "server":
		return ast.NodeValue{Value: cedar.String(s.tool.Server)}, true
	case "name":
		return ast.NodeValue{Value: cedar.String(s.tool.Name)}, true
	case "classes":
		list = s.tool.Classes
	case "labels":
		list = s.tool.Labels
	}
	if len(list) == 0 {
		return n, true
	}
	return texts(list), true
}

func texts(list []string) ast.NodeTypeSet {
	var set ast.NodeTypeSet
	for _, one := range slices.Sorted(slices.Values(list)) {
		set.Elements = append(set.Elements, ast.NodeValue{Value: cedar.String(one)})
	}
	return set
}

// kids is an expression with its parts rewritten.
func (s *scene) kids(n ast.IsNode) (ast.IsNode, error) {
	var problem error
	one := func(n ast.IsNode) ast.IsNode {
		out, err := s.rewrite(n)
		problem = errors.Join(problem, err)
		return out
	}
	list := func(all []ast.IsNode) []ast.IsNode {
		out := make([]ast.IsNode, len(all))
		for i, kid := range all {
			out[i] = one(kid)
		}
		return out
	}
	var out ast.IsNode
	switch n := n.(type) {
	case ast.NodeTypeNot:
		out = not(one(n.Arg))
	case ast.NodeTypeEquals:
		out = s.same(n.BinaryNode, one)
	case ast.NodeTypeNotEquals:
		out = not(s.same(n.BinaryNode, one))
	case ast.NodeTypeIsEmpty:
		out = ast.NodeTypeIsEmpty{UnaryNode: ast.UnaryNode{Arg: one(n.Arg)}}
	case ast.NodeTypeNegate:
		out = ast.NodeTypeNegate{UnaryNode: ast.UnaryNode{Arg: one(n.Arg)}}
	case ast.NodeTypeLike:
		out = ast.NodeTypeLike{Arg: one(n.Arg), Value: n.Value}
	case ast.NodeTypeIs:
		out = ast.NodeTypeIs{Left: one(n.Left), EntityType: n.EntityType}
	case ast.NodeTypeExtensionCall:
		out = ast.NodeTypeExtensionCall{Name: n.Name, Args: list(n.Args)}
	case ast.NodeTypeSet:
		out = ast.NodeTypeSet{Elements: list(n.Elements)}
	case ast.NodeTypeRecord:
		var record ast.NodeTypeRecord
		for _, e := range n.Elements {
			record.Elements = append(record.Elements, ast.RecordElementNode{Key: e.Key, Value: one(e.Value)})
		}
		out = record
	case ast.NodeValue:
		out = n
	default:
		if out = pair(n, one); out == nil {
			return nil, fmt.Errorf("an expression of the type %T is not compared", n)
		}
	}
	return out, problem
}

// same is whether two parts are equal, as entities of two types never are.
func (s *scene) same(n ast.BinaryNode, one func(ast.IsNode) ast.IsNode) ast.IsNode {
	left, right := one(n.Left), one(n.Right)
	a, entity := s.entityType(n.Left)
	if b, too := s.entityType(n.Right); entity && too && a != b {
		return allOf([]ast.IsNode{defined(left), defined(right), boolean(false)})
	}
	return equal(left, right)
}

// pair is an expression of two other parts with each rewritten; nil: it is not one.
func pair(n ast.IsNode, one func(ast.IsNode) ast.IsNode) ast.IsNode {
	two := func(b ast.BinaryNode) ast.BinaryNode { return ast.BinaryNode{Left: one(b.Left), Right: one(b.Right)} }
	switch n := n.(type) {
	case ast.NodeTypeLessThan:
		return ast.NodeTypeLessThan{BinaryNode: two(n.BinaryNode)}
	case ast.NodeTypeLessThanOrEqual:
		return ast.NodeTypeLessThanOrEqual{BinaryNode: two(n.BinaryNode)}
	case ast.NodeTypeGreaterThan:
		return ast.NodeTypeGreaterThan{BinaryNode: two(n.BinaryNode)}
	case ast.NodeTypeGreaterThanOrEqual:
		return ast.NodeTypeGreaterThanOrEqual{BinaryNode: two(n.BinaryNode)}
	case ast.NodeTypeAdd:
		return ast.NodeTypeAdd{BinaryNode: two(n.BinaryNode)}
	case ast.NodeTypeSub:
		return ast.NodeTypeSub{BinaryNode: two(n.BinaryNode)}
	case ast.NodeTypeMult:
		return ast.NodeTypeMult{BinaryNode: two(n.BinaryNode)}
	case ast.NodeTypeContains:
		return ast.NodeTypeContains{BinaryNode: two(n.BinaryNode)}
	case ast.NodeTypeContainsAll:
		return ast.NodeTypeContainsAll{BinaryNode: two(n.BinaryNode)}
	case ast.NodeTypeContainsAny:
		return ast.NodeTypeContainsAny{BinaryNode: two(n.BinaryNode)}
	}
	return nil
}
