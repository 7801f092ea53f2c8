package policy

import (
	"cmp"
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy/clause"
)

// Bounds of an explanation: how many policies it names of each sort.
const (
	maxNear    = 16
	maxMatched = 256
)

// Explain says which policies matched, and names the deciding ones that did not,
// nearest first: the larger the share of its clauses that hold, the nearer. Permits
// come before forbids. A list is not explained: its policies have no arguments to
// fail on.
func (s *Set) Explain(q decision.Query) decision.Explanation {
	ask, why := s.ask(q)
	if why.Code != "" || q.Request.Phase == decision.List {
		return decision.Explanation{}
	}
	return decision.Explanation{Matched: s.matched(q, &ask), Near: s.near(&ask)}
}

// Env is how a query is put to Cedar. A reason with a code says why it cannot be.
func (s *Set) Env(q decision.Query) (eval.Env, decision.Reason) {
	ask, why := s.ask(q)
	return ask.env(), why
}

// matched are the policies that matched, those that deny first.
func (s *Set) matched(q decision.Query, ask *question) []decision.Matched {
	r := s.Judge(q)
	allowed := len(r.Permits) > 0 && len(r.Errors) == 0 && len(r.Forbids) == 0 && r.Refused.Code == ""
	var all []decision.Matched
	add := func(effect string, decided bool, matches []decision.Match) {
		for _, m := range matches {
			all = append(all, decision.Matched{Policy: m.Policy, Effect: effect, Decided: decided,
				Position: s.index.statements.get(cedar.PolicyID(m.Policy)).at()})
		}
	}
	add("forbid", true, r.Forbids)
	add("error", true, r.Errors)
	add("permit", allowed, r.Permits)
	_, obligating := s.index.candidates(ask)
	_, obliging := cedar.Authorize(obligating, ask.entities, ask.request())
	var duties []decision.Match
	for _, m := range obliging.Reasons {
		duties = append(duties, obligating.get(m.PolicyID).match())
	}
	add("oblige", allowed, duties)
	return all[:min(len(all), maxMatched)]
}

// near are the deciding policies for the action that did not match. What they
// say of themselves is written only for those that are named.
func (s *Set) near(ask *question) []decision.Near {
	type found struct {
		decision.Near
		statement *statement
		failed    clause.Clause
	}
	var all []found
	env := ask.env()
	for _, st := range s.index.about(ask) {
		if st.obligate != nil {
			continue
		}
		f := found{statement: st, Near: decision.Near{Policy: st.id, Forbid: st.forbid}}
		for _, c := range clause.Of(st.ast) {
			f.Clauses++
			if outcome := c.Eval(env); outcome == clause.True {
				f.Held++
			} else if f.Held == f.Clauses-1 { // the first
				f.failed, f.Error = c, outcome == clause.Error
			}
		}
		if f.Held < f.Clauses {
			all = append(all, f)
		}
	}
	slices.SortStableFunc(all, func(a, b found) int {
		if a.Forbid != b.Forbid {
			return map[bool]int{false: -1, true: 1}[a.Forbid]
		}
		// Of two as near, the one that is about this agent and resource.
		return cmp.Or(cmp.Compare(b.Held*a.Clauses, a.Held*b.Clauses), cmp.Compare(min(0, b.failed.Condition), min(0, a.failed.Condition)))
	})
	var near []decision.Near
	mask := s.masks.of(ask.tenant)
	for _, f := range all[:min(len(all), maxNear)] {
		f.Failed, f.Saw, f.Position = short(f.failed.Text()), mask.saw(f.failed, env), f.statement.at()
		near = append(near, f.Near)
	}
	return near
}
