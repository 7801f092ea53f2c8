package audit

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

func adjustment(id string, by int64) decision.Adjustment {
	return decision.Adjustment{ID: id, Tenant: "tenant-0", Budget: "tokens", By: by, Frozen: by == 0, Until: noon.Add(time.Hour).Truncate(time.Microsecond),
		Actor: "ann", Reason: "The month's end.", Ticket: "CHG-9", Message: "Ask the desk."}
}

// controlling is the change that puts an adjustment into force, with others.
func controlling(version int64, a decision.Adjustment, others ...decision.Adjustment) ControlFacts {
	return ControlFacts{At: noon.Truncate(1000), Actor: "spiffe://example.org/budgets", Reason: "The month's end.", Ticket: "CHG-9",
		Budget: &BudgetChange{Adjustment: a, RedeemedOf: a.Tenant, Request: &BudgetRequest{ID: idOf(int(version)), Digest: [32]byte{1},
			AdmittedBy: []string{"access-budgets"}, Bundle: strings.Repeat("0f", 32)}},
		Control: decision.Control{Version: version, Adjustments: append(others, a)}}
}

func controlled(t testing.TB, c ControlFacts) Entry {
	t.Helper()
	e, err := Controlled(idOf(5_000_000+int(c.Control.Version)), c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestBudgetChangeIsReadBack(t *testing.T) {
	want := controlling(3, adjustment("A-2", 7), adjustment("A-1", 0))
	e := controlled(t, want)
	got, err := ControlFactsOf(e.Body)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the change (-want +got):\n%s", diff)
	}
	effects := []decision.Effect{want.Control, decision.Redeem{Ticket: "CHG-9", Tenant: "tenant-0"}}
	if diff := cmp.Diff(effects, e.Effects); diff != "" {
		t.Errorf("its effects (-want +got):\n%s", diff)
	}
	if e.Kind != Budget || e.Tenant != decision.System || e.Key != uuidText(want.Budget.Request.ID) || e.Digest != want.Budget.Request.Digest || e.Principal != want.Actor {
		t.Errorf("the row: %+v", e.Row)
	}
	// At the store there is no request and no ticket that is looked up.
	want.Budget.Request, want.Budget.RedeemedOf, want.Budget.Withdrawn = nil, "", true
	e = controlled(t, want)
	if got, err = ControlFactsOf(e.Body); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" || len(e.Effects) != 1 || e.Key != uuidText(e.ID) {
		t.Errorf("at the store (-want +got):\n%s", diff)
	}
	if _, err := ControlFactsOf(change(t, 1).Body); !errors.Is(err, ErrNotFound) {
		t.Errorf("another record: %v", err)
	}
}

// A record of before there were changes of budgets is read as ever.
func TestLockWithoutAdjustments(t *testing.T) {
	lock := decision.Lock{ID: "L-1", Effect: decision.LockDeny, Until: noon.Add(time.Hour).Truncate(time.Microsecond), By: "ann", Reason: "x"}
	want := ControlFacts{At: noon.Truncate(1000), Actor: "ann", Reason: "x", Lock: lock, Control: decision.Control{Version: 1, Locks: []decision.Lock{lock}}}
	got, err := ControlFactsOf(controlled(t, want).Body)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestBudgetChangeIsChecked(t *testing.T) {
	for name, spoil := range map[string]func(*writv1.BudgetEvent){
		"no adjustment":           func(e *writv1.BudgetEvent) { e.Adjustment = nil },
		"no version":              func(e *writv1.BudgetEvent) { e.Version = 0 },
		"nobody":                  func(e *writv1.BudgetEvent) { e.Actor = "" },
		"no reason":               func(e *writv1.BudgetEvent) { e.Reason = "" },
		"a reason that hides":     func(e *writv1.BudgetEvent) { e.Reason = "a\u202eb" },
		"no end":                  func(e *writv1.BudgetEvent) { e.Adjustment.Until = nil },
		"an end too fine":         func(e *writv1.BudgetEvent) { e.Adjustment.Until.Nanos = 1 },
		"nothing":                 func(e *writv1.BudgetEvent) { e.Adjustment.By = 0 },
		"both":                    func(e *writv1.BudgetEvent) { e.Adjustment.Frozen = true },
		"twice":                   func(e *writv1.BudgetEvent) { e.Adjustments = append(e.Adjustments, e.Adjustments[0]) },
		"out of order":            func(e *writv1.BudgetEvent) { e.Adjustments[0].Id = "A-9" },
		"another tenant's ticket": func(e *writv1.BudgetEvent) { e.RedeemedOf = "bolt" },
		"no ticket that is used":  func(e *writv1.BudgetEvent) { e.TicketId = "" },
		"policies of no bundle":   func(e *writv1.BudgetEvent) { e.BundleDigest = "" },
		"a bundle and no policy":  func(e *writv1.BudgetEvent) { e.AdmittedBy = nil },
		"a bundle in capitals":    func(e *writv1.BudgetEvent) { e.BundleDigest = strings.ToUpper(e.BundleDigest) },
		"a request of no id":      func(e *writv1.BudgetEvent) { e.RequestId = "x" },
		"a lock that is none":     func(e *writv1.BudgetEvent) { e.Locks = []*writv1.LockFacts{{}} },
	} {
		e := controlled(t, controlling(3, adjustment("A-2", 7), adjustment("A-1", 0)))
		m := &writv1.Record{}
		if err := proto.Unmarshal(e.Body, m); err != nil {
			t.Fatal(err)
		}
		spoil(m.GetBudget())
		body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := RowOf(body); err == nil {
			t.Errorf("%s: it is read", name)
		}
	}
}

// charging is a decision of tenant-0 by a version that charges the budget tokens by a
// cap, of which some was changed at run time.
func charging(t testing.TB, n int, version, limit, adjusted int64) Entry {
	t.Helper()
	req, snap := request(t, 3*n), snapshot()
	req.Ticket = ""
	snap.Control = &decision.Control{Version: version}
	d := &decision.Decision{Findings: []decision.Finding{{Stage: "policy", Verdict: decision.Permit}, {Stage: "budget", Verdict: decision.Abstain,
		Budgets: []decision.BudgetLine{{Budget: "tokens", Unit: decision.Tokens, Cap: limit, Adjusted: adjusted, Reserved: 1, Remaining: limit - 1}},
		Effects: []decision.Effect{decision.Charge{Key: lifetime, Amount: 1, Cap: limit}}}}}
	e, _, err := Decided(idOf(6_000_000+n), req, snap, d)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Whoever charges by another cap than that which the records of the control state
// come to is found, whichever comes first.
func TestVerifyCaps(t *testing.T) {
	raise, freeze, other := adjustment("A-1", 7), adjustment("A-2", 0), adjustment("A-3", 5)
	other.Tenant = "tenant-1"
	one, two, three := controlling(1, raise), controlling(2, other, raise), controlling(3, freeze, raise)
	for _, c := range []*ControlFacts{&one, &two, &three} {
		c.Budget.RedeemedOf = ""
	}
	late := controlling(1, raise)
	late.Budget.RedeemedOf = ""
	late.Control.Adjustments[0].Until = timestamppb.New(noon).AsTime().Truncate(time.Microsecond)
	settled := func(version int64, adjusted ...decision.Adjustment) Entry {
		e, _, err := Settled(idOf(7_000_000), decision.Caller{SPIFFEID: "spiffe://example.org/gateway", Tenant: "tenant-0"}, noon, uuidText(charging(t, 1, 1, 17, 7).ID),
			[32]byte{2}, writv1.Outcome_OUTCOME_SUCCEEDED, decision.Cost{Tokens: 3}, nil, decision.Settlement{Control: decision.Control{Version: version, Adjustments: adjusted},
				Budgets: []decision.BudgetLine{{Budget: "tokens", Unit: decision.Tokens, Cap: 17, Adjusted: 7}},
				Effects: []decision.Effect{decision.Charge{Key: lifetime, Amount: 2, Cap: 17}}})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	for name, c := range map[string]struct {
		entries []Entry
		want    string // of the problem; empty: there is none
	}{
		"as the version says":          {[]Entry{controlled(t, one), charging(t, 1, 1, 17, 7)}, ""},
		"before the version":           {[]Entry{charging(t, 1, 1, 17, 7), controlled(t, one)}, ""},
		"of no version":                {[]Entry{charging(t, 1, 0, 10, 0)}, ""},
		"of another tenant's":          {[]Entry{controlled(t, one), controlled(t, two), charging(t, 1, 2, 17, 7)}, ""},
		"raised by more":               {[]Entry{controlled(t, one), charging(t, 1, 1, 18, 8)}, "by a cap of 18, which was 17 by version 1"},
		"raised by nobody":             {[]Entry{charging(t, 1, 0, 11, 1)}, "by a cap of 11, which was 10 by version 0"},
		"what was raised is forgotten": {[]Entry{controlled(t, one), charging(t, 1, 1, 10, 0)}, "by a cap of 10, which was 17"},
		"raised and over":              {[]Entry{controlled(t, late), charging(t, 1, 1, 17, 7)}, "by a cap of 17, which was 10"},
		"what comes late is wrong":     {[]Entry{charging(t, 1, 1, 18, 8), controlled(t, one)}, "by a cap of 18, which was 17"},
		"frozen":                       {[]Entry{controlled(t, one), controlled(t, two), controlled(t, three), charging(t, 1, 3, 17, 7)}, `the budget "tokens", which A-2 had frozen`},
		"of a version that is not":     {[]Entry{controlled(t, one), charging(t, 1, 5, 17, 7)}, "rests on version 5 of the control state, which no record makes"},
		"settled":                      {[]Entry{controlled(t, one), charging(t, 1, 1, 17, 7), settled(1, raise)}, ""},
		"settled while frozen":         {[]Entry{controlled(t, one), controlled(t, two), controlled(t, three), charging(t, 1, 1, 17, 7), settled(3, raise)}, "which A-2 had frozen"},
	} {
		t.Run(name, func(t *testing.T) {
			signer, verifier := key(t, 1)
			m := &memory{}
			for _, e := range c.entries {
				m.commit(e)
				if err := m.seal(1, signer.Extend); err != nil {
					t.Fatal(err)
				}
			}
			report, err := Verify(t.Context(), m, []note.Verifier{verifier}, Options{Origin: origin})
			if err != nil {
				t.Fatal(err)
			}
			switch p := report.Problem; {
			case c.want == "" && p != nil:
				t.Errorf("got %v", p)
			case c.want != "" && (p == nil || p.What != "cap" || !strings.Contains(p.Detail, c.want)):
				t.Errorf("got %v, want %q", p, c.want)
			}
		})
	}
}
