package authzen

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

const (
	newID  = "01920000-0000-7000-8000-000000000001"
	sentID = "01920000-0000-7000-8000-000000000002"
	digest = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
)

var testCaller = decision.Caller{SPIFFEID: "spiffe://corp.example/gateway", Tenant: "corp"}

// token is an unsigned stand-in for a principal's token.
func token(claims string) string {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	return part(`{"alg":"EdDSA","kid":"k"}`) + "." + part(claims) + "." + part("signature")
}

var agentToken = token(`{"sub":"agent-1","iss":"i"}`)

// recorder is the decision behind the face: it keeps the question.
type recorder struct {
	caller decision.Caller
	req    *writv1.DecideRequest
	resp   *writv1.DecideResponse
	err    error
}

func (r *recorder) decide(_ context.Context, caller decision.Caller, req *writv1.DecideRequest) (*writv1.DecideResponse, error) {
	r.caller, r.req = caller, req
	if r.resp == nil && r.err == nil {
		return &writv1.DecideResponse{DecisionId: newID, Effect: writv1.Effect_EFFECT_ALLOW}, nil
	}
	return r.resp, r.err
}

func (r *recorder) handler(t testing.TB) http.Handler {
	t.Helper()
	h, err := Handler(Config{
		Decide: r.decide,
		Caller: func(q *http.Request) (decision.Caller, error) {
			if q.Header.Get("Test-Caller") == "unknown" {
				return decision.Caller{}, errors.New("planted: a certificate's subject")
			}
			return testCaller, nil
		},
		BaseURL: "https://pdp.example",
		NewID:   func() string { return newID },
	})
	if err != nil {
		t.Fatalf("making the handler: %v", err)
	}
	return h
}

// post asks for one evaluation. Headers are pairs of name and value.
func (r *recorder) post(t testing.TB, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	q := httptest.NewRequest(http.MethodPost, evaluationPath, strings.NewReader(body))
	q.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		if q.Header.Del(headers[i]); headers[i+1] != "" {
			q.Header.Set(headers[i], headers[i+1])
		}
	}
	w := httptest.NewRecorder()
	r.handler(t).ServeHTTP(w, q)
	return w
}

// fail reads an error's body.
func fail(t testing.TB, w *httptest.ResponseRecorder) (reason, message string) {
	t.Helper()
	var body struct {
		Error struct{ Reason, Message string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("the error's body %q: %v", w.Body, err)
	}
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("the error's Content-Type is %q", got)
	}
	return body.Error.Reason, body.Error.Message
}

// call is a tools/call with some context beside the purpose.
func call(context string) string {
	if context != "" {
		context = "," + context
	}
	return `{"subject":{"type":"agent","id":"agent-1","properties":{"token":"` + agentToken + `"}},
 "action":{"name":"tools/call"},
 "resource":{"type":"tool","id":"fs/read","properties":{"definition_digest":"` + digest + `"}},
 "context":{"purpose":"support"` + context + `}}`
}

// ask is any other action.
func ask(action, resource, context string) string {
	return `{"subject":{"type":"identity","id":""},"action":{"name":"` + action + `"},"resource":` + resource +
		`,"context":{"principal_token":"` + agentToken + `","purpose":"support"` + context + `}}`
}
