package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/uuid/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/identity"
	"github.com/writpdp/writ/server/ticket"
)

// Tickets reads tickets. Safe for concurrent use.
type Tickets interface {
	// Ticket is a tenant's ticket, or audit.ErrNotFound.
	Ticket(ctx context.Context, tenant, id string) (audit.TicketRecord, error)
	// Tickets are up to limit of a tenant's tickets, by id, those after one.
	Tickets(ctx context.Context, tenant, after string, limit int) ([]audit.TicketRecord, error)
	// TicketChange is the record of a change by its idempotency key, or
	// audit.ErrNotFound.
	TicketChange(ctx context.Context, tenant, key string) (audit.Row, error)
}

// ApprovalPurpose is the purpose that a token must carry to approve, reject or revoke
// tickets: an agent's token for its work does not.
const ApprovalPurpose = "approve-tickets"

// office is where tickets are changed: what the server reads them from, and the
// ledger that everything is committed to.
type office struct {
	Tickets
	Ledger
}

// asker is who asks for a change of a ticket, proved.
type asker struct {
	caller    decision.Caller
	who       string
	parties   []string
	presented []decision.Consume
}

// RequestTicket asks for a ticket.
func (s *Server) RequestTicket(ctx context.Context, caller decision.Caller, in *writv1.RequestTicketRequest) (*writv1.RequestTicketResponse, error) {
	caller, err := s.atDesk(caller, decision.ToRequestTicket, in, in.Tenant)
	if err != nil {
		return nil, err
	}
	t, err := s.terms(in.Terms)
	if err != nil {
		return nil, err
	}
	at := s.now().UTC().Truncate(time.Microsecond)
	who := asker{caller: caller, who: caller.SPIFFEID}
	if in.PrincipalToken != "" {
		if who, err = s.agentAsks(caller, in, at); err != nil {
			return nil, err
		}
	} else if in.PrincipalProof != "" {
		return nil, invalidField("principal_proof", "is there without principal_token")
	}
	if err := s.floor(&t); err != nil {
		return nil, err
	}
	t.Parties = who.parties
	by, err := s.by(who, in, in.RequestId, in.Reason, at)
	if err != nil {
		return nil, err
	}
	done, err := ticket.Request(ctx, office{s.tickets, s.ledger}, t, by)
	if err != nil {
		return nil, s.ticketError(ctx, err)
	}
	return &writv1.RequestTicketResponse{Ticket: s.ticketTold(&done), Receipt: audit.ReceiptOf(&done.Row, s.origin, done.Receipt), Replayed: done.Replayed}, nil
}

// agentAsks proves an agent that asks for itself. Whoever the token names has a part
// in what is asked for, and so has the caller.
func (s *Server) agentAsks(caller decision.Caller, in *writv1.RequestTicketRequest, at time.Time) (asker, error) {
	p, err := s.tokens.Verify(identity.Presented{Token: in.PrincipalToken, Proof: in.PrincipalProof, Certificate: caller.Certificate}, at)
	if err != nil {
		return asker{}, identityError(err)
	}
	if in.Terms.Principal != p.Subject {
		return asker{}, invalidField("terms.principal", "is not the agent that the token proves")
	}
	who := asker{caller: caller, who: p.Subject, presented: presentedTokens(&p)}
	for _, party := range append([]string{p.OnBehalfOf, caller.SPIFFEID}, p.Actors...) {
		if party != "" && party != p.Subject && !slices.Contains(who.parties, party) {
			who.parties = append(who.parties, party)
		}
	}
	return who, nil
}

func presentedTokens(p *decision.Principal) []decision.Consume {
	all := []decision.Consume{{Token: p.Token, Expires: p.Expires}}
	if p.Proof != [32]byte{} {
		all = append(all, decision.Consume{Token: p.Proof, Expires: p.Expires})
	}
	return all
}

// CreateTicket makes a ticket that others have approved, for whom the caller vouches.
func (s *Server) CreateTicket(ctx context.Context, caller decision.Caller, in *writv1.CreateTicketRequest) (*writv1.CreateTicketResponse, error) {
	caller, err := s.atDesk(caller, decision.ToCreateTicket, in, in.Tenant)
	if err != nil {
		return nil, err
	}
	t, err := s.terms(in.Terms)
	if err != nil {
		return nil, err
	}
	t.Approvers = in.Approvers
	by, err := s.by(asker{caller: caller, who: caller.SPIFFEID}, in, in.RequestId, in.Reason, s.now().UTC().Truncate(time.Microsecond))
	if err != nil {
		return nil, err
	}
	by.Reference = in.Reference
	done, err := ticket.Create(ctx, office{s.tickets, s.ledger}, t, by)
	if err != nil {
		return nil, s.ticketError(ctx, err)
	}
	return &writv1.CreateTicketResponse{Ticket: s.ticketTold(&done), Receipt: audit.ReceiptOf(&done.Row, s.origin, done.Receipt), Replayed: done.Replayed}, nil
}

// verdict is what the requests that say yes or no to a ticket have in common.
type verdict interface {
	proto.Message
	GetRequestId() string
	GetTenant() string
	GetReason() string
	GetPrincipalToken() string
	GetPrincipalProof() string
	GetTicketId() string
}

// ApproveTicket adds an approver.
func (s *Server) ApproveTicket(ctx context.Context, caller decision.Caller, in *writv1.ApproveTicketRequest) (*writv1.ApproveTicketResponse, error) {
	done, err := s.judged(ctx, caller, decision.ToApproveTicket, in, ticket.Approve)
	if err != nil {
		return nil, err
	}
	return &writv1.ApproveTicketResponse{Ticket: s.ticketTold(done), Receipt: audit.ReceiptOf(&done.Row, s.origin, done.Receipt), Replayed: done.Replayed}, nil
}

// RejectTicket refuses a ticket.
func (s *Server) RejectTicket(ctx context.Context, caller decision.Caller, in *writv1.RejectTicketRequest) (*writv1.RejectTicketResponse, error) {
	done, err := s.judged(ctx, caller, decision.ToRejectTicket, in, ticket.Reject)
	if err != nil {
		return nil, err
	}
	return &writv1.RejectTicketResponse{Ticket: s.ticketTold(done), Receipt: audit.ReceiptOf(&done.Row, s.origin, done.Receipt), Replayed: done.Replayed}, nil
}

// RevokeTicket takes a ticket back.
func (s *Server) RevokeTicket(ctx context.Context, caller decision.Caller, in *writv1.RevokeTicketRequest) (*writv1.RevokeTicketResponse, error) {
	done, err := s.judged(ctx, caller, decision.ToRevokeTicket, in, ticket.Revoke)
	if err != nil {
		return nil, err
	}
	return &writv1.RevokeTicketResponse{Ticket: s.ticketTold(done), Receipt: audit.ReceiptOf(&done.Row, s.origin, done.Receipt), Replayed: done.Replayed}, nil
}

func (s *Server) judged(ctx context.Context, caller decision.Caller, action decision.Action, in verdict,
	do func(context.Context, ticket.Store, string, ticket.By) (ticket.Change, error),
) (*ticket.Change, error) {
	caller, err := s.atDesk(caller, action, in, in.GetTenant())
	if err != nil {
		return nil, err
	}
	at := s.now().UTC().Truncate(time.Microsecond)
	who := asker{caller: caller, who: caller.SPIFFEID}
	if in.GetPrincipalToken() != "" {
		if who, err = s.person(caller, in, at); err != nil {
			return nil, err
		}
	} else if in.GetPrincipalProof() != "" {
		return nil, invalidField("principal_proof", "is there without principal_token")
	}
	by, err := s.by(who, in, in.GetRequestId(), in.GetReason(), at)
	if err != nil {
		return nil, err
	}
	done, err := do(ctx, office{s.tickets, s.ledger}, in.GetTicketId(), by)
	if err != nil {
		return nil, s.ticketError(ctx, err)
	}
	return &done, nil
}

// person proves who judges a ticket through a caller. A token with which somebody
// acts for somebody else is no word of either: an agent must not approve in the name
// of whom it works for.
func (s *Server) person(caller decision.Caller, in verdict, at time.Time) (asker, error) {
	p, err := s.tokens.Verify(identity.Presented{Token: in.GetPrincipalToken(), Proof: in.GetPrincipalProof(), Certificate: caller.Certificate}, at)
	switch {
	case err != nil:
		return asker{}, identityError(err)
	case p.OnBehalfOf != "" || len(p.Actors) > 0:
		return asker{}, refusedTicket("ticket.delegated", "A token with which somebody acts for somebody else says yes or no to no ticket.")
	case !slices.Contains(p.Purposes, ApprovalPurpose):
		return asker{}, refusedTicket("ticket.purpose", fmt.Sprintf("A token says yes or no to tickets only if it carries the purpose %q.", ApprovalPurpose))
	}
	return asker{caller: caller, who: p.Subject, presented: presentedTokens(&p)}, nil
}

// GetTicket reads a ticket.
func (s *Server) GetTicket(ctx context.Context, caller decision.Caller, in *writv1.GetTicketRequest) (*writv1.GetTicketResponse, error) {
	caller, err := s.atDesk(caller, decision.ToReadTickets, in, in.Tenant)
	if err != nil {
		return nil, err
	}
	stored, err := s.tickets.Ticket(ctx, caller.Tenant, in.TicketId)
	if err != nil {
		return nil, s.ticketError(ctx, err)
	}
	facts, err := s.ticketFacts(&stored)
	if err != nil {
		return nil, err
	}
	return &writv1.GetTicketResponse{Ticket: facts, RecordId: uuid.UUID(stored.ID).String()}, nil
}

// ListTickets reads tickets.
func (s *Server) ListTickets(ctx context.Context, caller decision.Caller, in *writv1.ListTicketsRequest) (*writv1.ListTicketsResponse, error) {
	caller, err := s.atDesk(caller, decision.ToReadTickets, in, in.Tenant)
	if err != nil {
		return nil, err
	}
	size := int(in.PageSize)
	if size == 0 {
		size = defaultPage
	}
	stored, err := s.tickets.Tickets(ctx, caller.Tenant, in.PageToken, size+1)
	if err != nil {
		return nil, s.ticketError(ctx, err)
	}
	out := &writv1.ListTicketsResponse{}
	for i := range stored {
		if i == size {
			out.NextPageToken = stored[i-1].Ticket
			break
		}
		facts, err := s.ticketFacts(&stored[i])
		if err != nil {
			return nil, err
		}
		out.Tickets = append(out.Tickets, facts)
	}
	return out, nil
}

func (s *Server) ticketFacts(stored *audit.TicketRecord) (*writv1.TicketFacts, error) {
	t, err := audit.TicketOf(stored, stored.Ticket)
	if err != nil {
		return nil, internal(s.log, "reading a ticket", err)
	}
	return audit.TicketFacts(&t, s.now()), nil
}

// atDesk is what every method of tickets begins with: the message is in order, and
// the caller admitted.
func (s *Server) atDesk(caller decision.Caller, action decision.Action, in proto.Message, tenant string) (decision.Caller, error) {
	if err := s.validate(in); err != nil {
		return caller, err
	}
	caller, err := s.admit(caller, action, tenant)
	if err == nil && s.tickets == nil {
		err = status.Error(codes.Unimplemented, "tickets are not kept here")
	}
	return caller, err
}

// terms are what a ticket is to cover, of which the bundle in force says that it can
// be.
func (s *Server) terms(in *writv1.TicketTerms) (decision.Ticket, error) {
	t := decision.Ticket{ID: in.Id, Principal: in.Principal, Tool: decision.ToolName{Server: in.Tool.GetServer(), Name: in.Tool.GetName()},
		ToolDigest: in.Tool.GetDefinitionDigest(), ArgumentsDigest: in.ArgumentsDigest, Scope: in.Scope,
		Resource: decision.TicketResource{Type: in.ResourceType, ID: in.ResourceId}, Bundle: in.BundleDigest,
		MaxUses: int64(in.MaxUses), Needs: int(in.ApprovalsNeeded), Roles: in.Roles}
	if (in.ResourceType == "") != (in.ResourceId == "") {
		return t, invalidField("terms.resource_id", "is there with resource_type and only with it")
	}
	if in.NotBefore != nil {
		t.NotBefore = in.NotBefore.AsTime()
	}
	if in.NotAfter != nil {
		t.NotAfter = in.NotAfter.AsTime()
	}
	if strings.TrimSpace(in.Scope) == "" {
		t.Scope = ""
	} else if err := s.live().Policies.CheckScope(in.Scope, t.Tool); err != nil {
		return t, invalidField("terms.scope", err.Error())
	}
	return t, nil
}

// floor holds a ticket that is asked for to what the bundle wants of its approvers.
func (s *Server) floor(t *decision.Ticket) error {
	b := s.live()
	t.Needs = max(t.Needs, b.Approvals)
	if len(b.ApproverRoles) == 0 {
		return nil
	}
	if len(t.Roles) == 0 {
		t.Roles = b.ApproverRoles
	}
	for i, role := range t.Roles {
		if !slices.Contains(b.ApproverRoles, role) {
			return invalidField(fmt.Sprintf("terms.roles[%d]", i), "the bundle does not let this role approve")
		}
	}
	return nil
}

// by is who makes a change. Its digest is of the message, without what proves who
// asks, and of who that is.
func (s *Server) by(who asker, in proto.Message, request, reason string, at time.Time) (ticket.By, error) {
	id, err := s.newID()
	if err != nil {
		return ticket.By{}, internal(s.log, "making an id", err)
	}
	bare := proto.Clone(in)
	m := bare.ProtoReflect()
	for _, name := range []string{"principal_token", "principal_proof", "tenant"} { // the last is the caller's
		if field := m.Descriptor().Fields().ByTextName(name); field != nil {
			m.Clear(field)
		}
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(bare)
	if err != nil {
		return ticket.By{}, internal(s.log, "hashing a request", err)
	}
	return ticket.By{Caller: who.caller, Actor: who.who, Roles: s.live().Roles[who.who], Reason: reason, Source: "grpc", Key: request,
		Digest: digest(data, string(m.Descriptor().FullName()), who.caller.Tenant, who.caller.SPIFFEID, who.who), Presented: who.presented, At: at, ID: id}, nil
}

// ticketTold is what an answer tells of a ticket after a change.
func (s *Server) ticketTold(c *ticket.Change) *writv1.TicketFacts {
	return audit.TicketFacts(&c.TicketChange.Ticket, s.now())
}

func refusedTicket(code, text string) error { return failWith(errTicket, code, text) }

// ticketError maps what became of a change that was not made.
func (s *Server) ticketError(ctx context.Context, err error) error {
	if refusal, ok := errors.AsType[*ticket.Refusal](err); ok {
		return refusedTicket(refusal.Code, refusal.Text)
	}
	switch {
	case errors.Is(err, ticket.ErrUnknown), errors.Is(err, audit.ErrNotFound):
		return fail(errTicketUnknown, "the tenant has no such ticket")
	case errors.Is(err, audit.ErrStale):
		return fail(errContended, "others change the ticket faster than this change can be made; ask again with the same request_id")
	}
	return s.unrecorded(ctx, "changing a ticket", err)
}
