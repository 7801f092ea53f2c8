// Package partial evaluates Cedar policies on a request of which parts are not
// known. It never guesses: its answer is the set of what a policy can come to,
// whatever the unknown parts are.
//
// Cedar's own partial evaluation does not do for this. It takes a set or a record
// with an unknown part for a known one when it compares it, and it drops a policy
// at a condition that is false although one before may fail, and a failing policy
// denies.
package partial

import (
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"
)

// Outcome is a set of what a policy, or a part of one, can come to.
type Outcome uint8

// What it can come to: to match (be true), not to (be false), or to fail.
const (
	Match Outcome = 1 << iota
	Miss
	Fail
)

// Can reports whether an outcome is possible.
func (o Outcome) Can(one Outcome) bool { return o&one != 0 }

// Unknown says which parts of a value are not known. The nil Unknown: none.
type Unknown struct {
	// Label names the value for a person where it is not known as a whole;
	// empty: it is known but for what is below.
	Label string
	// Absent says of a value that is not known that it may not even be there.
	Absent bool
	Below  map[cedar.String]*Unknown
}

// At is the entry of a member, made where there is none.
func (u *Unknown) At(name cedar.String) *Unknown {
	if u.Below == nil {
		u.Below = map[cedar.String]*Unknown{}
	}
	if u.Below[name] == nil {
		u.Below[name] = &Unknown{}
	}
	return u.Below[name]
}

func (u *Unknown) labels(all []string) []string {
	if u == nil {
		return all
	}
	if u.Label != "" {
		return append(all, u.Label)
	}
	for _, below := range u.Below {
		all = below.labels(all)
	}
	return all
}

// Question is a request to Cedar of which parts are not known. Env holds values
// of no meaning in their places.
type Question struct {
	Env eval.Env
	// Context and Resource are what is not known of the context and of the
	// resource's attributes.
	Context, Resource *Unknown
	// Nameless says that the resource's id is not known, but for that it is none
	// that the policies and the entities name.
	Nameless bool
}

// Policy is what a policy whose scope matches comes to, and what it would have
// to know to tell more, each once and in order.
func (q *Question) Policy(p *ast.Policy) (Outcome, []string) {
	e := evaluation{q: q}
	var all Outcome
	for _, c := range p.Conditions {
		body := e.node(c.Body)
		if c.Condition == ast.ConditionUnless {
			body = body.not()
		}
		all |= body &^ Match
		if !body.Can(Match) {
			return all, e.open()
		}
	}
	return all | Match, e.open()
}

// Reads are what is not known and a policy looks at, each once and in order.
func (q *Question) Reads(p *ast.Policy) []string {
	e := evaluation{q: q}
	for _, c := range p.Conditions {
		e.withheld = append(e.withheld, q.reads(c.Body)...)
	}
	return e.open()
}

type evaluation struct {
	q        *Question
	withheld []string
}

func (e *evaluation) open() []string {
	slices.Sort(e.withheld)
	return slices.Compact(e.withheld)
}

func (o Outcome) not() Outcome {
	n := o & Fail
	if o.Can(Match) {
		n |= Miss
	}
	if o.Can(Miss) {
		n |= Match
	}
	return n
}

// node is what an expression of type Bool comes to, evaluated as Cedar does:
// from left to right, and no further than needed.
func (e *evaluation) node(n ast.IsNode) Outcome {
	switch n := n.(type) {
	case ast.NodeTypeAnd:
		left := e.node(n.Left)
		if !left.Can(Match) {
			return left
		}
		return left&^Match | e.node(n.Right)
	case ast.NodeTypeOr:
		left := e.node(n.Left)
		if !left.Can(Miss) {
			return left
		}
		return left&^Miss | e.node(n.Right)
	case ast.NodeTypeNot:
		return e.node(n.Arg).not()
	case ast.NodeTypeIfThenElse:
		test := e.node(n.If)
		out := test & Fail
		if test.Can(Match) {
			out |= e.node(n.Then)
		}
		if test.Can(Miss) {
			out |= e.node(n.Else)
		}
		return out
	}
	return e.leaf(n)
}

func (e *evaluation) leaf(n ast.IsNode) Outcome {
	unknown := e.q.reads(n)
	if len(unknown) > 0 {
		e.withheld = append(e.withheld, unknown...)
		if mayFail(n) {
			return Match | Miss | Fail
		}
		return Match | Miss
	}
	v, err := eval.Eval(n, e.q.Env)
	switch {
	case err != nil:
		return Fail
	case v == cedar.Boolean(true):
		return Match
	case v == cedar.Boolean(false):
		return Miss
	}
	return Fail // a condition that is no Bool
}

// reads are the labels of what is not known and an expression looks at.
func (q *Question) reads(n ast.IsNode) []string {
	var all []string
	ast.Inspect(ast.NewNode(n), func(n ast.IsNode) bool {
		switch n := n.(type) {
		case ast.NodeTypeAccess:
			if root, path, ok := chain(n); ok {
				all = append(all, q.value(root, path)...)
				return false
			}
		case ast.NodeTypeHas:
			if root, path, ok := chain(n.Arg); ok {
				all = append(all, q.presence(root, path, n.Value)...)
				return false
			}
		case ast.NodeTypeIs:
			return !isResource(n.Left) // its type is known
		case ast.NodeTypeIsIn:
			return !isResource(n.Left) || !constant(n.Entity)
		case ast.NodeTypeIn:
			return !isResource(n.Left) || !constant(n.Right)
		case ast.NodeTypeEquals:
			return !compares(n.BinaryNode)
		case ast.NodeTypeNotEquals:
			return !compares(n.BinaryNode)
		case ast.NodeTypeVariable:
			all = append(all, q.variable(string(n.Name))...)
		}
		return true
	})
	return all
}

// compares reports whether the resource is compared with what a policy names.
func compares(n ast.BinaryNode) bool {
	return isResource(n.Left) && constant(n.Right) || isResource(n.Right) && constant(n.Left)
}

func isResource(n ast.IsNode) bool {
	v, ok := n.(ast.NodeTypeVariable)
	return ok && v.Name == "resource"
}

// constant reports whether an expression is a value or a set of values.
func constant(n ast.IsNode) bool {
	switch n := n.(type) {
	case ast.NodeValue:
		return true
	case ast.NodeTypeSet:
		return !slices.ContainsFunc(n.Elements, func(e ast.IsNode) bool { return !constant(e) })
	}
	return false
}

// chain is an access to attributes of attributes of a variable.
func chain(n ast.IsNode) (root string, path []cedar.String, ok bool) {
	switch n := n.(type) {
	case ast.NodeTypeVariable:
		return string(n.Name), nil, true
	case ast.NodeTypeAccess:
		root, path, ok = chain(n.Arg)
		return root, append(path, n.Value), ok
	}
	return "", nil, false
}

func (q *Question) root(name string) *Unknown {
	switch name {
	case "context":
		return q.Context
	case "resource":
		return q.Resource
	}
	return nil
}

// value are the labels of what is not known of the value at a path.
func (q *Question) value(root string, path []cedar.String) []string {
	u := q.root(root)
	for _, name := range path {
		if u == nil || u.Label != "" {
			break
		}
		u = u.Below[name]
	}
	return u.labels(nil)
}

// presence are the labels of what is not known of whether a value has a member.
func (q *Question) presence(root string, path []cedar.String, name cedar.String) []string {
	u := q.root(root)
	for _, name := range path {
		if u == nil || u.Label != "" {
			break
		}
		u = u.Below[name]
	}
	if u == nil || u.Label != "" {
		return u.labels(nil)
	}
	if member := u.Below[name]; member != nil && member.Label != "" && member.Absent {
		return []string{member.Label}
	}
	return nil
}

// variable are the labels of what is not known of a variable as a whole.
func (q *Question) variable(name string) []string {
	if name == "resource" {
		if q.Nameless {
			return []string{"resource: its id"}
		}
		return nil // it is what it is called
	}
	return q.root(name).labels(nil)
}

// mayFail reports whether an expression on values of the declared types can
// fail: arithmetic overflows, an extension refuses a text, a tag or an entity is
// not there. A missing attribute of a record is none: policies are validated, so
// they ask for it first.
func mayFail(n ast.IsNode) bool {
	found := false
	ast.Inspect(ast.NewNode(n), func(n ast.IsNode) bool {
		switch n := n.(type) {
		case ast.NodeTypeAdd, ast.NodeTypeSub, ast.NodeTypeMult, ast.NodeTypeNegate, ast.NodeTypeExtensionCall, ast.NodeTypeGetTag:
			found = true
		case ast.NodeTypeAccess:
			root, path, ok := chain(n)
			found = found || !ok || !safe(root, path)
			return !ok
		}
		return !found
	})
	return found
}

// safe reports whether a path leads through records alone, and not on from what
// can be an entity: the human, an attribute of the resource, or what the bundle's
// own type Extra declares.
func safe(root string, path []cedar.String) bool {
	switch {
	case root == "resource":
		return len(path) == 1
	case root != "context", path[0] == "onBehalfOf" && len(path) > 1:
		return false
	}
	return path[0] != "extra" || len(path) <= 2
}
