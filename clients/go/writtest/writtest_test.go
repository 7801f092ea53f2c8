package writtest_test

import (
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	writ "github.com/writpdp/writ/clients/go"
	"github.com/writpdp/writ/clients/go/writtest"
	"github.com/writpdp/writ/policies/policiestest"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/sqlite"
)

var agent = writtest.Agent{Subject: "spiffe://example.org/agent/operations", OnBehalfOf: "dba@example.org", Purposes: []string{"maintenance"}}

// statement asks whether a statement may run.
func statement(p *writtest.PDP, ticket string) writ.Call {
	name := decision.ToolName{Server: "supabase", Name: "execute_sql"}
	return writ.Call{Phase: writ.PhaseCall, Purpose: "maintenance", Ticket: ticket,
		Tool:      writ.Tool{Server: name.Server, Name: name.Name, Digest: p.Bundle.Tools[name].Digest},
		Arguments: json.RawMessage(`{"project_id": "p1", "query": "select 1"}`)}
}

func noon() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

func decide(t *testing.T, c *writ.Client, call writ.Call) writ.Decision {
	t.Helper()
	d, err := c.Decide(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A test's own bundle, clock, tenant and store are what the PDP goes by.
func TestConfig(t *testing.T) {
	bundle := policiestest.Sample()
	bundle["cedar/none.cedar"] = &fstest.MapFile{Data: []byte(`@id("no-statements") forbid (principal, action == Action::"supabase/execute_sql", resource);`)}
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "mine.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	p := writtest.Start(t, writtest.Config{Bundle: bundle, Now: noon, Tenant: func() string { return "bolt" }, Store: store})
	d := decide(t, p.Client(t, agent, writ.Handlers{}), statement(p, ""))
	if d.Allowed() || d.Reasons[0].Policy == "" || d.Bundle != p.Bundle.Digest {
		t.Errorf("got %+v", d)
	}
	rows, err := store.List(t.Context(), "bolt", [16]byte{}, 10)
	if err != nil || len(rows) != 1 || !rows[0].At.Equal(noon()) || rows[0].Caller != writtest.Caller || rows[0].Principal != agent.Subject {
		t.Errorf("the store holds %+v, %v", rows, err)
	}
	if n := p.Verify(t); n != 1 {
		t.Errorf("verified %d records, want 1", n)
	}
}

func TestTicket(t *testing.T) {
	p := writtest.Start(t, writtest.Config{Now: noon})
	c := p.Client(t, agent, writ.Handlers{})
	if d := decide(t, c, statement(p, "CHG-1")); d.Allowed() {
		t.Error("allowed without a ticket")
	}
	p.AddTicket(t, decision.Ticket{ID: "CHG-1", Principal: agent.Subject, Tool: decision.ToolName{Server: "supabase", Name: "execute_sql"},
		NotBefore: noon(), NotAfter: noon().Add(time.Hour), MaxUses: 1, Approvers: []string{"dba-lead"}})
	if d := decide(t, c, statement(p, "CHG-1")); !d.Allowed() {
		t.Errorf("denied with a ticket: %+v", d.Reasons)
	}
}

// A token is accepted once, and two are never the same.
func TestToken(t *testing.T) {
	p := writtest.Start(t, writtest.Config{Now: noon})
	a, err := p.Token(agent)
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.Token(agent)
	if err != nil || a == b {
		t.Errorf("the same token again, %v", err)
	}
}

// A PDP ends with its test, and leaves nothing listening.
func TestStartEndsWithTheTest(t *testing.T) {
	var p *writtest.PDP
	t.Run("test", func(t *testing.T) {
		p = writtest.Start(t, writtest.Config{})
		response, err := http.Get(p.BaseURL + "/.well-known/authzen-configuration")
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil || response.StatusCode != http.StatusOK {
			t.Errorf("%s, %v", response.Status, err)
		}
	})
	if conn, err := net.Dial("tcp", p.Addr); err == nil {
		conn.Close()
		t.Error("something still listens")
	}
}
