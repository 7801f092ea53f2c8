package lint

import (
	"slices"

	"github.com/cedar-policy/cedar-go"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/reach"
)

// subject is one policy with what it can come to.
type subject struct {
	policy.Written
	whole *reach.Expr
	// ends is how the policy can end in each moment that its action fits.
	ends []reach.End
	// purposes are those without which it would end otherwise: with any purpose
	// it could match somewhere, with the bundle's it cannot.
	purposes bool
}

// matches are the moments in which the policy can match.
func (s *subject) matches() []reach.End {
	return slices.DeleteFunc(slices.Clone(s.ends), func(e reach.End) bool { return !e.Can.Has(reach.Yes) })
}

// reaches reports whether the policy is asked for all requests that one of a
// tenant's, or of everybody's, is asked for.
func (s *subject) reaches(tenant string) bool { return s.Tenant == "" || s.Tenant == tenant }

// maxSteps bounds the expressions that are evaluated for one policy.
const maxSteps = 250_000

// reach finds out how a policy can end. A request of a purpose that does not
// grant the tool is denied whatever policies say, so it counts for nothing.
func (l *linter) reach(st policy.Written) *subject {
	s := &subject{Written: st, whole: reach.Whole(st.Policy)}
	any, spent := false, 0
	for _, m := range l.moments {
		if !l.engine.Names(st.Policy.Action, m.Action) {
			continue
		}
		// Of what is too large to be looked into, anything may be.
		if spent += s.whole.Size; spent > maxSteps {
			if !m.ungranted {
				s.ends = append(s.ends, reach.End{Moment: m.Moment, Can: reach.Yes | reach.No | reach.Fails})
			}
			continue
		}
		matches := false
		if !m.ungranted {
			e := l.engine.End(s.whole, m.granted.Of(st.Tenant))
			s.ends, matches = append(s.ends, e), e.Can.Has(reach.Yes)
		}
		if !matches && !any {
			any = l.engine.End(s.whole, m.any.Of(st.Tenant)).Can.Has(reach.Yes)
		}
	}
	s.purposes = len(s.matches()) == 0 && (any || spent > 0 && len(s.ends) == 0)
	return s
}

// moment is a moment as the lints look at it: for requests of the purposes that
// grant its tool, and of any.
type moment struct {
	policy.Moment
	granted, any reach.Setting
	// ungranted says that no purpose grants the tool.
	ungranted bool
}

func (l *linter) readMoments() {
	for _, m := range l.src.Moments() {
		purposes := l.granting(m)
		l.moments = append(l.moments, moment{Moment: m, granted: l.engine.Set(m, purposes), any: l.engine.Set(m, nil), ungranted: purposes != nil && len(purposes) == 0})
	}
}

// granting are the purposes that grant a moment's tool, or nil for a bundle that
// has no purposes.
func (l *linter) granting(m policy.Moment) []cedar.Value {
	if len(l.src.Bundle.Purposes) == 0 {
		return nil
	}
	all := []cedar.Value{}
	for _, id := range l.purposes {
		if m.Tool == nil || grants(l.src.Bundle.Purposes[id], m.Tool.Tool.ToolName) {
			all = append(all, cedar.String(id))
		}
	}
	return all
}

func grants(p *decision.Purpose, t decision.ToolName) bool {
	return slices.ContainsFunc(p.Tools, func(pattern decision.ToolPattern) bool { return pattern.Match(t) })
}
