package reach

import (
	"math"
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"github.com/writpdp/writ/server/policy"
)

// value is what is known of an expression's value. It holds at least what the
// expression can be, never less.
type value struct {
	can       Outcome
	lit       cedar.Value     // it is this, unless nil
	typ       resolved.IsType // nil: not known
	low, high int64           // of a Long
	// then and els are what is known where it is true and where it is not.
	then, els *facts
}

// judge evaluates expressions over every request of one moment at once.
type judge struct {
	*Engine
	moment policy.Moment
	// mishaps are the places at which an evaluation can fail.
	mishaps []Mishap
}

// known are the facts that hold before anything is evaluated. The purpose is one
// of those that matter, unless nil.
func known(m policy.Moment, purposes []cedar.Value) *facts {
	var f *facts
	context := Parse(ast.Context().AsIsNode()).Key
	attribute := func(name types.String) string { return Parse(ast.Context().Access(name).AsIsNode()).Key }
	for name, v := range m.Known {
		f = f.is(attribute(name), v)
	}
	for name, there := range m.Present {
		f = f.is(hasKey(context, types.String(name)), cedar.Boolean(there))
	}
	if purposes != nil {
		f = f.among(attribute("purpose"), purposes)
	}
	return f
}

// eval is what an expression can be, given facts.
func (j *judge) eval(e *Expr, f *facts) value {
	if n, ok := e.Node.(ast.NodeValue); ok {
		return literal(n.Value, f)
	}
	known := f.of(e.Key)
	if known.lit != nil {
		return literal(known.lit, f) // it was evaluated before, so it does not fail
	}
	v := j.node(e, f)
	if v.lit != nil {
		out := literal(v.lit, f)
		out.can |= v.can & Fails
		return out
	}
	_, boolean := v.typ.(resolved.BoolType)
	if v.typ == nil && v.can&Yes != 0 { // it may be a Boolean
		boolean, v.can = true, v.can|No
	}
	if boolean {
		// A Boolean that was evaluated is known where it is asked for again.
		v.then, v.els = orElse(v.then, f).is(e.Key, cedar.True), orElse(v.els, f).is(e.Key, cedar.False)
		return v
	}
	v.then, v.els = f, f
	v.low, v.high = max(v.low, known.low), min(v.high, known.high)
	return v
}

func orElse(f, otherwise *facts) *facts {
	if f == nil {
		return otherwise
	}
	return f
}

func literal(v cedar.Value, f *facts) value {
	out := value{can: Yes, lit: v, typ: typeOf(v), low: math.MinInt64, high: math.MaxInt64, then: f, els: f}
	switch v := v.(type) {
	case cedar.Boolean:
		if !v {
			out.can = No
		}
	case cedar.Long:
		out.low, out.high = int64(v), int64(v)
	}
	return out
}

func typeOf(v cedar.Value) resolved.IsType {
	switch v := v.(type) {
	case cedar.Boolean:
		return resolved.BoolType{}
	case cedar.Long:
		return resolved.LongType{}
	case cedar.String:
		return resolved.StringType{}
	case cedar.EntityUID:
		return resolved.EntityType(v.Type)
	}
	return nil
}

func some(can Outcome, typ resolved.IsType) value {
	return value{can: can, typ: typ, low: math.MinInt64, high: math.MaxInt64}
}

func truth(can Outcome) value { return some(can, resolved.BoolType{}) }

// fail notes how an expression can fail.
func (j *judge) fail(e *Expr, how, fix string) Outcome {
	j.mishaps = append(j.mishaps, Mishap{At: e, How: how, Fix: fix})
	return Fails
}

// node evaluates an expression about which nothing is known yet.
func (j *judge) node(e *Expr, f *facts) value {
	switch n := e.Node.(type) {
	case ast.NodeTypeVariable:
		return j.variable(n.Name)
	case ast.NodeTypeAnd:
		return j.and(e, f)
	case ast.NodeTypeOr:
		return j.or(e, f)
	case ast.NodeTypeNot:
		return flip(j.eval(e.Kids[0], f))
	case ast.NodeTypeIfThenElse:
		return j.choice(e, f)
	case ast.NodeTypeAccess:
		return j.access(e, n.Value, f)
	case ast.NodeTypeHas:
		return j.has(e, n.Value, f)
	}
	return j.operator(e, f)
}

func (j *judge) variable(name types.String) value {
	switch name {
	case "principal":
		return some(Yes, resolved.EntityType("Agent"))
	case "action":
		return literal(j.moment.Action, nil)
	case "resource":
		if !j.moment.Server.IsZero() {
			return literal(j.moment.Server, nil)
		}
		return some(Yes, resolved.EntityType(j.moment.Resource))
	}
	return some(Yes, j.moment.Context)
}

func (j *judge) and(e *Expr, f *facts) value {
	l := j.eval(e.Kids[0], f)
	if l.can&Yes == 0 {
		out := truth(l.can)
		out.then, out.els = f, l.els
		return out
	}
	r := j.eval(e.Kids[1], l.then)
	out := truth(r.can | l.can&^Yes)
	out.then = r.then
	switch {
	case l.can&No == 0:
		out.els = r.els
	case r.can&No == 0:
		out.els = l.els
	default:
		out.els = either(f, l.els, r.els)
	}
	return out
}

func (j *judge) or(e *Expr, f *facts) value {
	l := j.eval(e.Kids[0], f)
	if l.can&No == 0 {
		out := truth(l.can)
		out.then, out.els = l.then, f
		return out
	}
	r := j.eval(e.Kids[1], l.els)
	out := truth(r.can | l.can&^No)
	out.els = r.els
	switch {
	case l.can&Yes == 0:
		out.then = r.then
	case r.can&Yes == 0:
		out.then = l.then
	default:
		out.then = either(f, l.then, r.then)
	}
	return out
}

func (j *judge) choice(e *Expr, f *facts) value {
	c := j.eval(e.Kids[0], f)
	var ways []value
	if c.can&Yes != 0 {
		ways = append(ways, j.eval(e.Kids[1], c.then))
	}
	if c.can&No != 0 {
		ways = append(ways, j.eval(e.Kids[2], c.els))
	}
	switch len(ways) {
	case 0:
		return some(c.can, nil)
	case 1:
		out := ways[0]
		out.can |= c.can & Fails
		return out
	}
	a, b := ways[0], ways[1]
	out := some(a.can|b.can|c.can&Fails, a.typ)
	out.low, out.high = min(a.low, b.low), max(a.high, b.high)
	if a.typ == nil {
		out.typ = b.typ
	}
	if _, boolean := out.typ.(resolved.BoolType); boolean {
		out.then, out.els = way(f, a, b, Yes, func(v value) *facts { return v.then }), way(f, a, b, No, func(v value) *facts { return v.els })
	}
	return out
}

// way is what holds where one of two values ends as given.
func way(f *facts, a, b value, as Outcome, of func(value) *facts) *facts {
	switch {
	case a.can&as == 0:
		return of(b)
	case b.can&as == 0:
		return of(a)
	}
	return either(f, of(a), of(b))
}

// exact evaluates an operator over values that are known.
func (j *judge) exact(e *Expr, values []cedar.Value) (cedar.Value, error) {
	return eval.Eval(e.with(values), eval.Env{Entities: j.src.Entities})
}

// in is whether a value can be in an entity: it, or below it. Requests bring no
// parents, so nothing is below an entity but what the bundle declares.
func (j *judge) in(left value, right cedar.EntityUID) Outcome {
	if uid, ok := left.lit.(cedar.EntityUID); ok {
		v, err := eval.Eval(ast.Value(uid).In(ast.Value(right)).AsIsNode(), eval.Env{Entities: j.src.Entities})
		if err == nil && v == cedar.True {
			return Yes
		}
		return No
	}
	typ, known := left.typ.(resolved.EntityType)
	if !known || cedar.EntityType(typ) == right.Type || slices.Contains(j.holders[right], cedar.EntityType(typ)) {
		return Yes | No
	}
	return No
}
