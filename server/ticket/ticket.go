// Package ticket owns the life of change tickets: they are asked for, approved by as
// many as it takes, rejected and taken back, each change a record in the log that is
// committed with what it changes. It opens no store, proves nobody and redeems
// nothing: that is the commit's, of a decision.
package ticket

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

// Store keeps tickets. Safe for concurrent use.
type Store interface {
	// Commit makes a change durable. audit.ErrStale: another change of the ticket was
	// faster, or a token was used before, and nothing was written.
	Commit(context.Context, audit.Entry) (audit.Receipt, error)
	// Ticket is a tenant's ticket, or audit.ErrNotFound.
	Ticket(ctx context.Context, tenant, id string) (audit.TicketRecord, error)
	// TicketChange is the record of a change by its idempotency key, or
	// audit.ErrNotFound.
	TicketChange(ctx context.Context, tenant, key string) (audit.Row, error)
}

// By is who makes a change, of which tenant's ticket, why, and by which way.
type By struct {
	// Caller has the tenant; its SPIFFE ID is empty where no caller asked.
	Caller decision.Caller
	// Actor is who makes it, and Roles those that the bundle gives to whoever it is.
	Actor string
	Roles []string
	// Reason is why; Source is the way, and Reference what the source calls it.
	Reason, Source, Reference string
	// Key is the idempotency key: the same with the same Digest is done once.
	Key    string
	Digest [32]byte
	// Presented are the tokens that prove the actor.
	Presented []decision.Consume
	At        time.Time
	// ID is the new record's, a UUIDv7.
	ID [16]byte
}

// Change is a change that was made.
type Change struct {
	*audit.TicketChange
	// Row is its record.
	Row     audit.Row
	Receipt audit.Receipt
	// Replayed says that it was made by an earlier request of the same key.
	Replayed bool
}

// Refusal is a change that must not be made. Nothing was changed.
type Refusal struct {
	// Code is stable and published in docs/reasons.md.
	Code string
	// Text is a sentence for a person.
	Text string
}

// Error is code and text.
func (r *Refusal) Error() string { return r.Code + ": " + r.Text }

func refuse(code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Text: fmt.Sprintf(format, args...)}
}

// ErrUnknown: the tenant has no such ticket.
var ErrUnknown = errors.New("there is no such ticket")

const (
	// attempts is how often a change is made anew because somebody else changed the
	// ticket meanwhile: approvals add up, so no two of them conflict.
	attempts = 32
	// lasts is how long a ticket can be used where nothing is said.
	lasts = time.Hour
)

// Request asks for a ticket, which then waits for approvers. Of t, what is zero is
// filled in: an id, a window of an hour from now, one use, one approver. The errors
// are *Refusal, that of a store, which leaves open whether it was made, or
// audit.ErrReused.
func Request(ctx context.Context, s Store, t decision.Ticket, by By) (Change, error) {
	t.State, t.Requester, t.Approvers = decision.TicketRequested, by.Actor, nil
	return first(ctx, s, audit.RequestTicket, t, by)
}

// Create makes a ticket that its approvers have approved elsewhere. The errors are
// as for Request.
func Create(ctx context.Context, s Store, t decision.Ticket, by By) (Change, error) {
	t.State, t.Requester = decision.TicketApproved, by.Actor
	if t.Needs == 0 {
		t.Needs = max(1, len(t.Approvers))
	}
	return first(ctx, s, audit.CreateTicket, t, by)
}

func first(ctx context.Context, s Store, action audit.TicketAction, t decision.Ticket, by By) (Change, error) {
	if done, ok, err := prior(ctx, s, by); ok || err != nil {
		return done, err
	}
	at := by.At.UTC().Truncate(time.Microsecond)
	if t.ID == "" {
		t.ID = "T-" + hex.EncodeToString(by.ID[8:])
	}
	if t.NotBefore.IsZero() {
		t.NotBefore = at
	}
	if t.NotAfter.IsZero() {
		t.NotAfter = t.NotBefore.Add(lasts)
	}
	t.Version, t.Uses, t.MaxUses, t.Needs = 1, 0, max(1, t.MaxUses), max(1, t.Needs)
	t.NotBefore, t.NotAfter = t.NotBefore.UTC().Truncate(time.Microsecond), t.NotAfter.UTC().Truncate(time.Microsecond)
	if ahead := t.NotAfter.Sub(at); ahead <= 0 || ahead > decision.MaxTicketTime {
		return Change{}, refuse("ticket.terms", "The ticket does not end within %d days from now.", decision.MaxTicketTime/(24*time.Hour))
	}
	done, err := commit(ctx, s, action, [16]byte{}, t, by)
	if !errors.Is(err, audit.ErrStale) {
		return done, err
	}
	if _, err := s.Ticket(ctx, by.Caller.Tenant, t.ID); errors.Is(err, audit.ErrNotFound) && len(by.Presented) > 0 {
		return Change{}, replayed()
	} else if err != nil && !errors.Is(err, audit.ErrNotFound) {
		return Change{}, err
	}
	return Change{}, refuse("ticket.exists", "There is a ticket %q already.", t.ID)
}

func replayed() *Refusal {
	return refuse("token.replayed", "A token that is presented was used before.")
}

// Approve adds an approver to a ticket that waits; with the last one that it needs it
// is approved. The errors are ErrUnknown, or as for Request.
func Approve(ctx context.Context, s Store, id string, by By) (Change, error) {
	return next(ctx, s, id, audit.ApproveTicket, by, func(t *decision.Ticket) *Refusal {
		if why := MayApprove(t, by.Actor, by.Roles, by.At); why != nil {
			return why
		}
		if t.Approvers = append(slices.Clone(t.Approvers), by.Actor); len(t.Approvers) >= t.Needs {
			t.State = decision.TicketApproved
		}
		return nil
	})
}

// MayApprove says why somebody with some roles cannot approve a ticket now; nil:
// nothing stands in the way.
func MayApprove(t *decision.Ticket, who string, roles []string, at time.Time) *Refusal {
	switch {
	case t.Stands(at) != decision.TicketRequested:
		return refuse("ticket.state", "The ticket %q is %s: it does not wait for approval.", t.ID, t.Stands(at))
	case t.Involves(who):
		return refuse("ticket.involved", "Whoever asked for the ticket %q, or has a part in what it is for, cannot approve it.", t.ID)
	case slices.Contains(t.Approvers, who):
		return refuse("ticket.twice", "The ticket %q was approved by the same before.", t.ID)
	case len(t.Roles) > 0 && !slices.ContainsFunc(t.Roles, func(role string) bool { return slices.Contains(roles, role) }):
		return refuse("ticket.role", "The ticket %q needs an approver with one of the roles that it names.", t.ID)
	}
	return nil
}

// Reject refuses a ticket that waits, for good. The errors are as for Approve.
func Reject(ctx context.Context, s Store, id string, by By) (Change, error) {
	return next(ctx, s, id, audit.RejectTicket, by, func(t *decision.Ticket) *Refusal {
		if t.State != decision.TicketRequested {
			return refuse("ticket.state", "The ticket %q is %s: it does not wait for approval.", t.ID, t.Stands(by.At))
		}
		t.State = decision.TicketRejected
		return nil
	})
}

// Revoke takes a ticket back: no commit after it redeems it. The errors are as for
// Approve.
func Revoke(ctx context.Context, s Store, id string, by By) (Change, error) {
	return next(ctx, s, id, audit.RevokeTicket, by, func(t *decision.Ticket) *Refusal {
		if t.State != decision.TicketRequested && t.State != decision.TicketApproved {
			return refuse("ticket.state", "The ticket %q is %s already.", t.ID, t.State)
		}
		t.State = decision.TicketRevoked
		return nil
	})
}

// next makes the next version of a ticket, again where others are faster.
func next(ctx context.Context, s Store, id string, action audit.TicketAction, by By, make func(*decision.Ticket) *Refusal) (Change, error) {
	seen := int64(0)
	for range attempts {
		if done, ok, err := prior(ctx, s, by); ok || err != nil {
			return done, err
		}
		stored, err := s.Ticket(ctx, by.Caller.Tenant, id)
		if errors.Is(err, audit.ErrNotFound) {
			return Change{}, ErrUnknown
		}
		if err != nil {
			return Change{}, err
		}
		t, err := audit.TicketOf(&stored, id)
		if err != nil {
			return Change{}, err
		}
		if t.Version == seen && len(by.Presented) > 0 {
			return Change{}, replayed() // it was not the ticket that was stale
		}
		seen = t.Version
		if why := make(&t); why != nil {
			return Change{}, why
		}
		t.Version++
		done, err := commit(ctx, s, action, stored.ID, t, by)
		if !errors.Is(err, audit.ErrStale) {
			return done, err
		}
	}
	return Change{}, fmt.Errorf("others change the ticket faster than this change can be made: %w", audit.ErrStale)
}

// commit records a change.
func commit(ctx context.Context, s Store, action audit.TicketAction, previous [16]byte, t decision.Ticket, by By) (Change, error) {
	t.Uses = 0 // which are no part of a change
	c := &audit.TicketChange{At: by.At.UTC().Truncate(time.Microsecond), Caller: by.Caller, Key: by.Key, Digest: by.Digest, Action: action,
		Actor: by.Actor, Roles: by.Roles, Reason: by.Reason, Source: by.Source, Reference: by.Reference, Previous: previous, Presented: by.Presented, Ticket: t}
	entry, err := audit.TicketChanged(by.ID, c)
	if err != nil {
		return Change{}, refuse("ticket.terms", "The ticket cannot be so: %v.", err)
	}
	receipt, err := s.Commit(ctx, entry)
	if err != nil {
		return Change{}, err
	}
	if receipt.Prior != nil {
		return again(receipt.Prior, receipt)
	}
	return Change{TicketChange: c, Row: entry.Row, Receipt: receipt}, nil
}

// prior is the change that an earlier request of the same key made. It is looked for
// before the ticket is: to approve twice is refused, to ask twice is not.
func prior(ctx context.Context, s Store, by By) (done Change, ok bool, err error) {
	row, err := s.TicketChange(ctx, by.Caller.Tenant, by.Key)
	switch {
	case errors.Is(err, audit.ErrNotFound):
		return Change{}, false, nil
	case err != nil:
		return Change{}, false, err
	case row.Digest != by.Digest:
		return Change{}, false, audit.ErrReused
	}
	// Committed once more it is as durable as anything that is answered: what was only
	// read may rest on a primary alone.
	entry, err := audit.EntryOf(row.Body)
	if err != nil {
		return Change{}, false, err
	}
	receipt, err := s.Commit(ctx, entry)
	if err != nil {
		return Change{}, false, err
	}
	done, err = again(row.Body, receipt)
	return done, err == nil, err
}

func again(body []byte, receipt audit.Receipt) (Change, error) {
	row, err := audit.RowOf(body)
	if err != nil {
		return Change{}, err
	}
	c, err := audit.TicketChangeOf(body)
	return Change{TicketChange: c, Row: row, Receipt: receipt, Replayed: true}, err
}

// History is the changes of a ticket, the newest first, as their records say. record
// reads one.
func History(stored *audit.TicketRecord, record func(id [16]byte) (audit.Row, error)) ([]*audit.TicketChange, error) {
	var all []*audit.TicketChange
	row := stored.Row
	for {
		c, err := audit.TicketChangeOf(row.Body)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
		if c.Previous == [16]byte{} {
			return all, nil
		}
		before := c.Ticket
		if row, err = record(c.Previous); err != nil {
			return nil, fmt.Errorf("reading version %d of the ticket: %w", before.Version-1, err)
		}
		if last, err := audit.TicketChangeOf(row.Body); err != nil || last.Ticket.ID != before.ID || last.Ticket.Version != before.Version-1 {
			return nil, fmt.Errorf("the record before version %d of the ticket is not of version %d", before.Version, before.Version-1)
		}
	}
}
