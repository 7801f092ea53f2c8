package policy_test

import (
	"testing"

	"github.com/writpdp/writ/policies"
	"github.com/writpdp/writ/server/policy"
)

func TestSampleBundleLoads(t *testing.T) {
	b, err := policy.Load(policies.Files)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Tools) == 0 || len(b.Purposes) == 0 || b.Digest == "" {
		t.Errorf("the bundle is incomplete: %d tools, %d purposes", len(b.Tools), len(b.Purposes))
	}
}
