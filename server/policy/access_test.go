package policy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/policies/policiestest"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/access"
)

// admits loads the sample bundle with other access policies; empty: none.
func admits(t *testing.T, text string) *access.Policies {
	t.Helper()
	files := policiestest.Sample()
	if files["access/access.cedar"].Data = []byte(text); text == "" {
		delete(files, "access/access.cedar")
	}
	b, err := policy.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	return b.Access.(*access.Policies)
}

func TestAccess(t *testing.T) {
	gateway := decision.Caller{SPIFFEID: "spiffe://example.org/gateway/a", Tenant: "acme"}
	for _, c := range []struct {
		name, text string
		caller     decision.Caller
		action     decision.Action
		tenant     string
		admitted   bool
		policies   []string
	}{
		{"without policies, its own", "", gateway, decision.ToDecide, "acme", true, []string{"own-tenant"}},
		{"without policies, another's", "", gateway, decision.ToDecide, "bolt", false, nil},
		{"without policies, explanations", "", gateway, decision.ToExplain, "acme", true, []string{"own-tenant"}},
		{"without policies, what is no action", "", gateway, "Delete", "acme", false, nil},
		{"a forbid wins", `@id("p") permit (principal, action, resource); @id("f") forbid (principal, action, resource == Tenant::"acme");`,
			gateway, decision.ToDecide, "acme", false, []string{"f"}},
		{"a policy that errs refuses", `@id("p") permit (principal, action, resource);
			@id("e") forbid (principal, action, resource) when { 9223372036854775807 + 1 > 0 };`, gateway, decision.ToDecide, "acme", false, []string{"e"}},
		{"what errs and would permit", `@id("e") permit (principal, action, resource) when { 9223372036854775807 + 1 > 0 };`,
			gateway, decision.ToDecide, "acme", false, []string{"e"}},
		{"no SPIFFE ID", `@id("p") permit (principal, action, resource);`, decision.Caller{SPIFFEID: "gateway", Tenant: "acme"}, decision.ToDecide, "acme", false, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := admits(t, c.text)
			for range 2 { // the second time as remembered
				if got := p.Admits(c.caller, c.action, c.tenant); got != c.admitted {
					t.Errorf("admitted is %v, want %v", got, c.admitted)
				}
			}
			got, policies := p.Explain(c.caller, c.action, c.tenant)
			if got != c.admitted {
				t.Errorf("explained as %v, want %v", got, c.admitted)
			}
			if diff := cmp.Diff(c.policies, policies); diff != "" {
				t.Errorf("policies (-want +got):\n%s", diff)
			}
		})
	}
}

// A caller who names ever new tenants gets right answers all the same, and does not
// fill the memory: what is remembered is bounded.
func TestAccessRemembersRight(t *testing.T) {
	p := admits(t, "")
	caller := decision.Caller{SPIFFEID: "spiffe://example.org/gateway/a", Tenant: "acme"}
	for i := range 1<<15 + 10 {
		tenant := strings.Repeat("t", 1+i%100) + string(rune('a'+i%26)) + string(rune('0'+i/26%10)) + string(rune('0'+i/260%200))
		if p.Admits(caller, decision.ToDecide, tenant) {
			t.Fatalf("admitted to %q", tenant)
		}
		if i%1000 == 0 && !p.Admits(caller, decision.ToDecide, "acme") {
			t.Fatal("not admitted to its own")
		}
	}
}

func TestAccessIsChecked(t *testing.T) {
	for text, want := range map[string]string{
		`permit (principal, action, resource);`:                                                         `access/access.cedar:1:1: the policy has no @id`,
		`@id("a") permit (principal, action == Action::"Fly", resource);`:                               `access/access.cedar:1:1: policy "a"`,
		`@id("a") permit (principal, action, resource) when { principal.name == "x" };`:                 `policy "a"`,
		`@id("a") permit (principal == Agent::"x", action, resource);`:                                  `policy "a"`,
		`@id("a") @mode("shadow") permit (principal, action, resource);`:                                `it has no @obligate or @mode`,
		`@id("a") @obligate("watermark") @text("x") permit (principal, action, resource);`:              `it has no @obligate or @mode`,
		`@id("a") permit (principal, action, resource); @id("a") forbid (principal, action, resource);`: `the @id "a" is taken`,
		`@id("a") permit (principal, action, resource) when { ` + strings.Repeat("(", 5000) + `true`:    `access/access.cedar:1:`,
		`@id("a") permit (principal, action, resource) when`:                                            `access/access.cedar:1:`,
	} {
		files := policiestest.Sample()
		files["access/access.cedar"].Data = []byte(text)
		if _, err := policy.Load(files); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: got %v, want %q", text, err, want)
		}
	}
}

// Access is part of the bundle: another word in it is another bundle.
func TestAccessIsInTheDigest(t *testing.T) {
	files := policiestest.Sample()
	before, err := policy.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	files["access/access.cedar"].Data = append(files["access/access.cedar"].Data, "// more\n"...)
	after, err := policy.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	if before.Digest == after.Digest {
		t.Error("the digest is the same")
	}
}

// A change of a budget that nothing but a ticket lacks is told apart, and what a
// policy sees of it is what is asked for.
func TestAdmitsChange(t *testing.T) {
	const permit = `@id("p") permit (principal, action, resource) when { principal.tenant == resource };`
	const needs = `@id("t") @requires("ticket") forbid (principal, action == Action::"ChangeBudget", resource) when { context.amount > 5 } unless { context has ticket };`
	console := decision.Caller{SPIFFEID: "spiffe://example.org/budgets/a", Tenant: "acme"}
	ticket := &decision.Ticket{ID: "CHG-1", Approvers: []string{"cfo"}}
	for _, c := range []struct {
		name, text, tenant string
		change             decision.BudgetChange
		want               decision.Admission
	}{
		{"the sample, a raise", "sample", "acme", decision.BudgetChange{Kind: decision.Raises}, decision.Admission{NeedsTicket: true, Policies: []string{"access-more-needs-ticket"}}},
		{"the sample, a raise with one", "sample", "acme", decision.BudgetChange{Kind: decision.Raises, Ticket: ticket}, decision.Admission{Admitted: true, Policies: []string{"access-budgets"}}},
		{"the sample, a freeze", "sample", "acme", decision.BudgetChange{Kind: decision.Freezes}, decision.Admission{Admitted: true, Policies: []string{"access-budgets"}}},
		{"the sample, another tenant's", "sample", "bolt", decision.BudgetChange{Kind: decision.Raises}, decision.Admission{Policies: []string{"access-more-needs-ticket"}}},
		{"without policies", "", "acme", decision.BudgetChange{Kind: decision.Freezes}, decision.Admission{}},
		{"little", permit + needs, "acme", decision.BudgetChange{Amount: 5}, decision.Admission{Admitted: true, Policies: []string{"p"}}},
		{"much", permit + needs, "acme", decision.BudgetChange{Amount: 6}, decision.Admission{NeedsTicket: true, Policies: []string{"t"}}},
		{"much, with a ticket", permit + needs, "acme", decision.BudgetChange{Amount: 6, Ticket: ticket}, decision.Admission{Admitted: true, Policies: []string{"p"}}},
		{"another forbids too", permit + needs + `@id("f") forbid (principal, action, resource);`, "acme", decision.BudgetChange{Amount: 6}, decision.Admission{Policies: []string{"f", "t"}}},
		{"the wrong approver", permit + `@id("t") @requires("ticket") forbid (principal, action == Action::"ChangeBudget", resource)
			unless { context has ticket && context.ticket.approvers.contains("ceo") };`, "acme", decision.BudgetChange{Ticket: ticket}, decision.Admission{Policies: []string{"t"}}},
		{"one that errs", permit + `@id("e") forbid (principal, action == Action::"ChangeBudget", resource) when { context.amount + 9223372036854775807 > 0 };`, "acme",
			decision.BudgetChange{Amount: 1}, decision.Admission{Policies: []string{"e"}}},
		{"all that it sees", permit + `@id("s") forbid (principal, action == Action::"ChangeBudget", resource)
			unless { context.change == "lower" && context.budget == "b" && context.seconds == 60 && context has share && context.share == "x" };`, "acme",
			decision.BudgetChange{Kind: decision.Lowers, Budget: "b", Subject: "x", Lasts: time.Minute}, decision.Admission{Admitted: true, Policies: []string{"p"}}},
		{"every share", permit + `@id("s") forbid (principal, action == Action::"ChangeBudget", resource) unless { context has share };`, "acme",
			decision.BudgetChange{Kind: decision.Lowers, Budget: "b"}, decision.Admission{Policies: []string{"s"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := c.text
			if text == "sample" {
				text = string(policiestest.Sample()["access/access.cedar"].Data)
			}
			if diff := cmp.Diff(c.want, admits(t, text).AdmitsChange(console, c.tenant, &c.change)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
