package suite_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/policy/suite"
)

// context is one that fits every tool of the sample bundle, but for the tool's
// arguments.
const context = `"phase": "CALL", "purpose": "maintenance", "tenant": "t", "caller": "c", "issuer": "i", "actors": [],
  "now": {"__extn": {"fn": "datetime", "arg": "2026-11-23"}}, "cost": {"calls": 1, "tokens": 0, "micros": 0, "currency": ""}, "extra": {},
  "tool": {"server": "s", "name": "n", "classes": [], "labels": []}`

// one is a test in Cedar's own form.
func one(name, tool, args, decision, reason string, errors int) string {
	return fmt.Sprintf(`{
  "name": %q,
  "request": {"principal": "Agent::\"someone\"", "action": "Action::\"%s\"", "resource": "Server::\"stripe\"", "context": {"args": %s, %s}},
  "entities": [
    {"uid": {"type": "Agent", "id": "someone"}, "attrs": {}, "parents": [{"type": "Team", "id": "billing"}]},
    {"uid": {"type": "Team", "id": "billing"}, "attrs": {}, "parents": []}
  ],
  "decision": %q, "reason": [%s], "num_errors": %d}`, name, tool, args, context, decision, reason, errors)
}

func TestCedar(t *testing.T) {
	tests := []struct{ one, want string }{
		{one("allows", "stripe/list_invoices", `{}`, "allow", `"billing-reads"`, 0), ""},
		{one("subset", "stripe/list_invoices", `{}`, "allow", ``, 0), ""},
		{one("denies", "stripe/list_invoices", `{}`, "deny", ``, 0), "The decision is allow and deny was expected, by billing-reads."},
		{one("reason", "stripe/list_invoices", `{}`, "allow", `"other"`, 0), "The policy other was expected and is missing: there is billing-reads."},
		{one("forbids", "stripe/create_refund", `{"payment_intent": "p", "amount": 9000}`, "deny", `"refund-above-50-needs-ticket"`, 0), ""},
		{one("errors", "stripe/create_refund", `{"payment_intent": "p", "amount": 4611686018427387904}`, "deny", ``, 1), ""},
		{one("misfit", "stripe/create_refund", `{"payment_intent": 1}`, "deny", ``, 0), "The request or its entities do not fit the schema"},
	}
	// The overflow needs a limit to be compared with.
	tests[5].one = strings.Replace(tests[5].one, `"extra": {}`, `"extra": {"amountLimit": 1}`, 1)
	var all []string
	for _, test := range tests {
		all = append(all, test.one)
	}
	files, b := sample(t, map[string]string{"cedar.json": "[\n" + strings.Join(all, ",\n") + "\n]\n"})
	cases, err := suite.Load(files, b)
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) != len(tests) {
		t.Fatalf("%d cases", len(cases))
	}
	for i, r := range suite.Run(b, cases) {
		got := strings.Join(r.Failures, " ")
		if want := tests[i].want; got != want && (want == "" || !strings.HasPrefix(got, want)) {
			t.Errorf("%s:\ngot  %s\nwant %s", r.ID(), got, want)
		}
	}
	if got := fmt.Sprintf("%s:%d:%d", cases[1].File, cases[1].Line, cases[1].Column); got != "tests/cedar.json:12:1" {
		t.Errorf("the second test stands at %s", got)
	}
}

func TestCedarWrong(t *testing.T) {
	whole := one("x", "stripe/list_invoices", `{}`, "allow", ``, 0)
	for _, test := range []struct{ name, text, want string }{
		{"no list", `{}`, "tests/a.json: not a list of tests"},
		{"no JSON", `[`, "tests/a.json: "},
		{"duplicate keys", `[{"name": "a", "name": "b"}]`, "duplicate object member"},
		{"an unknown key", "[\n  " + strings.Replace(whole, `"decision"`, `"descision"`, 1) + `]`, "tests/a.json:2:3: test 0: not a test"},
		{"no request", `[{"entities": [], "decision": "allow", "reason": [], "num_errors": 0}]`, "are required"},
		{"no reason", "[" + strings.Replace(whole, `"reason": [],`, ``, 1) + "]", "are required"},
		{"no number of errors", "[" + strings.Replace(whole, `, "num_errors": 0`, ``, 1) + "]", "are required"},
		{"another decision", "[" + strings.Replace(whole, `"allow"`, `"Allow"`, 1) + "]", `the decision "Allow" is not allow or deny`},
		{"entities elsewhere", `[{"request": {"principal": "A::\"a\"", "action": "A::\"a\"", "resource": "A::\"a\""}, "entities": "../../etc/passwd", "decision": "allow", "reason": [], "num_errors": 0}]`, "entities in another file are not read"},
		{"no principal", "[" + strings.Replace(whole, `Agent::\"someone\"`, `someone`, 1) + "]", `the principal is no entity`},
		{"two of one name", "[" + whole + "," + whole + "]", `there is another test "x"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			files, b := sample(t, map[string]string{"a.json": test.text})
			_, err := suite.Load(files, b)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "tests/a.json") {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

// Files come in the order of their names, of whichever form.
func TestOrder(t *testing.T) {
	files, b := sample(t, map[string]string{
		"b.json": "[" + one("x", "stripe/list_invoices", `{}`, "allow", ``, 0) + "]",
		"c.yaml": fixtures + "cases: [{name: y, principal: support, request: sum, expect: {effect: ALLOW}}]\n",
		"a.yaml": fixtures + "cases: [{name: z, principal: support, request: sum, expect: {effect: ALLOW}}]\n",
	})
	cases, err := suite.Load(files, b)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range cases {
		got = append(got, c.ID())
	}
	if diff := cmp.Diff([]string{"a/z", "b/x", "c/y"}, got); diff != "" {
		t.Error(diff)
	}
}
