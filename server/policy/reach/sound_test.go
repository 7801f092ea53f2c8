package reach_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/policytest"
	"github.com/writpdp/writ/server/policy/reach"
)

// What cannot be never is: over random policies, of every tenant and of one's own,
// and requests, Cedar never ends a policy in a way that the engine excluded.
func TestSound(t *testing.T) {
	policies, requests := 15, 30
	if testing.Short() {
		policies = 5
	}
	tally := map[reach.Outcome]int{}
	excluded := 0
	rapid.Check(t, func(t *rapid.T) {
		for range policies {
			tenant, file := rapid.SampledFrom([]string{"", "abc"}).Draw(t, "tenant"), "cedar/a.cedar"
			files := policytest.Bundle(policytest.DrawPolicy(t, "p", "permit"))
			if tenant != "" {
				files["cedar/tenants/abc/a.cedar"], file = files[file], "cedar/tenants/abc/a.cedar"
				delete(files, "cedar/a.cedar")
			}
			src, err := policy.Read(files)
			if err != nil {
				t.Fatal(err)
			}
			if src.Statements[0].Invalid != "" {
				continue // the validator has its reasons
			}
			b, err := policy.Load(files)
			if err != nil {
				t.Fatal(err)
			}
			engine, whole := reach.New(src), reach.Whole(src.Statements[0].Policy)
			for range requests {
				q := policytest.DrawQuery(t, b)
				q.Request.Caller.Tenant = rapid.SampledFrom([]string{"abc", "abc", "t", "other"}).Draw(t, "asks")
				if tenant != "" {
					q.Request.Caller.Tenant = tenant // it is asked for no other
				}
				r := b.Policies.Judge(q)
				if r.Refused.Code != "" {
					t.Fatalf("refused: %+v", r.Refused)
				}
				ended := reach.No
				if len(r.Errors) > 0 {
					ended = reach.Fails
				} else if len(r.Permits) > 0 {
					ended = reach.Yes
				}
				tally[ended]++
				end := engine.End(whole, engine.Set(momentOf(t, src, q), nil).Of(tenant))
				if end.Can != reach.Yes|reach.No|reach.Fails {
					excluded++
				}
				if !end.Can.Has(ended) {
					t.Fatalf("%s\nin the moment %q ended as %d, of %d that can be\n%+v", files[file].Data, end.Moment, ended, end.Can, q.Request)
				}
			}
		}
	})
	t.Logf("matched %d, not %d, failed %d; something was excluded in %d", tally[reach.Yes], tally[reach.No], tally[reach.Fails], excluded)
	if tally[reach.Yes] == 0 || tally[reach.No] == 0 || tally[reach.Fails] == 0 || excluded == 0 {
		t.Error("the policies are too much alike")
	}
}

// momentOf is the moment of a request.
func momentOf(t *rapid.T, src *policy.Source, q decision.Query) policy.Moment {
	action, resource := strings.ToLower(q.Request.Phase.String()), "Destination"
	if q.Tool != nil {
		action, resource = q.Tool.String(), "Server"
	}
	if q.Request.Resource.Type != "" {
		resource = q.Request.Resource.Type
	}
	for _, m := range src.Moments() {
		if string(m.Action.ID) == action && m.Phase == q.Request.Phase.String() && string(m.Resource) == resource {
			return m
		}
	}
	t.Fatalf("there is no moment for %s on %s", action, resource)
	return policy.Moment{}
}
