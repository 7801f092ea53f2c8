package stage_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/decision/stage"
)

func TestBudget(t *testing.T) {
	rule := func(id string, unit decision.Unit, limit int64, window decision.Window) decision.BudgetRule {
		r := decision.BudgetRule{ID: id, Unit: unit, Cap: limit, Window: window, Per: []decision.Dimension{decision.ByAgent}}
		if unit == decision.Micros {
			r.Currency = "EUR"
		}
		return r
	}
	calls, tokens := rule("calls", decision.Calls, 10, decision.Hour), rule("tokens", decision.Tokens, 100, decision.Lifetime)
	money := rule("money", decision.Micros, 1000, decision.Day)
	cost := decision.Cost{Calls: 1, Tokens: 40, Micros: 300, Currency: "EUR"}
	tests := []struct {
		name  string
		rules []decision.BudgetRule
		cost  decision.Cost
		used  map[string]int64
		want  string
		lines []string // id reserved/remaining, with ! when exhausted and ? when it never fits
	}{
		{"none", nil, cost, nil, "abstain", nil},
		{"room", []decision.BudgetRule{calls, tokens, money}, cost, nil, "abstain", []string{"calls 1/9", "tokens 40/60", "money 300/700"}},
		{"just room", []decision.BudgetRule{calls, tokens}, cost, map[string]int64{"calls": 9, "tokens": 60}, "abstain", []string{"calls 1/0", "tokens 40/0"}},
		{"no room", []decision.BudgetRule{calls}, cost, map[string]int64{"calls": 10}, "deny, budget.exhausted", []string{"calls 0/0 !"}},
		{"beyond the cap", []decision.BudgetRule{calls}, cost, map[string]int64{"calls": 99}, "deny, budget.exhausted", []string{"calls 0/0 !"}},
		{"too little room", []decision.BudgetRule{tokens, calls}, cost, map[string]int64{"tokens": 61}, "deny, budget.exhausted", []string{"tokens 0/39 !", "calls 1/9"}},
		{"too large", []decision.BudgetRule{tokens}, decision.Cost{Tokens: 101}, nil, "deny, budget.too_large", []string{"tokens 0/100 !?"}},
		{"two without room", []decision.BudgetRule{tokens, calls}, cost, map[string]int64{"tokens": 61, "calls": 10}, "deny, budget.exhausted, budget.exhausted", []string{"tokens 0/39 !", "calls 0/0 !"}},
		{"another currency", []decision.BudgetRule{money, calls}, decision.Cost{Calls: 1, Micros: 1, Currency: "USD"}, nil, "deny, budget.currency", []string{"money 0/0 !?", "calls 1/9"}},
		{"no money", []decision.BudgetRule{money}, decision.Cost{Calls: 1}, nil, "abstain", []string{"money 0/1000"}},
		{"a cap of nothing", []decision.BudgetRule{rule("none", decision.Calls, 0, decision.Day)}, cost, nil, "deny, budget.too_large", []string{"none 0/0 !?"}},
		{"one that does not count", []decision.BudgetRule{{ID: "other", Agents: []string{"x"}}}, cost, nil, "abstain", nil},
		{"no unit", []decision.BudgetRule{{ID: "zero", Cap: math.MaxInt64}}, cost, nil, "deny, budget.currency", []string{"zero 0/0 !?"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			req, snap := call(t), snapshot(t, nil)
			req.Cost, snap.Bundle.Budgets, snap.Used = test.cost, test.rules, map[decision.BudgetKey]int64{}
			for _, r := range test.rules {
				snap.Used[r.Key(req, "", now)] = test.used[r.ID]
			}
			f := stage.Budget(req, snap, nil)
			judged(t, f, test.want)
			var lines []string
			charges := 0
			for _, line := range f.Budgets {
				text := fmt.Sprintf("%s %d/%d", line.Budget, line.Reserved, line.Remaining)
				if line.Exhausted {
					text += " !"
				}
				if line.Never {
					text += "?"
				}
				lines = append(lines, text)
				if !line.Exhausted {
					charge := f.Effects[charges].(decision.Charge)
					if charge.Key.Budget != line.Budget || charge.Amount != line.Reserved || charge.Cap != line.Cap {
						t.Errorf("%s is charged by %+v", line.Budget, charge)
					}
					charges++
				}
			}
			if diff := cmp.Diff(test.lines, lines); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if len(f.Effects) != charges {
				t.Errorf("%d charges for %d lines", len(f.Effects), charges)
			}
		})
	}
}

func TestBudgetLifts(t *testing.T) {
	req, snap := call(t), snapshot(t, nil)
	for window, want := range map[decision.Window]string{
		decision.Hour: "Wait until 2026-11-23T11:00:00Z, or raise the budget.", decision.Day: "Wait until 2026-11-24T00:00:00Z, or raise the budget.", decision.Lifetime: "Raise the budget.",
	} {
		rule := decision.BudgetRule{ID: "b", Unit: decision.Calls, Cap: 1, Window: window}
		snap.Bundle.Budgets, snap.Used = []decision.BudgetRule{rule}, map[decision.BudgetKey]int64{rule.Key(req, "", now): 1}
		if got := stage.Budget(req, snap, nil).Reasons[0].Lift; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestRoute(t *testing.T) {
	us, eu := decision.Route{Vendor: "ai", Region: "us", Host: "us.ai"}, decision.Route{Vendor: "ai", Region: "eu", Host: "eu.ai"}
	toEU, toUS, toOther := decision.RouteRule{Policy: "stay", Region: "eu"}, decision.RouteRule{Policy: "go", Region: "us"}, decision.RouteRule{Policy: "only", Vendor: "other"}
	tests := []struct {
		name    string
		dest    decision.Destination
		regions []string // of the purpose
		rules   []decision.RouteRule
		want    string
		route   *decision.Route
	}{
		{"nowhere", decision.Destination{}, nil, nil, "abstain", nil},
		{"an unknown vendor", decision.Destination{Vendor: "x"}, nil, nil, "deny, route.vendor_unknown", nil},
		{"an unknown host", decision.Destination{Host: "x"}, nil, nil, "deny, route.vendor_unknown", nil},
		{"only a region", decision.Destination{Region: "eu"}, nil, nil, "deny, route.vendor_unknown", nil},
		{"an unknown vendor at a known host", decision.Destination{Vendor: "x", Host: "us.ai"}, nil, nil, "deny, route.vendor_unknown", nil},
		{"the host of another vendor", decision.Destination{Vendor: "ai", Host: "mail"}, nil, nil, "deny, route.host_unknown", nil},
		{"a vendor that is not granted", decision.Destination{Vendor: "mail"}, nil, nil, "deny, route.vendor", nil},
		{"a vendor", decision.Destination{Vendor: "ai"}, nil, nil, "abstain, route.changed", &us},
		{"a host", decision.Destination{Host: "us.ai"}, nil, nil, "abstain", nil},
		{"a vendor and its host", decision.Destination{Vendor: "ai", Host: "eu2.ai", Region: "eu"}, nil, nil, "abstain", nil},
		{"a vendor and a region", decision.Destination{Vendor: "ai", Region: "eu"}, nil, nil, "abstain, route.changed", &eu},
		{"a region that the vendor has not", decision.Destination{Vendor: "ai", Region: "ap"}, nil, nil, "abstain, route.changed", &us},
		{"a host and another region", decision.Destination{Host: "us.ai", Region: "eu"}, nil, nil, "abstain, route.changed", &eu},
		{"a host and no region of the vendor", decision.Destination{Host: "eu2.ai", Region: "ap"}, nil, nil, "abstain, route.changed", &us},
		{"the purpose's region", decision.Destination{Host: "us.ai"}, []string{"ap", "eu"}, nil, "abstain, route.changed", &eu},
		{"the purpose's region already", decision.Destination{Host: "eu2.ai"}, []string{"eu"}, nil, "abstain", nil},
		{"a policy's region", decision.Destination{Host: "us.ai", Region: "us"}, nil, []decision.RouteRule{toEU}, "abstain, route.changed stay", &eu},
		{"a policy's region already", decision.Destination{Host: "eu2.ai"}, nil, []decision.RouteRule{toEU}, "abstain", nil},
		{"no region for both policies", decision.Destination{Host: "us.ai"}, nil, []decision.RouteRule{toEU, toUS}, "deny, route.no_eligible stay", nil},
		{"no region for purpose and policy", decision.Destination{Host: "us.ai"}, []string{"us"}, []decision.RouteRule{toEU}, "deny, route.no_eligible stay", nil},
		{"no region for the purpose", decision.Destination{Host: "us.ai"}, []string{"ap"}, nil, "deny, route.no_eligible", nil},
		{"another vendor is required", decision.Destination{Host: "us.ai"}, nil, []decision.RouteRule{toOther}, "deny, route.no_eligible only", nil},
		{"its vendor is required", decision.Destination{Host: "us.ai"}, nil, []decision.RouteRule{{Vendor: "ai"}}, "abstain", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			req, snap := call(t), snapshot(t, nil)
			req.Destination, snap.Bundle.Purposes["support"].Regions = test.dest, test.regions
			f := stage.Route(req, snap, &decision.Decision{Findings: []decision.Finding{{Routes: test.rules}}})
			judged(t, f, test.want)
			var got *decision.Route
			if len(f.Obligations) > 0 {
				route := f.Obligations[0].Duty.(decision.Route)
				if route.Why == "" || !strings.Contains(f.Reasons[0].Text, route.Why) {
					t.Errorf("it goes elsewhere because %q, for %q", route.Why, f.Reasons[0].Text)
				}
				route.Why, got = "", &route
			}
			if diff := cmp.Diff(test.route, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	req, snap := call(t), snapshot(t, nil)
	req.Destination, req.Purpose = decision.Destination{Host: "us.ai"}, "unknown"
	judged(t, stage.Route(req, snap, &decision.Decision{}), "deny, route.vendor")
}

// A vendor can have more endpoints than a reason can list.
func TestRouteOfManyEndpoints(t *testing.T) {
	req, snap := call(t), snapshot(t, nil)
	vendor := snap.Bundle.Vendors["ai"]
	for i := range 200 {
		vendor.Endpoints = append(vendor.Endpoints, decision.Endpoint{Region: strings.Repeat("r", 32), Host: fmt.Sprint(i, ".", strings.Repeat("h", 240))})
	}
	req.Destination = decision.Destination{Vendor: "ai"}
	f := stage.Route(req, snap, &decision.Decision{Findings: []decision.Finding{{Routes: []decision.RouteRule{{Policy: "p", Region: "nowhere"}}}}})
	judged(t, f, "deny, route.no_eligible p")
}
