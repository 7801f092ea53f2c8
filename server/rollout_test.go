package server_test

import (
	"crypto/rand"
	"io/fs"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/gofrs/uuid/v5"

	"github.com/writpdp/writ/policies"
	"github.com/writpdp/writ/policies/policiestest"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/rollout"
)

// sampleWith is the sample bundle with further files.
func sampleWith(t *testing.T, more fstest.MapFS) fs.FS {
	t.Helper()
	files := policiestest.Sample()
	maps.Copy(files, more)
	return files
}

const noLists = `
@id("no-lists")
forbid (principal, action == Action::"filesystem/list_directory", resource);`

// activate puts a bundle into force, or tries it out.
func (p *pdp) activate(t *testing.T, bundle fs.FS, trial rollout.Trial) audit.ChangeFacts {
	t.Helper()
	c, err := rollout.Activate(t.Context(), p.store, bundle, trial,
		audit.By{Actor: "ann", Reason: "A test.", At: time.Now(), ID: uuid.FromStringOrNil(newID(t))})
	must(t, err)
	return c
}

// following is a server that decides by what its store says.
func following(t *testing.T) (*pdp, *rollout.Follower) {
	t.Helper()
	var follower *rollout.Follower
	p := open(t, func(p *pdp, c *server.Config) {
		var err error
		follower, err = rollout.Follow(t.Context(), rollout.Config{
			Store: p.store, Configured: func() *decision.Bundle { return p.bundle }, Actor: "writ",
			Now: time.Now, Random: rand.Reader, Report: func(rollout.Status) {},
		})
		must(t, err)
		c.Bundle, c.Recorded = follower.Bundle, follower.Recorded
	})
	return p, follower
}

// in is a listing in a session.
func (p *pdp) in(t *testing.T, session string) *writv1.DecideRequest {
	t.Helper()
	req := p.listing(t)
	req.SessionId = session
	return req
}

func (p *pdp) decideAll(t *testing.T, requests []*writv1.DecideRequest) []*writv1.DecideResponse {
	t.Helper()
	answers := make([]*writv1.DecideResponse, len(requests))
	var wait sync.WaitGroup
	for i, req := range requests {
		wait.Go(func() {
			var err error
			if answers[i], err = p.Decide(t.Context(), gateway, req); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return answers
}

// A canary that denies what is allowed is taken out, with the change in the log.
func TestCanaryIsHalted(t *testing.T) {
	p, follower := following(t)
	p.activate(t, policies.Files, rollout.Trial{})
	made := p.activate(t, sampleWith(t, fstest.MapFS{"cedar/more.cedar": {Data: []byte(noLists)}}), rollout.Trial{
		Mode: decision.Canary, Share: 5000, Margin: decision.Margin{Denials: 500, Errors: 100}})
	must(t, follower.Look(t.Context()))
	var requests []*writv1.DecideRequest
	for i := range 400 {
		requests = append(requests, p.in(t, "session-"+string(rune('a'+i%26))+string(rune('a'+i/26))))
	}
	by := map[string]string{} // the bundle of each session
	for i, answer := range p.decideAll(t, requests) {
		by[requests[i].SessionId] = answer.BundleDigest
		denies := answer.BundleDigest == made.Rollout.Candidate.Digest
		if denied := answer.Effect == writv1.Effect_EFFECT_DENY; denied != denies {
			t.Errorf("%s by %s", answer.Effect, answer.BundleDigest)
		}
	}
	// Asked again, each session is answered by the same; the same request again
	// counts for nothing.
	before := follower.Status()
	replayed := p.decideAll(t, requests[:10])
	if after := follower.Status(); after != before {
		t.Errorf("replays were counted: %+v, then %+v", before, after)
	}
	for i, answer := range replayed {
		if !answer.Replayed || answer.BundleDigest != by[requests[i].SessionId] {
			t.Errorf("the replay of %d: %v", i, answer)
		}
	}
	again := p.in(t, requests[0].SessionId)
	if answer := p.decideAll(t, []*writv1.DecideRequest{again})[0]; answer.BundleDigest != by[again.SessionId] {
		t.Error("a session changed its bundle")
	}
	must(t, follower.Watch(t.Context()))
	newest, err := rollout.Newest(t.Context(), p.store)
	must(t, err)
	if newest.Action != audit.Halt || !strings.Contains(newest.Reason, "The candidate denied 100.00% of") {
		t.Fatalf("the newest change: %+v", newest)
	}
	for _, answer := range p.decideAll(t, []*writv1.DecideRequest{p.in(t, "x"), p.in(t, "y"), p.in(t, "z")}) {
		if answer.Effect != writv1.Effect_EFFECT_ALLOW || answer.BundleDigest != made.Rollout.Live.Digest {
			t.Errorf("after the halt: %s by %s", answer.Effect, answer.BundleDigest)
		}
	}
	p.verify(t)
}

// While bundles change under load, every decision is by exactly one of them, and
// none is dropped.
func TestChangesUnderLoad(t *testing.T) {
	p, follower := following(t)
	denying := p.activate(t, sampleWith(t, fstest.MapFS{"cedar/more.cedar": {Data: []byte(noLists)}}), rollout.Trial{}).Rollout.Live.Digest
	must(t, follower.Look(t.Context()))
	var requests []*writv1.DecideRequest
	for range 600 {
		requests = append(requests, p.listing(t))
	}
	var changing sync.WaitGroup
	changing.Go(func() {
		for i := range 6 {
			bundle := sampleWith(t, fstest.MapFS{"cedar/more.cedar": {Data: []byte(noLists)}})
			if i%2 == 0 {
				bundle = policies.Files
			}
			p.activate(t, bundle, rollout.Trial{})
			if err := follower.Look(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
	seen := map[writv1.Effect]int{}
	for first := 0; first < len(requests); first += 50 {
		for _, answer := range p.decideAll(t, requests[first:first+50]) {
			seen[answer.Effect]++
			if denied := answer.Effect == writv1.Effect_EFFECT_DENY; denied != (answer.BundleDigest == denying) {
				t.Errorf("%s by %s", answer.Effect, answer.BundleDigest)
			}
		}
	}
	changing.Wait()
	t.Logf("answers: %v", seen)
	p.verify(t)
}

// A shadow's own budgets are looked up, too: what they have used up in earnest
// denies in the shadow.
func TestShadowKnowsItsBudgets(t *testing.T) {
	p, follower := following(t)
	tight := sampleWith(t, fstest.MapFS{"budgets.yaml": {Data: []byte(`few-lists:
  unit: calls
  cap: 1
  window: lifetime
  per: [tenant]
  tools: [filesystem/list_directory]
`)}})
	p.activate(t, tight, rollout.Trial{})
	must(t, follower.Look(t.Context()))
	if answer := p.decideAll(t, []*writv1.DecideRequest{p.listing(t)})[0]; answer.Effect != writv1.Effect_EFFECT_ALLOW {
		t.Fatalf("the first: %v", answer)
	}
	p.activate(t, policies.Files, rollout.Trial{})
	made := p.activate(t, tight, rollout.Trial{Mode: decision.Shadow})
	must(t, follower.Look(t.Context()))
	answer := p.decideAll(t, []*writv1.DecideRequest{p.listing(t)})[0]
	shadow := p.recorded(t, answer)
	if answer.Effect != writv1.Effect_EFFECT_ALLOW || shadow.GetEffect() != writv1.Effect_EFFECT_DENY || !shadow.Differs ||
		shadow.BundleDigest != made.Rollout.Candidate.Digest {
		t.Errorf("answered %s, the shadow: %v", answer.Effect, shadow)
	}
	p.verify(t)
}
