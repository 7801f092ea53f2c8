package storetest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gofrs/uuid/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

func testFacts(t *testing.T, place Place) {
	s := start(t, place)
	for name, test := range map[string]func(*testing.T, Store){
		"OfNothing": factsOfNothing, "Token": factsOfTokens, "Ticket": factsOfTickets, "Counters": factsOfCounters,
		"Call": factsOfCalls, "AllAtOnce": factsAtOnce,
	} {
		t.Run(name, func(t *testing.T) { test(t, s) })
	}
}

func facts(t *testing.T, s Store, w decision.Want) decision.Facts {
	t.Helper()
	f, err := s.Snapshot(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func factsOfNothing(t *testing.T, s Store) {
	w := decision.Want{Tenant: "nobody", RequestID: idOf("x"), Token: digest("x"), Ticket: "none", CallID: idOf("none"), Budgets: []decision.BudgetKey{calls}}
	want := decision.Facts{Used: map[decision.BudgetKey]int64{calls: 0}}
	if diff := cmp.Diff(want, facts(t, s, w)); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
	got := facts(t, s, decision.Want{Tenant: "nobody"})
	if got.TokenUsed || got.Ticket != nil || got.Call != nil || len(got.Used) != 0 {
		t.Errorf("facts: %+v", got)
	}
}

func factsOfTokens(t *testing.T, s Store) {
	request := idOf("the request")
	e := entry(uuid.UUID(request).String(), "1", consume("the token"))
	commit(t, s, e)
	for name, test := range map[string]struct {
		want decision.Want
		used bool
	}{
		"the same request":              {decision.Want{Tenant: "acme", RequestID: request, Token: digest("token the token")}, false},
		"another request":               {decision.Want{Tenant: "acme", RequestID: idOf("another"), Token: digest("token the token")}, true},
		"the request's id elsewhere":    {decision.Want{Tenant: "bolt", RequestID: request, Token: digest("token the token")}, true},
		"another token":                 {decision.Want{Tenant: "acme", RequestID: idOf("another"), Token: digest("another token")}, false},
		"its proof":                     {decision.Want{Tenant: "acme", RequestID: idOf("another"), Token: digest("another token"), Proof: digest("token the token")}, true},
		"its own proof":                 {decision.Want{Tenant: "acme", RequestID: request, Token: digest("another token"), Proof: digest("token the token")}, false},
		"another proof":                 {decision.Want{Tenant: "acme", RequestID: idOf("another"), Token: digest("another token"), Proof: digest("another proof")}, false},
		"the same request, other token": {decision.Want{Tenant: "acme", RequestID: request, Token: digest("another token")}, false},
	} {
		if got, want := facts(t, s, test.want).TokenUsed, test.used; got != want {
			t.Errorf("%s: used is %v, want %v", name, got, want)
		}
	}
}

func factsOfTickets(t *testing.T, s Store) {
	granted := ticket("CHG-7", 3)
	granted.ToolDigest, granted.ArgumentsDigest = strings.Repeat("a", 64), strings.Repeat("b", 64)
	granted.Approvers = []string{"ann", `b"o,b{}`}
	create(t, s, "acme", granted)
	w := decision.Want{Tenant: "acme", Ticket: "CHG-7"}
	if diff := cmp.Diff(&granted, facts(t, s, w).Ticket); diff != "" {
		t.Errorf("the ticket (-want +got):\n%s", diff)
	}
	commit(t, s, entry("uses a ticket", "1", redeem("CHG-7")))
	granted.Uses = 1
	if diff := cmp.Diff(&granted, facts(t, s, w).Ticket); diff != "" {
		t.Errorf("the ticket, used (-want +got):\n%s", diff)
	}
	granted = revoke(t, s, granted)
	if diff := cmp.Diff(&granted, facts(t, s, w).Ticket); diff != "" {
		t.Errorf("the ticket, revoked (-want +got):\n%s", diff)
	}
	w.Tenant = "bolt"
	if got := facts(t, s, w).Ticket; got != nil {
		t.Errorf("another tenant's ticket: %v", got)
	}
}

func factsOfCounters(t *testing.T, s Store) {
	keys := []decision.BudgetKey{
		{Budget: "lifetime", Subject: ""}, {Budget: "lifetime", Subject: `"a","b"`}, {Budget: "day", Subject: `"ünï→"`, Start: 1_772_323_200},
		{Budget: "day", Subject: `"ünï→"`, Start: 1_772_409_600}, {Budget: "hour", Subject: `["]\'%`, Start: 3600},
		{Budget: "before 1970", Subject: "x", Start: -3600}, {Budget: "far", Subject: "x", Start: 253402300000}, {Budget: "untouched", Subject: "x"},
	}
	want := map[decision.BudgetKey]int64{}
	e := entry("many counters", "1")
	for i, k := range keys {
		want[k] = 0
		if k.Budget != "untouched" {
			want[k] = int64(i) + 1<<55
			e.Effects = append(e.Effects, decision.Charge{Key: k, Amount: want[k], Cap: 1 << 60})
		}
	}
	commit(t, s, e)
	if diff := cmp.Diff(want, used(t, s, keys...)); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
}

// call is a request for a tool call with a ticket, and its decision as a record.
func call(t *testing.T, name, ticket string, phase decision.Phase) (*decision.Request, audit.Entry) {
	t.Helper()
	arguments, err := document.ParseObject([]byte(`{"path":"/tmp/a"}`))
	if err != nil {
		t.Fatal(err)
	}
	req := &decision.Request{
		ID: uuid.NewV5(uuid.NamespaceURL, name), Digest: digest("request %s", name),
		Caller:    decision.Caller{SPIFFEID: "spiffe://acme.example/gateway", Tenant: "acme"},
		Principal: decision.Principal{Subject: "agent", Issuer: "https://issuer.example", Token: digest("token of %s", name), Expires: noon.Add(3600e9)},
		Phase:     phase, Session: "session-1", Purpose: "support",
		Tool:      decision.ToolRef{ToolName: decision.ToolName{Server: "filesystem", Name: "read_file"}},
		Arguments: arguments, Ticket: ticket, Cost: decision.Cost{Calls: 1},
	}
	effects := []decision.Effect{decision.Consume{Token: req.Principal.Token, Expires: req.Principal.Expires}}
	if ticket != "" {
		effects = append(effects, redeem(ticket))
	}
	snap := &decision.Snapshot{At: noon, Bundle: &decision.Bundle{Digest: strings.Repeat("c", 64)}}
	made := &decision.Decision{Findings: []decision.Finding{{Stage: "policy", Verdict: decision.Permit, Effects: effects}}}
	e, _, err := audit.Decided(uuid.NewV5(uuid.NamespaceOID, name), req, snap, made)
	if err != nil {
		t.Fatal(err)
	}
	return req, e
}

func factsOfCalls(t *testing.T, s Store) {
	granted := ticket("CHG-8", 2)
	create(t, s, "acme", granted)
	req, e := call(t, "with a ticket", "CHG-8", decision.Call)
	commit(t, s, e)
	granted.Uses = 1
	got := facts(t, s, decision.Want{Tenant: "acme", CallID: e.ID})
	want := decision.Facts{
		Ticket: &granted,
		Call: &decision.CallFacts{
			Allowed: true, Caller: req.Caller.SPIFFEID, Principal: "agent", Session: "session-1", Purpose: "support",
			Tool: req.Tool.ToolName, ArgumentsDigest: req.Arguments.Digest(), Ticket: "CHG-8", Token: req.Principal.Token,
		},
		Used: map[decision.BudgetKey]int64{},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the facts (-want +got):\n%s", diff)
	}
	// A result goes by its call's ticket, whatever it names itself.
	create(t, s, "acme", ticket("CHG-9", 2))
	got = facts(t, s, decision.Want{Tenant: "acme", CallID: e.ID, Ticket: "CHG-9"})
	if got.Ticket == nil || got.Ticket.ID != "CHG-8" {
		t.Errorf("the ticket is %v, want CHG-8", got.Ticket)
	}
	_, plain := call(t, "without a ticket", "", decision.Call)
	commit(t, s, plain)
	got = facts(t, s, decision.Want{Tenant: "acme", CallID: plain.ID, Ticket: "CHG-9"})
	if got.Call == nil || got.Call.Ticket != "" || got.Ticket != nil {
		t.Errorf("the facts of a call without a ticket: %+v", got)
	}
	_, result := call(t, "another phase", "", decision.Connect)
	commit(t, s, result)
	for name, w := range map[string]decision.Want{
		"no call": {Tenant: "acme", CallID: result.ID}, "another tenant": {Tenant: "bolt", CallID: e.ID}, "unknown": {Tenant: "acme", CallID: idOf("unknown")},
	} {
		if got := facts(t, s, w); got.Call != nil || got.Ticket != nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// factsAtOnce wants everything, and holds that a snapshot is of one moment: two
// counters that are always charged together are never seen apart.
func factsAtOnce(t *testing.T, s Store) {
	twins := []decision.BudgetKey{{Budget: "twin 1"}, {Budget: "twin 2"}}
	granted := ticket("CHG-twin", 1000)
	create(t, s, "acme", granted)
	done := make(chan error, 1)
	go func() {
		for i := range 100 {
			e := entry(fmt.Sprint("twins ", i), "1", redeem("CHG-twin"))
			for _, k := range twins {
				e.Effects = append(e.Effects, decision.Charge{Key: k, Amount: 1, Cap: 1000})
			}
			if _, err := s.Commit(t.Context(), e); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	w := decision.Want{Tenant: "acme", RequestID: idOf("twins"), Token: digest("twins"), Ticket: "CHG-twin", Budgets: twins}
	for {
		f := facts(t, s, w)
		if f.Used[twins[0]] != f.Used[twins[1]] || f.Ticket.Uses != f.Used[twins[0]] {
			t.Fatalf("the counters hold %v, the ticket has %d uses", f.Used, f.Ticket.Uses)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return
		default:
		}
	}
}
