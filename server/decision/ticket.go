package decision

import (
	"crypto/sha256"
	"slices"
	"time"
)

// Ticket is a change approval, as one change left it: an effect, and what a
// snapshot knows. Guard of the effect: the version that is stored is Version-1; for
// version 1 there is no ticket of the id.
type Ticket struct {
	// ID names it, uniquely for a tenant.
	ID string
	// Version is 1, 2, 3, and so on: each change makes the next.
	Version int64
	// State is where it stands. The zero value covers nothing.
	State TicketState
	// Principal is the agent it was given to.
	Principal string
	// Tool is the tool it covers; ToolDigest, if not empty, pins its definition.
	Tool       ToolName
	ToolDigest string
	// ArgumentsDigest is the hex digest of the only arguments it covers; empty:
	// any arguments.
	ArgumentsDigest string
	// Scope is a Cedar condition that must hold of the request; empty: none.
	Scope string
	// Resource is the only resource it covers; the zero value: any.
	Resource TicketResource
	// Bundle is the digest of the only bundle it is valid under; empty: any.
	Bundle string
	// NotBefore and NotAfter bound when it can be used: from the first up to,
	// not including, the second.
	NotBefore, NotAfter time.Time
	// MaxUses is how often it can be redeemed; Uses how often it was, which is no
	// part of a change.
	MaxUses, Uses int64
	// Requester is who asked for it, and Parties who else has a part in the action,
	// as far as was known then. None of them can approve it.
	Requester string
	Parties   []string
	// Needs is how many must approve it. Roles, if any, are those of which each
	// approver must have one.
	Needs int
	Roles []string
	// Approvers are who approved it.
	Approvers []string
}

func (Ticket) effect() {}

// TicketResource is the thing that a ticket covers.
type TicketResource struct{ Type, ID string }

// TicketState is where a ticket stands.
type TicketState uint8

// The states, with the numbers of writ.v1.TicketState. The last two are never
// stored: they come of uses and of time.
const (
	TicketRequested TicketState = iota + 1 // waits for approvers
	TicketApproved
	TicketRejected
	TicketRevoked
	TicketUsedUp
	TicketExpired
)

// ticketStates are the names of the states, by their numbers.
var ticketStates = [...]string{"unknown", "requested", "approved", "rejected", "revoked", "used up", "expired"}

func (s TicketState) String() string {
	if int(s) < len(ticketStates) {
		return ticketStates[s]
	}
	return ticketStates[0]
}

// MaxTicketTime is how far ahead a ticket can end: what has to last is a policy.
const MaxTicketTime = 366 * 24 * time.Hour

// Stands is where a ticket stands at a time, with its uses.
func (t *Ticket) Stands(at time.Time) TicketState {
	switch {
	case t.State != TicketRequested && t.State != TicketApproved:
		return t.State
	case t.State == TicketApproved && t.Uses >= t.MaxUses:
		return TicketUsedUp
	case !at.Before(t.NotAfter):
		return TicketExpired
	}
	return t.State
}

// Of reports whether a ticket's resource, if it has one, is a request's. Ids are
// compared by their digests where only that of the request's is known.
func (r TicketResource) Of(req Resource) bool {
	if r == (TicketResource{}) {
		return true
	}
	if req.Digest != ([32]byte{}) {
		return r.Type == req.Type && sha256.Sum256([]byte(r.ID)) == req.Digest
	}
	return r.Type == req.Type && r.ID == req.ID
}

// Involves reports whether somebody has a part in what a ticket is for, as far as
// the ticket says.
func (t *Ticket) Involves(who string) bool {
	return who == t.Principal || who == t.Requester || slices.Contains(t.Parties, who)
}

// Acts reports whether somebody has a part in a principal's actions: the agent, the
// human it acts for, or one of those who delegated.
func (p *Principal) Acts(who string) bool {
	return who != "" && (who == p.Subject || who == p.OnBehalfOf || slices.Contains(p.Actors, who))
}
