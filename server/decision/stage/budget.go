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
		used := snap.Used[key]
		line := decision.BudgetLine{Budget: rule.ID, Unit: rule.Unit, Currency: rule.Currency, Cap: rule.Cap, Key: key, Used: used,
			Remaining: max(0, rule.Cap-used), Resets: rule.Resets(snap.At)}
		if need > line.Remaining {
			line.Exhausted, line.Never = true, need > rule.Cap
			f.Verdict = decision.Deny
			f.Reasons = append(f.Reasons, exhausted(rule, line, need))
			f.Budgets = append(f.Budgets, line)
			continue
		}
		line.Reserved, line.Remaining = need, line.Remaining-need
		f.Budgets = append(f.Budgets, line)
		// A charge of nothing too: it says which counter the settlement goes to.
		f.Effects = append(f.Effects, decision.Charge{Key: key, Amount: need, Cap: rule.Cap})
	}
	return f
}

func exhausted(rule *decision.BudgetRule, line decision.BudgetLine, need int64) decision.Reason {
	r := decision.Reason{Code: "budget.exhausted",
		Text: fmt.Sprintf("The budget %q has %d of %d left and the action needs %d.", rule.ID, line.Remaining, rule.Cap, need),
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
