package policy

import (
	"crypto/sha256"
	"fmt"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy/partial"
	"github.com/writpdp/writ/server/policy/session"
)

// incomplete reports whether parts of a request are not known to policies.
func incomplete(q decision.Query) bool {
	req := q.Request
	return unseen(q) || unled(q) || !q.Untold.Nothing() || req.Resource.Digest != [32]byte{} || lacks(req.Arguments) || lacks(req.Context) || lacks(req.Resource.Properties)
}

// unseen reports whether it is not known what was found in what a request carries.
func unseen(q decision.Query) bool { return q.Inspection != nil && q.Inspection.Unknown }

// unled reports whether it is not known where the arguments lead.
func unled(q decision.Query) bool { return q.URLs != nil && q.URLs.Unknown }

func lacks(d *document.Document) bool { return d != nil && len(d.Withheld()) > 0 }

// judgeIncomplete judges a request of which parts are not known. What it says is
// so whatever they are, or Open.
func (s *Set) judgeIncomplete(q decision.Query) decision.Ruling {
	known, unknown, doubts := s.fill(q)
	filled := q
	filled.Request = &known
	ask, why := s.ask(filled)
	if why.Code != "" {
		return decision.Ruling{Refused: why}
	}
	unknown.Env = eval.Env{Entities: ask.entities, Principal: ask.principal, Action: ask.action, Resource: ask.resource, Context: ask.context}
	deciding, obligating := s.index.candidates(&ask)
	if q.Request.Phase == decision.List {
		return s.couldIncomplete(ask, unknown, deciding, doubts)
	}
	r := decision.Ruling{Withheld: doubts}
	permits := 0 // that match for certain
	for _, st := range deciding {
		if !inScope(unknown, st) {
			continue
		}
		out, open := outcome(q, &unknown, st)
		if len(open) > 0 && out != partial.Match && out != partial.Miss {
			r.Withheld = append(r.Withheld, open...)
		}
		switch {
		case out == partial.Fail:
			r.Errors = append(r.Errors, st.match())
		case out.Can(partial.Match) && !st.forbid:
			r.Permits = append(r.Permits, st.match())
			if out == partial.Match {
				permits++
			}
		case out == partial.Match:
			r.Forbids = append(r.Forbids, st.match())
		}
		r.Open = r.Open || out.Can(partial.Fail) && out != partial.Fail || st.forbid && out.Can(partial.Match) && out != partial.Match
	}
	var obliging []*statement
	for _, st := range obligating {
		if !inScope(unknown, st) {
			continue
		}
		out, open := outcome(q, &unknown, st)
		switch out {
		case partial.Match:
			obliging = append(obliging, st)
		case partial.Fail:
			r.Errors = append(r.Errors, st.match())
		case partial.Miss:
		default:
			r.Open, r.Withheld = true, append(r.Withheld, open...)
		}
	}
	r.Open = r.Open || len(doubts) > 0 || permits == 0
	s.oblige(&r, q, obliging)
	if len(r.Forbids)+len(r.Errors) > 0 || len(r.Permits) == 0 || r.Refused.Code != "" {
		r.Open = false // it denies, whatever comes
	}
	return r
}

// outcome is what a policy comes to, if it is not known already.
func outcome(q decision.Query, unknown *partial.Question, st *statement) (partial.Outcome, []string) {
	if q.Matched != nil {
		switch matched, known := q.Matched(st.id); {
		case known && matched:
			return partial.Match, nil
		case known:
			return partial.Miss, nil
		}
	}
	return unknown.Policy(st.ast)
}

// inScope tests what the index leaves of a scope: the type beside an entity.
func inScope(q partial.Question, st *statement) bool {
	if p, ok := st.ast.Principal.(ast.ScopeTypeIsIn); ok && q.Env.Principal.(cedar.EntityUID).Type != p.Type {
		return false
	}
	if r, ok := st.ast.Resource.(ast.ScopeTypeIsIn); ok && q.Env.Resource.(cedar.EntityUID).Type != r.Type {
		return false
	}
	return true
}

// couldIncomplete rules for a list as could does, where no policy looks at what
// is not known.
func (s *Set) couldIncomplete(ask question, unknown partial.Question, deciding candidates, doubts []string) decision.Ruling {
	open := doubts
	for _, st := range deciding {
		open = append(open, unknown.Reads(st.ast)...)
	}
	if len(open) > 0 {
		return decision.Ruling{Open: true, Withheld: open}
	}
	return s.could(ask)
}

// fill is the request with values of no meaning in the places of what is not
// known, with what that is. doubts say what may not fit the schema at all.
func (s *Set) fill(q decision.Query) (known decision.Request, unknown partial.Question, doubts []string) {
	known = *q.Request
	unknown.Context, unknown.Resource = &partial.Unknown{}, &partial.Unknown{}
	into := func(d **document.Document, typ resolved.RecordType, f partial.Filler, u *partial.Unknown) {
		if !lacks(*d) {
			return
		}
		*d = (*d).Filled(f.Fill(typ, (*d).Value(), u))
		if f.Doubt != "" {
			doubts = append(doubts, f.Doubt)
		}
	}
	action := s.schema.Actions[cedar.NewEntityUID(typeAction, cedar.String(actionName(&known)))]
	if action.AppliesTo != nil {
		args, _ := action.AppliesTo.Context["args"].Type.(resolved.RecordType)
		into(&known.Arguments, args, partial.Filler{Label: "arguments", Checked: true}, unknown.Context.At("args"))
	}
	if unseen(q) {
		unknown.Context.At(attributeFound).Label = "content: what is found in it"
	}
	if q.Untold.Labels {
		unknown.Context.At(session.Taint).Label = "session: the labels that it held"
	}
	for i, rule := range s.chains {
		if q.Untold.Chain(i) {
			unknown.Context.At(session.Chain).At(cedar.String(rule.ID)).Label = "session: the chain value " + rule.ID
		}
	}
	if unled(q) {
		unknown.Context.At(attributeURLs).Label = "arguments: the URLs in them"
	}
	into(&known.Context, s.extraType, partial.Filler{Label: "context"}, unknown.Context.At("extra"))
	typ := cedar.EntityType(known.Resource.Type)
	into(&known.Resource.Properties, s.schema.Entities[typ].Shape, partial.Filler{Label: "resource"}, unknown.Resource)
	if digest := known.Resource.Digest; digest != [32]byte{} {
		known.Resource.ID, unknown.Nameless = s.name(&known, digest)
	}
	return known, unknown, doubts
}

// name finds an id by its digest among those that the bundle and the request
// name. One that nobody names is called as nothing is.
func (s *Set) name(req *decision.Request, digest [32]byte) (id string, nameless bool) {
	if id, ok := s.names()[cedar.EntityType(req.Resource.Type)][digest]; ok {
		return string(id), false
	}
	for _, id := range []string{req.Principal.Subject, req.Principal.OnBehalfOf} {
		if sha256.Sum256([]byte(id)) == digest {
			return id, false
		}
	}
	return fmt.Sprintf("sha256:%x", digest), true
}

// findNames are the ids of all entities and of what the policies name.
func (s *Set) findNames() map[cedar.EntityType]map[[32]byte]cedar.String {
	names := map[cedar.EntityType]map[[32]byte]cedar.String{}
	add := func(uid cedar.EntityUID) {
		if names[uid.Type] == nil {
			names[uid.Type] = map[[32]byte]cedar.String{}
		}
		names[uid.Type][sha256.Sum256([]byte(uid.ID))] = uid.ID
	}
	for uid := range s.entities {
		add(uid)
	}
	for _, st := range s.index.statements {
		for _, a := range anchorsOf(st.ast.Resource) {
			add(a.uid)
		}
		for _, c := range st.ast.Conditions {
			ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
				if v, ok := n.(ast.NodeValue); ok {
					named(v.Value, add)
				}
				return true
			})
		}
	}
	return names
}

// named visits the entities in a value.
func named(v cedar.Value, visit func(cedar.EntityUID)) {
	switch v := v.(type) {
	case cedar.EntityUID:
		visit(v)
	case cedar.Set:
		for element := range v.All() {
			named(element, visit)
		}
	case cedar.Record:
		for _, member := range v.All() {
			named(member, visit)
		}
	}
}
