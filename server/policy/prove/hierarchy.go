package prove

import (
	"fmt"
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
)

// Bounds of what one test of membership comes to: entities in a list, and pairs of
// an entity and what it is in.
const (
	maxMembers = 20_000
	maxPairs   = 2_000
)

// in is a test of membership, by the entities that the bundle declares: of no others
// is anything in anything else.
func (s *scene) in(n ast.NodeTypeIn) (ast.IsNode, error) {
	typ, ok := s.entityType(n.Left)
	if !ok {
		return nil, fmt.Errorf("%s: of what is on the left no type is known", text(n))
	}
	left, err := s.rewrite(n.Left)
	if err != nil {
		return nil, err
	}
	right, err := s.rewrite(n.Right)
	if err != nil {
		return nil, err
	}
	if groups, ok := entities(right); ok {
		if typ == typeAction {
			return s.actionBelow(left, groups)
		}
		return s.below(left, typ, groups)
	}
	// What is on the right is known with the request only.
	switch of := s.typeOf(n.Right).(type) {
	case resolved.EntityType:
		var same ast.IsNode
		if cedar.EntityType(of) == typ {
			same = equal(left, right)
		}
		return s.belowOpen(left, right, typ, cedar.EntityType(of), same, s.oneOf)
	case resolved.SetType:
		if element, ok := of.Element.(resolved.EntityType); ok {
			var same ast.IsNode
			if cedar.EntityType(element) == typ {
				same = contains(right, left)
			}
			return s.belowOpen(left, right, typ, cedar.EntityType(element), same, func(all ast.IsNode, of []cedar.EntityUID) (ast.IsNode, error) {
				return ast.NodeTypeContainsAny{BinaryNode: ast.BinaryNode{Left: all, Right: literals(of)}}, nil
			})
		}
	}
	return nil, fmt.Errorf("%s: of what is on the right no type is known", text(n))
}

// entities are those that an expression lists; ok: it lists nothing else.
func entities(n ast.IsNode) ([]cedar.EntityUID, bool) {
	switch n := n.(type) {
	case ast.NodeValue:
		uid, ok := n.Value.(cedar.EntityUID)
		return []cedar.EntityUID{uid}, ok
	case ast.NodeTypeSet:
		var all []cedar.EntityUID
		for _, e := range n.Elements {
			one, ok := entities(e)
			if !ok || len(one) != 1 {
				return nil, false
			}
			all = append(all, one...)
		}
		return all, true
	}
	return nil, false
}

// below is whether an entity of a type is one of some groups or in one.
func (s *scene) below(left ast.IsNode, typ cedar.EntityType, groups []cedar.EntityUID) (ast.IsNode, error) {
	var members []cedar.EntityUID
	for _, group := range groups {
		if group.Type == typ && !slices.Contains(members, group) {
			members = append(members, group)
		}
	}
	for _, uid := range s.declared[typ] {
		if !slices.Contains(groups, uid) && slices.ContainsFunc(s.above[uid], func(a cedar.EntityUID) bool { return slices.Contains(groups, a) }) {
			members = append(members, uid)
		}
	}
	return s.oneOf(left, members)
}

// belowOpen is the same for a right side that is open: same, whether the entity is
// what is there (nil: it cannot be), or that the bundle puts it below something that
// meets it.
func (s *scene) belowOpen(left, right ast.IsNode, typ, of cedar.EntityType, same ast.IsNode, meets func(ast.IsNode, []cedar.EntityUID) (ast.IsNode, error)) (ast.IsNode, error) {
	var either []ast.IsNode
	if same != nil {
		either = append(either, same)
	}
	pairs := 0
	for _, uid := range s.declared[typ] {
		var groups []cedar.EntityUID
		for _, a := range s.above[uid] {
			if a.Type == of {
				groups = append(groups, a)
			}
		}
		if pairs += len(groups); pairs > maxPairs {
			return nil, fmt.Errorf("the bundle declares more than %d memberships of %s in %s", maxPairs, typ, of)
		}
		if len(groups) == 0 {
			continue
		}
		met, err := meets(right, groups)
		if err != nil {
			return nil, err
		}
		either = append(either, and(equal(left, ast.NodeValue{Value: uid}), met))
	}
	// Both sides are evaluated in any case, and can fail.
	return allOf([]ast.IsNode{defined(left), defined(right), anyOf(either)}), nil
}

// oneOf is whether an entity is one of some of its type.
func (s *scene) oneOf(n ast.IsNode, members []cedar.EntityUID) (ast.IsNode, error) {
	if len(members) > maxMembers {
		return nil, fmt.Errorf("the bundle declares more than %d entities of the type %s", maxMembers, members[0].Type)
	}
	if v, ok := n.(ast.NodeValue); ok {
		uid, _ := v.Value.(cedar.EntityUID)
		return boolean(slices.Contains(members, uid)), nil
	}
	switch len(members) {
	case 0:
		return and(defined(n), boolean(false)), nil
	case 1:
		return equal(n, ast.NodeValue{Value: members[0]}), nil
	}
	return contains(literals(members), n), nil
}

func literals(all []cedar.EntityUID) ast.NodeTypeSet {
	var set ast.NodeTypeSet
	for _, uid := range slices.SortedFunc(slices.Values(all), byName) {
		set.Elements = append(set.Elements, ast.NodeValue{Value: uid})
	}
	return set
}

// defined is true, or fails where an expression does.
func defined(n ast.IsNode) ast.IsNode {
	if certain(n) {
		return boolean(true)
	}
	return ast.NodeTypeEquals{BinaryNode: ast.BinaryNode{Left: n, Right: n}}
}

// actionBelow is whether an action, mostly the request's, is one of some groups or
// in one.
func (s *scene) actionBelow(n ast.IsNode, groups []cedar.EntityUID) (ast.IsNode, error) {
	if v, ok := n.(ast.NodeValue); ok {
		if uid, ok := v.Value.(cedar.EntityUID); ok {
			return boolean(slices.ContainsFunc(groups, func(g cedar.EntityUID) bool { return s.actionIn(uid, g) })), nil
		}
	}
	return nil, fmt.Errorf("%s: which action it is depends on the request", text(n))
}

// actionIn is whether an action is a group or in it.
func (s *scene) actionIn(uid, group cedar.EntityUID) bool {
	return group == uid || slices.Contains(ancestors(s.groups, uid), group)
}

// names is whether a scope's action is the request's.
func (s *scene) names(scope ast.IsActionScopeNode) bool {
	switch scope := scope.(type) {
	case ast.ScopeTypeEq:
		return scope.Entity == s.action
	case ast.ScopeTypeIn:
		return s.actionIn(s.action, scope.Entity)
	case ast.ScopeTypeInSet:
		return slices.ContainsFunc(scope.Entities, func(g cedar.EntityUID) bool { return s.actionIn(s.action, g) })
	}
	return true
}
