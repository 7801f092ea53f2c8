package audit

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"

	"github.com/writpdp/writ/server/decision"
)

// tickets are what the records say of the tickets.
type tickets map[ticketKey]*ticketHistory

type ticketKey struct{ tenant, ticket string }

// ticketHistory is one ticket: its versions as records made them, which may come in
// any order, and its redemptions.
type ticketHistory struct {
	versions map[int64]madeVersion
	// redeemed counts the redemptions by the version that they were of.
	redeemed map[int64]int64
	stored   bool
}

// madeVersion is a version as its record made it. terms is a digest of what no change
// changes: what the ticket covers, and who must approve it.
type madeVersion struct {
	TicketRow
	terms [sha256.Size]byte
}

// termsOf are those of a ticket.
func termsOf(t *decision.Ticket) [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %q %q %d %d %d %q %q %d %q", []string{t.ID, t.Principal}, []string{t.Tool.Server, t.Tool.Name}, t.ToolDigest,
		t.ArgumentsDigest, t.Scope, []string{t.Resource.Type, t.Resource.ID, t.Bundle}, t.NotBefore.UnixMicro(), t.NotAfter.UnixMicro(), t.MaxUses,
		t.Requester, t.Parties, t.Needs, t.Roles))
}

func (t tickets) of(tenant, ticket string) *ticketHistory {
	key := ticketKey{tenant, ticket}
	if t[key] == nil {
		t[key] = &ticketHistory{versions: map[int64]madeVersion{}, redeemed: map[int64]int64{}}
	}
	return t[key]
}

func (h *ticketHistory) redeem(version int64) { h.redeemed[version]++ }

// change takes up a version that a record made. detail says what is wrong with it.
func (h *ticketHistory) change(record [16]byte, t *decision.Ticket) (detail string) {
	if _, twice := h.versions[t.Version]; twice {
		return fmt.Sprintf("the log has another record that makes version %d of ticket %q", t.Version, t.ID)
	}
	h.versions[t.Version] = madeVersion{TicketRow{Version: t.Version, State: t.State, Record: record, MaxUses: t.MaxUses}, termsOf(t)}
	return ""
}

// bad says what no order of commits can have made of it: a version that is missing,
// or a redemption of one that was not approved.
func (h *ticketHistory) bad() string {
	for v := range int64(len(h.versions)) {
		made, there := h.versions[v+1]
		switch {
		case !there:
			return fmt.Sprintf("the records lack its version %d", v+1)
		case made.terms != h.versions[1].terms:
			return fmt.Sprintf("its version %d is of another ticket than the first", v+1)
		}
	}
	for _, v := range slices.Sorted(maps.Keys(h.redeemed)) {
		if len(h.versions) > 0 && h.versions[v].State != decision.TicketApproved {
			return fmt.Sprintf("a record redeemed version %d, which is not approved", v)
		}
	}
	return ""
}

// uses is how often it was redeemed.
func (h *ticketHistory) uses() (n int64) {
	for _, times := range h.redeemed {
		n += times
	}
	return n
}

// newest is the last version; the zero value: the ticket is older than its records.
func (h *ticketHistory) newest() TicketRow {
	return h.versions[int64(len(h.versions))].TicketRow
}

// row compares a stored ticket with the records.
func (t tickets) row(stored *TicketRow) *Problem {
	key := ticketKey{stored.Tenant, stored.Ticket}
	h := t.of(key.tenant, key.ticket)
	if h.stored {
		return badTicket(key, "it is stored twice")
	}
	h.stored = true
	if detail := h.bad(); detail != "" {
		return badTicket(key, detail)
	}
	newest := h.newest()
	switch {
	case stored.Version != newest.Version:
		return badTicket(key, fmt.Sprintf("it is stored in version %d, the records say %d", stored.Version, newest.Version))
	case stored.Record != newest.Record:
		return badTicket(key, fmt.Sprintf("it names another record than the one that made version %d", newest.Version))
	case stored.State != newest.State:
		return badTicket(key, fmt.Sprintf("it is stored as %s, the records say %s", stored.State, newest.State))
	case newest.Version > 0 && stored.MaxUses != newest.MaxUses:
		return badTicket(key, fmt.Sprintf("it can be redeemed %d times, the records say %d", stored.MaxUses, newest.MaxUses))
	case stored.Uses != h.uses():
		return badTicket(key, fmt.Sprintf("it says that it was redeemed %d times, the records say %d", stored.Uses, h.uses()))
	case stored.Uses > stored.MaxUses:
		return badTicket(key, fmt.Sprintf("it was redeemed %d times, and can be %d", stored.Uses, stored.MaxUses))
	}
	return nil
}

// left is what is wrong with the tickets that the store lacks.
func (t tickets) left() []*Problem {
	var all []*Problem
	for key, h := range t {
		if h.stored {
			continue
		}
		detail := h.bad()
		if detail == "" {
			detail = fmt.Sprintf("the store lacks it, the records made %d versions and redeemed it %d times", len(h.versions), h.uses())
		}
		all = append(all, badTicket(key, detail))
	}
	return all
}

func badTicket(key ticketKey, detail string) *Problem {
	return &Problem{What: "ticket", Index: -1, Last: -1, Tenant: key.tenant, Detail: fmt.Sprintf("ticket %q: %s", key.ticket, detail)}
}
