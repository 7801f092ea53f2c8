package server_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// raw sends bytes as they are.
type raw struct{}

func (raw) Name() string                    { return "proto" }
func (raw) Marshal(v any) ([]byte, error)   { return v.([]byte), nil }
func (raw) Unmarshal(b []byte, v any) error { *v.(*[]byte) = bytes.Clone(b); return nil }

func (r *running) send(ctx context.Context, method string, message []byte) error {
	var answer []byte
	return r.conn.Invoke(ctx, method, message, &answer, grpc.ForceCodec(raw{}))
}

// repeated is a field's bytes, n times.
func repeated(number protowire.Number, value []byte, n int) []byte {
	one := protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), value)
	return bytes.Repeat(one, n)
}

// Bytes that are no message, or that are far larger once they are read, are
// refused as what they are, at little cost.
func TestBadBytes(t *testing.T) {
	p := open(t)
	at := p.serve(t)
	good, err := proto.Marshal(p.listing(t))
	must(t, err)
	field := func(n protowire.Number, value string) []byte {
		return append(bytes.Clone(good), repeated(n, []byte(value), 1)...)
	}
	batchOf := func(request []byte) []byte {
		item := append(repeated(1, []byte("a"), 1), repeated(2, request, 1)...)
		return repeated(1, item, 1)
	}
	before := p.books(t)
	for _, bad := range []struct {
		name, method, says string
		message            []byte
	}{
		{"invalid UTF-8 in a string", writv1.DecisionService_Decide_FullMethodName, "purpose: invalid UTF-8", field(5, canary+"\xff")},
		{"invalid UTF-8 deep inside", writv1.DecisionService_DecideBatch_FullMethodName, "items.request.tool.name: invalid UTF-8",
			batchOf(field(6, string(repeated(2, []byte(canary+"\xff"), 1))))},
		{"cut short", writv1.DecisionService_Decide_FullMethodName, "malformed", good[:len(good)-1]},
		{"no message", writv1.DecisionService_Decide_FullMethodName, "malformed", []byte(canary)},
		{"a million candidates", writv1.DecisionService_Decide_FullMethodName, "candidates: ", repeated(17, nil, 1<<20)},
		{"a million candidates in a batch", writv1.DecisionService_DecideBatch_FullMethodName, "items.request.candidates: ", batchOf(repeated(17, nil, 1<<20))},
		{"a million candidates to explain", writv1.DecisionService_Explain_FullMethodName, "request.candidates: ", repeated(1, repeated(17, nil, 1<<20), 1)},
		{"a million obligations", writv1.DecisionService_Decide_FullMethodName, "supported_obligations: ", repeated(15, nil, 1<<20)},
		{"a million items", writv1.DecisionService_DecideBatch_FullMethodName, "items: ", repeated(1, nil, 1<<20)},
		{"a million reports", writv1.DecisionService_Settle_FullMethodName, "obligations: ", repeated(4, nil, 1<<20)},
		{"10,000 candidates", writv1.DecisionService_Decide_FullMethodName, "candidates: ", repeated(17, nil, 10_000)},
		{"10,000 items", writv1.DecisionService_DecideBatch_FullMethodName, "items: ", repeated(1, nil, 10_000)},
	} {
		t.Run(bad.name, func(t *testing.T) {
			var err error
			spent := allocated(func() { err = at.send(t.Context(), bad.method, bad.message) })
			f := expect(t, err, codes.InvalidArgument, "FIELD_INVALID")
			if !strings.Contains(f.Message, bad.says) {
				t.Errorf("the message %.300q does not say %q", f.Message, bad.says)
			}
			secretive(t, err)
			if most := uint64(32 << 20); spent > most {
				t.Errorf("refusing %d bytes took %d bytes of memory", len(bad.message), spent)
			}
		})
	}
	err = at.send(t.Context(), writv1.DecisionService_Decide_FullMethodName, field(7, strings.Repeat(canary, 1<<18)))
	expect(t, err, codes.ResourceExhausted, "") // gRPC's own: it is not told to be asked again
	secretive(t, err)
	if after := p.books(t); after != before {
		t.Errorf("bad bytes changed the books from %+v to %+v", before, after)
	}
	if text := p.log.String(); text != "" {
		t.Errorf("bad bytes are in the server's log: %.500s", text)
	}
}

// A document that is many times as large once it is read is refused within
// bounds.
func TestDocumentThatExpands(t *testing.T) {
	p := open(t)
	for name, text := range map[string]string{
		"zeros":  zeros,
		"deep":   strings.Repeat(`{"a":`, 64) + strings.Repeat("[", 1<<20-400),
		"keys":   `{"a":{` + strings.Repeat(`"":0,`, 200_000) + `"b":0}}`,
		"arrays": `{"a":[` + strings.Repeat("[],", 340_000) + `[]]}`,
	} {
		t.Run(name, func(t *testing.T) {
			request := p.listing(t)
			request.Arguments = []byte(text)
			var err error
			spent := allocated(func() { _, err = p.Decide(t.Context(), gateway, request) })
			expect(t, err, codes.InvalidArgument, "JSON_INVALID")
			if most := uint64(100 << 20); spent > most {
				t.Errorf("refusing %d bytes took %d bytes of memory", len(text), spent)
			}
		})
	}
}

// The JSON face holds a list to the same bounds before it looks at the elements.
func TestEvaluationThatExpands(t *testing.T) {
	p := open(t)
	at := p.serve(t)
	for name, list := range map[string]string{
		"candidates":            `"candidates":[` + strings.Repeat(`{"name":""},`, 66_000) + `{"name":""}]`,
		"supported_obligations": `"supported_obligations":[` + strings.Repeat(`"",`, 190_000) + `""]`,
	} {
		t.Run(name, func(t *testing.T) {
			body := fmt.Sprintf(`{"subject":{"type":"agent","id":"","properties":{"token":"x"}},"action":{"name":"tools/list"},
				"resource":{"type":"mcp_server","id":"filesystem"},"context":{"purpose":"support",%s}}`, list)
			var status int
			var answer string
			spent := allocated(func() { status, answer = at.evaluate(t, body) })
			if status != http.StatusBadRequest || !strings.Contains(answer, "FIELD_INVALID") || len(answer) > 2048 {
				t.Errorf("got %d %.300s", status, answer)
			}
			if most := uint64(100 << 20); spent > most {
				t.Errorf("refusing %d bytes took %d bytes of memory", len(body), spent)
			}
		})
	}
}

// allocated is how many bytes the whole process allocates while f runs.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
