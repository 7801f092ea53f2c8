package reach

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
)

// operator evaluates what needs all its operands.
func (j *judge) operator(e *Expr, f *facts) value {
	operands, can, whole := make([]value, len(e.Kids)), Outcome(0), true
	values := make([]cedar.Value, len(e.Kids))
	for i, kid := range e.Kids {
		operands[i] = j.eval(kid, f)
		if operands[i].can&^Fails == 0 {
			return some(Fails, nil)
		}
		can |= operands[i].can & Fails
		values[i], whole = operands[i].lit, whole && operands[i].lit != nil
	}
	if whole && !asksEntity(e.Node) {
		v, err := j.exact(e, values)
		if err != nil {
			return some(j.fail(e, "is an error whatever comes", "Write a value that Cedar can work out."), nil)
		}
		return value{can: can | Yes, lit: v}
	}
	out := j.unknown(e, operands, f)
	out.can |= can
	return out
}

// asksEntity reports whether a node looks into an entity, of which a request may
// have another view than the bundle.
func asksEntity(n ast.IsNode) bool {
	switch n.(type) {
	case ast.NodeTypeGetTag, ast.NodeTypeHasTag:
		return true
	}
	return false
}

// unknown evaluates an operator not all of whose operands are known.
func (j *judge) unknown(e *Expr, o []value, f *facts) value {
	switch n := e.Node.(type) {
	case ast.NodeTypeEquals:
		return j.equal(e, o, f)
	case ast.NodeTypeNotEquals:
		return flip(j.equal(e, o, f))
	case ast.NodeTypeLessThan:
		return less(e.Kids[0], e.Kids[1], o[0], o[1], f)
	case ast.NodeTypeGreaterThan:
		return less(e.Kids[1], e.Kids[0], o[1], o[0], f)
	case ast.NodeTypeLessThanOrEqual: // a <= b is !(b < a)
		return flip(less(e.Kids[1], e.Kids[0], o[1], o[0], f))
	case ast.NodeTypeGreaterThanOrEqual:
		return flip(less(e.Kids[0], e.Kids[1], o[0], o[1], f))
	case ast.NodeTypeAdd, ast.NodeTypeSub, ast.NodeTypeMult, ast.NodeTypeNegate:
		return j.arithmetic(e, o)
	case ast.NodeTypeIn:
		return j.within(o[0], e.Kids[1], o[1])
	case ast.NodeTypeIs:
		return isOf(o[0], n.EntityType)
	case ast.NodeTypeIsIn:
		typed, in := isOf(o[0], n.EntityType), j.within(o[0], e.Kids[1], o[1])
		if typed.can == Yes {
			return in
		}
		return truth(No | typed.can&in.can)
	case ast.NodeTypeContains:
		return member(e.Kids[1], o[0], o[1], f)
	case ast.NodeTypeLike, ast.NodeTypeContainsAll, ast.NodeTypeContainsAny, ast.NodeTypeIsEmpty, ast.NodeTypeHasTag:
		return truth(Yes | No)
	case ast.NodeTypeGetTag:
		return some(Yes|j.tag(e, f), nil)
	case ast.NodeTypeExtensionCall:
		return j.extension(e, n.Name)
	}
	return some(Yes, nil) // a record or a set
}

// flip is the negation of a Boolean.
func flip(v value) value {
	out := truth(v.can & Fails)
	if v.can&Yes != 0 {
		out.can |= No
	}
	if v.can&No != 0 {
		out.can |= Yes
	}
	out.then, out.els = v.els, v.then
	return out
}

func (j *judge) equal(e *Expr, o []value, f *facts) value {
	if e.Kids[0].Key == e.Kids[1].Key {
		return truth(Yes)
	}
	if disjoint(o[0].typ, o[1].typ) || o[0].high < o[1].low || o[1].high < o[0].low {
		return truth(No)
	}
	out := truth(Yes | No)
	out.then, out.els = f, f
	for i := range o {
		lit, other := o[i].lit, e.Kids[1-i]
		if lit == nil {
			continue
		}
		known := f.of(other.Key)
		if !known.allows(lit) {
			return truth(No)
		}
		if values := known.values(); len(values) == 1 && values[0].Equal(lit) {
			return truth(Yes)
		}
		out.then, out.els = out.then.is(other.Key, lit), out.els.none(other.Key, lit)
	}
	return out
}

// disjoint reports whether no value is of both types.
func disjoint(a, b resolved.IsType) bool {
	x, ok := a.(resolved.EntityType)
	y, both := b.(resolved.EntityType)
	return ok && both && x != y
}

func isLong(v value) bool {
	_, ok := v.typ.(resolved.LongType)
	return ok
}

// less compares Longs by their ranges, and what else can be compared not at all.
func less(a, b *Expr, l, r value, f *facts) value {
	if !isLong(l) || !isLong(r) {
		return truth(Yes | No)
	}
	switch {
	case l.high < r.low:
		return truth(Yes)
	case l.low >= r.high:
		return truth(No)
	}
	out := truth(Yes | No)
	out.then = f.within(a.Key, math.MinInt64, r.high-1).within(b.Key, l.low+1, math.MaxInt64)
	out.els = f.within(a.Key, r.low, math.MaxInt64).within(b.Key, math.MinInt64, l.high)
	return out
}

// arithmetic is over ranges; where they leave 64 bits it can fail.
func (j *judge) arithmetic(e *Expr, o []value) value {
	out := some(Yes, resolved.LongType{})
	var low, high int64
	var over bool
	switch e.Node.(type) {
	case ast.NodeTypeNegate:
		low, high, over = span(sub, 0, 0, o[0].low, o[0].high)
	case ast.NodeTypeAdd:
		low, high, over = span(add, o[0].low, o[0].high, o[1].low, o[1].high)
	case ast.NodeTypeSub:
		low, high, over = span(sub, o[0].low, o[0].high, o[1].low, o[1].high)
	default:
		low, high, over = span(mul, o[0].low, o[0].high, o[1].low, o[1].high)
	}
	if over {
		out.can |= j.fail(e, "can overflow 64 bits", "Bound what it is made of before it, as in `context.args.n <= 1000000 && …`.")
		return out
	}
	out.low, out.high = low, high
	return out
}

// span is the range of an operation over two ranges, and whether it overflows
// somewhere in them: the extremes of sums and products are at corners.
func span(op func(a, b int64) (int64, bool), a, b, c, d int64) (low, high int64, over bool) {
	low, high = math.MaxInt64, math.MinInt64
	for _, x := range []int64{a, b} {
		for _, y := range []int64{c, d} {
			v, ok := op(x, y)
			low, high, over = min(low, v), max(high, v), over || !ok
		}
	}
	return low, high, over
}

func add(a, b int64) (int64, bool) { s := a + b; return s, (s > a) == (b > 0) }

func sub(a, b int64) (int64, bool) { s := a - b; return s, (s < a) == (b > 0) }

func mul(a, b int64) (int64, bool) {
	high, low := bits.Mul64(magnitude(a), magnitude(b))
	if negative := (a < 0) != (b < 0); high != 0 || negative && low > 1<<63 || !negative && low >= 1<<63 {
		return 0, false
	}
	return a * b, true
}

func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}

func isOf(v value, typ types.EntityType) value {
	known, ok := v.typ.(resolved.EntityType)
	switch {
	case !ok:
		return truth(Yes | No)
	case types.EntityType(known) == typ:
		return truth(Yes)
	}
	return truth(No)
}

// within is `left in right`.
func (j *judge) within(left value, right *Expr, r value) value {
	var entities []cedar.EntityUID
	known := true
	add := func(v cedar.Value) {
		uid, ok := v.(cedar.EntityUID)
		entities, known = append(entities, uid), known && ok
	}
	switch lit := r.lit.(type) {
	case cedar.EntityUID:
		add(lit)
	case cedar.Set:
		for v := range lit.All() {
			add(v)
		}
	default:
		known = false
	}
	if !known {
		return truth(Yes | No)
	}
	can := No
	for _, uid := range entities {
		switch in := j.in(left, uid); {
		case in == Yes:
			return truth(Yes)
		default:
			can |= in
		}
	}
	return truth(can)
}

// member is `set.contains(element)`.
func member(element *Expr, set, v value, f *facts) value {
	all, ok := set.lit.(cedar.Set)
	if !ok {
		return truth(Yes | No)
	}
	known, out := f.of(element.Key), truth(Yes|No)
	var possible []cedar.Value
	for candidate := range all.All() {
		if known.allows(candidate) && !disjoint(v.typ, typeOf(candidate)) {
			possible = append(possible, candidate)
		}
	}
	if len(possible) == 0 {
		return truth(No)
	}
	if values := known.values(); values != nil {
		inside := true
		for _, one := range values {
			inside = inside && (all.Contains(one) || !known.allows(one))
		}
		if inside {
			return truth(Yes)
		}
	}
	out.then, out.els = f.among(element.Key, possible), f.none(element.Key, all.Slice()...)
	return out
}

// extension is a function or method of an extension type.
func (j *judge) extension(e *Expr, name types.Path) value {
	switch name {
	case "decimal", "ip", "datetime", "duration":
		return some(Yes|j.fail(e, fmt.Sprintf("reads a text that may be no %s", name), "Compare with a literal, or let the schema carry the value as its own type."), nil)
	case "offset", "durationSince", "toDate":
		return some(Yes|j.fail(e, "can leave the range of time", "Compare points in time with literals, or bound them first."), nil)
	case "toTime":
		return some(Yes, nil)
	case "toDays", "toHours", "toMinutes", "toSeconds", "toMilliseconds":
		return some(Yes, resolved.LongType{})
	}
	return truth(Yes | No)
}
