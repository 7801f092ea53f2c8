package policy

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cedar-policy/cedar-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/decision"
)

// ours are policies of every tenant that let nothing be seen of a tenant's own but
// what these do.
const ours = `@id("reads") permit (principal, action == Action::"s/t", resource) when { context.args has n && context.args.n < 10 };
@id("limit") @obligate("limit_output") @max_bytes("9") permit (principal, action == Action::"s/t", resource);
`

// hostile are what the team of a tenant may write into its directory to reach
// beyond it, and what each does to its own tenant.
var hostile = []struct{ name, cedar, own string }{
	{"a permit of everything", `@id("x") permit (principal, action, resource);`, "permit reads, permit x, oblige limit limit_output"},
	{"a permit that names the other", `@id("x") permit (principal, action, resource) when { context.tenant == "b" || context.tenant like "*" };`, "permit reads, permit x, oblige limit limit_output"},
	{"a forbid of everything", `@id("x") forbid (principal, action, resource);`, "permit reads, forbid x, oblige limit limit_output"},
	{"a forbid of the others", `@id("x") forbid (principal, action, resource) unless { context.tenant == "c" };`, "permit reads, forbid x, oblige limit limit_output"},
	{"a forbid that is an error", `@id("x") forbid (principal, action, resource) when { context.cost.calls + 9223372036854775807 > 0 };`, "permit reads, error x, oblige limit limit_output"},
	{"a permit that is an error", `@id("x") permit (principal, action, resource) when { context.cost.calls * -9223372036854775807 * 3 > 0 };`, "permit reads, error x, oblige limit limit_output"},
	{"an obligation", `@id("x") @obligate("notify") @to("us") @body("b") permit (principal, action, resource);`, "permit reads, oblige limit limit_output, oblige x notify"},
	{"an obligation that is an error", `@id("x") @obligate("watermark") @text("w") permit (principal, action, resource) when { context.cost.calls + 9223372036854775807 > 0 };`, "permit reads, error x, oblige limit limit_output"},
	{"a redaction", `@id("x") @obligate("redact") @fields("/n") @method("remove") permit (principal, action, resource);`, "permit reads, oblige limit limit_output, oblige x redact"},
	{"a route", `@id("x") @obligate("route") @region("eu") permit (principal, action, resource);`, "permit reads, oblige limit limit_output, route x"},
	{"a ticket that is required", `@id("x") @requires("ticket") forbid (principal, action, resource) unless { context has ticket };`, "permit reads, forbid x, oblige limit limit_output"},
	{"a look at the whole context", `@id("x") forbid (principal, action, resource) when { context == context };`, "permit reads, forbid x, oblige limit limit_output"},
	{"a policy in shadow mode", `@id("x") @mode("shadow") forbid (principal, action, resource);`, "permit reads, oblige limit limit_output"},
	{"a permit in shadow mode", `@id("x") @mode("shadow") permit (principal, action, resource);`, "permit reads, oblige limit limit_output"},
}

// with are the small bundle with policies of every tenant and of tenants.
func with(common string, own map[string]string) fstest.MapFS {
	changes := map[string]string{"cedar/a.cedar": common}
	for tenant, text := range own {
		changes["cedar/tenants/"+tenant+"/own.cedar"] = text
	}
	return broken(changes)
}

func mustLoad(t testing.TB, files fs.FS) *decision.Bundle {
	t.Helper()
	b, err := Load(files)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// of is a query of a tenant.
func of(q decision.Query, tenant string) decision.Query {
	req := *q.Request
	req.Caller.Tenant = tenant
	q.Request = &req
	return q
}

// seen is everything that a bundle makes of one tenant's requests: by the index,
// by the scan of all its policies, for a list, for the table, of a request of which
// not all is known, by the shadow, and in explanations.
func seen(t testing.TB, b *decision.Bundle, tenant string) []any {
	t.Helper()
	call := of(calling(t, b), tenant)
	call.Request.Arguments = parsed(t, `{"n":3}`)
	refused := of(calling(t, b), tenant)
	refused.Request.Arguments = parsed(t, `{"n":300}`)
	list := of(listing(b), tenant)
	partial := of(calling(t, b), tenant)
	var err error
	if partial.Request.Arguments, err = document.Partial([]byte(`{"n":"`+document.Mask+`"}`), []string{"/n"}, parsed(t, `{"n":3}`).Digest(), nil); err != nil {
		t.Fatal(err)
	}
	var all []any
	for _, bundle := range []*decision.Bundle{b, b.Beside(tenant)} {
		if bundle == nil {
			all = append(all, "no shadow")
			continue
		}
		set := bundle.Policies.(*Set)
		for _, q := range []decision.Query{call, refused, list, partial} {
			all = append(all, set.Judge(q), set.Explain(q))
		}
		all = append(all, set.Outlook(list, false), set.Outlook(list, true), set.Agents(tenant))
		for _, q := range []decision.Query{call, refused} {
			r, err := scan(set, q)
			all = append(all, r, err)
		}
	}
	return all
}

// scan puts a query to all policies, one after the other.
func scan(set *Set, q decision.Query) (decision.Ruling, error) {
	whole := *set
	whole.needs.all = true // for the validator, every attribute must be there
	ask, why := whole.ask(q)
	if why.Code != "" {
		return decision.Ruling{}, fmt.Errorf("%+v", why)
	}
	entities := cedar.EntityMap{ask.principal: {UID: ask.principal}, ask.resource: {UID: ask.resource}}
	return set.Authorize(ask.request(), entities)
}

// Nothing that stands in one tenant's directory is to be noticed in the decisions
// of another tenant, whatever it says.
func TestTenantsAreApart(t *testing.T) {
	bare := mustLoad(t, with(ours, nil))
	for _, test := range hostile {
		t.Run(test.name, func(t *testing.T) {
			b := mustLoad(t, with(ours, map[string]string{"a": test.cedar}))
			if b.Digest == bare.Digest {
				t.Error("the digest does not cover the tenant's policies")
			}
			for _, tenant := range []string{"b", "c", "A", "a.", "a/../b", "", "writ:system"} {
				if diff := cmp.Diff(seen(t, bare, tenant), seen(t, b, tenant)); diff != "" {
					t.Errorf("the tenant %q notices: -without +with\n%s", tenant, diff)
				}
			}
			if cmp.Equal(seen(t, bare, "a"), seen(t, b, "a")) {
				t.Error("its own tenant does not notice it either")
			}
			call := of(calling(t, b), "a")
			call.Request.Arguments = parsed(t, `{"n":3}`)
			if diff := cmp.Diff(test.own, ruled(b.Policies.Judge(call))); diff != "" {
				t.Errorf("its own tenant: -want +got\n%s", diff)
			}
		})
	}
}

// A tenant's requests are answered as if its policies and those of every tenant
// stood in one place, and nobody else's anywhere: by everything that answers.
func TestTenantIsExact(t *testing.T) {
	matched := 0
	rapid.Check(t, func(t *rapid.T) {
		texts := map[string]string{}
		for _, tenant := range []string{"", "acme", "other"} {
			texts[tenant] = strings.ReplaceAll(drawPolicies(t), `@id("p`, `@id("`+tenant+`p`)
		}
		whole := with(texts[""], map[string]string{"acme": texts["acme"], "other": texts["other"]})
		things := func(files fstest.MapFS) *decision.Bundle {
			given := thingsWith("")
			for name, file := range files {
				if strings.HasPrefix(name, "cedar/") {
					given[name] = file
				}
			}
			b, err := Load(given)
			if err != nil {
				t.Skip(err) // a condition that the validator finds always false
			}
			return b
		}
		b := things(whole)
		for _, tenant := range []string{"acme", "other", "third"} {
			alone := things(with(texts[""]+texts[tenant], nil))
			set, want := b.Policies.(*Set), alone.Policies.(*Set)
			for range 5 {
				q := of(concrete(t, b, rapid.Bool().Draw(t, "ticket")), tenant)
				r := set.Judge(q)
				matched += len(r.Permits) + len(r.Forbids) + len(r.Errors)
				if diff := cmp.Diff(want.Judge(q), r); diff != "" {
					t.Fatalf("%s: -alone +among others\n%s", tenant, diff)
				}
				if diff := cmp.Diff(want.Explain(q), set.Explain(q), cmpopts.IgnoreFields(decision.Near{}, "Position"), cmpopts.IgnoreFields(decision.Matched{}, "Position")); diff != "" {
					t.Fatalf("%s: explained -alone +among others\n%s", tenant, diff)
				}
			}
			list := of(listing(b), tenant)
			if diff := cmp.Diff([]any{want.Judge(list), want.Outlook(list, false), want.Outlook(list, true)}, []any{set.Judge(list), set.Outlook(list, false), set.Outlook(list, true)}); diff != "" {
				t.Fatalf("%s: in a list -alone +among others\n%s", tenant, diff)
			}
		}
	})
	if matched == 0 {
		t.Error("no policy ever matched")
	}
}

// An explanation neither names another tenant's policies nor shows what only these
// hold: else their text could be found out by asking for its words.
func TestExplanationKeepsTenantsApart(t *testing.T) {
	const common = `@id("common") permit (principal, action == Action::"s/t", resource)
when { context.purpose == "p" && context.session == "nothing" && context.args has n && context.args.n > 5 };
`
	b := mustLoad(t, with(strings.Replace(common, "context.session ==", "context has session && context.session ==", 1), map[string]string{
		"a": `@id("secret") permit (principal == Agent::"merger", action == Action::"s/t", resource) when { context has session && context.session == "project-x" };
@id("hidden") @obligate("redact") @fields("/n") permit (principal, action == Action::"s/t", resource) when { context has session && context.session == "never" };`}))
	q := calling(t, b)
	q.Request.Session, q.Request.Arguments = "project-x", parsed(t, `{"n":3}`)
	said := func(tenant string) string {
		text, err := json.Marshal(b.Policies.Explain(of(q, tenant)))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, word := range []string{"project-x", "secret", "merger", "tenants/a", "never", "redacted"} {
		if strings.Contains(said("b"), word) {
			t.Errorf("another tenant is told of %q: %s", word, said("b"))
		}
	}
	for _, word := range []string{"project-x", "secret", "cedar/tenants/a/own.cedar:1:1"} {
		if !strings.Contains(said("a"), word) {
			t.Errorf("the tenant is not told of %q: %s", word, said("a"))
		}
	}
	// The field that the tenant's own policy redacts is shown to others only.
	q.Request.Session = "nothing"
	if text := said("b"); !strings.Contains(text, `"context.args.n","Value":"3"`) {
		t.Errorf("another tenant's number is withheld: %s", text)
	}
	if text := said("a"); !strings.Contains(text, "(redacted)") || strings.Contains(text, `"Value":"3"`) {
		t.Errorf("the tenant's own redaction is not kept: %s", text)
	}
}

// Policies in shadow mode are watched for the tenants that they are for.
func TestShadowOfTenants(t *testing.T) {
	const watched = `@id("w") @mode("shadow") forbid (principal, action, resource);`
	for _, test := range []struct {
		name, common string
		own          map[string]string
		want         []string
	}{
		{"none", ours, nil, nil},
		{"one tenant's", ours, map[string]string{"a": watched}, []string{"a"}},
		{"two tenants'", ours, map[string]string{"a": watched, "b": strings.ReplaceAll(watched, `"w"`, `"v"`)}, []string{"a", "b"}},
		{"everybody's", ours + watched, map[string]string{"a": strings.ReplaceAll(watched, `"w"`, `"v"`)}, []string{"a", "b", "c"}},
	} {
		b := mustLoad(t, with(test.common, test.own))
		var got []string
		for _, tenant := range []string{"a", "b", "c"} {
			if b.Beside(tenant) != nil {
				got = append(got, tenant)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: watched for %v, want %v", test.name, got, test.want)
		}
	}
}

func TestTenantsRefuse(t *testing.T) {
	for _, test := range []struct {
		name string
		add  map[string]string
		want string
	}{
		{"an id that everybody's policies have", map[string]string{"cedar/tenants/a/x.cedar": "\n @id(\"one\")" + rest}, `cedar/tenants/a/x.cedar:2:2: the @id "one" is taken by cedar/a.cedar:1:1`},
		{"an id of another tenant's", map[string]string{"cedar/tenants/a/x.cedar": "@id(\"x\")" + rest, "cedar/tenants/b/x.cedar": "@id(\"x\")" + rest}, `cedar/tenants/b/x.cedar:1:1: the @id "x" is taken by cedar/tenants/a/x.cedar:1:1`},
		{"no Cedar", map[string]string{"cedar/tenants/a/x.cedar": "@id(\"x\")\npermit ("}, "cedar/tenants/a/x.cedar:2:"},
		{"what the schema does not have", map[string]string{"cedar/tenants/a/x.cedar": "\n@id(\"x\") permit (principal, action, resource) when { context.purpose == 1 };"}, `cedar/tenants/a/x.cedar:2:1: policy "x": `},
		{"a directory in a tenant's", map[string]string{"cedar/tenants/a/b/x.cedar": "@id(\"x\")" + rest}, "cedar/tenants/a/b: a directory, whose files would not be read"},
		{"tenants in a tenant's", map[string]string{"cedar/tenants/a/tenants/b/x.cedar": "@id(\"x\")" + rest}, "cedar/tenants/a/tenants: a directory, whose files would not be read"},
		{"a policy beside the tenants", map[string]string{"cedar/tenants/x.cedar": "@id(\"x\")" + rest}, "cedar/tenants/x.cedar: not the directory of a tenant, and would not be read"},
		{"a file beside the tenants", map[string]string{"cedar/tenants/README.md": "x"}, "cedar/tenants/README.md: not the directory of a tenant"},
		{"another name for tenants", map[string]string{"cedar/tenant/a/x.cedar": "@id(\"x\")" + rest}, "cedar/tenant: a directory, whose files would not be read"},
		{"tenants in capitals", map[string]string{"cedar/Tenants/a/x.cedar": "@id(\"x\")" + rest}, "cedar/Tenants: a directory, whose files would not be read"},
		{"a hidden tenant", map[string]string{"cedar/tenants/.a/x.cedar": "@id(\"x\")" + rest}, "cedar/tenants/.a: the directory of a tenant is not of the form"},
		{"a file in place of tenants", map[string]string{"cedar/tenants": "x"}, "cedar/tenants: not a directory"},
		{"names that differ in case", map[string]string{"cedar/tenants/acme/x.cedar": "@id(\"x\")" + rest, "cedar/tenants/Acme/y.cedar": "@id(\"y\")" + rest},
			"cedar/tenants/acme: differs from cedar/tenants/Acme in upper and lower case alone"},
		{"the system's tenant", map[string]string{"cedar/tenants/writ:system/x.cedar": "@id(\"x\")" + rest}, `cedar/tenants/writ:system: the tenant "writ:system" is reserved`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := Load(broken(test.add)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// A directory's name is one that every file system holds as it is.
func TestTenantNames(t *testing.T) {
	for name, want := range map[string]bool{
		"acme": true, "Acme": true, "a": true, "7": true, "_": true, "-": true, "a.b": true, "eu-west_1": true, "ops@example.org": true, "a+b": true,
		strings.Repeat("a", 128): true, strings.Repeat("a", 129): false,
		".a": false, "a.": false, "..": false, ".": false, "": false, "a b": false, " a": false, "a\x00": false, "a\n": false, "a\x7f": false,
		"a:b": false, "a\\b": false, "a*": false, "a?": false, "[ab]": false, "a\"": false, "a<b": false, "a|b": false, "a%": false, "a,b": false,
		"café": false, "cafe\u0301": false, "a\u202eb": false, "a\xff": false, "writ:system": false, "a/b": false, "a/../b": false,
	} {
		if err := checkTenantDirectory(name); (err == nil) != want {
			t.Errorf("%q: got %v, want valid: %v", name, err, want)
		}
	}
}

// On a disk, only real directories are tenants'.
func TestTenantsFromDisk(t *testing.T) {
	write := func(t *testing.T) string {
		dir := t.TempDir()
		if err := os.CopyFS(dir, with(ours, map[string]string{"a": `@id("x") forbid (principal, action, resource);`})); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	whole := write(t)
	if b := mustLoad(t, os.DirFS(whole)); b.Digest != mustLoad(t, with(ours, map[string]string{"a": `@id("x") forbid (principal, action, resource);`})).Digest {
		t.Error("a disk gives another digest")
	}
	for name, link := range map[string]string{"a link in place of a tenant": "cedar/tenants/a", "a link in place of the tenants": "cedar/tenants", "a link among a tenant's policies": "cedar/tenants/a/own.cedar"} {
		t.Run(name, func(t *testing.T) {
			dir := write(t)
			if err := os.RemoveAll(filepath.Join(dir, link)); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(filepath.Join(whole, link), filepath.Join(dir, link)); err != nil {
				t.Fatal(err)
			}
			if _, err := Load(os.DirFS(dir)); err == nil || !strings.Contains(err.Error(), link+": not ") {
				t.Errorf("got %v", err)
			}
		})
	}
	// A tenant without policies is none, and a hidden file is no tenant.
	dir := write(t)
	if err := os.WriteFile(filepath.Join(dir, "cedar/tenants/.gitkeep"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "cedar/tenants/b"), 0o700); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a"}, mustLoad(t, os.DirFS(dir)).Policies.(*Set).Tenants()); diff != "" {
		t.Error(diff)
	}
}

// A policy that is moved to another tenant matches on other requests, and what one
// tenant's policies say is no part of the world of the others.
func TestAlikeOfTenants(t *testing.T) {
	const text = `@id("x") forbid (principal, action, resource);`
	old := mustLoad(t, with(ours, map[string]string{"a": text}))
	for name, test := range map[string]struct {
		files fstest.MapFS
		want  []string
	}{
		"the same":             {with(ours, map[string]string{"a": text}), []string{"limit", "reads", "x"}},
		"another tenant's":     {with(ours, map[string]string{"b": text}), []string{"limit", "reads"}},
		"everybody's":          {with(ours+text, nil), []string{"limit", "reads"}},
		"another tenant's too": {with(ours, map[string]string{"a": text, "b": `@id("y") permit (principal, action, resource);`}), []string{"limit", "reads", "x"}},
	} {
		if got := slices.Sorted(maps.Keys(Alike(old, mustLoad(t, test.files)))); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}
