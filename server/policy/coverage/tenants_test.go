package coverage

import (
	"bytes"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/suite"
)

// A tenant's policies are seen in its own tests alone: in another's they are asked
// nothing.
func TestTenants(t *testing.T) {
	const tests = "now: 2026-11-23T10:00:00Z\nprincipals: { support: { agent: 'spiffe://example.org/agent/support' } }\n" +
		"requests: { small: { purpose: support, tool: everything/get-sum, args: { a: 1, b: 2 } } }\n" +
		"cases: [ { name: one, principal: support, request: small, expect: { effect: ALLOW } } ]\n"
	files, _, _ := bundle(t, `@id("all") permit (principal, action == Action::"everything/get-sum", resource);`, tests)
	put := func(name, text string) { files.(fstest.MapFS)[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o444} }
	for _, tenant := range []string{"acme", "other"} {
		put("cedar/tenants/"+tenant+"/own.cedar", `@id("`+tenant+`") permit (principal, action == Action::"everything/get-sum", resource) when { context.tenant == "`+tenant+`" };`)
	}
	put("tests/tenants/acme/a.yaml", tests)
	b, err := policy.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	cases, err := suite.Load(files, b)
	if err != nil {
		t.Fatal(err)
	}
	w, c := Watch(b, b.Policies.(*policy.Set))
	for _, r := range suite.Run(w, cases) {
		if r.Failed() {
			t.Errorf("%s: %v", r.ID(), r.Failures)
		}
	}
	got := map[string][]Seen{}
	for _, p := range c.Policies {
		got[p.ID] = p.Seen
	}
	want := map[string][]Seen{"all": {{True: 2}}, "acme": {{True: 1}, {True: 1}}, "other": {{}, {}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	var page bytes.Buffer
	if err := c.HTML(&page, b.Name, files); err != nil || !bytes.Contains(page.Bytes(), []byte("cedar/tenants/acme/own.cedar")) {
		t.Errorf("the page: %v", err)
	}
}
