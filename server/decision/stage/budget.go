package stage

import (
	"fmt"
	"slices"

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
		key := rule.Key(req, vendor, snap.At)
		used, allowed := snap.Used[key], snap.Control.Allowance(req.Caller.Tenant, key, rule.Cap, snap.At)
		line := decision.BudgetLine{Budget: rule.ID, Unit: rule.Unit, Currency: rule.Currency, Cap: allowed.Cap, Adjusted: allowed.Cap - rule.Cap, Key: key, Used: used,
			Remaining: allowed.Room(used), Resets: rule.Resets(snap.At)}
		f.Adjustments = append(f.Adjustments, allowed.By...)
		if allowed.Frozen != nil {
			f.Verdict = decision.Deny
			f.Reasons, f.Budgets = append(f.Reasons, frozen(allowed.Frozen)), append(f.Budgets, freeze(line, allowed, need))
			continue
		}
		if need > line.Remaining {
			line.Exhausted, line.Never = true, need > line.Cap
			f.Verdict = decision.Deny
			f.Reasons = append(f.Reasons, exhausted(rule, line, need))
			f.Budgets = append(f.Budgets, line)
			continue
		}
		line.Reserved, line.Remaining = need, line.Remaining-need
		f.Budgets = append(f.Budgets, line)
		// A charge of nothing too: it says which counter the settlement goes to.
		f.Effects = append(f.Effects, decision.Charge{Key: key, Amount: need, Cap: line.Cap})
	}
	return f
}

// freeze is the line of a frozen budget. It refuses what costs nothing too: what an
// action costs in the end is known when it is too late.
func freeze(line decision.BudgetLine, allowed decision.Allowance, need int64) decision.BudgetLine {
	line.Exhausted, line.Never = true, need > line.Cap
	switch fits := need <= line.Cap-line.Used; {
	case fits || line.Resets.Before(allowed.Frozen.Until) && !line.Resets.IsZero():
		line.Thaws = allowed.Frozen.Until
	case !line.Resets.IsZero():
		line.Thaws = line.Resets
	default:
		line.Never = true
	}
	return line
}

// frozen tells what froze a budget, not who and why: that is in the record, and who
// is stopped need not know.
func frozen(by *decision.Adjustment) decision.Reason {
	text := fmt.Sprintf("The budget %q is frozen by %s", by.Budget, by.ID)
	if by.Message != "" {
		text += ": " + by.Message
	} else {
		text += "."
	}
	return decision.Reason{Code: "budget.frozen", Text: text,
		Lift: fmt.Sprintf("Wait until %s, or have the budget thawed.", by.Until.UTC().Format("2006-01-02T15:04:05Z"))}
}

func exhausted(rule *decision.BudgetRule, line decision.BudgetLine, need int64) decision.Reason {
	r := decision.Reason{Code: "budget.exhausted",
		Text: fmt.Sprintf("The budget %q has %d of %d left and the action needs %d.", rule.ID, line.Remaining, line.Cap, need),
		Lift: "Raise the budget."}
	switch {
	case line.Never:
		r.Code = "budget.too_large"
		r.Lift = "Ask for less at once, or raise the budget."
	case !line.Resets.IsZero():
		r.Lift = fmt.Sprintf("Wait until %s, or raise the budget.", line.Resets.UTC().Format("2006-01-02T15:04:05Z"))
	}
	return r
}
