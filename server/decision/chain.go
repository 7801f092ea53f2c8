package decision

import (
	"encoding/json"
	"math"
	"slices"
	"time"

	"github.com/writpdp/writ/document"
)

// ChainRule is a value that a bundle declares over the events of a session: how many
// there were, the sum of an argument over them, or whether there was one; in the
// session's life, in a window that slides, or since the last event of another sort.
type ChainRule struct {
	ID   string
	Kind ChainKind
	// Of is what is counted, summed up, or looked for.
	Of EventRule
	// Since is what begins anew: only what came after the last of it is looked at;
	// nil: nothing does. Together with a Length it is not.
	Since *EventRule
	// Field is the argument that is summed up, of Sums.
	Field string
	// Length is of a window that slides as a budget's does, in seconds; 0: the
	// session's life.
	Length int64
}

// ChainKind is what a chain value says.
type ChainKind uint8

// The kinds.
const (
	Counts   ChainKind = iota + 1 // how many events
	Sums                          // the sum of an argument over them
	Formerly                      // whether there was one
)

// String is the kind as a bundle writes it.
func (k ChainKind) String() string { return name(k, "count", "sum", "formerly") }

// MaxChains bounds the chain rules of a bundle.
const MaxChains = 64

// EventRule says which decisions are events of a sort. Only what is allowed is one.
type EventRule struct {
	Phases []Phase
	// Tools, Classes and Labels, where not empty, are of what an event has at least
	// one: Labels are those that it gives the session, or that are found in a call's
	// arguments.
	Tools   []ToolPattern
	Classes []string
	Labels  Labels
	// Except are events that are none of these all the same; nil: none.
	Except *EventRule
}

// may reports whether a request can be such an event, before it is known what is found
// in it.
func (e *EventRule) may(req *Request, b *Bundle) bool {
	if !e.about(req, b) {
		return false
	}
	return e.Except == nil || e.Except.Labels != 0 || !e.Except.may(req, b)
}

// Is reports whether a request is such an event, given the labels of what it carries.
func (e *EventRule) Is(req *Request, b *Bundle, found Labels) bool {
	return e.about(req, b) && (e.Labels == 0 || e.Labels&found != 0) && (e.Except == nil || !e.Except.Is(req, b, found))
}

func (e *EventRule) about(req *Request, b *Bundle) bool {
	if !slices.Contains(e.Phases, req.Phase) {
		return false
	}
	if len(e.Tools) > 0 && !slices.ContainsFunc(e.Tools, func(p ToolPattern) bool { return p.Match(req.Tool.ToolName) }) {
		return false
	}
	if len(e.Classes) == 0 {
		return true
	}
	tool := b.Tools[req.Tool.ToolName]
	return tool != nil && slices.ContainsFunc(e.Classes, func(class string) bool { return slices.Contains(tool.Classes, class) })
}

// May reports whether a request can change the value.
func (r *ChainRule) May(req *Request, b *Bundle) bool {
	return r.Of.may(req, b) || r.Since != nil && r.Since.may(req, b)
}

// OfLabels reports whether the value rests on what is found in what requests carry.
func (r *ChainRule) OfLabels() bool { return r.Of.ofLabels() || r.Since != nil && r.Since.ofLabels() }

func (e *EventRule) ofLabels() bool { return e.Labels != 0 || e.Except != nil && e.Except.Labels != 0 }

// latch reports whether the value is one of two that the last event sets.
func (r *ChainRule) latch() bool { return r.Kind == Formerly && r.Length == 0 }

// Key is the counter of a session's value at a time. What the counter holds depends on
// the rule's kind, which is therefore part of its name.
func (r *ChainRule) Key(session string, at time.Time) BudgetKey {
	sort := sortCount
	switch {
	case r.latch():
		sort = sortLatch
	case r.Kind == Sums:
		sort = sortSum
	}
	key := BudgetKey{Budget: sort + r.ID, Subject: subjectOf(part(nil, session))}
	if r.Length > 0 {
		key.Start = floor(at.Unix(), step(r.Length))
	}
	return key
}

// Keys are all counters that the value depends on at a time, its own first.
func (r *ChainRule) Keys(session string, at time.Time) []BudgetKey {
	key := r.Key(session, at)
	if r.Length == 0 {
		return []BudgetKey{key}
	}
	return append([]BudgetKey{key}, beside(key, r.Length)...)
}

// Held is the value at a time, given what each of its counters holds.
func (r *ChainRule) Held(session string, at time.Time, used map[BudgetKey]int64) (sum int64) {
	for _, key := range r.Keys(session, at) {
		if sum > math.MaxInt64-used[key] {
			return math.MaxInt64
		}
		sum += used[key]
	}
	return sum
}

// Note is what a request that is allowed makes of the value: ok is false where that is
// nothing, and held need not be true then. held is the value before, which is looked
// at where looks is true.
func (r *ChainRule) Note(req *Request, b *Bundle, at time.Time, found Labels, held int64, looks bool) (n Note, ok bool) {
	n = Note{Key: r.Key(req.Session, at), Guarded: looks, Saw: held, Length: r.Length}
	reset := r.Since != nil && r.Since.Is(req, b, found)
	happened := r.Of.Is(req, b, found)
	amount := int64(0)
	if happened {
		if amount = 1; r.Kind == Sums {
			amount = argument(req.Arguments, r.Field)
		}
	}
	switch {
	case r.latch() && (happened || reset), reset:
		n.Op, n.Amount, n.Guarded = NoteSet, amount, true
	case happened && amount > 0:
		n.Op, n.Amount = NoteAdd, amount
		if !looks {
			n.Saw = 0 // and may be old: nothing rests on it
		}
	default:
		n.Op = NoteHold
		return n, looks
	}
	return n, true
}

// argument is an integer of the arguments, as far as it is one that JSON writes
// exactly. A negative one is nothing: no later event takes back what an earlier one
// added.
func argument(args *document.Document, field string) int64 {
	if args == nil {
		return 0
	}
	members, _ := args.Value().(map[string]any)
	number, _ := members[field].(json.Number)
	n, err := number.Int64()
	if err != nil {
		f, err := number.Float64() // 1e3 and 1.0 are integers too
		if err != nil || math.IsNaN(f) {
			return 0
		}
		n = int64(math.Ceil(max(0, min(f, document.MaxSafeInteger))))
	}
	return max(0, min(n, document.MaxSafeInteger))
}
