package server_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/identity"
)

// decide asks and wants an answer with an effect.
func (p *pdp) decide(t testing.TB, in *writv1.DecideRequest, effect writv1.Effect) *writv1.DecideResponse {
	t.Helper()
	answer, err := p.Decide(t.Context(), gateway, in)
	must(t, err)
	if answer.Effect != effect {
		t.Fatalf("got %s, want %s: %v", answer.Effect, effect, answer.Reasons)
	}
	return answer
}

// same holds a replayed answer to the first: only that it is one, and how large
// the log was meanwhile, may differ.
func same(t testing.TB, first, again *writv1.DecideResponse) {
	t.Helper()
	if !again.Replayed {
		t.Error("the answer does not say that it is an earlier one")
	}
	bare := func(r *writv1.DecideResponse) []byte {
		r = proto.CloneOf(r)
		r.Replayed, r.Receipt.LogSize = false, 0
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
		must(t, err)
		return data
	}
	if string(bare(first)) != string(bare(again)) {
		t.Errorf("the second answer differs: %s", cmp.Diff(first, again, protocmp.Transform()))
	}
}

func TestRetry(t *testing.T) {
	p := open(t)
	p.cap("lists", decision.Calls, 100)
	for name, first := range map[string]*writv1.DecideRequest{"allow": p.listing(t), "deny": p.forbidden(t)} {
		t.Run(name, func(t *testing.T) {
			answer, err := p.Decide(t.Context(), gateway, first)
			must(t, err)
			before := p.books(t)
			retry := proto.CloneOf(first)
			for _, change := range []struct {
				name string
				f    func()
			}{
				{"as it was", func() {}},
				{"with a fresh token", func() { retry.PrincipalToken = p.token(t) }},
				{"with another trace", func() { retry.Trace = &writv1.TraceContext{Tracestate: "a=b"} }},
				{"after the log grew", func() { p.verify(t) }},
			} {
				change.f()
				again, err := p.Decide(t.Context(), gateway, retry)
				if err != nil {
					t.Fatalf("%s: %v", change.name, err)
				}
				same(t, answer, again)
				if after := p.books(t); after != before {
					t.Errorf("a retry %s changed the books from %+v to %+v", change.name, before, after)
				}
			}
		})
	}
}

// An expired token proves nobody, also where the answer is known.
func TestRetryWithBadToken(t *testing.T) {
	p := open(t)
	request := p.listing(t)
	p.decide(t, request, writv1.Effect_EFFECT_ALLOW)
	request.PrincipalToken = p.mint(t, claims(), time.Now().Add(-time.Hour))
	_, err := p.Decide(t.Context(), gateway, request)
	expect(t, err, codes.Unauthenticated, "TOKEN_EXPIRED")
}

// The same id with anything else that an answer depends on is refused, and tells
// nothing of the first answer.
func TestRequestIDReused(t *testing.T) {
	p := open(t)
	first := p.listing(t)
	p.decide(t, first, writv1.Effect_EFFECT_ALLOW)
	before := p.books(t)
	token := func(change func(*identity.Claims)) func(*writv1.DecideRequest) {
		c := claims()
		change(&c)
		return func(r *writv1.DecideRequest) { r.PrincipalToken = p.mint(t, c, time.Now()) }
	}
	other := decision.Caller{SPIFFEID: gateway.SPIFFEID + "2", Tenant: gateway.Tenant}
	for _, reuse := range []struct {
		name   string
		caller decision.Caller
		change func(*writv1.DecideRequest)
	}{
		{"other arguments", gateway, arguments(`{"path":"/srv/files/x"}`)},
		{"the same arguments, written otherwise", gateway, arguments(`{"path": "/srv/files/"}`)},
		{"another session", gateway, func(r *writv1.DecideRequest) { r.SessionId = "s" }},
		{"another cost", gateway, func(r *writv1.DecideRequest) { r.Cost = &writv1.Cost{Calls: 2} }},
		{"other abilities", gateway, func(r *writv1.DecideRequest) { r.SupportedObligations = nil }},
		{"another context", gateway, func(r *writv1.DecideRequest) { r.Context = []byte(`{}`) }},
		{"another agent", gateway, token(func(c *identity.Claims) { c.Subject = agent + "2" })},
		{"for a human", gateway, token(func(c *identity.Claims) { c.OnBehalfOf = "user:ada" })},
		{"through an actor", gateway, token(func(c *identity.Claims) { c.Actors = []string{"app"} })},
		{"another caller", other, func(*writv1.DecideRequest) {}},
	} {
		t.Run(reuse.name, func(t *testing.T) {
			request := proto.CloneOf(first)
			reuse.change(request)
			answer, err := p.Decide(t.Context(), reuse.caller, request)
			expect(t, err, codes.AlreadyExists, "REQUEST_ID_REUSED")
			if answer != nil {
				t.Errorf("answered %v", answer)
			}
			secretive(t, err)
		})
	}
	if after := p.books(t); after != before {
		t.Errorf("reuse changed the books from %+v to %+v", before, after)
	}
	// Another tenant's ids are its own: it neither meets nor sees this answer.
	request := proto.CloneOf(first)
	request.PrincipalToken = p.token(t)
	answer, err := p.Decide(t.Context(), decision.Caller{SPIFFEID: gateway.SPIFFEID, Tenant: "other"}, request)
	must(t, err)
	if answer.Replayed || answer.Effect != writv1.Effect_EFFECT_ALLOW {
		t.Errorf("another tenant got %v", answer)
	}
	if n := p.verify(t); n != before.records+1 {
		t.Errorf("%d records", n)
	}
}

// A token is accepted once, by whichever tenant.
func TestTokenReplayed(t *testing.T) {
	p := open(t)
	first := p.listing(t)
	p.decide(t, first, writv1.Effect_EFFECT_ALLOW)
	for _, tenant := range []string{gateway.Tenant, "other"} {
		second := p.listing(t)
		second.PrincipalToken = first.PrincipalToken
		answer, err := p.Decide(t.Context(), decision.Caller{SPIFFEID: gateway.SPIFFEID, Tenant: tenant}, second)
		must(t, err)
		if answer.Effect != writv1.Effect_EFFECT_DENY || answer.Reasons[0].Code != "token.replayed" {
			t.Errorf("the tenant %s got %s %v", tenant, answer.Effect, answer.Reasons)
		}
	}
}

// Of many that ask the same at once, one is decided, and all get its answer.
func TestConcurrentDuplicates(t *testing.T) {
	const callers = 32
	p := open(t)
	p.cap("lists", decision.Calls, 100)
	at := p.serve(t)
	request := p.listing(t)
	answers := make([]*writv1.DecideResponse, callers)
	var group sync.WaitGroup
	start := make(chan struct{})
	for i := range callers {
		mine := proto.CloneOf(request)
		if i%2 == 1 {
			mine.PrincipalToken = p.token(t)
		}
		group.Go(func() {
			<-start
			answer, err := at.Decide(t.Context(), mine)
			if err != nil {
				t.Error(err)
			}
			answers[i] = answer
		})
	}
	close(start)
	group.Wait()
	first := 0
	for i, a := range answers {
		if !a.GetReplayed() {
			first = i
		}
	}
	for i, a := range answers {
		if i != first && a != nil {
			same(t, answers[first], a)
		}
	}
	// One call of "lists" and one of the agent's day.
	if got, want := p.books(t), (books{records: 1, used: 2, tokens: 1}); got != want {
		t.Errorf("the books hold %+v, want %+v", got, want)
	}
	p.verify(t)
}

// A budget of N allows N, however many ask at once, and the log says so.
func TestBudgetUnderConcurrency(t *testing.T) {
	const most, callers, each = 37, 64, 3
	p := open(t)
	p.cap("lists", decision.Calls, most)
	at := p.serve(t)
	var mu sync.Mutex // guards counts
	counts := map[string]int{}
	var group sync.WaitGroup
	for range callers {
		requests := make([]*writv1.DecideRequest, each)
		for i := range requests {
			requests[i] = p.listing(t)
		}
		group.Go(func() {
			for _, request := range requests {
				answer, err := at.Decide(t.Context(), request)
				mu.Lock()
				switch f := failureOf(err); {
				case err != nil:
					counts[f.Reason]++
				case answer.Effect == writv1.Effect_EFFECT_ALLOW:
					counts["allow"]++
				default:
					counts[answer.Reasons[0].Code]++
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	// Who loses the race too often is told to ask again, and has no record.
	denied := counts["budget.exhausted"]
	if counts["allow"] != most || counts["allow"]+denied+counts["CONTENDED"] != callers*each {
		t.Errorf("got %v, want %d allowed of %d", counts, most, callers*each)
	}
	if got, want := p.books(t), (books{records: int64(most + denied), used: 2 * most, tokens: most}); got != want {
		t.Errorf("the books hold %+v, want %+v", got, want)
	}
	if n := p.verify(t); n != int64(most+denied) {
		t.Errorf("the log holds %d records, want %d", n, most+denied)
	}
}
