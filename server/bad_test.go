package server_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/identity"
)

// canary stands in every broken value. No error may repeat it.
const canary = "canary-4111111111111111"

// badRequest is a question that must be refused before anything is decided.
type badRequest struct {
	name   string
	reason string // empty: FIELD_INVALID
	says   string // what the message must hold: the field, the place
	break_ func(*writv1.DecideRequest)
}

func arguments(text string) func(*writv1.DecideRequest) {
	return func(r *writv1.DecideRequest) { r.Arguments = []byte(text) }
}

func candidates(n int) []*writv1.Tool {
	all := make([]*writv1.Tool, n)
	for i := range all {
		all[i] = &writv1.Tool{Server: "filesystem", Name: fmt.Sprintf("tool%d", i)}
	}
	return all
}

// into turns a call into a question of another phase.
func into(r *writv1.DecideRequest, phase writv1.Phase) {
	r.Phase, r.Tool, r.Arguments = phase, nil, nil
	switch phase {
	case writv1.Phase_PHASE_LIST:
		r.Candidates = candidates(1)
	case writv1.Phase_PHASE_PROMPT:
		r.Destination = &writv1.Destination{Host: "api.example-ai.com"}
		r.Content = &writv1.Content{MediaType: "text/plain", Data: []byte(canary)}
	}
}

var badDocuments = []badRequest{
	{"nested 65 deep", "JSON_INVALID", "arguments: at /a/a", arguments(strings.Repeat(`{"a":`, 65) + `"` + canary + `"` + strings.Repeat("}", 65))},
	{"duplicate key", "JSON_INVALID", "arguments: at /path: duplicate key", arguments(`{"path":"` + canary + `","path":"b"}`)},
	{"duplicate key, escaped", "JSON_INVALID", "duplicate key", arguments(`{"path":"` + canary + `","p\u0061th":"b"}`)},
	{"invalid UTF-8", "JSON_INVALID", "arguments: at /path: invalid UTF-8", arguments("{\"path\":\"" + canary + "\xff\"}")},
	{"half a surrogate", "JSON_INVALID", "arguments: at /path: invalid", arguments(`{"path":"` + canary + `\ud800"}`)},
	{"NaN", "JSON_INVALID", "arguments: at /n: invalid JSON", arguments(`{"path":"` + canary + `","n":NaN}`)},
	{"1e999", "JSON_INVALID", "arguments: at /n: number out of range", arguments(`{"path":"` + canary + `","n":1e999}`)},
	{"beyond 2^53", "JSON_INVALID", "arguments: at /n: integer beyond 2^53", arguments(`{"n":9007199254740992}`)},
	{"cut short", "JSON_INVALID", "arguments: at /path: unexpected end", arguments(`{"path":"` + canary)},
	{"two documents", "JSON_INVALID", "arguments: more than one JSON value", arguments(`{"path":"` + canary + `"}{}`)},
	{"an array", "JSON_INVALID", "arguments: not a JSON object", arguments(`["` + canary + `"]`)},
	{"a comment", "JSON_INVALID", "arguments: ", arguments(`{/*` + canary + `*/}`)},
	{"half a million zeros", "JSON_INVALID", "arguments: at /a/199997: more than 200000 values", arguments(zeros)},
	{"a key of a megabyte", "JSON_INVALID", "arguments: at /kkkkkk", arguments(`{"` + strings.Repeat("k", 1<<20-20) + `":NaN}`)},
	{"context", "JSON_INVALID", "context: at /a: ", func(r *writv1.DecideRequest) { r.Context = []byte(`{"a":"` + canary + `}`) }},
	{"properties", "JSON_INVALID", "resource.properties: ", func(r *writv1.DecideRequest) {
		r.Resource = &writv1.Resource{Type: "Payment", Id: "p", Properties: []byte(`"` + canary + `"`)}
	}},
	{"content", "JSON_INVALID", "content.data: unexpected end", func(r *writv1.DecideRequest) {
		into(r, writv1.Phase_PHASE_PROMPT)
		r.Content = &writv1.Content{MediaType: "application/json", Data: []byte(`["` + canary)}
	}},
	{"plain text that is none", "JSON_INVALID", "content.data: invalid UTF-8", func(r *writv1.DecideRequest) {
		into(r, writv1.Phase_PHASE_PROMPT)
		r.Content.Data = []byte(canary + "\xc0\xaf")
	}},
}

// zeros is a document of 1 MiB that is ten times as large once it is read.
var zeros = `{"a":[` + strings.Repeat("0,", 500_000) + `0]}`

var badFields = []badRequest{
	{"oversized arguments", "", "arguments: ", arguments(`{"path":"` + strings.Repeat(canary, 1<<16) + `"}`)},
	{"oversized context", "", "context: ", func(r *writv1.DecideRequest) { r.Context = []byte(strings.Repeat(canary, 1<<12)) }},
	{"oversized token", "", "principal_token: ", func(r *writv1.DecideRequest) { r.PrincipalToken = strings.Repeat(canary, 1<<10) }},
	{"phase 99", "", "phase: ", func(r *writv1.DecideRequest) { r.Phase = 99 }},
	{"phase -1", "", "phase: ", func(r *writv1.DecideRequest) { r.Phase = -1 }},
	{"no phase", "", "phase: ", func(r *writv1.DecideRequest) { r.Phase = 0 }},
	{"no tool", "", "tool is required", func(r *writv1.DecideRequest) { r.Tool = nil }},
	{"empty tool", "", "tool.server: ", func(r *writv1.DecideRequest) { r.Tool = &writv1.Tool{} }},
	{"tool with a space", "", "tool.name: ", func(r *writv1.DecideRequest) { r.Tool.Name = canary + " x" }},
	{"tool with a line break", "", "tool.name: ", func(r *writv1.DecideRequest) { r.Tool.Name = canary + "\n" }},
	{"server that climbs", "", "tool.server: ", func(r *writv1.DecideRequest) { r.Tool.Server = "../" + canary }},
	{"digest in upper case", "", "tool.definition_digest: ", func(r *writv1.DecideRequest) {
		r.Tool.DefinitionDigest = strings.ToUpper(r.Tool.DefinitionDigest)
	}},
	{"purpose with a wildcard", "", "purpose: ", func(r *writv1.DecideRequest) { r.Purpose = canary + "*" }},
	{"no purpose", "", "purpose: ", func(r *writv1.DecideRequest) { r.Purpose = "" }},
	{"request id in upper case", "", "request_id: ", func(r *writv1.DecideRequest) { r.RequestId = "01981F6E-7C00-7ABC-8DEF-0123456789AB" }},
	{"request id v4", "", "request_id: ", func(r *writv1.DecideRequest) { r.RequestId = "4f9c2f6e-7c00-4abc-8def-0123456789ab" }},
	{"request id with a line break", "", "request_id: ", func(r *writv1.DecideRequest) { r.RequestId += "\n" }},
	{"no request id", "", "request_id: ", func(r *writv1.DecideRequest) { r.RequestId = "" }},
	{"session with a space", "", "session_id: ", func(r *writv1.DecideRequest) { r.SessionId = canary + " x" }},
	{"ticket with a quote", "", "ticket_id: ", func(r *writv1.DecideRequest) { r.TicketId = canary + "'" }},
	{"candidates in a call", "", "candidates are required in the phase LIST", func(r *writv1.DecideRequest) { r.Candidates = candidates(1) }},
	{"no candidates in a list", "", "candidates are required", func(r *writv1.DecideRequest) {
		into(r, writv1.Phase_PHASE_LIST)
		r.Candidates = nil
	}},
	{"513 candidates", "", "candidates: ", func(r *writv1.DecideRequest) {
		into(r, writv1.Phase_PHASE_LIST)
		r.Candidates = candidates(513)
	}},
	{"arguments in a prompt", "", "arguments: only a CALL and a RESULT have any", func(r *writv1.DecideRequest) {
		into(r, writv1.Phase_PHASE_PROMPT)
		r.Arguments = []byte(`{"a":"` + canary + `"}`)
	}},
	{"prompt without content", "", "content is required", func(r *writv1.DecideRequest) {
		into(r, writv1.Phase_PHASE_PROMPT)
		r.Content = nil
	}},
	{"call with content", "", "content is required in the phases PROMPT and RESULT and refused in any other", func(r *writv1.DecideRequest) {
		r.Content = &writv1.Content{MediaType: "text/plain", Data: []byte(canary)}
	}},
	{"prompt without destination", "", "destination is required", func(r *writv1.DecideRequest) {
		into(r, writv1.Phase_PHASE_PROMPT)
		r.Destination = nil
	}},
	{"media type", "", "content.media_type: ", func(r *writv1.DecideRequest) {
		into(r, writv1.Phase_PHASE_PROMPT)
		r.Content.MediaType = canary
	}},
	{"result without its call", "", "call_decision_id is required", func(r *writv1.DecideRequest) {
		r.Phase, r.Content = writv1.Phase_PHASE_RESULT, &writv1.Content{MediaType: "text/plain"}
	}},
	{"call of a call", "", "call_decision_id is required in the phase RESULT and refused", func(r *writv1.DecideRequest) {
		r.CallDecisionId = "01981f6e-7c00-7abc-8def-0123456789ab"
	}},
	{"currency without money", "", "cost: currency is required with money and refused without", func(r *writv1.DecideRequest) {
		r.Cost = &writv1.Cost{Currency: "EUR"}
	}},
	{"money without currency", "", "cost: currency", func(r *writv1.DecideRequest) { r.Cost = &writv1.Cost{Micros: 1} }},
	{"negative calls", "", "cost.calls: ", func(r *writv1.DecideRequest) { r.Cost = &writv1.Cost{Calls: -1} }},
	{"negative tokens", "", "cost.tokens: ", func(r *writv1.DecideRequest) { r.Cost = &writv1.Cost{Tokens: -4111111111111111} }},
	{"more calls than there are", "", "cost.calls: ", func(r *writv1.DecideRequest) { r.Cost = &writv1.Cost{Calls: 1<<63 - 1} }},
	{"host in upper case", "", "destination.host: ", func(r *writv1.DecideRequest) { r.Destination = &writv1.Destination{Host: "HOST." + canary} }},
	{"resource of no type", "", "resource.type: ", func(r *writv1.DecideRequest) { r.Resource = &writv1.Resource{Id: canary} }},
	{"obligation twice", "", "supported_obligations: ", func(r *writv1.DecideRequest) { r.SupportedObligations = []string{"redact", "redact"} }},
	{"traceparent", "", "trace.traceparent: ", func(r *writv1.DecideRequest) { r.Trace = &writv1.TraceContext{Traceparent: canary} }},
	{"everything", "", " more", func(r *writv1.DecideRequest) {
		*r = writv1.DecideRequest{RequestId: canary + "!", Phase: 1, SessionId: canary + "!", Purpose: canary + "!", TicketId: canary + "!"}
		for range 512 {
			r.Candidates = append(r.Candidates, &writv1.Tool{Server: canary + "!", Name: canary + "!", DefinitionDigest: canary})
		}
	}},
}

func TestBadRequests(t *testing.T) {
	p := open(t)
	at := p.serve(t)
	before := p.books(t)
	for _, bad := range append(badDocuments, badFields...) {
		t.Run(bad.name, func(t *testing.T) {
			request := p.listing(t)
			bad.break_(request)
			if bad.reason == "" {
				bad.reason = "FIELD_INVALID"
			}
			answer, err := at.Decide(t.Context(), request)
			if answer != nil {
				t.Fatalf("answered: %v", answer)
			}
			f := expect(t, err, codes.InvalidArgument, bad.reason)
			if !strings.Contains(f.Message, bad.says) {
				t.Errorf("the message %.300q does not say %q", f.Message, bad.says)
			}
			secretive(t, err)
		})
	}
	if after := p.books(t); after != before {
		t.Errorf("bad requests changed the books from %+v to %+v", before, after)
	}
	if text := p.log.String(); text != "" {
		t.Errorf("bad requests are in the server's log: %.500s", text)
	}
}

// secretive holds an error to what it may tell: no value, and no more than every
// client takes of trailers.
func secretive(t *testing.T, err error) {
	t.Helper()
	text := prototext.Format(status.Convert(err).Proto())
	if strings.Contains(text, canary) || strings.Contains(text, "4111111111111111") {
		t.Errorf("the error repeats a value: %.500s", text)
	}
	if len(text) > 6000 {
		t.Errorf("the error takes %d bytes", len(text))
	}
}

func TestBadTokens(t *testing.T) {
	p := open(t)
	at := p.serve(t)
	before := p.books(t)
	stranger, err := identity.NewMinter(strings.NewReader(strings.Repeat("s", 32)))
	must(t, err)
	good := p.token(t)
	with := func(change func(*identity.Claims)) string {
		c := claims()
		change(&c)
		return p.mint(t, c, time.Now())
	}
	foreign, err := stranger.Mint(claims(), time.Now(), newID(t))
	must(t, err)
	for _, bad := range []struct {
		name, token, reason string
		code                codes.Code
	}{
		{"none", "", "FIELD_INVALID", codes.InvalidArgument},
		{"garbage", canary, "TOKEN_INVALID", codes.Unauthenticated},
		{"dots", "..", "TOKEN_INVALID", codes.Unauthenticated},
		{"cut short", good[:len(good)-4], "TOKEN_INVALID", codes.Unauthenticated},
		{"signed by a stranger", foreign, "TOKEN_INVALID", codes.Unauthenticated},
		{"another's signature", good[:strings.LastIndex(good, ".")] + foreign[strings.LastIndex(foreign, "."):], "TOKEN_INVALID", codes.Unauthenticated},
		{"expired", p.mint(t, claims(), time.Now().Add(-time.Hour)), "TOKEN_EXPIRED", codes.Unauthenticated},
		{"not valid yet", p.mint(t, claims(), time.Now().Add(time.Hour)), "TOKEN_EXPIRED", codes.Unauthenticated},
		{"another issuer", with(func(c *identity.Claims) { c.Issuer = canary }), "TOKEN_INVALID", codes.Unauthenticated},
		{"another audience", with(func(c *identity.Claims) { c.Audience = canary }), "TOKEN_CLAIMS", codes.Unauthenticated},
	} {
		t.Run(bad.name, func(t *testing.T) {
			request := p.listing(t)
			request.PrincipalToken = bad.token
			_, err := at.Decide(t.Context(), request)
			expect(t, err, bad.code, bad.reason)
			secretive(t, err)
			if text := status.Convert(err).Message(); len(bad.token) > 8 && strings.Contains(text, bad.token[:8]) {
				t.Errorf("the error repeats the token: %q", text)
			}
			_, err = at.Explain(t.Context(), &writv1.ExplainRequest{Request: request})
			expect(t, err, bad.code, bad.reason)
		})
	}
	if after := p.books(t); after != before {
		t.Errorf("bad tokens changed the books from %+v to %+v", before, after)
	}
}

// A deadline that has passed is no answer and no record.
func TestDeadlinePassed(t *testing.T) {
	p := open(t)
	at := p.serve(t)
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	_, err := p.Decide(ctx, gateway, p.listing(t))
	expect(t, err, codes.DeadlineExceeded, "DEADLINE")
	_, err = at.Decide(ctx, p.listing(t))
	expect(t, err, codes.DeadlineExceeded, "") // the client's own
	if got := p.books(t); got != (books{}) {
		t.Errorf("wrote %+v", got)
	}
}
