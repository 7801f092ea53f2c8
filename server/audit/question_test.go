package audit

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/writpdp/writ/document"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/content"
	"github.com/writpdp/writ/server/decision"
)

// Records of before there were fields for documents and facts are read as ever,
// and say of these that nothing is known.
func TestRecordsOfBefore(t *testing.T) {
	for _, name := range []string{"decision", "denial", "settlement"} {
		data, err := os.ReadFile(filepath.Join("testdata", "before", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var stored struct{ Body string }
		if err := json.Unmarshal(data, &stored); err != nil {
			t.Fatal(err)
		}
		body, err := hex.DecodeString(stored.Body)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := RowOf(body); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		q, err := QuestionOf(body, nil)
		if name == "settlement" {
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("a settlement as a question: %v", err)
			}
			if a, err := ActualOf(body); err != nil || a.Cost.Tokens != 150 || len(a.Charges) != 1 {
				t.Errorf("settlement: %+v, %v", a, err)
			}
			continue
		}
		if err != nil || q.Known || q.Request.Purpose != "support" || q.Request.Arguments != nil {
			t.Errorf("%s: %+v, %v", name, q, err)
		}
	}
}

// disclosing is the fixture's snapshot with a tool whose schema lists some texts.
func disclosing(t testing.TB, record ...string) *decision.Snapshot {
	t.Helper()
	input, err := content.Compile(parsed(t, `{"properties":{"path":{"type":"string"},"mode":{"enum":["r","w"]},"n":{"type":"integer"},"data":{"properties":{"text":{}}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	s := snapshot()
	tool := *s.Bundle.Tools[write]
	tool.Input = input
	if tool.Record, err = input.Disclosure(record); err != nil {
		t.Fatal(err)
	}
	s.Bundle.Tools = map[decision.ToolName]*decision.Tool{write: &tool}
	if s.Bundle.RecordContext, err = content.NewDisclosure(map[string]bool{"hot": true, "word": true}, nil); err != nil {
		t.Fatal(err)
	}
	return s
}

// factual is a denied result of which the record holds every field of facts.
func factual(t testing.TB) Entry {
	t.Helper()
	snap := disclosing(t, "/path")
	snap.TokenUsed = true
	snap.Ticket = &decision.Ticket{ID: "CHG-3", Principal: "agent-1", Tool: write, ToolDigest: "d", ArgumentsDigest: "a",
		NotBefore: noon, NotAfter: noon.Add(time.Hour), MaxUses: 3, Uses: 2, Approvers: []string{"lead"}, Version: 4, State: decision.TicketRevoked, Scope: "true", Resource: decision.TicketResource{Type: "Database", ID: "orders"},
		Bundle: "b", Requester: "agent-1", Parties: []string{"ann"}, Needs: 1, Roles: []string{"dba"}}
	req := request(t, 3)
	req.Phase, req.CallID = decision.Result, idOf(7)
	req.Context = parsed(t, `{"hot":true,"word":"secret","foreign":1}`)
	req.Resource.Properties = parsed(t, `{"hot":true}`)
	req.Content = decision.Content{Document: parsed(t, `{"card":"secret"}`), Digest: [32]byte{1}, Size: 17}
	snap.Call = &decision.CallFacts{Allowed: true, Token: req.Principal.Token}
	d := deny("policy.forbid")
	d.Findings[1].Redactions = []decision.RedactRule{{Policy: "mask", Fields: []string{"/card", "/phone"}}}
	d.Findings[1].Obligations = []decision.Obligation{{Policy: "mask", Duty: decision.Redact{Content: true, Edits: []document.Edit{{Pointer: "/card"}}}}}
	d.Findings = append(d.Findings, decision.Finding{Stage: "budget", Verdict: decision.Abstain, Budgets: []decision.BudgetLine{
		{Budget: "calls-per-hour", Key: hourly(3), Used: 12, Unit: decision.Calls, Reserved: 1, Remaining: 7, Cap: 20}}})
	e, _, err := Decided(idOf(3), req, snap, d)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// What a denial's record holds comes back: the counters as they were, and what
// the patterns of redacting policies found, for these patterns alone.
func TestFactsOfADenial(t *testing.T) {
	q, err := QuestionOf(factual(t).Body, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[decision.BudgetKey]int64{hourly(3): 12}, q.Facts.Used); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
	for pattern, want := range map[string][]string{"/card": {"/card"}, "/phone": {}} {
		if got, err := q.Request.Content.Document.Expand(pattern); err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: got %q, %v", pattern, got, err)
		}
	}
	if _, err := q.Request.Content.Document.Expand("/other"); !errors.Is(err, document.ErrWithheld) {
		t.Errorf("another pattern: %v", err)
	}
	if call := q.Facts.Call; call == nil || !call.Allowed || call.Fits(q.Request) || call.Ticket != "CHG-3" || call.Token != q.Request.Principal.Token {
		t.Errorf("call %+v", call)
	}
	if matched, known := q.Ruled.Of(map[string]decision.PolicyKind{"mask": decision.Redacts})("mask"); !matched || !known {
		t.Error("that the redacting policy matched is not known")
	}
	for kind, want := range map[decision.PolicyKind]bool{decision.Forbids: true, decision.Permits: false, decision.Obliges: false, decision.Routes: false} {
		if _, known := q.Ruled.Of(map[string]decision.PolicyKind{"other": kind})("other"); known != want {
			t.Errorf("whether another policy of the kind %d matched is known: %t", kind, known)
		}
	}
}

// A question read back holds what may stand in a record and names the rest.
func TestQuestion(t *testing.T) {
	snap := disclosing(t, "/path")
	req := request(t, 1)
	req.Arguments = parsed(t, `{"path":"/tmp/a","mode":"r","n":7,"data":{"text":"secret"},"other":true}`)
	req.Context = parsed(t, `{"hot":true,"word":"secret","foreign":1}`)
	ticket := decision.Ticket{ID: "CHG-1", Version: 2, State: decision.TicketApproved, Scope: "true", Resource: decision.TicketResource{Type: "Database", ID: "orders"}, Needs: 1, Principal: "agent-1", Tool: write, NotBefore: noon.UTC().Truncate(time.Microsecond), NotAfter: noon.Add(time.Hour).UTC().Truncate(time.Microsecond), MaxUses: 3, Uses: 2, Approvers: []string{"lead"}}
	snap.Ticket, snap.TokenUsed = &ticket, true
	d := allow(req, 1)
	d.Findings[2].Stage = "tool"
	d.Findings[2].Reasons = nil
	e, _, err := Decided(idOf(1), req, snap, d)
	if err != nil {
		t.Fatal(err)
	}
	q, err := QuestionOf(e.Body, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/data/text", "/*"}, q.Request.Arguments.Withheld()); diff != "" {
		t.Errorf("withheld (-want +got):\n%s", diff)
	}
	want := map[string]any{"path": "/tmp/a", "mode": "r", "n": json.Number("7"), "data": map[string]any{"text": document.Withheld{}}, document.Others: document.Withheld{}}
	if diff := cmp.Diff(any(want), q.Request.Arguments.Value()); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
	if q.Request.Arguments.Digest() != req.Arguments.Digest() {
		t.Error("the arguments have another digest")
	}
	if diff := cmp.Diff([]string{"/word", "/*"}, q.Request.Context.Withheld()); diff != "" {
		t.Errorf("withheld of the context (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(decision.Facts{TokenUsed: true, Ticket: &ticket, Used: map[decision.BudgetKey]int64{hourly(1): 99_000, lifetime: 1<<40 - 1_000_200}}, q.Facts); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
	if q.Checked == nil || q.Checked.Verdict != decision.Abstain || !q.Known || q.Redeemed != "CHG-1" || q.Request.Resource.Digest == [32]byte{} {
		t.Errorf("got %+v", q)
	}
	if strings.Contains(string(e.Body), "secret") || strings.Contains(string(e.Body), "foreign") {
		t.Error("the record holds what it withholds")
	}
}

// What a redacting policy matched is withheld although the bundle names it, and a
// text of which part was matched is withheld whole.
func TestRedactedIsWithheld(t *testing.T) {
	for _, pointer := range []string{"/path", "/path/0/card", "/n"} {
		req := request(t, 1)
		req.Arguments = parsed(t, `{"path":"[{\"card\":1}]","n":12345}`)
		d := allow(req, 1)
		d.Findings[3].Obligations[0].Duty = decision.Redact{Edits: []document.Edit{{Pointer: pointer}}}
		e, _, err := Decided(idOf(1), req, disclosing(t, "/path"), d)
		if err != nil {
			t.Fatal(err)
		}
		q, err := QuestionOf(e.Body, nil)
		if err != nil {
			t.Fatal(err)
		}
		at := "/" + strings.Split(pointer, "/")[1]
		if diff := cmp.Diff([]string{at}, q.Request.Arguments.Withheld()); diff != "" {
			t.Errorf("%s: withheld (-want +got):\n%s", pointer, diff)
		}
	}
}

// A record's documents are bounded together; beyond it nothing of them is kept.
func TestOversize(t *testing.T) {
	req := request(t, 1)
	req.Arguments = parsed(t, `{"n":7}`)
	req.Context = parsed(t, `{"hot":[`+strings.Repeat("1234567,", 4000)+`1]}`)
	e, _, err := Decided(idOf(1), req, disclosing(t), allow(req, 1))
	if err != nil {
		t.Fatal(err)
	}
	q, err := QuestionOf(e.Body, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []*document.Document{q.Request.Arguments, q.Request.Context} {
		if diff := cmp.Diff([]string{""}, d.Withheld()); diff != "" {
			t.Errorf("withheld (-want +got):\n%s", diff)
		}
	}
	if len(e.Body) > 4000 {
		t.Errorf("the record has %d bytes", len(e.Body))
	}
}

// A body with input or facts that Decided cannot have written is refused.
func TestInputIsStrict(t *testing.T) {
	e, _, err := Decided(idOf(1), request(t, 1), disclosing(t), allow(request(t, 1), 1))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*writv1.DecisionEvent)
		want   string
	}{
		"an unknown disclosure": {func(d *writv1.DecisionEvent) { d.Disclosure = 7 }, "disclosure is unknown"},
		"too much": {func(d *writv1.DecisionEvent) {
			d.Arguments = &writv1.RecordedDocument{Json: strings.Repeat("1", maxInput+1)}
		}, "larger than"},
		"many pointers": {func(d *writv1.DecisionEvent) {
			d.Context = &writv1.RecordedDocument{Json: "{}", Withheld: []string{strings.Repeat("/a", maxInput)}}
		}, "larger than"},
		"nothing and nothing withheld": {func(d *writv1.DecisionEvent) { d.Properties = &writv1.RecordedDocument{} }, "empty and not withheld"},
		"something, all withheld": {func(d *writv1.DecisionEvent) {
			d.Properties = &writv1.RecordedDocument{Json: "{}", Withheld: []string{""}}
		}, "empty and not withheld"},
		"a negative size": {func(d *writv1.DecisionEvent) { d.ContentSize = -1 }, "content_size"},
		"counters of an allow": {func(d *writv1.DecisionEvent) {
			d.Facts = &writv1.SnapshotFacts{Counters: []*writv1.CounterFacts{{Budget: "b"}}}
		}, "facts of a denial"},
		"redaction of an allow": {func(d *writv1.DecisionEvent) { d.Facts = &writv1.SnapshotFacts{Redact: &writv1.Redact{}} }, "facts of a denial"},
		"many redactions": {func(d *writv1.DecisionEvent) {
			d.Facts = &writv1.SnapshotFacts{Redactions: make([]*writv1.RedactionFacts, maxItems+1)}
			for i := range d.Facts.Redactions {
				d.Facts.Redactions[i] = &writv1.RedactionFacts{}
			}
		}, "redactions"},
		"a ticket of no time": {func(d *writv1.DecisionEvent) { d.Facts = &writv1.SnapshotFacts{Ticket: &writv1.TicketFacts{Id: "T"}} }, "ticket's time"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, e.Body, c.change, c.want) })
	}
	denial, _, err := Decided(idOf(1), request(t, 1), disclosing(t), deny("policy.forbid"))
	if err != nil {
		t.Fatal(err)
	}
	for name, counter := range map[string]*writv1.CounterFacts{
		"no budget": {}, "a negative use": {Budget: "b", Used: -1}, "a window within a second": {Budget: "b", WindowStart: &timestamppb.Timestamp{Seconds: 1, Nanos: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, denial.Body, func(d *writv1.DecisionEvent) {
				d.Facts = &writv1.SnapshotFacts{Counters: []*writv1.CounterFacts{counter}}
			}, "counters")
		})
	}
}

func refused(t *testing.T, body []byte, change func(*writv1.DecisionEvent), want string) {
	t.Helper()
	var m writv1.Record
	if err := proto.Unmarshal(body, &m); err != nil {
		t.Fatal(err)
	}
	change(m.GetDecision())
	changed, err := proto.Marshal(&m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := RowOf(changed); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want an error with %q", err, want)
	}
}

// Documents that no record can have are errors of reading the question.
func TestBrokenDocuments(t *testing.T) {
	e, _, err := Decided(idOf(1), request(t, 1), disclosing(t), allow(request(t, 1), 1))
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]*writv1.RecordedDocument{
		"no JSON":               {Json: "{"},
		"a pointer to nothing":  {Json: "{}", Withheld: []string{"/a"}},
		"a pointer to a value":  {Json: `{"a":1}`, Withheld: []string{"/a"}},
		"a broken pointer":      {Json: `{"a":1}`, Withheld: []string{"a"}},
		"duplicate keys":        {Json: `{"a":1,"a":1}`},
		"a part and everything": {Json: `{"a":"[redacted]"}`, Withheld: []string{"/a", ""}},
	} {
		var m writv1.Record
		if err := proto.Unmarshal(e.Body, &m); err != nil {
			t.Fatal(err)
		}
		m.GetDecision().Arguments = d
		body, err := proto.Marshal(&m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := QuestionOf(body, nil); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
