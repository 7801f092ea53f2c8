package decision_test

import (
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/writpdp/writ/server/decision"
)

func drawAdjustment(t *rapid.T, i int) decision.Adjustment {
	a := decision.Adjustment{ID: fmt.Sprintf("A-%03d", i), Tenant: rapid.SampledFrom([]string{"", "acme", "bolt"}).Draw(t, "tenant"),
		Budget: rapid.SampledFrom([]string{"b", "c"}).Draw(t, "budget"), Subject: rapid.SampledFrom([]string{"", `"x"`, `"y"`}).Draw(t, "share"),
		Until: noon.Add(time.Duration(rapid.IntRange(-2, 2).Draw(t, "until")) * time.Hour)}
	if a.Frozen = rapid.IntRange(0, 5).Draw(t, "freeze") == 0; !a.Frozen {
		a.By = rapid.OneOf(rapid.Int64Range(1, 20), rapid.Int64Range(-20, -1), rapid.Int64Range(1, 1<<53), rapid.Int64Range(-(1<<53), -1)).Draw(t, "by")
	}
	return a
}

// A cap is the bundle's with what is in force of it, whatever the order of the
// changes, within what a number holds; what is frozen has no room.
func TestAllowance(t *testing.T) {
	frozen, changed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		control := &decision.Control{}
		for i := range rapid.IntRange(0, 8).Draw(t, "changes") {
			control.Adjustments = append(control.Adjustments, drawAdjustment(t, i))
		}
		limit := rapid.OneOf(rapid.Int64Range(0, 30), rapid.Int64Range(0, math.MaxInt64)).Draw(t, "cap")
		used := rapid.OneOf(rapid.Int64Range(0, 60), rapid.Int64Range(0, math.MaxInt64)).Draw(t, "used")
		key := decision.BudgetKey{Budget: "b", Subject: `"x"`}
		got := control.Allowance("acme", key, limit, noon)

		sum, freezes := big.NewInt(limit), false
		var by []string
		for _, a := range control.Adjustments {
			if a.Budget == "b" && a.Tenant != "bolt" && a.Subject != `"y"` && a.Until.After(noon) {
				sum.Add(sum, big.NewInt(a.By))
				freezes, by = freezes || a.Frozen, append(by, a.ID)
			}
		}
		want := int64(0)
		switch {
		case sum.Sign() > 0 && sum.IsInt64():
			want = sum.Int64()
		case sum.Sign() > 0:
			want = math.MaxInt64
		}
		room := max(0, want-used)
		if freezes {
			room, frozen = 0, frozen+1
		}
		var ids []string
		for _, a := range got.By {
			ids = append(ids, a.ID)
		}
		if got.Cap != want || (got.Frozen != nil) != freezes || got.Room(used) != room || cmp.Diff(by, ids) != "" {
			t.Fatalf("got %+v with room for %d, want a cap of %d with %d by %v, frozen %v", got, got.Room(used), want, room, by, freezes)
		}
		if len(by) > 0 {
			changed++
		}
		shuffled := &decision.Control{Adjustments: rapid.Permutation(control.Adjustments).Draw(t, "order")}
		if again := shuffled.Allowance("acme", key, limit, noon); again.Cap != got.Cap || (again.Frozen == nil) != (got.Frozen == nil) {
			t.Fatalf("in another order: %+v and %+v", got, again)
		}
	})
	if frozen == 0 || changed == 0 {
		t.Errorf("%d were frozen, %d changed", frozen, changed)
	}
}

// Settling later is by the cap that the same budget has then: what was changed when
// it was reserved is taken back before what is changed now is added.
func TestReadjust(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) *decision.Control {
			c := &decision.Control{}
			for i := range rapid.IntRange(0, 4).Draw(t, label) {
				c.Adjustments = append(c.Adjustments, drawAdjustment(t, i))
			}
			return c
		}
		then, now := draw("then"), draw("now")
		key := decision.BudgetKey{Budget: "b", Subject: `"x"`}
		limit := rapid.Int64Range(0, 1<<50).Draw(t, "cap")
		reserved := then.Allowance("acme", key, limit, noon.Add(-time.Hour))
		r := decision.Reservation{Charge: decision.Charge{Key: key}, Line: decision.BudgetLine{Budget: "b", Cap: reserved.Cap, Adjusted: reserved.Cap - limit}}
		got, made := now.Readjust("acme", []decision.Reservation{r}, noon)
		due := now.Allowance("acme", key, limit, noon)
		if line := got[0].Line; line.Cap != due.Cap || line.Adjusted != due.Cap-limit || got[0].Frozen != (due.Frozen != nil) {
			t.Fatalf("got %+v, want %+v", got[0], due)
		}
		if diff := cmp.Diff(due.By, made); diff != "" {
			t.Fatalf("changes (-want +got):\n%s", diff)
		}
		if r.Line.Cap != reserved.Cap {
			t.Fatal("what was reserved was changed")
		}
	})
}

// What is frozen is settled down to nothing, and never above what was reserved.
func TestSettleWhatIsFrozen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := decision.BudgetKey{Budget: "b"}
		r := decision.Reservation{Charge: decision.Charge{Key: key, Amount: rapid.Int64Range(0, 20).Draw(t, "reserved")}, Frozen: true,
			Line: decision.BudgetLine{Budget: "b", Unit: decision.Tokens, Cap: rapid.Int64Range(0, 100).Draw(t, "cap")}}
		used := r.Amount + rapid.Int64Range(0, 50).Draw(t, "by others")
		actual := rapid.Int64Range(0, 40).Draw(t, "actual")
		s := decision.Settle([]decision.Reservation{r}, decision.Cost{Tokens: actual}, map[decision.BudgetKey]int64{key: used})
		if s.Charges() || s.Budgets[0].Reserved != min(actual, r.Amount) || s.Budgets[0].Remaining != 0 || s.Budgets[0].Overrun != max(0, actual-r.Amount) {
			t.Fatalf("got %+v", s)
		}
	})
}

func TestAdjustmentCheck(t *testing.T) {
	good := decision.Adjustment{ID: "A-1", Tenant: "acme", Budget: "b", By: 1, Until: noon}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*decision.Adjustment){
		"no id":            func(a *decision.Adjustment) { a.ID = "" },
		"an id of two":     func(a *decision.Adjustment) { a.ID = "a b" },
		"a long id":        func(a *decision.Adjustment) { a.ID = strings.Repeat("a", 65) },
		"no budget":        func(a *decision.Adjustment) { a.Budget = "" },
		"the system":       func(a *decision.Adjustment) { a.Tenant = decision.System },
		"nothing":          func(a *decision.Adjustment) { a.By = 0 },
		"both":             func(a *decision.Adjustment) { a.Frozen = true },
		"too much":         func(a *decision.Adjustment) { a.By = 1<<53 + 1 },
		"too little":       func(a *decision.Adjustment) { a.By = math.MinInt64 },
		"no end":           func(a *decision.Adjustment) { a.Until = time.Time{} },
		"a share of a NUL": func(a *decision.Adjustment) { a.Subject = "\x00" },
		"a long share":     func(a *decision.Adjustment) { a.Subject = strings.Repeat("a", 1025) },
	} {
		a := good
		change(&a)
		if a.Check() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A share is named as counters name it.
func TestShareIsTheKeysSubject(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		req := asking()
		req.Principal.Subject = rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{strings.Repeat("a", 2000)})).Draw(t, "agent")
		rule := decision.BudgetRule{ID: "b", Per: []decision.Dimension{decision.ByTenant, decision.ByAgent, decision.ByTool}}
		want := rule.Key(req, "", noon).Subject
		if got := decision.Share([]string{"acme", req.Principal.Subject, "files/write"}); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

// Whoever is refused by a freeze is told to wait until it ends, or until there is
// room again, whichever is later.
func TestRetryAfterAFreeze(t *testing.T) {
	line := func(resets, thaws time.Duration, never bool) decision.BudgetLine {
		l := decision.BudgetLine{Exhausted: true, Never: never}
		if resets > 0 {
			l.Resets = noon.Add(resets)
		}
		if thaws > 0 {
			l.Thaws = noon.Add(thaws)
		}
		return l
	}
	for name, c := range map[string]struct {
		line decision.BudgetLine
		wait time.Duration
		ok   bool
	}{
		"exhausted":             {line(time.Hour, 0, false), time.Hour, true},
		"frozen":                {line(time.Hour, time.Minute, false), time.Minute, true},
		"frozen for a lifetime": {line(0, time.Minute, false), time.Minute, true},
		"never":                 {line(time.Hour, time.Minute, true), 0, false},
		"no end":                {line(0, 0, false), 0, false},
	} {
		d := decision.Decision{Findings: []decision.Finding{{Budgets: []decision.BudgetLine{c.line}}}}
		if wait, ok := d.RetryAfter(noon); wait != c.wait || ok != c.ok {
			t.Errorf("%s: got %s, %v", name, wait, ok)
		}
	}
}
