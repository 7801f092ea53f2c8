package decision

import (
	"math/bits"
	"time"
)

// Looked is what of a session policies look at.
type Looked struct {
	// Labels says that they look at the labels that it holds.
	Labels bool
	// Chains are the bits of the chain values' places in Bundle.Chains.
	Chains uint64
}

// Or is what either looks at.
func (l Looked) Or(more Looked) Looked {
	return Looked{Labels: l.Labels || more.Labels, Chains: l.Chains | more.Chains}
}

// Nothing reports whether nothing is looked at.
func (l Looked) Nothing() bool { return l == Looked{} }

// Chain reports whether the chain value at a place is looked at.
func (l Looked) Chain(place int) bool { return l.Chains&(1<<place) != 0 }

// everything is all that there is to look at.
func (b *Bundle) everything() Looked {
	return Looked{Labels: len(b.Labels) > 0, Chains: 1<<len(b.Chains) - 1}
}

// SessionState is what a decision saw of its session, and what it makes of it.
type SessionState struct {
	// Looked is what the policies may have looked at, and Seen what it was: the labels
	// and, by their places, the chain values.
	Looked
	Seen   Labels
	Values []int64
	// Added are the labels that the request's content gives the session.
	Added Labels
}

// LabelsKey is the counter of a session's labels.
func LabelsKey(session string) BudgetKey {
	return BudgetKey{Budget: sortLabels + "session", Subject: subjectOf(part(nil, session))}
}

// Looked is what of a request's session can make a difference to its policies, or to
// the scope of a ticket; scoped says that there is one. Of a result nobody asks the
// scope again.
func (b *Bundle) Looked(req *Request, scoped bool) (l Looked) {
	switch {
	case req.Session == "":
		return l
	case scoped && req.Phase != Result:
		return b.everything()
	case b.Looks == nil:
		return l
	}
	return b.Looks(req)
}

// gives reports whether a request's content can give its session labels.
func (b *Bundle) gives(req *Request) bool {
	if req.Session == "" || req.Phase != Prompt && req.Phase != Result {
		return false
	}
	tool := b.Tools[req.Tool.ToolName]
	return b.Detect != nil || req.Phase == Result && tool != nil && len(tool.Labels) > 0
}

// eventful reports whether a request can be an event of some chain value.
func (b *Bundle) eventful(req *Request) bool {
	for i := range b.Chains {
		if b.Chains[i].May(req, b) {
			return true
		}
	}
	return false
}

// sessionKeys are the counters of a request's session that its decision depends on.
func (b *Bundle) sessionKeys(keys []BudgetKey, req *Request, at time.Time) []BudgetKey {
	if req.Session == "" {
		return keys
	}
	looked := b.Looked(req, req.Ticket != "")
	if looked.Labels || b.gives(req) {
		keys = append(keys, LabelsKey(req.Session))
	}
	for i := range b.Chains {
		rule := &b.Chains[i]
		if looked.Chain(i) || (rule.latch() || rule.Since != nil) && rule.May(req, b) {
			keys = append(keys, rule.Keys(req.Session, at)...)
		}
	}
	return keys
}

// labelled are the labels of what a request carries: those of what is found in it,
// and, of a result, those of its tool.
func (s *Snapshot) labelled(req *Request, d *Decision) Labels {
	found := d.Inspection()
	set, _ := s.Bundle.LabelsOf(found.Labels())
	if req.Phase != Prompt && req.Phase != Result {
		return set
	}
	if tool := s.Bundle.Tools[req.Tool.ToolName]; tool != nil && req.Phase == Result {
		more, _ := s.Bundle.LabelsOf(tool.Labels)
		set |= more
	}
	if found != nil && !found.Unknown && !found.Whole() {
		set |= 1 << builtInLabels[LabelUninspected]
	}
	return set
}

// Session is what a decision saw of its request's session, and the effects with which
// it remembers what the request makes of it; nil: there is no session, or nothing to
// say of it.
func (s *Snapshot) Session(req *Request, d *Decision) (*SessionState, []Effect) {
	b := s.Bundle
	looked := b.Looked(req, s.Ticket != nil && s.Ticket.Scope != "")
	if req.Session == "" || looked.Nothing() && !b.gives(req) && !b.eventful(req) {
		return nil, nil
	}
	return s.session(req, d, looked)
}

// session is Session where there is something to look at or to remember.
func (s *Snapshot) session(req *Request, d *Decision, looked Looked) (*SessionState, []Effect) {
	b, state := s.Bundle, SessionState{Looked: looked}
	found := Labels(0)
	if req.Phase != List {
		found = s.labelled(req, d)
	}
	if b.gives(req) {
		state.Added = found
	}
	var effects []Effect
	if state.Looked.Labels || state.Added != 0 {
		key := LabelsKey(req.Session)
		n := Note{Key: key, Op: NoteHold, Guarded: true, Saw: s.Used[key]}
		state.Seen = Labels(n.Saw)
		if state.Added != 0 {
			n.Op, n.Amount = NoteJoin, int64(state.Added)
		}
		effects = append(effects, n)
	}
	if state.Chains != 0 {
		state.Values = make([]int64, 64-bits.LeadingZeros64(state.Chains))
	}
	for i := range b.Chains {
		rule, looks := &b.Chains[i], state.Chain(i)
		if !looks && !rule.May(req, b) {
			continue
		}
		held := rule.Held(req.Session, s.At, s.Used)
		if looks {
			state.Values[i] = held
		}
		if n, ok := rule.Note(req, b, s.At, found, held, looks); ok {
			effects = append(effects, n)
		}
	}
	if state.Nothing() && state.Added == 0 && len(effects) == 0 {
		return nil, nil
	}
	return &state, effects
}

// taint are the labels that a request's session holds, as far as policies look at
// them, in order, and the chain values by their places.
func (s *Snapshot) taint(req *Request) (labels []string, values []int64) {
	looked := s.Bundle.Looked(req, s.Ticket != nil && s.Ticket.Scope != "")
	if looked.Labels {
		labels = s.Bundle.LabelNames(Labels(s.Used[LabelsKey(req.Session)]))
	}
	if looked.Chains == 0 {
		return labels, nil
	}
	values = make([]int64, len(s.Bundle.Chains))
	for i := range s.Bundle.Chains {
		if looked.Chain(i) {
			values[i] = s.Bundle.Chains[i].Held(req.Session, s.At, s.Used)
		}
	}
	return labels, values
}

// Session is what the decision saw of its session; nil: nothing.
func (d *Decision) Session() *SessionState {
	return first(d, func(f *Finding) *SessionState { return f.Session })
}
