package replay

import (
	"maps"
	"math"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

// held is what a counter of a session holds with the new bundle, at least and at most,
// and what the records make of it. From a world's first record on: what came before is
// in neither.
type held struct{ low, high, recorded int64 }

// view is what a decision sees of its session.
type view struct {
	labels decision.Labels
	values map[int]int64 // by the places of the bundle's chain rules
	untold decision.Looked
}

func (v *view) same(other *view) bool {
	return v.labels == other.labels && v.untold == other.untold && maps.Equal(v.values, other.values)
}

// facts are a question's, with what is seen of its session.
func (v *view) facts(b *decision.Bundle, q *audit.Question, facts decision.Facts) decision.Facts {
	if v.labels == 0 && len(v.values) == 0 {
		return facts
	}
	facts.Used = maps.Clone(facts.Used)
	if facts.Used == nil {
		facts.Used = map[decision.BudgetKey]int64{}
	}
	facts.Used[decision.LabelsKey(q.Request.Session)] = int64(v.labels)
	for i, value := range v.values {
		facts.Used[b.Chains[i].Key(q.Request.Session, q.At)] = value
	}
	return facts
}

// looked is what of its session the bundle looks at that decides a question.
func looked(b *decision.Bundle, q *audit.Question) decision.Looked {
	return b.Looked(q.Request, q.Facts.Ticket != nil && q.Facts.Ticket.Scope != "")
}

// recordedView is what a record says that its decision saw, as far as a bundle looks
// at it. What another bundle calls by the same name need not be the same.
func recordedView(b *decision.Bundle, q *audit.Question) view {
	v, looks := view{}, looked(b, q)
	if looks.Labels {
		v.labels, v.untold.Labels = q.Session.Seen, !q.Session.LabelsSeen
	}
	for i := range b.Chains {
		if !looks.Chain(i) {
			continue
		}
		value, seen := q.Session.Values[b.Chains[i].ID]
		if !seen || q.Row.Bundle != b.Digest {
			v.untold.Chains |= 1 << i
			continue
		}
		v.set(i, value)
	}
	return v
}

func (v *view) set(place int, value int64) {
	if v.values == nil {
		v.values = map[int]int64{}
	}
	v.values[place] = value
}

// session is what a decision sees of its session in this world: what the record says
// that it saw, and by how much this world differs from the records; or, where the
// record does not say, what this world alone makes of all records that there are.
func (w *World) session(q *audit.Question) view {
	v, looks := view{}, looked(w.bundle, q)
	if looks.Labels {
		switch h := w.holds(q.Tenant, decision.LabelsKey(q.Request.Session)); {
		case h.low != h.high || !q.Session.LabelsSeen && !w.whole():
			v.untold.Labels = true
		case q.Session.LabelsSeen:
			v.labels = decision.Labels((int64(q.Session.Seen) | h.low&^h.recorded) &^ (h.recorded &^ h.low))
		default:
			v.labels = decision.Labels(h.low)
		}
	}
	for i := range w.bundle.Chains {
		if !looks.Chain(i) {
			continue
		}
		rule := &w.bundle.Chains[i]
		var h held
		for _, key := range rule.Keys(q.Request.Session, q.At) {
			one := w.holds(q.Tenant, key)
			h = held{add(h.low, one.low), add(h.high, one.high), add(h.recorded, one.recorded)}
		}
		value, seen := q.Session.Values[rule.ID]
		seen = seen && q.Row.Bundle == w.bundle.Digest // or it can be another value of this name
		switch {
		case h.low != h.high || !seen && !w.whole():
			v.untold.Chains |= 1 << i
		case seen && rule.Kind == decision.Formerly && h.low == h.recorded:
			v.set(i, value)
		case seen && rule.Kind != decision.Formerly:
			v.set(i, max(0, value+h.low-h.recorded))
		default:
			v.set(i, h.low)
		}
	}
	return v
}

// whole reports whether this world has seen all records.
func (w *World) whole() bool { return w.from.IsZero() }

func (w *World) holds(tenant string, key decision.BudgetKey) held {
	if h := w.sessions[counterKey{tenant, key}]; h != nil {
		return *h
	}
	return held{}
}

func (w *World) held(tenant string, key decision.BudgetKey) *held {
	at := counterKey{tenant, key}
	h := w.sessions[at]
	if h == nil {
		h = &held{}
		w.sessions[at] = h
	}
	return h
}

// remember takes up what a decision makes of its session.
func (w *World) remember(c *Candidate, became fate) {
	q := c.question
	if q.Request.Session == "" {
		return
	}
	for _, n := range q.Notes {
		if delta := n.Delta(); delta != 0 {
			w.held(q.Tenant, n.Key).recorded += delta
		}
	}
	if became == denied {
		return
	}
	for i := range c.decision.Findings {
		for _, effect := range c.decision.Findings[i].Effects {
			if n, ok := effect.(decision.Note); ok && n.Op != decision.NoteHold {
				w.held(q.Tenant, n.Key).note(n, became)
			}
		}
	}
	if found := c.decision.Inspection(); found != nil && found.Unknown {
		w.doubt(q)
	}
}

// note is what a note makes of a counter, if its decision is allowed.
func (h *held) note(n decision.Note, became fate) {
	apply := func(was int64) int64 {
		switch n.Op {
		case decision.NoteAdd:
			return add(was, n.Amount)
		case decision.NoteJoin:
			return was | n.Amount
		case decision.NoteClear:
			return was &^ n.Amount
		}
		return n.Amount
	}
	low, high := apply(h.low), apply(h.high)
	if became == unknown {
		low, high = min(h.low, low), max(h.high, high)
	}
	h.low, h.high = low, high
}

// doubt is that it is not known what a request carries: it can have given its session
// any label, and been any event that rests on one.
func (w *World) doubt(q *audit.Question) {
	if q.Phase == decision.Prompt || q.Phase == decision.Result {
		w.held(q.Tenant, decision.LabelsKey(q.Request.Session)).high |= 1<<(decision.MaxLabel+1) - 1
	}
	for i := range w.bundle.Chains {
		if rule := &w.bundle.Chains[i]; rule.OfLabels() && rule.May(q.Request, w.bundle) {
			h := w.held(q.Tenant, rule.Key(q.Request.Session, q.At))
			h.low, h.high = 0, math.MaxInt64
		}
	}
}

// Declassify takes up that labels were taken from a session.
func (w *World) Declassify(tenant string, n decision.Note) {
	h := w.held(tenant, n.Key)
	h.recorded += n.Delta()
	h.note(n, allowed)
}

// add adds what is not negative, and stops at the greatest number.
func add(a, b int64) int64 {
	if b > math.MaxInt64-a {
		return math.MaxInt64
	}
	return a + b
}
