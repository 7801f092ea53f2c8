package policy

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/decision"
)

// Policies are alike where what they say and what they see is the same.
func TestAlike(t *testing.T) {
	const policies = `@id("p") permit (principal, action, resource) when { context.purpose == "p" };
		@id("f") forbid (principal, action, resource) when { context.purpose == "q" };
		@id("r") @obligate("redact") @fields("/n") permit (principal, action, resource);
		@id("w") @obligate("watermark") @text("w") permit (principal, action, resource);
		@id("e") @obligate("route") @region("eu") permit (principal, action, resource);`
	all := map[string]decision.PolicyKind{"p": decision.Permits, "f": decision.Forbids, "r": decision.Redacts, "w": decision.Obliges, "e": decision.Routes}
	without := func(id string) map[string]decision.PolicyKind {
		some := map[string]decision.PolicyKind{}
		for one, kind := range all {
			if one != id {
				some[one] = kind
			}
		}
		return some
	}
	bundle := func(changes map[string]string) *decision.Bundle {
		files := map[string]string{"cedar/a.cedar": policies}
		for name, text := range changes {
			files[name] = text
		}
		b, err := Load(broken(files))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	before := bundle(nil)
	for _, c := range []struct {
		name    string
		changes map[string]string
		want    map[string]decision.PolicyKind
	}{
		{"the same", nil, all},
		{"another condition", map[string]string{"cedar/a.cedar": `@id("p") permit (principal, action, resource) when { context.purpose == "x" };` + policies[len(`@id("p") permit (principal, action, resource) when { context.purpose == "p" };`):]}, without("p")},
		{"a policy more, in another file", map[string]string{"cedar/b.cedar": `@id("new") permit (principal, action, resource);`}, all},
		{"other annotations", map[string]string{"cedar/a.cedar": `@reason("why") ` + policies}, all},
		{"other budgets", map[string]string{fileBudgets: ""}, all},
		{"other entities", map[string]string{fileEntities: "[]"}, nil},
		{"other classes", map[string]string{fileTools: "s:\n  t: { classes: [write], labels: [pii] }\n"}, nil},
		{"other vendors", map[string]string{fileVendors: "v:\n  endpoints:\n    - { region: eu, host: w.example.org }\n"}, nil},
		{"another schema", map[string]string{fileSchema: string(small()[fileSchema].Data) + "entity More;\n"}, nil},
	} {
		if diff := cmp.Diff(c.want, Alike(before, bundle(c.changes))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	if got := Alike(before, &decision.Bundle{}); got != nil {
		t.Errorf("with another kind of bundle: %v", got)
	}
}
