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

// Index finds the policies whose scopes can match a request of a tenant. A scope
// cannot fail and is tested before the conditions, so leaving out a policy whose
// scope does not match changes neither decisions nor reasons nor errors. It is
// immutable and safe for concurrent use.
type Index struct {
	statements candidates
	// common files the policies of every tenant, and tenants those of one: what
	// one tenant's policies name makes no other's request look at more.
	common  *shelf
	tenants map[string]*shelf
	// lines are the lineages of the bundle's entities on the common shelf.
	lines map[cedar.EntityUID][]int32
	// above are the bundle's entities that have ancestors, each with these; for
	// the tenants' shelves.
	above map[cedar.EntityUID][]cedar.EntityUID
}

// shelf files policies by what their scopes name.
type shelf struct {
	members []int32 // the places of its policies
	// anchors numbers what scopes name; 0 is any.
	anchors map[anchor]int32
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
	found := x.find("", request.Principal, request.Action, request.Resource, false)
	all := make(candidates, len(found))
	for i, at := range found {
		all[i] = x.statements[at]
	}
	return cedar.Authorize(all, entities, request)
}

func newIndex(statements []*statement, entities cedar.EntityMap) *Index {
	sorted := slices.Clone(statements)
	slices.SortFunc(sorted, func(a, b *statement) int { return strings.Compare(a.id, b.id) })
	x := &Index{statements: sorted, common: newShelf(), tenants: map[string]*shelf{}, lines: map[cedar.EntityUID][]int32{}, above: map[cedar.EntityUID][]cedar.EntityUID{}}
	for i, s := range sorted {
		at := x.common
		if s.tenant != "" {
			if at = x.tenants[s.tenant]; at == nil {
				at = newShelf()
				x.tenants[s.tenant] = at
			}
		}
		at.add(int32(i), s)
	}
	for uid := range entities {
		line := ancestry(entities, uid, math.MaxInt)
		x.lines[uid] = x.common.trace(line)
		if len(line) > 1 && len(x.tenants) > 0 {
			x.above[uid] = line
		}
	}
	return x
}

func newShelf() *shelf {
	return &shelf{anchors: map[anchor]int32{{}: 0}, buckets: map[[3]int32][]int32{}, unbound: map[[2]int32][]int32{}}
}

// add files a policy by its place.
func (sh *shelf) add(place int32, s *statement) {
	number := func(a anchor) int32 {
		n, ok := sh.anchors[a]
		if !ok {
			n = int32(len(sh.anchors))
			sh.anchors[a] = n
		}
		return n
	}
	sh.members = append(sh.members, place)
	principal, resource := number(anchorsOf(s.ast.Principal)[0]), number(anchorsOf(s.ast.Resource)[0])
	for _, a := range anchorsOf(s.ast.Action) {
		action := number(a)
		sh.unbound[[2]int32{principal, action}] = append(sh.unbound[[2]int32{principal, action}], place)
		at := [3]int32{principal, action, resource}
		sh.buckets[at] = append(sh.buckets[at], place)
	}
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

// lineage is the anchors that an entity satisfies and that the policies on a shelf
// name: any, its type, itself and all its ancestors. One that the bundle does not
// know has no ancestors.
func (x *Index) lineage(at *shelf, uid cedar.EntityUID) []int32 {
	if at != x.common {
		if line, ok := x.above[uid]; ok {
			return at.trace(line)
		}
	} else if line, ok := x.lines[uid]; ok {
		return line
	}
	return at.trace([]cedar.EntityUID{uid})
}

// trace is the lineage of the first of some entities; the others are its
// ancestors.
func (sh *shelf) trace(entities []cedar.EntityUID) []int32 {
	line := make([]int32, 1, 4) // any, and what most entities have
	add := func(a anchor) {
		if n, named := sh.anchors[a]; named {
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

// shelves are those with the policies that a tenant's requests are put to.
func (x *Index) shelves(tenant string) []*shelf {
	if own := x.tenants[tenant]; own != nil {
		return []*shelf{x.common, own}
	}
	return []*shelf{x.common}
}

// of are the policies that a tenant's requests are put to, in the order of their
// ids.
func (x *Index) of(tenant string) []*statement {
	var places []int32
	for _, at := range x.shelves(tenant) {
		places = append(places, at.members...)
	}
	return x.at(places)
}

// candidates are the policies that a question can match, in the order of their
// ids: those that decide, and those that oblige. An unknown resource matches
// every resource scope.
func (x *Index) candidates(q *question) (deciding, obligating candidates) {
	found := x.find(q.tenant, q.principal, q.action, q.resource, q.resource.IsZero())
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

// find returns the places of a tenant's and of everybody's policies whose scopes
// match, in order. With unbound, every resource scope does.
func (x *Index) find(tenant string, principal, action, resource cedar.EntityUID, unbound bool) []int32 {
	found := x.findOn(x.common, nil, principal, action, resource, unbound)
	if own := x.tenants[tenant]; own != nil {
		found = x.findOn(own, found, principal, action, resource, unbound)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// findOn adds those of one shelf.
func (x *Index) findOn(at *shelf, found []int32, principal, action, resource cedar.EntityUID, unbound bool) []int32 {
	actions, resources := x.lineage(at, action), x.lineage(at, resource)
	for _, p := range x.lineage(at, principal) {
		for _, a := range actions {
			if unbound {
				found = append(found, at.unbound[[2]int32{p, a}]...)
				continue
			}
			for _, r := range resources {
				found = append(found, at.buckets[[3]int32{p, a, r}]...)
			}
		}
	}
	return found
}

// about are the policies for a question's action, of its tenant and of everybody,
// in the order of their ids.
func (x *Index) about(q *question) []*statement {
	var places []int32
	for _, at := range x.shelves(q.tenant) {
		line := x.lineage(at, q.action)
		for _, place := range at.members {
			if slices.ContainsFunc(anchorsOf(x.statements[place].ast.Action), func(a anchor) bool { return slices.Contains(line, at.anchors[a]) }) {
				places = append(places, place)
			}
		}
	}
	return x.at(places)
}

// at are the policies at some places, in the order of their ids.
func (x *Index) at(places []int32) []*statement {
	slices.Sort(places)
	all := make([]*statement, len(places))
	for i, place := range places {
		all[i] = x.statements[place]
	}
	return all
}

// candidates is a set of policies, in the order of their ids, as cedar.Authorize
// takes it.
type candidates []*statement

// get finds a policy by id; nil: it is not among them. Few candidates are found
// faster than one of all policies.
func (c candidates) get(id cedar.PolicyID) *statement {
	i, found := slices.BinarySearchFunc(c, string(id), func(s *statement, id string) int { return strings.Compare(s.id, id) })
	if !found {
		return nil
	}
	return c[i]
}

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
