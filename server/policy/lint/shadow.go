package lint

import (
	"fmt"
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/reach"
)

func shadowed(l *linter) {
	permits, forbids := l.shelf(ast.EffectPermit), l.shelf(ast.EffectForbid)
	for _, s := range l.subjects {
		matches := s.matches()
		if !s.decides(ast.EffectPermit) || len(matches) == 0 {
			continue
		}
		own, principals := clauses(s.Policy), l.slots(s.Policy.Principal)
		if by := l.coveringPermit(permits, s, own, principals, matches); by != nil {
			l.of(s.Written, Warning, fmt.Sprintf("It permits nothing that %q at %s does not.", by.ID, position(by.Policy)), "Take one of the two away, or tell them apart.")
			continue
		}
		var by *subject
		all := !slices.ContainsFunc(matches, func(e reach.End) bool {
			by = l.coveringForbid(forbids, s, own, principals, e.Moment)
			return by == nil
		})
		if all {
			l.of(s.Written, Warning, fmt.Sprintf("Whatever it permits, %q at %s forbids.", by.ID, position(by.Policy)), "Narrow the forbid, or take the permit away.")
		}
	}
}

func position(p *ast.Policy) string {
	return fmt.Sprintf("%s:%d:%d", p.Position.Filename, p.Position.Line, p.Position.Column)
}

// shelf holds policies by their tenants, by what their scopes ask of the principal
// and by their actions, so that only those are compared that could cover one another.
type shelf map[slot][]*covering

type slot struct {
	tenant    string // empty: of every tenant
	principal string
	action    cedar.EntityUID
}

// among are the policies of a slot that stand beside a tenant's: those of every
// tenant and its own.
func (sh shelf) among(tenant, principal string, action cedar.EntityUID) []*covering {
	all := sh[slot{"", principal, action}]
	if tenant != "" {
		all = slices.Concat(all, sh[slot{tenant, principal, action}])
	}
	return all
}

type covering struct {
	*subject
	order   int
	clauses map[string]bool
}

func (l *linter) shelf(effect ast.Effect) shelf {
	sh := shelf{}
	for i, s := range l.subjects {
		if !s.decides(effect) || s.Shadow {
			continue // a policy in shadow mode stands in for no other
		}
		c := &covering{subject: s, order: i, clauses: clauses(s.Policy)}
		var last cedar.EntityUID
		for _, e := range s.matches() {
			if e.Moment.Action != last {
				last = e.Moment.Action
				at := slot{s.Tenant, slots(s.Policy.Principal)[0], last}
				sh[at] = append(sh[at], c)
			}
		}
	}
	return sh
}

// slots are where a policy is shelved, first, and then where those are that may
// cover it.
func (l *linter) slots(scope ast.IsPrincipalScopeNode) []string {
	all := slots(scope)
	if uid, ok := named(scope); ok {
		for _, ancestor := range l.engine.Ancestors(uid) {
			all = append(all, "in "+ancestor.String())
		}
	}
	return all
}

func slots(scope ast.IsPrincipalScopeNode) []string {
	switch s := scope.(type) {
	case ast.ScopeTypeEq:
		return []string{"== " + s.Entity.String(), "in " + s.Entity.String(), "any"}
	case ast.ScopeTypeIn:
		return []string{"in " + s.Entity.String(), "any"}
	case ast.ScopeTypeIsIn:
		return []string{"in " + s.Entity.String(), "any"}
	}
	return []string{"any"} // every principal is an agent
}

// named is the entity that a scope names.
func named(scope any) (cedar.EntityUID, bool) {
	switch s := scope.(type) {
	case ast.ScopeTypeEq:
		return s.Entity, true
	case ast.ScopeTypeIn:
		return s.Entity, true
	case ast.ScopeTypeIsIn:
		return s.Entity, true
	}
	return cedar.EntityUID{}, false
}

// clauses are what must be true for a policy's conditions to hold, by key.
func clauses(p *ast.Policy) map[string]bool {
	all := map[string]bool{}
	var split func(n ast.IsNode)
	split = func(n ast.IsNode) {
		switch n := n.(type) {
		case ast.NodeTypeAnd:
			split(n.Left)
			split(n.Right)
			return
		case ast.NodeTypeNot:
			switch inner := n.Arg.(type) {
			case ast.NodeTypeOr:
				split(ast.Not(ast.NewNode(inner.Left)).AsIsNode())
				split(ast.Not(ast.NewNode(inner.Right)).AsIsNode())
				return
			case ast.NodeTypeNot:
				split(inner.Arg)
				return
			}
		}
		all[reach.Parse(n).Key] = true
	}
	for _, c := range p.Conditions {
		if c.Condition == ast.ConditionUnless {
			split(ast.Not(ast.NewNode(c.Body)).AsIsNode())
		} else {
			split(c.Body)
		}
	}
	return all
}

// coveringPermit is a permit that permits all that another does. Of two that
// cover each other the later one is the one too many. own are the other's clauses,
// and principals the slots that policies covering it can stand in.
func (l *linter) coveringPermit(sh shelf, s *subject, own map[string]bool, principals []string, matches []reach.End) *subject {
	for _, at := range principals {
		for _, c := range sh.among(s.Tenant, at, matches[0].Moment.Action) {
			if c.subject == s || !subset(c.clauses, own) || !l.covers(c.Policy.Principal, s.Policy.Principal, "Agent") {
				continue
			}
			if slices.ContainsFunc(matches, func(e reach.End) bool {
				return !l.engine.Names(c.Policy.Action, e.Moment.Action) || !l.coversResource(c.Policy.Resource, s.Policy.Resource, e.Moment)
			}) {
				continue
			}
			if mutual := l.coveringPermitOf(c, s, own); mutual && c.order > slices.Index(l.subjects, s) {
				continue
			}
			return c.subject
		}
	}
	return nil
}

// coveringPermitOf reports whether a permit covers one that covers it.
func (l *linter) coveringPermitOf(c *covering, s *subject, own map[string]bool) bool {
	return s.reaches(c.Tenant) && subset(own, c.clauses) && l.covers(s.Policy.Principal, c.Policy.Principal, "Agent") && !slices.ContainsFunc(c.matches(), func(e reach.End) bool {
		return !l.engine.Names(s.Policy.Action, e.Moment.Action) || !l.coversResource(s.Policy.Resource, c.Policy.Resource, e.Moment)
	})
}

// coveringForbid is a forbid that matches whenever a permit does in a moment.
func (l *linter) coveringForbid(sh shelf, s *subject, own map[string]bool, principals []string, m policy.Moment) *subject {
	for _, at := range principals {
		for _, c := range sh.among(s.Tenant, at, m.Action) {
			always := slices.ContainsFunc(c.ends, func(e reach.End) bool { return same(e.Moment, m) && e.Can == reach.Yes })
			if always || subset(c.clauses, own) && l.covers(c.Policy.Principal, s.Policy.Principal, "Agent") && l.coversResource(c.Policy.Resource, s.Policy.Resource, m) {
				return c.subject
			}
		}
	}
	return nil
}

func subset(a, b map[string]bool) bool {
	for key := range a {
		if !b[key] {
			return false
		}
	}
	return true
}

// covers reports whether a scope lets through all that another does. only is the
// type of all that is asked about, if it is one.
func (l *linter) covers(wide, narrow any, only cedar.EntityType) bool {
	uid, isNamed := named(narrow)
	_, one := narrow.(ast.ScopeTypeEq)
	switch w := wide.(type) {
	case ast.ScopeTypeAll:
		return true
	case ast.ScopeTypeEq:
		return one && uid == w.Entity
	case ast.ScopeTypeIn:
		return isNamed && l.engine.Below(uid, w.Entity)
	case ast.ScopeTypeIs:
		return l.isType(w.Type, narrow, only)
	case ast.ScopeTypeIsIn:
		return l.isType(w.Type, narrow, only) && isNamed && l.engine.Below(uid, w.Entity)
	}
	return false
}

// isType reports whether all that a scope lets through is of a type.
func (l *linter) isType(typ cedar.EntityType, scope any, only cedar.EntityType) bool {
	switch s := scope.(type) {
	case ast.ScopeTypeEq:
		return s.Entity.Type == typ
	case ast.ScopeTypeIs:
		return s.Type == typ
	case ast.ScopeTypeIsIn:
		return s.Type == typ
	}
	return typ == only
}

// coversResource is covers for the resources of one moment.
func (l *linter) coversResource(wide, narrow ast.IsResourceScopeNode, m policy.Moment) bool {
	if !m.Server.IsZero() {
		return l.covers(wide, ast.ScopeTypeEq{Entity: m.Server}, m.Resource)
	}
	return l.covers(wide, narrow, m.Resource)
}
