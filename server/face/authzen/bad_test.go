package authzen

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

type bad struct {
	name    string
	body    string
	headers []string
	status  int
	reason  string
	message string
}

// swap changes a call's text.
func swap(old, new string) string {
	body := call("")
	if !strings.Contains(body, old) {
		panic("the call has no " + old)
	}
	return strings.Replace(body, old, new, 1)
}

func badBodies() []bad {
	return append(append(badJSON(), badKeys()...), badMeaning()...)
}

func badJSON() []bad {
	invalid := func(name, body, message string) bad {
		return bad{name: name, body: body, status: 400, reason: "JSON_INVALID", message: message}
	}
	return []bad{
		invalid("empty", "", "unexpected end of the document"),
		invalid("not JSON", "hello", "invalid JSON near byte 0"),
		invalid("two values", call("")+"{}", "more than one JSON value"),
		invalid("cut", call("")[:100], "at /subject/properties/token: unexpected end of the document"),
		invalid("a trailing comma", call(`"arguments":{"a":1,}`), "at /context/arguments"),
		invalid("a comment", call(`"arguments":{/* x */}`), "at /context/arguments"),
		invalid("duplicate key above", swap(`"action"`, `"subject":{},"action"`), "at /subject: duplicate key"),
		invalid("duplicate key in the arguments", call(`"arguments":{"a":1,"a":2}`), "at /context/arguments/a: duplicate key"),
		invalid("duplicate key by an escape", call(`"arguments":{"a":1,"\u0061":2}`), "at /context/arguments/a: duplicate key"),
		invalid("invalid UTF-8", call("\"session_id\":\"\xff\""), "at /context/session_id: invalid UTF-8"),
		invalid("half a surrogate", call(`"session_id":"\ud800"`), "at /context"),
		invalid("a number out of range", call(`"extra":{"n":1e999}`), "at /context/extra/n: number out of range"),
		invalid("an integer beyond 2^53", call(`"extra":{"n":9007199254740993}`), "at /context/extra/n: integer beyond 2^53"),
		invalid("NaN", call(`"extra":{"n":NaN}`), "at /context/extra/n: invalid JSON"),
		invalid("too deep", call(`"extra":{"n":`+strings.Repeat("[", 62)+strings.Repeat("]", 62)+`}`), "at /context/extra/n/0"),
		invalid("too many values", call(`"extra":{"n":[`+strings.Repeat("0,", 200_000)+`0]}`), "at /context/extra/n/"),
	}
}

func badKeys() []bad {
	unknown := func(name, body, at string) bad {
		return bad{name: "unknown key " + name, body: body, status: 400, reason: "FIELD_INVALID", message: "at " + at + ": unknown key"}
	}
	null := func(body, at string) bad {
		return bad{name: "null " + at, body: body, status: 400, reason: "FIELD_INVALID", message: "at " + at + ": null is not a value; leave the key out"}
	}
	wrong := func(body, at string) bad {
		return bad{name: "wrong type " + at, body: body, status: 400, reason: "FIELD_INVALID", message: "at " + at + ": a value of another type or range is wanted"}
	}
	return []bad{
		unknown("above", swap(`"action"`, `"evaluations":[],"action"`), "/evaluations"),
		unknown("in other case", swap(`"action"`, `"Action"`), "/Action"),
		unknown("of the subject", swap(`"type":"agent"`, `"type":"agent","name":"x"`), "/subject/name"),
		unknown("of the subject's properties", swap(`"token"`, `"admin":true,"token"`), "/subject/properties/admin"),
		unknown("of the action", swap(`"name"`, `"method":"x","name"`), "/action/method"),
		unknown("of the action's properties", swap(`"name"`, `"properties":{"x":1},"name"`), "/action/properties/x"),
		unknown("of the resource", swap(`"type":"tool"`, `"type":"tool","owner":1`), "/resource/owner"),
		unknown("of the tool's properties", swap(`"definition_digest"`, `"digest"`), "/resource/properties/digest"),
		unknown("of the server's properties", ask("tools/list", `{"type":"mcp_server","id":"fs","properties":{"x":1}}`, ""), "/resource/properties/x"),
		unknown("of the destination's properties", ask("connect", `{"type":"destination","id":"h","properties":{"host":"x"}}`, ""), "/resource/properties/host"),
		unknown("of the context", call(`"agent":"x"`), "/context/agent"),
		unknown("with a slash and a tilde", call(`"a/b~":"x"`), "/context/a~1b~0"),
		unknown("of the cost", call(`"cost":{"usd":1}`), "/context/cost/usd"),
		unknown("of the content", call(`"content":{"type":"x"}`), "/context/content/type"),
		unknown("of a candidate", call(`"candidates":[{"name":"a"},{"title":"b"}]`), "/context/candidates/1/title"),
		unknown("of the business resource", call(`"resource":{"owner":1}`), "/context/resource/owner"),
		unknown("of the trace", call(`"trace":{"baggage":""}`), "/context/trace/baggage"),
		null(`{"subject":null}`, "/subject"),
		null(call(`"supported_obligations":null`), "/context/supported_obligations"),
		null(call(`"supported_obligations":[null]`), "/context/supported_obligations/0"),
		null(call(`"cost":null`), "/context/cost"),
		null(call(`"cost":{"calls":null}`), "/context/cost/calls"),
		null(call(`"principal_token":null`), "/context/principal_token"),
		null(call(`"candidates":[null]`), "/context/candidates/0"),
		null(ask("connect", `{"type":"destination","id":"h","properties":null}`, ""), "/resource/properties"),
		null(ask("connect", `{"type":"destination","id":"h","properties":{"vendor":null}}`, ""), "/resource/properties/vendor"),
		wrong(`{"subject":"agent"}`, "/subject"),
		wrong(call(`"cost":{"calls":"1"}`), "/context/cost/calls"),
		wrong(call(`"cost":{"calls":1.5}`), "/context/cost/calls"),
		wrong(call(`"cost":{"calls":1e30}`), "/context/cost/calls"),
		wrong(swap(`"purpose":"support"`, `"purpose":["support"]`), "/context/purpose"),
		wrong(call(`"content":{"data":{}}`), "/context/content/data"),
		wrong(ask("connect", `{"type":"destination","id":"h","properties":[]}`, ""), "/resource/properties"),
		{name: "an array", body: "[]", status: 400, reason: "FIELD_INVALID", message: "a value of another type or range is wanted"},
		{name: "a very long unknown key", body: call(`"` + strings.Repeat("k", 100_000) + `":1`), status: 400, reason: "FIELD_INVALID",
			message: "at /context/" + strings.Repeat("k", 247) + "...: unknown key"},
	}
}

func badMeaning() []bad {
	field := func(name, body, message string, headers ...string) bad {
		return bad{name: name, body: body, headers: headers, status: 400, reason: "FIELD_INVALID", message: message}
	}
	where := "the principal token must be in /subject/properties/token or in /context/principal_token, and not in both"
	subject := swap(`"agent-1"`, `"planted"`)
	return []bad{
		field("no subject", `{"action":{"name":"x"},"resource":{"type":"t","id":"i"}}`, "at /subject: type or id is missing"),
		field("no subject id", swap(`"id":"agent-1",`, ``), "at /subject: type or id is missing"),
		field("no action", `{"subject":{"type":"agent","id":"a"},"resource":{"type":"t","id":"i"}}`, "at /action: name is missing"),
		field("no action name", swap(`"name":"tools/call"`, ``), "at /action: name is missing"),
		field("no resource", `{"subject":{"type":"agent","id":"a"},"action":{"name":"x"}}`, "at /resource: type or id is missing"),
		field("no resource id", swap(`"id":"fs/read",`, ``), "at /resource: type or id is missing"),
		field("a subject of another type", swap(`"agent"`, `"user"`), `at /subject/type: not "agent" or "identity"`),
		field("no token", swap(`"token":"`+agentToken+`"`, ``), where),
		field("an empty token", swap(agentToken, ``), where),
		field("two tokens", call(`"principal_token":"`+agentToken+`"`), where),
		field("two proofs", strings.Replace(call(`"principal_proof":"a.b.c"`), `"token":`, `"proof":"a.b.c","token":`, 1),
			"the proof must be in /subject/properties/proof or in /context/principal_proof, and not in both"),
		field("another subject", subject, "at /subject/id: not the subject of the principal token"),
		field("a subject that the token lacks", strings.Replace(call(""), agentToken, token(`{"iss":"i"}`), 1), "at /subject/id: not the subject of the principal token"),
		field("a subject that is no string", strings.Replace(call(""), agentToken, token(`{"sub":["agent-1"]}`), 1), "at /subject/id: not the subject of the principal token"),
		field("a token too large", strings.Replace(call(""), agentToken, strings.Repeat("a", maxToken+1), 1), "the principal token is too large"),
		field("an unknown action", swap(`"tools/call"`, `"resources/read"`), "at /action/name: not an action that is decided on"),
		field("an action in other case", swap(`"tools/call"`, `"Tools/Call"`), "at /action/name: not an action that is decided on"),
		field("a resource of another type", swap(`"tool"`, `"mcp_tool"`), "at /resource/type: the action wants the type tool"),
		field("a tool without server", swap(`"fs/read"`, `"read"`), "at /resource/id: not server/name, and no server in /resource/properties"),
		field("two destinations", ask("connect", `{"type":"destination","id":"h"}`, `,"destination":{"host":"g"}`), "at /context/destination: the resource is the destination already"),
		field("content without anything", call(`"content":{"media_type":"text/plain"}`), "at /context/content: data or document is wanted, and not both"),
		field("content twice", call(`"content":{"media_type":"application/json","data":"","document":{}}`), "at /context/content: data or document is wanted, and not both"),
		field("a document that is text", call(`"content":{"media_type":"text/plain","document":{}}`), "at /context/content/media_type: a document is application/json"),
		field("a request id of version 4", call(""), "X-Request-ID is not a UUIDv7 in lower case", "X-Request-ID", "bfe9eb29-ab87-4ca3-be83-a1d5d8305716"),
		field("a request id in capitals", call(""), "X-Request-ID is not a UUIDv7 in lower case", "X-Request-ID", "01920000-0000-7000-8000-00000000000A"),
		field("a long request id", call(""), "X-Request-ID is not one UUIDv7 in lower case", "X-Request-ID", strings.Repeat("1", 129)),
		{name: "a token of two parts", body: strings.Replace(call(""), agentToken, "planted.planted", 1), status: 401, reason: "TOKEN_INVALID", message: "the principal token is not a signed JWT"},
		{name: "a token that is not base64url", body: strings.Replace(call(""), agentToken, "a.+.c", 1), status: 401, reason: "TOKEN_INVALID", message: "the principal token is not a signed JWT"},
		{name: "a token with two subjects", body: strings.Replace(call(""), agentToken, token(`{"sub":"agent-1","sub":"planted"}`), 1), status: 401, reason: "TOKEN_INVALID", message: "the principal token's claims are not a strict JSON object"},
	}
}

func TestBadRequests(t *testing.T) {
	for _, b := range badBodies() {
		t.Run(b.name, func(t *testing.T) {
			var r recorder
			w := r.post(t, b.body, b.headers...)
			reason, message := fail(t, w)
			if w.Code != b.status || reason != b.reason || !strings.HasPrefix(message, b.message) {
				t.Errorf("got %d %s %q, want %d %s %q", w.Code, reason, message, b.status, b.reason, b.message)
			}
			if r.req != nil {
				t.Error("a refused body reached Decide")
			}
			if strings.Contains(message, "planted") {
				t.Errorf("the message %q quotes a value", message)
			}
			if got := w.Header().Get("WWW-Authenticate"); (got != "") != (w.Code == 401) {
				t.Errorf("status %d with the challenge %q", w.Code, got)
			}
		})
	}
}

// What HTTP itself refuses.
func TestTransport(t *testing.T) {
	long := strings.Repeat(" ", MaxBody)
	for _, c := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		reason, allow            string
	}{
		{name: "unknown path", method: "POST", path: "/access/v1/evaluations", status: 404, reason: "NOT_FOUND"},
		{name: "root", method: "GET", path: "/", status: 404, reason: "NOT_FOUND"},
		{name: "trailing slash", method: "POST", path: evaluationPath + "/", status: 404, reason: "NOT_FOUND"},
		{name: "double slash", method: "POST", path: "/" + evaluationPath, status: 404, reason: "NOT_FOUND"},
		{name: "escaped slash", method: "POST", path: "/access/v1%2Fevaluation", status: 404, reason: "NOT_FOUND"},
		{name: "GET an evaluation", method: "GET", path: evaluationPath, status: 405, reason: "METHOD_NOT_ALLOWED", allow: "POST"},
		{name: "OPTIONS", method: "OPTIONS", path: evaluationPath, status: 405, reason: "METHOD_NOT_ALLOWED", allow: "POST"},
		{name: "POST the metadata", method: "POST", path: metadataPath, status: 405, reason: "METHOD_NOT_ALLOWED", allow: "GET, HEAD"},
		{name: "no Content-Type", method: "POST", path: evaluationPath, body: call(""), headers: []string{"Content-Type", ""}, status: 415, reason: "UNSUPPORTED_MEDIA_TYPE"},
		{name: "a form", method: "POST", path: evaluationPath, body: call(""), headers: []string{"Content-Type", "application/x-www-form-urlencoded"}, status: 415, reason: "UNSUPPORTED_MEDIA_TYPE"},
		{name: "another charset", method: "POST", path: evaluationPath, body: call(""), headers: []string{"Content-Type", "application/json; charset=latin1"}, status: 415, reason: "UNSUPPORTED_MEDIA_TYPE"},
		{name: "compressed", method: "POST", path: evaluationPath, body: call(""), headers: []string{"Content-Encoding", "gzip"}, status: 415, reason: "UNSUPPORTED_MEDIA_TYPE"},
		{name: "too large", method: "POST", path: evaluationPath, body: call("") + long, status: 413, reason: "REQUEST_ENTITY_TOO_LARGE"},
		{name: "unknown caller", method: "POST", path: evaluationPath, body: "not read", headers: []string{"Test-Caller", "unknown"}, status: 401, reason: "CALLER_UNKNOWN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r recorder
			server := httptest.NewServer(r.handler(t))
			defer server.Close()
			q, err := http.NewRequest(c.method, server.URL+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			q.Header.Set("Content-Type", "application/json")
			for i := 0; i+1 < len(c.headers); i += 2 {
				if q.Header.Del(c.headers[i]); c.headers[i+1] != "" {
					q.Header.Set(c.headers[i], c.headers[i+1])
				}
			}
			resp, err := http.DefaultTransport.RoundTrip(q)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			w := httptest.NewRecorder()
			for name, values := range resp.Header {
				w.Header()[name] = values
			}
			if _, err := w.Body.ReadFrom(resp.Body); err != nil {
				t.Fatal(err)
			}
			reason, message := fail(t, w)
			if resp.StatusCode != c.status || reason != c.reason || resp.Header.Get("Allow") != c.allow {
				t.Errorf("got %d %s Allow %q, want %d %s Allow %q", resp.StatusCode, reason, resp.Header.Get("Allow"), c.status, c.reason, c.allow)
			}
			if strings.Contains(message, "planted") {
				t.Errorf("the message %q tells what is inside", message)
			}
			if r.req != nil {
				t.Error("a refused request reached Decide")
			}
		})
	}
}

// Two request ids are none, and a body at the limit is read.
func TestEdges(t *testing.T) {
	var r recorder
	q := httptest.NewRequest(http.MethodPost, evaluationPath, strings.NewReader(call("")))
	q.Header["Content-Type"] = []string{"application/json"}
	q.Header["X-Request-Id"] = []string{sentID, sentID}
	w := httptest.NewRecorder()
	r.handler(t).ServeHTTP(w, q)
	if w.Code != 400 {
		t.Errorf("two request ids: got %d", w.Code)
	}
	body := call("")
	if w := r.post(t, body+strings.Repeat(" ", MaxBody-len(body))); w.Code != 200 {
		t.Errorf("a body at the limit: got %d %s", w.Code, w.Body)
	}
	w = r.post(t, `{"x":1}`, "X-Request-ID", sentID)
	if got := w.Header().Get("X-Request-ID"); w.Code != 400 || got != sentID {
		t.Errorf("a refusal: got %d with the request id %q", w.Code, got)
	}
	if got := fmt.Sprint(w.Header()["Cache-Control"]); got != "[no-store]" {
		t.Errorf("Cache-Control is %s", got)
	}
}
