package reach

import (
	"fmt"
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
)

// holding is whether something has an attribute, and of which type it is.
type holding struct {
	can Outcome // yes, no or both
	typ resolved.IsType
	lit cedar.Value
	why string // where it can be no
}

// holds is whether a value has an attribute.
func (j *judge) holds(of *Expr, v value, name types.String) holding {
	if record, ok := v.lit.(cedar.Record); ok {
		if lit, there := record.Get(name); there {
			return holding{can: Yes, typ: typeOf(lit), lit: lit}
		}
		return holding{can: No, why: "is of a record that has no such attribute"}
	}
	if record, ok := of.Node.(ast.NodeTypeRecord); ok {
		if slices.ContainsFunc(record.Elements, func(e ast.RecordElementNode) bool { return e.Key == name }) {
			return holding{can: Yes}
		}
		return holding{can: No, why: "is of a record that has no such attribute"}
	}
	switch typ := v.typ.(type) {
	case resolved.RecordType:
		return declared(typ, name, "is optional")
	case resolved.EntityType:
		return j.entityHolds(of, v, cedar.EntityType(typ), name)
	}
	return holding{can: Yes | No, why: "may not be there"}
}

func declared(typ resolved.RecordType, name types.String, why string) holding {
	attribute, ok := typ[name]
	switch {
	case !ok:
		return holding{can: No, why: "is not declared"}
	case attribute.Optional:
		return holding{can: Yes | No, typ: attribute.Type, why: why}
	}
	return holding{can: Yes, typ: attribute.Type}
}

// entityHolds is whether an entity has an attribute. What entities.json declares
// has all that its type requires. Of the others only a resource has attributes,
// those that the request gives it or, of a destination, says of it. An agent has
// none, also where it is the resource of its own request.
func (j *judge) entityHolds(of *Expr, v value, typ cedar.EntityType, name types.String) holding {
	h := declared(j.src.Schema.Entities[typ].Shape, name, "is optional")
	uid, exact := v.lit.(cedar.EntityUID)
	if declared, ok := j.src.Entities[uid]; exact && ok {
		lit, there := declared.Attributes.Get(name)
		if there {
			return holding{can: Yes, typ: h.typ, lit: lit}
		}
		return holding{can: No, why: fmt.Sprintf("is of %s, which entities.json declares without it", uid)}
	}
	variable, _ := of.Node.(ast.NodeTypeVariable)
	if h.can == No || variable.Name == "resource" && typ != "Server" && typ != "Agent" {
		return h
	}
	if exact && (typ == "Agent" || typ == "Server") {
		return holding{can: No, typ: h.typ, why: fmt.Sprintf("is of %s, which entities.json does not declare", uid)}
	}
	return holding{can: Yes | No, typ: h.typ, why: fmt.Sprintf("is of an entity %s that entities.json may not declare", typ)}
}

func (j *judge) has(e *Expr, name types.String, f *facts) value {
	of := j.eval(e.Kids[0], f)
	if of.can&^Fails == 0 {
		return truth(Fails)
	}
	return truth(j.holds(e.Kids[0], of, name).can | of.can&Fails)
}

func (j *judge) access(e *Expr, name types.String, f *facts) value {
	of := j.eval(e.Kids[0], f)
	if of.can&^Fails == 0 {
		return some(Fails, nil)
	}
	h := j.holds(e.Kids[0], of, name)
	if present := f.of(hasKey(e.Kids[0].Key, name)).lit; present == cedar.True && h.can&Yes != 0 {
		h.can = Yes
	} else if present == cedar.False {
		h.can, h.why = No, "is not there"
	}
	can := of.can & Fails
	if h.can&No != 0 {
		can |= j.fail(e, h.why, "Ask for it with `has` first.")
	}
	if h.can&Yes == 0 {
		return some(can, nil)
	}
	if h.lit != nil {
		return value{can: can | Yes, lit: h.lit}
	}
	out := some(can|Yes, h.typ)
	if _, boolean := h.typ.(resolved.BoolType); boolean {
		out.can |= No
	}
	if isLong(out) {
		if path, ok := e.path(); ok {
			out.low, out.high = bounds(j.moment.Tool, path)
		}
	}
	return out
}

// tag is whether getting a tag can fail: not after hasTag.
func (j *judge) tag(e *Expr, f *facts) Outcome {
	if f.of(keyOf(ast.NodeTypeHasTag{}, "", e.Kids[0].Key, e.Kids[1].Key)).lit == cedar.True {
		return 0
	}
	return j.fail(e, "may not be there", "Ask for it with `hasTag` first.")
}

// path is the names by which an expression is reached from context.
func (e *Expr) path() ([]string, bool) {
	switch n := e.Node.(type) {
	case ast.NodeTypeVariable:
		return nil, n.Name == "context"
	case ast.NodeTypeAccess:
		before, ok := e.Kids[0].path()
		return append(before, string(n.Value)), ok
	}
	return nil, false
}
