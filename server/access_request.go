package server

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/uuid/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/face/authzen"
	"github.com/writpdp/writ/server/ticket"
)

// requestAccess asks for the ticket that a recorded denial says would lift it. What
// the ticket is to cover comes from the record and not from who asks, who must be the
// caller that was denied.
func (s *Server) requestAccess(ctx context.Context, caller decision.Caller, in authzen.AccessAsk) (facts *writv1.TicketFacts, err error) {
	defer func() { s.counts.refusal(ctx, err) }()
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if caller, err = s.admit(caller, decision.ToRequestTicket, in.Tenant); err != nil {
		return nil, err
	}
	if s.tickets == nil {
		return nil, status.Error(codes.Unimplemented, "tickets are not kept here")
	}
	denial, err := s.denial(ctx, caller, in)
	if err != nil {
		return nil, err
	}
	server, tool, _ := strings.Cut(denial.Access.Tool, "/")
	t := decision.Ticket{Principal: denial.Access.Principal, Tool: decision.ToolName{Server: server, Name: tool},
		ToolDigest: denial.Access.DefinitionDigest, ArgumentsDigest: denial.Access.ArgumentsDigest, NotAfter: in.Until}
	if err := s.floor(&t); err != nil {
		return nil, err
	}
	for _, party := range append([]string{denial.Principal.OnBehalfOf}, denial.Principal.Actors...) {
		if party != "" && !slices.Contains(t.Parties, party) {
			t.Parties = append(t.Parties, party)
		}
	}
	id, err := s.newID()
	if err != nil {
		return nil, internal(s.log, "making an id", err)
	}
	key := digest([]byte(in.Key), caller.SPIFFEID) // keys of two callers are two
	by := ticket.By{Caller: caller, Actor: caller.SPIFFEID, Roles: s.live().Roles[caller.SPIFFEID], Reason: in.Reason, Source: "authzen", Reference: in.EvaluationID,
		Key: "authzen:" + hex.EncodeToString(key[:]), Digest: digest([]byte(in.EvaluationID), caller.Tenant, caller.SPIFFEID, in.Reason, in.Until.UTC().Format(time.RFC3339Nano)),
		At: s.now(), ID: id}
	done, err := ticket.Request(ctx, office{s.tickets, s.ledger}, t, by)
	if err != nil {
		return nil, s.ticketError(ctx, err)
	}
	return s.currentTicket(ctx, caller.Tenant, done.Ticket.ID)
}

// denial is the record that a caller asks for a ticket about.
func (s *Server) denial(ctx context.Context, caller decision.Caller, in authzen.AccessAsk) (audit.Denial, error) {
	unknown := fail(errUnknown, "there is no such denial of this caller")
	id, err := uuid.FromString(in.EvaluationID)
	if err != nil {
		return audit.Denial{}, unknown
	}
	row, err := s.ledger.Record(ctx, caller.Tenant, id)
	if errors.Is(err, audit.ErrNotFound) {
		return audit.Denial{}, unknown
	}
	if err != nil {
		return audit.Denial{}, s.unrecorded(ctx, "reading a record", err)
	}
	denial, err := audit.DenialOf(row.Body)
	switch {
	case errors.Is(err, audit.ErrNotFound), err == nil && denial.Caller.SPIFFEID != caller.SPIFFEID:
		return audit.Denial{}, unknown
	case err != nil:
		return audit.Denial{}, internal(s.log, "reading a denial", err)
	case denial.Access == nil || denial.Access.Tool == "":
		return audit.Denial{}, refusedTicket("ticket.not_requestable", "No ticket would lift the denial.")
	case in.Subject != "" && in.Subject != denial.Principal.Subject, in.Tool != denial.Access.Tool, in.Arguments != "" && in.Arguments != denial.Arguments:
		return audit.Denial{}, refusedTicket("ticket.denial", "What is asked for is not what was denied.")
	}
	return denial, nil
}

// readAccess is the ticket that an access request made, as it stands now.
func (s *Server) readAccess(ctx context.Context, caller decision.Caller, tenant, id string) (facts *writv1.TicketFacts, err error) {
	defer func() { s.counts.refusal(ctx, err) }()
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if caller, err = s.admit(caller, decision.ToReadTickets, tenant); err != nil {
		return nil, err
	}
	if s.tickets == nil {
		return nil, status.Error(codes.Unimplemented, "tickets are not kept here")
	}
	return s.currentTicket(ctx, caller.Tenant, id)
}

func (s *Server) currentTicket(ctx context.Context, tenant, id string) (*writv1.TicketFacts, error) {
	stored, err := s.tickets.Ticket(ctx, tenant, id)
	if err != nil {
		return nil, s.ticketError(ctx, err)
	}
	return s.ticketFacts(&stored)
}
