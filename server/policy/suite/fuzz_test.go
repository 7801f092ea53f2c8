package suite_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/writpdp/writ/policies"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/suite"
)

// No file of tests crashes whoever reads and runs it, and what is wrong with one is
// said of that file.
func FuzzLoad(f *testing.F) {
	b, err := policy.Load(policies.Files)
	if err != nil {
		f.Fatal(err)
	}
	names, err := policy.List(policies.Files, policy.DirTests, ".yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		text, err := policy.ReadFile(policies.Files, name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), true)
	}
	f.Add(fixtures+"cases:\n  - name: c\n    principal: support\n    request: sum\n    with: { args: { a: 1.5, b: [~, \"x\", 0x1f] } }\n    expect: { effect: DENY }\n", true)
	f.Add("["+one("x", "stripe/list_invoices", `{}`, "allow", `"a"`, 0)+"]", false)
	f.Fuzz(func(t *testing.T, text string, yaml bool) {
		name := map[bool]string{true: "tests/f.yaml", false: "tests/f.json"}[yaml]
		cases, err := suite.Load(fstest.MapFS{name: {Data: []byte(text), Mode: 0o444}}, b)
		if err != nil && !strings.HasPrefix(err.Error(), name) {
			t.Errorf("got %v", err)
		}
		suite.Run(b, cases)
		if _, err := suite.ReadRequest("r.yaml", []byte(text), b); err != nil && !strings.HasPrefix(err.Error(), "r.yaml") {
			t.Errorf("got %v", err)
		}
	})
}
