package audit

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/writpdp/writ/document"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/content/detect"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/egress"
)

var prefixes = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// leading is a finding of what the arguments lead to.
func leading(args string, t *testing.T) (*decision.Request, decision.Finding) {
	req := request(t, 1)
	req.Arguments = parsed(t, args)
	found := egress.NewFinder(nil).Find(req.Arguments)
	return req, decision.Finding{Stage: "egress", Verdict: decision.Abstain, URLs: &found}
}

// A record holds schemes, hosts and ports, and they come back; of users' names,
// paths and queries it has nothing.
func TestEgressInRecord(t *testing.T) {
	req, f := leading(`{"a":"https://user:planted-secret@example.com/","b":"https://example.org:8443/planted-path?planted=query#planted","c":"http://10.0.0.1/?u=http%3A%2F%2Flocalhost%2F","d":"https://example.org:8443/again","url":"[::1]:80"}`, t)
	d := deny("policy.forbid")
	d.Findings = append(d.Findings, f)
	e, _, err := Decided(idOf(1), req, snapshot(), d)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(e.Body), "planted") {
		t.Error("the record holds what it must not")
	}
	q, err := QuestionOf(e.Body, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := &egress.Facts{By: f.URLs.By}
	for _, u := range f.URLs.Found {
		if u.Pointer != "/d" {
			u.Pointer = ""
			want.Found = append(want.Found, u)
		}
	}
	if diff := cmp.Diff(want, q.Led, prefixes); diff != "" || len(want.Found) < 4 {
		t.Errorf("what was found (-want +got):\n%s", diff)
	}
}

// Where something else withholds an argument, its host is withheld too, and it is
// not known where the arguments led.
func TestEgressWithheld(t *testing.T) {
	for name, change := range map[string]func(*decision.Decision){
		"a redaction": func(d *decision.Decision) {
			d.Findings[1].Obligations = []decision.Obligation{{Duty: decision.Redact{Edits: redaction("/a")}}}
		},
		"of what is around it": func(d *decision.Decision) {
			d.Findings[1].Obligations = []decision.Obligation{{Duty: decision.Redact{Edits: redaction("/o")}}}
		},
		"a detector": func(d *decision.Decision) {
			d.Findings[1].Inspection = &detect.Inspection{Findings: []detect.Finding{{Detector: "x", Pointer: "/a"}}}
		},
		"a redaction that could not be found out": func(d *decision.Decision) {
			d.Findings[1].Reasons = append(d.Findings[1].Reasons, decision.Reason{Code: "redact.too_much", Text: "x.", Lift: "x."})
		},
	} {
		req, f := leading(`{"a":"https://planted.example.com/","o":{"i":"https://planted.example.org/"}}`, t)
		d := deny("policy.forbid")
		d.Findings = append(d.Findings, f)
		change(d)
		e, _, err := Decided(idOf(1), req, snapshot(), d)
		if err != nil {
			t.Fatal(err)
		}
		q, err := QuestionOf(e.Body, nil)
		if err != nil {
			t.Fatal(err)
		}
		if q.Led == nil || q.Led.By == f.URLs.By || len(q.Led.Found) != 0 {
			t.Errorf("%s: it is said to be known: %+v", name, q.Led)
		}
	}
}

// A result's record does not say where its call's arguments led: what may not stand in
// a record is known of the call alone. Its call's record does.
func TestEgressOfAResult(t *testing.T) {
	req, f := leading(`{"a":"https://planted.example.com/"}`, t)
	d := deny("policy.forbid")
	d.Findings = append(d.Findings, f)
	call, _, err := Decided(idOf(1), req, snapshot(), d)
	if err != nil {
		t.Fatal(err)
	}
	req.Phase, req.CallID, req.Content = decision.Result, idOf(1), decision.Content{Text: "x", Size: 1}
	result, _, err := Decided(idOf(2), req, snapshot(), d)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(result.Body), "planted") {
		t.Error("the result's record says where its call's arguments lead")
	}
	for _, test := range []struct {
		call []byte
		want int
	}{{call.Body, 1}, {nil, 0}, {result.Body, 0}} {
		q, err := QuestionOf(result.Body, test.call)
		if err != nil || len(q.Led.Found) != test.want || (q.Led.By == f.URLs.By) != (test.want > 0) {
			t.Errorf("got %+v, %v, want %d", q.Led, err, test.want)
		}
	}
}

// A connection comes back as it was asked about, but for its URL.
func TestConnectionInRecord(t *testing.T) {
	for name, in := range map[string]egress.StatedConnection{
		"a URL":      {URL: "https://example.com:8443/planted?u=http://10.0.0.1/", Method: "GET", Addresses: []string{"8.8.8.8", "::1"}, RedirectedFrom: "https://a.example/planted"},
		"a decision": {Host: "example.com", Scheme: "https", RedirectedFrom: "01920000-0000-7000-8000-000000000001"},
		"ambiguous":  {URL: "http://planted@2130706433/"},
		"a host":     {Host: "::1"},
	} {
		req := request(t, 1)
		req.Phase, req.Tool, req.Arguments, req.Resource = decision.Connect, decision.ToolRef{}, nil, decision.Resource{}
		req.Connection = egress.Connect(in)
		req.Destination = decision.Destination{Host: req.Connection.To.Host}
		e, _, err := Decided(idOf(1), req, snapshot(), deny("policy.forbid"))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(e.Body), "planted") {
			t.Errorf("%s: the record holds what it must not", name)
		}
		q, err := QuestionOf(e.Body, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(req.Connection, q.Request.Connection, prefixes); diff != "" {
			t.Errorf("%s (-asked +recorded):\n%s", name, diff)
		}
	}
}

// Facts that nobody writes are no record.
func TestBrokenEgressFacts(t *testing.T) {
	for name, facts := range map[string]*writv1.EgressFacts{
		"a short digest":      {FinderDigest: []byte{1}},
		"too many":            {Urls: make([]*writv1.UrlFacts, 257)},
		"no kind":             {Urls: []*writv1.UrlFacts{{}}},
		"an unknown kind":     {To: &writv1.UrlFacts{Kind: 9}},
		"an unknown problem":  {To: &writv1.UrlFacts{Kind: 4, Problem: 9}},
		"a port out of range": {From: &writv1.UrlFacts{Kind: 5, Port: 65536}},
		"a long host":         {To: &writv1.UrlFacts{Kind: 4, Host: strings.Repeat("a", 254)}},
		"a NUL":               {To: &writv1.UrlFacts{Kind: 4, Host: "a\x00b"}},
	} {
		e, _ := decided(t, 1, deny("policy.forbid"))
		m := &writv1.Record{}
		if err := proto.Unmarshal(e.Body, m); err != nil {
			t.Fatal(err)
		}
		m.GetDecision().Egress = facts
		body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := RowOf(body); err == nil {
			t.Errorf("%s is a record", name)
		}
	}
}

func redaction(pointer string) []document.Edit { return []document.Edit{{Pointer: pointer}} }
