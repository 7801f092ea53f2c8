package table_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/policies/policiestest"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/table"
)

// side is the sample bundle with policies by the files that they stand in, in the
// place of its own.
func side(t testing.TB, texts map[string]string) table.Side {
	t.Helper()
	files := fstest.MapFS{}
	for name, file := range policiestest.Sample() {
		if !strings.HasPrefix(name, "cedar/") {
			files[name] = file
		}
	}
	for name, text := range texts {
		files[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o444}
	}
	b, err := policy.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	return table.Side{Bundle: b, Set: b.Policies.(*policy.Set)}
}

const (
	all  = "cedar/all.cedar"
	acme = "cedar/tenants/acme/own.cedar"
	sum  = `action == Action::"everything/get-sum"`
)

// A tenant's table has what is otherwise than in that of every tenant, and what one
// tenant's policies say is in no other's.
func TestTenants(t *testing.T) {
	const common = `@id("p") permit (principal == Agent::"x", ` + sum + `, resource);`
	for _, test := range []struct {
		name        string
		texts       map[string]string
		every, acme string
	}{
		{"nothing of its own", map[string]string{all: common}, "x allow", ""},
		{"a permit more", map[string]string{all: common, acme: `@id("q") permit (principal == Agent::"y", ` + sum + `, resource);`}, "x allow", "y allow"},
		{"a permit that is there", map[string]string{all: common, acme: `@id("q") permit (principal == Agent::"x", ` + sum + `, resource);`}, "x allow", ""},
		{"a forbid", map[string]string{all: common, acme: `@id("q") forbid (principal, ` + sum + `, resource);`}, "x allow", "x deny"},
		{"a forbid with a condition", map[string]string{all: common, acme: `@id("q") forbid (principal, ` + sum + `, resource) when { context.args.a.lessThan(decimal("1.0")) };`}, "x allow", "x *"},
		{"a ticket", map[string]string{all: common, acme: `@id("q") forbid (principal, ` + sum + `, resource) unless { context has ticket };`}, "x allow", "x ticket"},
		{"an agent that only it names", map[string]string{all: `@id("p") permit (principal, ` + sum + `, resource);`, acme: `@id("q") forbid (principal == Agent::"y", ` + sum + `, resource);`},
			"(any other agent) allow, spiffe://example.org/agent/operations allow, spiffe://example.org/agent/research allow, spiffe://example.org/agent/support allow", "y deny"},
		{"a common policy about it", map[string]string{all: `@id("p") permit (principal == Agent::"x", ` + sum + `, resource) when { context.tenant == "acme" };`}, "x *", "x allow"},
		{"a common policy about another", map[string]string{all: `@id("p") permit (principal == Agent::"x", ` + sum + `, resource) when { context.tenant == "other" };`}, "x *", "x deny"},
		{"another tenant's", map[string]string{all: common, "cedar/tenants/other/own.cedar": `@id("q") forbid (principal, action, resource); @id("r") permit (principal == Agent::"z", action, resource);`}, "x allow", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := side(t, test.texts)
			for tenant, want := range map[string]string{"": test.every, "acme": test.acme} {
				of, err := table.Of(s.Bundle, s.Set, tenant)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, row := range of.Rows {
					if row.Tool != "everything/get-sum" || row.Purpose != "support" {
						t.Errorf("%q: a row about %+v", tenant, row)
					}
					got = append(got, row.Agent+" "+row.Effect)
				}
				if diff := cmp.Diff(want, strings.Join(got, ", ")); diff != "" {
					t.Errorf("%q: -want +got\n%s", tenant, diff)
				}
				read, err := table.Read("f.csv", tenant, of.CSV())
				if diff := cmp.Diff(of, read); diff != "" || err != nil {
					t.Errorf("%q: %v -written +read\n%s", tenant, err, diff)
				}
			}
		})
	}
}

// A change is told of a tenant where it comes, or stays, otherwise than for others.
func TestChanges(t *testing.T) {
	permit := func(id, agent string) string {
		return fmt.Sprintf("@id(%q) permit (principal == Agent::%q, %s, resource);", id, agent, sum)
	}
	forbid := func(id, agent string) string {
		return fmt.Sprintf("@id(%q) forbid (principal == Agent::%q, %s, resource);", id, agent, sum)
	}
	for _, test := range []struct {
		name     string
		old, new map[string]string
		want     string
	}{
		{"the same", map[string]string{all: permit("p", "x"), acme: forbid("q", "x")}, map[string]string{all: permit("p", "x"), acme: forbid("q", "x")}, ""},
		{"its own permit", map[string]string{}, map[string]string{acme: permit("q", "y")}, "acme y deny → allow"},
		{"its own forbid", map[string]string{all: permit("p", "x")}, map[string]string{all: permit("p", "x"), acme: forbid("q", "x")}, "acme x allow → deny"},
		{"its directory gone", map[string]string{all: permit("p", "x"), acme: forbid("q", "x")}, map[string]string{all: permit("p", "x")}, "acme x deny → allow"},
		{"the same as for all", map[string]string{all: permit("p", "x"), acme: permit("q", "y")}, map[string]string{acme: permit("q", "y")}, " x allow → deny"},
		{"it stays as it was", map[string]string{all: permit("p", "x"), acme: forbid("q", "x")}, map[string]string{acme: forbid("q", "x")}, " x allow → deny, acme x deny → deny"},
		{"from all to it", map[string]string{all: permit("p", "x")}, map[string]string{acme: permit("p", "x")}, " x allow → deny, acme x allow → allow"},
		{"from one to another", map[string]string{acme: permit("p", "x")}, map[string]string{"cedar/tenants/other/own.cedar": permit("p", "x")}, "acme x allow → deny, other x deny → allow"},
		{"an agent that anybody's permit covered", map[string]string{all: `@id("p") permit (principal, ` + sum + `, resource);`}, map[string]string{all: `@id("p") permit (principal, ` + sum + `, resource);`, acme: forbid("q", "y")}, "acme y allow → deny"},
	} {
		t.Run(test.name, func(t *testing.T) {
			changes, err := table.Changes(side(t, test.old), side(t, test.new))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range changes {
				got = append(got, c.Tenant+" "+c.Agent+" "+c.Old+" → "+c.New)
			}
			if diff := cmp.Diff(test.want, strings.Join(got, ", ")); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestTenantText(t *testing.T) {
	own := table.Table{Tenant: "acme", Rows: []table.Row{row("a", "s/t", "p", "deny")}}
	if got := own.Text(); !strings.HasPrefix(got, "a\n       p\n  s/t  deny\n") || !strings.HasSuffix(got, "This is the tenant acme.  What is not here is as for every tenant.\n") {
		t.Errorf("got\n%s", got)
	}
	if got := string(own.CSV()); !strings.HasPrefix(got, "# Written by `writ policy table --tenant acme -o csv`") {
		t.Errorf("got\n%s", got)
	}
	if diff := cmp.Diff([]table.Change{{Tenant: "acme", Key: own.Rows[0].Key, Old: table.Same, New: "deny"}}, table.Compare(table.Table{Tenant: "acme"}, own)); diff != "" {
		t.Error(diff)
	}
	if table.File("acme") != "tests/tenants/acme/golden.csv" {
		t.Error(table.File("acme"))
	}
	if _, err := table.Read("f.csv", "acme", []byte("agent,tool,purpose,effect\na,b,c,as for every tenant\n")); err == nil {
		t.Error("a row that says nothing is read")
	}
}
