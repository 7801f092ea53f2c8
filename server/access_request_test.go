package server_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server"
)

// site asks the JSON face.
type site struct {
	*pdp
	base string
	// away moves the clock of the server.
	away time.Duration
}

func (s *site) send(t *testing.T, method, path string, header http.Header, body any) (int, http.Header, map[string]any) {
	t.Helper()
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		must(t, err)
		sent = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, s.base+path, sent)
	must(t, err)
	r.Header.Set("Content-Type", "application/json")
	maps.Copy(r.Header, header)
	response, err := http.DefaultClient.Do(r)
	must(t, err)
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	must(t, err)
	var out map[string]any
	must(t, json.Unmarshal(data, &out))
	return response.StatusCode, response.Header, out
}

// at walks into an answer.
func at(v any, path ...string) any {
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

func (s *site) question(t *testing.T, context map[string]any) map[string]any {
	t.Helper()
	in := s.refund(t, "")
	all := map[string]any{"purpose": "support", "arguments": json.RawMessage(in.Arguments)}
	maps.Copy(all, context)
	return map[string]any{
		"subject":  map[string]any{"type": "agent", "id": agent, "properties": map[string]any{"token": in.PrincipalToken}},
		"action":   map[string]any{"name": "tools/call"},
		"resource": map[string]any{"type": "tool", "id": "stripe/create_refund", "properties": map[string]any{"definition_digest": in.Tool.DefinitionDigest}},
		"context":  all,
	}
}

func openSite(t *testing.T) *site {
	t.Helper()
	s := &site{}
	s.pdp = open(t, func(_ *pdp, c *server.Config) { c.Now = func() time.Time { return time.Now().Add(s.away) } })
	s.desk(t, map[string][]string{"ann": {"finance"}})
	s.base = s.serve(t).baseURL
	return s
}

// The whole way of the profile: denial, request, approval by another, evaluation
// again, allow; and a second use is denied.
func TestAccessRequest(t *testing.T) {
	s := openSite(t)
	_, _, metadata := s.send(t, "GET", "/.well-known/authzen-configuration", nil, nil)
	if got, _ := metadata["access_request_endpoint"].(string); !strings.HasSuffix(got, "/access/v1/requests") {
		t.Fatalf("the metadata: %v", metadata)
	}
	_, _, denial := s.send(t, "POST", "/access/v1/evaluation", nil, s.question(t, nil))
	id, _ := at(denial, "context", "evaluation_id").(string)
	expires, _ := at(denial, "context", "access_request", "expires_at").(string)
	if denial["decision"] != false || id == "" || expires == "" {
		t.Fatalf("the denial: %v", denial)
	}
	submission := s.question(t, map[string]any{"business_justification": "The customer was charged twice."})
	delete(submission["subject"].(map[string]any), "properties")
	submission["denial"] = map[string]any{"evaluation_id": id, "expires_at": expires}
	code, header, out := s.send(t, "POST", "/access/v1/requests", http.Header{"Idempotency-Key": {"k1"}}, submission)
	task, _ := at(out, "task", "id").(string)
	if code != 202 || at(out, "task", "status") != "pending" || task == "" || header.Get("Location") != at(out, "task", "status_endpoint") || out["result"] != nil {
		t.Fatalf("asked: %d %v", code, out)
	}
	if _, _, again := s.send(t, "POST", "/access/v1/requests", http.Header{"Idempotency-Key": {"k1"}}, submission); at(again, "task", "id") != task {
		t.Errorf("asked again: %v", again)
	}
	submission["context"].(map[string]any)["business_justification"] = "Another."
	if code, _, out := s.send(t, "POST", "/access/v1/requests", http.Header{"Idempotency-Key": {"k1"}}, submission); code != 409 || !strings.HasSuffix(out["type"].(string), ":duplicate_request") {
		t.Errorf("the key of another submission: %d %v", code, out)
	}
	approval := map[string]any{"approval": map[string]any{"id": task, "approved_until": "2030-01-01T00:00:00Z"}}
	if _, _, out := s.send(t, "POST", "/access/v1/evaluation", nil, s.question(t, approval)); out["decision"] != false || !strings.Contains(toJSON(t, out), "ticket.pending") {
		t.Errorf("before it is approved: %v", out)
	}
	_, err := s.approve(t, task, agent)
	turnedDown(t, "the agent approves", err, "TICKET_REFUSED", "ticket.involved")
	_, err = s.ApproveTicket(t.Context(), gateway, &writv1.ApproveTicketRequest{RequestId: newID(t), Reason: "x", TicketId: task})
	turnedDown(t, "the caller approves", err, "TICKET_REFUSED", "ticket.involved")
	_, err = s.approve(t, task, "ann")
	must(t, err)
	code, _, out = s.send(t, "GET", "/access/v1/requests/"+task, nil, nil)
	if code != 200 || at(out, "task", "status") != "approved" || at(out, "result", "mode") != "reevaluate" || at(out, "result", "approval", "id") != task {
		t.Fatalf("approved: %d %v", code, out)
	}
	if strings.Contains(toJSON(t, out), "ann") {
		t.Error("a task tells who approved it")
	}
	if _, _, out := s.send(t, "POST", "/access/v1/evaluation", nil, s.question(t, map[string]any{"approval": at(out, "result", "approval")})); out["decision"] != true {
		t.Errorf("with the approval: %v", out)
	}
	if _, _, out := s.send(t, "POST", "/access/v1/evaluation", nil, s.question(t, approval)); out["decision"] != false || !strings.Contains(toJSON(t, out), "ticket.used") {
		t.Errorf("a second time: %v", out)
	}
	if _, _, out := s.send(t, "GET", "/access/v1/requests/"+task, nil, nil); at(out, "task", "status") != "expired" || out["result"] != nil {
		t.Errorf("in the end: %v", out)
	}
	s.verify(t)
}

// What is asked for is what was denied, to this caller and not long ago.
func TestAccessRequestBinding(t *testing.T) {
	s := openSite(t)
	denied := func(question map[string]any) (id, expires string) {
		t.Helper()
		_, _, denial := s.send(t, "POST", "/access/v1/evaluation", nil, question)
		id, _ = at(denial, "context", "id").(string)
		expires, _ = at(denial, "context", "access_request", "expires_at").(string)
		return id, expires
	}
	id, expires := denied(s.question(t, nil))
	hopeless := s.question(t, nil)
	hopeless["context"].(map[string]any)["arguments"] = map[string]any{"payment_intent": "pi_1", "amount": 200000}
	other, none := denied(hopeless)
	if none != "" {
		t.Errorf("a denial that no ticket lifts is requestable until %s", none)
	}
	before := s.books(t)
	for name, c := range map[string]struct {
		change func(map[string]any)
		status int
		kind   string
	}{
		"no denial": {func(m map[string]any) { delete(m, "denial") }, 400, "invalid_denial_binding"},
		"another tool": {func(m map[string]any) {
			m["resource"] = map[string]any{"type": "tool", "id": "stripe/cancel_subscription"}
		}, 400, "invalid_denial_binding"},
		"another agent":   {func(m map[string]any) { m["subject"] = map[string]any{"type": "agent", "id": "another"} }, 400, "invalid_denial_binding"},
		"other arguments": {func(m map[string]any) { m["context"] = map[string]any{"arguments": map[string]any{"amount": 1}} }, 400, "invalid_denial_binding"},
		"another expiry": {func(m map[string]any) {
			m["denial"] = map[string]any{"evaluation_id": id, "expires_at": "2030-01-01T00:00:00Z"}
		}, 400, "invalid_denial_binding"},
		"no such denial":    {func(m map[string]any) { m["denial"] = boundTo(t, newID(t)) }, 400, "invalid_denial_binding"},
		"not requestable":   {func(m map[string]any) { m["denial"] = boundTo(t, other) }, 400, "invalid_denial_binding"},
		"an unknown member": {func(m map[string]any) { m["items"] = []any{} }, 400, ""},
		"another action":    {func(m map[string]any) { m["action"] = map[string]any{"name": "connect"} }, 400, ""},
		"two lines":         {func(m map[string]any) { m["context"] = map[string]any{"business_justification": "a\nb"} }, 400, ""},
		"a past end": {func(m map[string]any) {
			m["requested_access"] = map[string]any{"requested_until": "2020-01-01T00:00:00Z"}
		}, 409, ""},
	} {
		submission := s.question(t, nil)
		delete(submission["subject"].(map[string]any), "properties")
		submission["denial"] = map[string]any{"evaluation_id": id, "expires_at": expires}
		c.change(submission)
		code, _, out := s.send(t, "POST", "/access/v1/requests", nil, submission)
		kind, _ := out["type"].(string)
		if code != c.status || !strings.HasSuffix(kind, c.kind) {
			t.Errorf("%s: %d %v", name, code, out)
		}
	}
	if s.books(t) != before {
		t.Error("what was refused left something behind")
	}
	for path, want := range map[string]string{"none": "unknown_task", "a%20b": "unknown_task"} {
		if code, _, out := s.send(t, "GET", "/access/v1/requests/"+path, nil, nil); code != 404 || !strings.HasSuffix(out["type"].(string), want) {
			t.Errorf("the task %s: %d %v", path, code, out)
		}
	}
	s.away = 61 * time.Minute
	submission := s.question(t, nil)
	delete(submission["subject"].(map[string]any), "properties")
	submission["denial"] = map[string]any{"evaluation_id": id, "expires_at": expires}
	if code, _, out := s.send(t, "POST", "/access/v1/requests", nil, submission); code != 400 || !strings.HasSuffix(out["type"].(string), "expired_denial") {
		t.Errorf("an old denial: %d %v", code, out)
	}
}

// boundTo is the denial of an id, with the expiry that the face would have told.
func boundTo(t *testing.T, id string) map[string]any {
	t.Helper()
	raw, err := parseID(id)
	must(t, err)
	millis := int64(0)
	for _, b := range raw[:6] {
		millis = millis<<8 | int64(b)
	}
	return map[string]any{"evaluation_id": id, "expires_at": time.UnixMilli(millis).UTC().Add(time.Hour).Format(time.RFC3339Nano)}
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	must(t, err)
	return string(text)
}
