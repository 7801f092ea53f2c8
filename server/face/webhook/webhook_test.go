package webhook_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/gofrs/uuid/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/face/webhook"
	"github.com/writpdp/writ/server/secret"
	"github.com/writpdp/writ/server/ticket"
	"github.com/writpdp/writ/store/sqlite"
)

var (
	noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	key  = bytes.Repeat([]byte("k"), 32)
)

// hook is a source on a real store.
type hook struct {
	store   *sqlite.Store
	bundle  *decision.Bundle
	handler http.Handler
}

// example reads an example of deploy/examples/webhooks.
func example(t testing.TB, name string) (webhook.Mapping, []byte) {
	t.Helper()
	dir := filepath.Join("..", "..", "..", "deploy", "examples", "webhooks")
	text, err := os.ReadFile(filepath.Join(dir, name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Name        string          `yaml:"name"`
		SecretFiles []string        `yaml:"secret_files"`
		Tenant      string          `yaml:"tenant"`
		Mapping     webhook.Mapping `yaml:"mapping"`
	}
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&c); err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile(filepath.Join(dir, name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return c.Mapping, body
}

func open(t testing.TB, name string, m webhook.Mapping) *hook {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "writ.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	h := &hook{store: store, bundle: &decision.Bundle{}}
	h.handler, err = webhook.Handler(webhook.Config{Name: name, Keys: []secret.Bytes{secret.Of([]byte("an older key of 24 bytes")), secret.Of(key)}, Tenant: "acme",
		Mapping: m, Store: store, Bundle: func() *decision.Bundle { return h.bundle }, Now: func() time.Time { return noon },
		NewID: func() ([16]byte, error) { id, err := uuid.NewV7(); return id, err }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func sign(id string, at time.Time, body []byte) http.Header {
	stamp := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + stamp + "."))
	mac.Write(body)
	return http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {stamp}, "Webhook-Signature": {"v1a,xx v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))}}
}

func (h *hook) send(t testing.TB, header http.Header, body []byte) (int, map[string]string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/hooks/tickets/x", bytes.NewReader(body))
	r.Header = header
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	var out map[string]string
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	return w.Code, out
}

func (h *hook) deliver(t testing.TB, id string, body []byte) (int, map[string]string) {
	t.Helper()
	return h.send(t, sign(id, noon, body), body)
}

func (h *hook) ticket(t testing.TB, id string) decision.Ticket {
	t.Helper()
	stored, err := h.store.Ticket(t.Context(), "acme", id)
	if err != nil {
		t.Fatal(err)
	}
	got, err := audit.TicketOf(&stored, id)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// records counts what is stored.
func (h *hook) records(t *testing.T) int64 {
	t.Helper()
	n, err := h.store.CountRecords(t.Context(), "", [16]byte{}, [16]byte(bytes.Repeat([]byte{0xff}, 16)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// An issue that is transitioned to Approved in Jira is a ticket for what its fields
// say, approved by who did it; the same delivery again is nothing new.
func TestJira(t *testing.T) {
	m, body := example(t, "jira")
	h := open(t, "jira", m)
	for range 2 {
		code, out := h.deliver(t, "msg-1", body)
		if code != 200 || out["ticket"] != "OPS-42" || out["state"] != "approved" {
			t.Fatalf("got %d %v", code, out)
		}
	}
	want := decision.Ticket{ID: "OPS-42", Version: 2, State: decision.TicketApproved, Principal: "spiffe://example.org/agent/operations",
		Tool:            decision.ToolName{Server: "supabase", Name: "execute_sql"},
		ArgumentsDigest: "4f1c7c7f2b6a3c1b5f9b7a3d0e2c4d6f8a0b1c2d3e4f5061728394a5b6c7d8e9",
		NotBefore:       time.Date(2026, 11, 27, 2, 0, 0, 0, time.UTC), NotAfter: time.Date(2026, 11, 27, 4, 0, 0, 0, time.UTC),
		MaxUses: 1, Requester: "reporter@example.org", Needs: 1, Approvers: []string{"dba-lead@example.org"}}
	if diff := cmp.Diff(want, h.ticket(t, "OPS-42")); diff != "" {
		t.Errorf("the ticket (-want +got):\n%s", diff)
	}
	stored, err := h.store.Ticket(t.Context(), "acme", "OPS-42")
	if err != nil {
		t.Fatal(err)
	}
	changes, err := ticket.History(&stored, func(id [16]byte) (audit.Row, error) { return h.store.Record(t.Context(), "acme", id) })
	if err != nil || len(changes) != 2 || h.records(t) != 2 {
		t.Fatalf("%d changes, %v", len(changes), err)
	}
	if c := changes[0]; c.Actor != "dba-lead@example.org" || c.Source != "webhook:jira" || c.Reference != "OPS-42" || c.Reason != "Drop the orders that were imported twice" {
		t.Errorf("the approval: %+v", c)
	}
	// The delivery's id is that of this delivery alone.
	if code, out := h.deliver(t, "msg-1", bytes.Replace(body, []byte("twice"), []byte("again"), 1)); code != 409 || out["code"] != "webhook.reused" {
		t.Errorf("another delivery of the same id: %d %v", code, out)
	}
}

// A change request that is approved in ServiceNow approves the ticket that was asked
// for, by the rules of every approval.
func TestServiceNow(t *testing.T) {
	m, body := example(t, "servicenow")
	h := open(t, "servicenow", m)
	h.bundle.Roles = map[string][]string{"dba-on-call@example.org": {"dba"}}
	if code, out := h.deliver(t, "early", body); code != 404 || out["code"] != "ticket.unknown" {
		t.Errorf("before it was asked for: %d %v", code, out)
	}
	by := ticket.By{Caller: decision.Caller{Tenant: "acme"}, Actor: "requester@example.org", Reason: "x", Source: "grpc", Key: "k", At: noon, ID: [16]byte{6: 0x70, 8: 0x80}}
	_, err := ticket.Request(t.Context(), h.store, decision.Ticket{ID: "T-8f2b6a3c1b5f9b7a", Principal: "a", Tool: decision.ToolName{Server: "s", Name: "t"}, Roles: []string{"dba"}}, by)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ old, new, code string }{
		"somebody without the role": {"dba-on-call@example.org", "eve@example.org", "ticket.role"},
		"who asked for it":          {"dba-on-call@example.org", "requester@example.org", "ticket.involved"},
	} {
		code, out := h.deliver(t, name, bytes.Replace(body, []byte(c.old), []byte(c.new), 1))
		if code != 409 || out["code"] != c.code {
			t.Errorf("%s: %d %v", name, code, out)
		}
	}
	code, out := h.deliver(t, "msg-1", body)
	if code != 200 || out["state"] != "approved" {
		t.Errorf("got %d %v", code, out)
	}
	if code, out := h.deliver(t, "msg-2", body); code != 409 || out["code"] != "ticket.state" {
		t.Errorf("approved twice: %d %v", code, out)
	}
}

func TestRejected(t *testing.T) {
	m, body := example(t, "jira")
	h := open(t, "jira", m)
	declined := bytes.ReplaceAll(body, []byte(`"toString": "Approved"`), []byte(`"toString": "Declined"`))
	if code, out := h.deliver(t, "msg-1", declined); code != 200 || out["state"] != "rejected" {
		t.Errorf("declined: %d %v", code, out)
	}
	if code, out := h.deliver(t, "msg-2", body); code != 409 || out["code"] != "ticket.state" {
		t.Errorf("approved after that: %d %v", code, out)
	}
}

// What is not signed by the source now leaves nothing behind, and neither does what
// is no approval.
func TestUnproved(t *testing.T) {
	m, body := example(t, "jira")
	h := open(t, "jira", m)
	for name, change := range map[string]func(http.Header){
		"no id":            func(h http.Header) { h.Del("Webhook-Id") },
		"another id":       func(h http.Header) { h.Set("Webhook-Id", "msg-2") },
		"an id with a dot": func(h http.Header) { h.Set("Webhook-Id", "msg.1") },
		"two ids":          func(h http.Header) { h.Add("Webhook-Id", "msg-1") },
		"no time":          func(h http.Header) { h.Del("Webhook-Timestamp") },
		"another time":     func(h http.Header) { h.Set("Webhook-Timestamp", strconv.FormatInt(noon.Unix()+1, 10)) },
		"a strange time":   func(h http.Header) { h.Set("Webhook-Timestamp", "now") },
		"no signature":     func(h http.Header) { h.Del("Webhook-Signature") },
		"an empty one":     func(h http.Header) { h.Set("Webhook-Signature", "v1,") },
		"another version": func(h http.Header) {
			h.Set("Webhook-Signature", strings.ReplaceAll(h.Get("Webhook-Signature"), "v1,", "v2,"))
		},
		"another signature": func(h http.Header) {
			h.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(make([]byte, 32)))
		},
		"many": func(h http.Header) {
			h.Set("Webhook-Signature", strings.Repeat("v1,eA== ", 9)+h.Get("Webhook-Signature"))
		},
	} {
		header := sign("msg-1", noon, body)
		change(header)
		if code, out := h.send(t, header, body); code != 401 {
			t.Errorf("%s: %d %v", name, code, out)
		}
	}
	for name, at := range map[string]time.Time{"old": noon.Add(-5*time.Minute - time.Second), "ahead": noon.Add(5*time.Minute + time.Second)} {
		if code, out := h.send(t, sign("msg-1", at, body), body); code != 401 {
			t.Errorf("%s: %d %v", name, code, out)
		}
	}
	if code, _ := h.send(t, sign("msg-1", noon, body), append(bytes.Clone(body), ' ')); code != 401 {
		t.Errorf("another body: %d", code)
	}
	for name, c := range map[string]struct {
		body []byte
		code int
	}{
		"too large":       {append(body, bytes.Repeat([]byte(" "), 256<<10)...), 413},
		"no JSON":         {[]byte("approved"), 400},
		"a key twice":     {[]byte(`{"a":1,"a":2}`), 400},
		"too deep":        {[]byte(`{"a":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + "}"), 400},
		"no approval":     {bytes.ReplaceAll(body, []byte(`"toString": "Approved"`), []byte(`"toString": "In review"`)), 200},
		"not who":         {bytes.ReplaceAll(body, []byte("emailAddress"), []byte("email")), 422},
		"no arguments":    {bytes.ReplaceAll(body, []byte("customfield_10103"), []byte("customfield_10203")), 422},
		"a strange time":  {bytes.ReplaceAll(body, []byte("2026-11-27T04:00:00.000+0000"), []byte("tomorrow")), 422},
		"a strange tool":  {bytes.ReplaceAll(body, []byte("supabase/execute_sql"), []byte("execute_sql")), 409},
		"over already":    {bytes.ReplaceAll(body, []byte("2026-11-27T"), []byte("2026-11-25T")), 409},
		"its own agent":   {bytes.ReplaceAll(body, []byte("dba-lead@example.org"), []byte("spiffe://example.org/agent/operations")), 409},
		"its own request": {bytes.ReplaceAll(body, []byte("dba-lead@example.org"), []byte("reporter@example.org")), 409},
	} {
		if code, out := h.deliver(t, name, c.body); code != c.code {
			t.Errorf("%s: %d %v, want %d", name, code, out, c.code)
		}
	}
	// The last two asked, and nobody approved.
	if got := h.ticket(t, "OPS-42"); got.State != decision.TicketRequested || len(got.Approvers) != 0 {
		t.Errorf("the ticket is %+v", got)
	}
}

// A ticket that somebody prepared under the id of a change is not approved in its
// place.
func TestPrepared(t *testing.T) {
	m, body := example(t, "jira")
	h := open(t, "jira", m)
	by := ticket.By{Caller: decision.Caller{Tenant: "acme"}, Actor: "reporter@example.org", Reason: "x", Source: "grpc", Key: "k", At: noon, ID: [16]byte{6: 0x70, 8: 0x80}}
	_, err := ticket.Request(t.Context(), h.store, decision.Ticket{ID: "OPS-42", Principal: "spiffe://example.org/agent/operations",
		Tool: decision.ToolName{Server: "supabase", Name: "execute_sql"}, NotAfter: noon.Add(48 * time.Hour)}, by)
	if err != nil {
		t.Fatal(err)
	}
	if code, out := h.deliver(t, "msg-1", body); code != 409 || out["code"] != "ticket.exists" {
		t.Errorf("got %d %v", code, out)
	}
	if got := h.ticket(t, "OPS-42"); got.State != decision.TicketRequested {
		t.Errorf("the ticket is %+v", got)
	}
}

// The bundle says how many must approve, and who counts: a tracker's word is one.
func TestFloor(t *testing.T) {
	m, body := example(t, "jira")
	h := open(t, "jira", m)
	h.bundle.Approvals, h.bundle.ApproverRoles = 2, []string{"dba"}
	h.bundle.Roles = map[string][]string{"dba-lead@example.org": {"dba"}, "dba-on-call@example.org": {"dba"}}
	if code, out := h.deliver(t, "msg-1", body); code != 200 || out["state"] != "requested" {
		t.Errorf("one of two: %d %v", code, out)
	}
	second := bytes.ReplaceAll(body, []byte("dba-lead@example.org"), []byte("dba-on-call@example.org"))
	if code, out := h.deliver(t, "msg-2", second); code != 200 || out["state"] != "approved" {
		t.Errorf("two of two: %d %v", code, out)
	}
}

func TestBadConfig(t *testing.T) {
	good, _ := example(t, "jira")
	for name, change := range map[string]func(*webhook.Config){
		"the name":                func(c *webhook.Config) { c.Name = "A b" },
		"there is no key":         func(c *webhook.Config) { c.Keys = nil },
		"reserved":                func(c *webhook.Config) { c.Tenant = decision.System },
		"there is no condition":   func(c *webhook.Config) { c.Mapping.Approve = nil },
		"actor or reference":      func(c *webhook.Config) { c.Mapping.Actor = "" },
		"one of ticket and terms": func(c *webhook.Config) { c.Mapping.Ticket = "/x" },
		"requester":               func(c *webhook.Config) { c.Mapping.Terms = &webhook.Terms{Tool: "/x", Principal: "/y"} },
		"is not a JSON pointer":   func(c *webhook.Config) { c.Mapping.Reason = "x" },
		"no values":               func(c *webhook.Config) { c.Mapping.Reject = []webhook.Condition{{Pointer: "/x"}} },
	} {
		c := webhook.Config{Name: "jira", Keys: []secret.Bytes{secret.Of(key)}, Tenant: "acme", Mapping: good}
		change(&c)
		if _, err := webhook.Handler(c); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for text, ok := range map[string]bool{"whsec_" + base64.StdEncoding.EncodeToString(key): true, base64.StdEncoding.EncodeToString(key): true,
		"whsec_" + base64.StdEncoding.EncodeToString(key[:23]): false, "plain text": false, "": false} {
		if _, err := webhook.Key(text); (err == nil) != ok || err != nil && strings.Contains(fmt.Sprint(err), "plain") {
			t.Errorf("a key: %v", err)
		}
	}
}

// Whatever is delivered and signed, there is an answer, and no ticket is approved but
// by somebody who is not part of it.
func FuzzDelivery(f *testing.F) {
	for _, name := range []string{"jira", "servicenow"} {
		_, body := example(f, name)
		f.Add(body)
	}
	f.Add([]byte(`{"changelog":{"items":[]}}`))
	m, _ := example(f, "jira")
	h := open(f, "jira", m)
	f.Fuzz(func(t *testing.T, body []byte) {
		code, out := h.deliver(t, fmt.Sprintf("%x", sha256.Sum256(body)), body)
		if code != 200 || out["state"] != "approved" {
			return
		}
		if got := h.ticket(t, out["ticket"]); len(got.Approvers) == 0 || got.Involves(got.Approvers[0]) {
			t.Errorf("the ticket is %+v", got)
		}
	})
}
