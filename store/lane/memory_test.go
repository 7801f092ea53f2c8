package lane_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/lane"
)

func TestMemory(t *testing.T) {
	day := decision.BudgetKey{Budget: "day"}
	other := decision.BudgetKey{Budget: "other"}
	want := decision.Want{Tenant: "acme", Budgets: []decision.BudgetKey{day}, Remembered: true}
	var m lane.Memory
	if _, ok := m.Facts(&want); ok {
		t.Error("an empty memory answers")
	}
	m.Read("acme", map[decision.BudgetKey]int64{day: 3})
	m.Written(&lane.Writes{Counters: []lane.Counter{{Key: lane.CounterKey{Tenant: "acme", BudgetKey: day}, Used: 4}}})
	facts, ok := m.Facts(&want)
	if diff := cmp.Diff(decision.Facts{Remembered: true, Used: map[decision.BudgetKey]int64{day: 4}}, facts); !ok || diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, w := range map[string]decision.Want{
		"exact facts":     {Tenant: "acme", Budgets: want.Budgets},
		"another tenant":  {Tenant: "bolt", Budgets: want.Budgets, Remembered: true},
		"another counter": {Tenant: "acme", Budgets: []decision.BudgetKey{day, other}, Remembered: true},
		"a ticket":        {Tenant: "acme", Budgets: want.Budgets, Remembered: true, Ticket: "CHG-1"},
		"a call":          {Tenant: "acme", Budgets: want.Budgets, Remembered: true, CallID: [16]byte{1}},
	} {
		if _, ok := m.Facts(&w); ok {
			t.Errorf("%s: answered from memory", name)
		}
	}
}

// What is remembered is bounded: too much is forgotten, not kept.
func TestMemoryForgets(t *testing.T) {
	var m lane.Memory
	first := decision.BudgetKey{Budget: "first"}
	m.Read("acme", map[decision.BudgetKey]int64{first: 1})
	for i := range int64(1 << 16) {
		m.Read("acme", map[decision.BudgetKey]int64{{Budget: "b", Start: i}: 1})
	}
	if _, ok := m.Facts(&decision.Want{Tenant: "acme", Budgets: []decision.BudgetKey{first}, Remembered: true}); ok {
		t.Error("the oldest counter is still remembered")
	}
}
