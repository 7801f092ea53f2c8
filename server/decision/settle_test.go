package decision_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/writpdp/writ/server/decision"
)

func TestSettle(t *testing.T) {
	key := decision.BudgetKey{Budget: "b"}
	reserved := func(unit decision.Unit, amount, limit int64) decision.Reservation {
		return decision.Reservation{Charge: decision.Charge{Key: key, Amount: amount}, Line: decision.BudgetLine{Budget: "b", Unit: unit, Currency: "EUR", Cap: limit, Exhausted: true}}
	}
	type want struct{ reserved, remaining, overrun, charge int64 }
	tests := []struct {
		name   string
		r      decision.Reservation
		actual decision.Cost
		used   int64
		want   want
	}{
		{"as reserved", reserved(decision.Tokens, 10, 100), decision.Cost{Tokens: 10}, 10, want{10, 90, 0, 0}},
		{"less", reserved(decision.Tokens, 10, 100), decision.Cost{Tokens: 3}, 50, want{3, 57, 0, -7}},
		{"nothing", reserved(decision.Calls, 1, 100), decision.Cost{}, 1, want{0, 100, 0, -1}},
		{"more, with room", reserved(decision.Tokens, 10, 100), decision.Cost{Tokens: 30}, 50, want{30, 30, 0, 20}},
		{"more, with some room", reserved(decision.Tokens, 10, 100), decision.Cost{Tokens: 80}, 70, want{40, 0, 40, 30}},
		{"more, without room", reserved(decision.Tokens, 10, 100), decision.Cost{Tokens: 30}, 100, want{10, 0, 20, 0}},
		{"the cap was lowered", reserved(decision.Tokens, 10, 100), decision.Cost{Tokens: 4}, 150, want{4, 0, 0, -6}},
		{"the cap was lowered, and more", reserved(decision.Tokens, 10, 100), decision.Cost{Tokens: 40}, 150, want{10, 0, 30, 0}},
		{"the counter is gone", reserved(decision.Tokens, 10, 100), decision.Cost{Tokens: 4}, 0, want{10, 100, 0, 0}},
		{"money", reserved(decision.Micros, 10, 100), decision.Cost{Micros: 30, Currency: "EUR"}, 10, want{30, 70, 0, 20}},
		{"no money", reserved(decision.Micros, 10, 100), decision.Cost{Calls: 1}, 10, want{0, 100, 0, -10}},
		{"money of another currency", reserved(decision.Micros, 10, 100), decision.Cost{Micros: 3, Currency: "USD"}, 10, want{10, 90, 0, 0}},
		{"an unknown unit", reserved(9, 10, 100), decision.Cost{Tokens: 3}, 10, want{10, 90, 0, 0}},
		{"less than nothing", reserved(decision.Tokens, 10, 100), decision.Cost{Tokens: -5}, 50, want{0, 60, 0, -10}},
		{"nothing was reserved", reserved(decision.Tokens, 0, 100), decision.Cost{Tokens: 5}, 20, want{5, 75, 0, 5}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := decision.Settle([]decision.Reservation{test.r}, test.actual, map[decision.BudgetKey]int64{key: test.used})
			var effects []decision.Effect
			if test.want.charge != 0 {
				effects = append(effects, decision.Charge{Key: key, Amount: test.want.charge, Cap: test.r.Line.Cap})
			}
			line := test.r.Line
			line.Reserved, line.Remaining, line.Overrun, line.Exhausted = test.want.reserved, test.want.remaining, test.want.overrun, false
			if diff := cmp.Diff(decision.Settlement{Budgets: []decision.BudgetLine{line}, Effects: effects}, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// A settlement never brings a counter over its cap, refunds no more than was
// reserved, and tells of every charge in its lines.
func TestSettleKeepsTheCap(t *testing.T) {
	amount := rapid.OneOf(rapid.Int64Range(0, 20), rapid.Int64Range(0, 1<<50))
	rapid.Check(t, func(t *rapid.T) {
		var reserved []decision.Reservation
		used := map[decision.BudgetKey]int64{}
		for i := range rapid.IntRange(0, 4).Draw(t, "budgets") {
			r := decision.Reservation{Charge: decision.Charge{Key: decision.BudgetKey{Budget: string(rune('a' + i))}, Amount: amount.Draw(t, "reserved")}}
			r.Line = decision.BudgetLine{Budget: r.Key.Budget, Unit: decision.Unit(rapid.IntRange(1, 3).Draw(t, "unit")), Currency: "EUR", Cap: amount.Draw(t, "cap")}
			reserved, used[r.Key] = append(reserved, r), amount.Draw(t, "used")
		}
		actual := decision.Cost{Calls: amount.Draw(t, "calls"), Tokens: amount.Draw(t, "tokens"), Micros: amount.Draw(t, "micros"), Currency: rapid.SampledFrom([]string{"EUR", "USD"}).Draw(t, "currency")}
		s := decision.Settle(reserved, actual, used)
		charges := map[decision.BudgetKey]int64{}
		for _, e := range s.Effects {
			charge, ok := e.(decision.Charge)
			if !ok || charge.Amount == 0 || charges[charge.Key] != 0 {
				t.Fatalf("the effect %+v", e)
			}
			charges[charge.Key] = charge.Amount
		}
		for i, r := range reserved {
			line, delta, before := s.Budgets[i], charges[r.Key], used[r.Key]
			after := before + delta
			switch {
			case after > max(r.Line.Cap, before):
				t.Fatalf("%d of %d are used then", after, r.Line.Cap)
			case delta < -r.Amount || after < 0:
				t.Fatalf("%d of %d are refunded", -delta, r.Amount)
			case line.Reserved != r.Amount+delta:
				t.Fatalf("the line says %d, the effect %d", line.Reserved-r.Amount, delta)
			case line.Remaining != max(0, r.Line.Cap-after):
				t.Fatalf("the line says that %d remain", line.Remaining)
			case line.Overrun < 0 || line.Overrun > 0 && delta < max(0, r.Line.Cap-before):
				t.Fatalf("an overrun of %d with room", line.Overrun)
			}
		}
	})
}

func TestCostOf(t *testing.T) {
	r := func(unit decision.Unit, amount int64, currency string) decision.Reservation {
		return decision.Reservation{Charge: decision.Charge{Amount: amount}, Line: decision.BudgetLine{Unit: unit, Currency: currency}}
	}
	tests := []struct {
		name     string
		reserved []decision.Reservation
		want     decision.Cost
	}{
		{"nothing", nil, decision.Cost{}},
		{"all units", []decision.Reservation{r(decision.Calls, 1, ""), r(decision.Tokens, 20, ""), r(decision.Micros, 300, "EUR"), r(decision.Calls, 1, "")},
			decision.Cost{Calls: 1, Tokens: 20, Micros: 300, Currency: "EUR"}},
		{"no money", []decision.Reservation{r(decision.Calls, 1, ""), r(decision.Micros, 0, "EUR")}, decision.Cost{Calls: 1}},
		{"money of one currency", []decision.Reservation{r(decision.Micros, 5, "EUR"), r(decision.Micros, 0, "USD")}, decision.Cost{Micros: 5, Currency: "EUR"}},
	}
	for _, test := range tests {
		if diff := cmp.Diff(test.want, decision.CostOf(test.reserved)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestPhaseNames(t *testing.T) {
	want := []string{"UNKNOWN", "LIST", "PROMPT", "CALL", "RESULT", "CONNECT", "UNKNOWN"}
	for i, name := range want {
		if got := decision.Phase(i).String(); got != name {
			t.Errorf("phase %d: got %q, want %q", i, got, name)
		}
	}
}
