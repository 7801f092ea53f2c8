package audit

import (
	"fmt"
	"math"
	"strings"

	"github.com/gofrs/uuid/v5"

	"github.com/writpdp/writ/document"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/content/detect"
	"github.com/writpdp/writ/server/content/result"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/egress"
)

// Question is a recorded decision in the form in which it can be made again.
type Question struct {
	Row
	// Request is the question as far as the record holds it: documents are
	// partial, and the resource has the digest of its id.
	Request *decision.Request
	// Facts are what the decision knew. Used holds the counters that it looked
	// at.
	Facts decision.Facts
	// Control has the locks that hit the request, and the changes of budgets that
	// counted it; nil: there never was any.
	Control *decision.Control
	// Checked is what the tool stage made of arguments that it checked against
	// the definition that Request.Tool pins; nil: it did not.
	Checked *decision.Finding
	// Inspected is what was found in what the request carries, without where; by
	// nobody: nothing was looked into.
	Inspected *detect.Inspection
	// Session is what it saw of its session, and Notes are what it made of it.
	Session Seen
	Notes   []decision.Note
	// Led are the URLs of the arguments, without where they stand.
	Led *egress.Facts
	// Looked is what was seen of a RESULT's content as a tool result; of no form:
	// nothing.
	Looked *result.Looked
	// Redacted tells the edits that a redacting policy's rule came to.
	Redacted func(*decision.RedactRule) (edits []document.Edit, known bool)
	// Reasons and Obligations are the answer's.
	Reasons     []*writv1.Reason
	Obligations []*writv1.Obligation
	// Ruled is what it tells of policies.
	Ruled Ruled
	// Lines are the answer's budgets, by id.
	Lines map[string]decision.BudgetLine
	// Charges and Redeemed are what it spent; none when it denied.
	Charges  []decision.Charge
	Redeemed string
	// Known is false for a record of before there were fields for all this: only
	// its columns mean something.
	Known bool
}

// QuestionOf reads a decision's body. call is the body of the decision on the
// call of a result, which holds the arguments; nil: it is not known. A
// settlement's body is ErrNotFound.
func QuestionOf(body, call []byte) (*Question, error) {
	r, err := decode(body)
	if err != nil {
		return nil, err
	}
	if r.decision == nil {
		return nil, fmt.Errorf("reading a decision: %w", ErrNotFound)
	}
	q := &Question{Row: r.Row, Reasons: r.decision.Response.Reasons, Obligations: r.decision.Response.Obligations,
		Known: r.decision.Disclosure != writv1.Disclosure_DISCLOSURE_UNSPECIFIED}
	q.Lines = linesOf(r.decision.Response.Budgets)
	for _, effect := range r.effects {
		switch e := effect.(type) {
		case decision.Charge:
			q.Charges = append(q.Charges, e)
		case decision.Redeem:
			q.Redeemed = e.Ticket
		case decision.Note:
			q.Notes = append(q.Notes, e)
		}
	}
	q.Request = requestOf(r)
	if !q.Known {
		return q, nil
	}
	if err := q.documents(r, call); err != nil {
		return nil, fmt.Errorf("reading a decision's documents: %w", err)
	}
	if err := q.facts(r); err != nil {
		return nil, fmt.Errorf("reading a decision's facts: %w", err)
	}
	q.Inspected, q.Session, q.Led, q.Looked = inspectionOf(r.decision), seenOf(r.decision.Session), ledOf(r.decision, call), lookedOf(r.decision)
	q.Redacted = redactedOf(r.decision)
	q.Checked, q.Ruled = checked(r.decision.Findings), ruled(r.decision, r.Row.Outcome == decision.Denied)
	return q, nil
}

// requestOf is the request without its documents.
func requestOf(r *record) *decision.Request {
	e, p := r.decision, r.decision.Principal
	req := &decision.Request{
		Digest: r.Digest, Caller: decision.Caller{SPIFFEID: r.Caller, Tenant: r.Tenant},
		Principal: principalOf(p),
		Phase:     r.Phase, Session: r.Session, Depth: int64(e.PlanDepth), Purpose: r.Purpose, Tool: toolOf(e.Tool), Ticket: r.Ticket,
		Destination: decision.Destination{Host: e.Destination.GetHost(), Vendor: e.Destination.GetVendor(), Region: e.Destination.GetRegion()},
		Cost:        decision.Cost{Calls: e.Cost.GetCalls(), Tokens: e.Cost.GetTokens(), Micros: e.Cost.GetMicros(), Currency: e.Cost.GetCurrency()},
		Supports:    e.SupportedObligations,
		Trace:       decision.Trace{Parent: e.Trace.GetTraceparent(), State: e.Trace.GetTracestate()},
	}
	req.Connection = connectionOf(e)
	req.ID = uuid.FromStringOrNil(r.Key)
	req.CallID = uuid.FromStringOrNil(e.CallDecisionId)
	for _, c := range e.Candidates {
		req.Candidates = append(req.Candidates, toolOf(c))
	}
	return req
}

// principalOf is the way back from principalFacts; the digest's length was
// checked.
func principalOf(p *writv1.PrincipalFacts) decision.Principal {
	return decision.Principal{Subject: p.Subject, Issuer: p.Issuer, OnBehalfOf: p.OnBehalfOf, Actors: p.Actors,
		Purposes: p.Purposes, Tools: p.Tools, Token: [32]byte(p.TokenDigest), Expires: p.TokenExpiresAt.AsTime()}
}

func toolOf(t *writv1.Tool) decision.ToolRef {
	return decision.ToolRef{ToolName: decision.ToolName{Server: t.GetServer(), Name: t.GetName()}, Digest: t.GetDefinitionDigest()}
}

func (q *Question) documents(r *record, call []byte) (err error) {
	e, req := r.decision, q.Request
	of := func(d *writv1.RecordedDocument, digest document.Digest, found map[string][]string) (*document.Document, error) {
		if d == nil {
			d = &writv1.RecordedDocument{Withheld: []string{""}}
		}
		return document.Partial([]byte(d.Json), d.Withheld, digest, found)
	}
	found := looked(e)
	if len(e.ArgumentsDigest) > 0 {
		arguments := e.Arguments
		if q.Phase == decision.Result {
			arguments = callArguments(call, e.ArgumentsDigest)
		}
		into := found
		if q.Phase != decision.Call {
			into = nil // it is the content that was looked at
		}
		if req.Arguments, err = of(arguments, document.Digest(e.ArgumentsDigest), into); err != nil {
			return fmt.Errorf("arguments: %w", err)
		}
	}
	if e.Context != nil {
		if req.Context, err = of(e.Context, document.Digest{}, nil); err != nil {
			return fmt.Errorf("context: %w", err)
		}
	}
	if e.ResourceType != "" {
		req.Resource.Type = e.ResourceType
		copy(req.Resource.Digest[:], e.ResourceIdDigest)
		if req.Resource.Properties, err = of(e.Properties, document.Digest{}, nil); err != nil {
			return fmt.Errorf("properties: %w", err)
		}
	}
	if e.ContentSize > math.MaxInt32 {
		return fmt.Errorf("content_size is out of range")
	}
	req.Content.Size = int(e.ContentSize)
	copy(req.Content.Digest[:], e.ContentDigest)
	if e.ContentJson {
		req.Content.Document, err = of(nil, document.Digest(req.Content.Digest), found)
	}
	return err
}

// callArguments are those that the record of a result's call keeps, if they are
// the result's; nil: they are not known.
func callArguments(call, digest []byte) *writv1.RecordedDocument {
	return callEvent(call, digest).GetArguments()
}

// callEvent is the decision on a result's call, if its arguments are the result's;
// nil: it is not known.
func callEvent(call, digest []byte) *writv1.DecisionEvent {
	if call == nil {
		return nil
	}
	r, err := decode(call)
	if err != nil || r.decision == nil || string(r.decision.ArgumentsDigest) != string(digest) {
		return nil
	}
	return r.decision
}

// redactionOf is the redaction of a decision, whether it was allowed or not; nil:
// there is none.
func redactionOf(e *writv1.DecisionEvent) []*writv1.Edit {
	edits := e.Facts.GetRedact().GetEdits()
	for _, o := range e.Response.Obligations {
		if redact := o.GetRedact(); redact != nil {
			edits = redact.Edits
		}
	}
	return edits
}

// redactedOf are the edits of each rule that a record tells of.
func redactedOf(e *writv1.DecisionEvent) func(*decision.RedactRule) ([]document.Edit, bool) {
	edits, ok := editsOf(redactionOf(e))
	var rules []decision.RedactRule
	for _, r := range e.Facts.GetRedactions() {
		rules = append(rules, decision.RedactRule{Policy: r.PolicyId, Fields: r.Fields, Detectors: r.Detectors, Labels: r.Labels,
			Method: document.Method(r.Method - 1), Edits: int(r.Edits)})
		ok = ok && r.Method != writv1.Method_METHOD_UNSPECIFIED
	}
	at := make([]int, len(rules)+1)
	for i := range rules {
		at[i+1] = at[i] + rules[i].Edits
	}
	ok = ok && at[len(rules)] == len(edits) && !e.Facts.GetRedactionsCut() && !refusedRedaction(e)
	return func(want *decision.RedactRule) ([]document.Edit, bool) {
		for i := range rules {
			if ok && rules[i].Same(want) {
				return edits[at[i]:at[i+1]], true
			}
		}
		return nil, false
	}
}

// looked is what the patterns of redacting policies are known to match.
func looked(e *writv1.DecisionEvent) map[string][]string {
	if len(e.Facts.GetRedactions()) == 0 || refusedRedaction(e) {
		return nil
	}
	edits := redactionOf(e)
	found := map[string][]string{}
	for _, r := range e.Facts.Redactions {
		if len(r.Detectors)+len(r.Labels) > 0 {
			continue // of its fields, those alone in which something is found have edits
		}
		for _, field := range r.Fields {
			pointers := []string{}
			for _, edit := range edits {
				if document.Matches(field, edit.Pointer) {
					pointers = append(pointers, edit.Pointer)
				}
			}
			found[field] = unique(pointers)
		}
	}
	return found
}

// unique leaves out repetitions, of which there can be one for each policy.
func unique(pointers []string) []string {
	seen := make(map[string]bool, len(pointers))
	out := pointers[:0]
	for _, p := range pointers {
		if !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}
	return out
}

func refusedRedaction(e *writv1.DecisionEvent) bool {
	for _, f := range e.Findings {
		for _, reason := range f.Reasons {
			if strings.HasPrefix(reason.Code, "redact.") {
				return true
			}
		}
	}
	return false
}

func (q *Question) facts(r *record) error {
	in := r.decision.Facts
	f := &q.Facts
	f.TokenUsed = in.GetTokenUsed()
	if t := in.GetTicket(); t != nil {
		ticket := knownTicket(t)
		f.Ticket = &ticket
	}
	if err := q.control(in); err != nil {
		return err
	}
	if call := in.GetCall(); call != nil {
		f.Call = &decision.CallFacts{Allowed: call.Allowed, MaxOutput: r.decision.Result.GetMaxOutput()}
		if req := q.Request; call.Fits && req.Arguments != nil {
			f.Call.Caller, f.Call.Principal, f.Call.Session = req.Caller.SPIFFEID, req.Principal.Subject, req.Session
			f.Call.Purpose, f.Call.Tool, f.Call.ArgumentsDigest = req.Purpose, req.Tool.ToolName, req.Arguments.Digest()
		}
		if call.SameToken {
			f.Call.Token = q.Request.Principal.Token
		}
		if f.Ticket != nil {
			f.Call.Ticket = f.Ticket.ID
		}
	}
	f.Used = map[decision.BudgetKey]int64{}
	for _, c := range in.GetCounters() {
		key, err := keyOf(c.Budget, c.Subject, c.WindowStart)
		if err != nil {
			return err
		}
		f.Used[key] = c.Used
	}
	for _, c := range q.Charges { // and what they held before

		line, ok := q.Lines[c.Key.Rule()]
		if !ok {
			return fmt.Errorf("a charge without a line of its budget")
		}
		f.Used[c.Key] = line.Cap - line.Remaining - line.Reserved
	}
	return nil
}

// checked is what the tool stage made of arguments; nil: it did not come to them.
func checked(findings []*writv1.Finding) *decision.Finding {
	for _, in := range findings {
		if in.Stage != "tool" {
			continue
		}
		f := &decision.Finding{Stage: "tool", Verdict: decision.Abstain}
		for _, reason := range in.Reasons {
			if reason.Code != "tool.arguments" {
				return nil
			}
			f.Verdict = decision.Deny
			f.Reasons = append(f.Reasons, decision.Reason{Code: reason.Code, Text: reason.Text, Lift: reason.Lift})
		}
		return f
	}
	return nil
}

// Actual is a recorded report on what an allowed action cost.
type Actual struct {
	Row
	// Decision is the decision that allowed it.
	Decision [16]byte
	Cost     decision.Cost
	// Control has the changes of the budgets that it settled.
	Control *decision.Control
	// Charges are what it changed, and Lines the budgets after it, by budget.
	Charges []decision.Charge
	Lines   map[string]decision.BudgetLine
}

// ActualOf reads a settlement's body. A decision's is ErrNotFound.
func ActualOf(body []byte) (*Actual, error) {
	r, err := decode(body)
	if err != nil {
		return nil, err
	}
	if r.settlement == nil {
		return nil, fmt.Errorf("reading a settlement: %w", ErrNotFound)
	}
	id, err := identify(r.settlement.DecisionId)
	if err != nil {
		return nil, fmt.Errorf("reading a settlement: decision_id %w", err)
	}
	actual := r.settlement.Actual
	out := &Actual{Row: r.Row, Decision: id, Lines: linesOf(r.settlement.Response.Budgets),
		Cost: decision.Cost{Calls: actual.GetCalls(), Tokens: actual.GetTokens(), Micros: actual.GetMicros(), Currency: actual.GetCurrency()}}
	for _, effect := range r.effects {
		if charge, ok := effect.(decision.Charge); ok {
			out.Charges = append(out.Charges, charge)
		}
	}
	out.Control = &decision.Control{Version: r.settlement.LockVersion}
	out.Control.Adjustments, err = adjustmentsOf(r.settlement.Adjustments)
	return out, err
}

func linesOf(in []*writv1.BudgetLine) map[string]decision.BudgetLine {
	lines := make(map[string]decision.BudgetLine, len(in))
	for _, line := range in {
		lines[line.Budget] = budgetLine(line)
	}
	return lines
}

// ObligationOf is an obligation on the wire, with its typed parameters.
func ObligationOf(o decision.Obligation) (*writv1.Obligation, error) { return obligation(o) }

// CallOf is the decision that a result's record names. A body of anything else is
// ErrNotFound.
func CallOf(body []byte) ([16]byte, error) {
	r, err := decode(body)
	if err != nil {
		return [16]byte{}, err
	}
	if r.decision == nil || r.Phase != decision.Result {
		return [16]byte{}, fmt.Errorf("reading a result: %w", ErrNotFound)
	}
	return uuid.FromStringOrNil(r.decision.CallDecisionId), nil
}

// control is what hit the request, or changed its budgets, when it was decided.
func (q *Question) control(in *writv1.SnapshotFacts) (err error) {
	if in.GetLockVersion() == 0 && !in.GetLocksStale() {
		return nil
	}
	q.Control = &decision.Control{Version: in.LockVersion, Stale: in.LocksStale}
	if q.Control.Locks, err = locksOf(in.Locks); err == nil {
		q.Control.Adjustments, err = adjustmentsOf(in.Adjustments)
	}
	return err
}
