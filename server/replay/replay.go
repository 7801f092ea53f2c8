// Package replay decides recorded requests again with another bundle, to say what
// that bundle would have changed. It never guesses: where the answer depends on
// what records withhold, it says so.
//
// What was changed of budgets at run time is known of those that counted a request, and
// none is taken to have been changed of others that the bundle counts.
//
// Decisions are made one by one with the stages that made the records, on the
// facts that each record holds, and spread over the cores. What a decision owes to
// those before it (budgets, uses of tickets, used tokens, the call of a result) is
// applied in the order of the records: World keeps by how much it differs from
// what the records say. So a bundle that decides as the recorded one did changes
// nothing, whatever was decided at once.
package replay

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/decision/stage"
)

// Class is what a bundle makes of a record.
type Class uint8

// The classes.
const (
	Unchanged          Class = iota // the same effect and obligations
	WouldDeny                       // it was allowed
	WouldAllow                      // it was denied
	ObligationsChanged              // it is allowed as before, on other terms
	Undetermined                    // the record does not hold what the answer depends on

	classes = 5
)

var classNames = [classes]string{"unchanged", "would_deny", "would_allow", "obligations_changed", "undetermined"}

// String is the class as reports have it.
func (c Class) String() string {
	if c < classes {
		return classNames[c]
	}
	return "unknown"
}

// older is what a record of before the fields for a replay would have to hold.
const older = "record: it is older than the fields that a replay needs"

// Candidate is a recorded question, decided with the new bundle on the facts of
// its record, but for its budgets.
type Candidate struct {
	question *audit.Question
	decision decision.Decision
	// seen is what the decision saw of its session.
	seen view
	// counted are the new bundle's counters for the request.
	counted []count
}

type count struct {
	rule decision.BudgetRule
	key  decision.BudgetKey
	need int64
}

// stages are stage.All with a place for the budgets, which depend on what came
// before.
var (
	stages   = withoutBudget()
	budgetAt = slices.IndexFunc(stages, func(s decision.Stage) bool { return s.Name == "budget" })
	toolAt   = slices.IndexFunc(stages, func(s decision.Stage) bool { return s.Name == "tool" })
)

func withoutBudget() decision.Pipeline {
	all := slices.Clone(stage.All)
	for i := range all {
		if all[i].Name == "budget" {
			all[i].Judge = func(*decision.Request, *decision.Snapshot, *decision.Decision) decision.Finding {
				return decision.Finding{Verdict: decision.Abstain}
			}
		}
	}
	return all
}

// Prepare decides a recorded question. It is pure, and safe for concurrent use.
// alike are the bundle's policies that match as those of the bundle that made the
// record; nil: none is known to.
func Prepare(bundle *decision.Bundle, alike map[string]decision.PolicyKind, q *audit.Question) *Candidate {
	c := &Candidate{question: q, counted: counted(bundle, q)}
	if q.Known {
		c.seen = recordedView(bundle, q)
		c.decision = decide(bundle, q, q.Facts, &c.seen, q.Ruled.Of(alike))
	}
	return c
}

// counted are a bundle's counters for a request, where its cost can be compared.
func counted(bundle *decision.Bundle, q *audit.Question) []count {
	var all []count
	vendor := bundle.Vendor(q.Request.Destination)
	for _, rule := range bundle.Budgets {
		if rule.Window == decision.Rate || rule.Window == decision.Running {
			continue // what they held was of the moment: there is room
		}
		if need, comparable := rule.Need(q.Request.Cost); comparable && rule.Counts(q.Request) {
			all = append(all, count{rule: rule, key: rule.Key(q.Request, vendor, q.At), need: need})
		}
	}
	return all
}

// decide is the decision on some facts and what is seen of the session, but for the
// budgets.
func decide(bundle *decision.Bundle, q *audit.Question, facts decision.Facts, seen *view, matched func(string) (matched, known bool)) decision.Decision {
	d := stages.Decide(q.Request, &decision.Snapshot{At: q.At, Bundle: bundle, Control: q.Control, Matched: matched, Inspected: q.Inspected, Led: q.Led, Looked: q.Looked, Redacted: q.Redacted, Facts: seen.facts(bundle, q, facts), Untold: seen.untold})
	// The schema of a definition that is the same finds what it found.
	if f := &d.Findings[toolAt]; f.Verdict == decision.Undetermined && q.Checked != nil {
		*f = *q.Checked
	}
	return d
}

// Outcome is what a bundle makes of a record.
type Outcome struct {
	Class Class
	// Because are the grounds: of a denial its reasons' codes with their
	// policies, and of what is undetermined what would have to be known.
	Because []string
}

// classify compares a decision with what was recorded.
func classify(q *audit.Question, d *decision.Decision) Outcome {
	denied := q.Row.Outcome == decision.Denied
	switch {
	case d.Undetermined():
		return Outcome{Class: Undetermined, Because: unique(d.Withheld())}
	case !d.Allowed() && denied:
		return Outcome{}
	case !d.Allowed():
		return Outcome{Class: WouldDeny, Because: grounds(d)}
	case denied && len(momentary(q)) > 0:
		return Outcome{Class: Undetermined, Because: momentary(q)}
	case denied:
		return Outcome{Class: WouldAllow, Because: recordedGrounds(q)}
	case !slices.Equal(wire(q.Obligations), wire(obligations(d))):
		return Outcome{Class: ObligationsChanged, Because: terms(q.Obligations, obligations(d))}
	}
	return Outcome{}
}

// momentary are the recorded grounds that rest on what was so at that moment alone,
// and that no record tells of.
func momentary(q *audit.Question) []string {
	var all []string
	for _, r := range q.Reasons {
		switch r.Code {
		case "budget.rate", "budget.running", "breaker.open", "lock.throttled":
			all = append(all, r.Code+": it was so at that moment")
		}
	}
	return unique(all)
}

// grounds are the codes, with their policies, that deny.
func grounds(d *decision.Decision) []string {
	var all []string
	for i := range d.Findings {
		f := &d.Findings[i]
		if f.Verdict == decision.Abstain || f.Verdict == decision.Permit || f.Verdict == decision.Undetermined {
			continue
		}
		for _, r := range f.Reasons {
			all = append(all, strings.TrimSpace(r.Code+" "+r.Policy))
		}
	}
	return unique(all)
}

// recordedGrounds are those that a record was denied on.
func recordedGrounds(q *audit.Question) []string {
	var all []string
	for _, r := range q.Reasons {
		if r.Lift != "" {
			all = append(all, strings.TrimSpace(r.Code+" "+r.PolicyId))
		}
	}
	return unique(all)
}

func obligations(d *decision.Decision) []*writv1.Obligation {
	var all []*writv1.Obligation
	for _, o := range d.Obligations() {
		one, err := audit.ObligationOf(o)
		if err != nil {
			one = &writv1.Obligation{Type: o.Duty.Type()} // no record holds one without parameters
		}
		all = append(all, one)
	}
	return all
}

// wire are obligations as bytes, whatever their ids and policies: what the caller
// must do. How long it waits was of the moment.
func wire(obligations []*writv1.Obligation) []string {
	all := make([]string, 0, len(obligations))
	for _, o := range obligations {
		if o.GetDelay() != nil {
			continue
		}
		bare := proto.CloneOf(o)
		bare.Id, bare.PolicyId = "", ""
		if route := bare.GetRoute(); route != nil {
			route.Reason = "" // it is for a person
		}
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(bare)
		if err != nil {
			data = []byte(o.Id) // texts that are no UTF-8, which no record holds
		}
		all = append(all, string(data))
	}
	slices.Sort(all)
	return all
}

// terms are the types of obligations that only one side has, or has otherwise.
func terms(before, after []*writv1.Obligation) []string {
	var all []string
	add := func(from, without []*writv1.Obligation, sign string) {
		have := wire(without)
		for _, o := range from {
			if one := wire([]*writv1.Obligation{o}); len(one) > 0 && !slices.Contains(have, one[0]) {
				all = append(all, sign+o.Type)
			}
		}
	}
	add(before, after, "-")
	add(after, before, "+")
	return unique(all)
}

func unique(all []string) []string {
	slices.Sort(all)
	return slices.Compact(all)
}
