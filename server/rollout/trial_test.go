package rollout_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/rollout"
)

func canary(candidate string, share int, tenants ...string) *decision.Rollout {
	return &decision.Rollout{Mode: decision.Canary, Candidate: decision.BundleRef{Digest: candidate}, Share: share, Tenants: tenants}
}

// A session stays where it is: whoever acts in it, on every replica, and when the
// share grows.
func TestCanaryIsSticky(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String()
		candidate, tenant, session := text.Draw(t, "candidate"), text.Draw(t, "tenant"), text.Draw(t, "session")
		a, b := text.Draw(t, "principal"), text.Draw(t, "another principal")
		share := rapid.IntRange(0, decision.Whole).Draw(t, "share")
		more := rapid.IntRange(share, decision.Whole).Draw(t, "more")
		in := rollout.Canary(canary(candidate, share), tenant, session, a)
		if in && !rollout.Canary(canary(candidate, more), tenant, session, a) {
			t.Errorf("out at %d, in at %d", more, share)
		}
		if session != "" && in != rollout.Canary(canary(candidate, share), tenant, session, b) {
			t.Errorf("the session's answer depends on the principal")
		}
		if share == 0 && in || share == decision.Whole && !in {
			t.Errorf("in is %t with a share of %d", in, share)
		}
		if rollout.Canary(canary(candidate, share, tenant+"x"), tenant, session, a) {
			t.Errorf("another tenant's canary")
		}
		if rollout.Canary(&decision.Rollout{Mode: decision.Shadow, Share: share}, tenant, session, a) {
			t.Errorf("a shadow answers")
		}
	})
}

// The share is the share, of sessions as of principals without one, and another
// candidate meets others.
func TestCanaryShare(t *testing.T) {
	const n = 20_000
	for _, share := range []int{1, 100, 1000, 5000, 9900} {
		p := float64(share) / decision.Whole
		slack := 5 * math.Sqrt(p*(1-p)/n)
		var sessions, principals, both int
		for i := range n {
			who := fmt.Sprint("who ", i)
			a := rollout.Canary(canary("a", share, "acme", "bolt"), "acme", who, "agent")
			b := rollout.Canary(canary("b", share), "acme", who, "agent")
			if a {
				sessions++
			}
			if a && b {
				both++
			}
			if rollout.Canary(canary("a", share), "acme", "", who) {
				principals++
			}
		}
		for what, got := range map[string]int{"sessions": sessions, "principals": principals} {
			if math.Abs(float64(got)/n-p) > slack+1.0/n {
				t.Errorf("%d of %d %s with a share of %d", got, n, what, share)
			}
		}
		if math.Abs(float64(both)/n-p*p) > slack+1.0/n {
			t.Errorf("two candidates share %d of %d sessions with a share of %d", both, n, share)
		}
	}
}

// A session must not be taken for a principal of that name, nor its tenant's name
// run into it.
func TestCanaryKeepsNamesApart(t *testing.T) {
	differ := 0
	for i := range 100 {
		who := fmt.Sprint("who ", i)
		r := canary("a", 5000)
		if rollout.Canary(r, "acme", who, "") != rollout.Canary(r, "acme", "", who) {
			differ++
		}
		if rollout.Canary(r, "acme"+who, "x", "") != rollout.Canary(r, "acme", who+"x", "") {
			differ++
		}
	}
	if differ < 50 || differ > 150 {
		t.Errorf("%d of 200 pairs differ: names run together", differ)
	}
}

func TestDeparts(t *testing.T) {
	margin := decision.Margin{Denials: 500, Errors: 100}
	for name, test := range map[string]struct {
		live, candidate rollout.Counts
		margin          decision.Margin
		want            string // part; empty: none
	}{
		"nothing yet":              {rollout.Counts{}, rollout.Counts{}, margin, ""},
		"too few of the candidate": {rollout.Counts{Decisions: 1000}, rollout.Counts{Decisions: 99, Denials: 99, Errors: 99}, margin, ""},
		"too few of the live one":  {rollout.Counts{Decisions: 99}, rollout.Counts{Decisions: 1000, Denials: 1000}, margin, ""},
		"the same":                 {rollout.Counts{1000, 300, 0}, rollout.Counts{100, 30, 0}, margin, ""},
		"all denied":               {rollout.Counts{1000, 50, 0}, rollout.Counts{100, 100, 0}, margin, "denied 100.00% of 100 decisions, the live bundle 5.00% of 1000; the margin is 5.00%"},
		"all allowed":              {rollout.Counts{1000, 500, 0}, rollout.Counts{100, 0, 0}, margin, "denied 0.00% of 100"},
		"more, but few":            {rollout.Counts{100, 10, 0}, rollout.Counts{100, 25, 0}, margin, ""},
		"more, and many":           {rollout.Counts{10_000, 1000, 0}, rollout.Counts{10_000, 2500, 0}, margin, "denied 25.00%"},
		"within the margin":        {rollout.Counts{1_000_000, 100_000, 0}, rollout.Counts{1_000_000, 140_000, 0}, margin, ""},
		"errors":                   {rollout.Counts{1000, 100, 0}, rollout.Counts{1000, 100, 60}, margin, "could not evaluate a policy in 6.00% of 1000"},
		"fewer errors":             {rollout.Counts{1000, 100, 900}, rollout.Counts{1000, 100, 0}, margin, ""},
		"whatever happens":         {rollout.Counts{1000, 0, 0}, rollout.Counts{1000, 1000, 1000}, decision.Margin{Denials: decision.Whole, Errors: decision.Whole}, ""},
		"no margin":                {rollout.Counts{1000, 0, 0}, rollout.Counts{1000, 100, 0}, decision.Margin{}, "the margin is 0.00%"},
	} {
		got := rollout.Departs(test.live, test.candidate, test.margin)
		if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
