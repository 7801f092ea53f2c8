package decision

import "math"

// Note changes what a session's counter holds, or only holds that nobody else has
// changed it.
type Note struct {
	Key    BudgetKey
	Op     NoteOp
	Amount int64
	// Guarded says that the counter, with those beside it, must hold what the decision
	// saw. All but NoteAdd are: so each says what it made of what, and what a counter
	// holds is the sum of that over all records, in whatever order they are read.
	Guarded bool
	// Saw is that, of a guarded one.
	Saw int64
	// Length is of a sliding window, in seconds; 0: of none.
	Length int64
}

// NoteOp is what a Note does to its counter.
type NoteOp uint8

// The operations, with the numbers of writ.v1.NoteOp.
const (
	NoteHold  NoteOp = iota + 1 // nothing, but for the guard
	NoteAdd                     // adds Amount
	NoteJoin                    // sets the bits of Amount
	NoteClear                   // clears them
	NoteSet                     // to Amount
)

// Counter is the session's.
func (n Note) Counter() BudgetKey { return n.Key }

// Beside are the other parts of a sliding window, of one that is guarded.
func (n Note) Beside() []BudgetKey {
	if n.Length == 0 || !n.Guarded {
		return nil
	}
	return beside(n.Key, n.Length)
}

// Apply notes, if the guard holds and nothing overflows.
func (n Note) Apply(was, beside int64) (now int64, ok bool) {
	if n.Guarded && (beside > math.MaxInt64-was || was+beside != n.Saw) {
		return was, false
	}
	switch n.Op {
	case NoteHold:
		return was, true
	case NoteAdd:
		return was + n.Amount, n.Amount >= 0 && n.Amount <= math.MaxInt64-was
	case NoteJoin:
		return was | n.Amount, n.Amount >= 0
	case NoteClear:
		return was &^ n.Amount, n.Amount >= 0
	case NoteSet:
		return n.Amount, n.Amount >= 0
	}
	return was, false
}

// Delta is by how much it changes its counter. It is exact where Whole.
func (n Note) Delta() int64 {
	if n.Op == NoteAdd || n.Op == NoteHold {
		return n.Amount
	}
	now, _ := n.Apply(n.Saw, 0)
	return now - n.Saw
}

// Whole reports whether a note is one that a decision can have made.
func (n Note) Whole() bool {
	slides := n.Length != 0
	switch {
	case !n.Key.Session() || n.Amount < 0 || n.Saw < 0 || n.Length < 0 || n.Length > MaxLength || slides != (n.Key.Start != 0):
		return false
	case !n.Guarded && (n.Op != NoteAdd || n.Saw != 0):
		return false
	}
	switch n.Op {
	case NoteHold:
		return n.Amount == 0
	case NoteAdd:
		return n.Amount > 0 && n.Amount <= math.MaxInt64-n.Saw
	case NoteJoin, NoteClear:
		return !slides && n.Amount > 0 && Labels(n.Amount)>>(MaxLabel+1) == 0
	case NoteSet:
		return !slides
	}
	return false
}

func (Note) effect() {}
