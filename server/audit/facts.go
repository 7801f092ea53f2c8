package audit

import (
	"crypto/sha256"

	"github.com/gofrs/uuid/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/writpdp/writ/document"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// requestFacts is what a record keeps of a request: digests in the place of
// arguments, contents, resource ids and tokens.
func requestFacts(req *decision.Request) *writv1.DecisionEvent {
	m := &struct { // one allocation in the place of six
		event     writv1.DecisionEvent
		principal writv1.PrincipalFacts
		expires   timestamppb.Timestamp
		tool      writv1.Tool
		cost      writv1.Cost
		trace     writv1.TraceContext
	}{
		event: writv1.DecisionEvent{
			Phase:     writv1.Phase(req.Phase),
			PlanDepth: uint32(req.Depth),
			SessionId: req.Session, Purpose: req.Purpose,
			ArgumentsDigest:      documentDigest(req.Arguments),
			ResourceType:         req.Resource.Type,
			TicketId:             req.Ticket,
			SupportedObligations: req.Supports,
		},
		principal: writv1.PrincipalFacts{
			Subject: req.Principal.Subject, Issuer: req.Principal.Issuer, OnBehalfOf: req.Principal.OnBehalfOf,
			Actors: req.Principal.Actors, TokenDigest: req.Principal.Token[:], Purposes: req.Principal.Purposes, Tools: req.Principal.Tools,
		},
		trace: writv1.TraceContext{Traceparent: req.Trace.Parent, Tracestate: req.Trace.State},
	}
	event := &m.event
	event.Principal, event.Cost = &m.principal, cost(&m.cost, req.Cost)
	m.principal.TokenExpiresAt = stamp(&m.expires, req.Principal.Expires)
	if req.Tool != (decision.ToolRef{}) {
		event.Tool = tool(&m.tool, req.Tool)
	}
	for _, candidate := range req.Candidates {
		event.Candidates = append(event.Candidates, tool(&writv1.Tool{}, candidate))
	}
	if req.Content.Document != nil || req.Content.Size > 0 {
		event.ContentDigest = req.Content.Digest[:]
	}
	if req.Resource.Type != "" {
		digest := sha256.Sum256([]byte(req.Resource.ID))
		event.ResourceIdDigest = digest[:]
	}
	if d := req.Destination; d != (decision.Destination{}) {
		event.Destination = destinationFacts(req)
	}
	if req.CallID != [16]byte{} {
		event.CallDecisionId = uuid.UUID(req.CallID).String()
	}
	if req.Trace != (decision.Trace{}) {
		event.Trace = &m.trace
	}
	return event
}

// tool fills in an empty message, as do cost and stamp.
func tool(m *writv1.Tool, t decision.ToolRef) *writv1.Tool {
	m.Server, m.Name, m.DefinitionDigest = t.Server, t.Name, t.Digest
	return m
}

func principalFacts(p *decision.Principal) *writv1.PrincipalFacts {
	return &writv1.PrincipalFacts{
		Subject: p.Subject, Issuer: p.Issuer, OnBehalfOf: p.OnBehalfOf, Actors: p.Actors,
		TokenDigest: p.Token[:], Purposes: p.Purposes, Tools: p.Tools, TokenExpiresAt: stamp(&timestamppb.Timestamp{}, p.Expires),
	}
}

func cost(m *writv1.Cost, c decision.Cost) *writv1.Cost {
	m.Calls, m.Tokens, m.Micros, m.Currency = c.Calls, c.Tokens, c.Micros, c.Currency
	return m
}

func documentDigest(d *document.Document) []byte {
	if d == nil {
		return nil
	}
	digest := d.Digest()
	return digest[:]
}

func findings(d *decision.Decision) []*writv1.Finding {
	out, all := make([]*writv1.Finding, len(d.Findings)), make([]writv1.Finding, len(d.Findings))
	for i := range d.Findings {
		f := &d.Findings[i]
		all[i] = writv1.Finding{Stage: f.Stage, Verdict: verdict(f.Verdict), Reasons: reasons(f)}
		out[i] = &all[i]
	}
	return out
}

func verdict(v decision.Verdict) writv1.Verdict {
	switch v {
	case decision.Abstain:
		return writv1.Verdict_VERDICT_ABSTAIN
	case decision.Permit:
		return writv1.Verdict_VERDICT_PERMIT
	}
	return writv1.Verdict_VERDICT_DENY // as the core reads every other
}

// reasons are those of a finding, as many as a record has room for.
func reasons(f *decision.Finding) []*writv1.Reason {
	n := min(len(f.Reasons), maxReasons)
	if n == 0 {
		return nil
	}
	out, all := make([]*writv1.Reason, n), make([]writv1.Reason, n)
	for i := range all {
		r := &f.Reasons[i]
		all[i] = writv1.Reason{Stage: f.Stage, Code: r.Code, Text: r.Text, PolicyId: r.Policy, Lift: r.Lift}
		out[i] = &all[i]
	}
	return out
}
