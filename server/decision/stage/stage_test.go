package stage_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/content"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/decision/stage"
)

var (
	now  = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	read = decision.ToolName{Server: "files", Name: "read"}
)

// rules answers every query with one ruling and remembers the last one.
type rules struct {
	ruling decision.Ruling
	judge  func(decision.Query) decision.Ruling
	asked  decision.Query
	within decision.Verdict // what is said of every scope
}

func (r *rules) Within(_ string, q decision.Query) (decision.Verdict, []string) {
	if r.asked = q; r.within == decision.Undetermined {
		return r.within, []string{"arguments /path"}
	}
	return r.within, nil
}

func (*rules) CheckScope(string, decision.ToolName) error { return nil }

func (r *rules) Judge(q decision.Query) decision.Ruling {
	r.asked = q
	if r.judge != nil {
		return r.judge(q)
	}
	return r.ruling
}

func (*rules) Explain(decision.Query) decision.Explanation { return decision.Explanation{} }

func object(t testing.TB, data string) *document.Document {
	t.Helper()
	d, err := document.ParseObject([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// snapshot is a bundle with one tool, one purpose and two vendors.
func snapshot(t testing.TB, policies decision.Policies) *decision.Snapshot {
	t.Helper()
	input, err := content.Compile(object(t, `{"properties":{"path":{"type":"string"}},"required":["path"]}`))
	if err != nil {
		t.Fatal(err)
	}
	return &decision.Snapshot{At: now, Bundle: &decision.Bundle{
		Tools:    map[decision.ToolName]*decision.Tool{read: {ToolName: read, Digest: "d1", Input: input}},
		Purposes: map[string]*decision.Purpose{"support": {ID: "support", Tools: []decision.ToolPattern{{Server: "files", Name: "*"}}, Vendors: []string{"ai"}}},
		Vendors: map[string]*decision.Vendor{
			"ai":   {ID: "ai", Endpoints: []decision.Endpoint{{Region: "us", Host: "us.ai"}, {Region: "eu", Host: "eu.ai"}, {Region: "eu", Host: "eu2.ai"}}},
			"mail": {ID: "mail", Endpoints: []decision.Endpoint{{Region: "eu", Host: "mail"}}}},
		Hosts:    map[string]string{"us.ai": "ai", "eu.ai": "ai", "eu2.ai": "ai", "mail": "mail"},
		Policies: policies,
	}}
}

// call is a request that every stage but policy lets pass.
func call(t testing.TB) *decision.Request {
	t.Helper()
	return &decision.Request{
		Phase: decision.Call, Purpose: "support", Caller: decision.Caller{SPIFFEID: "spiffe://gateway", Tenant: "acme"},
		Principal: decision.Principal{Subject: "agent", OnBehalfOf: "human", Actors: []string{"planner"}, Purposes: []string{"support"}, Token: [32]byte{1}, Expires: now.Add(time.Minute)},
		Tool:      decision.ToolRef{ToolName: read, Digest: "d1"}, Arguments: object(t, `{"path":"/a"}`), Session: "run", Cost: decision.Cost{Calls: 1},
	}
}

// codes are a finding's verdict and the codes of its reasons, each with * when a
// ticket lifts it.
func codes(f decision.Finding) string {
	out := []string{map[decision.Verdict]string{decision.Deny: "deny", decision.Abstain: "abstain", decision.Permit: "permit"}[f.Verdict]}
	for _, r := range f.Reasons {
		code := strings.TrimSpace(r.Code + " " + r.Policy)
		if r.Requestable {
			code += " *"
		}
		out = append(out, code)
	}
	return strings.Join(out, ", ")
}

// judged fails unless a finding is what is wanted and says in sentences why.
func judged(t *testing.T, f decision.Finding, want string) {
	t.Helper()
	if got := codes(f); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, r := range f.Reasons {
		if !strings.HasSuffix(r.Text, ".") || len(r.Text) > 2048 || (f.Verdict == decision.Deny) != (r.Lift != "") || r.Lift != "" && !strings.HasSuffix(r.Lift, ".") {
			t.Errorf("%s: %q, %q", r.Code, r.Text, r.Lift)
		}
	}
}

func TestToken(t *testing.T) {
	snap, req := snapshot(t, nil), call(t)
	f := stage.Token(req, snap, nil)
	judged(t, f, "abstain")
	if diff := cmp.Diff([]decision.Effect{decision.Consume{Token: req.Principal.Token, Expires: req.Principal.Expires}}, f.Effects); diff != "" {
		t.Error(diff)
	}
	snap.TokenUsed = true
	f = stage.Token(req, snap, nil)
	judged(t, f, "deny, token.replayed")
	if f.Effects != nil {
		t.Error("a replayed token is used up again")
	}
}

func TestPurpose(t *testing.T) {
	tests := []struct {
		name   string
		change func(*decision.Request)
		want   string
	}{
		{"granted", func(*decision.Request) {}, "abstain"},
		{"no tool", func(r *decision.Request) { r.Tool = decision.ToolRef{} }, "abstain"},
		{"not carried", func(r *decision.Request) { r.Principal.Purposes = []string{"billing"} }, "deny, purpose.not_carried"},
		{"no purposes", func(r *decision.Request) { r.Principal.Purposes = nil }, "deny, purpose.not_carried"},
		{"a wildcard is a name", func(r *decision.Request) { r.Principal.Purposes = []string{"*"} }, "deny, purpose.not_carried"},
		{"unknown", func(r *decision.Request) { r.Purpose, r.Principal.Purposes = "other", []string{"other"} }, "deny, purpose.unknown"},
		{"another server", func(r *decision.Request) { r.Tool.Server = "stripe" }, "deny, purpose.tool"},
		{"a server called *", func(r *decision.Request) { r.Tool.Server = "*" }, "deny, purpose.tool"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			req := call(t)
			test.change(req)
			judged(t, stage.Purpose(req, snapshot(t, nil), nil), test.want)
		})
	}
}

func TestTool(t *testing.T) {
	tests := []struct {
		name   string
		change func(*decision.Request)
		want   string
	}{
		{"as pinned", func(*decision.Request) {}, "abstain"},
		{"no tool", func(r *decision.Request) { r.Tool = decision.ToolRef{} }, "abstain"},
		{"unknown", func(r *decision.Request) { r.Tool.Name = "write" }, "deny, tool.unknown"},
		{"unpinned", func(r *decision.Request) { r.Tool.Digest = "" }, "deny, tool.unpinned"},
		{"drift", func(r *decision.Request) { r.Tool.Digest = "d2" }, "deny, tool.drift"},
		{"no arguments in a list", func(r *decision.Request) { r.Phase, r.Arguments = decision.List, nil }, "abstain"},
		{"no arguments in a prompt", func(r *decision.Request) { r.Phase, r.Arguments = decision.Prompt, nil }, "abstain"},
		{"no arguments in a call", func(r *decision.Request) { r.Arguments = nil }, "deny, tool.arguments"},
		{"no arguments in a result", func(r *decision.Request) { r.Phase, r.Arguments = decision.Result, nil }, "deny, tool.arguments"},
		{"wrong arguments", func(r *decision.Request) { r.Arguments = object(t, `{"path":1}`) }, "deny, tool.arguments"},
		{"wrong arguments twice", func(r *decision.Request) { r.Arguments = object(t, `{"mode":1}`) }, "deny, tool.arguments, tool.arguments"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			req := call(t)
			test.change(req)
			judged(t, stage.Tool(req, snapshot(t, nil), nil), test.want)
		})
	}
}

func TestCall(t *testing.T) {
	facts := func() *decision.CallFacts {
		return &decision.CallFacts{Allowed: true, Caller: "spiffe://gateway", Principal: "agent", Session: "run", Purpose: "support", Tool: read,
			ArgumentsDigest: object(t, `{"path":"/a"}`).Digest()}
	}
	tests := []struct {
		name   string
		change func(*decision.Request, *decision.Snapshot)
		want   string
		ticket bool
	}{
		{"as called", func(*decision.Request, *decision.Snapshot) {}, "abstain", false},
		{"no result", func(r *decision.Request, s *decision.Snapshot) { r.Phase, s.Call = decision.Call, nil }, "abstain", false},
		{"unknown", func(_ *decision.Request, s *decision.Snapshot) { s.Call = nil }, "deny, call.unknown", false},
		{"denied", func(_ *decision.Request, s *decision.Snapshot) { s.Call.Allowed = false }, "deny, call.denied", false},
		{"another caller", func(_ *decision.Request, s *decision.Snapshot) { s.Call.Caller = "x" }, "deny, call.mismatch", false},
		{"another agent", func(_ *decision.Request, s *decision.Snapshot) { s.Call.Principal = "x" }, "deny, call.mismatch", false},
		{"another session", func(_ *decision.Request, s *decision.Snapshot) { s.Call.Session = "" }, "deny, call.mismatch", false},
		{"another purpose", func(_ *decision.Request, s *decision.Snapshot) { s.Call.Purpose = "x" }, "deny, call.mismatch", false},
		{"another tool", func(_ *decision.Request, s *decision.Snapshot) { s.Call.Tool.Name = "x" }, "deny, call.mismatch", false},
		{"other arguments", func(r *decision.Request, _ *decision.Snapshot) { r.Arguments = object(t, `{}`) }, "deny, call.mismatch", false},
		{"no arguments", func(r *decision.Request, _ *decision.Snapshot) { r.Arguments = nil }, "deny, call.mismatch", false},
		{"arguments in another order", func(r *decision.Request, _ *decision.Snapshot) { r.Arguments = object(t, ` {"path" : "\/a"}`) }, "abstain", false},
		{"its ticket", func(_ *decision.Request, s *decision.Snapshot) {
			s.Call.Ticket, s.Ticket = "T", &decision.Ticket{ID: "T"}
		}, "abstain", true},
		{"its ticket, revoked since", func(_ *decision.Request, s *decision.Snapshot) {
			s.Call.Ticket, s.Ticket = "T", &decision.Ticket{ID: "T", State: decision.TicketRevoked, Uses: 9}
		}, "abstain", true},
		{"its ticket is gone", func(_ *decision.Request, s *decision.Snapshot) { s.Call.Ticket = "T" }, "abstain", false},
		{"another ticket", func(_ *decision.Request, s *decision.Snapshot) {
			s.Call.Ticket, s.Ticket = "T", &decision.Ticket{ID: "U"}
		}, "abstain", false},
		{"a ticket that the call had not", func(_ *decision.Request, s *decision.Snapshot) { s.Ticket = &decision.Ticket{} }, "abstain", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			req, snap := call(t), snapshot(t, nil)
			req.Phase, snap.Call = decision.Result, facts()
			test.change(req, snap)
			f := stage.Call(req, snap, nil)
			judged(t, f, test.want)
			if (f.Ticket != nil) != test.ticket || f.Effects != nil {
				t.Errorf("got the ticket %v and the effects %v", f.Ticket, f.Effects)
			}
		})
	}
}

func TestComply(t *testing.T) {
	d := &decision.Decision{Findings: []decision.Finding{{Verdict: decision.Permit,
		Obligations: []decision.Obligation{{Duty: decision.Redact{}}, {Duty: decision.Watermark{}}, {Duty: decision.Redact{}}}}}}
	req := call(t)
	for _, test := range []struct {
		supports []string
		want     string
	}{
		{[]string{"watermark", "redact"}, "abstain"}, {[]string{"redact"}, "deny, comply.unsupported"}, {nil, "deny, comply.unsupported"},
	} {
		req.Supports = test.supports
		judged(t, stage.Comply(req, nil, d), test.want)
	}
	judged(t, stage.Comply(req, nil, &decision.Decision{}), "abstain")
}

// The order in which the stages are asked is part of their contract.
func TestAll(t *testing.T) {
	var names []string
	for _, s := range stage.All {
		names = append(names, s.Name)
	}
	want := []string{"lock", "token", "purpose", "tool", "call", "content", "session", "ticket", "policy", "budget", "route", "list", "comply"}
	if diff := cmp.Diff(want, names, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

// Nothing that a request says makes the stages panic, and an empty one is denied.
func TestStagesOnEmptyRequests(t *testing.T) {
	for phase := decision.Phase(0); phase < 7; phase++ {
		for _, req := range []*decision.Request{{Phase: phase}, {Phase: phase, Ticket: "t", Tool: decision.ToolRef{ToolName: read, Digest: "d1"}, Candidates: make([]decision.ToolRef, 2), Destination: decision.Destination{Region: "x"}}} {
			d := stage.All.Decide(req, snapshot(t, &rules{}))
			if d.Allowed() {
				t.Errorf("%v: %+v is allowed", phase, req)
			}
		}
	}
}
