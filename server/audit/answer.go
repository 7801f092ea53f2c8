package audit

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/gofrs/uuid/v5"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/writpdp/writ/document"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// answer is the response to a request, without receipt. It is built from the
// decision alone, so that the record and the caller get the same; found are its
// findings.
func answer(id [16]byte, req *decision.Request, snap *decision.Snapshot, d *decision.Decision, found []*writv1.Finding) (*writv1.DecideResponse, error) {
	response := &writv1.DecideResponse{
		DecisionId: uuid.UUID(id).String(), RequestId: uuid.UUID(req.ID).String(),
		Effect:       writv1.Effect(d.Outcome()),
		Budgets:      budgetLines(d.Budgets()),
		BundleDigest: snap.Bundle.Digest,
		BundleCommit: snap.Bundle.Commit,
	}
	denied := response.Effect == writv1.Effect_EFFECT_DENY
	response.Reasons = grounds(found, denied)
	var err error
	if response.Obligations, err = obligations(d); err != nil {
		return nil, err
	}
	if !denied {
		return response, nil
	}
	if wait, ok := d.RetryAfter(snap.At); ok {
		seconds := int64((wait + time.Second - 1) / time.Second)
		response.RetryAfter = &durationpb.Duration{Seconds: max(0, seconds)}
	}
	if policies := d.Requestable(); len(policies) > 0 {
		response.AccessRequest = accessRequest(req, snap, policies)
	}
	return response, nil
}

// grounds are the reasons of all findings; of a denial, those that deny first.
func grounds(found []*writv1.Finding, denied bool) []*writv1.Reason {
	var all []*writv1.Reason
	for _, f := range found {
		if !denied || f.Verdict == writv1.Verdict_VERDICT_DENY {
			all = append(all, f.Reasons...)
		}
	}
	if denied {
		for _, f := range found {
			if f.Verdict != writv1.Verdict_VERDICT_DENY {
				all = append(all, f.Reasons...)
			}
		}
	}
	return all[:min(len(all), maxReasons)]
}

// accessRequest says what to have approved. The definition is the pinned one:
// a ticket for what the caller saw would cover a definition nobody accepted.
func accessRequest(req *decision.Request, snap *decision.Snapshot, policies []string) *writv1.AccessRequest {
	a := &writv1.AccessRequest{
		Type: "ticket", Principal: req.Principal.Subject, ArgumentsDigest: hex.EncodeToString(documentDigest(req.Arguments)),
		PolicyIds: policies[:min(len(policies), maxItems)],
		Text:      "A change ticket for this agent and this action would lift the denial.",
	}
	if name := req.Tool.ToolName; name != (decision.ToolName{}) {
		a.Tool = name.String()
		a.Text = fmt.Sprintf("A change ticket for this agent, the tool %q and these arguments would lift the denial.", a.Tool)
		if pinned := snap.Bundle.Tools[name]; pinned != nil {
			a.DefinitionDigest = pinned.Digest
		}
	}
	return a
}

func obligations(d *decision.Decision) ([]*writv1.Obligation, error) {
	var all []*writv1.Obligation
	for _, o := range d.Obligations() {
		duty, err := obligation(o)
		if err != nil {
			return nil, err
		}
		all = append(all, duty)
	}
	return all, nil
}

// obligation gives a duty its typed parameters. A duty that has none would be
// one that no caller could meet, so it is an error.
func obligation(o decision.Obligation) (*writv1.Obligation, error) {
	out := &writv1.Obligation{Id: o.ID, Type: o.Duty.Type(), PolicyId: o.Policy}
	switch duty := o.Duty.(type) {
	case decision.Redact:
		out.Params = &writv1.Obligation_Redact{Redact: redact(duty)}
	case decision.Route:
		out.Params = &writv1.Obligation_Route{Route: &writv1.Route{Vendor: duty.Vendor, Region: duty.Region, Host: duty.Host, Reason: duty.Why}}
	case decision.FilterTools:
		keep := make([]uint32, len(duty.Keep))
		for i, index := range duty.Keep {
			if index < 0 || index > math.MaxInt32 {
				return nil, fmt.Errorf("the index of a kept tool is out of range")
			}
			keep[i] = uint32(index)
		}
		out.Params = &writv1.Obligation_FilterTools{FilterTools: &writv1.FilterTools{Keep: keep}}
	case decision.LimitOutput:
		out.Params = &writv1.Obligation_LimitOutput{LimitOutput: &writv1.LimitOutput{MaxBytes: duty.MaxBytes}}
	case decision.Notify:
		out.Params = &writv1.Obligation_Notify{Notify: &writv1.Notify{To: duty.To, Body: duty.Body}}
	case decision.StepUp:
		out.Params = &writv1.Obligation_StepUp{StepUp: &writv1.StepUp{AcrValue: duty.ACRValue}}
	case decision.Watermark:
		out.Params = &writv1.Obligation_Watermark{Watermark: &writv1.Watermark{Text: duty.Text}}
	case decision.Delay:
		out.Params = &writv1.Obligation_Delay{Delay: &writv1.Delay{Millis: duty.For.Milliseconds()}}
	case decision.Pin:
		out.Params = &writv1.Obligation_Pin{Pin: &writv1.Pin{Host: duty.Host, Addresses: duty.Addresses, Refused: duty.Refused, Permitted: duty.Permitted}}
	default:
		return nil, fmt.Errorf("an obligation of the unknown type %q", out.Type)
	}
	return out, nil
}

func redact(r decision.Redact) *writv1.Redact {
	out := &writv1.Redact{Target: writv1.Target_TARGET_ARGUMENTS, Edits: make([]*writv1.Edit, len(r.Edits))}
	if r.Content {
		out.Target = writv1.Target_TARGET_CONTENT
	}
	for i, e := range r.Edits {
		out.Edits[i] = &writv1.Edit{Pointer: e.Pointer, Method: methodFacts(e.Method),
			Start: uint32(e.Start), End: uint32(e.End), Replacement: e.Replacement}
	}
	return out
}

// methodFacts is a method on the wire, where 0 is none.
func methodFacts(m document.Method) writv1.Method { return writv1.Method(m) + 1 }

// editsOf is the way back from redact; ok is false where one is not such as it
// writes.
func editsOf(in []*writv1.Edit) (edits []document.Edit, ok bool) {
	for _, e := range in {
		if e.GetMethod() < writv1.Method_METHOD_MASK || e.GetMethod() > writv1.Method_METHOD_GENERALISE {
			return nil, false
		}
		edits = append(edits, document.Edit{Pointer: e.GetPointer(), Method: document.Method(e.Method - 1),
			Start: int(e.GetStart()), End: int(e.GetEnd()), Replacement: e.GetReplacement()})
	}
	return edits, true
}

// Rewritten is what the redactions of an answer make of the documents of its request;
// nil of what they do not change.
func Rewritten(req *decision.Request, answer *writv1.DecideResponse) (arguments, content []byte, err error) {
	for _, o := range answer.Obligations {
		in := o.GetRedact()
		if in == nil {
			continue
		}
		edits, ok := editsOf(in.Edits)
		switch {
		case !ok:
			return nil, nil, errors.New("an edit by an unknown method")
		case in.Target == writv1.Target_TARGET_ARGUMENTS && req.Arguments != nil:
			arguments, err = rewritten(req.Arguments, edits)
		case in.Target == writv1.Target_TARGET_CONTENT && req.Content.Document != nil:
			content, err = rewritten(req.Content.Document, edits)
		case in.Target == writv1.Target_TARGET_CONTENT:
			var text string
			text, err = document.ApplyText(req.Content.Text, edits)
			content = []byte(text)
		default:
			err = errors.New("a redaction of what the request does not have")
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return arguments, content, nil
}

func rewritten(d *document.Document, edits []document.Edit) ([]byte, error) {
	out, err := d.Apply(edits)
	if err != nil {
		return nil, err
	}
	return out.Canonical(), nil
}
