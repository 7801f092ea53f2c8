package audit

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/proto"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// ticketChange is the first change of a ticket: it is asked for.
func ticketChange() *TicketChange {
	noon := noon.UTC().Truncate(time.Microsecond)
	return &TicketChange{At: noon, Caller: decision.Caller{SPIFFEID: "spiffe://example.org/gateway/a", Tenant: "tenant-0"}, Key: "key-1",
		Digest: sha256.Sum256([]byte("asked")), Action: RequestTicket, Actor: "agent-1", Reason: "Clean up.", Source: "grpc", Reference: "CHG-1",
		Presented: []decision.Consume{{Token: tokenOf(9001), Expires: noon.Add(time.Hour)}},
		Ticket: decision.Ticket{ID: "T-1", Version: 1, State: decision.TicketRequested, Principal: "agent-1", Tool: write, ToolDigest: strings.Repeat("ab", 32),
			ArgumentsDigest: strings.Repeat("cd", 32), Scope: "true", Resource: decision.TicketResource{Type: "Database", ID: "orders"}, Bundle: strings.Repeat("0f", 32),
			NotBefore: noon, NotAfter: noon.Add(time.Hour), MaxUses: 2, Requester: "agent-1", Parties: []string{"ann"}, Needs: 2, Roles: []string{"dba"}},
	}
}

// approved is the next change: somebody approves.
func approved(c *TicketChange, n int, by string) *TicketChange {
	next := *c
	next.Previous, next.Key, next.Action, next.Actor, next.Roles, next.Presented = idOf(7_000_000+n-1), fmt.Sprint("key-", n), ApproveTicket, by, []string{"dba"}, nil
	next.Digest = sha256.Sum256([]byte(next.Key))
	next.Ticket.Version, next.Ticket.Approvers = int64(n), append(append([]string(nil), c.Ticket.Approvers...), by)
	if len(next.Ticket.Approvers) >= next.Ticket.Needs {
		next.Ticket.State = decision.TicketApproved
	}
	return &next
}

// ticketEntries are those of a ticket that two approve.
func ticketEntries(t *testing.T) []Entry {
	t.Helper()
	one := ticketChange()
	two := approved(one, 2, "bob")
	var all []Entry
	for i, c := range []*TicketChange{one, two, approved(two, 3, "cid")} {
		e, err := TicketChanged(idOf(7_000_001+i), c)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// What a change says is what its record says, and its effects are the ticket and the
// tokens.
func TestTicketChange(t *testing.T) {
	for i, c := range []*TicketChange{ticketChange(), approved(ticketChange(), 2, "bob")} {
		e, err := TicketChanged(idOf(7_000_001+i), c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := TicketChangeOf(e.Body)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, got); diff != "" {
			t.Errorf("change %d (-want +got):\n%s", i, diff)
		}
		if e.Kind != Ticket || e.Key != c.Key || e.Principal != c.Actor || e.Ticket != "T-1" || e.Tool != write.Name || e.Tenant != "tenant-0" {
			t.Errorf("the row is %+v", e.Row)
		}
		stored := &TicketRecord{Row: e.Row, Uses: 1}
		ticket, err := TicketOf(stored, "T-1")
		if err != nil || ticket.Uses != 1 || ticket.Version != c.Ticket.Version {
			t.Errorf("the stored ticket is %+v, %v", ticket, err)
		}
		if _, err := TicketOf(stored, "T-2"); err == nil {
			t.Error("another ticket's record is taken")
		}
		stored.Tenant = "tenant-1"
		if _, err := TicketOf(stored, "T-1"); err == nil {
			t.Error("another tenant's record is taken")
		}
	}
}

// A change that no ticket can have gone through is no record, also where somebody
// writes its bytes.
func TestBadTicketChange(t *testing.T) {
	for name, spoil := range map[string]func(*TicketChange){
		"action is unknown":                func(c *TicketChange) { c.Action = 9 },
		"actor is not":                     func(c *TicketChange) { c.Actor = "" },
		"reason holds a control":           func(c *TicketChange) { c.Reason = "a\nb" },
		"source is not":                    func(c *TicketChange) { c.Source = "" },
		"reference is not":                 func(c *TicketChange) { c.Reference = strings.Repeat("x", 257) },
		"request_id is not":                func(c *TicketChange) { c.Key = "" },
		"roles: one is there twice":        func(c *TicketChange) { c.Roles = []string{"a", "a"} },
		"more than 2 tokens":               func(c *TicketChange) { c.Presented = append(c.Presented, c.Presented[0], c.Presented[0]) },
		"version is not positive":          func(c *TicketChange) { c.Ticket.Version = 0 },
		"state is none that is stored":     func(c *TicketChange) { c.Ticket.State = decision.TicketUsedUp },
		"the window is empty":              func(c *TicketChange) { c.Ticket.NotAfter = c.Ticket.NotBefore },
		"max_uses is not":                  func(c *TicketChange) { c.Ticket.MaxUses = 0 },
		"approvals_needed is not":          func(c *TicketChange) { c.Ticket.Needs = 17 },
		"a resource has a type and an id":  func(c *TicketChange) { c.Ticket.Resource.ID = "" },
		"no request could name":            func(c *TicketChange) { c.Ticket.ID = "a b" },
		"bundle_digest is not":             func(c *TicketChange) { c.Ticket.Bundle = "AB" },
		"scope is not":                     func(c *TicketChange) { c.Ticket.Scope = strings.Repeat("x", 4097) },
		"requester is not":                 func(c *TicketChange) { c.Ticket.Requester = "" },
		"more than 16 parties":             func(c *TicketChange) { c.Ticket.Parties = make([]string, 17) },
		"the state is not the one":         func(c *TicketChange) { c.Ticket.State = decision.TicketApproved },
		"by that alone":                    func(c *TicketChange) { c.Ticket.Version = 2 },
		"it is made by the first":          func(c *TicketChange) { c.Previous = idOf(1) },
		"has a part in it":                 func(c *TicketChange) { c.Ticket.Approvers = []string{"ann"} },
		"fewer than it needs":              func(c *TicketChange) { c.Action, c.Ticket.State = CreateTicket, decision.TicketApproved },
		"has no decisions, settlements, e": func(c *TicketChange) { c.Caller.Tenant = decision.System },
	} {
		c := ticketChange()
		spoil(c)
		if _, err := TicketChanged(idOf(7_000_001), c); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	e, err := TicketChanged(idOf(7_000_001), ticketChange())
	if err != nil {
		t.Fatal(err)
	}
	var m writv1.Record
	if err := proto.Unmarshal(e.Body, &m); err != nil {
		t.Fatal(err)
	}
	m.GetTicket().Ticket.Uses = 1
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(&m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := RowOf(body); err == nil || !strings.Contains(err.Error(), "it has uses") {
		t.Errorf("a change with uses: got %v", err)
	}
}

// The records of a ticket must be one line of versions, and what was redeemed one
// that was approved.
func TestVerifyTickets(t *testing.T) {
	signer, verifier := key(t, 1)
	verify := func(m *memory) *Problem {
		report, err := Verify(t.Context(), m, []note.Verifier{verifier}, Options{Origin: origin, At: noon})
		if err != nil {
			t.Fatal(err)
		}
		return report.Problem
	}
	redeem := func(version int64) Entry {
		req := request(t, 500)
		req.Ticket, req.Caller.Tenant = "T-1", "tenant-0"
		d := allow(req, 500)
		d.Findings[5].Effects = []decision.Effect{decision.Redeem{Ticket: "T-1", Version: version}}
		e, _, err := Decided(idOf(500), req, snapshot(), d)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	all := ticketEntries(t)
	wider := approved(approved(ticketChange(), 2, "bob"), 3, "cid")
	wider.Ticket.ArgumentsDigest = ""
	other, err := TicketChanged(idOf(7_000_003), wider)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		entries []Entry
		want    string
	}{
		"a good one":              {append(all[:3:3], redeem(3)), ""},
		"in another order":        {[]Entry{all[0], all[2], all[1]}, "it is stored in version 2"}, // the store's own would be 3
		"a version is gone":       {[]Entry{all[0], all[2]}, "the records lack its version 2"},
		"a version twice":         {append(all[:3:3], all[1]), "another record of this id"},
		"approved on other terms": {[]Entry{all[0], all[1], other}, "its version 3 is of another ticket"},
		"redeemed too early":      {append(all[:3:3], redeem(2)), "redeemed version 2, which is not approved"},
		"redeemed what is not":    {append(all[:3:3], redeem(9)), "redeemed version 9, which is not approved"},
		"redeemed before states":  {append(all[:3:3], redeem(0)), "redeemed version 0, which is not approved"},
	} {
		m := filled(t, signer, 4, 5, 0)
		for _, e := range c.entries {
			m.commit(e)
		}
		p := verify(m)
		if c.want == "" && p != nil || c.want != "" && (p == nil || !strings.Contains(p.Detail, c.want)) {
			t.Errorf("%s: got %v, want %q", name, p, c.want)
		}
	}
}
