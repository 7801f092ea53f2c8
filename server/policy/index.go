package policy

import (
	"iter"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/writpdp/writ/server/decision"
)

// index finds the policies whose scopes can match a request. A scope cannot
// fail and is tested before the conditions, so leaving out a policy whose scope
// does not match changes neither decisions nor reasons nor errors.
type index struct {
	buckets map[scope][]int32
	// unbound are the same policies filed without their resource, for requests
	// that do not know theirs.
	unbound    map[scope][]int32
	statements []*statement // sorted by id
}

// scope is where a policy is filed: for each variable the entity or type that it
// must be or be in, or the zero anchor for any.
type scope struct{ principal, action, resource anchor }

// anchor is an entity, or, with an empty id and is set, a type.
type anchor struct {
	uid cedar.EntityUID
	is  bool
}

func newIndex(statements []*statement) *index {
	sorted := slices.Clone(statements)
	slices.SortFunc(sorted, func(a, b *statement) int { return strings.Compare(a.id, b.id) })
	x := &index{buckets: map[scope][]int32{}, unbound: map[scope][]int32{}, statements: sorted}
	for i, s := range sorted {
		for _, a := range anchors(s.ast.Action) {
			at := scope{principal: anchors(s.ast.Principal)[0], action: a}
			x.unbound[at] = append(x.unbound[at], int32(i))
			at.resource = anchors(s.ast.Resource)[0]
			x.buckets[at] = append(x.buckets[at], int32(i))
		}
	}
	return x
}

// anchors are where a scope is filed; only a set of actions has several.
func anchors(node any) []anchor {
	switch n := node.(type) {
	case ast.ScopeTypeEq:
		return []anchor{{uid: n.Entity}}
	case ast.ScopeTypeIn:
		return []anchor{{uid: n.Entity}}
	case ast.ScopeTypeIsIn:
		return []anchor{{uid: n.Entity}}
	case ast.ScopeTypeIs:
		return []anchor{{uid: cedar.EntityUID{Type: n.Type}, is: true}}
	case ast.ScopeTypeInSet:
		all := make([]anchor, len(n.Entities))
		for i, e := range n.Entities {
			all[i] = anchor{uid: e}
		}
		return all
	}
	return []anchor{{}}
}

// candidates are the policies that a request can match, in the order of their
// ids. A zero resource is unknown and matches every resource scope.
func (x *index) candidates(entities cedar.EntityGetter, principal, action, resource cedar.EntityUID) candidates {
	var found []int32
	resources := lineage(entities, resource)
	for _, p := range lineage(entities, principal) {
		for _, a := range lineage(entities, action) {
			if resource.IsZero() {
				found = append(found, x.unbound[scope{principal: p, action: a}]...)
				continue
			}
			for _, r := range resources {
				found = append(found, x.buckets[scope{p, a, r}]...)
			}
		}
	}
	slices.Sort(found)
	return candidates{index: x, found: slices.Compact(found)}
}

// lineage is every anchor that an entity satisfies: any, its type, itself and
// all its ancestors.
func lineage(entities cedar.EntityGetter, uid cedar.EntityUID) []anchor {
	line := []anchor{{}, {uid: cedar.EntityUID{Type: uid.Type}, is: true}, {uid: uid}}
	for i := 2; i < len(line); i++ {
		e, ok := entities.Get(line[i].uid)
		if !ok {
			continue
		}
		for parent := range e.Parents.All() {
			if a := (anchor{uid: parent}); !slices.Contains(line, a) {
				line = append(line, a)
			}
		}
	}
	return line
}

// candidates is a set of policies as cedar.Authorize takes it.
type candidates struct {
	index *index
	found []int32
}

// All yields the policies in the order of their ids.
func (c candidates) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, i := range c.found {
			s := c.index.statements[i]
			if !yield(cedar.PolicyID(s.id), s.policy) {
				return
			}
		}
	}
}

// get finds a policy by id.
func (x *index) get(id cedar.PolicyID) *statement {
	i, _ := slices.BinarySearchFunc(x.statements, string(id), func(s *statement, id string) int { return strings.Compare(s.id, id) })
	return x.statements[i]
}

// matches are the policies that Cedar names.
func (x *index) matches(reasons []cedar.DiagnosticReason) []decision.Match {
	var all []decision.Match
	for _, r := range reasons {
		all = append(all, x.get(r.PolicyID).match())
	}
	return all
}

// permits are the candidates without the forbids.
func (c candidates) permits() candidates {
	kept := make([]int32, 0, len(c.found))
	for _, i := range c.found {
		if !c.index.statements[i].forbid {
			kept = append(kept, i)
		}
	}
	return candidates{index: c.index, found: kept}
}
