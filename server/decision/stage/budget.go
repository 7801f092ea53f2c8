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
		line, allowed := balance(req.Caller.Tenant, rule, rule.Key(req, vendor, snap.At), need, snap)
		f.Adjustments = append(f.Adjustments, allowed.By...)
		if allowed.Frozen != nil {
			f.Verdict = decision.Deny
			f.Reasons, f.Budgets = append(f.Reasons, frozen(allowed.Frozen)), append(f.Budgets, freeze(line, allowed, need))
			continue
		}
		if line.Exhausted {
			f.Verdict = decision.Deny
			f.Reasons = append(f.Reasons, exhausted(rule, line, need))
			f.Budgets = append(f.Budgets, line)
			continue
		}
		line.Reserved, line.Remaining = need, line.Remaining-need
		f.Budgets = append(f.Budgets, line)
		f.Effects = append(f.Effects, take(rule, &line, need, snap.At))
	}
	return f
}

// balance is a budget as a need meets it, with what was changed at run time.
func balance(tenant string, rule *decision.BudgetRule, key decision.BudgetKey, need int64, snap *decision.Snapshot) (decision.BudgetLine, decision.Allowance) {
	allowed := snap.Control.Allowance(tenant, key, rule.Cap, snap.At)
	line := decision.BudgetLine{Budget: rule.ID, Unit: rule.Unit, Currency: rule.Currency, Cap: allowed.Cap, Adjusted: allowed.Cap - rule.Cap, Key: key,
		Used: snap.Used[key], Resets: rule.Resets(snap.At)}
	switch rule.Window {
	case decision.Rate:
		pace := rule.Pace(key, need, snap.At)
		line.Cap, line.Adjusted, line.Remaining = rule.Burst, 0, pace.Left(line.Used)
		wait := pace.Wait(line.Used)
		line.Exhausted, line.Never = wait > 0, need > rule.Burst
		if line.Exhausted && !line.Never {
			line.Resets = snap.At.Add(wait)
		}
		return line, allowed
	case decision.Sliding:
		line.Used = rule.Used(key, snap.Used, snap.At)
	}
	line.Remaining = allowed.Room(line.Used)
	line.Exhausted, line.Never = need > line.Remaining, need > line.Cap
	if rule.Window == decision.Sliding && line.Exhausted && !line.Never {
		if at, ok := rule.Frees(key, line.Cap-need, snap.Used); ok {
			line.Resets = time.Unix(at, 0).UTC()
		}
	}
	return line, allowed
}

// freeze is the line of a frozen budget. It refuses what costs nothing too: what an
// action costs in the end is known when it is too late.
func freeze(line decision.BudgetLine, allowed decision.Allowance, need int64) decision.BudgetLine {
	fits := !line.Exhausted || line.Cap-line.Used >= need && line.Key.Sum()
	line.Remaining, line.Exhausted, line.Never = 0, true, need > line.Cap
	switch {
	case fits || line.Resets.Before(allowed.Frozen.Until) && !line.Resets.IsZero():
		line.Thaws = allowed.Frozen.Until
	case !line.Resets.IsZero():
		line.Thaws = line.Resets
	default:
		line.Never = true
	}
	return line
}

// take is the effect that takes a need. It is there where the need is nothing, too:
// it says which counter the settlement goes to.
func take(rule *decision.BudgetRule, line *decision.BudgetLine, need int64, at time.Time) decision.Effect {
	if rule.Window == decision.Rate {
		return rule.Pace(line.Key, need, at)
	}
	charge := decision.Charge{Key: line.Key, Amount: need, Cap: line.Cap, Held: rule.Window == decision.Running}
	if rule.Window == decision.Sliding {
		charge.Length = rule.Length
	}
	if rule.Unsettled > 0 {
		charge.Lapses = at.Add(rule.Unsettled)
	}
	return charge
}

// frozen tells what froze a budget, not who and why: that is in the record, and who
// is stopped need not know.
func frozen(by *decision.Adjustment) decision.Reason {
	return decision.Reason{Code: "budget.frozen", Text: adding(fmt.Sprintf("The budget %q is frozen by %s", by.Budget, by.ID), by.Message),
		Lift: fmt.Sprintf("Wait until %s, or have the budget thawed.", moment(by.Until))}
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
		r.Lift = fmt.Sprintf("Wait until %s, or raise the budget.", moment(line.Resets))
	}
	return r
}
