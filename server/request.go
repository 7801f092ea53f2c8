package server

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"buf.build/go/protovalidate"
	"github.com/gofrs/uuid/v5"
	"google.golang.org/protobuf/proto"

	"github.com/writpdp/writ/document"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/egress"
	"github.com/writpdp/writ/server/identity"
)

// identify turns what came over a wire into a decision.Request: every field
// within its bounds, the caller admitted, every document parsed, the principal
// proved.
func (s *Server) identify(caller decision.Caller, action decision.Action, in *writv1.DecideRequest) (*decision.Request, error) {
	if err := s.validate(in); err != nil {
		return nil, err
	}
	caller, err := s.admit(caller, action, in.Tenant)
	if err != nil {
		return nil, err
	}
	principal, err := s.tokens.Verify(identity.Presented{
		Token: in.PrincipalToken, Proof: in.PrincipalProof, Server: serverOf(in), Certificate: caller.Certificate,
	}, s.now())
	if err != nil {
		return nil, identityError(err)
	}
	req := &decision.Request{
		Caller: caller, Principal: principal,
		Phase: decision.Phase(in.Phase), Session: in.SessionId, Depth: int64(in.PlanDepth), Purpose: in.Purpose,
		Tool: toolRef(in.Tool), Ticket: in.TicketId, Supports: in.SupportedObligations,
		Destination: decision.Destination{Host: in.Destination.GetHost(), Vendor: in.Destination.GetVendor(), Region: in.Destination.GetRegion()},
		Cost:        decision.Cost{Calls: max(1, in.Cost.GetCalls()), Tokens: in.Cost.GetTokens(), Micros: in.Cost.GetMicros(), Currency: in.Cost.GetCurrency()},
		Trace:       decision.Trace{Parent: in.Trace.GetTraceparent(), State: in.Trace.GetTracestate()},
	}
	for _, c := range in.Candidates {
		req.Candidates = append(req.Candidates, toolRef(c))
	}
	if d := in.Destination; req.Destination != (decision.Destination{}) || d.GetUrl() != "" {
		req.Connection = egress.Connect(egress.StatedConnection{URL: d.Url, Scheme: d.Scheme, Host: d.Host, Port: uint16(d.Port), Method: d.Method,
			Addresses: d.Addresses, RedirectedFrom: d.RedirectedFrom})
		req.Destination.Host = cmp.Or(d.Host, req.Connection.To.Host)
	}
	req.ID = uuid.FromStringOrNil(in.RequestId) // its form was validated
	req.CallID = uuid.FromStringOrNil(in.CallDecisionId)
	if err := readDocuments(req, in); err != nil {
		return nil, err
	}
	req.Digest, err = requestDigest(in, caller, principal)
	if err != nil {
		return nil, internal(s.log, "hashing a request", err)
	}
	return req, nil
}

// serverOf is the one tool server that a request is about; empty: none, or several.
func serverOf(in *writv1.DecideRequest) string {
	switch in.Phase {
	case writv1.Phase_PHASE_CALL, writv1.Phase_PHASE_RESULT:
		return in.Tool.GetServer()
	case writv1.Phase_PHASE_LIST:
		server := ""
		for i, c := range in.Candidates {
			if i > 0 && c.GetServer() != server {
				return ""
			}
			server = c.GetServer()
		}
		return server
	}
	return ""
}

// validate holds a message to the rules in its proto file.
func (s *Server) validate(in proto.Message) error {
	if s.quick.Keeps(in) {
		return nil
	}
	if err := s.bounds.check(in); err != nil {
		return err
	}
	err := s.rules.Validate(in)
	if err == nil {
		return nil
	}
	var invalid *protovalidate.ValidationError
	if !errors.As(err, &invalid) {
		return internal(s.log, "validating a request", err)
	}
	return invalidFields(invalid)
}

func toolRef(t *writv1.Tool) decision.ToolRef {
	return decision.ToolRef{ToolName: decision.ToolName{Server: t.GetServer(), Name: t.GetName()}, Digest: t.GetDefinitionDigest()}
}

// readDocuments parses every JSON document of a request.
func readDocuments(req *decision.Request, in *writv1.DecideRequest) error {
	object := func(field string, data []byte, into **document.Document) error {
		d, err := document.ParseObject(data)
		if err != nil {
			return fail(errJSON, fmt.Sprintf("%s: %v", field, err))
		}
		*into = d
		return nil
	}
	if req.Phase == decision.Call || req.Phase == decision.Result {
		if err := object("arguments", in.Arguments, &req.Arguments); err != nil {
			return err
		}
	} else if len(in.Arguments) > 0 {
		return fail(errField, "arguments: only a CALL and a RESULT have any")
	}
	if len(in.Context) > 0 {
		if err := object("context", in.Context, &req.Context); err != nil {
			return err
		}
	}
	if in.Resource != nil {
		req.Resource = decision.Resource{Type: in.Resource.Type, ID: in.Resource.Id}
		if err := object("resource.properties", in.Resource.Properties, &req.Resource.Properties); err != nil {
			return err
		}
	}
	if in.Content == nil {
		return nil
	}
	req.Content = decision.Content{Digest: sha256.Sum256(in.Content.Data), Size: len(in.Content.Data)}
	d, err := readContent(in.Content)
	if err != nil {
		return fail(errJSON, fmt.Sprintf("content.data: %v", err))
	}
	if req.Content.Document = d; d == nil {
		req.Content.Text = string(in.Content.Data)
	}
	return nil
}

func readContent(c *writv1.Content) (*document.Document, error) {
	if c.MediaType == "text/plain" {
		return nil, document.CheckText(c.Data)
	}
	return document.Parse(c.Data)
}

// requestDigest covers all that an answer depends on: the message, but for the
// token's bytes, its proof's and the trace, and who sent it for whom and for which
// tenant. So a retry may bring a fresh token of the same agent, and nobody else can
// fetch the answer.
func requestDigest(in *writv1.DecideRequest, caller decision.Caller, p decision.Principal) ([32]byte, error) {
	// It shares what it holds with the request, which others may read, and a
	// test finds the field that is missing here.
	bare := &writv1.DecideRequest{
		RequestId: in.RequestId, Phase: in.Phase, SessionId: in.SessionId, Purpose: in.Purpose, Tool: in.Tool,
		Arguments: in.Arguments, Resource: in.Resource, Destination: in.Destination, TicketId: in.TicketId, Cost: in.Cost,
		Content: in.Content, CallDecisionId: in.CallDecisionId, Context: in.Context,
		SupportedObligations: in.SupportedObligations, Candidates: in.Candidates, PlanDepth: in.PlanDepth, ReturnDocuments: in.ReturnDocuments,
	}
	bare.ProtoReflect().SetUnknown(in.ProtoReflect().GetUnknown())
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(bare)
	if err != nil {
		return [32]byte{}, err
	}
	return digest(data, append([]string{caller.Tenant, caller.SPIFFEID, p.Issuer, p.Subject, p.OnBehalfOf}, p.Actors...)...), nil
}

// digest hashes a message and parts, each after its length, so that no two lists
// of them hash alike.
func digest(message []byte, parts ...string) [32]byte {
	h := sha256.New()
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(message)))
	h.Write(size[:])
	h.Write(message)
	rest := make([]byte, 0, 512) // on the stack, and most fit
	for _, part := range parts {
		rest = binary.BigEndian.AppendUint64(rest, uint64(len(part)))
		rest = append(rest, part...)
	}
	h.Write(rest)
	return [32]byte(h.Sum(nil))
}

func identityError(err error) error {
	var refused *identity.Error
	if errors.As(err, &refused) {
		return failWith(refused.Reason, refused.Code, refused.Problem)
	}
	return fail(errTokenInvalid, "the principal token cannot be verified")
}
