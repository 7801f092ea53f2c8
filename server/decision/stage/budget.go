package stage

import (
	"fmt"
	"slices"
	"time"

	"github.com/writpdp/writ/server/decision"
)

// Budget reserves what the action can cost from every budget that counts it;
// all must have room.
func Budget(req *decision.Request, snap *decision.Snapshot, _ *decision.Decision) decision.Finding {
	f := abstain()
	vendor := snap.Bundle.Vendor(req.Destination)
	counting := snap.Bundle.Counting(req)
	f.Budgets, f.Effects = slices.Grow(f.Budgets, len(counting)), slices.Grow(f.Effects, len(counting))
	for _, rule := range counting {
		need, comparable := rule.Need(req.Cost)
		if !comparable {
			f.Verdict = decision.Deny
			f.Reasons = append(f.Reasons, decision.Reason{Code: "budget.currency",
				Text: fmt.Sprintf("The budget %q counts %s, not %s.", rule.ID, rule.Currency, req.Cost.Currency),
				Lift: fmt.Sprintf("State the cost in %s.", rule.Currency)})
			f.Budgets = append(f.Budgets, decision.BudgetLine{Budget: rule.ID, Unit: rule.Unit, Currency: rule.Currency,
				Cap: rule.Cap, Exhausted: true, Never: true})
			continue
		}
		line := balance(rule, rule.Key(req, vendor, snap.At), need, snap)
		if line.Exhausted {
			f.Verdict = decision.Deny
			f.Reasons = append(f.Reasons, exhausted(rule, line, need))
			f.Budgets = append(f.Budgets, line)
			continue
		}
		line.Reserved, line.Remaining = need, line.Remaining-need
		f.Budgets = append(f.Budgets, line)
		f.Effects = append(f.Effects, take(rule, line.Key, need, snap.At))
	}
	return f
}

// balance is a budget as a need meets it.
func balance(rule *decision.BudgetRule, key decision.BudgetKey, need int64, snap *decision.Snapshot) decision.BudgetLine {
	line := decision.BudgetLine{Budget: rule.ID, Unit: rule.Unit, Currency: rule.Currency, Cap: rule.Cap, Key: key,
		Used: snap.Used[key], Resets: rule.Resets(snap.At)}
	switch rule.Window {
	case decision.Rate:
		pace := rule.Pace(key, need, snap.At)
		line.Cap, line.Remaining = rule.Burst, pace.Left(line.Used)
		wait := pace.Wait(line.Used)
		line.Exhausted, line.Never = wait > 0, need > rule.Burst
		if line.Exhausted && !line.Never {
			line.Resets = snap.At.Add(wait)
		}
		return line
	case decision.Sliding:
		for _, other := range (decision.Charge{Key: key, Length: rule.Length}).Beside() {
			line.Used += snap.Used[other]
		}
	}
	line.Remaining = max(0, rule.Cap-line.Used)
	line.Exhausted, line.Never = need > line.Remaining, need > rule.Cap
	if rule.Window == decision.Sliding && line.Exhausted && !line.Never {
		if at, ok := rule.Frees(key, need, snap.Used); ok {
			line.Resets = time.Unix(at, 0).UTC()
		}
	}
	return line
}

// take is the effect that takes a need. It is there where the need is nothing, too:
// it says which counter the settlement goes to.
func take(rule *decision.BudgetRule, key decision.BudgetKey, need int64, at time.Time) decision.Effect {
	if rule.Window == decision.Rate {
		return rule.Pace(key, need, at)
	}
	charge := decision.Charge{Key: key, Amount: need, Cap: rule.Cap, Held: rule.Window == decision.Running}
	if rule.Window == decision.Sliding {
		charge.Length = rule.Length
	}
	if rule.Unsettled > 0 {
		charge.Lapses = at.Add(rule.Unsettled)
	}
	return charge
}

// exhausted is the reason of a budget without room. One that is kept apart by session
// arrests a loop: the code says so.
func exhausted(rule *decision.BudgetRule, line decision.BudgetLine, need int64) decision.Reason {
	r := decision.Reason{Code: "budget.exhausted",
		Text: fmt.Sprintf("The budget %q has %d of %d left and the action needs %d.", rule.ID, line.Remaining, line.Cap, need),
		Lift: "Raise the budget."}
	switch {
	case rule.Window == decision.Rate:
		r.Code = "budget.rate"
		r.Text = fmt.Sprintf("The rate %q has %d of %d left at this moment and the action needs %d.", rule.ID, line.Remaining, line.Cap, need)
	case rule.Window == decision.Running:
		r.Code = "budget.running"
		r.Text = fmt.Sprintf("Of %q, %d of %d are under way and the action needs %d.", rule.ID, line.Used, line.Cap, need)
		r.Lift = "Wait until one of those under way has ended."
	case slices.Contains(rule.Per, decision.BySession):
		r.Code = "budget.loop"
		r.Text = fmt.Sprintf("The session has used %d of the %d %s that %q allows it, and the action needs %d.", line.Used, line.Cap, rule.Unit, rule.ID, need)
		r.Lift = "Look at what the agent repeats, and begin a new session."
	}
	switch {
	case line.Never:
		r.Code = "budget.too_large"
		r.Lift = "Ask for less at once, or raise the budget."
	case !line.Resets.IsZero():
		r.Lift = fmt.Sprintf("Wait until %s, or raise the budget.", line.Resets.UTC().Format("2006-01-02T15:04:05Z"))
	}
	return r
}
