package policy

import (
	"errors"
	"fmt"
	"iter"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/decision"
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
	var redactions []*statement
	for _, st := range matched {
		switch o := st.obligate; {
		case o.route != nil:
			r.Routes = append(r.Routes, *o.route)
		case o.fields != nil:
			redactions = append(redactions, st)
			r.Redactions = append(r.Redactions, decision.RedactRule{Policy: st.id, Fields: o.fields, Remove: o.remove})
		default:
			r.Obligations = append(r.Obligations, decision.Obligation{Policy: st.id, Duty: o.duty})
		}
	}
	if len(redactions) == 0 {
		return
	}
	redact, why := redaction(q, redactions)
	if why.Code == withheld {
		r.Open, r.Withheld = r.Open || len(r.Permits) > 0, append(r.Withheld, why.Text)
	} else if why.Code != "" {
		r.Refused = why
	} else if redact.Duty != nil {
		r.Obligations = append(r.Obligations, redact)
	}
}

// redaction is one obligation for all redacting policies, since every pointer
// is into the document as it was sent. It has no duty when nothing is there to
// be redacted.
func redaction(q decision.Query, policies []*statement) (decision.Obligation, decision.Reason) {
	req := q.Request
	doc, content := req.Arguments, false
	if req.Phase == decision.Prompt || req.Phase == decision.Result {
		doc, content = req.Content.Document, true
	}
	var o decision.Obligation
	if doc == nil {
		return o, refused("redact.not_a_document", fmt.Sprintf("The policy %q redacts fields, and the content is no JSON document.", policies[0].id))
	}
	var edits []document.Edit
	finder := doc.Finder()
	for _, p := range policies {
		before := len(edits)
		for _, field := range p.obligate.fields {
			found, err := finder.Expand(field)
			switch {
			case errors.Is(err, document.ErrWithheld):
				return o, decision.Reason{Code: withheld, Text: fmt.Sprintf("%s: what %s matches", targetOf(content), field)}
			case errors.Is(err, document.ErrAmbiguous):
				return o, refused("redact.not_a_document", fmt.Sprintf("The policy %q redacts inside a text that is JSON, and not such that all read the same in it.", p.id))
			case errors.Is(err, document.ErrTooMany), err == nil && len(edits)+len(found) > document.MaxEdits:
				return o, refused("redact.too_many", fmt.Sprintf("What the policy %q redacts is too much for one document.", p.id))
			case err != nil:
				return o, refused("redact.field", fmt.Sprintf("The policy %q names a field that cannot be read.", p.id))
			}
			for _, pointer := range found {
				edits = append(edits, document.Edit{Pointer: pointer, Remove: p.obligate.remove})
			}
		}
		if len(edits) > before && o.Policy == "" {
			o.Policy = p.id
		}
	}
	if len(edits) == 0 {
		return o, decision.Reason{}
	}
	if len(doc.Withheld()) > 0 {
		return incompletely(q, o, edits, content)
	}
	redacted, err := doc.Apply(edits)
	if err != nil {
		return o, refused("redact.field", fmt.Sprintf("What the policy %q redacts cannot be carried out.", o.Policy))
	}
	if !content && q.Tool != nil {
		if broken := q.Tool.Input.Check(redacted); len(broken) > 0 && len(q.Tool.Input.Check(doc)) == 0 {
			return o, refused("redact.breaks_schema", fmt.Sprintf("After the redaction of %q the tool would refuse the arguments: %s.", o.Policy, broken[0]))
		}
	}
	o.Duty = decision.Redact{Content: content, Edits: edits}
	return o, decision.Reason{}
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
