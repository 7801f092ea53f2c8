package suite_test

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/policies/policiestest"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/suite"
)

// Tests in a tenant's directory are about that tenant, as its policies are.
func TestTenants(t *testing.T) {
	files := policiestest.Sample()
	put := func(name, text string) { files[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o444} }
	for name := range files {
		if strings.HasPrefix(name, "tests/") {
			delete(files, name)
		}
	}
	put("cedar/tenants/acme/own.cedar", `@id("acme-no-sums") forbid (principal, action == Action::"everything/get-sum", resource);
@id("acme-reads") permit (principal, action in Action::"read-only", resource == Server::"stripe");`)
	own := fixtures + "cases: [ { name: sum, principal: support, request: sum, expect: { effect: %, policies: [ID] } } ]\n"
	case_ := func(effect, id string) string { return strings.NewReplacer("%", effect, "ID", id).Replace(own) }
	put("tests/sums.yaml", case_("ALLOW", "support-thinks"))
	put("tests/other.yaml", "tenant: other\n"+case_("ALLOW", "support-thinks"))
	put("tests/named.yaml", "tenant: acme\n"+case_("DENY", "acme-no-sums"))
	put("tests/tenants/acme/sums.yaml", case_("DENY", "acme-no-sums"))
	put("tests/tenants/acme/said.yaml", "tenant: acme\n"+case_("DENY", "acme-no-sums"))
	put("tests/tenants/empty/sums.yaml", case_("ALLOW", "support-thinks"))
	of := func(tenant, text string) string {
		return "[" + strings.Replace(text, `"tenant": "t"`, `"tenant": "`+tenant+`"`, 1) + "]"
	}
	put("tests/tenants/acme/cedar.json", of("acme", one("allows", "stripe/list_invoices", `{}`, "allow", `"acme-reads", "billing-reads"`, 0)))
	put("tests/cedar.json", of("other", one("allows", "stripe/list_invoices", `{}`, "allow", `"billing-reads"`, 0)))
	b, err := policy.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	cases, err := suite.Load(files, b)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range suite.Run(b, cases) {
		if ids = append(ids, r.ID()); r.Failed() {
			t.Errorf("%s: %v", r.ID(), r.Failures)
		}
	}
	slices.Sort(ids)
	want := []string{"acme/cedar/allows", "acme/said/sum", "acme/sums/sum", "cedar/allows", "empty/sums/sum", "named/sum", "other/sum", "sums/sum"}
	if diff := cmp.Diff(want, ids); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, test := range []struct{ name, text, want string }{
		{"tests/tenants/acme/x.yaml", "tenant: other\n" + case_("DENY", "x"), `tests/tenants/acme/x.yaml: the tenant is "other", and the directory is that of "acme"`},
		{"tests/tenants/acme/x.json", of("other", one("x", "stripe/list_invoices", `{}`, "deny", ``, 0)), `tests/tenants/acme/x.json:1:2: test 0: context.tenant is "other", and the directory is that of "acme"`},
		{"tests/tenants/acme/x.yml", own, "tests/tenants/acme/x.yml: tests stand in files that end in .yaml or .json"},
		{"tests/tenants/x.yaml", own, "tests/tenants/x.yaml: not the directory of a tenant"},
		{"tests/tenants/writ:system/x.yaml", own, `tests/tenants/writ:system: the tenant "writ:system" is reserved`},
		{"tests/team/x.yaml", own, "tests/team: a directory, whose files would not be read"},
		{"tests/tenants/acme/x/y.yaml", own, "tests/tenants/acme/x: a directory, whose files would not be read"},
		{"tests/x.yaml", "name: acme/sums\n" + own, `tests/tenants/acme/sums.yaml: the suite "acme/sums" is in tests/x.yaml too`},
	} {
		put(test.name, strings.ReplaceAll(test.text, "%", "DENY"))
		if _, err := suite.Load(files, b); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %s", err, test.want)
		}
		delete(files, test.name)
	}
}
