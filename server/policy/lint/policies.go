package lint

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/reach"
)

func invalid(l *linter) {
	for _, st := range l.src.Statements {
		if st.Invalid != "" && len(l.strangers(st)) == 0 {
			l.of(st, Error, "The policy is not valid: "+st.Invalid+".", "Mend it: no bundle with it is loaded.")
		}
	}
}

func unknownTool(l *linter) {
	for _, st := range l.src.Statements {
		for _, uid := range l.strangers(st) {
			fix := "Add the manifest of the tool's server, or take the action out of the policy."
			if near := l.nearest(string(uid.ID)); near != "" {
				fix = fmt.Sprintf("Did you mean %q? Else add the manifest of the tool's server.", near)
			}
			l.of(st, Error, fmt.Sprintf("No manifest has a tool for %s.", uid), fix)
		}
	}
}

// strangers are the actions in a policy that the schema does not have.
func (l *linter) strangers(st policy.Written) []cedar.EntityUID {
	var all []cedar.EntityUID
	for _, uid := range entitiesOf(st.Policy) {
		if _, known := l.src.Schema.Actions[uid]; !known && uid.Type == "Action" && !slices.Contains(all, uid) {
			all = append(all, uid)
		}
	}
	return all
}

// entitiesOf are the entities that a policy names.
func entitiesOf(p *ast.Policy) []cedar.EntityUID {
	var all []cedar.EntityUID
	for _, scope := range []any{p.Principal, p.Action, p.Resource} {
		switch s := scope.(type) {
		case ast.ScopeTypeEq:
			all = append(all, s.Entity)
		case ast.ScopeTypeIn:
			all = append(all, s.Entity)
		case ast.ScopeTypeIsIn:
			all = append(all, s.Entity)
		case ast.ScopeTypeInSet:
			all = append(all, s.Entities...)
		}
	}
	for _, v := range valuesOf(p) {
		if uid, ok := v.(cedar.EntityUID); ok {
			all = append(all, uid)
		}
	}
	return all
}

// valuesOf are the literals in a policy's conditions.
func valuesOf(p *ast.Policy) []cedar.Value {
	var all []cedar.Value
	for _, c := range p.Conditions {
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
			if v, ok := n.(ast.NodeValue); ok {
				all = append(all, v.Value)
			}
			return true
		})
	}
	return all
}

// maxName bounds a name that others are compared with.
const maxName = 128

// nearest is the action that is called most like a name, if any is.
func (l *linter) nearest(name string) string {
	best, distance := "", 3
	if len(name) > maxName {
		return best
	}
	for _, d := range l.src.Definitions {
		known := d.Tool.String()
		if n := apart(name, known); n < distance || n == distance && known < best {
			best, distance = known, n
		}
	}
	return best
}

// apart is how many characters have to be changed to make one name of another.
func apart(a, b string) int {
	row := make([]int, len(b)+1)
	for i := range row {
		row[i] = i
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := corner
			if a[i] != b[j] {
				cost = 1 + min(corner, row[j], row[j+1])
			}
			corner, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

func enumID(l *linter) {
	for _, st := range l.src.Statements {
		for _, uid := range entitiesOf(st.Policy) {
			if l.unlisted(uid) {
				l.of(st, Error, fmt.Sprintf("The schema lists no %s.", uid), fmt.Sprintf("Name one that `entity %s enum` lists, or add it there.", uid.Type))
			}
		}
	}
	for _, uid := range slices.SortedFunc(maps.Keys(l.src.Entities), func(a, b cedar.EntityUID) int { return strings.Compare(a.String(), b.String()) }) {
		entity := l.src.Entities[uid]
		named := []cedar.EntityUID{uid}
		for v := range entity.Attributes.Values() {
			named = append(named, entitiesIn(v)...)
		}
		for v := range entity.Tags.Values() {
			named = append(named, entitiesIn(v)...)
		}
		for _, other := range named {
			if l.unlisted(other) {
				line, column := l.src.EntityPlace(uid)
				l.report("entity "+uid.String(), Finding{Severity: Error, File: "entities.json", Line: line, Column: column, Text: fmt.Sprintf("The entity %s names %s, which the schema does not list.", uid, other),
					Fix: fmt.Sprintf("Name one that `entity %s enum` lists, or add it there.", other.Type)})
			}
		}
	}
}

// unlisted reports whether an entity is of an enumerated type and not in its list.
func (l *linter) unlisted(uid cedar.EntityUID) bool {
	enum, ok := l.src.Schema.Enums[uid.Type]
	return ok && !slices.Contains(enum.Values, uid)
}

// entitiesIn are the entities in a value.
func entitiesIn(v cedar.Value) []cedar.EntityUID {
	var all []cedar.EntityUID
	switch v := v.(type) {
	case cedar.EntityUID:
		return []cedar.EntityUID{v}
	case cedar.Set:
		for element := range v.All() {
			all = append(all, entitiesIn(element)...)
		}
	case cedar.Record:
		for member := range v.Values() {
			all = append(all, entitiesIn(member)...)
		}
	}
	return all
}

func alwaysFails(l *linter) {
	for _, s := range l.subjects {
		if at := slices.IndexFunc(s.ends, func(e reach.End) bool { return e.Can == reach.Fails }); at >= 0 {
			all := s.ends[at].Mishaps
			m := all[len(all)-1] // the one that nothing was evaluated after
			l.of(s.Written, Error, fmt.Sprintf("Every %s is denied by an error: `%s` %s.", s.ends[at].Moment, m.At.Text(), m.How), m.Fix)
		}
	}
}

func canFail(l *linter) {
	for _, s := range l.subjects {
		at := slices.IndexFunc(s.ends, func(e reach.End) bool { return e.Can.Has(reach.Fails) && e.Can != reach.Fails && len(e.Mishaps) > 0 })
		if at < 0 || slices.ContainsFunc(s.ends, func(e reach.End) bool { return e.Can == reach.Fails }) {
			continue
		}
		m := s.ends[at].Mishaps[0]
		severity := Note // a permit that fails permits nothing, which it need not have
		if s.Policy.Effect == ast.EffectForbid {
			severity = Warning
		}
		l.of(s.Written, severity, fmt.Sprintf("`%s` %s, and then a %s is denied by an error rather than by a policy.", m.At.Text(), m.How, s.ends[at].Moment), m.Fix)
	}
}

func neverMatches(l *linter) {
	for _, s := range l.subjects {
		if len(s.matches()) > 0 || slices.ContainsFunc(s.ends, func(e reach.End) bool { return e.Can == reach.Fails }) {
			continue
		}
		switch {
		case s.purposes:
			l.of(s.Written, Warning, "No purpose that it could match grants a tool that it is for.", "Grant the tool to the purpose, or take the policy away.")
		case len(s.ends) == 0:
			l.of(s.Written, Warning, "Its scope fits no action that is ever asked for.", "Name a tool, a server or a class that some tool has.")
		default:
			l.of(s.Written, Warning, fmt.Sprintf("No request matches it: `%s` is never true there.", l.dead(s).Text()), "Mend the condition, or take the policy away.")
		}
	}
}

// dead is the clause that keeps a policy from matching, the farthest that any
// request comes.
func (l *linter) dead(s *subject) *reach.Expr {
	chain := conjuncts(s.whole)
	farthest := 0
	for _, e := range s.ends {
		farthest = max(farthest, l.engine.Dead(chain, l.engine.Set(e.Moment, l.granting(e.Moment)).Of(s.Tenant)))
	}
	return chain[farthest]
}

// conjuncts are the expressions that are joined by &&, in order.
func conjuncts(e *reach.Expr) []*reach.Expr {
	if _, and := e.Node.(ast.NodeTypeAnd); and {
		return slices.Concat(conjuncts(e.Kids[0]), conjuncts(e.Kids[1]))
	}
	return []*reach.Expr{e}
}

func noOwner(l *linter) {
	for _, st := range l.src.Statements {
		owned := slices.ContainsFunc(st.Policy.Annotations, func(a ast.AnnotationType) bool {
			return a.Key == "owner" && strings.TrimSpace(string(a.Value)) != ""
		})
		if !owned {
			l.of(st, Warning, "Nobody owns the policy.", "Say who answers for it: @owner(\"…\").")
		}
	}
}

func unknownPurpose(l *linter) {
	if len(l.purposes) == 0 {
		return
	}
	purpose := reach.Parse(ast.Context().Access("purpose").AsIsNode()).Key
	for _, s := range l.subjects {
		var named []cedar.Value
		var walk func(*reach.Expr)
		walk = func(e *reach.Expr) {
			switch e.Node.(type) {
			case ast.NodeTypeEquals, ast.NodeTypeNotEquals, ast.NodeTypeContains:
				for i, kid := range e.Kids {
					if kid.Key == purpose {
						named = append(named, literals(e.Kids[1-i])...)
					}
				}
			}
			for _, kid := range e.Kids {
				walk(kid)
			}
		}
		walk(s.whole)
		for _, v := range named {
			if name, ok := v.(cedar.String); ok && !slices.Contains(l.purposes, string(name)) {
				l.of(s.Written, Warning, fmt.Sprintf("There is no purpose %q: a request of it is denied whatever policies say.", string(name)), "Name a purpose of purposes.yaml, or add it there.")
			}
		}
	}
}

// literals are the literals that an expression is or has as elements.
func literals(e *reach.Expr) []cedar.Value {
	if v, ok := e.Node.(ast.NodeValue); ok {
		if set, ok := v.Value.(cedar.Set); ok {
			return set.Slice()
		}
		return []cedar.Value{v.Value}
	}
	var all []cedar.Value
	if _, set := e.Node.(ast.NodeTypeSet); set {
		for _, kid := range e.Kids {
			all = append(all, literals(kid)...)
		}
	}
	return all
}

func noSuchField(l *linter) {
	for _, s := range l.subjects {
		matches := s.matches()
		if s.Obligation != "redact" || len(matches) == 0 {
			continue
		}
		for _, field := range s.Fields {
			if !slices.ContainsFunc(matches, func(e reach.End) bool { return l.hasField(e.Moment, field) }) {
				l.of(s.Written, Warning, fmt.Sprintf("No tool that it is for has a field %s, so it redacts nothing there.", field),
					"Name a field of the tools' inputSchema (CALL), or of their results: /content/*/…, /structuredContent/… (RESULT).")
			}
		}
	}
}

// hasField reports whether what is redacted in a moment can have a field.
func (l *linter) hasField(m policy.Moment, field string) bool {
	tokens, err := document.Tokens(field)
	if err != nil || m.Tool == nil {
		return true // no bundle has such a field; prompts are of any form
	}
	name := m.Tool.Tool.ToolName
	if m.Phase == decision.Result.String() {
		return result(l.outputs[name], tokens)
	}
	return l.inputs[name].has(tokens)
}
