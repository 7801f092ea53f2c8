// Package decision is the pure core of Writ: from a request and a snapshot to a
// decision, with no context, I/O, clock or randomness. The same request and
// snapshot give the same decision, always; that is why explaining, replaying,
// what-if and list filtering need no code of their own.
package decision

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/writpdp/writ/server/content/detect"
	"github.com/writpdp/writ/server/content/result"
	"github.com/writpdp/writ/server/egress"
)

// Verdict is what a stage makes of a request. The zero value denies.
type Verdict uint8

// The verdicts.
const (
	Deny    Verdict = iota // the stage refuses
	Abstain                // no objection, and no grant
	Permit                 // the stage grants
	// Undetermined is a denial for want of knowledge: part of the input is
	// withheld, and the answer depends on it. Only a replay of records has such.
	Undetermined
)

// Reason is one ground for a decision.
type Reason struct {
	// Code is stable and published in docs/reasons.md.
	Code string
	// Text is a sentence for a person. It never holds argument values.
	Text string
	// Policy is the id of the policy that decided; empty: none did.
	Policy string
	// Lift says what would lift a denial; empty in other reasons.
	Lift string
	// Requestable says that a valid ticket would lift the denial.
	Requestable bool
}

// Finding is what one stage found.
type Finding struct {
	Stage       string
	Verdict     Verdict
	Reasons     []Reason
	Obligations []Obligation
	Effects     []Effect
	Budgets     []BudgetLine
	// Waits are when reasons for a denial, other than those of Budgets, come to an
	// end.
	Waits []time.Time
	// Routes, Ticket, Inspection and URLs are facts for later stages.
	Routes     []RouteRule
	Ticket     *Ticket
	Inspection *detect.Inspection
	// Session is what was seen of the request's session, and what it gives it.
	Session *SessionState
	URLs    *egress.Facts
	// Looked is what was seen of a RESULT's content as a tool result; nil: nothing.
	Looked *result.Looked
	// Redactions are what redacting policies that matched looked for.
	Redactions []RedactRule
	// Locks are those that hit the request, or kept something out of its answer.
	Locks []Lock
	// Adjustments are those of budgets that count the request.
	Adjustments []Adjustment
	// Withheld is what an Undetermined finding would have to know.
	Withheld []string
}

// Stage judges one aspect of a request, given what earlier stages found.
type Stage struct {
	Name  string
	Judge func(*Request, *Snapshot, *Decision) Finding
}

// Pipeline is the stages in the order in which they are asked.
type Pipeline []Stage

// Decision is its findings: verdict, obligations and effects are derived from
// them, so they cannot disagree.
type Decision struct {
	Findings []Finding
	// Beside is what the bundle's shadow would have decided; nil: it has none.
	Beside *Decision
}

// Decide asks every stage, so that the person refused sees every reason.
func (p Pipeline) Decide(req *Request, snap *Snapshot) Decision {
	d := Decision{Findings: make([]Finding, 0, len(p))}
	for _, stage := range p {
		f := stage.Judge(req, snap, &d)
		f.Stage = stage.Name
		d.Findings = append(d.Findings, f)
	}
	return d
}

// denies reports whether a finding refuses: every verdict but the two that do
// not, so that one from nowhere refuses too.
func (f *Finding) denies() bool { return f.Verdict != Abstain && f.Verdict != Permit }

// Allowed reports whether some stage permits and none denies.
func (d *Decision) Allowed() bool {
	permitted := false
	for i := range d.Findings {
		if d.Findings[i].denies() {
			return false
		}
		permitted = permitted || d.Findings[i].Verdict == Permit
	}
	return permitted
}

// Refused reports whether some stage denies for certain.
func (d *Decision) Refused() bool {
	return slices.ContainsFunc(d.Findings, func(f Finding) bool { return f.denies() && f.Verdict != Undetermined })
}

// Undetermined reports whether some stage cannot tell and none denies, so that it
// is not known whether the decision allows.
func (d *Decision) Undetermined() bool {
	found := false
	for i := range d.Findings {
		if f := &d.Findings[i]; f.Verdict == Undetermined {
			found = true
		} else if f.denies() {
			return false
		}
	}
	return found
}

// Locks are those that made a difference, in the order of their ids.
func (d *Decision) Locks() []Lock {
	var all []Lock
	for i := range d.Findings {
		all = append(all, d.Findings[i].Locks...)
	}
	slices.SortFunc(all, func(a, b Lock) int { return strings.Compare(a.ID, b.ID) })
	return slices.CompactFunc(all, func(a, b Lock) bool { return a.ID == b.ID })
}

// Adjustments are those that made a difference, in the order of their ids.
func (d *Decision) Adjustments() []Adjustment {
	var all []Adjustment
	for i := range d.Findings {
		all = append(all, d.Findings[i].Adjustments...)
	}
	return uniqueAdjustments(all)
}

func uniqueAdjustments(all []Adjustment) []Adjustment {
	slices.SortFunc(all, func(a, b Adjustment) int { return strings.Compare(a.ID, b.ID) })
	return slices.CompactFunc(all, func(a, b Adjustment) bool { return a.ID == b.ID })
}

// Withheld is what would have to be known to determine the decision.
func (d *Decision) Withheld() []string {
	var all []string
	for i := range d.Findings {
		all = append(all, d.Findings[i].Withheld...)
	}
	return all
}

// Outcome is the summary of a decision.
type Outcome uint8

// The outcomes, with the numbers of writ.v1.Effect.
const (
	Denied Outcome = iota + 1
	Allowed
	Redacted
	Routed
)

// Outcome summarises: denied, else routed, else redacted, else allowed.
func (d *Decision) Outcome() Outcome {
	if !d.Allowed() {
		return Denied
	}
	outcome := Allowed
	for i := range d.Findings {
		for _, o := range d.Findings[i].Obligations {
			switch o.Duty.(type) {
			case Route:
				return Routed
			case Redact:
				outcome = Redacted
			}
		}
	}
	return outcome
}

// Obligations are those of all findings; none when denied. Their ids are unique.
func (d *Decision) Obligations() []Obligation {
	if !d.Allowed() {
		return nil
	}
	var obligations []Obligation
	for i := range d.Findings {
		obligations = append(obligations, d.Findings[i].Obligations...)
	}
	count := map[string]int{}
	for i := range obligations {
		kind := obligations[i].Duty.Type()
		count[kind]++
		obligations[i].ID = kind + "-" + strconv.Itoa(count[kind])
	}
	return obligations
}

// Unmet are the types of obligation that a caller with these abilities cannot
// meet, in order, each once, whatever the verdict.
func (d *Decision) Unmet(supports []string) []string {
	var unmet []string
	for i := range d.Findings {
		for _, o := range d.Findings[i].Obligations {
			if kind := o.Duty.Type(); !slices.Contains(supports, kind) && !slices.Contains(unmet, kind) {
				unmet = append(unmet, kind)
			}
		}
	}
	return unmet
}

// Effects are what the commit must apply; none when denied.
func (d *Decision) Effects() []Effect {
	if !d.Allowed() {
		return nil
	}
	count := 0
	for i := range d.Findings {
		count += len(d.Findings[i].Effects)
	}
	all := make([]Effect, 0, count)
	for i := range d.Findings {
		all = append(all, d.Findings[i].Effects...)
	}
	return all
}

// Budgets are the budgets that counted. A denied decision reserves nothing.
func (d *Decision) Budgets() []BudgetLine {
	allowed := d.Allowed()
	var all []BudgetLine
	for i := range d.Findings {
		f := &d.Findings[i]
		all = slices.Grow(all, len(f.Budgets))
		for _, line := range f.Budgets {
			if !allowed {
				line.Remaining += line.Reserved
				line.Reserved = 0
			}
			all = append(all, line)
		}
	}
	return all
}

// first is a fact that some stage has found; nil: none has.
func first[T any](d *Decision, fact func(*Finding) *T) *T {
	for i := range d.Findings {
		if found := fact(&d.Findings[i]); found != nil {
			return found
		}
	}
	return nil
}

// Ticket is the ticket that a stage found to cover the request; nil: none.
func (d *Decision) Ticket() *Ticket {
	return first(d, func(f *Finding) *Ticket { return f.Ticket })
}

// Looked is what was seen of a RESULT's content as a tool result; nil: nothing.
func (d *Decision) Looked() *result.Looked {
	return first(d, func(f *Finding) *result.Looked { return f.Looked })
}

// Inspection is what was found in what the request carries; nil: nothing was looked
// into.
func (d *Decision) Inspection() *detect.Inspection {
	return first(d, func(f *Finding) *detect.Inspection { return f.Inspection })
}

// Seen is what was found in what the request carries, for whoever decides on the same
// request by a bundle that would look with the same detectors; nil: it has to look.
func (d *Decision) Seen(b *Bundle) *detect.Inspection {
	found := d.Inspection()
	if found == nil || found.Skipped || b.Detect == nil || found.By != b.Detect.Digest() {
		return nil
	}
	return found
}

// URLs are where the arguments lead; nil: they were not looked into.
func (d *Decision) URLs() *egress.Facts {
	return first(d, func(f *Finding) *egress.Facts { return f.URLs })
}

// Routes are the routing constraints found so far.
func (d *Decision) Routes() []RouteRule {
	var all []RouteRule
	for i := range d.Findings {
		all = append(all, d.Findings[i].Routes...)
	}
	return all
}

// RetryAfter is how long to wait before a denial by budgets and breakers alone can
// be lifted; ok is false when waiting does not help.
func (d *Decision) RetryAfter(at time.Time) (wait time.Duration, ok bool) {
	for _, f := range d.Findings {
		if f.denies() && len(f.Waits) == 0 && !slices.ContainsFunc(f.Budgets, func(l BudgetLine) bool { return l.Exhausted }) {
			return 0, false
		}
		for _, until := range f.Waits {
			wait, ok = max(wait, until.Sub(at)), true
		}
		for _, line := range f.Budgets {
			if !line.Exhausted {
				continue
			}
			until, ends := line.lifts()
			if !ends {
				return 0, false
			}
			wait, ok = max(wait, until.Sub(at)), true
		}
	}
	return wait, ok
}

// Requestable are the policies that ask for a ticket, when a ticket is all that
// the decision lacks; else nil.
func (d *Decision) Requestable() []string {
	var policies []string
	for _, f := range d.Findings {
		if !f.denies() {
			continue
		}
		requestable := false
		for _, r := range f.Reasons {
			if r.Lift != "" && !r.Requestable {
				return nil
			}
			requestable = requestable || r.Requestable
			if r.Requestable && r.Policy != "" {
				policies = append(policies, r.Policy)
			}
		}
		if !requestable {
			return nil // it does not say what it lacks
		}
	}
	return policies
}

// BudgetLine is one budget's part in a decision.
type BudgetLine struct {
	Budget string
	// Key is the budget's counter and Used what it held; of a decision's lines
	// only, and zero where the cost cannot be compared.
	Key      BudgetKey
	Used     int64
	Unit     Unit
	Currency string
	// Reserved is what the request takes; Remaining what is left then. Cap is the
	// bundle's with Adjusted added: what was changed at run time.
	Reserved, Remaining, Cap, Adjusted int64
	// Thaws is when a frozen budget may have room again; zero: it is not frozen, or
	// will have none then.
	Thaws time.Time
	// Resets is when the window ends; zero: never.
	Resets    time.Time
	Exhausted bool
	// Never says that the request is larger than the cap itself.
	Never bool
	// Overrun is what a settlement could not charge.
	Overrun int64
}

// lifts is when waiting may lift a refusal; false: never.
func (l *BudgetLine) lifts() (time.Time, bool) {
	switch {
	case l.Never, l.Resets.IsZero() && l.Thaws.IsZero():
		return time.Time{}, false
	case l.Thaws.IsZero():
		return l.Resets, true
	}
	return l.Thaws, true
}
