package storetest

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/lane"
)

func testTickets(t *testing.T, place Place) {
	s := start(t, place)
	ctx := t.Context()
	one, two := ticket("CHG-1", 1), ticket("CHG-2", 5)
	one.Approvers = nil
	two.ToolDigest = "aa"
	for _, g := range []decision.Ticket{two, one} {
		if err := s.CreateTicket(ctx, "acme", g); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.CreateTicket(ctx, "bolt", ticket("CHG-1", 9)); err != nil {
		t.Errorf("another tenant's ticket of the same id: %v", err)
	}
	if err := s.CreateTicket(ctx, "acme", ticket("CHG-1", 9)); !errors.Is(err, lane.ErrTicketExists) {
		t.Errorf("the same id again: got %v, want %v", err, lane.ErrTicketExists)
	}
	got, err := s.Tickets(ctx, "acme")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]decision.Ticket{one, two}, got); diff != "" {
		t.Errorf("the tickets (-want +got):\n%s", diff)
	}
	for range 2 { // twice is once
		if err := s.RevokeTicket(ctx, "acme", "CHG-1"); err != nil {
			t.Errorf("revoking: %v", err)
		}
	}
	if _, err := s.Commit(ctx, entry("a", "1", redeem("CHG-1"))); !errors.Is(err, audit.ErrStale) {
		t.Errorf("redeeming a revoked ticket: got %v, want %v", err, audit.ErrStale)
	}
	commit(t, s, of("bolt", entry("a", "1", redeem("CHG-1"))))
	if err := s.RevokeTicket(ctx, "acme", "none"); !errors.Is(err, audit.ErrNotFound) {
		t.Errorf("revoking none: got %v, want %v", err, audit.ErrNotFound)
	}
	if got, err := s.Tickets(ctx, "nobody"); err != nil || len(got) != 0 {
		t.Errorf("nobody's tickets: %v, %v", got, err)
	}
	for name, spoil := range map[string]func(*decision.Ticket){
		"no id":         func(g *decision.Ticket) { g.ID = "" },
		"no use":        func(g *decision.Ticket) { g.MaxUses = 0 },
		"used":          func(g *decision.Ticket) { g.Uses = 1 },
		"revoked":       func(g *decision.Ticket) { g.Revoked = true },
		"no window":     func(g *decision.Ticket) { g.NotAfter = g.NotBefore },
		"no principal":  func(g *decision.Ticket) { g.Principal = "" },
		"a strange one": func(g *decision.Ticket) { g.Approvers = []string{"a\x00"} },
	} {
		g := ticket("bad", 1)
		spoil(&g)
		if err := s.CreateTicket(ctx, "acme", g); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
