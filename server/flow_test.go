package server_test

import (
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/decision"
)

// clocked is a server whose time is what the test says, from now on.
func clocked(t *testing.T, rules ...decision.BudgetRule) (*pdp, func(time.Duration)) {
	t.Helper()
	began := time.Now()
	var ahead atomic.Int64
	p := open(t, func(p *pdp, c *server.Config) {
		c.Now = func() time.Time { return began.Add(time.Duration(ahead.Load())) }
		c.Lapses = p.store
	})
	bundle := *p.bundle
	bundle.Budgets = append(bundle.Budgets[:len(bundle.Budgets):len(bundle.Budgets)], rules...)
	p.bundle = &bundle
	return p, func(d time.Duration) { ahead.Add(int64(d)) }
}

func (p *pdp) answer(t *testing.T, in *writv1.DecideRequest) *writv1.DecideResponse {
	t.Helper()
	out, err := p.Decide(t.Context(), gateway, in)
	must(t, err)
	return out
}

func (p *pdp) ended(t *testing.T, of *writv1.DecideResponse, outcome writv1.Outcome) {
	t.Helper()
	_, err := p.Settle(t.Context(), gateway, &writv1.SettleRequest{DecisionId: of.DecisionId, Outcome: outcome})
	must(t, err)
}

func denied(t *testing.T, out *writv1.DecideResponse, code string, wait time.Duration) {
	t.Helper()
	if out.Effect != writv1.Effect_EFFECT_DENY || out.Reasons[0].Code != code || out.RetryAfter.AsDuration() != wait {
		t.Errorf("got %s for %v, retry after %s; want a denial by %s, retry after %s", out.Effect, out.Reasons, out.RetryAfter.AsDuration(), code, wait)
	}
}

func allowed(t *testing.T, out *writv1.DecideResponse) *writv1.DecideResponse {
	t.Helper()
	if out.Effect != writv1.Effect_EFFECT_ALLOW {
		t.Fatalf("got %s for %v", out.Effect, out.Reasons)
	}
	return out
}

// What is under way is capped: a settlement makes room, and so does time where
// nobody settles; who reports after that is told.
func TestRunning(t *testing.T) {
	p, pass := clocked(t, decision.BudgetRule{ID: "at-once", Unit: decision.Calls, Cap: 2, Window: decision.Running, Unsettled: time.Minute,
		Per: []decision.Dimension{decision.ByTool}})
	first, second := allowed(t, p.answer(t, p.listing(t))), allowed(t, p.answer(t, p.listing(t)))
	denied(t, p.answer(t, p.listing(t)), "budget.running", 0)
	p.ended(t, first, writv1.Outcome_OUTCOME_SUCCEEDED)
	third := allowed(t, p.answer(t, p.listing(t)))
	denied(t, p.answer(t, p.listing(t)), "budget.running", 0)
	pass(59 * time.Second)
	must(t, server.LapseDue(p.Server, t.Context()))
	denied(t, p.answer(t, p.listing(t)), "budget.running", 0)
	pass(2 * time.Second)
	must(t, server.LapseDue(p.Server, t.Context()))
	must(t, server.LapseDue(p.Server, t.Context()))
	allowed(t, p.answer(t, p.listing(t)))
	for _, late := range []*writv1.DecideResponse{second, third} {
		_, err := p.Settle(t.Context(), gateway, &writv1.SettleRequest{DecisionId: late.DecisionId, Outcome: writv1.Outcome_OUTCOME_SUCCEEDED})
		expect(t, err, codes.AlreadyExists, "SETTLED_DIFFERENTLY")
	}
	if _, err := p.Settle(t.Context(), gateway, &writv1.SettleRequest{DecisionId: third.DecisionId, Outcome: writv1.Outcome_OUTCOME_LAPSED}); err == nil {
		t.Error("a caller says itself that it has lapsed")
	}
	p.verify(t)
}

// A reservation of a budget that says so comes back when nobody settles it; one of a
// budget that does not stays for good.
func TestUnsettled(t *testing.T) {
	tokens := func(id string, unsettled time.Duration) decision.BudgetRule {
		return decision.BudgetRule{ID: id, Unit: decision.Tokens, Cap: 100, Window: decision.Lifetime, Unsettled: unsettled}
	}
	p, pass := clocked(t, tokens("comes-back", time.Minute), tokens("stays", 0))
	in := p.listing(t)
	in.Cost = &writv1.Cost{Tokens: 60}
	allowed(t, p.answer(t, in))
	pass(time.Minute)
	must(t, server.LapseDue(p.Server, t.Context()))
	in = p.listing(t)
	in.Cost = &writv1.Cost{Tokens: 50}
	out := p.answer(t, in)
	denied(t, out, "budget.exhausted", 0)
	for _, line := range out.Budgets {
		if want := map[string]int64{"comes-back": 100, "stays": 40}[line.Budget]; want != 0 && line.Remaining != want {
			t.Errorf("%s has %d left, want %d", line.Budget, line.Remaining, want)
		}
	}
	p.verify(t)
}

// A rate lets its burst through at once, says when the next fits, and is right.
func TestRate(t *testing.T) {
	p, pass := clocked(t, decision.BudgetRule{ID: "pace", Unit: decision.Calls, Cap: 30, Length: 60, Burst: 3, Window: decision.Rate})
	for range 3 {
		allowed(t, p.answer(t, p.listing(t)))
	}
	denied(t, p.answer(t, p.listing(t)), "budget.rate", 2*time.Second)
	pass(2 * time.Second)
	allowed(t, p.answer(t, p.listing(t)))
	denied(t, p.answer(t, p.listing(t)), "budget.rate", 2*time.Second)
	p.verify(t)
}

// A sliding window gives room back as what was used leaves it.
func TestSliding(t *testing.T) {
	p, pass := clocked(t, decision.BudgetRule{ID: "lately", Unit: decision.Calls, Cap: 2, Length: 120, Window: decision.Sliding})
	first := allowed(t, p.answer(t, p.listing(t)))
	pass(time.Minute)
	allowed(t, p.answer(t, p.listing(t)))
	out := p.answer(t, p.listing(t))
	if wait := out.RetryAfter.AsDuration(); wait < time.Minute || wait > 80*time.Second {
		t.Errorf("retry after %s", wait)
	}
	denied(t, out, "budget.exhausted", out.RetryAfter.AsDuration())
	pass(out.RetryAfter.AsDuration())
	allowed(t, p.answer(t, p.listing(t)))
	// A refund goes to where the charge was.
	p.ended(t, first, writv1.Outcome_OUTCOME_NOT_RUN)
	p.verify(t)
}

// An agent that repeats itself is stopped, by what it repeats and by how much it does
// in a session, and told the count; without a session nothing counts.
func TestLoop(t *testing.T) {
	session := func(id string, most int64, per ...decision.Dimension) decision.BudgetRule {
		return decision.BudgetRule{ID: id, Unit: decision.Calls, Cap: most, Window: decision.Lifetime, Per: append(per, decision.BySession)}
	}
	p, _ := clocked(t, session("session-calls", 5), session("session-repeats", 2, decision.ByArguments))
	ask := func(session, path string) *writv1.DecideRequest {
		in := p.call(t, "filesystem", "list_directory", `{"path":"`+path+`"}`)
		in.SessionId = session
		return in
	}
	allowed(t, p.answer(t, ask("s", "/srv/files/a")))
	allowed(t, p.answer(t, ask("s", "/srv/files/a")))
	out := p.answer(t, ask("s", "/srv/files/a"))
	denied(t, out, "budget.loop", 0)
	if got, want := out.Reasons[0].Text, `The session has used 2 of the 2 calls that "session-repeats" allows it, and the action needs 1.`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, path := range []string{"/srv/files/b", "/srv/files/c", "/srv/files/d"} {
		allowed(t, p.answer(t, ask("s", path)))
	}
	denied(t, p.answer(t, ask("s", "/srv/files/e")), "budget.loop", 0)
	allowed(t, p.answer(t, ask("other", "/srv/files/a")))
	for range 4 {
		allowed(t, p.answer(t, ask("", "/srv/files/a")))
	}
	p.verify(t)
}

func TestDepth(t *testing.T) {
	p := open(t)
	bundle := *p.bundle
	bundle.Depth = 3
	p.bundle = &bundle
	in := p.listing(t)
	in.PlanDepth = 3
	allowed(t, p.answer(t, in))
	in = p.listing(t)
	in.PlanDepth = 4
	denied(t, p.answer(t, in), "plan.depth", 0)
	in = p.listing(t)
	in.PlanDepth = 10001
	_, err := p.Decide(t.Context(), gateway, in)
	expect(t, err, codes.InvalidArgument, "FIELD_INVALID")
}

// A tool that fails makes its callers wait, then stops them; after a while one is let
// through, and what becomes of it is what becomes of the breaker.
func TestBreaker(t *testing.T) {
	p, pass := clocked(t)
	p.bundle.Breakers = []decision.BreakerRule{{ID: "fragile", Backoff: 500 * time.Millisecond, Per: []decision.Dimension{decision.ByTool},
		Trip: decision.Trip{Failures: 3, Open: 10 * time.Second, Longest: time.Minute}}}
	ask := func() *writv1.DecideResponse {
		in := p.listing(t)
		in.SupportedObligations = append(in.SupportedObligations, "delay")
		return p.answer(t, in)
	}
	late := allowed(t, ask())
	for n := range int64(3) {
		out := allowed(t, ask())
		var millis int64
		for _, o := range out.Obligations {
			millis += o.GetDelay().GetMillis()
		}
		if want := []int64{0, 500, 1000}[n]; millis != want {
			t.Errorf("after %d failures the delay is %d ms, want %d", n, millis, want)
		}
		p.ended(t, out, writv1.Outcome_OUTCOME_FAILED)
	}
	denied(t, ask(), "breaker.open", 10*time.Second)
	p.ended(t, late, writv1.Outcome_OUTCOME_SUCCEEDED) // it began before: it opens nothing
	denied(t, ask(), "breaker.open", 10*time.Second)
	pass(10 * time.Second)
	probe := allowed(t, ask())
	denied(t, ask(), "breaker.open", 10*time.Second)
	p.ended(t, probe, writv1.Outcome_OUTCOME_UNKNOWN)
	denied(t, ask(), "breaker.open", 20*time.Second)
	pass(20 * time.Second)
	probe = allowed(t, ask())
	p.ended(t, probe, writv1.Outcome_OUTCOME_SUCCEEDED)
	if out := allowed(t, ask()); len(out.Obligations) > 0 {
		t.Errorf("closed again, it asks for %v", out.Obligations)
	}
	// Who cannot wait is denied while others would have to.
	p.ended(t, allowed(t, ask()), writv1.Outcome_OUTCOME_FAILED)
	denied(t, p.answer(t, p.listing(t)), "comply.unsupported", 0)
	p.verify(t)
}
