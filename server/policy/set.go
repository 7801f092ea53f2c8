package policy

import (
	"iter"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy/redact"
)

// Set is a bundle's compiled policies; it implements decision.Policies.
type Set struct {
	schema    *resolved.Schema
	extraType resolved.RecordType
	entities  cedar.EntityMap
	// chains are the rules of context.chain.
	chains []decision.ChainRule
	// tools are the records of context.tool.
	tools map[decision.ToolName]cedar.Record
	// needs are the attributes of context that the policies look at.
	needs needs
	index *Index
	// masks are what an explanation may show.
	masks masks
	// around is a digest of all files that policies see the world through.
	around string
	// names are the ids that the bundle names, found when first asked for.
	names func() map[cedar.EntityType]map[[32]byte]cedar.String
}

// Judge evaluates the deciding policies and, unless they only filter a list, with
// them the obligating ones.
func (s *Set) Judge(q decision.Query) decision.Ruling {
	if incomplete(q) {
		return s.judgeIncomplete(q)
	}
	ask, why := s.ask(q)
	if why.Code != "" {
		return decision.Ruling{Refused: why}
	}
	if q.Request.Phase == decision.List {
		return s.could(ask)
	}
	request := ask.request()
	var r decision.Ruling
	deciding, obligating := s.index.candidates(&ask)
	all := append(deciding, obligating...) // obligating policies are permits
	verdict, diagnostic := cedar.Authorize(all, ask.entities, request)
	permits := diagnostic
	if verdict == cedar.Deny && len(diagnostic.Reasons) > 0 {
		for _, f := range diagnostic.Reasons {
			r.Forbids = append(r.Forbids, deciding.get(f.PolicyID).match())
		}
		// Cedar names no permits beside a forbid, and whether there are any
		// tells whether a ticket would lift the denial.
		_, permits = cedar.Authorize(all.permits(), ask.entities, request)
	}
	var obliging []*statement
	for _, p := range permits.Reasons {
		if st := deciding.get(p.PolicyID); st != nil {
			r.Permits = append(r.Permits, st.match())
		} else {
			obliging = append(obliging, obligating.get(p.PolicyID))
		}
	}
	// An error text of Cedar's can hold values of the request, so only the
	// policy is named.
	for _, e := range diagnostic.Errors {
		st := deciding.get(e.PolicyID)
		if st == nil {
			st = obligating.get(e.PolicyID)
		}
		r.Errors = append(r.Errors, st.match())
	}
	s.oblige(&r, q, obliging)
	return r
}

func (s *statement) match() decision.Match {
	return decision.Match{Policy: s.id, Ticket: s.ticket, Text: s.reason}
}

// oblige adds what the matching obligating policies ask for.
func (s *Set) oblige(r *decision.Ruling, q decision.Query, matched []*statement) {
	var redactions []*decision.RedactRule
	for _, st := range matched {
		switch o := st.obligate; {
		case o.route != nil:
			r.Routes = append(r.Routes, *o.route)
		case o.redact != nil:
			redactions = append(redactions, o.redact)
		default:
			r.Obligations = append(r.Obligations, decision.Obligation{Policy: st.id, Duty: o.duty})
		}
	}
	if len(redactions) == 0 {
		return
	}
	out := redact.Edits(q, redactions)
	r.Redactions = out.Rules
	if out.Withheld != "" {
		r.Open, r.Withheld = r.Open || len(r.Permits) > 0, append(r.Withheld, out.Withheld)
	} else if out.Refused.Code != "" {
		r.Refused = out.Refused
	} else if out.Obligation.Duty != nil {
		r.Obligations, r.Vaulted = append(r.Obligations, out.Obligation), out.Vaulted
	}
}

// could rules for a list: a tool may be seen when some arguments, cost and
// ticket, or no ticket, could permit it.
func (s *Set) could(ask question) decision.Ruling {
	r := s.couldBe(ask)
	if len(r.Permits) > 0 && len(r.Errors) == 0 {
		return r
	}
	// To the policies an unknown ticket is one that there is.
	context := ask.context.Map()
	delete(context, "ticket")
	ask.context = cedar.NewRecord(context)
	if without := s.couldBe(ask); len(without.Permits) > 0 && len(without.Errors) == 0 {
		return without
	}
	return r
}

// couldBe rules on what is known. A permit that may hold counts, and a forbid or
// an error only when it holds whatever comes.
func (s *Set) couldBe(ask question) decision.Ruling {
	var r decision.Ruling
	deciding, _ := s.index.candidates(&ask)
	for st, residual := range residuals(&ask, deciding) {
		switch sure := certain(residual); {
		case sure && fails(residual):
			r.Errors = append(r.Errors, st.match())
		case !st.forbid && !fails(residual):
			r.Permits = append(r.Permits, st.match())
		case st.forbid && sure && len(residual.Conditions) == 0:
			r.Forbids = append(r.Forbids, st.match())
		}
	}
	if len(r.Forbids) > 0 {
		r.Permits = nil
	}
	return r
}

// residuals are what is left of policies when all that is known is put in, of
// those that can still match.
func residuals(ask *question, all candidates) iter.Seq2[*statement, *ast.Policy] {
	env := ask.env()
	if ask.resource.IsZero() {
		env.Resource = unknown("resource")
	}
	return func(yield func(*statement, *ast.Policy) bool) {
		for _, st := range all {
			if residual, keep := eval.PartialPolicy(env, st.ast); keep && !yield(st, residual) {
				return
			}
		}
	}
}

// certain reports whether a policy's scope matches whatever the resource is.
func certain(residual *ast.Policy) bool {
	_, all := residual.Resource.(ast.ScopeTypeAll)
	return all
}

// fails reports whether a policy whose scope matches is an error whatever comes:
// a condition before the failing one can keep it from being asked.
func fails(p *ast.Policy) bool {
	if len(p.Conditions) == 0 {
		return false
	}
	_, failed := eval.ToPartialError(p.Conditions[0].Body)
	return failed
}
