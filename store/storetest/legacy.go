package storetest

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

// LegacyTicket checks a store with one ticket of the tenant acme, "CHG-1", that is
// older than the records of tickets, was redeemed once and could be twice: it covers
// nothing, its uses stay, and its id stays taken.
func LegacyTicket(t *testing.T, s Store) {
	t.Helper()
	if got := facts(t, s, decision.Want{Tenant: "acme", Ticket: "CHG-1"}).Ticket; got != nil {
		t.Errorf("it covers %+v", got)
	}
	if _, err := s.Ticket(t.Context(), "acme", "CHG-1"); !errors.Is(err, audit.ErrNotFound) {
		t.Errorf("reading it: got %v, want %v", err, audit.ErrNotFound)
	}
	if all, err := s.Tickets(t.Context(), "acme", "", 9); err != nil || len(all) != 0 {
		t.Errorf("listing it: %v, %v", all, err)
	}
	want := []audit.TicketRow{{Tenant: "acme", Ticket: "CHG-1", MaxUses: 2, Uses: 1}}
	if diff := cmp.Diff(want, collect(t, s.TicketRows)); diff != "" {
		t.Errorf("its row (-want +got):\n%s", diff)
	}
	for name, e := range map[string]audit.Entry{"redeeming it": entry("a", "1", decision.Redeem{Ticket: "CHG-1"}), "redeeming a version": entry("b", "1", redeem("CHG-1")),
		"making another": ticketed(t, "acme", ticket("CHG-1", 9)), "revoking it": ticketed(t, "acme", revoking(ticket("CHG-1", 9)))} {
		if _, err := s.Commit(t.Context(), e); !errors.Is(err, audit.ErrStale) {
			t.Errorf("%s: got %v, want %v", name, err, audit.ErrStale)
		}
	}
}
