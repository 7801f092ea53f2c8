package quick_test

import (
	"fmt"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/quick"
)

const id = "01980a4e-3b2c-7d5e-8f90-a1b2c3d4e5f6"

// asked is a valid request of a phase that has everything a phase can have.
func asked(phase writv1.Phase) *writv1.DecideRequest {
	in := &writv1.DecideRequest{
		RequestId: id, Phase: phase, PrincipalToken: "a.b.c", SessionId: "run:1", Purpose: "support",
		Tool:        &writv1.Tool{Server: "filesystem", Name: "read_text_file", DefinitionDigest: strings.Repeat("0a", 32)},
		Arguments:   []byte(`{"path":"/a"}`),
		Resource:    &writv1.Resource{Type: "Bank::Account", Id: "ü", Properties: []byte("{}")},
		Destination: &writv1.Destination{Host: "api.example.com", Vendor: "ai", Region: "eu"},
		TicketId:    "CHG-1", Cost: &writv1.Cost{Calls: 1, Tokens: 2, Micros: 3, Currency: "EUR"},
		Context: []byte("{}"), SupportedObligations: []string{"redact", "notify", "step_up"},
		Trace: &writv1.TraceContext{Traceparent: "00-" + strings.Repeat("ab", 16) + "-" + strings.Repeat("cd", 8) + "-01", Tracestate: "a=b"},
	}
	switch phase {
	case writv1.Phase_PHASE_LIST:
		in.Tool, in.Candidates = nil, []*writv1.Tool{in.Tool, {Server: "s", Name: "n"}}
	case writv1.Phase_PHASE_RESULT:
		in.CallDecisionId = strings.ToUpper(id)
		in.Content = &writv1.Content{MediaType: "text/plain", Data: []byte("x")}
	case writv1.Phase_PHASE_PROMPT:
		in.Content = &writv1.Content{MediaType: "application/json", Data: []byte("{}")}
	}
	return in
}

var phases = []writv1.Phase{writv1.Phase_PHASE_LIST, writv1.Phase_PHASE_PROMPT, writv1.Phase_PHASE_CALL, writv1.Phase_PHASE_RESULT, writv1.Phase_PHASE_CONNECT}

// Every rule of a request and of a report is known: one in the proto files that
// has no twin, or whose text changed, shows here.
func TestKnowsEveryRule(t *testing.T) {
	rules := compile(t)
	for _, phase := range phases {
		if in := asked(phase); !rules.Keeps(in) {
			t.Errorf("%s: got no yes for %v", phase, in)
		}
	}
	report := &writv1.SettleRequest{DecisionId: id, Outcome: writv1.Outcome_OUTCOME_SUCCEEDED, Obligations: []*writv1.ObligationReport{{Id: "notify-1"}}}
	if !rules.Keeps(report) {
		t.Errorf("got no yes for %v", report)
	}
}

// Of what has rules that are not known nothing is said, nor of no message.
func TestSaysNothingElse(t *testing.T) {
	rules := compile(t)
	batch := &writv1.DecideBatchRequest{Items: []*writv1.BatchItem{{CorrelationId: "a", Request: asked(writv1.Phase_PHASE_CALL)}}}
	for _, m := range []proto.Message{batch, &writv1.ExplainRequest{Request: asked(writv1.Phase_PHASE_CALL)}, &writv1.Record{}, (*writv1.DecideRequest)(nil)} {
		if rules.Keeps(m) {
			t.Errorf("got a yes for %T", m)
		}
	}
}

// texts are what a text field is given: right for some, wrong for others.
var texts = []string{
	"", " ", "a", "A", "7", "-", "_", ".", "a b", "a\n", "\na", "\x00", "ü", "\xff", "a\xff", "K", "EUR", "eur", "EURO", "support", "Support", "redact", "step_up", "1up",
	id, strings.ToUpper(id), id[:35], id + "0", strings.Replace(id, "-7", "-4", 1), strings.Replace(id, "-8", "-c", 1), strings.ReplaceAll(id, "-", ""),
	strings.Repeat("a", 32), strings.Repeat("a", 33), strings.Repeat("a", 63), strings.Repeat("a", 64), strings.Repeat("a", 65), strings.Repeat("a", 128), strings.Repeat("a", 129),
	strings.Repeat("a", 253), strings.Repeat("a", 254), strings.Repeat("ü", 256), strings.Repeat("a", 513), strings.Repeat("a", 8192), strings.Repeat("a", 8193), strings.Repeat("a", 16384), strings.Repeat("a", 16385),
	"A::B", "A::B::C::D::E", "A::B::C::D::E::F", "A:B", "A::", "::A", "A::1", "_a9", "application/json", "text/plain", "text/html", "api.example.com:443", "fe80::1", "Host",
	"00-" + strings.Repeat("ab", 16) + "-" + strings.Repeat("cd", 8) + "-01", "00-" + strings.Repeat("ab", 16) + "-" + strings.Repeat("cd", 8) + "-0", "a/b", ".a", "a..b",
}

// Whatever a request is: yes is said to exactly those that protovalidate accepts.
func TestAgreesWithProtovalidate(t *testing.T) {
	rules := compile(t)
	agreed := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		in := asked(rapid.SampledFrom(phases).Draw(t, "phase"))
		for range rapid.IntRange(0, 3).Draw(t, "changes") {
			change(t, in)
		}
		want := valid(t, in)
		if got := rules.Keeps(in); got != want {
			t.Fatalf("got %v, want %v", got, want)
		}
		agreed[want]++
	})
	if agreed[true] == 0 || agreed[false] == 0 {
		t.Errorf("got %v, want some of both", agreed)
	}
}

// change puts something into one field, which it may not be right for.
func change(t *rapid.T, in *writv1.DecideRequest) {
	text := func() string { return rapid.OneOf(rapid.SampledFrom(texts), rapid.StringN(0, 8, -1)).Draw(t, "text") }
	data := func(limit int) []byte { return make([]byte, limit+rapid.IntRange(-1, 1).Draw(t, "beyond")) }
	number := func(limit int64) int64 {
		return rapid.SampledFrom([]int64{-1, 0, 1, limit - 1, limit, limit + 1, -limit}).Draw(t, "number")
	}
	tool := func() *writv1.Tool {
		return rapid.SampledFrom([]*writv1.Tool{nil, {}, {Server: "s", Name: "n"}, {Server: text(), Name: "n"}, {Server: "s", Name: text()}, {Server: "s", Name: "n", DefinitionDigest: text()}}).Draw(t, "tool")
	}
	changes := []func(){
		func() { in.RequestId = text() },
		func() { in.Phase = writv1.Phase(rapid.Int32Range(-1, 7).Draw(t, "phase")) },
		func() { in.PrincipalToken = text() },
		func() { in.PrincipalProof = text() },
		func() { in.SessionId = text() },
		func() { in.Purpose = text() },
		func() { in.Tool = tool() },
		func() { in.Arguments = data(1 << 20) },
		func() { in.Resource = nil },
		func() { in.Resource = &writv1.Resource{Type: text(), Id: "a"} },
		func() { in.Resource = &writv1.Resource{Type: "A", Id: text()} },
		func() { in.Resource = &writv1.Resource{Type: "A", Id: "a", Properties: data(64 << 10)} },
		func() { in.Destination = nil },
		func() { in.Destination = &writv1.Destination{Host: text()} },
		func() { in.Destination = &writv1.Destination{Vendor: text()} },
		func() { in.Destination = &writv1.Destination{Region: text()} },
		func() { in.TicketId = text() },
		func() { in.Cost = nil },
		func() { in.Cost = &writv1.Cost{Calls: number(1e6), Tokens: number(1e12)} },
		func() { in.Cost = &writv1.Cost{Micros: number(1e15), Currency: text()} },
		func() { in.Content = nil },
		func() { in.Content = &writv1.Content{MediaType: text()} },
		func() { in.Content = &writv1.Content{MediaType: "text/plain", Data: data(1 << 20)} },
		func() { in.CallDecisionId = text() },
		func() { in.Context = data(64 << 10) },
		func() {
			in.SupportedObligations = rapid.SliceOfN(rapid.Custom(func(*rapid.T) string { return text() }), 0, 4).Draw(t, "supported")
		},
		func() { in.SupportedObligations = many(rapid.IntRange(31, 66).Draw(t, "supported")) },
		func() { in.Trace = nil },
		func() { in.Trace = &writv1.TraceContext{Traceparent: text(), Tracestate: text()} },
		func() { in.Candidates = nil },
		func() { in.Candidates = []*writv1.Tool{tool(), {Server: "s", Name: "n"}, tool()} },
		func() { in.Candidates = make([]*writv1.Tool, 513); fill(in.Candidates) },
		func() { in.ProtoReflect().SetUnknown([]byte{0x98, 0x06, 0x01}) },
	}
	changes[rapid.IntRange(0, len(changes)-1).Draw(t, "change")]()
}

func fill(tools []*writv1.Tool) {
	for i := range tools {
		tools[i] = &writv1.Tool{Server: "s", Name: "n"}
	}
}

func many(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("kind_%d", i)
	}
	return all
}

// A yes to bytes from anywhere is a yes of protovalidate's too.
func FuzzKeeps(f *testing.F) {
	for _, phase := range phases {
		data, err := proto.Marshal(asked(phase))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	rules := compile(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		in := &writv1.DecideRequest{}
		if proto.Unmarshal(data, in) == nil && rules.Keeps(in) && !valid(t, in) {
			t.Errorf("got a yes for %v", in)
		}
	})
}

func compile(t testing.TB) quick.Rules {
	t.Helper()
	rules, err := quick.Compile(&writv1.DecideRequest{}, &writv1.DecideBatchRequest{}, &writv1.ExplainRequest{}, &writv1.SettleRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// valid is protovalidate's verdict.
func valid(t interface{ Fatal(...any) }, in proto.Message) bool {
	err := protovalidate.Validate(in)
	if _, invalid := err.(*protovalidate.ValidationError); err != nil && !invalid {
		t.Fatal(err)
	}
	return err == nil
}
