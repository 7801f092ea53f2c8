package server

import (
	"context"
	"errors"
	"fmt"
	"time"

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
}

// askVault answers a question about a token, once its record is durable. Whoever is not
// admitted is told nothing of the vault, and leaves a record in the log of its own
// tenant alone.
func (s *Server) askVault(ctx context.Context, caller decision.Caller, q tokenQuestion) (opened, *writv1.Receipt, error) {
	facts := audit.RevealFacts{At: s.now().UTC().Truncate(time.Microsecond), Tenant: caller.Tenant, Caller: caller.SPIFFEID, Actor: caller.SPIFFEID,
		Forgets: q.forgets, Token: q.token, Reason: q.reason, Ticket: q.ticket, Outcome: writv1.RevealOutcome_REVEAL_OUTCOME_REFUSED}
	action := decision.ToReveal
	if q.forgets {
		action = decision.ToForget
	}
	admitted, refusal := s.admit(caller, action, q.tenant)
	if refusal != nil {
		if q.tenant != caller.Tenant && decision.CheckTenant(q.tenant) == nil {
			facts.Of = q.tenant
		}
		_, err := s.recordReveal(ctx, facts)
		if err != nil {
			return opened{}, nil, err
		}
		return opened{}, nil, refusal
	}
	facts.Tenant = admitted.Tenant
	row, err := s.open(ctx, admitted.Tenant, &q)
	switch {
	case errors.Is(err, audit.ErrNotFound):
		facts.Outcome = writv1.RevealOutcome_REVEAL_OUTCOME_UNKNOWN
	case err != nil:
		return opened{}, nil, s.unrecorded(ctx, "reading the vault", err)
	default:
		facts.Outcome = writv1.RevealOutcome_REVEAL_OUTCOME_DONE
	}
	receipt, err := s.recordReveal(ctx, facts)
	if err != nil {
		return opened{}, nil, err
	}
	if facts.Outcome != writv1.RevealOutcome_REVEAL_OUTCOME_DONE {
		return opened{}, nil, fail(errVault, "the vault has no such token of this tenant, or it cannot be opened here")
	}
	return row, receipt, nil
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
	if err != nil {
		return nil, s.unrecorded(ctx, "committing a question about a token", err)
	}
	return audit.ReceiptOf(&entry.Row, s.origin, receipt), nil
}
