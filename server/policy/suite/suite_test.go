package suite_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/policies"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/suite"
)

var loaded = sync.OnceValues(func() (*decision.Bundle, error) { return policy.Load(policies.Files) })

// sample is the sample bundle, and tests of the test's own.
func sample(t testing.TB, tests map[string]string) (fstest.MapFS, *decision.Bundle) {
	t.Helper()
	b, err := loaded()
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{}
	for name, text := range tests {
		files["tests/"+name] = &fstest.MapFile{Data: []byte(text), Mode: 0o444}
	}
	return files, b
}

const fixtures = `now: 2026-11-23T10:00:00Z
principals:
  support: { agent: spiffe://example.org/agent/support }
  operations: { agent: spiffe://example.org/agent/operations }
requests:
  sum: { purpose: support, tool: everything/get-sum, args: { a: 1, b: 2 } }
  refund: { purpose: support, tool: stripe/create_refund, args: { payment_intent: pi_1, amount: 4200 } }
  read: { purpose: support, tool: filesystem/read_text_file, args: { path: /srv/files/a.txt } }
  result: { purpose: support, phase: RESULT, tool: everything/get-sum, args: { a: 1, b: 2 }, content: { content: [{ type: text, text: "3" }] } }
  customer: { purpose: support, tool: stripe/create_customer, args: { name: Ada, email: hunter2 } }
tickets:
  CHG-1: { principal: support, tool: stripe/create_refund, approvers: [lead] }
budgets:
  spent: { refunds-daily: 20 }
sessions:
  { run: { calls: { sum: { principal: support, request: sum }, short: { principal: support, request: sum, max_output: 8 } } }, strange: { labels: [untrusted-content] }, odd: { labels: [pii, secrets] } }
`

// The sample bundle's own tests pass.
func TestSample(t *testing.T) {
	_, b := sample(t, nil)
	cases, err := suite.Load(policies.Files, b)
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) < 100 {
		t.Errorf("%d cases", len(cases))
	}
	for _, r := range suite.Run(b, cases) {
		if r.Failed() {
			t.Errorf("%s:%d:%d: %s: %s", r.File, r.Line, r.Column, r.ID(), r.Failures)
		}
	}
}

// The example of the author's page is one.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../../docs/policy-author.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n# tests/refunds.yaml\n")
	example, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("the page has no example")
	}
	files, b := sample(t, map[string]string{"refunds.yaml": example})
	cases, err := suite.Load(files, b)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range suite.Run(b, cases) {
		if r.Failed() {
			t.Errorf("%s: %s", r.ID(), r.Failures)
		}
	}
	if len(cases) != 6 {
		t.Errorf("%d cases", len(cases))
	}
}

// Each failure is a sentence of what differs.
func TestFailures(t *testing.T) {
	for _, test := range []struct{ name, one, want string }{
		{"passes", `{name: c, principal: support, request: sum, expect: {effect: ALLOW, reasons: [policy.permit], policies: [support-thinks], obligations: []}}`, ""},
		{"effect", `{name: c, principal: operations, request: sum, expect: {effect: ALLOW}}`,
			"The effect is DENY and ALLOW was expected, by policy.no_permit."},
		{"effect by a policy", `{name: c, principal: support, request: sum, expect: {effect: DENY}}`,
			"The effect is ALLOW and DENY was expected, by policy.permit of support-thinks."},
		{"reasons", `{name: c, principal: operations, request: sum, expect: {effect: DENY, reasons: [policy.forbid]}}`,
			"The reason policy.forbid was expected and is missing: there is policy.no_permit. The reason policy.no_permit was not expected."},
		{"no reasons", `{name: c, principal: operations, request: sum, expect: {effect: DENY, reasons: []}}`, "The reason policy.no_permit was not expected."},
		{"policies", `{name: c, principal: support, request: sum, expect: {effect: ALLOW, policies: [x]}}`,
			"The policy x was expected and is missing: there is support-thinks. The policy support-thinks was not expected."},
		{"an obligation", `{name: c, principal: support, request: sum, expect: {effect: ALLOW, obligations: [{type: notify, to: x}]}}`,
			"The obligation {type: notify, to: x} was expected and is missing: there is none."},
		{"another obligation", `{name: c, principal: support, request: read, expect: {effect: ALLOW, obligations: [{type: limit_output, max_bytes: 1}]}}`,
			"The obligation {type: limit_output, max_bytes: 1} was expected and is missing: there is {type: limit_output, policy: limit-file-output, max_bytes: 65536}."},
		{"a part of an obligation", `{name: c, principal: support, request: read, expect: {effect: ALLOW, obligations: [{type: limit_output}]}}`, ""},
		{"no obligation", `{name: c, principal: support, request: read, expect: {effect: ALLOW, obligations: []}}`,
			"No obligation was expected: there is {type: limit_output, policy: limit-file-output, max_bytes: 65536}."},
		{"a ticket", `{name: c, principal: support, request: refund, with: {args: {payment_intent: p, amount: 5001}}, ticket: CHG-1, expect: {effect: ALLOW}}`, ""},
		{"a ticket's time", `{name: c, principal: support, request: refund, now: 2026-12-24T00:00:00Z, expect: {effect: DENY, policies: [change-freeze]}}`, ""},
		{"a budget", `{name: c, principal: support, request: refund, budgets: spent, expect: {effect: DENY, reasons: [budget.exhausted]}}`, ""},
		{"a session's labels", `{name: c, principal: support, request: refund, session: strange, expect: {effect: DENY, policies: [taint-no-harm]}}`, ""},
		{"a token", `{name: c, principal: support, request: refund, token_used: true, expect: {effect: DENY, reasons: [token.replayed]}}`, ""},
		{"a result", `{name: c, principal: support, request: result, expect: {effect: ALLOW}}`, ""},
		{"a result of a call", `{name: c, principal: support, request: result, session: run, call: sum, expect: {effect: ALLOW}}`, ""},
		{"a result longer than its call allows", `{name: c, principal: support, request: result, session: run, call: short, expect: {effect: DENY, reasons: [tool.result_size]}}`, ""},
		{"a result of another call", `{name: c, principal: support, request: result, with: {args: {a: 2, b: 2}}, session: run, call: sum, expect: {effect: DENY, reasons: [call.mismatch]}}`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			files, b := sample(t, map[string]string{"a.yaml": fixtures + "cases:\n  - " + test.one + "\n"})
			cases, err := suite.Load(files, b)
			if err != nil {
				t.Fatal(err)
			}
			results := suite.Run(b, cases)
			if got := strings.Join(results[0].Failures, " "); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// What is wrong in a file is said with its place.
func TestWrong(t *testing.T) {
	for _, test := range []struct{ name, more, want string }{
		{"an unknown key", "caes: []", `tests/a.yaml:17:1: unknown field "caes"`},
		{"an unknown key of a case", "cases: [{name: c, pricipal: support}]", `tests/a.yaml:17:19: unknown field "pricipal"`},
		{"an unknown key of an expectation", "cases: [{name: c, principal: support, request: sum, expect: {effct: ALLOW}}]", `tests/a.yaml:17:62: unknown field "effct"`},
		{"an unknown key of a change", "cases: [{name: c, principal: support, request: sum, with: {tol: x}, expect: {effect: ALLOW}}]", `tests/a.yaml:17:60: unknown field "tol"`},
		{"an unknown principal", "cases: [{name: c, principal: suport, request: sum, expect: {effect: ALLOW}}]", `tests/a.yaml:17:30: there is no principal "suport"`},
		{"an unknown request", "cases: [{name: c, principal: support, request: sun, expect: {effect: ALLOW}}]", `tests/a.yaml:17:48: there is no request "sun"`},
		{"an unknown ticket", "cases: [{name: c, principal: support, request: sum, ticket: X, expect: {effect: ALLOW}}]", `tests/a.yaml:17:61: there is no ticket "X"`},
		{"an unknown session", "cases: [{name: c, principal: support, request: sum, session: X, expect: {effect: ALLOW}}]", `tests/a.yaml:17:62: there is no session "X"`},
		{"an unknown label", "cases: [{name: c, principal: support, request: sum, session: odd, expect: {effect: ALLOW}}]", `tests/a.yaml:17:62: there is no label "secrets"`},
		{"an unknown call", "cases: [{name: c, principal: support, request: result, session: run, call: X, expect: {effect: ALLOW}}]", `tests/a.yaml:17:76: the session has no call "X"`},
		{"a call of no result", "cases: [{name: c, principal: support, request: sum, session: run, call: sum, expect: {effect: ALLOW}}]", `tests/a.yaml:17:73: only a result belongs to a call`},
		{"unknown budgets", "cases: [{name: c, principal: support, request: sum, budgets: X, expect: {effect: ALLOW}}]", `tests/a.yaml:17:62: there are no budgets "X"`},
		{"no name", "cases: [{principal: support, request: sum, expect: {effect: ALLOW}}]", `tests/a.yaml:17:21: a case has no name`},
		{"nothing", "cases: [{}]", `tests/a.yaml: a case has no name`},
		{"two of one name", "cases: [{name: c, principal: support, request: sum, expect: {effect: ALLOW}}, {name: c, principal: support, request: sum, expect: {effect: ALLOW}}]", `tests/a.yaml:17:86: there is another case "c"`},
		{"no expectation", "cases: [{name: c, principal: support, request: sum}]", `tests/a.yaml:17:16: the expected effect "" is not ALLOW, DENY, REDACT or ROUTE`},
		{"an unknown obligation", "cases: [{name: c, principal: support, request: sum, expect: {effect: ALLOW, obligations: [{type: hide}]}}]", `tests/a.yaml:17:16: there is no obligation of the type "hide"`},
		{"a question that is none", "cases: [{name: c, principal: support, request: sum, with: {phase: DANCE}, expect: {effect: ALLOW}}]", `tests/a.yaml:17:16: the phase "DANCE" is not LIST, PROMPT, CALL, RESULT or CONNECT`},
		{"arguments of a prompt", "cases: [{name: c, principal: support, request: sum, with: {phase: PROMPT, text: x}, expect: {effect: ALLOW}}]", `tests/a.yaml:17:16: only a call and a result have args`},
		{"money of no currency", "cases: [{name: c, principal: support, request: sum, with: {micros: 1}, expect: {effect: ALLOW}}]", `tests/a.yaml:17:16: micros and currency go together`},
		{"a resource without an id", "cases: [{name: c, principal: support, request: sum, with: {resource: {type: T}}, expect: {effect: ALLOW}}]", `tests/a.yaml:17:16: the resource has no id`},
		{"arguments that are none", "cases: [{name: c, principal: support, request: sum, with: {args: [1]}, expect: {effect: ALLOW}}]", `tests/a.yaml:17:16: args: not a JSON object`},
		{"arguments that are ambiguous", `cases: [{name: c, principal: support, request: sum, with: {args: '{"a":1,"a":2}'}, expect: {effect: ALLOW}}]`, `tests/a.yaml:17:16: args: at /a: duplicate key`},
		{"an alias in arguments", "cases: [{name: &n c, principal: support, request: sum, with: {args: {a: *n}}, expect: {effect: ALLOW}}]", `alias`},
		{"a hole in a matrix", "matrix: [{name: m, expect: {support: {sum: ALLOW, read: ALLOW}, operations: {sum: DENY}}}]", `tests/a.yaml:17:17: the matrix says nothing of operations and read`},
		{"an unknown row", "matrix: [{name: m, expect: {suport: {sum: ALLOW}}}]", `tests/a.yaml:17:43: there is no principal "suport"`},
		{"an unknown effect in a matrix", "matrix: [{name: m, expect: {support: {sum: MAYBE}}}]", `tests/a.yaml:17:44: the expected effect "MAYBE" is not ALLOW, DENY, REDACT or ROUTE`},
		{"an empty matrix", "matrix: [{name: m}]", `tests/a.yaml:17:17: the matrix expects nothing`},
		{"a list for a name", "cases: [{name: [c]}]", `not a name`},
		{"deep", "cases: " + strings.Repeat("[", 100), "nested deeper than 32"},
		{"two documents", "---\nnow: 2026-11-23T10:00:00Z", "more than one YAML document"},
	} {
		t.Run(test.name, func(t *testing.T) {
			files, b := sample(t, map[string]string{"a.yaml": fixtures + test.more + "\n"})
			_, err := suite.Load(files, b)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "tests/a.yaml") {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
	files, b := sample(t, map[string]string{"a.yaml": "cases: []\n"})
	if _, err := suite.Load(files, b); err == nil || err.Error() != "tests/a.yaml: now is missing: tests do not read the clock" {
		t.Errorf("got %v", err)
	}
	files, b = sample(t, map[string]string{"a.yaml": "now: 2026-11-23T10:00:00Z\nbudgets: {x: {none: 1}}\n"})
	if _, err := suite.Load(files, b); err == nil || err.Error() != `tests/a.yaml: budgets.x: there is no budget or breaker "none"` {
		t.Errorf("got %v", err)
	}
	files, b = sample(t, map[string]string{"a.yml": fixtures})
	if _, err := suite.Load(files, b); err == nil || err.Error() != "tests/a.yml: tests stand in files that end in .yaml or .json" {
		t.Errorf("got %v", err)
	}
	one := fixtures + "name: one\ncases: [{name: c, principal: support, request: sum, expect: {effect: ALLOW}}]\n"
	files, b = sample(t, map[string]string{"a.yaml": one, "b.yaml": one})
	if _, err := suite.Load(files, b); err == nil || err.Error() != `tests/b.yaml: the suite "one" is in tests/a.yaml too` {
		t.Errorf("got %v", err)
	}
}

// A little text makes no matrix larger than any memory.
func TestMatrixIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("now: 2026-11-23T10:00:00Z\nmatrix:\n- expect:\n    p0: &a {\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "      r%d: DENY,\n", i)
	}
	b.WriteString("      z: DENY }\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "    q%d: *a\n", i)
	}
	files, bundle := sample(t, map[string]string{"a.yaml": b.String()})
	if _, err := suite.Load(files, bundle); err == nil || err.Error() != "tests/a.yaml: the matrix has more than 100000 cells" {
		t.Errorf("got %v", err)
	}
}

// An error never quotes an argument.
func TestErrorsHoldNoArguments(t *testing.T) {
	for _, args := range []string{`{email: hunter2, 'x': !!binary hunter2}`, `'{"email": hunter2'`, `'hunter2'`, `[hunter2]`, `{email: &a hunter2}`, `{[hunter2]: 1}`} {
		files, b := sample(t, map[string]string{"a.yaml": fixtures + "cases: [{name: c, principal: support, request: customer, with: {args: " + args + "}, expect: {effect: ALLOW}}]\n"})
		_, err := suite.Load(files, b)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", args, err)
		}
	}
}

func TestMatrix(t *testing.T) {
	files, b := sample(t, map[string]string{"a.yaml": fixtures + `matrix:
  - expect:
      support: { sum: ALLOW, read: ALLOW }
      operations: { sum: ALLOW, read: DENY }
  - name: spent
    budgets: spent
    expect: { support: { refund: DENY } }
`})
	cases, err := suite.Load(files, b)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range suite.Run(b, cases) {
		got = append(got, fmt.Sprintf("%s:%d:%d %t", r.ID(), r.Line, r.Column, r.Failed()))
	}
	want := []string{"a/operations read:20:39 false", "a/operations sum:20:26 true", "a/support read:19:36 false", "a/support sum:19:23 false", "a/spent: support refund:23:34 false"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestReadRequest(t *testing.T) {
	_, b := sample(t, nil)
	c, err := suite.ReadRequest("r.yaml", []byte(`now: 2026-11-23T10:00:00Z
agent: spiffe://example.org/agent/support
purpose: support
tool: stripe/create_refund
args: { payment_intent: pi_1, amount: 5001 }
ticket: CHG-1
tickets: { CHG-1: { tool: stripe/create_refund, approvers: [lead] } }
used: { refunds-daily: 19 }
`), b)
	if err != nil {
		t.Fatal(err)
	}
	_, d := c.Decide(b)
	if !d.Allowed() || !slices.ContainsFunc(d.Budgets(), func(l decision.BudgetLine) bool { return l.Budget == "refunds-daily" && l.Remaining == 0 }) {
		t.Errorf("got %+v", d)
	}
	for text, want := range map[string]string{
		"agent: x\npurpose: p\ntool: a/b\n":                                           "r.yaml: now is missing",
		"now: 2026-11-23T10:00:00Z\nagent: x\npurpose: p\n":                           "r.yaml: a call and a result have a tool",
		"now: 2026-11-23T10:00:00Z\nagnt: x\n":                                        `r.yaml:2:1: unknown field "agnt"`,
		"now: 2026-11-23T10:00:00Z\nagent: x\npurpose: p\ntool: a/b\nused: {none: 1}": `r.yaml: used: there is no budget or breaker "none"`,
	} {
		if _, err := suite.ReadRequest("r.yaml", []byte(text), b); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
