package server_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

func succeeded(id string, actual *writv1.Cost) *writv1.SettleRequest {
	return &writv1.SettleRequest{DecisionId: id, Outcome: writv1.Outcome_OUTCOME_SUCCEEDED, Actual: actual}
}

func (p *pdp) settle(t testing.TB, in *writv1.SettleRequest) *writv1.SettleResponse {
	t.Helper()
	answer, err := p.Settle(t.Context(), gateway, in)
	must(t, err)
	return answer
}

// line is what an answer says of one budget.
func line(t testing.TB, lines []*writv1.BudgetLine, budget string) *writv1.BudgetLine {
	t.Helper()
	for _, l := range lines {
		if l.Budget == budget {
			return l
		}
	}
	t.Fatalf("no budget %q in %v", budget, lines)
	return nil
}

// costing is an allowed listing that reserves tokens.
func (p *pdp) costing(t testing.TB, tokens int64) *writv1.DecideResponse {
	t.Helper()
	request := p.listing(t)
	request.Cost = &writv1.Cost{Tokens: tokens}
	return p.decide(t, request, writv1.Effect_EFFECT_ALLOW)
}

// What an action costs in the end is what its budget loses, up to the cap.
func TestSettleCharges(t *testing.T) {
	for _, c := range []struct {
		name                         string
		reserve                      int64
		report                       *writv1.SettleRequest
		charged, overrun, left, next int64 // next: what one more token leaves
	}{
		{"less", 60, succeeded("", &writv1.Cost{Calls: 1, Tokens: 20}), 20, 0, 80, 79},
		{"more", 60, succeeded("", &writv1.Cost{Calls: 1, Tokens: 90}), 90, 0, 10, 9},
		{"beyond the cap", 60, succeeded("", &writv1.Cost{Calls: 1, Tokens: 99_100}), 100, 99_000, 0, -1},
		{"without a word", 60, succeeded("", nil), 60, 0, 40, 39},
		{"failed without a word", 60, &writv1.SettleRequest{Outcome: writv1.Outcome_OUTCOME_FAILED}, 60, 0, 40, 39},
		{"unknown", 60, &writv1.SettleRequest{Outcome: writv1.Outcome_OUTCOME_UNKNOWN}, 60, 0, 40, 39},
		{"not run", 60, &writv1.SettleRequest{Outcome: writv1.Outcome_OUTCOME_NOT_RUN}, 0, 0, 100, 99},
		{"nothing", 60, succeeded("", &writv1.Cost{}), 0, 0, 100, 99},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := open(t)
			p.cap("lists-tokens", decision.Tokens, 100)
			c.report.DecisionId = p.costing(t, c.reserve).DecisionId
			answer := p.settle(t, c.report)
			got := line(t, answer.Budgets, "lists-tokens")
			want := &writv1.BudgetLine{Budget: "lists-tokens", Unit: writv1.Unit_UNIT_TOKENS, Cap: 100,
				Reserved: c.charged, Remaining: c.left, Overrun: c.overrun}
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
			request := p.listing(t)
			request.Cost = &writv1.Cost{Tokens: 1}
			next, err := p.Decide(t.Context(), gateway, request)
			must(t, err)
			after := line(t, next.Budgets, "lists-tokens")
			if (c.next < 0) != after.Exhausted || after.Remaining != max(0, c.next) {
				t.Errorf("the next decision sees %v, want %d left", after, c.next)
			}
			if n := p.verify(t); n != 3 {
				t.Errorf("%d records", n)
			}
		})
	}
}

// A refund of the calls that never ran is all of it: every budget is as before.
func TestSettleNotRunRefundsAll(t *testing.T) {
	p := open(t)
	p.cap("lists", decision.Calls, 1)
	answer := p.decide(t, p.listing(t), writv1.Effect_EFFECT_ALLOW)
	p.decide(t, p.listing(t), writv1.Effect_EFFECT_DENY)
	p.settle(t, &writv1.SettleRequest{DecisionId: answer.DecisionId, Outcome: writv1.Outcome_OUTCOME_NOT_RUN})
	if got := p.books(t).used; got != 0 {
		t.Errorf("%d is still used", got)
	}
	p.decide(t, p.listing(t), writv1.Effect_EFFECT_ALLOW)
	p.verify(t)
}

// Money in another currency than was reserved is not compared: it stands.
func TestSettleOtherCurrency(t *testing.T) {
	p := open(t)
	p.cap("lists-money", decision.Micros, 100)
	request := p.listing(t)
	request.Cost = &writv1.Cost{Micros: 60, Currency: "USD"}
	id := p.decide(t, request, writv1.Effect_EFFECT_ALLOW).DecisionId
	answer := p.settle(t, succeeded(id, &writv1.Cost{Calls: 1, Micros: 1, Currency: "EUR"}))
	if got := line(t, answer.Budgets, "lists-money"); got.Reserved != 60 || got.Remaining != 40 {
		t.Errorf("got %v", got)
	}
}

func TestSettleAgain(t *testing.T) {
	p := open(t)
	p.cap("lists-tokens", decision.Tokens, 100)
	report := succeeded(p.costing(t, 60).DecisionId, &writv1.Cost{Calls: 1, Tokens: 20})
	report.Obligations = []*writv1.ObligationReport{{Id: "a", Met: true}}
	first := p.settle(t, report)
	before := p.books(t)
	again := p.settle(t, report)
	if !again.Replayed {
		t.Error("the second answer does not say that it is an earlier one")
	}
	again.Replayed, again.Receipt.LogSize = false, first.Receipt.LogSize
	if diff := cmp.Diff(first, again, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	for name, change := range map[string]func(*writv1.SettleRequest){
		"outcome":     func(r *writv1.SettleRequest) { r.Outcome = writv1.Outcome_OUTCOME_FAILED },
		"cost":        func(r *writv1.SettleRequest) { r.Actual.Tokens = 0 },
		"no cost":     func(r *writv1.SettleRequest) { r.Actual = nil },
		"obligations": func(r *writv1.SettleRequest) { r.Obligations[0].Met = false },
	} {
		other := proto.CloneOf(report)
		change(other)
		_, err := p.Settle(t.Context(), gateway, other)
		if f := expect(t, err, codes.AlreadyExists, "SETTLED_DIFFERENTLY"); !strings.Contains(f.Message, "another report") {
			t.Errorf("%s: %s", name, f.Message)
		}
	}
	if after := p.books(t); after != before {
		t.Errorf("settling again changed the books from %+v to %+v", before, after)
	}
	p.verify(t)
}

// A decision's id is one UUID, however it is written.
func TestSettleUpperCase(t *testing.T) {
	p := open(t)
	id := p.decide(t, p.listing(t), writv1.Effect_EFFECT_ALLOW).DecisionId
	first := p.settle(t, succeeded(id, nil))
	again := p.settle(t, succeeded(strings.ToUpper(id), nil))
	if !again.Replayed || again.SettlementId != first.SettlementId {
		t.Errorf("got %v, want %v again", again, first)
	}
}

// Of many that report at once, one report counts.
func TestSettleConcurrently(t *testing.T) {
	p := open(t)
	p.cap("lists-tokens", decision.Tokens, 1000)
	at := p.serve(t)
	id := p.costing(t, 60).DecisionId
	var mu sync.Mutex // guards settlements and refused
	settlements, refused := map[string]int{}, 0
	var group sync.WaitGroup
	for i := range 32 {
		group.Go(func() {
			answer, err := at.Settle(t.Context(), succeeded(id, &writv1.Cost{Calls: 1, Tokens: int64(i % 2)}))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				expect(t, err, codes.AlreadyExists, "SETTLED_DIFFERENTLY")
				refused++
				return
			}
			settlements[answer.SettlementId]++
		})
	}
	group.Wait()
	if len(settlements) != 1 || refused != 16 {
		t.Errorf("%d settlements, %d refused", len(settlements), refused)
	}
	if n := p.verify(t); n != 2 {
		t.Errorf("%d records", n)
	}
}

func TestSettleRefuses(t *testing.T) {
	p := open(t)
	at := p.serve(t)
	allowed := p.decide(t, p.listing(t), writv1.Effect_EFFECT_ALLOW).DecisionId
	denied := p.decide(t, p.forbidden(t), writv1.Effect_EFFECT_DENY).DecisionId
	settled := p.settle(t, succeeded(p.decide(t, p.listing(t), writv1.Effect_EFFECT_ALLOW).DecisionId, nil)).SettlementId
	before := p.books(t)
	mine := gateway
	for _, c := range []struct {
		name   string
		caller decision.Caller
		report *writv1.SettleRequest
		code   codes.Code
		reason string
	}{
		{"unknown", mine, succeeded(newID(t), nil), codes.NotFound, "DECISION_UNKNOWN"},
		{"the zero id", mine, succeeded("00000000-0000-0000-0000-000000000000", nil), codes.NotFound, "DECISION_UNKNOWN"},
		{"another caller's", decision.Caller{SPIFFEID: mine.SPIFFEID + "2", Tenant: mine.Tenant}, succeeded(allowed, nil), codes.NotFound, "DECISION_UNKNOWN"},
		{"another tenant's", decision.Caller{SPIFFEID: mine.SPIFFEID, Tenant: "other"}, succeeded(allowed, nil), codes.NotFound, "DECISION_UNKNOWN"},
		{"a settlement", mine, succeeded(settled, nil), codes.NotFound, "DECISION_UNKNOWN"},
		{"a denial", mine, succeeded(denied, nil), codes.FailedPrecondition, "NOT_ALLOWED"},
		{"another caller's denial", decision.Caller{SPIFFEID: mine.SPIFFEID + "2", Tenant: mine.Tenant}, succeeded(denied, nil), codes.NotFound, "DECISION_UNKNOWN"},
		{"no id", mine, succeeded("", nil), codes.InvalidArgument, "FIELD_INVALID"},
		{"no UUID", mine, succeeded(canary, nil), codes.InvalidArgument, "FIELD_INVALID"},
		{"no outcome", mine, &writv1.SettleRequest{DecisionId: allowed}, codes.InvalidArgument, "FIELD_INVALID"},
		{"outcome 99", mine, &writv1.SettleRequest{DecisionId: allowed, Outcome: 99}, codes.InvalidArgument, "FIELD_INVALID"},
		{"negative cost", mine, succeeded(allowed, &writv1.Cost{Tokens: -1}), codes.InvalidArgument, "FIELD_INVALID"},
		{"currency without money", mine, succeeded(allowed, &writv1.Cost{Currency: "EUR"}), codes.InvalidArgument, "FIELD_INVALID"},
		{"257 obligations", mine, &writv1.SettleRequest{DecisionId: allowed, Outcome: 1, Obligations: make([]*writv1.ObligationReport, 257)}, codes.InvalidArgument, "FIELD_INVALID"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := p.Settle(t.Context(), c.caller, c.report)
			expect(t, err, c.code, c.reason)
			secretive(t, err)
			if c.caller == mine {
				_, err = at.Settle(t.Context(), c.report)
				expect(t, err, c.code, c.reason)
			}
		})
	}
	if after := p.books(t); after != before {
		t.Errorf("refused reports changed the books from %+v to %+v", before, after)
	}
	if text := p.log.String(); text != "" {
		t.Errorf("refused reports are in the server's log: %.500s", text)
	}
}
