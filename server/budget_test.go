package server_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/respond"
)

const permitAll = `@id("all") permit (principal, action, resource);`

// adjustable is a server that follows its store by Look alone, whose access policies
// are these, with a budget of two listings.
func adjustable(t *testing.T, policies string, adjust ...func(*pdp, *server.Config)) (*pdp, *respond.Follower) {
	t.Helper()
	p, f := lockable(t, adjust...)
	p.admitting(t, policies)
	p.cap("lists", decision.Calls, 2)
	return p, f
}

func raising(t testing.TB, by int64) *writv1.BudgetServiceChangeRequest {
	return &writv1.BudgetServiceChangeRequest{RequestId: newID(t), Budget: "lists", Reason: "The month's end.",
		Change: &writv1.BudgetServiceChangeRequest_Raise{Raise: by}, Until: timestamppb.New(time.Now().Add(time.Hour))}
}

func freezing(t testing.TB) *writv1.BudgetServiceChangeRequest {
	in := raising(t, 1)
	in.Change, in.Message = &writv1.BudgetServiceChangeRequest_Freeze{Freeze: &writv1.Freeze{}}, "Ask the desk."
	return in
}

func withdrawing(t testing.TB, id string) *writv1.BudgetServiceChangeRequest {
	return &writv1.BudgetServiceChangeRequest{RequestId: newID(t), Budget: "lists", Reason: "Done.", Change: &writv1.BudgetServiceChangeRequest_Withdraw{Withdraw: id}}
}

func (p *pdp) change(t testing.TB, in *writv1.BudgetServiceChangeRequest) *writv1.BudgetServiceChangeResponse {
	t.Helper()
	out, err := p.ChangeBudget(t.Context(), gateway, in)
	must(t, err)
	return out
}

// elsewhere changes a budget by another server of the store.
func (p *pdp) elsewhere(t testing.TB, a decision.Adjustment) {
	t.Helper()
	a.ID, a.Budget, a.Until = "B-1", "lists", time.Now().Add(time.Hour)
	_, err := respond.Adjust(t.Context(), p.store, a, audit.By{Actor: "ann", Reason: "x", At: time.Now(), ID: uuid.Must(uuid.NewV7())}, nil)
	must(t, err)
}

func (p *pdp) spend(t testing.TB, n int) (last *writv1.DecideResponse) {
	t.Helper()
	for range n {
		last = p.decide(t, p.listing(t), writv1.Effect_EFFECT_ALLOW)
	}
	return last
}

// refused wants a denial of one more listing for a reason.
func (p *pdp) refused(t testing.TB, code string) *writv1.Reason {
	t.Helper()
	answer := p.decide(t, p.listing(t), writv1.Effect_EFFECT_DENY)
	if answer.Reasons[0].Code != code {
		t.Fatalf("got %v, want %s", answer.Reasons, code)
	}
	return answer.Reasons[0]
}

func lineOf(t testing.TB, lines []*writv1.BudgetLine, budget string) *writv1.BudgetLine {
	t.Helper()
	i := slices.IndexFunc(lines, func(l *writv1.BudgetLine) bool { return l.Budget == budget })
	if i < 0 {
		t.Fatalf("there is no line of %q", budget)
	}
	return lines[i]
}

func TestARaiseLetsTheNextOnePass(t *testing.T) {
	p, _ := adjustable(t, permitAll)
	p.spend(t, 2)
	p.refused(t, "budget.exhausted")
	made := p.change(t, raising(t, 2))
	if made.Version != 1 || made.Adjustment.By != 2 || made.Adjustment.Actor != gateway.SPIFFEID || made.Receipt.LeafHash == nil || made.Replayed {
		t.Errorf("the change: %v", made)
	}
	line := lineOf(t, p.spend(t, 1).Budgets, "lists")
	if line.Cap != 4 || line.Adjusted != 2 || line.Remaining != 1 {
		t.Errorf("the line: %v", line)
	}
	p.change(t, withdrawing(t, made.Adjustment.Id))
	p.refused(t, "budget.exhausted") // three of two are used
	lowered := p.change(t, raising(t, -2))
	if got := p.refused(t, "budget.too_large"); !strings.Contains(got.Text, "0 of 0 left") {
		t.Errorf("got %v", got)
	}
	// To take a lowering back is to allow more: policies tell it from the end of a
	// raise.
	p.admitting(t, permitAll+`@id("no") forbid (principal, action == Action::"ChangeBudget", resource) when { context.change == "restore" };`)
	p.cap("lists", decision.Calls, 2)
	_, err := p.ChangeBudget(t.Context(), gateway, withdrawing(t, lowered.Adjustment.Id))
	expect(t, err, codes.PermissionDenied, forbidden)
	p.verify(t)
}

// A server that has not heard of a freeze charges nothing any more: the commit
// refuses, and the next answer is by the freeze.
func TestAFreezeThatWasNotHeardOf(t *testing.T) {
	p, f := adjustable(t, permitAll)
	p.spend(t, 1)
	p.elsewhere(t, decision.Adjustment{Tenant: "acme", Frozen: true, Message: "Ask the desk."})
	reason := p.refused(t, "budget.frozen")
	if !strings.HasSuffix(reason.Text, `"lists" is frozen by B-1: Ask the desk.`) || !strings.HasPrefix(reason.Lift, "Wait until ") {
		t.Errorf("got %v", reason)
	}
	if got := p.books(t); got.used != 2 || got.tokens != 1 {
		t.Errorf("the books: %+v", got)
	}
	// What costs nothing is refused too, and nothing that the budget does not count.
	if got := p.decide(t, p.forbidden(t), writv1.Effect_EFFECT_DENY); got.Reasons[len(got.Reasons)-1].Code != "budget.frozen" {
		t.Errorf("got %v", got.Reasons)
	}
	// An operator stopped it, so that no caller lets it go on.
	_, err := p.ChangeBudget(t.Context(), gateway, withdrawing(t, "B-1"))
	expect(t, err, codes.NotFound, "ADJUSTMENT_UNKNOWN")
	_, err = respond.Withdraw(t.Context(), p.store, "B-1", func(*decision.Adjustment) bool { return true }, audit.By{Actor: "ann", Reason: "x", At: time.Now(), ID: uuid.Must(uuid.NewV7())}, nil)
	must(t, err)
	must(t, f.Look(t.Context()))
	p.spend(t, 1)
	p.verify(t)
}

// A raise that was not heard of changes nothing that is denied until the next look,
// and a lowering is never overrun.
func TestALoweringThatWasNotHeardOf(t *testing.T) {
	p, _ := adjustable(t, permitAll)
	p.spend(t, 1)
	p.elsewhere(t, decision.Adjustment{By: -1}) // every tenant's
	p.refused(t, "budget.exhausted")
	p.verify(t)
}

func TestAChangeOfABudgetEnds(t *testing.T) {
	ahead := time.Duration(0)
	p, _ := adjustable(t, permitAll, func(_ *pdp, c *server.Config) { c.Now = func() time.Time { return time.Now().Add(ahead) } })
	p.change(t, freezing(t))
	raise := raising(t, 5)
	raise.Until = timestamppb.New(time.Now().Add(2 * time.Minute))
	p.change(t, raise)
	p.refused(t, "budget.frozen")
	ask := func() *writv1.DecideRequest {
		in := p.listing(t)
		in.PrincipalToken = p.mint(t, claims(), time.Now().Add(ahead))
		return in
	}
	ahead = time.Hour + time.Second
	if got := lineOf(t, p.decide(t, ask(), writv1.Effect_EFFECT_ALLOW).Budgets, "lists"); got.Cap != 2 || got.Adjusted != 0 {
		t.Errorf("got %v", got)
	}
	p.verify(t)
}

// What one tenant changes is nothing to another, which can neither see nor end it.
func TestChangesOfTenantsAreApart(t *testing.T) {
	p, _ := adjustable(t, permitAll)
	made := p.change(t, freezing(t))
	bolt := p.listing(t)
	bolt.Tenant = "bolt"
	p.decide(t, bolt, writv1.Effect_EFFECT_ALLOW)
	theirs := withdrawing(t, made.Adjustment.Id)
	theirs.Tenant = "bolt"
	_, err := p.ChangeBudget(t.Context(), gateway, theirs)
	expect(t, err, codes.NotFound, "ADJUSTMENT_UNKNOWN")
	seen, err := p.GetBudget(t.Context(), gateway, &writv1.BudgetServiceGetRequest{Tenant: "bolt", Budget: "lists", Share: []string{"bolt"}})
	must(t, err)
	if len(seen.Adjustments) != 0 || seen.Share.Used != 1 || seen.Share.Remaining != 1 {
		t.Errorf("bolt sees %v", seen)
	}
	// What is for all is no tenant's to end.
	p.elsewhere(t, decision.Adjustment{By: 7})
	_, err = p.ChangeBudget(t.Context(), gateway, withdrawing(t, "B-1"))
	expect(t, err, codes.NotFound, "ADJUSTMENT_UNKNOWN")
	p.refused(t, "budget.frozen")
	p.verify(t)
}

// One share is changed and no other.
func TestOneShare(t *testing.T) {
	p, _ := adjustable(t, permitAll)
	in := raising(t, 3)
	in.Share = []string{"bolt"} // which no request of acme's falls into
	p.change(t, in)
	p.spend(t, 2)
	p.refused(t, "budget.exhausted")
	in = raising(t, 3)
	in.Share = []string{"acme"}
	p.change(t, in)
	p.spend(t, 3)
	in.RequestId, in.Share = newID(t), []string{"acme", "more"}
	_, err := p.ChangeBudget(t.Context(), gateway, in)
	expect(t, err, codes.InvalidArgument, "FIELD_INVALID")
	p.verify(t)
}

func TestChangesThatAreRefused(t *testing.T) {
	p, _ := adjustable(t, permitAll)
	for name, c := range map[string]struct {
		change func(*writv1.BudgetServiceChangeRequest)
		code   codes.Code
		reason string
	}{
		"no reason":           {func(in *writv1.BudgetServiceChangeRequest) { in.Reason = "" }, codes.InvalidArgument, "FIELD_INVALID"},
		"a reason that hides": {func(in *writv1.BudgetServiceChangeRequest) { in.Reason = "fine\u202egnihton" }, codes.InvalidArgument, "FIELD_INVALID"},
		"by nothing":          {func(in *writv1.BudgetServiceChangeRequest) { in.Change = &writv1.BudgetServiceChangeRequest_Raise{} }, codes.InvalidArgument, "FIELD_INVALID"},
		"nothing":             {func(in *writv1.BudgetServiceChangeRequest) { in.Change = nil }, codes.InvalidArgument, "FIELD_INVALID"},
		"no end":              {func(in *writv1.BudgetServiceChangeRequest) { in.Until = nil }, codes.InvalidArgument, "FIELD_INVALID"},
		"an end that was":     {func(in *writv1.BudgetServiceChangeRequest) { in.Until = timestamppb.New(time.Now().Add(-time.Second)) }, codes.InvalidArgument, "FIELD_INVALID"},
		"an end out of sight": {func(in *writv1.BudgetServiceChangeRequest) {
			in.Until = timestamppb.New(time.Now().Add(31 * 24 * time.Hour))
		}, codes.InvalidArgument, "FIELD_INVALID"},
		"an end that is no time": {func(in *writv1.BudgetServiceChangeRequest) { in.Until = &timestamppb.Timestamp{Seconds: 1 << 60} }, codes.InvalidArgument, "FIELD_INVALID"},
		"too much": {func(in *writv1.BudgetServiceChangeRequest) {
			in.Change = &writv1.BudgetServiceChangeRequest_Raise{Raise: 1 << 60}
		}, codes.InvalidArgument, "FIELD_INVALID"},
		"no such budget": {func(in *writv1.BudgetServiceChangeRequest) { in.Budget = "other" }, codes.NotFound, "BUDGET_UNKNOWN"},
		"no such change": {func(in *writv1.BudgetServiceChangeRequest) { *in = *withdrawing(t, "A-1") }, codes.NotFound, "ADJUSTMENT_UNKNOWN"},
		"no such ticket": {func(in *writv1.BudgetServiceChangeRequest) { in.TicketId = "CHG-0" }, codes.FailedPrecondition, "TICKET_REFUSED"},
		"no tenant":      {func(in *writv1.BudgetServiceChangeRequest) { in.Tenant = decision.System }, codes.PermissionDenied, forbidden},
	} {
		t.Run(name, func(t *testing.T) {
			in, before := raising(t, 1), p.books(t)
			c.change(in)
			_, err := p.ChangeBudget(t.Context(), gateway, in)
			expect(t, err, c.code, c.reason)
			if p.books(t) != before {
				t.Error("it left something behind")
			}
		})
	}
}

// A change that policies want a ticket for is made with one that covers it, once.
func TestAChangeThatNeedsATicket(t *testing.T) {
	p, _ := adjustable(t, permitAll+`@id("ticket") @requires("ticket")
		forbid (principal, action == Action::"ChangeBudget", resource) when { context.change == "raise" && context.amount > 5 } unless { context has ticket };`)
	ticket := func(id string, tool string, change func(*decision.Ticket)) {
		g := decision.Ticket{ID: id, Principal: gateway.SPIFFEID, Tool: decision.ToolName{Server: decision.BudgetTools, Name: tool},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), MaxUses: 1, Approvers: []string{"cfo"}}
		change(&g)
		must(t, p.store.CreateTicket(t.Context(), "acme", g))
	}
	ticket("FREEZE", "freeze", func(*decision.Ticket) {})
	ticket("OTHER", "raise", func(g *decision.Ticket) { g.Principal = agent })
	ticket("SELF", "raise", func(g *decision.Ticket) { g.Approvers = []string{gateway.SPIFFEID} })
	ticket("LATE", "raise", func(g *decision.Ticket) { g.NotAfter = time.Now().Add(-time.Minute) })
	ticket("BOUND", "raise", func(g *decision.Ticket) { g.ArgumentsDigest = strings.Repeat("0", 64) })
	ticket("GOOD", "raise", func(*decision.Ticket) {})

	p.change(t, raising(t, 5)) // so much needs none
	needs := raising(t, 6)
	_, err := p.ChangeBudget(t.Context(), gateway, needs)
	told := expect(t, err, codes.FailedPrecondition, "CHANGE_NEEDS_TICKET")
	for id, code := range map[string]string{"NONE": "unknown", "FREEZE": "tool", "OTHER": "principal", "SELF": "self_approved", "LATE": "expired", "BOUND": "arguments"} {
		in := proto.CloneOf(needs)
		in.TicketId = id
		_, err := p.ChangeBudget(t.Context(), gateway, in)
		expect(t, err, codes.FailedPrecondition, "TICKET_REFUSED")
		if got, want := ruleOf(err), "ticket."+code; got != want {
			t.Errorf("%s: got %q, want %q", id, got, want)
		}
	}
	in := proto.CloneOf(needs)
	in.TicketId = "GOOD"
	made := p.change(t, in)
	if again := p.change(t, in); !again.Replayed || again.Version != made.Version {
		t.Errorf("a retry: %v", again)
	}
	in.RequestId = newID(t)
	_, err = p.ChangeBudget(t.Context(), gateway, in)
	expect(t, err, codes.FailedPrecondition, "TICKET_REFUSED")
	// What the refusal told to have approved is what a ticket is bound to.
	_, bound, _ := strings.Cut(told.Message, "the digest ")
	ticket("BOUND-2", "raise", func(g *decision.Ticket) { g.ArgumentsDigest = bound })
	in = raising(t, 6)
	in.TicketId = "BOUND-2"
	p.change(t, in)
	if got := p.books(t).redemptions; got != 2 {
		t.Errorf("%d redemptions, want 2", got)
	}
	p.verify(t)
}

// A caller that may not change budgets learns nothing of tickets.
func TestAStrangerLearnsNothingOfTickets(t *testing.T) {
	p, _ := adjustable(t, `@id("none") permit (principal, action == Action::"Decide", resource);`)
	in := raising(t, 1)
	for _, id := range []string{"", "CHG-0"} {
		in.TicketId = id
		_, err := p.ChangeBudget(t.Context(), gateway, in)
		expect(t, err, codes.PermissionDenied, forbidden)
	}
}

func TestAChangeIsMadeOnce(t *testing.T) {
	p, _ := adjustable(t, permitAll)
	in := raising(t, 1)
	first := p.change(t, in)
	again := p.change(t, in)
	if !again.Replayed || !proto.Equal(first.Adjustment, again.Adjustment) || first.Version != again.Version {
		t.Errorf("first %v, then %v", first, again)
	}
	other := proto.CloneOf(in)
	other.Change = &writv1.BudgetServiceChangeRequest_Raise{Raise: 2}
	_, err := p.ChangeBudget(t.Context(), gateway, other)
	expect(t, err, codes.AlreadyExists, "REQUEST_ID_REUSED")
	theirs := proto.CloneOf(in)
	theirs.Tenant = "bolt"
	_, err = p.ChangeBudget(t.Context(), gateway, theirs)
	expect(t, err, codes.AlreadyExists, "REQUEST_ID_REUSED")
	// Also after it was withdrawn: a late retry does not bring it back.
	p.change(t, withdrawing(t, first.Adjustment.Id))
	if late := p.change(t, in); !late.Replayed {
		t.Errorf("late: %v", late)
	}
	p.spend(t, 2)
	p.refused(t, "budget.exhausted")
	p.verify(t)
}

// One tenant cannot take all the room that changes have.
func TestChangesOfOneTenantAreBounded(t *testing.T) {
	p, _ := adjustable(t, permitAll)
	for range decision.MaxTenantAdjustments {
		p.change(t, raising(t, 1))
	}
	_, err := p.ChangeBudget(t.Context(), gateway, raising(t, 1))
	expect(t, err, codes.FailedPrecondition, "ADJUSTMENTS_FULL")
	other := raising(t, 1)
	other.Tenant = "bolt"
	p.change(t, other)
}

// A frozen budget takes back what was not spent, and charges no more than was
// reserved; then what comes is by the cap of then.
func TestSettlingWhatIsFrozen(t *testing.T) {
	p, _ := adjustable(t, permitAll)
	p.cap("tokens", decision.Tokens, 100)
	tokens := func(n int64) string {
		in := p.listing(t)
		in.Cost = &writv1.Cost{Tokens: n}
		return p.decide(t, in, writv1.Effect_EFFECT_ALLOW).DecisionId
	}
	settle := func(id string, n int64) *writv1.BudgetLine {
		out, err := p.Settle(t.Context(), gateway, &writv1.SettleRequest{DecisionId: id, Outcome: writv1.Outcome_OUTCOME_SUCCEEDED, Actual: &writv1.Cost{Calls: 1, Tokens: n}})
		must(t, err)
		return lineOf(t, out.Budgets, "tokens")
	}
	less, more := tokens(10), tokens(10)
	freeze := freezing(t)
	freeze.Budget = "tokens"
	made := p.change(t, freeze)
	if got := settle(less, 4); got.Reserved != 4 || got.Remaining != 0 || got.Overrun != 0 {
		t.Errorf("less: %v", got)
	}
	if got := settle(more, 30); got.Reserved != 10 || got.Overrun != 20 {
		t.Errorf("more: %v", got)
	}
	thaw := withdrawing(t, made.Adjustment.Id)
	thaw.Budget = "tokens"
	p.change(t, thaw)
	raise := raising(t, 10)
	p.change(t, raise) // of the calls
	raise = raising(t, 50)
	raise.Budget = "tokens"
	p.change(t, raise)
	if got := settle(tokens(5), 200); got.Reserved != 136 || got.Cap != 150 || got.Adjusted != 50 || got.Overrun != 64 {
		t.Errorf("by the cap of now: %v", got)
	}
	p.verify(t)
}

// A server that has not heard of a freeze settles nothing over what was reserved.
func TestSettlingByAFreezeThatWasNotHeardOf(t *testing.T) {
	p, _ := adjustable(t, permitAll)
	id := p.spend(t, 1).DecisionId
	p.elsewhere(t, decision.Adjustment{Frozen: true})
	out, err := p.Settle(t.Context(), gateway, &writv1.SettleRequest{DecisionId: id, Outcome: writv1.Outcome_OUTCOME_SUCCEEDED, Actual: &writv1.Cost{Calls: 2}})
	must(t, err)
	if got := lineOf(t, out.Budgets, "lists"); got.Reserved != 1 || got.Overrun != 1 {
		t.Errorf("got %v", got)
	}
	p.verify(t)
}

// Records say by which changes of budgets they were decided, and no others.
func TestTheRecordTellsOfChangesOfBudgets(t *testing.T) {
	p, f := adjustable(t, permitAll)
	p.cap("other", decision.Tokens, 5)
	made := p.change(t, raising(t, 1))
	theirs := raising(t, 1)
	theirs.Tenant = "bolt"
	p.change(t, theirs)
	must(t, f.Look(t.Context()))
	answer := p.spend(t, 1)
	row, err := p.store.Record(t.Context(), "acme", uuid.FromStringOrNil(answer.DecisionId))
	must(t, err)
	q, err := audit.QuestionOf(row.Body, nil)
	must(t, err)
	if q.Control == nil || q.Control.Version != 2 || len(q.Control.Adjustments) != 1 || q.Control.Adjustments[0].ID != made.Adjustment.Id {
		t.Errorf("got %+v", q.Control)
	}
	row, err = p.store.Control(t.Context(), 1)
	must(t, err)
	c, err := audit.ControlFactsOf(row.Body)
	must(t, err)
	if diff := cmp.Diff([]string{"all"}, c.Budget.Request.AdmittedBy); diff != "" || c.Budget.Request.Bundle != p.bundle.Digest || c.Reason != "The month's end." {
		t.Errorf("%+v, admitted by (-want +got):\n%s", c, diff)
	}
}

func TestListAndGet(t *testing.T) {
	p, _ := adjustable(t, permitAll)
	p.spend(t, 1)
	p.change(t, raising(t, 3))
	p.change(t, freezing(t))
	got, err := p.GetBudget(t.Context(), gateway, &writv1.BudgetServiceGetRequest{Budget: "lists", Share: []string{"acme"}})
	must(t, err)
	s := got.Share
	if s.Used != 1 || s.BundleCap != 2 || s.Cap != 5 || s.Remaining != 0 || s.FrozenUntil == nil || s.Window != "lifetime" || len(got.Adjustments) != 2 || got.Per[0] != "tenant" {
		t.Errorf("got %v", got)
	}
	var names []string
	in := &writv1.BudgetServiceListRequest{PageSize: 1}
	for {
		page, err := p.ListBudgets(t.Context(), gateway, in)
		must(t, err)
		if len(page.Shares) != 1 {
			t.Fatalf("a page of one has %d", len(page.Shares))
		}
		names = append(names, page.Shares[0].Budget)
		if in.PageToken = page.NextPageToken; in.PageToken == "" {
			break
		}
	}
	var want []string
	for _, rule := range p.bundle.Budgets {
		want = append(want, rule.ID)
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Compact(names)); diff != "" {
		t.Errorf("budgets (-want +got):\n%s", diff)
	}
	for _, token := range []string{"!", "YQ", "YQBhAGE"} {
		_, err := p.ListBudgets(t.Context(), gateway, &writv1.BudgetServiceListRequest{PageToken: token})
		expect(t, err, codes.InvalidArgument, "FIELD_INVALID")
	}
	_, err = p.ListBudgets(t.Context(), gateway, &writv1.BudgetServiceListRequest{Budget: "none"})
	expect(t, err, codes.NotFound, "BUDGET_UNKNOWN")
	_, err = p.GetBudget(t.Context(), gateway, &writv1.BudgetServiceGetRequest{Budget: "lists"})
	expect(t, err, codes.InvalidArgument, "FIELD_INVALID")
}
