package policy

import (
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// Index finds the policies whose scopes can match a request. A scope cannot
// fail and is tested before the conditions, so leaving out a policy whose scope
// does not match changes neither decisions nor reasons nor errors. It is
// immutable and safe for concurrent use.
type Index struct {
	statements []*statement // sorted by id
	// anchors numbers what scopes name; 0 is any.
	anchors map[anchor]int32
	// lines are the lineages of the bundle's entities.
	lines map[cedar.EntityUID][]int32
	// buckets are the policies by the anchors of principal, action and
	// resource; unbound the same by principal and action alone, for requests
	// that do not know their resource.
	buckets map[[3]int32][]int32
	unbound map[[2]int32][]int32
}

// anchor is what a scope asks of an entity: to be one, to be it or one of its
// descendants, or to be of a type, with an empty id. The zero anchor asks nothing.
type anchor struct {
	uid cedar.EntityUID
	as  relation
}

type relation uint8

const (
	isOne relation = iota + 1
	isIn
	isType
)

// NewIndex indexes Cedar policies as they are, whatever they are called and
// annotated with. The entities are those whose ancestors policies may name.
func NewIndex(policies map[cedar.PolicyID]*cedar.Policy, entities cedar.EntityMap) *Index {
	statements := make([]*statement, 0, len(policies))
	for id, p := range policies {
		statements = append(statements, &statement{id: string(id), ast: (*ast.Policy)(p.AST()), policy: unscoped(p), forbid: p.Effect() == cedar.Forbid})
	}
	return newIndex(statements, entities)
}

// Authorize answers as cedar.Authorize does over all the policies, in the order
// of their ids. The entities must give those that the index was built with the
// same ancestors, and others none.
func (x *Index) Authorize(entities types.EntityGetter, request cedar.Request) (cedar.Decision, cedar.Diagnostic) {
	found := x.find(request.Principal, request.Action, request.Resource, false)
	all := make(candidates, len(found))
	for i, at := range found {
		all[i] = x.statements[at]
	}
	return cedar.Authorize(all, entities, request)
}

func newIndex(statements []*statement, entities cedar.EntityMap) *Index {
	sorted := slices.Clone(statements)
	slices.SortFunc(sorted, func(a, b *statement) int { return strings.Compare(a.id, b.id) })
	x := &Index{statements: sorted, anchors: map[anchor]int32{{}: 0}, lines: map[cedar.EntityUID][]int32{},
		buckets: map[[3]int32][]int32{}, unbound: map[[2]int32][]int32{}}
	number := func(a anchor) int32 {
		n, ok := x.anchors[a]
		if !ok {
			n = int32(len(x.anchors))
			x.anchors[a] = n
		}
		return n
	}
	for i, s := range sorted {
		principal, resource := number(anchorsOf(s.ast.Principal)[0]), number(anchorsOf(s.ast.Resource)[0])
		for _, a := range anchorsOf(s.ast.Action) {
			action := number(a)
			x.unbound[[2]int32{principal, action}] = append(x.unbound[[2]int32{principal, action}], int32(i))
			at := [3]int32{principal, action, resource}
			x.buckets[at] = append(x.buckets[at], int32(i))
		}
	}
	for uid := range entities {
		x.lines[uid] = x.trace(ancestry(entities, uid, math.MaxInt))
	}
	return x
}

// anchorsOf are where a scope is filed; only a set of actions has several.
func anchorsOf(node any) []anchor {
	switch n := node.(type) {
	case ast.ScopeTypeEq:
		return []anchor{{n.Entity, isOne}}
	case ast.ScopeTypeIn:
		return []anchor{{n.Entity, isIn}}
	case ast.ScopeTypeIsIn:
		return []anchor{{n.Entity, isIn}}
	case ast.ScopeTypeIs:
		return []anchor{{cedar.EntityUID{Type: n.Type}, isType}}
	case ast.ScopeTypeInSet:
		all := make([]anchor, len(n.Entities))
		for i, e := range n.Entities {
			all[i] = anchor{e, isIn}
		}
		return all
	}
	return []anchor{{}}
}

// lineage is the anchors that an entity satisfies and that policies name: any,
// its type, itself and all its ancestors. One that the bundle does not know has
// no ancestors.
func (x *Index) lineage(uid cedar.EntityUID) []int32 {
	if line, ok := x.lines[uid]; ok {
		return line
	}
	return x.trace([]cedar.EntityUID{uid})
}

// trace is the lineage of the first of some entities; the others are its
// ancestors.
func (x *Index) trace(entities []cedar.EntityUID) []int32 {
	line := make([]int32, 1, 4) // any, and what most entities have
	add := func(a anchor) {
		if n, named := x.anchors[a]; named {
			line = append(line, n)
		}
	}
	add(anchor{cedar.EntityUID{Type: entities[0].Type}, isType})
	add(anchor{entities[0], isOne})
	for _, one := range entities {
		add(anchor{one, isIn})
	}
	return line
}

// ancestry is an entity and its ancestors, as far as there are not more than max.
func ancestry(entities cedar.EntityMap, uid cedar.EntityUID, max int) []cedar.EntityUID {
	line := []cedar.EntityUID{uid}
	for i := 0; i < len(line) && len(line) < max; i++ {
		for parent := range entities[line[i]].Parents.All() {
			if !slices.Contains(line, parent) {
				line = append(line, parent)
			}
		}
	}
	return line
}

// candidates are the policies that a question can match, in the order of their
// ids: those that decide, and those that oblige. An unknown resource matches
// every resource scope.
func (x *Index) candidates(q *question) (deciding, obligating candidates) {
	found := x.find(q.principal, q.action, q.resource, q.resource.IsZero())
	deciding = make(candidates, 0, len(found)) // with room for the others
	for _, i := range found {
		if s := x.statements[i]; s.obligate == nil {
			deciding = append(deciding, s)
		} else {
			obligating = append(obligating, s)
		}
	}
	return deciding, obligating
}

// find returns the places of the policies whose scopes match, in order. With
// unbound, every resource scope does.
func (x *Index) find(principal, action, resource cedar.EntityUID, unbound bool) []int32 {
	var found []int32
	resources := x.lineage(resource)
	for _, p := range x.lineage(principal) {
		for _, a := range x.lineage(action) {
			if unbound {
				found = append(found, x.unbound[[2]int32{p, a}]...)
				continue
			}
			for _, r := range resources {
				found = append(found, x.buckets[[3]int32{p, a, r}]...)
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// applies reports whether the action with a lineage is one of a policy's.
func (x *Index) applies(s *statement, line []int32) bool {
	return slices.ContainsFunc(anchorsOf(s.ast.Action), func(a anchor) bool { return slices.Contains(line, x.anchors[a]) })
}

// get finds a policy by id.
func (x *Index) get(id cedar.PolicyID) *statement {
	i, _ := slices.BinarySearchFunc(x.statements, string(id), func(s *statement, id string) int { return strings.Compare(s.id, id) })
	return x.statements[i]
}

// candidates is a set of policies as cedar.Authorize takes it.
type candidates []*statement

// All yields the policies in the order of their ids.
func (c candidates) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, s := range c {
			if !yield(cedar.PolicyID(s.id), s.policy) {
				return
			}
		}
	}
}

// permits are the candidates without the forbids.
func (c candidates) permits() candidates {
	return slices.DeleteFunc(slices.Clone(c), func(s *statement) bool { return s.forbid })
}
