package replay

import (
	"slices"
	"time"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/decision/stage"
)

// World is what the new bundle has made of the records so far, as far as that
// differs from what the records say. An undetermined decision makes it a range:
// it may have spent what it needs, or nothing. For one goroutine.
type World struct {
	bundle *decision.Bundle
	rules  map[string]decision.BudgetRule
	// from is the time of the first record: what is older was not decided again,
	// and is as it was recorded.
	from     time.Time
	counters map[counterKey]*counter
	sessions map[counterKey]*held
	tickets  map[name]span
	tokens   map[[32]byte]spent
	// decisions are those that are not allowed, or not denied, as recorded.
	decisions map[id]fate
}

type counterKey struct {
	tenant string
	decision.BudgetKey
}

// counter is what a counter holds: what the records last said that it held, and
// what the new bundle made of it more, at least and at most.
type counter struct {
	recorded  int64
	low, high int64
}

func (c *counter) holds() (low, high int64) {
	return max(0, c.recorded+c.low), max(0, c.recorded+c.high)
}

type name struct{ tenant, text string }

type span struct{ low, high int64 }

// spent says whether a token was used, at the best and at the worst.
type spent struct{ best, worst bool }

type id struct {
	tenant string
	id     [16]byte
}

// fate is what became of a decision.
type fate uint8

const (
	unknown fate = iota
	denied
	allowed
)

// NewWorld is the world before the first record. Records of before from are as
// they were recorded.
func NewWorld(bundle *decision.Bundle, from time.Time) *World {
	w := &World{bundle: bundle, rules: map[string]decision.BudgetRule{}, from: from, counters: map[counterKey]*counter{}, sessions: map[counterKey]*held{},
		tickets: map[name]span{}, tokens: map[[32]byte]spent{}, decisions: map[id]fate{}}
	for _, rule := range bundle.Budgets {
		w.rules[rule.ID] = rule
	}
	return w
}

// Decide takes up the next decision.
func (w *World) Decide(c *Candidate) Outcome {
	q := c.question
	w.read(q)
	outcome, became := Outcome{Class: Undetermined, Because: []string{older}}, unknown
	if q.Known {
		outcome, became = w.judge(c)
	}
	w.spend(c, became)
	return outcome
}

// judge decides in the best and in the worst of the worlds that there may be. A
// budget with more left, a ticket with more uses, a fresh token and an allowed
// call never make a denial of an allow.
func (w *World) judge(c *Candidate) (Outcome, fate) {
	q := c.question
	best, worst := w.facts(q)
	low, high := map[decision.BudgetKey]int64{}, map[decision.BudgetKey]int64{}
	for _, n := range c.counted {
		low[n.key], high[n.key] = w.counter(q.Tenant, n.key).holds()
	}
	d, seen := c.decision, w.session(q)
	if !same(best, q.Facts) || !seen.same(&c.seen) {
		d = decide(w.bundle, q, best, &seen, nil) // policies see what they did not, or not what they did
	}
	c.decision = d
	at := w.settle(q, d, low)
	outcome := classify(q, &at)
	if !at.Allowed() {
		if outcome.Class == Undetermined {
			return outcome, unknown
		}
		return outcome, denied
	}
	if same(best, worst) && equal(low, high) {
		return outcome, allowed
	}
	if !same(best, worst) {
		d = decide(w.bundle, q, worst, &seen, nil)
	}
	if at = w.settle(q, d, high); at.Allowed() {
		return outcome, allowed
	}
	var because []string
	for _, f := range at.Findings {
		if f.Verdict != decision.Abstain && f.Verdict != decision.Permit {
			because = append(because, f.Stage+": what undetermined decisions before it did")
		}
	}
	return Outcome{Class: Undetermined, Because: unique(because)}, unknown
}

// settle is a decision with its budgets.
func (w *World) settle(q *audit.Question, d decision.Decision, used map[decision.BudgetKey]int64) decision.Decision {
	d.Findings = slices.Clone(d.Findings)
	f := stage.Budget(q.Request, &decision.Snapshot{At: q.At, Bundle: w.bundle, Control: q.Control, Facts: decision.Facts{Used: used}}, nil)
	f.Stage = "budget"
	d.Findings[budgetAt] = f
	return d
}

func equal(a, b map[decision.BudgetKey]int64) bool {
	for key, n := range a {
		if b[key] != n {
			return false
		}
	}
	return true
}

// same reports whether facts are the same but for the counters.
func same(a, b decision.Facts) bool {
	return a.TokenUsed == b.TokenUsed && (a.Ticket == b.Ticket || a.Ticket != nil && b.Ticket != nil && a.Ticket.Uses == b.Ticket.Uses) &&
		(a.Call == b.Call || a.Call != nil && b.Call != nil && a.Call.Allowed == b.Call.Allowed)
}

// facts are the recorded ones in the best and in the worst world.
func (w *World) facts(q *audit.Question) (best, worst decision.Facts) {
	best, worst = q.Facts, q.Facts
	if s, ok := w.tokens[q.Request.Principal.Token]; ok {
		best.TokenUsed, worst.TokenUsed = s.best, s.worst
	}
	if t := q.Facts.Ticket; t != nil && q.Phase != decision.Result {
		if s := w.tickets[name{q.Tenant, t.ID}]; s != (span{}) {
			few, many := *t, *t
			few.Uses, many.Uses = max(0, t.Uses+s.low), max(0, t.Uses+s.high)
			best.Ticket, worst.Ticket = &few, &many
		}
	}
	if call := q.Facts.Call; call != nil {
		if became, ok := w.decisions[id{q.Tenant, q.Request.CallID}]; ok {
			yes, no := *call, *call
			yes.Allowed, no.Allowed = became != denied, became == allowed
			best.Call, worst.Call = &yes, &no
		}
	}
	return best, worst
}

func (w *World) counter(tenant string, key decision.BudgetKey) *counter {
	at := counterKey{tenant, key}
	c := w.counters[at]
	if c == nil {
		c = &counter{}
		w.counters[at] = c
	}
	return c
}

// shares reports whether a recorded line is of a budget that the new bundle has
// too. Whose share and which window it is says the counter's key.
func (w *World) shares(line decision.BudgetLine, ok bool) bool {
	rule, known := w.rules[line.Budget]
	return ok && known && rule.Unit == line.Unit && rule.Currency == line.Currency
}

// read takes from a record what its counters held.
func (w *World) read(q *audit.Question) {
	for key, used := range q.Facts.Used {
		if line, ok := q.Lines[key.Budget]; w.shares(line, ok) {
			w.counter(q.Tenant, key).recorded = used
		}
	}
}

// recordedCharges are what a record charged of counters that the new bundle has.
func (w *World) recordedCharges(charges []decision.Charge, lines map[string]decision.BudgetLine) map[decision.BudgetKey]int64 {
	all := map[decision.BudgetKey]int64{}
	for _, charge := range charges {
		if line, ok := lines[charge.Key.Budget]; w.shares(line, ok) {
			all[charge.Key] += charge.Amount
		}
	}
	return all
}

// spend applies what became of a decision.
func (w *World) spend(c *Candidate, became fate) {
	q := c.question
	recorded := w.recordedCharges(q.Charges, q.Lines)
	for key, amount := range recorded {
		n := w.counter(q.Tenant, key)
		n.recorded += amount
		n.low, n.high = n.low-amount, n.high-amount
	}
	for _, count := range c.counted {
		n := w.counter(q.Tenant, count.key)
		if became == allowed {
			n.low += count.need
		}
		if became != denied {
			n.high += count.need
		}
	}
	was := allowed
	if q.Row.Outcome == decision.Denied {
		was = denied
	}
	w.remember(c, became)
	w.useToken(q, was, became)
	w.useTicket(q, became)
	if became != was {
		w.decisions[id{q.Tenant, q.ID}] = became
	}
}

func (w *World) useToken(q *audit.Question, was, became fate) {
	token := q.Request.Principal.Token
	s, tracked := w.tokens[token]
	if !tracked {
		s = spent{q.Facts.TokenUsed, q.Facts.TokenUsed}
	}
	s = spent{s.best || became == allowed, s.worst || became != denied}
	recorded := q.Facts.TokenUsed || was == allowed
	if s == (spent{recorded, recorded}) {
		delete(w.tokens, token)
	} else {
		w.tokens[token] = s
	}
}

func (w *World) useTicket(q *audit.Question, became fate) {
	ticket := q.Request.Ticket
	if ticket == "" || q.Phase == decision.Result {
		return
	}
	at := name{q.Tenant, ticket}
	s := w.tickets[at]
	if q.Redeemed != "" {
		s.low, s.high = s.low-1, s.high-1
	}
	if became == allowed {
		s.low++
	}
	if became != denied {
		s.high++
	}
	if s == (span{}) {
		delete(w.tickets, at)
	} else {
		w.tickets[at] = s
	}
}

// Settle takes up a report on what an action cost. of is the decision that allowed
// it.
func (w *World) Settle(a *audit.Actual, of *Candidate) {
	q := of.question
	became, differs := w.decisions[id{a.Tenant, a.Decision}]
	if !differs {
		became = allowed
	}
	recorded := w.recordedCharges(a.Charges, a.Lines)
	decidedAgain := !q.At.Before(w.from)
	changes := map[decision.BudgetKey]span{}
	for _, count := range of.counted {
		low, high := w.counter(a.Tenant, count.key).holds()
		if decidedAgain {
			// The more a counter holds the less it is charged. What is charged
			// less for want of room stays so, also when room comes back.
			changes[count.key] = span{low: count.settle(a, high), high: count.settle(a, low)}
		}
	}
	for key, amount := range recorded {
		n := w.counter(a.Tenant, key)
		n.recorded = max(0, n.recorded+amount)
		if decidedAgain {
			n.low, n.high = n.low-amount, n.high-amount
		}
	}
	for key, by := range changes {
		n := w.counter(a.Tenant, key)
		if became == allowed {
			n.low += by.low
		}
		if became != denied {
			n.high += by.high
		}
	}
}

// settle is what a report changes of a counter that holds some use.
func (c count) settle(a *audit.Actual, used int64) int64 {
	now, _ := a.Control.Readjust(a.Tenant, []decision.Reservation{{Charge: decision.Charge{Key: c.key, Amount: c.need},
		Line: decision.BudgetLine{Unit: c.rule.Unit, Currency: c.rule.Currency, Cap: c.rule.Cap}}}, a.At)
	settled := decision.Settle(now, a.Cost, map[decision.BudgetKey]int64{c.key: used})
	var sum int64
	for _, effect := range settled.Effects {
		sum += effect.(decision.Charge).Amount
	}
	return sum
}
