package coverage

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/policies"
	"github.com/writpdp/writ/policies/policiestest"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/suite"
)

// bundle is the sample bundle with other policies and tests of their own.
func bundle(t testing.TB, cedar, tests string) (fs.FS, *decision.Bundle, *policy.Set) {
	t.Helper()
	files := policiestest.Sample()
	maps.DeleteFunc(files, func(name string, _ *fstest.MapFile) bool {
		return strings.HasPrefix(name, "cedar/") || strings.HasPrefix(name, "tests/")
	})
	files["cedar/a.cedar"] = &fstest.MapFile{Data: []byte(cedar), Mode: 0o444}
	if tests != "" {
		files["tests/a.yaml"] = &fstest.MapFile{Data: []byte(tests), Mode: 0o444}
	}
	b, err := policy.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	return files, b, b.Policies.(*policy.Set)
}

const someCedar = `@id("both") permit (principal in Team::"support", action == Action::"everything/get-sum", resource)
when { context.purpose == "support" && context.args.a.lessThan(decimal("5.0")) };
@id("never-false") permit (principal, action in [Action::"everything/get-sum", Action::"everything/echo"], resource) when { context.phase == "CALL" };
@id("never-asked") forbid (principal, action == Action::"stripe/create_refund", resource) unless { context has ticket || context.cost.calls == 0 };
@id("fails") permit (principal, action == Action::"everything/get-sum", resource) when { context.cost.tokens + 9223372036854775807 > 0 };
@id("nothing-asked") permit (principal, action, resource);
`

const someTests = `now: 2026-11-23T10:00:00Z
principals:
  support: { agent: spiffe://example.org/agent/support }
  research: { agent: spiffe://example.org/agent/research }
requests:
  small: { purpose: support, tool: everything/get-sum, args: { a: 1, b: 2 }, tokens: 5 }
  large: { purpose: support, tool: everything/get-sum, args: { a: 9, b: 2 } }
  other: { purpose: research, tool: everything/get-sum, args: { a: 1, b: 2 } }
  echo: { purpose: support, tool: everything/echo, args: { message: hi } }
  list: { purpose: support, phase: LIST, candidates: [stripe/create_refund] }
matrix:
  - expect:
      support:  { small: DENY, large: ALLOW, other: DENY, echo: ALLOW, list: ALLOW }
      research: { small: DENY, large: ALLOW, other: DENY, echo: ALLOW, list: ALLOW }
`

func watched(t testing.TB) (fs.FS, *Coverage) {
	t.Helper()
	files, b, set := bundle(t, someCedar, someTests)
	cases, err := suite.Load(files, b)
	if err != nil {
		t.Fatal(err)
	}
	w, c := Watch(b, set)
	results := suite.Run(w, cases)
	for i, plain := range suite.Run(b, cases) { // to be watched changes no answer
		if diff := cmp.Diff(plain.Failures, results[i].Failures); diff != "" {
			t.Errorf("%s: %s", plain.ID(), diff)
		}
	}
	return files, c
}

func TestCoverage(t *testing.T) {
	_, c := watched(t)
	var got bytes.Buffer
	if err := c.Text(&got); err != nil {
		t.Fatal(err)
	}
	const want = `both           100.0 %  8 of 8      cedar/a.cedar:1:1
fails           75.0 %  3 of 4      cedar/a.cedar:5:1
  never false: when { context.cost.tokens + 9223372036854775807 > 0 }
never-asked     16.7 %  1 of 6      cedar/a.cedar:4:1
  never true: action == Action::"stripe/create_refund"
  never asked: unless { context has ticket }
  never asked: unless { context.cost.calls == 0 }
never-false     50.0 %  2 of 4      cedar/a.cedar:3:1
  never false: action in [Action::"everything/get-sum", Action::"everything/echo"]
  never false: when { context.phase == "CALL" }
nothing-asked  100.0 %  0 of 0      cedar/a.cedar:6:1
clauses         63.6 %  14 of 22
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]Seen{{True: 6, False: 2}, {True: 4, Errors: 2}}, c.Policies[1].Seen); diff != "" {
		t.Error(diff)
	}
	sum := c.Summary()
	if sum.Seen != 14 || sum.Of != 22 || len(sum.Policies) != 5 {
		t.Errorf("got %+v", sum)
	}
	if diff := cmp.Diff([]Missed{{`when { context.cost.tokens + 9223372036854775807 > 0 }`, "false"}}, sum.Policies[1].Missing); diff != "" {
		t.Error(diff)
	}
}

// Every clause of the sample bundle is found in its source, as far as Cedar's own
// layout of it tells.
func TestLocateSample(t *testing.T) {
	b, err := policy.Load(policies.Files)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, st := range b.Policies.(*policy.Set).Statements() {
		text, err := policy.ReadFile(policies.Files, st.Position.Filename)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range locate(policy.Blank(text), st) {
			found++
			if got, want := bare(string(text[s.start:s.end])), bare(st.Clauses[i].Text()); got != want {
				t.Errorf("%s: the clause %s is found as %s", st.ID, want, got)
			}
		}
	}
	if found < 80 {
		t.Errorf("%d clauses", found)
	}
}

var words = regexp.MustCompile(`^(when|unless) \{ (.*) \}$`)

// bare is a clause without what the layout adds: spaces, brackets, the keyword.
func bare(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if m := words.FindStringSubmatch(text); m != nil {
		text = m[2]
	}
	return strings.NewReplacer(" ", "", "(", "", ")", "", ",]", "]").Replace(text)
}

func TestLocate(t *testing.T) {
	for _, test := range []struct{ name, policy, want string }{
		{"scope", `permit (principal == Agent::"a,b)", action in [Action::"everything/echo", Action::"everything/get-sum"], resource is Server);`,
			`action in [Action::"everything/echo", Action::"everything/get-sum"] | principal == Agent::"a,b)" | resource is Server`},
		{"comments", "permit /* ( */ (principal, // when {\n action == Action::\"everything/echo\" /* , */, resource);", `action == Action::"everything/echo"`},
		{"conjuncts", `permit (principal, action, resource) when { (context.tenant == "&&" && (context.caller == "||")) && context.issuer == "a" };`,
			`context.tenant == "&&" | context.caller == "||" | context.issuer == "a"`},
		{"disjuncts", `permit (principal, action, resource) unless { context.tenant == "a" && context.caller == "b" || (context.issuer == "a" || context.issuer == "b") };`,
			`context.tenant == "a" && context.caller == "b" | context.issuer == "a" | context.issuer == "b"`},
		{"two conditions", `permit (principal, action, resource) when { context.tenant == "}" } unless { context.issuer == "a" } when { context.caller == "b" };`,
			`context.tenant == "}" | context.issuer == "a" | context.caller == "b"`},
		{"if", `permit (principal, action, resource) when { if context.tenant == "a" then true && true else context.issuer == "b" };`,
			`if context.tenant == "a" then true && true else context.issuer == "b"`},
		{"or below and", `permit (principal, action, resource) when { context.tenant == "a" && (context.issuer == "b" || context.issuer == "c") };`,
			`context.tenant == "a" | context.issuer == "b" || context.issuer == "c"`},
		{"as it is not written", `permit (principal, action, resource) when { context has ticket.id && context.tenant == "a" };`,
			`context has ticket.id && context.tenant == "a" | context has ticket.id && context.tenant == "a" | context has ticket.id && context.tenant == "a"`},
		{"after another", `permit (principal, action, resource); @id("b") @description("permit (when {") forbid (principal, action, resource) when { context.tenant == "b" };`, ``},
	} {
		t.Run(test.name, func(t *testing.T) {
			files, _, set := bundle(t, `@id("a") `+test.policy+"\n", "")
			text, err := policy.ReadFile(files, "cedar/a.cedar")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range locate(policy.Blank(text), set.Statements()[0]) {
				got = append(got, string(text[s.start:s.end]))
			}
			if diff := cmp.Diff(test.want, strings.Join(got, " | ")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// The page shows the sources whole and escaped, and each clause as it was seen.
func TestHTML(t *testing.T) {
	files, c := watched(t)
	var page bytes.Buffer
	if err := c.HTML(&page, "<script>", files); err != nil {
		t.Fatal(err)
	}
	text := page.String()
	for _, want := range []string{
		"Clause coverage of &lt;script&gt;: ",
		`<mark class="both" title="true`, `<mark class="true" title="true`, `<mark class="false" title="true 0 times, false`, `<mark class="none" title="true 0 times, false 0 times">context has ticket</mark>`,
		`an error`, `id="f0-3"`, `href="#f0-3"`, `principal in Team::&#34;support&#34;`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(text, "<script") || strings.Contains(text, "http") {
		t.Error("the page runs or loads something")
	}
	tags := regexp.MustCompile(`<[^>]*>`)
	source := tags.ReplaceAllString(text[strings.Index(text, "<pre>"):strings.Index(text, "</pre>")], "")
	source = strings.NewReplacer("&#34;", `"`, "&#43;", "+", "&lt;", "<", "&gt;", ">", "&amp;", "&").Replace(source)
	want := ""
	for i, line := range strings.Split(someCedar, "\n") {
		want += fmt.Sprint(i+1) + line
	}
	if diff := cmp.Diff(want, source); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A file whose policies cannot be found is shown without marks, and nothing breaks.
func FuzzLocate(f *testing.F) {
	for _, seed := range []string{someCedar, "permit (", "@id(\"a\") permit (principal, action, resource) when {", "when { ((( && || }", ""} {
		f.Add(seed, 0)
		f.Add(seed, 7)
	}
	b, err := policy.Load(policies.Files)
	if err != nil {
		f.Fatal(err)
	}
	statements := b.Policies.(*policy.Set).Statements()
	f.Fuzz(func(t *testing.T, text string, n int) {
		st := statements[uint(n)%uint(len(statements))]
		st.Position.Offset = int(uint(n) % uint(len(text)+1))
		for _, s := range locate(policy.Blank([]byte(text)), st) {
			if s.start < 0 || s.start > s.end || s.end > len(text) {
				t.Errorf("%v of %d bytes", s, len(text))
			}
		}
	})
}
