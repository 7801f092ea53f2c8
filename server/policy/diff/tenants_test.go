package diff_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/policies/policiestest"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/diff"
)

// more is the sample bundle with one file more.
func more(t testing.TB, name, text string) diff.Bundle {
	t.Helper()
	files := policiestest.Sample()
	files[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o444}
	b, err := policy.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	schema, err := policy.Declarations(files)
	if err != nil {
		t.Fatal(err)
	}
	return diff.Bundle{Bundle: b, Set: b.Policies.(*policy.Set), Schema: schema}
}

// To stand in another place is a change where it changes for whom a policy is.
func TestTenants(t *testing.T) {
	const text = `@id("own") forbid (principal, action == Action::"everything/get-sum", resource);`
	const acme, other = "cedar/tenants/acme/own.cedar", "cedar/tenants/other/own.cedar"
	const agent = "spiffe://example.org/agent/support  everything/get-sum  for support: "
	for _, test := range []struct{ name, from, to, want string }{
		{"another file of it", acme, "cedar/tenants/acme/new.cedar", "The bundles are the same.\n"},
		{"another file of all", "cedar/x.cedar", "cedar/y.cedar", "The bundles are the same.\n"},
		{"from all to one", "cedar/x.cedar", acme, "policy own: changed  cedar/tenants/acme/own.cedar:1:1\n  - // for every tenant\n  + // for the tenant acme\n" +
			agent + "deny → allow\ntenant acme: " + agent + "deny → deny\n"},
		{"from one to all", acme, "cedar/x.cedar", "policy own: changed  cedar/x.cedar:1:1\n  - // for the tenant acme\n  + // for every tenant\n" +
			agent + "allow → deny\ntenant acme: " + agent + "deny → deny\n"},
		{"from one to another", acme, other, "policy own: changed  cedar/tenants/other/own.cedar:1:1\n  - // for the tenant acme\n  + // for the tenant other\n" +
			"tenant acme: " + agent + "deny → allow\ntenant other: " + agent + "allow → deny\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, err := diff.Of(more(t, test.from, text), more(t, test.to, text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, d.Text()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if markdown := d.Markdown(); strings.Contains(test.want, "tenant acme:") && (!strings.Contains(markdown, "| tenant | agent | tool | purpose | old | new |\n|---|---|---|---|---|---|\n") ||
				!strings.Contains(markdown, "| acme | spiffe://example.org/agent/support | everything/get-sum | support | ")) {
				t.Errorf("got\n%s", markdown)
			}
		})
	}
}
