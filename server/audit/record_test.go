package audit

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/writpdp/writ/document"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

var update = flag.Bool("update", false, "rewrite the golden records")

func decided(t *testing.T, n int, d *decision.Decision) (Entry, *writv1.DecideResponse) {
	t.Helper()
	e, response, err := Decided(idOf(n), request(t, n), snapshot(), d)
	if err != nil {
		t.Fatal(err)
	}
	return e, response
}

// TestGolden holds the format fast: every log that exists is read by it.
func TestGolden(t *testing.T) {
	call, _ := decided(t, 1, allow(request(t, 1), 1))
	denial, _ := decided(t, 2, deny("policy.forbid"))
	for name, e := range map[string]Entry{"decision": call, "denial": denial, "settlement": settle(t, 1, call), "change": change(t, 2), "facts": factual(t)} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", name+".json")
			got := dump(t, e.Body)
			if *update {
				if err := os.WriteFile(path, got, 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Fatalf("the record's format changed (-want +got):\n%s", diff)
			}
			var stored struct{ Body string }
			if err := json.Unmarshal(want, &stored); err != nil {
				t.Fatal(err)
			}
			body, err := hex.DecodeString(stored.Body)
			if err != nil {
				t.Fatal(err)
			}
			row, err := RowOf(body)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(e.Row, row); diff != "" {
				t.Errorf("row (-committed +read back):\n%s", diff)
			}
		})
	}
}

// dump is a record as bytes and as sorted JSON.
func dump(t *testing.T, body []byte) []byte {
	t.Helper()
	m := &writv1.Record{}
	if err := proto.Unmarshal(body, m); err != nil {
		t.Fatal(err)
	}
	data, err := protojson.Marshal(m) // its spaces are random, on purpose
	if err != nil {
		t.Fatal(err)
	}
	var record any
	if err := json.Unmarshal(data, &record); err != nil {
		t.Fatal(err)
	}
	out, err := json.MarshalIndent(map[string]any{"body": hex.EncodeToString(body), "record": record}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}

func TestNoPayloadInRecord(t *testing.T) {
	req := request(t, 1)
	req.Arguments = parsed(t, `{"path":"planted-argument"}`)
	req.Resource.ID = "planted-resource"
	req.Content = decision.Content{Document: parsed(t, `"planted-content"`), Digest: [32]byte{1}, Size: 17}
	req.Context = parsed(t, `{"x":"planted-context"}`)
	e, _, err := Decided(idOf(1), req, snapshot(), allow(req, 1))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(e.Body), "planted") {
		t.Error("the record holds a payload")
	}
}

func TestColumns(t *testing.T) {
	req := request(t, 1)
	e, response := decided(t, 1, allow(req, 1))
	want := Row{
		Tenant: "tenant-1", ID: idOf(1), Kind: Decision, Key: uuidText(req.ID), Digest: req.Digest,
		At: noon.Truncate(time.Microsecond), Caller: "spiffe://example.org/gateway", Principal: "agent-1",
		Session: "session-1", Purpose: "support", Phase: decision.Call, Server: "filesystem", Tool: "write_file",
		Outcome: decision.Redacted, Ticket: "CHG-1", Bundle: snapshot().Bundle.Digest, Body: e.Body, Leaf: e.Leaf,
	}
	if diff := cmp.Diff(want, e.Row); diff != "" {
		t.Errorf("decision (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(allow(req, 1).Effects(), e.Effects); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
	s := settle(t, 1, e)
	want = Row{
		Tenant: "tenant-1", ID: idOf(2_000_001), Kind: Settlement, Key: response.DecisionId, Digest: s.Digest,
		At: noon.Add(time.Second).Truncate(time.Microsecond), Caller: "spiffe://example.org/gateway", Body: s.Body, Leaf: s.Leaf,
	}
	if diff := cmp.Diff(want, s.Row); diff != "" {
		t.Errorf("settlement (-want +got):\n%s", diff)
	}
	if got, want := s.Effects, []decision.Effect{decision.Charge{Key: lifetime, Amount: -50, Cap: 1 << 40}}; !cmp.Equal(got, want) {
		t.Errorf("settlement's effects are %v, want %v", got, want)
	}
}

// The commit that the bundle came from is in the answer and in the record, and
// records that were made before bundles had one are read as ever (TestGolden).
func TestBundleCommit(t *testing.T) {
	for _, commit := range []string{"", strings.Repeat("a", 40), "sha256:" + strings.Repeat("b", 64)} {
		snap := snapshot()
		snap.Bundle.Commit = commit
		entry, answer, err := Decided(idOf(1), request(t, 1), snap, allow(request(t, 1), 1))
		if err != nil {
			t.Fatal(err)
		}
		recorded, err := Respond(entry.Body)
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]string{answer.BundleCommit, recorded.BundleCommit}; got != [2]string{commit, commit} {
			t.Errorf("answered and recorded %q, want %q", got, commit)
		}
	}
}

func TestObligations(t *testing.T) {
	edits := []document.Edit{{Pointer: "/a"}, {Pointer: "/b/0", Method: document.Removed}}
	pbEdits := []*writv1.Edit{{Pointer: "/a", Method: writv1.Method_METHOD_MASK}, {Pointer: "/b/0", Method: writv1.Method_METHOD_REMOVE}}
	for _, c := range []struct {
		duty   decision.Duty
		want   *writv1.Obligation
		effect writv1.Effect
	}{
		{decision.Redact{Edits: edits}, &writv1.Obligation{Params: &writv1.Obligation_Redact{
			Redact: &writv1.Redact{Target: writv1.Target_TARGET_ARGUMENTS, Edits: pbEdits}}}, writv1.Effect_EFFECT_REDACT},
		{decision.Redact{Content: true, Edits: edits}, &writv1.Obligation{Params: &writv1.Obligation_Redact{
			Redact: &writv1.Redact{Target: writv1.Target_TARGET_CONTENT, Edits: pbEdits}}}, writv1.Effect_EFFECT_REDACT},
		{decision.Route{Vendor: "v", Region: "eu", Host: "h"}, &writv1.Obligation{Params: &writv1.Obligation_Route{
			Route: &writv1.Route{Vendor: "v", Region: "eu", Host: "h"}}}, writv1.Effect_EFFECT_ROUTE},
		{decision.FilterTools{Keep: []int{0, 3, 500}}, &writv1.Obligation{Params: &writv1.Obligation_FilterTools{
			FilterTools: &writv1.FilterTools{Keep: []uint32{0, 3, 500}}}}, writv1.Effect_EFFECT_ALLOW},
		{decision.LimitOutput{MaxBytes: 7}, &writv1.Obligation{Params: &writv1.Obligation_LimitOutput{
			LimitOutput: &writv1.LimitOutput{MaxBytes: 7}}}, writv1.Effect_EFFECT_ALLOW},
		{decision.Notify{To: "oncall", Body: "text"}, &writv1.Obligation{Params: &writv1.Obligation_Notify{
			Notify: &writv1.Notify{To: "oncall", Body: "text"}}}, writv1.Effect_EFFECT_ALLOW},
		{decision.StepUp{ACRValue: "phr"}, &writv1.Obligation{Params: &writv1.Obligation_StepUp{
			StepUp: &writv1.StepUp{AcrValue: "phr"}}}, writv1.Effect_EFFECT_ALLOW},
		{decision.Watermark{Text: "m"}, &writv1.Obligation{Params: &writv1.Obligation_Watermark{
			Watermark: &writv1.Watermark{Text: "m"}}}, writv1.Effect_EFFECT_ALLOW},
	} {
		t.Run(fmt.Sprintf("%T", c.duty), func(t *testing.T) {
			c.want.Id, c.want.Type, c.want.PolicyId = c.duty.Type()+"-1", c.duty.Type(), "p"
			e, response := decided(t, 1, &decision.Decision{Findings: []decision.Finding{{
				Stage: "policy", Verdict: decision.Permit, Obligations: []decision.Obligation{{Policy: "p", Duty: c.duty}}}}})
			if response.Effect != c.effect {
				t.Errorf("effect is %v, want %v", response.Effect, c.effect)
			}
			if diff := cmp.Diff([]*writv1.Obligation{c.want}, response.Obligations, protocmp.Transform()); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			replay, err := Respond(e.Body)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(response, replay, protocmp.Transform()); diff != "" {
				t.Errorf("replay (-first +replay):\n%s", diff)
			}
		})
	}
}

type strangeDuty struct{}

func (strangeDuty) Type() string { return "strange" }

func TestDecidedRefuses(t *testing.T) {
	permit := func(f decision.Finding) *decision.Decision {
		f.Stage, f.Verdict = "policy", decision.Permit
		return &decision.Decision{Findings: []decision.Finding{f}}
	}
	for name, c := range map[string]struct {
		d      *decision.Decision
		change func(*decision.Request)
		want   string
	}{
		"unknown obligation": {d: permit(decision.Finding{Obligations: []decision.Obligation{{Duty: strangeDuty{}}}}), want: "unknown type"},
		"negative index":     {d: permit(decision.Finding{Obligations: []decision.Obligation{{Duty: decision.FilterTools{Keep: []int{-1}}}}}), want: "out of range"},
		"foreign token":      {d: permit(decision.Finding{Effects: []decision.Effect{decision.Consume{Token: [32]byte{9}}}}), want: "not the principal's"},
		"negative cap":       {d: permit(decision.Finding{Effects: []decision.Effect{decision.Charge{Key: lifetime, Cap: -1}}}), want: "cap is negative"},
		"too many effects":   {d: permit(decision.Finding{Effects: make([]decision.Effect, 300)}), want: "effect"},
		"no tenant":          {change: func(r *decision.Request) { r.Caller.Tenant = "" }, want: "tenant"},
		"no request id":      {change: func(r *decision.Request) { r.ID = [16]byte{} }, want: "request_id"},
		"NUL":                {change: func(r *decision.Request) { r.Principal.Subject = "a\x00" }, want: "NUL"},
		"invalid UTF-8":      {change: func(r *decision.Request) { r.Session = "\xff" }, want: "UTF-8"},
		"long subject":       {change: func(r *decision.Request) { r.Principal.Subject = strings.Repeat("a", 2049) }, want: "principal"},
		"huge":               {change: func(r *decision.Request) { r.Trace.State = strings.Repeat("a", MaxBody) }, want: "larger than"},
		"no phase":           {change: func(r *decision.Request) { r.Phase = 0 }, want: "phase"},
	} {
		t.Run(name, func(t *testing.T) {
			req := request(t, 1)
			if c.change != nil {
				c.change(req)
			}
			if c.d == nil {
				c.d = allow(req, 1)
			}
			_, _, err := Decided(idOf(1), req, snapshot(), c.d)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestDenial(t *testing.T) {
	req := request(t, 1)
	d := deny("policy.forbid")
	d.Findings[0].Effects = []decision.Effect{decision.Redeem{Ticket: "CHG-1"}}
	e, response := decided(t, 1, d)
	if len(e.Effects) != 0 {
		t.Errorf("a denial has effects: %v", e.Effects)
	}
	var codes []string
	for _, r := range response.Reasons {
		codes = append(codes, r.Stage+" "+r.Code)
	}
	if diff := cmp.Diff([]string{"policy policy.forbid", "purpose purpose.granted"}, codes); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
	digest := req.Arguments.Digest()
	want := &writv1.AccessRequest{
		Type: "ticket", Principal: "agent-1", Tool: "filesystem/write_file",
		DefinitionDigest: snapshot().Bundle.Tools[write].Digest, ArgumentsDigest: hex.EncodeToString(digest[:]),
		PolicyIds: []string{"no-writes"},
		Text:      `A change ticket for this agent, the tool "filesystem/write_file" and these arguments would lift the denial.`,
	}
	if diff := cmp.Diff(want, response.AccessRequest, protocmp.Transform()); diff != "" {
		t.Errorf("access request (-want +got):\n%s", diff)
	}
	if response.RetryAfter != nil {
		t.Errorf("retry_after is %v for a denial that waiting cannot lift", response.RetryAfter)
	}
}

func TestRetryAfter(t *testing.T) {
	for _, c := range []struct {
		resets time.Time
		want   *durationpb.Duration
	}{
		{noon.Add(1500 * time.Millisecond), &durationpb.Duration{Seconds: 2}},
		{noon.Add(2 * time.Second), &durationpb.Duration{Seconds: 2}},
		{noon.Add(time.Nanosecond), &durationpb.Duration{Seconds: 1}},
		{time.Time{}, nil},
	} {
		_, response := decided(t, 1, &decision.Decision{Findings: []decision.Finding{{Stage: "budget", Verdict: decision.Deny,
			Reasons: []decision.Reason{{Code: "budget.exhausted"}},
			Budgets: []decision.BudgetLine{{Budget: "b", Unit: decision.Calls, Reserved: 3, Remaining: 1, Exhausted: true, Resets: c.resets}}}}})
		if diff := cmp.Diff(c.want, response.RetryAfter, protocmp.Transform()); diff != "" {
			t.Errorf("window until %v (-want +got):\n%s", c.resets, diff)
		}
		if line := response.Budgets[0]; line.Reserved != 0 || line.Remaining != 4 || !line.Exhausted {
			t.Errorf("a denial's budget line is %v", line)
		}
	}
}

func TestReasonsAreBounded(t *testing.T) {
	d := deny("policy.forbid")
	for range 2000 {
		d.Findings[1].Reasons = append(d.Findings[1].Reasons, decision.Reason{Code: "policy.forbid", Policy: "p", Lift: "x", Requestable: true})
	}
	_, response := decided(t, 1, d)
	if got := len(response.Reasons); got != maxReasons {
		t.Errorf("%d reasons, want %d", got, maxReasons)
	}
	if got := len(response.AccessRequest.PolicyIds); got != maxItems {
		t.Errorf("%d policies, want %d", got, maxItems)
	}
}

func TestRecall(t *testing.T) {
	req := request(t, 1)
	call, _ := decided(t, 1, allow(req, 1))
	denial, _ := decided(t, 2, deny("policy.forbid"))
	settled := settle(t, 1, call)

	facts, err := CallFactsOf(call.Row)
	want := decision.CallFacts{Allowed: true, Caller: req.Caller.SPIFFEID, Principal: "agent-1", Session: "session-1",
		Purpose: "support", Tool: write, ArgumentsDigest: req.Arguments.Digest(), Ticket: "CHG-1", MaxOutput: 4096, Token: req.Principal.Token}
	if diff := cmp.Diff(want, facts); err != nil || diff != "" {
		t.Errorf("facts of a call: %v (-want +got):\n%s", err, diff)
	}
	if facts, err := CallFactsOf(denial.Row); err != nil || facts.Allowed || facts.Ticket != "" {
		t.Errorf("facts of a denied call: %+v, %v", facts, err)
	}
	if _, err := CallFactsOf(settled.Row); !errors.Is(err, ErrNotFound) {
		t.Errorf("facts of a settlement: %v", err)
	}

	reserved, err := Reservations(call.Body)
	if err != nil {
		t.Fatal(err)
	}
	lines := allow(req, 1).Budgets()
	lines[0].Resets = lines[0].Resets.UTC()
	if diff := cmp.Diff(Reserved{Caller: req.Caller, Allowed: true, Reservations: []decision.Reservation{
		{Line: lines[0], Charge: decision.Charge{Key: hourly(1), Amount: 1, Cap: lines[0].Cap}}, {Line: lines[1], Charge: decision.Charge{Key: lifetime, Amount: 200, Cap: lines[1].Cap}},
	}}, reserved); diff != "" {
		t.Errorf("reservations (-want +got):\n%s", diff)
	}
	if reserved, err := Reservations(denial.Body); err != nil || reserved.Allowed || len(reserved.Reservations) > 0 {
		t.Errorf("reservations of a denial: %+v, %v", reserved, err)
	}

	found, err := FindingsOf(call.Body)
	if err != nil || len(found) != 9 || found[6].Verdict != writv1.Verdict_VERDICT_PERMIT || found[6].Reasons[0].PolicyId != "support-writes" {
		t.Errorf("findings are %v, %v", found, err)
	}

	response, err := RespondSettled(settled.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.SettlementId != uuidText(settled.ID) || len(response.Budgets) != 2 || response.Budgets[1].Reserved != 150 {
		t.Errorf("settlement's answer is %v", response)
	}
	_, err1 := RespondSettled(call.Body)
	_, err2 := Respond(settled.Body)
	_, err3 := Reservations(settled.Body)
	_, err4 := FindingsOf(settled.Body)
	for _, err := range []error{err1, err2, err3, err4} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("a record of the other kind: %v", err)
		}
	}
	receipt := ReceiptOf(&call.Row, origin, Receipt{Size: 7})
	if diff := cmp.Diff(&writv1.Receipt{RecordId: uuidText(call.ID), LeafHash: call.Leaf[:], LogOrigin: origin, LogSize: 7},
		receipt, protocmp.Transform()); diff != "" {
		t.Errorf("receipt (-want +got):\n%s", diff)
	}
}

func TestSettledRefuses(t *testing.T) {
	call, response := decided(t, 1, allow(request(t, 1), 1))
	caller := request(t, 1).Caller
	for name, c := range map[string]struct {
		decision string
		reports  int
		s        decision.Settlement
		want     string
	}{
		"broken decision id":  {decision: "x", want: "decision_id"},
		"too many reports":    {decision: response.DecisionId, reports: maxItems + 1, want: "obligations"},
		"too many budgets":    {decision: response.DecisionId, s: decision.Settlement{Budgets: make([]decision.BudgetLine, maxItems+1)}, want: "budgets"},
		"a token is consumed": {decision: response.DecisionId, s: decision.Settlement{Effects: []decision.Effect{decision.Consume{}}}, want: "not the principal's"},
		"a ticket is used":    {decision: response.DecisionId, s: decision.Settlement{Effects: []decision.Effect{decision.Redeem{Ticket: "t"}}}, want: "other than a charge"},
		"long subject": {decision: response.DecisionId, s: decision.Settlement{Effects: []decision.Effect{
			decision.Charge{Key: decision.BudgetKey{Budget: "b", Subject: strings.Repeat("s", 5000)}}}}, want: "charge.subject"},
	} {
		t.Run(name, func(t *testing.T) {
			reports := make([]*writv1.ObligationReport, c.reports)
			_, _, err := Settled(idOf(2), caller, noon, c.decision, call.Digest, writv1.Outcome_OUTCOME_FAILED, decision.Cost{}, reports, c.s)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want one with %q", err, c.want)
			}
		})
	}
}
