package writ

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/writpdp/writ/document"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// Phase is the point in an action's life at which a question is asked. The zero
// value is no phase, and refused.
type Phase uint8

// The phases.
const (
	PhaseList    Phase = iota + 1 // which tools the agent may see
	PhasePrompt                   // a text on its way to a model
	PhaseCall                     // a tool call, before it runs
	PhaseResult                   // a tool's result, before the agent sees it
	PhaseConnect                  // an outbound connection, before it is opened
)

// String is the phase's name, for example "CALL".
func (p Phase) String() string {
	if p < PhaseList || p > PhaseConnect {
		return "UNKNOWN"
	}
	return [...]string{"LIST", "PROMPT", "CALL", "RESULT", "CONNECT"}[p-1]
}

// Media types of Content.
const (
	MediaJSON = "application/json"
	MediaText = "text/plain"
)

// Call is one question. Each field's zero value means that there is none.
type Call struct {
	// Phase is set by Decide's caller; Enforce and its kin set it themselves.
	Phase Phase
	// Tenant is whose budgets, tickets and policies decide; empty: the client's
	// own. For another's, the bundle must admit the client to it.
	Tenant string
	// Session is the agent's run that the action belongs to.
	Session string
	// Depth is how many steps of the agent's plan this one lies below; 0 for what
	// the user asked for itself.
	Depth uint32
	// Purpose is why the agent acts, one of its token's purposes. Required.
	Purpose string
	// Tool is required in the phases CALL and RESULT.
	Tool Tool
	// Arguments are the tool's: one JSON object, at most 1 MiB; empty means {}.
	Arguments json.RawMessage
	// Resource is the thing acted upon.
	Resource Resource
	// Destination is where data is about to go. Required in PROMPT and CONNECT.
	Destination Destination
	// Connection is what is known of an outbound connection besides.
	Connection Connection
	// Ticket is the id of the change ticket that permits the action.
	Ticket string
	// Cost is the most that the action can cost; it is reserved until the
	// report. None means one call.
	Cost Cost
	// Content is the prompt or the result. Required in PROMPT and RESULT, and
	// refused elsewhere; Enforce sets that of the RESULT.
	Content Content
	// CallDecisionID names the decision on the call that a RESULT belongs to.
	CallDecisionID string
	// Context are free facts for the policies: one JSON object, at most 64 KiB.
	Context json.RawMessage
	// Trace is where the question stands in a distributed trace.
	Trace Trace
	// Candidates are the tools to choose from, in the phase LIST: at most 512.
	// FilterTools sets them.
	Candidates []Tool
	// Token returns a fresh token of this call's agent, once for each question
	// about it; for the result it may be the same. Nil: the client's Config.Token.
	Token func(context.Context) (string, error)
	// Proof returns a fresh DPoP proof (RFC 9449) for a token that is bound to a
	// key, once for each question. Nil: none is given.
	Proof func(ctx context.Context, token string) (string, error)
	// SkipResult leaves out the question whether the result may go on. The
	// result is then returned as the tool gave it.
	SkipResult bool
}

// Tool is one tool of one MCP server. Its definition pins it: without Definition
// and Digest, Writ denies.
type Tool struct {
	// Server is the server's id in the policy bundle; Name is the tool's name.
	Server, Name string
	// Definition is the tool's JSON object as the agent's tools/list had it.
	Definition []byte
	// Digest is document.ToolDigest of the definition. Set it instead of
	// Definition to compute it once. Where both are set they must agree.
	Digest string
}

// Resource is the thing acted upon.
type Resource struct {
	// Type is an entity type of the bundle's Cedar schema; ID is within it.
	Type, ID string
	// Properties are its attributes: one JSON object; empty means {}.
	Properties json.RawMessage
}

// Destination is where data is about to go.
type Destination struct {
	// Host is a name in lower case or an IP address, without port.
	Host string
	// Vendor is the vendor's id in the bundle; Region is where it will process
	// the data.
	Vendor, Region string
}

// Connection is what is known of an outbound connection besides its destination.
type Connection struct {
	// URL is what is to be opened. It is not recorded.
	URL string
	// Scheme and Port are those of a connection without a URL.
	Scheme string
	Port   uint16
	// Method is that of an HTTP request.
	Method string
	// Addresses are those that the host was resolved to. Where they are given, the
	// connection is pinned to them.
	Addresses []netip.Addr
	// RedirectedFrom is, of a redirect, the id of the decision on the hop before, or
	// its URL. Ask for every hop.
	RedirectedFrom string
}

// Cost is an amount of each thing that a budget can cap.
type Cost struct {
	// Calls is read as 1 when it is 0.
	Calls int64
	// Tokens are model tokens.
	Tokens int64
	// Micros is money in millionths of the main unit of Currency, an ISO 4217
	// code, which is required with money and refused without.
	Micros   int64
	Currency string
}

// Content is a JSON document or a text, at most 1 MiB of UTF-8.
type Content struct {
	// MediaType is MediaJSON or MediaText; empty means MediaJSON.
	MediaType string
	Data      []byte
}

// Trace is W3C trace context: the values of traceparent and tracestate.
type Trace struct{ Parent, State string }

// clone copies what the caller could change while the call is under way.
func (c Call) clone() Call {
	c.Arguments = bytes.Clone(c.Arguments)
	c.Context = bytes.Clone(c.Context)
	c.Content.Data = bytes.Clone(c.Content.Data)
	c.Resource.Properties = bytes.Clone(c.Resource.Properties)
	c.Tool.Definition = bytes.Clone(c.Tool.Definition)
	c.Candidates = slices.Clone(c.Candidates)
	c.Connection.Addresses = slices.Clone(c.Connection.Addresses)
	return c
}

// encode writes the question, but for its id, token and abilities.
func (c Call) encode() (*writv1.DecideRequest, error) {
	if c.Phase < PhaseList || c.Phase > PhaseConnect {
		return nil, errors.New("the call has no phase")
	}
	req := &writv1.DecideRequest{
		Phase:          writv1.Phase(c.Phase),
		Tenant:         c.Tenant,
		SessionId:      c.Session,
		PlanDepth:      c.Depth,
		Purpose:        c.Purpose,
		Arguments:      c.Arguments,
		TicketId:       c.Ticket,
		Cost:           c.Cost.encode(),
		Content:        c.Content.encode(),
		CallDecisionId: c.CallDecisionID,
		Context:        c.Context,
	}
	var err error
	if c.Tool.Server != "" || c.Tool.Name != "" {
		if req.Tool, err = c.Tool.encode(); err != nil {
			return nil, err
		}
	}
	for _, candidate := range c.Candidates {
		tool, err := candidate.encode()
		if err != nil {
			return nil, err
		}
		req.Candidates = append(req.Candidates, tool)
	}
	if c.Resource.Type != "" || c.Resource.ID != "" {
		req.Resource = &writv1.Resource{Type: c.Resource.Type, Id: c.Resource.ID, Properties: c.Resource.Properties}
	}
	if d := c.Destination; d != (Destination{}) || c.Connection.URL != "" {
		req.Destination = c.Connection.encode(d)
	}
	if c.Trace != (Trace{}) {
		req.Trace = &writv1.TraceContext{Traceparent: c.Trace.Parent, Tracestate: c.Trace.State}
	}
	return req, nil
}

func (t Tool) encode() (*writv1.Tool, error) {
	digest := t.Digest
	if len(t.Definition) > 0 {
		computed, err := document.ToolDigest(t.Definition)
		if err != nil {
			return nil, fmt.Errorf("reading the definition of the tool %s/%s: %w", t.Server, t.Name, err)
		}
		if digest != "" && digest != computed {
			return nil, fmt.Errorf("the definition of the tool %s/%s does not have the digest given with it", t.Server, t.Name)
		}
		digest = computed
	}
	return &writv1.Tool{Server: t.Server, Name: t.Name, DefinitionDigest: digest}, nil
}

func (c Connection) encode(d Destination) *writv1.Destination {
	to := &writv1.Destination{Host: d.Host, Vendor: d.Vendor, Region: d.Region, Url: c.URL, Scheme: c.Scheme, Port: uint32(c.Port), Method: c.Method,
		RedirectedFrom: c.RedirectedFrom}
	for _, a := range c.Addresses {
		to.Addresses = append(to.Addresses, a.Unmap().String())
	}
	return to
}

func (c Cost) encode() *writv1.Cost {
	if c == (Cost{}) {
		return nil
	}
	return &writv1.Cost{Calls: c.Calls, Tokens: c.Tokens, Micros: c.Micros, Currency: c.Currency}
}

// none reports whether there is no content at all.
func (c Content) none() bool { return c.MediaType == "" && len(c.Data) == 0 }

func (c Content) encode() *writv1.Content {
	if c.none() {
		return nil
	}
	media := c.MediaType
	if media == "" {
		media = MediaJSON
	}
	return &writv1.Content{MediaType: media, Data: c.Data}
}
