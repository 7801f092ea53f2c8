package authzen

import (
	"net/http"
	"regexp"
	"strings"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// Bounds of what the face itself looks at; everything else is bounded behind it.
const (
	maxToken      = 16 << 10
	maxTracestate = 512
)

// Resource types.
const (
	typeServer      = "mcp_server"
	typeTool        = "tool"
	typeDestination = "destination"
)

// actions are the phases by action name, with the resource type of each.
var actions = map[string]struct {
	phase    writv1.Phase
	resource string
}{
	"tools/list":   {writv1.Phase_PHASE_LIST, typeServer},
	"prompt":       {writv1.Phase_PHASE_PROMPT, typeDestination},
	"tools/call":   {writv1.Phase_PHASE_CALL, typeTool},
	"tools/result": {writv1.Phase_PHASE_RESULT, typeTool},
	"connect":      {writv1.Phase_PHASE_CONNECT, typeDestination},
}

// translate turns a body into the question it asks, without the request_id. It
// checks what AuthZEN adds to the question; the question itself is checked
// behind every face alike.
func translate(body []byte, h http.Header) (*writv1.DecideRequest, error) {
	e, err := parse(body)
	if err != nil {
		return nil, err
	}
	c := &e.Context
	req := &writv1.DecideRequest{
		Purpose: c.Purpose, SessionId: c.SessionID, PlanDepth: c.PlanDepth, ReturnDocuments: c.ReturnDocuments, Tenant: c.Tenant, TicketId: c.TicketID, CallDecisionId: c.CallDecisionID,
		Arguments: c.Arguments, Context: c.Extra,
		SupportedObligations: supported(c.SupportedObligations),
	}
	if c.Approval != nil {
		if c.TicketID != "" || c.Approval.ID == "" {
			return nil, fieldProblem("at /context/approval: it has an id, and there is no ticket_id beside it")
		}
		req.TicketId = c.Approval.ID
	}
	if req.PrincipalToken, err = e.token(); err != nil {
		return nil, err
	}
	if req.PrincipalProof, err = e.proof(); err != nil {
		return nil, err
	}
	if err := e.target(req); err != nil {
		return nil, err
	}
	if c.Cost != nil {
		req.Cost = &writv1.Cost{Calls: c.Cost.Calls, Tokens: c.Cost.Tokens, Micros: c.Cost.Micros, Currency: c.Cost.Currency}
	}
	if c.Resource != nil {
		req.Resource = &writv1.Resource{Type: c.Resource.Type, Id: c.Resource.ID, Properties: c.Resource.Properties}
	}
	if c.Content != nil {
		if req.Content, err = c.Content.translate(); err != nil {
			return nil, err
		}
	}
	req.Trace = c.Trace.translate(h)
	return req, nil
}

// token is the principal's token from the one place where it stands.
func (e *evaluation) token() (string, error) {
	if t := *e.Subject.Type; t != "agent" && t != "identity" {
		return "", fieldProblem(`at /subject/type: not "agent" or "identity"`)
	}
	inSubject, inContext := e.Subject.Properties.Token, e.Context.PrincipalToken
	if (inSubject == "") == (inContext == "") {
		return "", fieldProblem("the principal token must be in /subject/properties/token or in /context/principal_token, and not in both")
	}
	token := inSubject + inContext
	return token, checkSubject(*e.Subject.ID, token)
}

// proof is the token's proof of possession, if there is one.
func (e *evaluation) proof() (string, error) {
	inSubject, inContext := e.Subject.Properties.Proof, e.Context.PrincipalProof
	if inSubject != "" && inContext != "" {
		return "", fieldProblem("the proof must be in /subject/properties/proof or in /context/principal_proof, and not in both")
	}
	return inSubject + inContext, nil
}

// target sets the phase and what the resource stands for in it.
func (e *evaluation) target(req *writv1.DecideRequest) error {
	action, ok := actions[*e.Action.Name]
	if !ok {
		return fieldProblem("at /action/name: not an action that is decided on")
	}
	if *e.Resource.Type != action.resource {
		return fieldProblem("at /resource/type: the action wants the type " + action.resource)
	}
	req.Phase = action.phase
	if d := e.Context.Destination; d != nil {
		req.Destination = d.to(d.Host)
	}
	server := ""
	var err error
	switch action.resource {
	case typeServer:
		server = *e.Resource.ID
		err = e.properties(&struct{}{})
	case typeTool:
		req.Tool, err = e.tool()
	case typeDestination:
		if req.Destination != nil {
			return fieldProblem("at /context/destination: the resource is the destination already")
		}
		var p destinationProperties
		err = e.properties(&p)
		req.Destination = p.to(*e.Resource.ID)
	}
	for _, t := range e.Context.Candidates {
		candidate := &writv1.Tool{Server: server, Name: t.Name, DefinitionDigest: t.DefinitionDigest}
		if t.Server != nil {
			candidate.Server = *t.Server
		}
		req.Candidates = append(req.Candidates, candidate)
	}
	return err
}

// to is the destination at a host.
func (p *destinationProperties) to(host string) *writv1.Destination {
	return &writv1.Destination{Host: host, Vendor: p.Vendor, Region: p.Region, Url: p.URL, Scheme: p.Scheme, Port: p.Port, Method: p.Method,
		Addresses: p.Addresses, RedirectedFrom: p.RedirectedFrom}
}

// tool is the resource of a call. A tool's name may hold a slash, a server's id
// may not, so the first slash is the one between them.
func (e *evaluation) tool() (*writv1.Tool, error) {
	var p toolProperties
	if err := e.properties(&p); err != nil {
		return nil, err
	}
	if p.Server != nil {
		return &writv1.Tool{Server: *p.Server, Name: *e.Resource.ID, DefinitionDigest: p.DefinitionDigest}, nil
	}
	server, name, ok := strings.Cut(*e.Resource.ID, "/")
	if !ok {
		return nil, fieldProblem("at /resource/id: not server/name, and no server in /resource/properties")
	}
	return &writv1.Tool{Server: server, Name: name, DefinitionDigest: p.DefinitionDigest}, nil
}

// properties decodes those of the resource.
func (e *evaluation) properties(into any) error {
	if len(e.Resource.Properties) == 0 {
		return nil
	}
	return decode(e.Resource.Properties, into, "/resource/properties")
}

func (c *content) translate() (*writv1.Content, error) {
	switch {
	case (c.Data == nil) == (len(c.Document) == 0):
		return nil, fieldProblem("at /context/content: data or document is wanted, and not both")
	case c.Data != nil:
		return &writv1.Content{MediaType: c.MediaType, Data: []byte(*c.Data)}, nil
	case c.MediaType != "application/json":
		return nil, fieldProblem("at /context/content/media_type: a document is application/json")
	}
	return &writv1.Content{MediaType: c.MediaType, Data: c.Document}, nil
}

var traceparent = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

// translate prefers what the body says. The headers may be the work of any proxy
// between, so broken ones are dropped, as W3C trace context asks.
func (t *trace) translate(h http.Header) *writv1.TraceContext {
	if t != nil {
		return &writv1.TraceContext{Traceparent: t.Traceparent, Tracestate: t.Tracestate}
	}
	parent := h.Values("traceparent")
	if len(parent) != 1 || !traceparent.MatchString(parent[0]) {
		return nil
	}
	state := strings.Join(h.Values("tracestate"), ",")
	if len(state) > maxTracestate {
		state = ""
	}
	return &writv1.TraceContext{Traceparent: parent[0], Tracestate: state}
}
