package stage_test

import (
	"testing"
	"time"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/decision/stage"
)

// A frozen budget says what froze it, for whom it is a word, and until when nothing
// is allowed: that of the longest freeze, or of the window where nothing would be
// left then.
func TestBudgetFrozen(t *testing.T) {
	minutes := func(n int) time.Time { return now.Add(time.Duration(n) * time.Minute) }
	for name, c := range map[string]struct {
		window decision.Window
		used   int64
		need   int64
		thaws  time.Time
		never  bool
	}{
		"with room":                       {decision.Hour, 3, 1, minutes(30), false},
		"what costs nothing":              {decision.Hour, 10, 0, minutes(30), false},
		"spent, until the window ends":    {decision.Hour, 10, 1, minutes(60), false},
		"spent, and the window is longer": {decision.Day, 10, 1, time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC), false},
		"spent for good":                  {decision.Lifetime, 10, 1, time.Time{}, true},
		"larger than the cap":             {decision.Hour, 0, 11, minutes(60), true},
	} {
		t.Run(name, func(t *testing.T) {
			req, snap := call(t), snapshot(t, nil)
			rule := decision.BudgetRule{ID: "b", Unit: decision.Tokens, Cap: 10, Window: c.window}
			req.Cost = decision.Cost{Tokens: c.need}
			snap.Bundle.Budgets, snap.Used = []decision.BudgetRule{rule}, map[decision.BudgetKey]int64{rule.Key(req, "", now): c.used}
			freeze := decision.Adjustment{ID: "A-2", Budget: "b", Frozen: true, Until: minutes(30), Message: "Ask the desk.", Actor: "ann", Reason: "secret"}
			shorter := decision.Adjustment{ID: "A-1", Budget: "b", Frozen: true, Until: minutes(10)}
			ended := decision.Adjustment{ID: "A-3", Budget: "b", Frozen: true, Until: now}
			snap.Control = &decision.Control{Version: 3, Adjustments: []decision.Adjustment{shorter, freeze, ended}}
			f := stage.Budget(req, snap, nil)
			judged(t, f, "deny, budget.frozen")
			if got, want := f.Reasons[0].Text, `The budget "b" is frozen by A-2: Ask the desk.`; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if got, want := f.Reasons[0].Lift, "Wait until 2026-11-23T10:30:00Z, or have the budget thawed."; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			line := f.Budgets[0]
			if !line.Exhausted || line.Remaining != 0 || !line.Thaws.Equal(c.thaws) || line.Never != c.never || len(f.Effects) != 0 || len(f.Adjustments) != 2 {
				t.Errorf("got %+v, by %d changes", line, len(f.Adjustments))
			}
		})
	}
}

// Changes of other budgets, tenants and shares are none of a request's.
func TestBudgetOfOthers(t *testing.T) {
	req, snap := call(t), snapshot(t, nil)
	snap.Bundle.Budgets = []decision.BudgetRule{{ID: "b", Unit: decision.Calls, Cap: 10, Window: decision.Hour, Per: []decision.Dimension{decision.ByAgent}}}
	until := now.Add(time.Hour)
	snap.Control = &decision.Control{Adjustments: []decision.Adjustment{
		{ID: "A-1", Budget: "c", Frozen: true, Until: until}, {ID: "A-2", Budget: "b", Tenant: "bolt", Frozen: true, Until: until},
		{ID: "A-3", Budget: "b", Subject: `"another"`, Frozen: true, Until: until}, {ID: "A-4", Budget: "b", By: -10, Until: now},
	}}
	f := stage.Budget(req, snap, nil)
	judged(t, f, "abstain")
	if len(f.Adjustments) != 0 || f.Budgets[0].Cap != 10 || f.Budgets[0].Adjusted != 0 {
		t.Errorf("got %+v by %v", f.Budgets[0], f.Adjustments)
	}
}
