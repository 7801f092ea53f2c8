package lint_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/lint"
)

// What a tenant's policy is held against are its own tenant's policies and those of
// every tenant, and it is asked for no tenant's request but its own.
func TestTenants(t *testing.T) {
	const wide, narrow, forbid = "permit " + read + ";", "permit " + read + " when { context has session };", "forbid (principal, action in Action::\"s\", resource);"
	const guard = "forbid (principal, action == Action::\"s/wipe\", resource) unless { context has ticket };"
	for _, test := range []struct {
		name string
		own  [][2]string // a tenant, or none, and a policy; called one, two, …
		want string
	}{
		{"within a common permit", [][2]string{{"", wide}, {"a", narrow}}, `cedar/tenants/a/p.cedar:1:1 warning shadowed "two" It permits nothing that "one" at cedar/p.cedar:1:1 does not.`},
		{"the same as a common one", [][2]string{{"a", wide}, {"", wide}}, `cedar/tenants/a/p.cedar:1:1 warning shadowed "one" It permits nothing that "two" at cedar/p.cedar:1:1 does not.`},
		{"within one of the same tenant", [][2]string{{"a", wide}, {"a", narrow}}, `cedar/tenants/a/p.cedar:3:1 warning shadowed "two" It permits nothing that "one" at cedar/tenants/a/p.cedar:1:1 does not.`},
		{"within one of another tenant", [][2]string{{"a", wide}, {"b", narrow}}, ""},
		{"the same as another tenant's", [][2]string{{"a", wide}, {"b", wide}}, ""},
		{"a common one within a tenant's", [][2]string{{"", narrow}, {"a", wide}}, ""},
		{"under a common forbid", [][2]string{{"", forbid}, {"a", "permit " + read + when}}, `warning shadowed "two" Whatever it permits, "one" at cedar/p.cedar:1:1 forbids.`},
		{"under a forbid of the same tenant", [][2]string{{"a", forbid}, {"a", "permit " + read + when}}, `warning shadowed "two" Whatever it permits, "one" at cedar/tenants/a/p.cedar:1:1 forbids.`},
		{"under a forbid of another tenant", [][2]string{{"b", forbid}, {"a", "permit " + read + when}}, ""},
		{"a common one under a tenant's forbid", [][2]string{{"a", forbid}, {"", "permit " + read + when}}, ""},
		{"guarded by a common forbid", [][2]string{{"", guard}, {"a", "permit " + wipe + ";"}}, ""},
		{"guarded by its own", [][2]string{{"a", guard}, {"a", "permit " + wipe + ";"}}, ""},
		{"guarded by another tenant's", [][2]string{{"b", guard}, {"a", "permit " + wipe + ";"}}, `cedar/tenants/a/p.cedar:1:1 warning unconditional "two"`},
		{"a common one that a tenant guards", [][2]string{{"a", guard}, {"", "permit " + wipe + ";"}}, `cedar/p.cedar:1:1 warning unconditional "two"`},
		{"about its own tenant", [][2]string{{"a", "permit " + read + " when { context.tenant == \"a\" };"}}, ""},
		{"about another tenant", [][2]string{{"a", "permit " + read + " when { context.tenant == \"b\" };"}}, `warning never-matches "one" No request matches it: ` + "`context.tenant == \"b\"`" + ` is never true there.`},
		{"a common one about a tenant", [][2]string{{"", "permit " + read + " when { context.tenant == \"b\" };"}}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			all := check(t, placed(test.own))
			if test.want == "" && len(all) > 0 || test.want != "" && (len(all) != 1 || !strings.Contains(found(all), test.want)) {
				t.Errorf("found\n%swant %s", found(all), test.want)
			}
		})
	}
}

// placed are policies in the directories of their tenants.
func placed(own [][2]string) map[string]string {
	files := map[string]string{"cedar/a.cedar": ""}
	for i, p := range own {
		name := "cedar/p.cedar"
		if p[0] != "" {
			name = "cedar/tenants/" + p[0] + "/p.cedar"
		}
		files[name] += fmt.Sprintf("@id(%q) @owner(\"o\")\n%s\n", []string{"one", "two", "three", "four", "five"}[i], p[1])
	}
	return files
}

// A finding is silenced where it stands, and a broken policy of a tenant is found
// at its place.
func TestTenantsPlaces(t *testing.T) {
	all := check(t, map[string]string{"cedar/tenants/a@b+c.d/p.cedar": "@id(\"one\") @lint(\"-no-owner\")\npermit " + read + " when { context.purpose == \"q\" };"})
	if len(all) > 0 {
		t.Error(found(all))
	}
	all = lint.Bundle(small(map[string]string{"cedar/tenants/a@b+c.d/p.cedar": "\n permit ("}))
	if len(all) != 1 || all[0].Code != "broken" || !strings.HasPrefix(all[0].At(), "cedar/tenants/a@b+c.d/p.cedar:2:") {
		t.Error(found(all))
	}
}

// Taking away a tenant's policy that is shadowed, or a common one, answers no
// tenant's request otherwise.
func TestShadowedOfTenantsIsNeverMissed(t *testing.T) {
	shadows := 0
	rapid.Check(t, func(t *rapid.T) {
		var own [][2]string
		for _, p := range drawPolicies(t) {
			own = append(own, [2]string{rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "tenant"), p})
		}
		src, err := policy.Read(small(placed(own)))
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(src.Statements, func(st policy.Written) bool { return st.Invalid != "" }) {
			return
		}
		load := func(own [][2]string) *decision.Bundle {
			b, err := policy.Load(small(placed(own)))
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		whole := load(own)
		for _, f := range lint.Check(src) {
			i := slices.Index([]string{"one", "two", "three", "four", "five"}, f.Policy)
			if f.Code != "shadowed" {
				continue
			}
			shadows++
			less := slices.Clone(own)
			less[i][1] = "" // its annotations would be the next one's
			rest := load(slices.DeleteFunc(less, func(p [2]string) bool { return p[1] == "" }))
			for range 20 {
				q := drawRequest(t, whole)
				q.Request.Caller.Tenant = rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "asks")
				if with, without := permitted(whole, q), permitted(rest, q); with != without {
					t.Fatalf("%v\nwithout %q: %v, with it %v, for %+v\n%s", own, f.Policy, without, with, q.Request, f.Text)
				}
			}
		}
	})
	if shadows == 0 {
		t.Error("nothing was shadowed")
	}
	t.Logf("%d were shadowed", shadows)
}
