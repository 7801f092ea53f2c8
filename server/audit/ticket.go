package audit

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/uuid/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// TicketAction is the kind of a change of a ticket.
type TicketAction uint8

// The actions, with the numbers of writ.v1.TicketAction.
const (
	RequestTicket TicketAction = iota + 1
	CreateTicket
	ApproveTicket
	RejectTicket
	RevokeTicket
)

// String is the action in capitals.
func (a TicketAction) String() string {
	return strings.TrimPrefix(writv1.TicketAction(a).String(), "TICKET_ACTION_")
}

// TicketChange is a change of a ticket, as its record has it.
type TicketChange struct {
	// At is when it was made.
	At time.Time
	// Caller is who asked for it, and whose ticket it is: the SPIFFE ID is empty where
	// no caller did.
	Caller decision.Caller
	// Key is the idempotency key, 1 to 128 bytes, and Digest covers all that was asked.
	Key    string
	Digest [32]byte
	Action TicketAction
	// Actor is who made it: 1 to 2048 bytes. Roles are those that whoever it is has.
	Actor string
	Roles []string
	// Reason is why: 1 to 1024 bytes.
	Reason string
	// Source is the way by which it came: 1 to 128 bytes. Reference is what the source
	// calls it: at most 256 bytes.
	Source, Reference string
	// Previous is the record of the version before; zero: there is none.
	Previous [16]byte
	// Presented are the tokens that proved the actor, which the change uses up.
	Presented []decision.Consume
	// Ticket is the ticket after it. Its uses are no part of the change.
	Ticket decision.Ticket
}

// TicketRecord is a stored ticket: the record of its newest version, and how often it
// was redeemed.
type TicketRecord struct {
	Row
	Uses int64
}

// Bounds of a ticket.
const (
	maxParties   = 16
	maxApprovers = 256
	maxNeeds     = 16
	maxRoles     = 16
	maxHeld      = 64 // roles of somebody
	maxScope     = 4096
	maxReference = 256
)

// TicketChanged is the entry of a change. id is the new record's UUIDv7. Committed, it
// makes the ticket's version the newest, or is ErrStale where another change was
// faster or a token was used before.
func TicketChanged(id [16]byte, c *TicketChange) (Entry, error) {
	event := &writv1.TicketEvent{RequestId: c.Key, Action: writv1.TicketAction(c.Action), Actor: c.Actor, Roles: c.Roles, Reason: c.Reason,
		Source: c.Source, Reference: c.Reference, Ticket: ticketFacts(&c.Ticket)}
	event.Ticket.Uses = 0
	if c.Previous != [16]byte{} {
		event.PreviousId = uuid.UUID(c.Previous).String()
	}
	for _, p := range c.Presented {
		event.Presented = append(event.Presented, &writv1.PresentedToken{Digest: p.Token[:], ExpiresAt: stamp(&timestamppb.Timestamp{}, p.Expires)})
	}
	entry, err := enter(&writv1.Record{
		Version: version, Tenant: c.Caller.Tenant, Id: uuid.UUID(id).String(), At: stamp(&timestamppb.Timestamp{}, c.At),
		Caller: c.Caller.SPIFFEID, RequestDigest: c.Digest[:], Event: &writv1.Record_Ticket{Ticket: event},
	})
	if err != nil {
		return Entry{}, fmt.Errorf("encoding the change of a ticket: %w", err)
	}
	return entry, nil
}

// TicketChangeOf is the change that a body records. Another record's is ErrNotFound.
func TicketChangeOf(body []byte) (*TicketChange, error) {
	r, err := decode(body)
	if err != nil {
		return nil, err
	}
	e := r.ticket
	if e == nil {
		return nil, fmt.Errorf("reading a change of a ticket: %w", ErrNotFound)
	}
	c := &TicketChange{At: r.At, Caller: decision.Caller{SPIFFEID: r.Caller, Tenant: r.Tenant}, Key: r.Key, Digest: r.Digest,
		Action: TicketAction(e.Action), Actor: e.Actor, Roles: e.Roles, Reason: e.Reason, Source: e.Source, Reference: e.Reference,
		Previous: uuid.FromStringOrNil(e.PreviousId)}
	for _, effect := range r.effects {
		switch f := effect.(type) {
		case decision.Ticket:
			c.Ticket = f
		case decision.Consume:
			c.Presented = append(c.Presented, f)
		}
	}
	return c, nil
}

// TicketOf is a stored ticket. The error is that of a record that is not the ticket's.
func TicketOf(stored *TicketRecord, id string) (decision.Ticket, error) {
	c, err := TicketChangeOf(stored.Body)
	if err == nil && (c.Ticket.ID != id || c.Caller.Tenant != stored.Tenant) {
		err = errors.New("it is of another ticket")
	}
	if err != nil {
		return decision.Ticket{}, fmt.Errorf("reading the record of ticket %q: %w", id, err)
	}
	c.Ticket.Uses = stored.Uses
	return c.Ticket, nil
}

// TicketFacts is a ticket as answers tell it: with its state at a time.
func TicketFacts(t *decision.Ticket, at time.Time) *writv1.TicketFacts {
	facts := ticketFacts(t)
	facts.State = writv1.TicketState(t.Stands(at))
	return facts
}

func ticketFacts(t *decision.Ticket) *writv1.TicketFacts {
	return &writv1.TicketFacts{
		Id: t.ID, Principal: t.Principal, Tool: tool(&writv1.Tool{}, decision.ToolRef{ToolName: t.Tool, Digest: t.ToolDigest}),
		ArgumentsDigest: t.ArgumentsDigest, NotBefore: stamp(&timestamppb.Timestamp{}, t.NotBefore), NotAfter: stamp(&timestamppb.Timestamp{}, t.NotAfter),
		MaxUses: t.MaxUses, Uses: t.Uses, Approvers: t.Approvers, Revoked: t.State == decision.TicketRevoked,
		Version: t.Version, State: writv1.TicketState(t.State), Scope: t.Scope, ResourceType: t.Resource.Type, ResourceId: t.Resource.ID,
		BundleDigest: t.Bundle, Requester: t.Requester, Parties: t.Parties, ApprovalsNeeded: uint32(max(0, t.Needs)), Roles: t.Roles,
	}
}

// knownTicket is the way back, for facts of a decision. In those that are older than
// states, a ticket was approved, or revoked.
func knownTicket(f *writv1.TicketFacts) decision.Ticket {
	t := decision.Ticket{
		ID: f.Id, Version: f.Version, State: decision.TicketState(f.State), Principal: f.Principal, Tool: toolOf(f.Tool).ToolName, ToolDigest: f.Tool.GetDefinitionDigest(),
		ArgumentsDigest: f.ArgumentsDigest, Scope: f.Scope, Resource: decision.TicketResource{Type: f.ResourceType, ID: f.ResourceId}, Bundle: f.BundleDigest,
		NotBefore: f.NotBefore.AsTime(), NotAfter: f.NotAfter.AsTime(), MaxUses: f.MaxUses, Uses: f.Uses,
		Requester: f.Requester, Parties: f.Parties, Needs: int(f.ApprovalsNeeded), Roles: f.Roles, Approvers: f.Approvers,
	}
	if f.State == writv1.TicketState_TICKET_STATE_UNSPECIFIED {
		t.State = decision.TicketApproved
		if f.Revoked {
			t.State = decision.TicketRevoked
		}
	}
	return t
}

func (r *record) readTicket(event *writv1.TicketEvent) error {
	r.ticket, r.Kind = event, Ticket
	if event.GetTicket() == nil {
		return errors.New("the ticket is missing")
	}
	if err := checkTicketEvent(event); err != nil {
		return err
	}
	f := event.Ticket
	if err := checkTicketFacts(f); err != nil {
		return fmt.Errorf("ticket: %w", err)
	}
	t := knownTicket(f)
	if err := agrees(event, &t); err != nil {
		return err
	}
	r.effects = []decision.Effect{t}
	for _, p := range event.Presented {
		token, err := digest("presented.digest", p.GetDigest())
		if err != nil {
			return err
		}
		expires, err := moment("presented.expires_at", p.ExpiresAt)
		if err != nil {
			return err
		}
		r.effects = append(r.effects, decision.Consume{Token: token, Expires: expires})
	}
	r.Key, r.Principal, r.Ticket = event.RequestId, event.Actor, t.ID
	r.Server, r.Tool = t.Tool.Server, t.Tool.Name
	return nil
}

func checkTicketEvent(event *writv1.TicketEvent) error {
	if event.Action < writv1.TicketAction_TICKET_ACTION_REQUEST || event.Action > writv1.TicketAction_TICKET_ACTION_REVOKE {
		return errors.New("action is unknown")
	}
	if event.PreviousId != "" {
		if _, err := identify(event.PreviousId); err != nil {
			return fmt.Errorf("previous_id %w", err)
		}
	}
	if len(event.Presented) > maxPresented {
		return fmt.Errorf("more than %d tokens", maxPresented)
	}
	return errors.Join(line("request_id", event.RequestId, 1, 128), by(event.Actor, event.Reason, ""), line("source", event.Source, 1, 128),
		line("reference", event.Reference, 0, maxReference), names("roles", event.Roles, maxHeld, 64))
}

// names holds a list of lines within its bounds; none is there twice.
func names(name string, values []string, most, bytes int) error {
	if len(values) > most {
		return fmt.Errorf("more than %d %s", most, name)
	}
	for i, v := range values {
		if err := line(name, v, 1, bytes); err != nil {
			return err
		}
		if slices.Contains(values[:i], v) {
			return fmt.Errorf("%s: one is there twice", name)
		}
	}
	return nil
}

func checkTicketFacts(f *writv1.TicketFacts) error {
	from, err := moment("not_before", f.NotBefore)
	if err != nil {
		return err
	}
	until, err := moment("not_after", f.NotAfter)
	if err != nil {
		return err
	}
	switch {
	case f.Version < 1:
		return errors.New("version is not positive")
	case f.State < writv1.TicketState_TICKET_STATE_REQUESTED || f.State > writv1.TicketState_TICKET_STATE_REVOKED:
		return errors.New("state is none that is stored")
	case f.Revoked != (f.State == writv1.TicketState_TICKET_STATE_REVOKED):
		return errors.New("revoked is not what state says")
	case !from.Before(until):
		return errors.New("the window is empty")
	case f.MaxUses < 1:
		return errors.New("max_uses is not positive")
	case f.Uses != 0:
		return errors.New("it has uses, which are no part of a change")
	case f.ApprovalsNeeded < 1 || f.ApprovalsNeeded > maxNeeds:
		return fmt.Errorf("approvals_needed is not 1 to %d", maxNeeds)
	case (f.ResourceType == "") != (f.ResourceId == ""):
		return errors.New("a resource has a type and an id, or neither")
	case strings.ContainsFunc(f.Id, func(c rune) bool { return !plainID(c) }):
		return errors.New("id has a character that no request could name")
	}
	for name, sum := range map[string]string{"definition_digest": f.Tool.GetDefinitionDigest(), "arguments_digest": f.ArgumentsDigest, "bundle_digest": f.BundleDigest} {
		if b, err := hex.DecodeString(sum); err != nil || len(b) != 0 && len(b) != 32 || sum != strings.ToLower(sum) {
			return fmt.Errorf("%s is not 32 bytes in lower-case hex", name)
		}
	}
	return errors.Join(line("id", f.Id, 1, 128), line("principal", f.Principal, 1, maxActor), line("tool.server", f.Tool.GetServer(), 1, 64),
		line("tool.name", f.Tool.GetName(), 1, 128), text("scope", f.Scope, 0, maxScope), line("resource_type", f.ResourceType, 0, 512),
		line("resource_id", f.ResourceId, 0, 512), line("requester", f.Requester, 1, maxActor), names("parties", f.Parties, maxParties, maxActor),
		names("roles", f.Roles, maxRoles, 64), names("approvers", f.Approvers, maxApprovers, maxActor))
}

// plainID are the characters that a request's ticket_id can have.
func plainID(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("._:-", c)
}

// agrees refuses a change after which the ticket could not be as it says.
func agrees(event *writv1.TicketEvent, t *decision.Ticket) error {
	first := event.Action == writv1.TicketAction_TICKET_ACTION_REQUEST || event.Action == writv1.TicketAction_TICKET_ACTION_CREATE
	want := map[writv1.TicketAction]decision.TicketState{
		writv1.TicketAction_TICKET_ACTION_REQUEST: decision.TicketRequested, writv1.TicketAction_TICKET_ACTION_CREATE: decision.TicketApproved,
		writv1.TicketAction_TICKET_ACTION_APPROVE: decision.TicketRequested, writv1.TicketAction_TICKET_ACTION_REJECT: decision.TicketRejected,
		writv1.TicketAction_TICKET_ACTION_REVOKE: decision.TicketRevoked,
	}[event.Action]
	enough := len(t.Approvers) >= t.Needs
	if event.Action == writv1.TicketAction_TICKET_ACTION_APPROVE && enough {
		want = decision.TicketApproved
	}
	switch {
	case t.State != want:
		return errors.New("the state is not the one after this change")
	case t.State == decision.TicketApproved && !enough:
		return errors.New("it is approved by fewer than it needs")
	case first != (t.Version == 1), first != (event.PreviousId == ""):
		return errors.New("it is made by the first change, and by that alone")
	case slices.ContainsFunc(t.Approvers, t.Involves):
		return errors.New("one who approved it has a part in it")
	}
	return nil
}
