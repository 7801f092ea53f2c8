package lint_test

import (
	"testing"

	"github.com/writpdp/writ/policies"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/lint"
)

// The sample bundle is clean.
func TestSample(t *testing.T) {
	src, err := policy.Read(policies.Files)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range lint.Check(src) {
		t.Errorf("%s: %s: %s: %s %s", f.At(), f.Severity, f.Code, f.Text, f.Fix)
	}
}
