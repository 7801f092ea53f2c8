package symcc_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/policytest"
	"github.com/writpdp/writ/server/policy/prove"
	"github.com/writpdp/writ/server/policy/prove/symcc"
	"github.com/writpdp/writ/test/prover"
)

// patience is what a busy machine needs.
const patience = 5 * time.Minute

func find(t testing.TB, patience time.Duration) *symcc.Tool {
	t.Helper()
	cedar, cvc5 := prover.Programs(t)
	tool, err := symcc.Find(t.Context(), cedar, cvc5, patience)
	if err != nil {
		t.Fatal(err)
	}
	return tool
}

// side is the small bundle with some policies and files put for others.
func side(t testing.TB, policies string, others ...[2]string) prove.Side {
	t.Helper()
	files := policytest.Bundle(policies)
	for _, o := range others {
		files[o[0]] = &fstest.MapFile{Data: []byte(o[1]), Mode: 0o444}
	}
	var out prove.Side
	var err error
	if out.Bundle, err = policy.Load(files); err != nil {
		t.Fatal(err)
	}
	if out.Source, err = policy.Read(files); err != nil {
		t.Fatal(err)
	}
	if out.Schema, err = policy.Schema(files); err != nil {
		t.Fatal(err)
	}
	return out
}

// said is what a proof says, but for what is equivalent.
func said(p *prove.Proof) []string {
	all := []string{fmt.Sprintf("%s (wider %s, narrower %s, obligations %s)", p.Verdict, p.Wider, p.Narrower, p.Obligations)}
	for _, e := range p.Environments {
		if e.Verdict != prove.Equivalent {
			all = append(all, fmt.Sprintf("%s on %s: %s", e.Action, e.Resource, e.Verdict))
		}
		for _, d := range e.Duties {
			all = append(all, fmt.Sprintf("%s on %s: %s: more %s, less %s", e.Action, e.Resource, d.Duty, d.More.Claim, d.Less.Claim))
		}
	}
	return all
}

const (
	equivalent = "equivalent (wider no, narrower no, obligations no)"
	wider      = "wider (wider yes, narrower no, obligations no)"
	narrower   = "narrower (wider no, narrower yes, obligations no)"
)

// permits is one policy for the tool s/t on its server.
func permits(condition string) string {
	return `@id("p") permit (principal, action == Action::"s/t", resource is Server) when { ` + condition + " };\n"
}

func TestProofs(t *testing.T) {
	tool := find(t, patience)
	const entities = `[
{"uid":{"type":"Agent","id":"a"},"attrs":{"level":3},"parents":[{"type":"Team","id":"t"}]},
{"uid":{"type":"Agent","id":"b"},"attrs":{"level":3},"parents":[%s]}]`
	joined := [2]string{"entities.json", fmt.Sprintf(entities, `{"type":"Team","id":"t"}`)}
	apart := [2]string{"entities.json", fmt.Sprintf(entities, "")}
	schema := string(policytest.Bundle("")["schema.cedarschema"].Data)
	tagged := [2]string{"schema.cedarschema", strings.Replace(schema, "{ vip: Bool }", "{ vip: Bool } tags Long", 1)}
	for _, test := range []struct {
		name     string
		old, new prove.Side
		want     []string
	}{
		{"written otherwise", side(t, permits(`context.args has n && context.args.n < 5`)), side(t, permits(`context.args has n && !(context.args.n >= 5)`)), []string{equivalent}},
		{"wider", side(t, permits(`context.args has n && context.args.n < 5`)), side(t, permits(`context.args has n && context.args.n < 6`)),
			[]string{wider, "s/t on Server: wider"}},
		{"narrower", side(t, permits(`context.args.w like "a*"`)), side(t, permits(`context.args.w like "ab*"`)), []string{narrower, "s/t on Server: narrower"}},
		{"both", side(t, permits(`context.args.w == "a"`)), side(t, permits(`context.args.w == "b"`)),
			[]string{"both (wider yes, narrower yes, obligations no)", "s/t on Server: both"}},
		{"two kinds of requests", side(t, permits(`context.purpose == "p"`)+`@id("z") permit (principal, action == Action::"z/t", resource);`),
			side(t, permits(`context has ticket || context.purpose == "p"`)+`@id("z") permit (principal, action == Action::"z/t", resource) when { context has ticket };`),
			[]string{"both (wider yes, narrower yes, obligations no)", "s/t on Server: wider", "z/t on Server: narrower"}},
		{"an extension's values", side(t, permits(`context.args has d && context.args.d.lessThan(decimal("1.0"))`)),
			side(t, permits(`context.args has d && context.args.d.lessThanOrEqual(decimal("1.0"))`)), []string{wider, "s/t on Server: wider"}},
		{"times, written otherwise", side(t, permits(`context.now < datetime("2026-12-24")`)), side(t, permits(`!(context.now >= datetime("2026-12-24T00:00:00Z"))`)), []string{equivalent}},
		{"tags", side(t, permits(`context.extra has human && context.extra.human.hasTag("x")`), tagged), side(t, permits(`true`), tagged),
			[]string{"unknown (wider unknown, narrower unknown, obligations unknown)", "s/t on Server: unknown"}},
		{"a forbid goes into shadow mode", side(t, permits("true")+`@id("f") forbid (principal, action == Action::"s/t", resource) when { context.args has n };`),
			side(t, permits("true")+`@id("f") @mode("shadow") forbid (principal, action == Action::"s/t", resource) when { context.args has n };`), []string{wider, "s/t on Server: wider"}},
		{"a policy in shadow mode changes", side(t, permits("true")), side(t, permits("true")+`@id("f") @mode("shadow") forbid (principal, action, resource);`), []string{equivalent}},
		{"an agent joins a team", side(t, permits(`principal in Team::"t"`), apart), side(t, permits(`principal in Team::"t"`), joined), []string{wider, "s/t on Server: wider"}},
		{"what the bundle says of its agents", side(t, permits(`principal has level && principal.level > 2`), joined), side(t, permits(`principal in Team::"t"`), joined), []string{equivalent}},
		{"a policy that can fail denies", side(t, permits("true")),
			side(t, permits("true")+`@id("o") @obligate("watermark") @text("w") permit (principal, action == Action::"s/t", resource is Server) when { context.cost.tokens + 1 < 1 };`),
			[]string{narrower, "s/t on Server: narrower"}},
		{"an agent's attribute without asking for it", side(t, permits(`principal has level && principal.level == 3`)), side(t, permits(`principal.level == 3`)), []string{equivalent}},
		{"under a purpose that there is not", side(t, permits(`context.purpose == "p"`)), side(t, permits(`context.purpose == "p" || context.purpose == "none"`)), []string{equivalent}},
		{"a purpose grants the tool", side(t, permits("true"), [2]string{"purposes.yaml", "p:\n  tools: [s/*]\nq:\n  tools: [z/*]\n"}), side(t, permits("true")),
			[]string{wider, "s/t on Server: wider"}},
		{"a tenant's own policy", side(t, permits(`context.args.w == "a"`)), side(t, permits(`context.args.w == "a"`), [2]string{"cedar/tenants/abc/a.cedar", strings.Replace(permits(`context.args.w == "b"`), `"p"`, `"own"`, 1)}),
			[]string{wider, "s/t on Server: wider"}},
		{"a tenant's own policy for all", side(t, permits(`context.args.w == "a" || context.tenant == "abc" && context.args.w == "b"`)),
			side(t, permits(`context.args.w == "a"`), [2]string{"cedar/tenants/abc/a.cedar", strings.Replace(permits(`context.args.w == "b"`), `"p"`, `"own"`, 1)}), []string{equivalent}},
		{"a server's class", side(t, permits(`context.tool.classes.contains("read-only")`)), side(t, permits("true")), []string{equivalent}},
		{"obligations", side(t, permits("true")+`@id("o") @obligate("redact") @fields("/a /b") permit (principal, action == Action::"s/t", resource is Server) when { context.args has n };`),
			side(t, permits("true")+`@id("o") @obligate("redact") @fields("/a") permit (principal, action == Action::"s/t", resource is Server) when { context.args has n };`+
				`@id("q") @obligate("redact") @fields("/a /c") permit (principal, action == Action::"s/t", resource is Server) when { context.args has b };`),
			[]string{"equivalent (wider no, narrower no, obligations yes)", "s/t on Server: redact \"/a\" by mask: more yes, less no",
				"s/t on Server: redact \"/b\" by mask: more no, less yes", "s/t on Server: redact \"/c\" by mask: more yes, less no"}},
		{"a tool's arguments", side(t, permits("true")), side(t, permits("true"), [2]string{"tools/s.json", `{"server":"s","tools":[{"name":"t","inputSchema":{"type":"object"}}]}`}),
			[]string{"unknown (wider unknown, narrower unknown, obligations unknown)", "s/t on Server: unknown", "s/t on Thing: unknown"}},
		{"a tool comes", side(t, `@id("p") permit (principal, action, resource);`, [2]string{"tools/z.json", `{"server":"z","tools":[]}`}, [2]string{"tools.yaml", "s:\n  t: { classes: [read-only], resources: [Thing] }\n"},
			[2]string{"purposes.yaml", "p:\n  tools: [s/*]\nq:\n  tools: [s/*]\n"}),
			side(t, `@id("p") permit (principal, action, resource);`), []string{wider, "z/t on Server: wider"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := prove.Of(t.Context(), test.old, test.new, tool.Ask, 2)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, said(p)); diff != "" {
				t.Errorf("-want +got:\n%s\n%s", diff, p.Text())
			}
		})
	}
}

// No request contradicts a proof: over random bundles, none that is allowed by one
// only is of a kind of which the proof says that there is none.
func TestNoRequestContradicts(t *testing.T) {
	tool := find(t, patience)
	claims := map[prove.Claim]int{}
	for seed := range 3 {
		drawn := rapid.Custom(func(t *rapid.T) [2]string { return [2]string{policytest.DrawPolicies(t), policytest.DrawPolicies(t)} }).Example(seed)
		old, new := side(t, drawn[0]), side(t, drawn[1])
		p, err := prove.Of(t.Context(), old, new, tool.Ask, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range p.Environments {
			claims[e.Wider.Claim]++
			claims[e.Narrower.Claim]++
			if e.Wider.Claim == prove.Unknown || e.Narrower.Claim == prove.Unknown {
				t.Logf("%s on %s: %s %s", e.Action, e.Resource, e.Wider.Reason, e.Narrower.Reason)
			}
		}
		rapid.Check(t, func(t *rapid.T) {
			for range 10 {
				q := policytest.DrawQuery(t, old.Bundle)
				was, is := allows(old, q), allows(new, q)
				for _, e := range p.Environments {
					if e.Action != action(q) || e.Resource != resource(q) {
						continue
					}
					if is && !was && e.Wider.Claim == prove.No || was && !is && e.Narrower.Claim == prove.No {
						t.Fatalf("%s on %s is %s, and OLD says %t and NEW %t of %+v\n%s\n%s", e.Action, e.Resource, e.Verdict, was, is, q.Request, drawn[0], drawn[1])
					}
				}
			}
		})
	}
	t.Log(claims)
	if claims[prove.Yes] == 0 || claims[prove.No] == 0 {
		t.Error("the bundles are too much alike")
	}
}

func allows(s prove.Side, q decision.Query) bool {
	r := s.Bundle.Policies.Judge(q)
	return len(r.Permits) > 0 && len(r.Forbids)+len(r.Errors) == 0 && r.Refused.Code == ""
}

func action(q decision.Query) string {
	if q.Tool != nil {
		return q.Tool.String()
	}
	return strings.ToLower(q.Request.Phase.String())
}

func resource(q decision.Query) string {
	switch {
	case q.Request.Resource.Type != "":
		return q.Request.Resource.Type
	case q.Tool != nil:
		return "Server"
	}
	return "Destination"
}

func TestVersions(t *testing.T) {
	if got := find(t, patience).String(); !strings.Contains(got, symcc.CedarVersion) || !strings.Contains(got, symcc.CVC5Version) {
		t.Errorf("the tests run %s, and what is told to install is %s and %s", got, symcc.CedarVersion, symcc.CVC5Version)
	}
}

// script is a program that is not the one it should be.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFindSaysWhatIsMissing(t *testing.T) {
	cedar, cvc5 := prover.Programs(t)
	for _, test := range []struct {
		name, cedar, cvc5 string
		want              []string
	}{
		{"both", "/nowhere/cedar", "/nowhere/cvc5", []string{"/nowhere/cedar (CEDAR): ", "/nowhere/cvc5 (CVC5): ", "no such file"}},
		{"the solver", cedar, "/nowhere/cvc5", []string{"looking for the provers: /nowhere/cvc5 (CVC5): "}},
		{"the feature", script(t, `[ "$1" = --version ] && echo cedar-policy-cli 1`), cvc5, []string{"cedar-policy-cli 1", "without the feature `analyze`"}},
		{"a program that fails", script(t, "echo broken >&2; exit 3"), cvc5, []string{"version: broken"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := symcc.Find(t.Context(), test.cedar, test.cvc5, patience)
			if err == nil {
				t.Fatal("found")
			}
			for _, want := range append(test.want, "cargo install cedar-policy-cli --version "+symcc.CedarVersion+" --locked --features analyze", "pip install cvc5=="+symcc.CVC5Version) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in %v", want, err)
				}
			}
		})
	}
}

// A tool that does not answer as it should proves nothing, and leaves nothing.
func TestAnswersThatAreNone(t *testing.T) {
	_, cvc5 := prover.Programs(t)
	const known = `case "$1" in --version) echo 1; exit;; esac; [ "$2" = --help ] && exit; `
	for _, test := range []struct{ name, script, want string }{
		{"nothing", "exit 0", "not one that is known"},
		{"more than the answer", `printf '✓ Policy set 1 implies policy set 2: VERIFIED\nand more\n'`, "not one that is known"},
		{"another property", `printf '✓ Policy set always allows: VERIFIED\n'`, "not one that is known"},
		{"a failure after the answer", `printf '✓ Policy set 1 implies policy set 2: VERIFIED\n'; exit 1`, "exit status 1"},
		{"a message", `printf '  × Analysis failed\n  ╰─▶ no such thing\n' >&2; exit 1`, "Analysis failed: no such thing"},
		{"without an end", "yes", "the output is longer than"},
		{"never", "sleep 1000 & wait", "no answer within 2s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			tool, err := symcc.Find(t.Context(), script(t, known+test.script), cvc5, 2*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := tool.Ask(t.Context(), prove.Question{})
			if err == nil || answer.Holds || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %+v %v, want %s", answer, err, test.want)
			}
			if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
}

// Who ends the command ends the question, and gets no proof.
func TestEnded(t *testing.T) {
	tool := find(t, patience)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if p, err := prove.Of(ctx, side(t, permits("true")), side(t, permits("false")), tool.Ask, 2); err == nil {
		t.Errorf("a proof: %+v", p)
	}
}
