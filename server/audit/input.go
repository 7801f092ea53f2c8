package audit

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/writpdp/writ/document"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// maxInput bounds the documents of a record together, in bytes.
const maxInput = 16 << 10

// disclose is the method of a content.Disclosure.
type disclose func(d *document.Document, never []string, room int) (text []byte, withheld []string, ok bool)

// recordDocuments enters what a record keeps of a request's documents.
func recordDocuments(in *writv1.DecisionEvent, req *decision.Request, bundle *decision.Bundle, d *decision.Decision) {
	in.Disclosure = writv1.Disclosure_DISCLOSURE_ALLOWED
	in.ContentSize, in.ContentJson = int64(req.Content.Size), req.Content.Document != nil
	room, fits := maxInput, true
	keep := func(doc *document.Document, what disclose, never []string) *writv1.RecordedDocument {
		text, withheld, ok := what(doc, never, room)
		fits = fits && ok
		room -= len(text)
		for _, pointer := range withheld {
			room -= len(pointer)
		}
		return &writv1.RecordedDocument{Json: string(text), Withheld: withheld}
	}
	if req.Phase == decision.Call && req.Arguments != nil {
		what := nothing
		if tool := bundle.Tools[req.Tool.ToolName]; tool != nil {
			what = tool.Record.Of
		}
		never, known := redacted(d)
		if !known {
			what = nothing
		}
		in.Arguments = keep(req.Arguments, what, never)
	}
	if req.Context != nil {
		in.Context = keep(req.Context, bundle.RecordContext.Of, nil)
	}
	if req.Resource.Type != "" && req.Resource.Properties != nil {
		in.Properties = keep(req.Resource.Properties, bundle.RecordResources[req.Resource.Type].Of, nil)
	}
	if !fits {
		in.Disclosure = writv1.Disclosure_DISCLOSURE_OVERSIZE
		for _, one := range []*writv1.RecordedDocument{in.Arguments, in.Context, in.Properties} {
			if one != nil {
				one.Json, one.Withheld = "", []string{""}
			}
		}
	}
}

func nothing(*document.Document, []string, int) ([]byte, []string, bool) {
	return nil, []string{""}, true
}

// redacted are the pointers into the arguments that redacting policies matched or
// detectors found something at, whatever became of the decision, in the order of their bytes. known is false
// where it could not be found out what these match.
func redacted(d *decision.Decision) (never []string, known bool) {
	known = true
	if found := d.Inspection(); found != nil { // in the arguments: it is a call
		known = !found.Cut
		for _, f := range found.Findings {
			never = append(never, f.Pointer)
		}
	}
	for i := range d.Findings {
		f := &d.Findings[i]
		found := false
		for _, o := range f.Obligations {
			if redact, ok := o.Duty.(decision.Redact); ok {
				found = true
				for _, e := range redact.Edits {
					never = append(never, e.Pointer)
				}
			}
		}
		known = known && (found || !unasked(f))
	}
	slices.Sort(never)
	return never, known
}

// unasked reports whether a finding says that a redaction is impossible, or that
// the request could not be put to the policies at all.
func unasked(f *decision.Finding) bool {
	return slices.ContainsFunc(f.Reasons, func(r decision.Reason) bool {
		switch r.Code {
		case "policy.action", "policy.resource", "policy.context":
			return true
		}
		return strings.HasPrefix(r.Code, "redact.")
	})
}

// snapshotFacts is what a record keeps of the store's facts; nil: nothing that
// is not said elsewhere.
func snapshotFacts(req *decision.Request, snap *decision.Snapshot, d *decision.Decision, denied bool) *writv1.SnapshotFacts {
	var facts *writv1.SnapshotFacts // most decisions have none
	room := maxInput
	some := func() *writv1.SnapshotFacts {
		if facts == nil {
			facts = &writv1.SnapshotFacts{}
		}
		return facts
	}
	if snap.TokenUsed {
		some().TokenUsed = true
	}
	if snap.Ticket != nil {
		some().Ticket = ticketFacts(snap.Ticket)
	}
	if call := snap.Call; call != nil && req.Phase == decision.Result {
		some().Call = &writv1.CallFacts{Allowed: call.Allowed, Fits: call.Fits(req), SameToken: call.Token == req.Principal.Token}
	}
	if c := snap.Control; c != nil && (c.Version > 0 || c.Stale) {
		controlSnapshot(some(), snap, d)
	}
	for i := range d.Findings {
		f := &d.Findings[i]
		for _, r := range f.Redactions {
			for _, word := range slices.Concat(r.Fields, r.Detectors, r.Labels) {
				room -= len(word)
			}
			if room < 0 || len(some().Redactions) == maxItems {
				some().RedactionsCut = true
				break
			}
			some().Redactions = append(some().Redactions, &writv1.RedactionFacts{PolicyId: r.Policy, Fields: r.Fields, Remove: r.Method == document.Removed,
				Method: methodFacts(r.Method), Detectors: r.Detectors, Labels: r.Labels, Edits: uint32(r.Edits)})
		}
		if !denied {
			continue
		}
		for _, o := range f.Obligations {
			if duty, ok := o.Duty.(decision.Redact); ok {
				some().Redact = redact(duty)
			}
		}
		for _, line := range f.Budgets {
			if line.Key.Budget != "" {
				some().Counters = append(some().Counters, counterFacts(line.Key, line.Used))
			}
		}
	}
	return facts
}

func counterFacts(key decision.BudgetKey, used int64) *writv1.CounterFacts {
	c := &writv1.CounterFacts{Budget: key.Budget, Subject: key.Subject, Used: used}
	if key.Start != 0 {
		c.WindowStart = &timestamppb.Timestamp{Seconds: key.Start}
	}
	return c
}

// checkInput refuses what recordDocuments and snapshotFacts cannot have written, as
// far as no document need be read for it.
func checkInput(in *writv1.DecisionEvent, denied bool) error {
	facts, size := in.Facts, 0
	for _, one := range []*writv1.RecordedDocument{in.Arguments, in.Context, in.Properties} {
		if one == nil {
			continue
		}
		size += len(one.Json)
		for _, pointer := range one.Withheld {
			size += len(pointer)
		}
		if (len(one.Json) == 0) != (len(one.Withheld) == 1 && one.Withheld[0] == "") {
			return errors.New("a recorded document is empty and not withheld, or withheld and not empty")
		}
	}
	switch {
	case in.Disclosure < writv1.Disclosure_DISCLOSURE_UNSPECIFIED || in.Disclosure > writv1.Disclosure_DISCLOSURE_OVERSIZE:
		return errors.New("disclosure is unknown")
	case size > maxInput:
		return fmt.Errorf("the recorded documents are larger than %d bytes", maxInput)
	case in.ContentSize < 0:
		return errors.New("content_size is negative")
	case len(facts.GetCounters()) > maxItems || len(facts.GetRedactions()) > maxItems:
		return fmt.Errorf("more than %d counters or redactions", maxItems)
	case !denied && (len(facts.GetCounters()) > 0 || facts.GetRedact() != nil):
		return errors.New("an allowed decision has facts of a denial")
	}
	for _, r := range facts.GetRedactions() {
		if r.GetMethod() < 0 || r.GetMethod() > writv1.Method_METHOD_GENERALISE || r.GetEdits() > document.MaxEdits {
			return errors.New("a redaction's method is unknown, or its edits are too many")
		}
	}
	for _, c := range facts.GetCounters() {
		if _, err := keyOf(c.GetBudget(), c.GetSubject(), c.GetWindowStart()); err != nil {
			return fmt.Errorf("counters: %w", err)
		}
		if c.GetUsed() < 0 {
			return errors.New("counters: a use is negative")
		}
	}
	if _, err := adjustmentsOf(facts.GetAdjustments()); err != nil {
		return err
	}
	if t := facts.GetTicket(); t != nil && (t.NotBefore.CheckValid() != nil || t.NotAfter.CheckValid() != nil) {
		return errors.New("a ticket's time is absent or malformed")
	}
	return nil
}

// keyOf is the counter of a charge or a counter's facts.
func keyOf(budget, subject string, start *timestamppb.Timestamp) (decision.BudgetKey, error) {
	key := decision.BudgetKey{Budget: budget, Subject: subject}
	if err := errors.Join(text("budget", budget, 1, 128), text("subject", subject, 0, 4096)); err != nil {
		return key, err
	}
	if start != nil {
		if start.CheckValid() != nil || start.Nanos != 0 || start.Seconds == 0 {
			return key, errors.New("window_start is malformed")
		}
		key.Start = start.Seconds
	}
	return key, nil
}
