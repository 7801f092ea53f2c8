package authzen

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

var everything = []string{"redact", "route", "filter_tools", "limit_output", "notify", "step_up", "watermark", "delay", "pin"}

// question is the request that call asks, with something more.
func question(change func(*writv1.DecideRequest)) *writv1.DecideRequest {
	req := &writv1.DecideRequest{
		RequestId: newID, Phase: writv1.Phase_PHASE_CALL, PrincipalToken: agentToken, Purpose: "support",
		Tool:                 &writv1.Tool{Server: "fs", Name: "read", DefinitionDigest: digest},
		SupportedObligations: everything,
	}
	if change != nil {
		change(req)
	}
	return req
}

type good struct {
	name    string
	body    string
	headers []string
	want    *writv1.DecideRequest
}

// other is the request of another action.
func other(phase writv1.Phase, change func(*writv1.DecideRequest)) *writv1.DecideRequest {
	return question(func(r *writv1.DecideRequest) {
		r.Phase, r.Tool = phase, nil
		change(r)
	})
}

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func goodBodies() []good {
	return append(goodCalls(), goodOthers()...)
}

func goodCalls() []good {
	type r = *writv1.DecideRequest
	with := func(name, context string, change func(r)) good {
		return good{name: name, body: call(context), want: question(change)}
	}
	return []good{
		with("least", "", nil),
		with("a proof", `"principal_proof":"a.b.c"`, func(q r) { q.PrincipalProof = "a.b.c" }),
		{name: "a proof beside the token", body: swap(`"token":"`+agentToken+`"`, `"token":"`+agentToken+`","proof":"a.b.c"`),
			want: question(func(q r) { q.PrincipalProof = "a.b.c" })},
		with("plan depth", `"plan_depth":7`, func(q r) { q.PlanDepth = 7 }),
		with("the documents", `"return_documents":true`, func(q r) { q.ReturnDocuments = true }),
		with("session and ticket", `"session_id":"s-1","ticket_id":"CHG-1"`, func(q r) { q.SessionId, q.TicketId = "s-1", "CHG-1" }),
		with("arguments byte for byte", `"arguments": {"b" : 1.00,"a":"\u00e9\/", "n":null, "big":1e3 } `, func(q r) {
			q.Arguments = []byte(`{"b" : 1.00,"a":"\u00e9\/", "n":null, "big":1e3 }`)
		}),
		with("arguments that are no object", `"arguments":null`, func(q r) { q.Arguments = []byte(`null`) }),
		with("extra byte for byte", `"extra":{ "z":[1,  2] }`, func(q r) { q.Context = []byte(`{ "z":[1,  2] }`) }),
		with("tenant", `"tenant":"bolt"`, func(q r) { q.Tenant = "bolt" }),
		with("cost", `"cost":{"calls":2,"tokens":3000,"micros":1000000000000000,"currency":"EUR"}`, func(q r) {
			q.Cost = &writv1.Cost{Calls: 2, Tokens: 3000, Micros: 1e15, Currency: "EUR"}
		}),
		with("cost without amounts", `"cost":{}`, func(q r) { q.Cost = &writv1.Cost{} }),
		with("resource", `"resource":{"type":"Bank::Account","id":"7","properties":{"k": [ ]}}`, func(q r) {
			q.Resource = &writv1.Resource{Type: "Bank::Account", Id: "7", Properties: []byte(`{"k": [ ]}`)}
		}),
		with("destination beside a tool", `"destination":{"host":"h.example","vendor":"v","region":"eu"}`, func(q r) {
			q.Destination = &writv1.Destination{Host: "h.example", Vendor: "v", Region: "eu"}
		}),
		with("candidates beside a tool are for Decide to refuse", `"candidates":[{"name":"n"}]`, func(q r) {
			q.Candidates = []*writv1.Tool{{Name: "n"}}
		}),
		with("trace in the body", `"trace":{"traceparent":"`+parent+`","tracestate":"a=b"}`, func(q r) {
			q.Trace = &writv1.TraceContext{Traceparent: parent, Tracestate: "a=b"}
		}),
		with("no obligation at all", `"supported_obligations":[]`, func(q r) { q.SupportedObligations = nil }),
		with("obligations by their AuthZEN names", `"supported_obligations":["notification","step-up"]`, func(q r) {
			q.SupportedObligations = []string{"notify", "step_up"}
		}),
		with("custom obligations", `"supported_obligations":["custom","custom"]`, func(q r) {
			q.SupportedObligations = []string{"redact", "route", "filter_tools", "limit_output", "watermark", "delay", "pin"}
		}),
		with("obligations that are not advertised", `"supported_obligations":["redact","session_termination","STEP-UP",""]`, func(q r) {
			q.SupportedObligations = nil
		}),
		{name: "request id", body: call(""), headers: []string{"X-Request-ID", sentID}, want: question(func(q r) { q.RequestId = sentID })},
		{name: "trace in the headers", body: call(""), headers: []string{"traceparent", parent, "tracestate", "a=b"}, want: question(func(q r) {
			q.Trace = &writv1.TraceContext{Traceparent: parent, Tracestate: "a=b"}
		})},
		{name: "broken trace in the headers", body: call(""), headers: []string{"traceparent", "00-XYZ", "tracestate", "a=b"}, want: question(nil)},
		{name: "long tracestate in the headers", body: call(""), headers: []string{"traceparent", parent, "tracestate", strings.Repeat("s", 513)}, want: question(func(q r) {
			q.Trace = &writv1.TraceContext{Traceparent: parent}
		})},
		{name: "the body's trace wins", body: call(`"trace":{}`), headers: []string{"traceparent", parent}, want: question(func(q r) {
			q.Trace = &writv1.TraceContext{}
		})},
		{name: "Content-Type with charset", body: call(""), headers: []string{"Content-Type", "application/json; charset=UTF-8"}, want: question(nil)},
	}
}

func goodOthers() []good {
	type r = *writv1.DecideRequest
	tool := `{"type":"tool","id":"read","properties":{"server":"fs","definition_digest":"` + digest + `"}}`
	return []good{
		{name: "tool as COAZ-MCP names it", body: ask("tools/call", tool, ""), want: question(nil)},
		{name: "tool with a slash in its name", body: ask("tools/call", `{"type":"tool","id":"fs/a/b"}`, ""), want: question(func(q r) {
			q.Tool = &writv1.Tool{Server: "fs", Name: "a/b"}
		})},
		{name: "result", body: ask("tools/result", tool, `,"call_decision_id":"`+sentID+`","content":{"media_type":"application/json","document":{"x" : [1]}}`),
			want: question(func(q r) {
				q.Phase, q.CallDecisionId = writv1.Phase_PHASE_RESULT, sentID
				q.Content = &writv1.Content{MediaType: "application/json", Data: []byte(`{"x" : [1]}`)}
			})},
		{name: "result that is null", body: ask("tools/result", tool, `,"content":{"media_type":"application/json","document":null}`),
			want: question(func(q r) {
				q.Phase = writv1.Phase_PHASE_RESULT
				q.Content = &writv1.Content{MediaType: "application/json", Data: []byte(`null`)}
			})},
		{name: "list", body: ask("tools/list", `{"type":"mcp_server","id":"fs"}`, `,"candidates":[{"name":"read","definition_digest":"`+digest+`"},{"server":"git","name":"log"}]`),
			want: other(writv1.Phase_PHASE_LIST, func(q r) {
				q.Candidates = []*writv1.Tool{{Server: "fs", Name: "read", DefinitionDigest: digest}, {Server: "git", Name: "log"}}
			})},
		{name: "prompt", body: ask("prompt", `{"type":"destination","id":"","properties":{"vendor":"acme","region":"eu"}}`, `,"content":{"media_type":"text/plain","data":"caf\u00e9\n"}`),
			want: other(writv1.Phase_PHASE_PROMPT, func(q r) {
				q.Destination = &writv1.Destination{Vendor: "acme", Region: "eu"}
				q.Content = &writv1.Content{MediaType: "text/plain", Data: []byte("café\n")}
			})},
		{name: "connection with all that is said of it", body: ask("connect", `{"type":"destination","id":"h","properties":{"url":"https://h:8443/a","scheme":"https","port":8443,"method":"GET","addresses":["8.8.8.8"],"redirected_from":"`+sentID+`"}}`, ""),
			want: other(writv1.Phase_PHASE_CONNECT, func(q r) {
				q.Destination = &writv1.Destination{Host: "h", Url: "https://h:8443/a", Scheme: "https", Port: 8443, Method: "GET", Addresses: []string{"8.8.8.8"}, RedirectedFrom: sentID}
			})},
		{name: "prompt with no text", body: ask("prompt", `{"type":"destination","id":"h"}`, `,"content":{"media_type":"text/plain","data":""}`),
			want: other(writv1.Phase_PHASE_PROMPT, func(q r) {
				q.Destination = &writv1.Destination{Host: "h"}
				q.Content = &writv1.Content{MediaType: "text/plain"}
			})},
		{name: "JSON as a text is passed on as it is", body: ask("prompt", `{"type":"destination","id":"h"}`, `,"content":{"media_type":"application/json","data":"{broken"}`),
			want: other(writv1.Phase_PHASE_PROMPT, func(q r) {
				q.Destination = &writv1.Destination{Host: "h"}
				q.Content = &writv1.Content{MediaType: "application/json", Data: []byte("{broken")}
			})},
		{name: "connect", body: ask("connect", `{"type":"destination","id":"api.example"}`, ""),
			want: other(writv1.Phase_PHASE_CONNECT, func(q r) { q.Destination = &writv1.Destination{Host: "api.example"} })},
		{name: "empty properties everywhere", body: strings.NewReplacer(
			`"name":"connect"`, `"name":"connect","properties":{}`, `"id":""`, `"id":"","properties":{}`).Replace(ask("connect", `{"type":"destination","id":"h","properties":{}}`, "")),
			want: other(writv1.Phase_PHASE_CONNECT, func(q r) { q.Destination = &writv1.Destination{Host: "h"} })},
	}
}

func TestGoodRequests(t *testing.T) {
	for _, g := range goodBodies() {
		t.Run(g.name, func(t *testing.T) {
			var r recorder
			w := r.post(t, g.body, g.headers...)
			if w.Code != 200 {
				t.Fatalf("got %d %s", w.Code, w.Body)
			}
			if diff := cmp.Diff(g.want, r.req, protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
			if r.caller != testCaller {
				t.Errorf("the caller is %v", r.caller)
			}
			if got := w.Header().Get("X-Request-ID"); got != r.req.GetRequestId() {
				t.Errorf("X-Request-ID is %q, the question's is %q", got, r.req.GetRequestId())
			}
		})
	}
}

// Every field of the question, at any depth, has a way through.
func TestEveryFieldHasAWay(t *testing.T) {
	seen := map[protoreflect.FullName]bool{}
	for _, g := range goodBodies() {
		var r recorder
		if w := r.post(t, g.body, g.headers...); w.Code != 200 {
			t.Fatalf("%s: %d %s", g.name, w.Code, w.Body)
		}
		mark(r.req.ProtoReflect(), seen)
	}
	for _, field := range fields(new(writv1.DecideRequest).ProtoReflect().Descriptor()) {
		if !seen[field] {
			t.Errorf("no request of the table sets %s", field)
		}
	}
}

// mark notes every field that a message sets.
func mark(m protoreflect.Message, seen map[protoreflect.FullName]bool) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		seen[f.FullName()] = true
		switch {
		case f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				mark(v.List().Get(i).Message(), seen)
			}
		default:
			mark(v.Message(), seen)
		}
		return true
	})
}

// fields are the names of all fields of a message and the messages in it.
func fields(d protoreflect.MessageDescriptor) []protoreflect.FullName {
	var names []protoreflect.FullName
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		names = append(names, f.FullName())
		if f.Message() != nil {
			names = append(names, fields(f.Message())...)
		}
	}
	return names
}

// Whatever the body, the status is 200, 400 or 401, what is passed on stands in
// the body as it is, and a refusal says why in a few words.
func FuzzEvaluation(f *testing.F) {
	for _, g := range goodBodies() {
		f.Add([]byte(g.body))
	}
	for _, b := range badBodies() {
		f.Add([]byte(b.body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var r recorder
		w := r.post(t, string(body))
		switch w.Code {
		case 200:
			if _, err := proto.Marshal(r.req); err != nil {
				t.Errorf("the question cannot be sent: %v", err)
			}
			for _, raw := range [][]byte{r.req.Arguments, r.req.Context, r.req.GetResource().GetProperties()} {
				if !strings.Contains(string(body), string(raw)) {
					t.Errorf("%q does not stand in the body", raw)
				}
			}
			if r.req.Phase == 0 || r.req.PrincipalToken == "" {
				t.Errorf("a question without phase or token: %v", r.req)
			}
		case 400, 401:
			if r.req != nil {
				t.Error("a refused body reached Decide")
			}
			if reason, message := fail(t, w); reason == "" || message == "" || len(message) > 400 {
				t.Errorf("error %q %q", reason, message)
			}
		default:
			t.Errorf("status %d %s", w.Code, w.Body)
		}
	})
}

func BenchmarkTranslate(b *testing.B) {
	body := call(`"session_id":"s-1","arguments":{"path":"/etc/hosts","limit":100,"tags":["a","b"]},"supported_obligations":["custom"]`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := translate([]byte(body), nil); err != nil {
			b.Fatal(err)
		}
	}
}
