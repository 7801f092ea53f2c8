package storetest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

// redeem uses a ticket in its first version.
func redeem(id string) decision.Redeem { return decision.Redeem{Ticket: id, Version: 1} }

// ticket is one that somebody has approved, in its first version.
func ticket(id string, uses int64) decision.Ticket {
	return decision.Ticket{
		ID: id, Version: 1, State: decision.TicketApproved, Principal: "agent", Tool: decision.ToolName{Server: "filesystem", Name: "read_file"},
		NotBefore: noon, NotAfter: noon.Add(time.Hour), MaxUses: uses, Requester: "desk", Needs: 1, Approvers: []string{"ann"},
	}
}

// revoking is a ticket as its revocation leaves it.
func revoking(t decision.Ticket) decision.Ticket {
	t.Version, t.State = t.Version+1, decision.TicketRevoked
	return t
}

// ticketed is the entry of the change that makes a ticket what it is.
func ticketed(t *testing.T, tenant string, ticket decision.Ticket) audit.Entry {
	t.Helper()
	c := &audit.TicketChange{At: noon, Caller: decision.Caller{SPIFFEID: "spiffe://acme.example/desk", Tenant: tenant},
		Key: fmt.Sprintf("%s/%s/%d/%d", tenant, ticket.ID, ticket.Version, len(ticket.Approvers)), Actor: "desk", Reason: "A test.", Source: "grpc", Ticket: ticket}
	c.Digest = digest("%s", c.Key)
	switch {
	case ticket.Version == 1 && ticket.State == decision.TicketApproved:
		c.Action = audit.CreateTicket
	case ticket.Version == 1:
		c.Action = audit.RequestTicket
	default:
		c.Previous = idOf("change of %s %s %d", tenant, ticket.ID, ticket.Version-1)
		c.Action = map[decision.TicketState]audit.TicketAction{decision.TicketRequested: audit.ApproveTicket, decision.TicketApproved: audit.ApproveTicket,
			decision.TicketRejected: audit.RejectTicket, decision.TicketRevoked: audit.RevokeTicket}[ticket.State]
	}
	e, err := audit.TicketChanged(idOf("change of %s %s %d", tenant, ticket.ID, ticket.Version), c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// create makes a ticket.
func create(t *testing.T, s Store, tenant string, ticket decision.Ticket) {
	t.Helper()
	commit(t, s, ticketed(t, tenant, ticket))
}

// revoke takes a ticket back, and returns it as it is then.
func revoke(t *testing.T, s Store, ticket decision.Ticket) decision.Ticket {
	t.Helper()
	next := revoking(ticket)
	commit(t, s, ticketed(t, "acme", next))
	return next
}

func testTickets(t *testing.T, place Place) {
	t.Run("Life", func(t *testing.T) { ticketLife(t, start(t, place)) })
	t.Run("Read", func(t *testing.T) { ticketsRead(t, start(t, place)) })
	t.Run("Batch", func(t *testing.T) { ticketsInOneBatch(t, start(t, place)) })
	t.Run("Race", func(t *testing.T) {
		open := opener(t, place)
		ticketRace(t, []Store{open(), open()})
	})
}

// ticketLife asks for a ticket, which covers nothing until two have approved it, and
// then covers what it says until it is taken back.
func ticketLife(t *testing.T, s Store) {
	asked := ticket("CHG-1", 2)
	asked.State, asked.Needs, asked.Approvers = decision.TicketRequested, 2, nil
	once, both := asked, asked
	once.Version, once.Approvers = 2, []string{"ann"}
	both.Version, both.Approvers, both.State = 3, []string{"ann", "bob"}, decision.TicketApproved
	stale := func(what string, e audit.Entry) {
		t.Helper()
		if _, err := s.Commit(t.Context(), e); !errors.Is(err, audit.ErrStale) {
			t.Errorf("%s: got %v, want %v", what, err, audit.ErrStale)
		}
	}
	use := func(name string, version int64) audit.Entry {
		return entry(name, "1", decision.Redeem{Ticket: "CHG-1", Version: version})
	}
	stale("approving what is not there", ticketed(t, "acme", once))
	commit(t, s, ticketed(t, "acme", asked))
	stale("redeeming what waits", use("a", 1))
	other := asked
	other.Approvers, other.State, other.Needs = []string{"cid"}, decision.TicketApproved, 1
	stale("another of the same id", ticketed(t, "acme", other))
	stale("approving what nobody saw", ticketed(t, "acme", both))
	commit(t, s, ticketed(t, "acme", once))
	stale("redeeming what one of two has approved", use("a", 2))
	commit(t, s, ticketed(t, "acme", both))
	stale("redeeming the version before", use("a", 2))
	commit(t, s, use("a", 3))
	receipt, err := s.Commit(t.Context(), ticketed(t, "acme", both))
	if err != nil || receipt.Prior != nil {
		t.Errorf("the same change again: %v, %v", receipt, err)
	}
	revoke(t, s, both)
	stale("redeeming what was taken back", use("b", 3))
	stale("redeeming it in its last version", use("b", 4))
	stored, err := s.Ticket(t.Context(), "acme", "CHG-1")
	if err != nil {
		t.Fatal(err)
	}
	got, err := audit.TicketOf(&stored, "CHG-1")
	want := revoking(both)
	want.Uses = 1
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("the ticket: %v (-want +got):\n%s", err, diff)
	}
}

func ticketsRead(t *testing.T, s Store) {
	for _, id := range []string{"CHG-2", "CHG-1", "CHG-3"} {
		create(t, s, "acme", ticket(id, 1))
	}
	create(t, s, "bolt", ticket("CHG-1", 9))
	list := func(tenant, after string, limit int) (ids []string) {
		t.Helper()
		all, err := s.Tickets(t.Context(), tenant, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		for i := range all {
			ids = append(ids, all[i].Ticket)
		}
		return ids
	}
	for _, c := range []struct {
		tenant, after string
		limit         int
		want          string
	}{{"acme", "", 9, "CHG-1 CHG-2 CHG-3"}, {"acme", "", 2, "CHG-1 CHG-2"}, {"acme", "CHG-2", 2, "CHG-3"}, {"acme", "CHG-3", 2, ""}, {"bolt", "", 9, "CHG-1"}, {"nobody", "", 9, ""}} {
		if got := strings.Join(list(c.tenant, c.after, c.limit), " "); got != c.want {
			t.Errorf("%d of %s after %q: got %s, want %s", c.limit, c.tenant, c.after, got, c.want)
		}
	}
	if _, err := s.Ticket(t.Context(), "bolt", "CHG-2"); !errors.Is(err, audit.ErrNotFound) {
		t.Errorf("another tenant's ticket: got %v, want %v", err, audit.ErrNotFound)
	}
	e := ticketed(t, "acme", ticket("CHG-1", 1))
	row, err := s.TicketChange(t.Context(), "acme", e.Key)
	if diff := cmp.Diff(e.Row, row); err != nil || diff != "" {
		t.Errorf("the change: %v (-want +got):\n%s", err, diff)
	}
	for tenant, key := range map[string]string{"bolt": e.Key, "acme": "none"} {
		if _, err := s.TicketChange(t.Context(), tenant, key); !errors.Is(err, audit.ErrNotFound) {
			t.Errorf("the change %s of %s: got %v, want %v", key, tenant, err, audit.ErrNotFound)
		}
	}
}

// ticketsInOneBatch makes, uses and takes back a ticket at once, whatever the order
// is that comes of it: the books agree.
func ticketsInOneBatch(t *testing.T, s Store) {
	made := ticket("CHG-1", 3)
	entries := []audit.Entry{ticketed(t, "acme", made), entry("a", "1", redeem("CHG-1")), entry("b", "1", redeem("CHG-1")), ticketed(t, "acme", revoking(made))}
	results := all(t, []Store{s}, entries)
	uses := int64(0)
	for _, r := range results[1:3] {
		if r.err == nil {
			uses++
		}
	}
	rows := collect(t, s.TicketRows)
	if results[0].err != nil || len(rows) != 1 || rows[0].Uses != uses {
		t.Fatalf("%v, %+v after %d uses", results[0].err, rows, uses)
	}
	if revoked := results[3].err == nil; revoked != (rows[0].State == decision.TicketRevoked) || revoked != (rows[0].Version == 2) {
		t.Errorf("revoked is %v, and the ticket %+v", revoked, rows[0])
	}
}

// ticketRace has many make tickets of one id, and many approve one, on two replicas:
// one of each is first.
func ticketRace(t *testing.T, stores []Store) {
	var makers []audit.Entry
	for i := range racers {
		e := ticket("CHG-1", 1)
		e.State, e.Approvers, e.Needs = decision.TicketRequested, nil, 2
		entry := ticketed(t, "acme", e)
		c, err := audit.TicketChangeOf(entry.Body)
		if err != nil {
			t.Fatal(err)
		}
		c.Key, c.Digest = fmt.Sprint("maker ", i), digest("maker %d", i)
		if entry, err = audit.TicketChanged(idOf("maker %d", i), c); err != nil {
			t.Fatal(err)
		}
		makers = append(makers, entry)
	}
	if diff := cmp.Diff(map[string]int{"committed": 1, audit.ErrStale.Error(): racers - 1}, count(all(t, stores, makers))); diff != "" {
		t.Errorf("makers (-want +got):\n%s", diff)
	}
	stored, err := stores[0].Ticket(t.Context(), "acme", "CHG-1")
	if err != nil {
		t.Fatal(err)
	}
	var approvers []audit.Entry
	for i := range racers {
		c, err := audit.TicketChangeOf(stored.Body)
		if err != nil {
			t.Fatal(err)
		}
		who := fmt.Sprint("approver ", i)
		c.Key, c.Digest, c.Action, c.Actor, c.Previous = who, digest("%s", who), audit.ApproveTicket, who, stored.ID
		c.Ticket.Version, c.Ticket.Approvers = 2, []string{who}
		e, err := audit.TicketChanged(idOf("%s", who), c)
		if err != nil {
			t.Fatal(err)
		}
		approvers = append(approvers, e)
	}
	if diff := cmp.Diff(map[string]int{"committed": 1, audit.ErrStale.Error(): racers - 1}, count(all(t, stores, approvers))); diff != "" {
		t.Errorf("approvers (-want +got):\n%s", diff)
	}
	if rows := collect(t, stores[1].TicketRows); len(rows) != 1 || rows[0].Version != 2 || rows[0].State != decision.TicketRequested {
		t.Errorf("the ticket is %+v", rows)
	}
}
