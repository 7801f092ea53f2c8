package writ

import (
	"cmp"
	"errors"
	"fmt"
)

// Sentinels of Enforce and its kin.
var (
	// ErrWithheld is in every error that comes after the action has run: it took
	// effect, and its result must not go on.
	ErrWithheld = errors.New("the action ran and its result is withheld")
	// ErrNotRun is for a next function to return when the action never ran, so
	// that what was reserved for it is given back.
	ErrNotRun = errors.New("the action did not run")
	// ErrUnknown is for a next function to return when it cannot tell whether
	// the action ran. The errors of a context mean the same.
	ErrUnknown = errors.New("whether the action ran is unknown")
)

// Denied says that Writ denied the action, or its result.
type Denied struct {
	// Phase is what was asked: PhaseResult for a result whose call has run.
	Phase Phase
	// Decision has the reasons, the access request and when to retry.
	Decision
}

// Error is the first ground of the denial and what would lift it. It holds no
// argument values.
func (e *Denied) Error() string {
	reason, ok := e.first()
	if !ok {
		return fmt.Sprintf("writ denied the %s without a reason", e.Phase)
	}
	text := cmp.Or(reason.Text, reason.Code)
	if reason.Lift != "" {
		text += " " + reason.Lift
	}
	return text
}

// first is the first reason that denies; those that do not have no Lift.
func (e *Denied) first() (Reason, bool) {
	for _, r := range e.Reasons {
		if r.Lift != "" {
			return r, true
		}
	}
	if len(e.Reasons) > 0 {
		return e.Reasons[0], true
	}
	return Reason{}, false
}

// Unmet says that Writ allowed the action on a condition that could not be met
// here, so that the client denied it.
type Unmet struct {
	// Phase and DecisionID say which decision's obligation it is.
	Phase      Phase
	DecisionID string
	Obligation Obligation
	// Err is why it could not be met.
	Err error
}

// Error names the obligation and why it could not be met.
func (e *Unmet) Error() string {
	return fmt.Sprintf("meeting the obligation %q: %v", e.Obligation.ID, e.Err)
}

// Unwrap is Err.
func (e *Unmet) Unwrap() error { return e.Err }

// BrokenAnswer says that Writ's answer was not one that this client wholly
// understands, so that the client denied the action.
type BrokenAnswer struct {
	// DecisionID is the decision's id; empty where that itself is broken.
	DecisionID string
	// Problem is what is wrong with the answer.
	Problem string
}

// Error says what is wrong with the answer.
func (e *BrokenAnswer) Error() string { return "writ's answer is not understood: " + e.Problem }
