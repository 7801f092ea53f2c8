package server_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gofrs/uuid/v5"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
)

// withPolicies puts further Cedar policies into the sample bundle.
func withPolicies(t *testing.T, cedar string) func(*pdp, *server.Config) {
	files := sampleWith(t, fstest.MapFS{"cedar/more.cedar": {Data: []byte(cedar), Mode: 0o444}})
	return func(p *pdp, _ *server.Config) {
		var err error
		p.bundle, err = policy.Load(files)
		must(t, err)
	}
}

// recorded is what the record of an answer says of the shadow.
func (p *pdp) recorded(t *testing.T, answer *writv1.DecideResponse) *writv1.ShadowFacts {
	t.Helper()
	row, err := p.store.Record(t.Context(), gateway.Tenant, uuid.FromStringOrNil(answer.DecisionId))
	must(t, err)
	var record writv1.Record
	must(t, proto.Unmarshal(row.Body, &record))
	return record.GetDecision().Shadow
}

// A policy in shadow mode changes no answer, and the record says what it would
// have changed.
func TestShadow(t *testing.T) {
	forbid := `
@id("no-lists")
@mode("shadow")
forbid (principal, action == Action::"filesystem/list_directory", resource);`
	permit := `
@id("lists-of-etc")
@mode("shadow")
permit (principal, action == Action::"filesystem/list_directory", resource) when { context.args.path == "/etc" };`
	limit := `
@id("short-lists")
@mode("shadow")
@obligate("limit_output")
@max_bytes("10")
permit (principal, action == Action::"filesystem/list_directory", resource);`
	for name, test := range map[string]struct {
		cedar string
		ask   func(*pdp) *writv1.DecideRequest
		gave  writv1.Effect
		want  string // effect, policies and obligations of the shadow
	}{
		"would deny":           {forbid, func(p *pdp) *writv1.DecideRequest { return p.listing(t) }, writv1.Effect_EFFECT_ALLOW, "DENY no-lists"},
		"would allow":          {permit, func(p *pdp) *writv1.DecideRequest { return p.forbidden(t) }, writv1.Effect_EFFECT_DENY, "ALLOW lists-of-etc"},
		"would oblige":         {limit, func(p *pdp) *writv1.DecideRequest { return p.listing(t) }, writv1.Effect_EFFECT_ALLOW, "ALLOW support-reads-files limit_output"},
		"the same":             {permit, func(p *pdp) *writv1.DecideRequest { return p.listing(t) }, writv1.Effect_EFFECT_ALLOW, "same"},
		"no policy in shadow":  {strings.ReplaceAll(limit, "shadow", "enforce"), func(p *pdp) *writv1.DecideRequest { return p.forbidden(t) }, writv1.Effect_EFFECT_DENY, "none"},
		"denied the same, too": {forbid, func(p *pdp) *writv1.DecideRequest { return p.forbidden(t) }, writv1.Effect_EFFECT_DENY, "same"},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, withPolicies(t, test.cedar))
			request := test.ask(p)
			answer, err := p.Decide(t.Context(), gateway, request)
			must(t, err)
			if answer.Effect != test.gave {
				t.Errorf("answered %s, want %s", answer.Effect, test.gave)
			}
			facts := p.recorded(t, answer)
			got := "none"
			if facts != nil {
				got = "same"
				if facts.BundleDigest != p.bundle.Digest {
					t.Errorf("the shadow's bundle is %q", facts.BundleDigest)
				}
			}
			if facts.GetDiffers() {
				got = strings.TrimPrefix(facts.Effect.String(), "EFFECT_")
				for _, r := range facts.Reasons {
					if r.PolicyId != "" {
						got += " " + r.PolicyId
					}
				}
				for _, o := range facts.Obligations {
					got += " " + o.Type
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			p.verify(t)
		})
	}
}

// Nothing that the shadow does reaches the answer: with it or without, the same
// requests get the same.
func TestShadowChangesNothing(t *testing.T) {
	ask := func(shadow *decision.Bundle) []*writv1.DecideResponse {
		p := open(t)
		bundle := *p.bundle
		bundle.Shadow = shadow
		p.bundle = &bundle
		p.cap("lists", decision.Calls, 1)
		var answers []*writv1.DecideResponse
		for _, request := range []*writv1.DecideRequest{p.listing(t), p.forbidden(t), p.listing(t)} {
			answer, err := p.Decide(t.Context(), gateway, request)
			must(t, err)
			answer.DecisionId, answer.RequestId, answer.Receipt = "", "", nil
			answers = append(answers, answer)
		}
		if shadow != nil && !strings.Contains(p.log.String(), "a defect of the shadow") {
			t.Error("the log does not tell of the defect")
		}
		p.verify(t)
		return answers
	}
	broken := *open(t).bundle
	broken.Policies = defect{broken.Policies}
	if diff := cmp.Diff(ask(nil), ask(&broken), protocmp.Transform()); diff != "" {
		t.Errorf("with a shadow (+) the answers differ:\n%s", diff)
	}
}

type defect struct{ decision.Policies }

func (defect) Judge(decision.Query) decision.Ruling { panic("a defect of the shadow") }
