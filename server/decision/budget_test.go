package decision_test

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/writpdp/writ/server/decision"
)

func TestCounts(t *testing.T) {
	refund := decision.ToolRef{ToolName: decision.ToolName{Server: "stripe", Name: "create_refund"}}
	request := func(phase decision.Phase) *decision.Request {
		return &decision.Request{Phase: phase, Purpose: "support", Tool: refund, Principal: decision.Principal{Subject: "a"}}
	}
	tests := []struct {
		name string
		rule decision.BudgetRule
		req  *decision.Request
		want bool
	}{
		{"a call", decision.BudgetRule{}, request(decision.Call), true},
		{"a prompt", decision.BudgetRule{}, request(decision.Prompt), true},
		{"a connection", decision.BudgetRule{}, request(decision.Connect), true},
		{"a list", decision.BudgetRule{}, request(decision.List), false},
		{"a result", decision.BudgetRule{}, request(decision.Result), false},
		{"no phase", decision.BudgetRule{}, request(0), false},
		{"its purpose", decision.BudgetRule{Purposes: []string{"x", "support"}}, request(decision.Call), true},
		{"another purpose", decision.BudgetRule{Purposes: []string{"x"}}, request(decision.Call), false},
		{"its agent", decision.BudgetRule{Agents: []string{"a"}}, request(decision.Call), true},
		{"another agent", decision.BudgetRule{Agents: []string{"b"}}, request(decision.Call), false},
		{"its tool", decision.BudgetRule{Tools: []decision.ToolPattern{{Server: "stripe", Name: "create_refund"}}}, request(decision.Call), true},
		{"its server", decision.BudgetRule{Tools: []decision.ToolPattern{{Server: "x", Name: "*"}, {Server: "stripe", Name: "*"}}}, request(decision.Call), true},
		{"another tool", decision.BudgetRule{Tools: []decision.ToolPattern{{Server: "stripe", Name: "list"}, {Server: "*", Name: "*"}}}, request(decision.Call), false},
		{"one of three is another", decision.BudgetRule{Purposes: []string{"support"}, Agents: []string{"b"}, Tools: []decision.ToolPattern{{Server: "stripe", Name: "*"}}}, request(decision.Call), false},
	}
	for _, test := range tests {
		if got := test.rule.Counts(test.req); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

func TestNeed(t *testing.T) {
	cost := decision.Cost{Calls: 2, Tokens: 30, Micros: 400, Currency: "EUR"}
	tests := []struct {
		name string
		rule decision.BudgetRule
		cost decision.Cost
		want int64
		ok   bool
	}{
		{"calls", decision.BudgetRule{Unit: decision.Calls}, cost, 2, true},
		{"tokens", decision.BudgetRule{Unit: decision.Tokens}, cost, 30, true},
		{"money", decision.BudgetRule{Unit: decision.Micros, Currency: "EUR"}, cost, 400, true},
		{"money of another currency", decision.BudgetRule{Unit: decision.Micros, Currency: "USD"}, cost, 400, false},
		{"no money", decision.BudgetRule{Unit: decision.Micros, Currency: "USD"}, decision.Cost{Calls: 1}, 0, true},
		{"no unit", decision.BudgetRule{}, cost, math.MaxInt64, false},
	}
	for _, test := range tests {
		if got, ok := test.rule.Need(test.cost); got != test.want || ok != test.ok {
			t.Errorf("%s: got %d, %v, want %d, %v", test.name, got, ok, test.want, test.ok)
		}
	}
}

func TestKey(t *testing.T) {
	req := &decision.Request{
		Caller: decision.Caller{Tenant: "acme"}, Principal: decision.Principal{Subject: "agent", OnBehalfOf: "human"}, Purpose: "support",
		Tool: decision.ToolRef{ToolName: decision.ToolName{Server: "s", Name: "a/b"}},
	}
	all := []decision.Dimension{decision.ByTenant, decision.ByAgent, decision.ByHuman, decision.ByTool, decision.ByServer, decision.ByPurpose, decision.ByVendor, 99}
	rule := decision.BudgetRule{ID: "b", Per: all, Window: decision.Lifetime}
	want := decision.BudgetKey{Budget: "b", Subject: `"acme","agent","human","s/a/b","s","support","vendor",""`}
	if got := rule.Key(req, "vendor", time.Now()); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	rule.Per = nil
	if got := rule.Key(req, "vendor", time.Now()); got.Subject != "" {
		t.Errorf("got the subject %q of a budget for all", got.Subject)
	}
	// A long subject is hashed, and cannot be imitated by one that looks so.
	rule.Per = []decision.Dimension{decision.ByAgent}
	req.Principal.Subject = strings.Repeat("x", 2000)
	long := rule.Key(req, "", time.Now()).Subject
	if !strings.HasPrefix(long, "sha256:") || len(long) > 100 {
		t.Errorf("got %q", long)
	}
	req.Principal.Subject = long
	if rule.Key(req, "", time.Now()).Subject == long {
		t.Error("an agent took the counter of another")
	}
}

// Two requests share a counter only when they agree in every dimension.
func TestKeysDoNotCollide(t *testing.T) {
	text := rapid.OneOf(rapid.SampledFrom([]string{"", `"`, `","`, `a","b`, `\`, `\"`, "a", "b", "\n", "\xff", "\ufffd", "sha256:"}), rapid.StringN(0, 600, -1))
	rapid.Check(t, func(t *rapid.T) {
		rule := decision.BudgetRule{ID: "b", Window: decision.Lifetime, Per: []decision.Dimension{decision.ByAgent, decision.ByHuman, decision.ByTenant}}
		draw := func(name string) *decision.Request {
			return &decision.Request{Caller: decision.Caller{Tenant: text.Draw(t, name+" tenant")},
				Principal: decision.Principal{Subject: text.Draw(t, name+" agent"), OnBehalfOf: text.Draw(t, name+" human")}}
		}
		a, b := draw("a"), draw("b")
		same := a.Caller == b.Caller && a.Principal.Subject == b.Principal.Subject && a.Principal.OnBehalfOf == b.Principal.OnBehalfOf
		if got := rule.Key(a, "", time.Time{}) == rule.Key(b, "", time.Time{}); got != same {
			t.Fatalf("%q, %q", a.Principal, b.Principal)
		}
	})
}

// Subjects stand in the store: whatever a value is, it is quoted as strconv does.
func TestKeysAreQuoted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		agent := rapid.OneOf(rapid.StringMatching(`[ -~]{0,40}`), rapid.StringN(0, 40, -1), rapid.Custom(func(t *rapid.T) string {
			return string(rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "bytes"))
		})).Draw(t, "agent")
		rule := decision.BudgetRule{ID: "b", Window: decision.Lifetime, Per: []decision.Dimension{decision.ByAgent, decision.ByTenant}}
		got := rule.Key(&decision.Request{Principal: decision.Principal{Subject: agent}}, "", time.Time{}).Subject
		if want := strconv.Quote(agent) + `,""`; got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	})
}

func TestWant(t *testing.T) {
	b := &decision.Bundle{
		Vendors: map[string]*decision.Vendor{"ai": {ID: "ai"}}, Hosts: map[string]string{"api.example.com": "ai"},
		Budgets: []decision.BudgetRule{
			{ID: "a", Window: decision.Lifetime, Per: []decision.Dimension{decision.ByVendor}}, {ID: "b", Agents: []string{"other"}},
		},
	}
	req := &decision.Request{ID: [16]byte{1}, CallID: [16]byte{2}, Ticket: "t", Phase: decision.Call, Caller: decision.Caller{Tenant: "acme"},
		Principal: decision.Principal{Token: [32]byte{3}}, Destination: decision.Destination{Host: "api.example.com"}}
	w := b.Want(req, time.Now())
	if w.Tenant != "acme" || w.RequestID != req.ID || w.Token != req.Principal.Token || w.Ticket != "t" || w.CallID != req.CallID {
		t.Errorf("got %+v", w)
	}
	if len(w.Budgets) != 1 || w.Budgets[0] != (decision.BudgetKey{Budget: "a", Subject: `"ai"`}) {
		t.Errorf("got the counters %+v", w.Budgets)
	}
	for d, want := range map[decision.Destination]string{
		{Vendor: "ai"}: "ai", {Vendor: "nobody"}: "", {Vendor: "nobody", Host: "api.example.com"}: "", {Host: "other.example.com"}: "", {}: "", {Vendor: "ai", Host: "other.example.com"}: "ai",
	} {
		if got := b.Vendor(d); got != want {
			t.Errorf("%+v: got the vendor %q, want %q", d, got, want)
		}
	}
}
