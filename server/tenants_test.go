package server_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/gofrs/uuid/v5"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/rollout"
)

// withTenant puts policies into the directory of one tenant of the sample bundle.
func withTenant(t *testing.T, tenant, cedar string) func(*pdp, *server.Config) {
	return func(p *pdp, _ *server.Config) {
		var err error
		p.bundle, err = policy.Load(sampleWith(t, fstest.MapFS{"cedar/tenants/" + tenant + "/own.cedar": {Data: []byte(cedar), Mode: 0o444}}))
		must(t, err)
	}
}

// What one tenant's directory says is neither in the answers nor in the records nor
// in the explanations of another, and is in all of them for its own.
func TestTenantPoliciesAreApart(t *testing.T) {
	const all = "(principal, action, resource)"
	now := time.Now()
	told := func(t *testing.T, caller decision.Caller, adjust ...func(*pdp, *server.Config)) []proto.Message {
		p := open(t, append(adjust, func(_ *pdp, c *server.Config) { c.Now = func() time.Time { return now } })...)
		var all []proto.Message
		for _, request := range []*writv1.DecideRequest{p.listing(t), p.forbidden(t), p.call(t, "stripe", "create_refund", `{"payment_intent":"p","amount":9000}`), list(t, p)} {
			request.PrincipalToken = p.mint(t, claims(), now)
			explained, err := p.Explain(t.Context(), caller, &writv1.ExplainRequest{Request: request})
			must(t, err)
			explained.Decision.DecisionId, explained.Decision.RequestId, explained.Decision.BundleDigest = "", "", ""
			answer, err := p.Decide(t.Context(), caller, request)
			must(t, err)
			row, err := p.store.Record(t.Context(), caller.Tenant, uuid.FromStringOrNil(answer.DecisionId))
			must(t, err)
			var record writv1.Record
			must(t, proto.Unmarshal(row.Body, &record))
			answer.DecisionId, answer.RequestId, answer.BundleDigest, answer.Receipt = "", "", "", nil
			event := record.GetDecision()
			event.Response, event.Principal, event.Effects = answer, nil, nil // of fresh ids and tokens
			all = append(all, explained, event)
		}
		p.verify(t)
		return all
	}
	without := told(t, gateway)
	for name, cedar := range map[string]string{
		"a permit":             `@id("other-secret") permit ` + all + `;`,
		"a forbid":             `@id("other-secret") forbid ` + all + `;`,
		"an error":             `@id("other-secret") forbid ` + all + ` when { context.cost.calls + 9223372036854775807 > 0 };`,
		"an obligation":        `@id("other-secret") @obligate("notify") @to("us") @body("all") permit ` + all + `;`,
		"a route":              `@id("other-secret") @obligate("route") @region("eu") permit ` + all + `;`,
		"a redaction":          `@id("other-secret") @obligate("redact") @fields("/path") permit ` + all + `;`,
		"a policy in shadow":   `@id("other-secret") @mode("shadow") forbid ` + all + `;`,
		"a ticket":             `@id("other-secret") @requires("ticket") forbid ` + all + ` unless { context has ticket };`,
		"a guess at arguments": `@id("other-secret") permit ` + all + ` when { context.purpose == "/etc" };`,
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(without, told(t, gateway, withTenant(t, "other", cedar)), protocmp.Transform()); diff != "" {
				t.Errorf("another tenant notices: -without +with\n%s", diff)
			}
			other := decision.Caller{SPIFFEID: gateway.SPIFFEID, Tenant: "other"}
			if with := fmt.Sprint(told(t, other, withTenant(t, "other", cedar))); !strings.Contains(with, "other-secret") {
				t.Error("its own tenant does not notice")
			}
		})
	}
}

// list asks which of two tools may be called.
func list(t *testing.T, p *pdp) *writv1.DecideRequest {
	t.Helper()
	request := p.listing(t)
	request.Phase, request.Tool, request.Arguments = writv1.Phase_PHASE_LIST, nil, nil
	for _, name := range []string{"list_directory", "write_file"} {
		tool := p.bundle.Tools[decision.ToolName{Server: "filesystem", Name: name}]
		request.Candidates = append(request.Candidates, &writv1.Tool{Server: "filesystem", Name: name, DefinitionDigest: tool.Digest})
	}
	return request
}

// Activated bundles come back from the store with their tenants' policies; and where
// one is tried out beside the live one, it is beside every tenant's requests, also
// if the live one watches a policy for one tenant alone.
func TestTenantsOfActivatedBundles(t *testing.T) {
	other := decision.Caller{SPIFFEID: gateway.SPIFFEID, Tenant: "other"}
	watched := sampleWith(t, fstest.MapFS{
		"cedar/tenants/other/watched.cedar": {Data: []byte("@id(\"other-watched\") @mode(\"shadow\") forbid (principal, action, resource);")},
		"cedar/tenants/acme/own.cedar":      {Data: []byte(strings.ReplaceAll(noLists, "no-lists", "acme-no-lists"))},
	})
	p, follower := following(t)
	ask := func(caller decision.Caller) (writv1.Effect, *writv1.ShadowFacts) {
		answer, err := p.Decide(t.Context(), caller, p.listing(t))
		must(t, err)
		row, err := p.store.Record(t.Context(), caller.Tenant, uuid.FromStringOrNil(answer.DecisionId))
		must(t, err)
		var record writv1.Record
		must(t, proto.Unmarshal(row.Body, &record))
		return answer.Effect, record.GetDecision().Shadow
	}
	p.activate(t, watched, rollout.Trial{})
	must(t, follower.Look(t.Context()))
	if effect, shadow := ask(gateway); effect != writv1.Effect_EFFECT_DENY || shadow != nil {
		t.Errorf("the tenant with a forbid of its own: %s, beside it %v", effect, shadow)
	}
	if effect, shadow := ask(other); effect != writv1.Effect_EFFECT_ALLOW || shadow.GetEffect() != writv1.Effect_EFFECT_DENY {
		t.Errorf("the tenant with a forbid in shadow mode: %s, beside it %v", effect, shadow)
	}
	p.activate(t, sampleWith(t, nil), rollout.Trial{Mode: decision.Shadow})
	must(t, follower.Look(t.Context()))
	if effect, shadow := ask(gateway); effect != writv1.Effect_EFFECT_DENY || shadow.GetEffect() != writv1.Effect_EFFECT_ALLOW {
		t.Errorf("beside a candidate: %s, beside it %v", effect, shadow)
	}
	if effect, shadow := ask(other); effect != writv1.Effect_EFFECT_ALLOW || shadow.GetEffect() != writv1.Effect_EFFECT_ALLOW {
		t.Errorf("beside a candidate: %s, beside it %v", effect, shadow)
	}
	p.verify(t)
}
