package authzen

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// fullAnswer has every field set, with one obligation of each type.
func fullAnswer() *writv1.DecideResponse {
	hash, err := hex.DecodeString(digest)
	if err != nil {
		panic(err)
	}
	return &writv1.DecideResponse{
		DecisionId: sentID, RequestId: newID, Effect: writv1.Effect_EFFECT_DENY,
		Reasons: []*writv1.Reason{
			{Stage: "tool", Code: "tool.pinned", Text: "The tool is pinned."},
			{Stage: "budget", Code: "budget.exhausted", Text: "The budget is spent.", PolicyId: "p1", Lift: "Wait."},
		},
		Obligations: obligations(),
		Budgets: []*writv1.BudgetLine{{
			Budget: "b", Unit: writv1.Unit_UNIT_MICROS, Currency: "EUR", Reserved: 1, Remaining: 2, Cap: 3,
			ResetsAt: timestamppb.New(time.Unix(1_790_000_000, 500).UTC()), Exhausted: true, Overrun: 4, Adjusted: 5,
		}},
		RetryAfter: durationpb.New(90*time.Second + 1), BundleDigest: digest, BundleCommit: digest,
		Receipt: &writv1.Receipt{RecordId: sentID, LeafHash: hash, LogOrigin: "log.example", LogSize: 7, Spooled: true},
		AccessRequest: &writv1.AccessRequest{
			Type: "ticket", Principal: "agent-1", Tool: "fs/read", DefinitionDigest: digest, ArgumentsDigest: digest,
			PolicyIds: []string{"p1"}, Text: "Approve it.",
		},
		Replayed: true, Arguments: []byte(`{"a":1}`), Content: []byte("x < y"),
	}
}

func obligations() []*writv1.Obligation {
	return []*writv1.Obligation{
		{Id: "redact-1", Type: "redact", PolicyId: "p", Params: &writv1.Obligation_Redact{Redact: &writv1.Redact{
			Target: writv1.Target_TARGET_CONTENT, Edits: []*writv1.Edit{{Pointer: "/a/0", Method: writv1.Method_METHOD_REMOVE},
				{Pointer: "/b", Method: writv1.Method_METHOD_HASH, Start: 2, End: 9, Replacement: "[hash:0123456789abcdefghijklmnopqrstuv]"}},
		}}},
		{Id: "route-1", Type: "route", Params: &writv1.Obligation_Route{Route: &writv1.Route{Vendor: "acme", Region: "eu", Host: "eu.acme.example", Reason: "because"}}},
		{Id: "filter_tools-1", Type: "filter_tools", Params: &writv1.Obligation_FilterTools{FilterTools: &writv1.FilterTools{Keep: []uint32{0, 2}}}},
		{Id: "limit_output-1", Type: "limit_output", Params: &writv1.Obligation_LimitOutput{LimitOutput: &writv1.LimitOutput{MaxBytes: 4096}}},
		{Id: "notify-1", Type: "notify", Params: &writv1.Obligation_Notify{Notify: &writv1.Notify{To: "oncall", Body: "<look>"}}},
		{Id: "step_up-1", Type: "step_up", Params: &writv1.Obligation_StepUp{StepUp: &writv1.StepUp{AcrValue: "urn:loa:3"}}},
		{Id: "watermark-1", Type: "watermark", Params: &writv1.Obligation_Watermark{Watermark: &writv1.Watermark{Text: "secret"}}},
		{Id: "delay-1", Type: "delay", Params: &writv1.Obligation_Delay{Delay: &writv1.Delay{Millis: 250}}},
		{Id: "pin-1", Type: "pin", Params: &writv1.Obligation_Pin{Pin: &writv1.Pin{Host: "h.example", Addresses: []string{"8.8.8.8"}, Refused: []string{"10.0.0.0/8"}, Permitted: []string{"10.1.0.0/16"}}}},
	}
}

// goldenObligations are the obligations above, as the draft has them.
var goldenObligations = []string{
	`{"id":"redact-1","type":"custom","properties":{"vendor":"writ","action":"redact","target":"CONTENT","edits":[{"pointer":"/a/0","method":"REMOVE"},{"pointer":"/b","method":"HASH","start":2,"end":9,"replacement":"[hash:0123456789abcdefghijklmnopqrstuv]"}]},"policy_id":"p"}`,
	`{"id":"route-1","type":"custom","properties":{"vendor":"writ","action":"route","destination":{"host":"eu.acme.example","vendor":"acme","region":"eu"},"reason":"because"}}`,
	`{"id":"filter_tools-1","type":"custom","properties":{"vendor":"writ","action":"filter_tools","keep":[0,2]}}`,
	`{"id":"limit_output-1","type":"custom","properties":{"vendor":"writ","action":"limit_output","max_bytes":4096}}`,
	`{"id":"notify-1","type":"notification","properties":{"to":"oncall","body":"<look>"}}`,
	`{"id":"step_up-1","type":"step-up","properties":{"acr_value":"urn:loa:3"}}`,
	`{"id":"watermark-1","type":"custom","properties":{"vendor":"writ","action":"watermark","text":"secret"}}`,
	`{"id":"delay-1","type":"custom","properties":{"vendor":"writ","action":"delay","millis":250}}`,
	`{"id":"pin-1","type":"custom","properties":{"vendor":"writ","action":"pin","host":"h.example","addresses":["8.8.8.8"],"refused":["10.0.0.0/8"],"permitted":["10.1.0.0/16"]}}`,
}

func TestObligations(t *testing.T) {
	for i, o := range obligations() {
		r := recorder{resp: &writv1.DecideResponse{DecisionId: sentID, Effect: writv1.Effect_EFFECT_REDACT, Obligations: []*writv1.Obligation{o}}}
		want := `{"decision":true,"context":{"id":"` + sentID + `","effect":"REDACT","obligations":[` + goldenObligations[i] + `]}}`
		if got := r.post(t, call("")).Body.String(); got != want {
			t.Errorf("%s:\n got %s\nwant %s", o.GetType(), got, want)
		}
	}
	// Every type that can be issued is in the table above and has a name here.
	params := new(writv1.Obligation).ProtoReflect().Descriptor().Oneofs().ByName("params").Fields()
	if params.Len() != len(types) || params.Len() != len(goldenObligations) {
		t.Errorf("%d obligation types, %d of them named, %d tested", params.Len(), len(types), len(goldenObligations))
	}
	for i := range params.Len() {
		if native := string(params.Get(i).Name()); !strings.Contains(fmt.Sprint(types), "{"+native+" ") {
			t.Errorf("the type %s has no name in AuthZEN", native)
		}
	}
	// An empty list hides every tool; it must not look like a missing one.
	none := &writv1.Obligation{Id: "f", Params: &writv1.Obligation_FilterTools{FilterTools: &writv1.FilterTools{}}}
	r := recorder{resp: &writv1.DecideResponse{Effect: writv1.Effect_EFFECT_ALLOW, Obligations: []*writv1.Obligation{none}}}
	if got := r.post(t, call("")).Body.String(); !strings.Contains(got, `"keep":[]`) {
		t.Errorf("no tool to keep: %s", got)
	}
}

func TestFullAnswer(t *testing.T) {
	r := recorder{resp: fullAnswer()}
	w := r.post(t, call(""))
	want := `{"decision":false,"context":{"id":"` + sentID + `","effect":"DENY",` +
		`"reason_admin":{"403":"budget.exhausted by policy p1: The budget is spent."},"reason_user":{"403":"The budget is spent."},` +
		`"reasons":[{"stage":"tool","code":"tool.pinned","text":"The tool is pinned."},` +
		`{"stage":"budget","code":"budget.exhausted","text":"The budget is spent.","policy_id":"p1","lift":"Wait."}],` +
		`"obligations":[` + strings.Join(goldenObligations, ",") + `],` +
		`"budgets":[{"budget":"b","unit":"MICROS","currency":"EUR","reserved":1,"remaining":2,"cap":3,"resets_at":"2026-09-21T14:13:20.0000005Z","exhausted":true,"overrun":4,"adjusted":5}],` +
		`"retry_after_seconds":91,"bundle_digest":"` + digest + `","bundle_commit":"` + digest + `",` +
		`"receipt":{"record_id":"` + sentID + `","leaf_hash":"` + digest + `","log_origin":"log.example","log_size":7,"spooled":true},` +
		`"ticket_request":{"type":"ticket","principal":"agent-1","tool":"fs/read","definition_digest":"` + digest + `","arguments_digest":"` + digest + `","policy_ids":["p1"],"text":"Approve it."},` +
		`"replayed":true,"arguments":{"a":1},"content":"x < y"}}`
	if got := w.Body.String(); got != want || w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("status %d, %v\n got %s\nwant %s", w.Code, w.Header(), got, want)
	}
}

// Every field of the answer reaches the caller: without it the body differs. The
// request_id is in the header, and an obligation's type follows from its
// parameters.
func TestEveryFieldOfTheAnswerIsTold(t *testing.T) {
	full, err := encode(fullAnswer(), nil)
	if err != nil {
		t.Fatal(err)
	}
	except := map[protoreflect.FullName]bool{
		"writ.v1.DecideResponse.request_id": true, "writ.v1.Obligation.type": true, "writ.v1.DecideResponse.effect": true,
	}
	seen := map[protoreflect.FullName]bool{}
	answer := fullAnswer()
	drop(answer.ProtoReflect(), func(field protoreflect.FullName) {
		seen[field] = true
		body, err := encode(answer, nil)
		if err == nil && bytes.Equal(body, full) && !except[field] {
			t.Errorf("the answer is the same without %s", field)
		}
	})
	for _, field := range fields(answer.ProtoReflect().Descriptor()) {
		if !seen[field] && !strings.HasPrefix(string(field), "google.protobuf.") {
			t.Errorf("the full answer does not set %s", field)
		}
	}
	if !proto.Equal(answer, fullAnswer()) {
		t.Error("the test changed the answer for good")
	}
}

// drop takes every field out of a message, one at a time, and puts it back.
func drop(m protoreflect.Message, without func(protoreflect.FullName)) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.IsList() { // a list is cleared in place, so keep another
			kept := m.NewField(f)
			for i := range v.List().Len() {
				kept.List().Append(v.List().Get(i))
			}
			v = kept
		}
		m.Clear(f)
		without(f.FullName())
		m.Set(f, v)
		switch {
		case f.Message() == nil, strings.HasPrefix(string(f.Message().FullName()), "google.protobuf."):
		case f.IsList():
			for i := range v.List().Len() {
				drop(v.List().Get(i).Message(), without)
			}
		default:
			drop(v.Message(), without)
		}
		return true
	})
}

func TestEffects(t *testing.T) {
	for effect, want := range map[writv1.Effect]string{
		writv1.Effect_EFFECT_UNSPECIFIED: `{"decision":false,"context":{"id":"","effect":"DENY"}}`,
		writv1.Effect_EFFECT_DENY:        `{"decision":false,"context":{"id":"","effect":"DENY"}}`,
		writv1.Effect_EFFECT_ALLOW:       `{"decision":true,"context":{"id":"","effect":"ALLOW"}}`,
		writv1.Effect_EFFECT_REDACT:      `{"decision":true,"context":{"id":"","effect":"REDACT"}}`,
		writv1.Effect_EFFECT_ROUTE:       `{"decision":true,"context":{"id":"","effect":"ROUTE"}}`,
		99:                               `{"decision":false,"context":{"id":"","effect":"DENY"}}`,
	} {
		body, err := encode(&writv1.DecideResponse{Effect: effect}, nil)
		if string(body) != want || err != nil {
			t.Errorf("%v: got %s, %v, want %s", effect, body, err, want)
		}
	}
	for _, c := range []struct {
		wait *durationpb.Duration
		want string
	}{{durationpb.New(0), `"retry_after_seconds":0`}, {durationpb.New(1), `"retry_after_seconds":1`}, {durationpb.New(time.Hour), `"retry_after_seconds":3600`}} {
		body, err := encode(&writv1.DecideResponse{RetryAfter: c.wait}, nil)
		if !strings.Contains(string(body), c.want) || err != nil {
			t.Errorf("%v: got %s, %v, want %s", c.wait, body, err, c.want)
		}
	}
}

func withInfo(code codes.Code, domain, reason, message string) error {
	s, err := status.New(code, message).WithDetails(&errdetails.ErrorInfo{Domain: domain, Reason: reason})
	if err != nil {
		panic(err)
	}
	return s.Err()
}

func TestErrors(t *testing.T) {
	const hidden = "the server failed to answer"
	for _, c := range []struct {
		name            string
		err             error
		status          int
		reason, message string
	}{
		{"field", withInfo(codes.InvalidArgument, "writ", "FIELD_INVALID", "purpose: no"), 400, "FIELD_INVALID", "purpose: no"},
		{"token", withInfo(codes.Unauthenticated, "writ", "TOKEN_EXPIRED", "the token is expired"), 401, "TOKEN_EXPIRED", "the token is expired"},
		{"forbidden", withInfo(codes.PermissionDenied, "writ", "CALLER_FORBIDDEN", "m"), 403, "CALLER_FORBIDDEN", "m"},
		{"unknown call", withInfo(codes.NotFound, "writ", "DECISION_UNKNOWN", "m"), 404, "DECISION_UNKNOWN", "m"},
		{"reused id", withInfo(codes.AlreadyExists, "writ", "REQUEST_ID_REUSED", "m"), 409, "REQUEST_ID_REUSED", "m"},
		{"not allowed", withInfo(codes.FailedPrecondition, "writ", "NOT_ALLOWED", "m"), 409, "NOT_ALLOWED", "m"},
		{"contended", withInfo(codes.Aborted, "writ", "CONTENDED", "m"), 409, "CONTENDED", "m"},
		{"overloaded", withInfo(codes.ResourceExhausted, "writ", "OVERLOADED", "m"), 429, "OVERLOADED", "m"},
		{"not recorded", withInfo(codes.Unavailable, "writ", "NOT_RECORDED", "m"), 503, "NOT_RECORDED", "m"},
		{"deadline", withInfo(codes.DeadlineExceeded, "writ", "DEADLINE", "m"), 504, "DEADLINE", "m"},
		{"wrapped", fmt.Errorf("deciding: %w", withInfo(codes.Aborted, "writ", "CONTENDED", "m")), 409, "CONTENDED", "deciding: "},
		{"without details", status.Error(codes.ResourceExhausted, "m"), 429, "OVERLOADED", "m"},
		{"details of another domain", withInfo(codes.Aborted, "other", "PLANTED", "m"), 409, "CONTENDED", "m"},
		{"context deadline", fmt.Errorf("waiting: %w", context.DeadlineExceeded), 504, "DEADLINE", ""},
		{"internal", withInfo(codes.Internal, "writ", "PLANTED", "planted"), 500, "INTERNAL", hidden},
		{"unknown code", status.Error(codes.DataLoss, "planted"), 500, "INTERNAL", hidden},
		{"cancelled", context.Canceled, 500, "INTERNAL", hidden},
		{"no status", errors.New("planted"), 500, "INTERNAL", hidden},
		{"a message that is not UTF-8", status.Error(codes.InvalidArgument, "planted\xff"), 500, "INTERNAL", hidden},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := recorder{err: c.err}
			w := r.post(t, call(""), "X-Request-ID", sentID)
			reason, message := fail(t, w)
			if w.Code != c.status || reason != c.reason || !strings.HasPrefix(message, c.message) || strings.Contains(message, "planted") {
				t.Errorf("got %d %s %q, want %d %s %q", w.Code, reason, message, c.status, c.reason, c.message)
			}
			if got := w.Header().Get("X-Request-ID"); got != sentID {
				t.Errorf("X-Request-ID is %q", got)
			}
		})
	}
}

// An answer that cannot be told whole is not told at all.
func TestUntranslatable(t *testing.T) {
	var none *writv1.DecideResponse
	if _, err := encode(none, nil); err == nil {
		t.Error("no answer and no error became an answer")
	}
	for name, resp := range map[string]*writv1.DecideResponse{
		"obligation without parameters": {Effect: writv1.Effect_EFFECT_ALLOW, Obligations: []*writv1.Obligation{{Id: "x", Type: "new"}}},
		"text that is not UTF-8":        {Effect: writv1.Effect_EFFECT_DENY, Reasons: []*writv1.Reason{{Text: "\xff"}}},
	} {
		r := recorder{resp: resp}
		w := r.post(t, call(""))
		if reason, _ := fail(t, w); w.Code != 500 || reason != "INTERNAL" {
			t.Errorf("%s: got %d %s", name, w.Code, w.Body)
		}
	}
}

func TestMetadata(t *testing.T) {
	var r recorder
	server := httptest.NewServer(r.handler(t))
	defer server.Close()
	want := `{"policy_decision_point":"https://pdp.example","access_evaluation_endpoint":"https://pdp.example/access/v1/evaluation","supported_obligations":["step-up","notification","custom"]}`
	for method, body := range map[string]string{"GET": want, "HEAD": ""} {
		q, err := http.NewRequest(method, server.URL+metadataPath, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultTransport.RoundTrip(q)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if _, err := got.ReadFrom(resp.Body); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 || got.String() != body || resp.Header.Get("Content-Type") != "application/json" || resp.Header.Get("Cache-Control") != "max-age=3600" {
			t.Errorf("%s: got %d %v %s", method, resp.StatusCode, resp.Header, &got)
		}
	}
}

func TestHandlerRefuses(t *testing.T) {
	var r recorder
	good := Config{
		Decide:  r.decide,
		Caller:  func(*http.Request) (decision.Caller, error) { return testCaller, nil },
		BaseURL: "https://pdp.example:8443/",
		NewID:   func() string { return newID },
	}
	if _, err := Handler(good); err != nil {
		t.Errorf("the good configuration: %v", err)
	}
	for name, change := range map[string]func(*Config){
		"no Decide":     func(c *Config) { c.Decide = nil },
		"no Caller":     func(c *Config) { c.Caller = nil },
		"no NewID":      func(c *Config) { c.NewID = nil },
		"no URL":        func(c *Config) { c.BaseURL = "" },
		"no host":       func(c *Config) { c.BaseURL = "https://" },
		"not a URL":     func(c *Config) { c.BaseURL = "https://[" },
		"a path":        func(c *Config) { c.BaseURL = "https://pdp.example/t1" },
		"a query":       func(c *Config) { c.BaseURL = "https://pdp.example?" },
		"a fragment":    func(c *Config) { c.BaseURL = "https://pdp.example#" },
		"a user":        func(c *Config) { c.BaseURL = "https://u@pdp.example" },
		"http":          func(c *Config) { c.BaseURL = "http://pdp.example" },
		"another thing": func(c *Config) { c.BaseURL = "ftp://localhost" },
	} {
		c := good
		change(&c)
		if _, err := Handler(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, base := range []string{"http://localhost:8080", "http://127.0.0.1:8080", "http://[::1]:8080"} {
		c := good
		c.BaseURL = base
		if _, err := Handler(c); err != nil {
			t.Errorf("%s: %v", base, err)
		}
	}
}
