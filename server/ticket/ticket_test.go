package ticket_test

import (
	"crypto/sha256"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/ticket"
	"github.com/writpdp/writ/store/sqlite"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func open(t *testing.T) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "writ.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func by(t *testing.T, who string) ticket.By {
	t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	return ticket.By{Caller: decision.Caller{Tenant: "acme"}, Actor: who, Reason: "A test.", Source: "cli", Key: id.String(), Digest: sha256.Sum256(id[:]), At: noon, ID: id}
}

func wanted() decision.Ticket {
	return decision.Ticket{ID: "T", Principal: "agent", Tool: decision.ToolName{Server: "s", Name: "t"}, Parties: []string{"human"}}
}

func TestMayApprove(t *testing.T) {
	for name, c := range map[string]struct {
		who    string
		roles  []string
		change func(*decision.Ticket)
		want   string
	}{
		"somebody else":          {"bob", nil, func(*decision.Ticket) {}, ""},
		"the requester":          {"desk", nil, func(*decision.Ticket) {}, "ticket.involved"},
		"the agent":              {"agent", nil, func(*decision.Ticket) {}, "ticket.involved"},
		"a party":                {"human", nil, func(*decision.Ticket) {}, "ticket.involved"},
		"who did":                {"ann", nil, func(*decision.Ticket) {}, "ticket.twice"},
		"without a role":         {"bob", []string{"sales"}, func(k *decision.Ticket) { k.Roles = []string{"dba", "lead"} }, "ticket.role"},
		"with one of them":       {"bob", []string{"lead"}, func(k *decision.Ticket) { k.Roles = []string{"dba", "lead"} }, ""},
		"when it is over":        {"bob", nil, func(k *decision.Ticket) { k.NotAfter = noon }, "ticket.state"},
		"when it is approved":    {"bob", nil, func(k *decision.Ticket) { k.State = decision.TicketApproved }, "ticket.state"},
		"when it is in no state": {"bob", nil, func(k *decision.Ticket) { k.State = 0 }, "ticket.state"},
		"before it begins":       {"bob", nil, func(k *decision.Ticket) { k.NotBefore = noon.Add(time.Minute) }, ""},
	} {
		k := wanted()
		k.State, k.Requester, k.Approvers, k.NotAfter = decision.TicketRequested, "desk", []string{"ann"}, noon.Add(time.Hour)
		c.change(&k)
		got := ""
		if why := ticket.MayApprove(&k, c.who, c.roles, noon); why != nil {
			got = why.Code
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// A ticket's life is told by its records, and one that is not of it is noticed.
func TestHistory(t *testing.T) {
	s := open(t)
	if _, err := ticket.Request(t.Context(), s, wanted(), by(t, "desk")); err != nil {
		t.Fatal(err)
	}
	if _, err := ticket.Approve(t.Context(), s, "none", by(t, "bob")); !errors.Is(err, ticket.ErrUnknown) {
		t.Errorf("a ticket that is none: got %v", err)
	}
	approval := by(t, "bob")
	for range 2 { // the second time it is asked again
		if _, err := ticket.Approve(t.Context(), s, "T", approval); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ticket.Revoke(t.Context(), s, "T", by(t, "cid")); err != nil {
		t.Fatal(err)
	}
	stored, err := s.Ticket(t.Context(), "acme", "T")
	if err != nil {
		t.Fatal(err)
	}
	read := func(id [16]byte) (audit.Row, error) { return s.Record(t.Context(), "acme", id) }
	changes, err := ticket.History(&stored, read)
	if err != nil {
		t.Fatal(err)
	}
	told := ""
	for _, c := range changes {
		told += c.Action.String() + " by " + c.Actor + ", "
	}
	if want := "REVOKE by cid, APPROVE by bob, REQUEST by desk, "; told != want {
		t.Errorf("got %s, want %s", told, want)
	}
	if _, err := ticket.History(&stored, func([16]byte) (audit.Row, error) { return stored.Row, nil }); err == nil {
		t.Error("a record that is not the one before is taken")
	}
	if _, err := ticket.History(&stored, func([16]byte) (audit.Row, error) { return audit.Row{}, audit.ErrNotFound }); !errors.Is(err, audit.ErrNotFound) {
		t.Errorf("a record that is gone: %v", err)
	}
}

// What is not said is filled in, and what cannot be is refused.
func TestTerms(t *testing.T) {
	s := open(t)
	plain := wanted()
	plain.ID = ""
	done, err := ticket.Request(t.Context(), s, plain, by(t, "desk"))
	if err != nil {
		t.Fatal(err)
	}
	if k := done.Ticket; len(k.ID) < 18 || k.MaxUses != 1 || k.Needs != 1 || !k.NotBefore.Equal(noon) || !k.NotAfter.Equal(noon.Add(time.Hour)) {
		t.Errorf("got %+v", k)
	}
	for name, change := range map[string]func(*decision.Ticket){
		"it has ended":    func(k *decision.Ticket) { k.NotAfter = noon },
		"it lasts":        func(k *decision.Ticket) { k.NotAfter = noon.Add(decision.MaxTicketTime + time.Second) },
		"no agent":        func(k *decision.Ticket) { k.Principal = "" },
		"no tool":         func(k *decision.Ticket) { k.Tool.Name = "" },
		"too many":        func(k *decision.Ticket) { k.Needs = 17 },
		"an id of spaces": func(k *decision.Ticket) { k.ID = "a b" },
		"an empty window": func(k *decision.Ticket) { k.NotBefore = noon.Add(2 * time.Hour); k.NotAfter = noon.Add(time.Hour) },
	} {
		k := wanted()
		change(&k)
		if _, err := ticket.Request(t.Context(), s, k, by(t, "desk")); err == nil {
			t.Errorf("%s: no error", name)
		} else if why, ok := errors.AsType[*ticket.Refusal](err); !ok || why.Code != "ticket.terms" {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
