package audit

import (
	"crypto/sha256"

	"github.com/gofrs/uuid/v5"

	"github.com/writpdp/writ/document"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// requestFacts is what a record keeps of a request: digests in the place of
// arguments, contents, resource ids and tokens.
func requestFacts(req *decision.Request) *writv1.DecisionEvent {
	event := &writv1.DecisionEvent{
		Principal: principalFacts(&req.Principal),
		Phase:     writv1.Phase(req.Phase),
		SessionId: req.Session, Purpose: req.Purpose,
		ArgumentsDigest: documentDigest(req.Arguments),
		ResourceType:    req.Resource.Type,
		TicketId:        req.Ticket, Cost: cost(req.Cost),
		SupportedObligations: req.Supports,
	}
	if req.Tool != (decision.ToolRef{}) {
		event.Tool = tool(req.Tool)
	}
	for _, candidate := range req.Candidates {
		event.Candidates = append(event.Candidates, tool(candidate))
	}
	if req.Content.Document != nil || req.Content.Size > 0 {
		event.ContentDigest = req.Content.Digest[:]
	}
	if req.Resource.Type != "" {
		digest := sha256.Sum256([]byte(req.Resource.ID))
		event.ResourceIdDigest = digest[:]
	}
	if d := req.Destination; d != (decision.Destination{}) {
		event.Destination = &writv1.Destination{Host: d.Host, Vendor: d.Vendor, Region: d.Region}
	}
	if req.CallID != [16]byte{} {
		event.CallDecisionId = uuid.UUID(req.CallID).String()
	}
	if t := req.Trace; t != (decision.Trace{}) {
		event.Trace = &writv1.TraceContext{Traceparent: t.Parent, Tracestate: t.State}
	}
	return event
}

func principalFacts(p *decision.Principal) *writv1.PrincipalFacts {
	return &writv1.PrincipalFacts{
		Subject: p.Subject, Issuer: p.Issuer, OnBehalfOf: p.OnBehalfOf, Actors: p.Actors,
		TokenDigest: p.Token[:], Purposes: p.Purposes, Tools: p.Tools, TokenExpiresAt: stamp(p.Expires),
	}
}

func tool(t decision.ToolRef) *writv1.Tool {
	return &writv1.Tool{Server: t.Server, Name: t.Name, DefinitionDigest: t.Digest}
}

func cost(c decision.Cost) *writv1.Cost {
	return &writv1.Cost{Calls: c.Calls, Tokens: c.Tokens, Micros: c.Micros, Currency: c.Currency}
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
		all[i] = writv1.Finding{Stage: f.Stage, Verdict: verdict(f.Verdict), Reasons: reasons(nil, f)}
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

// reasons appends those of a finding.
func reasons(all []*writv1.Reason, f *decision.Finding) []*writv1.Reason {
	for i := range f.Reasons {
		if len(all) == maxReasons {
			break
		}
		r := &f.Reasons[i]
		all = append(all, &writv1.Reason{Stage: f.Stage, Code: r.Code, Text: r.Text, PolicyId: r.Policy, Lift: r.Lift})
	}
	return all
}
