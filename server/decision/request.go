package decision

import (
	"time"

	"github.com/writpdp/writ/document"
)

// Phase is the point in an action's life at which a question is asked.
type Phase uint8

// The phases, with the numbers of writ.v1.Phase.
const (
	List    Phase = iota + 1 // which tools may be seen
	Prompt                   // a text on its way to a model
	Call                     // a tool call, before it runs
	Result                   // a tool's result, before the agent sees it
	Connect                  // an outbound connection
)

// String is the phase's name as policies see it in context.phase.
func (p Phase) String() string {
	switch p {
	case List:
		return "LIST"
	case Prompt:
		return "PROMPT"
	case Call:
		return "CALL"
	case Result:
		return "RESULT"
	case Connect:
		return "CONNECT"
	}
	return "UNKNOWN"
}

// Caller is the enforcement point, proved by its X.509-SVID.
type Caller struct {
	// SPIFFEID is the caller's SPIFFE ID.
	SPIFFEID string
	// Tenant is whose budgets, tickets and log the caller works with: its own, or
	// the one that it named and was admitted to.
	Tenant string
	// Certificate is the SHA-256 of the certificate that proved it; zero: none
	// did.
	Certificate [32]byte
}

// Principal is the agent, proved by its token.
type Principal struct {
	// Subject and Issuer are the token's `sub` and `iss`.
	Subject, Issuer string
	// OnBehalfOf is the human the agent acts for; empty: none.
	OnBehalfOf string
	// Actors is the delegation chain of the `act` claims, current actor first.
	Actors []string
	// Purposes are those that the token carries; never a wildcard.
	Purposes []string
	// Tools are the only tools that the token is for, as "server/name", in order;
	// none: it is not narrowed to tools.
	Tools []string
	// Token identifies the token: a digest of issuer, key and `jti`.
	Token [32]byte
	// Proof identifies the proof that a key was held that the token is bound to;
	// zero: there is none. It is of no use without the token.
	Proof [32]byte
	// Expires is when no clock within the leeway accepts the token any more:
	// until then its digest is remembered, and that of the proof.
	Expires time.Time
}

// ToolName names a tool of a server.
type ToolName struct{ Server, Name string }

// String is "server/name", the id of the tool's Cedar action.
func (t ToolName) String() string { return t.Server + "/" + t.Name }

// ToolRef is a tool as the caller saw it.
type ToolRef struct {
	ToolName
	// Digest is the hex SHA-256 of the definition that the caller saw.
	Digest string
}

// Resource is the thing acted upon.
type Resource struct {
	// Type is a Cedar entity type; empty: the caller named no resource.
	Type, ID string
	// Digest is the SHA-256 of an ID that is not known; zero: ID is known.
	Digest [32]byte
	// Properties are the resource's attributes; nil: none.
	Properties *document.Document
}

// Destination is where data is about to go.
type Destination struct{ Host, Vendor, Region string }

// Cost is an amount of each thing a budget can cap.
type Cost struct {
	Calls, Tokens int64
	// Micros is money in millionths of Currency's main unit.
	Micros int64
	// Currency is an ISO 4217 code.
	Currency string
}

// Content is a prompt or a result: a document, or a plain text.
type Content struct {
	// Document is the content as JSON; nil when it is a text.
	Document *document.Document
	// Text is the content where it is a text.
	Text string
	// Digest is the SHA-256 of the content's bytes.
	Digest [32]byte
	// Size is the number of those bytes; 0 with a nil Document: no content.
	Size int
}

// Trace is W3C trace context.
type Trace struct{ Parent, State string }

// Request is one question, checked and identified: every field is within its
// bounds, every document parsed, the principal proved.
type Request struct {
	// ID is the caller's idempotency key, a UUID.
	ID [16]byte
	// Digest covers all that the answer depends on, but not the token's
	// bytes: a retry may bring a fresh token of the same agent.
	Digest    [32]byte
	Caller    Caller
	Principal Principal
	Phase     Phase
	Session   string
	// Depth is how many steps of the agent's plan this one lies below.
	Depth       int64
	Purpose     string
	Tool        ToolRef // zero where the phase has none
	Candidates  []ToolRef
	Arguments   *document.Document // nil where the phase has none
	Resource    Resource
	Destination Destination
	Ticket      string
	Cost        Cost
	Content     Content
	// CallID is the decision that allowed the call a RESULT belongs to.
	CallID  [16]byte
	Context *document.Document // nil: none
	// Supports are the obligation types that the caller can meet.
	Supports []string
	Trace    Trace
}
