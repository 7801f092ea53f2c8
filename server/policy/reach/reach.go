// Package reach finds out what Cedar policies can come to, over all requests of a
// kind at once: whether one can match, can fail to match, and can be an error.
// It knows what Writ knows of a request beforehand, and is sound: what it says
// cannot be never is. What it says can be may still not be.
package reach

import (
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"github.com/writpdp/writ/server/policy"
)

// Outcome is how an expression can end: a set of these.
type Outcome uint8

const (
	Yes   Outcome = 1 << iota // true, or any value of what is no Boolean
	No                        // false
	Fails                     // an error
)

// Has reports whether an outcome is among those that can be.
func (o Outcome) Has(one Outcome) bool { return o&one != 0 }

// Mishap is a place at which an evaluation can fail, how, and what would help.
type Mishap struct {
	At       *Expr
	How, Fix string
}

// End is how a policy can end in one moment.
type End struct {
	Moment policy.Moment
	Can    Outcome
	// Mishaps are where it can fail, in the order of the evaluation.
	Mishaps []Mishap
}

// Engine evaluates the policies of one bundle. It is not changed by it and safe
// for concurrent use.
type Engine struct {
	src       *policy.Source
	holders   map[cedar.EntityUID][]cedar.EntityType
	ancestors map[cedar.EntityUID][]cedar.EntityUID // without the entity itself
}

// New is an engine for a bundle.
func New(src *policy.Source) *Engine {
	x := &Engine{src: src, holders: map[cedar.EntityUID][]cedar.EntityType{}, ancestors: map[cedar.EntityUID][]cedar.EntityUID{}}
	for uid := range src.Entities {
		x.ancestors[uid] = src.Ancestors(uid)
		for _, at := range append(x.ancestors[uid], uid) {
			if !slices.Contains(x.holders[at], uid.Type) {
				x.holders[at] = append(x.holders[at], uid.Type)
			}
		}
	}
	return x
}

// Ancestors are the entities that an entity is in, without itself: no request
// brings parents, so they are those of the bundle.
func (x *Engine) Ancestors(uid cedar.EntityUID) []cedar.EntityUID { return x.ancestors[uid] }

// Below reports whether an entity is another, or in it.
func (x *Engine) Below(uid, ancestor cedar.EntityUID) bool {
	return uid == ancestor || slices.Contains(x.ancestors[uid], ancestor)
}

// Names reports whether an action is one of a scope's.
func (x *Engine) Names(scope ast.IsActionScopeNode, action cedar.EntityUID) bool {
	switch scope := scope.(type) {
	case ast.ScopeTypeEq:
		return scope.Entity == action
	case ast.ScopeTypeIn:
		return x.Below(action, scope.Entity)
	case ast.ScopeTypeInSet:
		return slices.ContainsFunc(scope.Entities, func(e cedar.EntityUID) bool { return x.Below(action, e) })
	}
	return true
}

// Whole is a policy as one expression, scope and conditions.
func Whole(p *ast.Policy) *Expr { return Parse(eval.PolicyToNode(p).AsIsNode()) }

// Setting is a moment with what is known in it before anything is evaluated.
type Setting struct {
	policy.Moment
	known *facts
}

// Set makes a setting, for requests of one of some purposes, or of any if there
// are none.
func (x *Engine) Set(m policy.Moment, purposes []cedar.Value) Setting {
	return Setting{Moment: m, known: known(m, purposes)}
}

// Of is the setting for a tenant's own policy: it is asked for no other's request.
// Of no tenant it is the same.
func (s Setting) Of(tenant string) Setting {
	if tenant != "" {
		s.known = s.known.is(tenantKey, cedar.String(tenant))
	}
	return s
}

var tenantKey = Parse(ast.Context().Access("tenant").AsIsNode()).Key

// End is how an expression can end in a setting.
func (x *Engine) End(e *Expr, in Setting) End {
	j := &judge{Engine: x, moment: in.Moment}
	v := j.eval(e, in.known)
	return End{Moment: in.Moment, Can: v.can, Mishaps: j.mishaps}
}

// Dead is the place of the first of some clauses, evaluated one after the other,
// that cannot be true where those before it are.
func (x *Engine) Dead(clauses []*Expr, in Setting) int {
	j := &judge{Engine: x, moment: in.Moment}
	f := in.known
	for i, clause := range clauses {
		v := j.eval(clause, f)
		if !v.can.Has(Yes) {
			return i
		}
		f = v.then
	}
	return len(clauses) - 1
}
