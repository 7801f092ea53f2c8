package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/writpdp/writ/document"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

// Vault reads what tokens of redactions stand for. Safe for concurrent use.
type Vault interface {
	// Vaulted is what a token of a tenant stands for, sealed, or audit.ErrNotFound.
	Vaulted(ctx context.Context, tenant, token string) (audit.VaultRow, error)
}

// tokenQuestion is what is asked about a token.
type tokenQuestion struct {
	tenant, token, reason, ticket string
	forgets                       bool
}

// Reveal tells what a token stands for, if the access policies permit it: look, record,
// answer. A refusal is recorded too, and of no answer or refusal is there no record.
func (s *Server) Reveal(ctx context.Context, caller decision.Caller, in *writv1.RevealRequest) (*writv1.RevealResponse, error) {
	if err := s.validate(in); err != nil {
		return nil, err
	}
	row, receipt, err := s.askVault(ctx, caller, tokenQuestion{tenant: in.Tenant, token: in.Token, reason: in.Reason, ticket: in.TicketId})
	if err != nil {
		return nil, err
	}
	return &writv1.RevealResponse{Value: row.value, Class: row.Class, Receipt: receipt}, nil
}

// Forget has what a token stands for erased, likewise.
func (s *Server) Forget(ctx context.Context, caller decision.Caller, in *writv1.ForgetRequest) (*writv1.ForgetResponse, error) {
	if err := s.validate(in); err != nil {
		return nil, err
	}
	_, receipt, err := s.askVault(ctx, caller, tokenQuestion{tenant: in.Tenant, token: in.Token, reason: in.Reason, ticket: in.TicketId, forgets: true})
	if err != nil {
		return nil, err
	}
	return &writv1.ForgetResponse{Receipt: receipt}, nil
}

// opened is a row of the vault with what it stands for.
type opened struct {
	audit.VaultRow
	value string
	// known says that there is one, and that it was opened where it is to be told.
	known bool
}

// askVault answers a question about a token, once its record is durable. Whoever is not
// admitted is told nothing of the vault, and leaves a record in the log of its own
// tenant alone; so is an agent, whatever policies say: what was taken out of its sight
// is not for it to put back.
func (s *Server) askVault(ctx context.Context, caller decision.Caller, q tokenQuestion) (row opened, receipt *writv1.Receipt, err error) {
	facts := audit.RevealFacts{At: s.now().UTC().Truncate(time.Microsecond), Tenant: caller.Tenant, Caller: caller.SPIFFEID, Actor: caller.SPIFFEID,
		Forgets: q.forgets, Token: q.token, Reason: q.reason, Ticket: q.ticket, Outcome: writv1.RevealOutcome_REVEAL_OUTCOME_REFUSED}
	asker := caller
	asker.Tenant = cmp.Or(q.tenant, caller.Tenant)
	row, ticket, refusal, err := s.look(ctx, caller, asker, &q, facts.At)
	if err != nil {
		return opened{}, nil, err
	}
	if refusal != nil {
		if q.tenant != "" && q.tenant != caller.Tenant && decision.CheckTenant(q.tenant) == nil {
			facts.Of = q.tenant
		}
		if _, err := s.recordReveal(ctx, facts); err != nil {
			return opened{}, nil, err
		}
		return opened{}, nil, refusal
	}
	facts.Tenant = asker.Tenant
	if facts.Outcome = writv1.RevealOutcome_REVEAL_OUTCOME_UNKNOWN; row.known {
		facts.Outcome, facts.Class = writv1.RevealOutcome_REVEAL_OUTCOME_DONE, row.Class
		if ticket != nil {
			facts.Version = ticket.Version
		}
	}
	if receipt, err = s.recordReveal(ctx, facts); err != nil {
		return opened{}, nil, err
	}
	if !row.known {
		return opened{}, nil, fail(errVault, "the vault has no such token of this tenant, or it cannot be opened here")
	}
	return row, receipt, nil
}

// look is what a token stands for, if the caller may ask, with the ticket that it is to
// use up; refusal says that it may not. asker is the caller with the tenant that it
// asks for.
func (s *Server) look(ctx context.Context, caller, asker decision.Caller, q *tokenQuestion, at time.Time) (row opened, ticket *decision.Ticket, refusal, err error) {
	bundle, asked := s.live(), decision.Reveal{Forgets: q.forgets}
	no := fail(errForbidden, fmt.Sprintf("no access policy permits the caller the action %s for this tenant", asked.Action()))
	if decision.CheckTenant(asker.Tenant) != nil || bundle.Agents[caller.SPIFFEID] {
		return row, nil, no, nil
	}
	switch row, err = s.open(ctx, asker.Tenant, q); {
	case errors.Is(err, audit.ErrNotFound):
	case err != nil:
		return row, nil, nil, s.unrecorded(ctx, "reading the vault", err)
	default:
		row.known = true
	}
	asked.Class = row.Class
	says := bundle.Access.AdmitsReveal(caller, asker.Tenant, &asked)
	if !says.Admitted && !says.NeedsTicket {
		return row, nil, no, nil
	}
	arguments, err := tokenArguments(q.token)
	if err != nil {
		return row, nil, nil, internal(s.log, "hashing a question about a token", err)
	}
	name := decision.ToolName{Server: decision.VaultTools, Name: strings.ToLower(string(asked.Action()))}
	if q.ticket != "" {
		facts, err := s.ticket(ctx, asker.Tenant, q.ticket)
		if err != nil {
			return row, nil, nil, err
		}
		covers, refused, err := s.covering(asker, q.ticket, name, arguments, bundle, facts, at)
		if err != nil {
			return row, nil, nil, err
		}
		if refused != nil {
			return row, nil, failWith(errTicket, refused.Code, refused.Text), nil
		}
		ticket, asked.Ticket = covers, covers
		says = bundle.Access.AdmitsReveal(caller, asker.Tenant, &asked)
	}
	switch {
	case says.Admitted:
		return row, ticket, nil, nil
	case says.NeedsTicket:
		return row, nil, needsTicket(caller.SPIFFEID, name, arguments), nil
	}
	return row, nil, no, nil
}

// tokenArguments are what a ticket for a question about a token can be bound to.
func tokenArguments(token string) (*document.Document, error) {
	text, err := json.Marshal(map[string]string{"token": token})
	if err != nil {
		return nil, err
	}
	return document.ParseObject(text)
}

// open is what a token stands for; of one that is to be forgotten it is not opened. What
// cannot be opened is audit.ErrNotFound: the record says that it was not told.
func (s *Server) open(ctx context.Context, tenant string, q *tokenQuestion) (row opened, err error) {
	if s.vault == nil {
		return row, audit.ErrNotFound
	}
	if row.VaultRow, err = s.vault.Vaulted(ctx, tenant, q.token); err != nil || q.forgets {
		return row, err
	}
	if s.pseudonyms == nil {
		return row, audit.ErrNotFound
	}
	if row.value, err = s.pseudonyms.Of(tenant).Open(row.Class, row.Token, row.Sealed); err != nil {
		s.log.Warn("a token of the vault cannot be opened", "tenant", tenant, "error", err)
		return row, fmt.Errorf("%w: %w", audit.ErrNotFound, err)
	}
	return row, nil
}

// recordReveal commits the record of a question about a token.
func (s *Server) recordReveal(ctx context.Context, facts audit.RevealFacts) (*writv1.Receipt, error) {
	id, err := s.newID()
	if err != nil {
		return nil, internal(s.log, "making an id", err)
	}
	entry, err := audit.Revealed(id, facts)
	if err != nil {
		return nil, internal(s.log, "encoding a question about a token", err)
	}
	receipt, err := s.ledger.Commit(ctx, entry)
	switch {
	case errors.Is(err, audit.ErrStale):
		return nil, failWith(errTicket, "ticket.used_up", "The ticket was used up or changed meanwhile.")
	case err != nil:
		return nil, s.unrecorded(ctx, "committing a question about a token", err)
	}
	return audit.ReceiptOf(&entry.Row, s.origin, receipt), nil
}
