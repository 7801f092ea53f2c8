package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

func testBudgets(t *testing.T, place Place) {
	for name, test := range map[string]func(*testing.T, Place){
		"Shares": budgetShares, "Chain": budgetChain, "Ticket": budgetTicket,
	} {
		t.Run(name, func(t *testing.T) { test(t, place) })
	}
}

// adjusting is the change of a budget that makes a version, with a tenant's ticket;
// empty: it redeems none.
func adjusting(t *testing.T, version int64, name, of string) audit.Entry {
	t.Helper()
	a := decision.Adjustment{ID: "A-" + name, Tenant: "acme", Budget: "calls", By: 5, Until: noon.Add(time.Hour), Actor: "ann", Reason: "The month's end."}
	c := audit.ControlFacts{At: noon, Actor: "ann", Reason: "The month's end.", Budget: &audit.BudgetChange{Adjustment: a, RedeemedOf: of},
		Control: decision.Control{Version: version, Adjustments: []decision.Adjustment{a}}}
	if of != "" {
		c.Ticket, c.Budget.RedeemedVersion = "CHG-1", 1
	}
	e, err := audit.Controlled(uuid.NewV5(uuid.NamespaceOID, fmt.Sprint("budgets ", version, name)), c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Shares are read by budget and window, in the order of their subjects, from where
// the page begins, and those of others are not among them.
func budgetShares(t *testing.T, place Place) {
	s := start(t, place)
	day := noon.Truncate(24 * time.Hour).Unix()
	key := func(budget, subject string, start int64) decision.BudgetKey {
		return decision.BudgetKey{Budget: budget, Subject: subject, Start: start}
	}
	for i, k := range []decision.BudgetKey{
		key("calls", `"b"`, day), key("calls", `"ä"`, day), key("calls", `"A"`, day), key("calls", `"a"`, day), key("calls", "", day),
		key("calls", `"a"`, day+86400), key("other", `"a"`, day), key("calls", `"a"`, 0),
	} {
		commit(t, s, entry(fmt.Sprint("share ", i), "1", decision.Charge{Key: k, Amount: int64(i + 1), Cap: 100}))
	}
	commit(t, s, entry("back", "1", decision.Charge{Key: key("calls", `"b"`, day), Amount: -1, Cap: 100})) // holds 0
	commit(t, s, of("bolt", entry("theirs", "1", decision.Charge{Key: key("calls", `"a"`, day), Amount: 9, Cap: 100})))
	read := func(budget string, start int64, from string, limit int) (got []string) {
		t.Helper()
		uses, err := s.Shares(t.Context(), "acme", budget, start, from, limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range uses {
			if u.Tenant != "acme" || u.Key.Budget != budget || u.Key.Start != start {
				t.Errorf("got %+v", u)
			}
			got = append(got, fmt.Sprint(u.Key.Subject, " ", u.Used))
		}
		return got
	}
	for _, c := range []struct {
		budget string
		start  int64
		from   string
		limit  int
		want   []string
	}{
		{"calls", day, "", 10, []string{" 5", `"A" 3`, `"a" 4`, `"ä" 2`}},
		{"calls", day, "", 2, []string{" 5", `"A" 3`}},
		{"calls", day, `"a"`, 10, []string{`"a" 4`, `"ä" 2`}},
		{"calls", day, `"b"`, 1, []string{`"ä" 2`}},
		{"calls", day + 86400, "", 10, []string{`"a" 6`}},
		{"calls", 0, "", 10, []string{`"a" 8`}},
		{"none", day, "", 10, nil},
	} {
		if diff := cmp.Diff(c.want, read(c.budget, c.start, c.from, c.limit)); diff != "" {
			t.Errorf("%s from %q (-want +got):\n%s", c.budget, c.from, diff)
		}
	}
}

// Changes of budgets and locks make the versions of one chain, and one fence keeps
// what rests on an older one from being committed.
func budgetChain(t *testing.T, place Place) {
	open := opener(t, place)
	s, other := open(), open()
	commit(t, s, locking(t, 1, "a"))
	commit(t, s, fenced(1, "by the lock", charge(1, 10)))
	commit(t, other, adjusting(t, 2, "a", ""))
	if _, err := s.Commit(t.Context(), fenced(1, "by the old version", charge(1, 10))); !errors.Is(err, audit.ErrFenced) {
		t.Errorf("by the version before: %v", err)
	}
	commit(t, s, fenced(2, "by the new version", charge(1, 15)))
	for name, e := range map[string]audit.Entry{"a lock": locking(t, 2, "b"), "a budget": adjusting(t, 2, "b", "")} {
		if _, err := s.Commit(t.Context(), e); !errors.Is(err, audit.ErrStale) {
			t.Errorf("%s makes version 2 again: %v", name, err)
		}
	}
	commit(t, s, locking(t, 3, "c"))
	for version, kind := range map[int64]audit.Kind{0: audit.Lock, 1: audit.Lock, 2: audit.Budget} {
		row, err := other.Control(t.Context(), version)
		if err != nil || row.Kind != kind {
			t.Errorf("version %d: kind %d, %v", version, row.Kind, err)
		}
	}
}

// A change of a budget uses up its tenant's ticket, though the record is the
// system's; where it cannot, nothing is changed.
func budgetTicket(t *testing.T, place Place) {
	s := start(t, place)
	for tenant, uses := range map[string]int64{"acme": 1, "bolt": 5} {
		create(t, s, tenant, ticket("CHG-1", uses))
	}
	e := adjusting(t, 1, "a", "acme")
	commit(t, s, e)
	if _, err := s.Commit(t.Context(), adjusting(t, 2, "b", "acme")); !errors.Is(err, audit.ErrStale) {
		t.Errorf("a ticket that is used up: %v", err)
	}
	if row, err := s.Control(t.Context(), 0); err != nil || row.ID != e.ID {
		t.Errorf("the newest: %x, %v", row.ID, err)
	}
	want := []audit.Redemption{{Tenant: "acme", Ticket: "CHG-1", Record: e.ID}}
	if diff := cmp.Diff(want, collect(t, s.Redemptions)); diff != "" {
		t.Errorf("redemptions (-want +got):\n%s", diff)
	}
	for _, u := range collect(t, s.TicketRows) {
		if want := map[string]int64{"acme": 1, "bolt": 0}[u.Tenant]; u.Uses != want {
			t.Errorf("%s has used %d, want %d", u.Tenant, u.Uses, want)
		}
	}
}
