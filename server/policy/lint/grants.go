package lint

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/reach"
)

// destructive is the class of tools whose effects cannot be undone.
const destructive = "destructive"

func isDestructive(d *policy.Definition) bool {
	return d != nil && slices.Contains(d.Tool.Classes, destructive)
}

// decides reports whether a policy is one that decides, with an effect.
func (s *subject) decides(effect ast.Effect) bool {
	return s.Obligation == "" && s.Policy.Effect == effect
}

func unconditional(l *linter) {
	for _, s := range l.subjects {
		if !s.decides(ast.EffectPermit) || len(s.Policy.Conditions) > 0 {
			continue
		}
		for _, e := range s.matches() {
			if isDestructive(e.Moment.Tool) && !l.guarded(s, e.Moment) {
				l.of(s.Written, Warning, fmt.Sprintf("It permits %s, which is destructive, whatever the arguments and the purpose, and no policy asks more of it.", e.Moment.Tool.Tool),
					"Add conditions, or forbid the class unless there is a ticket: `forbid (principal, action in Action::\"destructive\", resource) unless { context has ticket };`.")
				break
			}
		}
	}
}

// guarded reports whether some forbid with conditions stands before all that a
// permit permits in a moment.
func (l *linter) guarded(permit *subject, m policy.Moment) bool {
	return slices.ContainsFunc(l.subjects, func(f *subject) bool {
		return !f.Shadow && f.reaches(permit.Tenant) && f.decides(ast.EffectForbid) && len(f.Policy.Conditions) > 0 && l.engine.Names(f.Policy.Action, m.Action) &&
			l.covers(f.Policy.Principal, permit.Policy.Principal, "Agent") && l.coversResource(f.Policy.Resource, permit.Policy.Resource, m) &&
			slices.ContainsFunc(f.ends, func(e reach.End) bool { return same(e.Moment, m) && e.Can.Has(reach.Yes) })
	})
}

func same(a, b policy.Moment) bool {
	return a.Action == b.Action && a.Phase == b.Phase && a.Resource == b.Resource
}

func unclassed(l *linter) {
	permitted := map[string]bool{}
	for _, s := range l.subjects {
		if s.decides(ast.EffectPermit) {
			for _, e := range s.matches() {
				permitted[string(e.Moment.Action.ID)] = true
			}
		}
	}
	for _, d := range l.src.Definitions {
		if len(d.Tool.Classes) > 0 || !permitted[d.Tool.String()] || !saysDestructive(d) {
			continue
		}
		f := l.tool(d)
		f.Severity, f.Text = Warning, fmt.Sprintf("%s is permitted, says of itself that it is destructive, and tools.yaml gives it no class: no policy on classes sees it.", d.Tool)
		f.Fix = "Give it its classes in tools.yaml."
		l.report("tool "+d.Tool.String(), f)
	}
}

// saysDestructive reports what a server says of its tool, which is a reason to
// look and none to believe the contrary.
func saysDestructive(d policy.Definition) bool {
	var in struct {
		Annotations struct {
			Destructive bool `json:"destructiveHint"`
		} `json:"annotations"`
	}
	return json.Unmarshal(d.Raw, &in) == nil && in.Annotations.Destructive
}

func broadPurpose(l *linter) {
	for _, id := range l.purposes {
		p := l.src.Bundle.Purposes[id]
		report := func(text string) {
			f := l.place("purposes.yaml", id)
			f.Severity, f.Text, f.Fix = Warning, text, "Name the tools that the purpose needs."
			l.report("purpose "+id, f)
		}
		all, servers := true, map[string]bool{}
		for _, d := range l.src.Definitions {
			servers[d.Tool.Server] = true
			all = all && grants(p, d.Tool.ToolName)
		}
		if all && len(servers) > 1 {
			report(fmt.Sprintf("The purpose %s grants every tool of every server.", id))
			continue
		}
		var wide []string
		for _, pattern := range p.Tools {
			if pattern.Name == "*" && slices.ContainsFunc(l.src.Definitions, func(d policy.Definition) bool {
				return d.Tool.Server == pattern.Server && (isDestructive(&d) || len(d.Tool.Classes) == 0 && saysDestructive(d))
			}) {
				wide = append(wide, pattern.Server+"/*")
			}
		}
		if len(wide) > 0 {
			report(fmt.Sprintf("The purpose %s grants %s: destructive tools, and whatever is added to them.", id, strings.Join(wide, ", ")))
		}
	}
}
