package test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	writ "github.com/writpdp/writ/clients/go"
	"github.com/writpdp/writ/clients/go/writtest"
	"github.com/writpdp/writ/server/decision"
)

// refund is an action that needs a ticket and somebody to be told.
func refund(t *testing.T, ticket string) writ.Call {
	t.Helper()
	return writ.Call{Purpose: "support", Tool: definition(t, "stripe/create_refund"), Ticket: ticket,
		Arguments: json.RawMessage(`{"payment_intent": "pi_3Example", "amount": 20000}`)}
}

// approve is a ticket as an approver makes it of a denial's access request.
func approve(t *testing.T, p *writtest.PDP, id string, a *writ.AccessRequest) {
	t.Helper()
	if a == nil {
		t.Fatal("the denial does not say what to have approved")
	}
	server, name, _ := strings.Cut(a.Tool, "/")
	p.AddTicket(t, decision.Ticket{ID: id, Principal: a.Principal, Tool: decision.ToolName{Server: server, Name: name},
		ToolDigest: a.DefinitionDigest, ArgumentsDigest: a.ArgumentsDigest, Approvers: []string{"finance-lead"}, MaxUses: 1,
		NotBefore: workday(), NotAfter: workday().Add(time.Hour)})
}

// A denial says what to have approved; a ticket with just that lets the call
// through once. Finance is told before it runs.
func TestClientTicket(t *testing.T) {
	p := startPDP(t)
	tool := &action{answer: []byte(`{"content":[{"type":"text","text":"refunded"}]}`)}
	var told []writ.Notify
	c := p.Client(t, support, writ.Handlers{Notify: func(_ context.Context, call writ.Call, n writ.Notify) error {
		if told = append(told, n); tool.ran > 0 {
			t.Error("told after it ran")
		}
		return nil
	}})
	_, err := c.Enforce(t.Context(), refund(t, ""), tool.next)
	denied := deniedBy(t, err, writ.PhaseCall, "policy.ticket_required")
	approve(t, p, "CHG-1", denied.AccessRequest)
	if _, err := c.Enforce(t.Context(), refund(t, "CHG-1"), tool.next); err != nil {
		t.Error(err)
	}
	_, err = c.Enforce(t.Context(), refund(t, "CHG-1"), tool.next)
	deniedBy(t, err, writ.PhaseCall, "ticket.used")
	other := refund(t, "CHG-1")
	other.Arguments = json.RawMessage(`{"payment_intent": "pi_3Example", "amount": 20001}`)
	_, err = c.Enforce(t.Context(), other, tool.next)
	deniedBy(t, err, writ.PhaseCall, "ticket.arguments")
	want := []writ.Notify{{To: "finance-desk", Body: "An agent is refunding more than 50.00 under an approved ticket."}}
	if diff := cmp.Diff(want, told); diff != "" || tool.ran != 1 {
		t.Errorf("ran %d times; told (-want +got):\n%s", tool.ran, diff)
	}
	tells(t, p, "CALL DENY", "CALL ALLOW", "RESULT ALLOW", "settled CALL SUCCEEDED notify=true", "CALL DENY", "CALL DENY")
}

// A client that cannot tell anybody is denied before anything runs, and the
// ticket is not used up.
func TestClientWithoutHandler(t *testing.T) {
	p := startPDP(t)
	with := p.Client(t, support, writ.Handlers{Notify: func(context.Context, writ.Call, writ.Notify) error { return nil }})
	without := p.Client(t, support, writ.Handlers{})
	tool := &action{answer: []byte(`{"content":[]}`)}
	_, err := with.Enforce(t.Context(), refund(t, ""), tool.next)
	approve(t, p, "CHG-1", deniedBy(t, err, writ.PhaseCall, "policy.ticket_required").AccessRequest)
	_, err = without.Enforce(t.Context(), refund(t, "CHG-1"), tool.next)
	deniedBy(t, err, writ.PhaseCall, "comply.unsupported")
	if tool.ran != 0 {
		t.Errorf("ran %d times", tool.ran)
	}
	if _, err := with.Enforce(t.Context(), refund(t, "CHG-1"), tool.next); err != nil || tool.ran != 1 {
		t.Errorf("ran %d times, %v", tool.ran, err)
	}
	tells(t, p, "CALL DENY", "CALL DENY", "CALL ALLOW", "RESULT ALLOW", "settled CALL SUCCEEDED notify=true")
}

// A human who does not authenticate more strongly keeps the action from running,
// and what was reserved is given back.
func TestClientStepUp(t *testing.T) {
	p := startPDP(t)
	agent := operations
	agent.OnBehalfOf = "engineer@example.org"
	var asked []string
	refusal := errors.New("the engineer is not there")
	c := p.Client(t, agent, writ.Handlers{StepUp: func(_ context.Context, _ writ.Call, s writ.StepUp) error {
		if asked = append(asked, s.ACRValue); len(asked) == 1 {
			return refusal
		}
		return nil
	}})
	call := writ.Call{Purpose: "maintenance", Tool: definition(t, "supabase/apply_migration"),
		Arguments: json.RawMessage(`{"project_id": "p1", "name": "add_index", "query": "create index on orders (day)"}`)}
	tool := &action{answer: []byte(`{"content":[]}`)}
	_, err := c.Enforce(t.Context(), call, tool.next)
	access := deniedBy(t, err, writ.PhaseCall, "policy.ticket_required").AccessRequest
	approve(t, p, "CHG-1", access)
	approve(t, p, "CHG-2", access)
	call.Ticket = "CHG-1"
	_, err = c.Enforce(t.Context(), call, tool.next)
	if unmet, ok := errors.AsType[*writ.Unmet](err); !ok || !errors.Is(err, refusal) || tool.ran != 0 || unmet.Obligation.Duty != (writ.StepUp{ACRValue: "urn:example:loa:3"}) {
		t.Errorf("ran %d times, %v", tool.ran, err)
	}
	call.Ticket = "CHG-2"
	if _, err := c.Enforce(t.Context(), call, tool.next); err != nil || tool.ran != 1 {
		t.Errorf("ran %d times, %v", tool.ran, err)
	}
	for _, line := range tool.permitted.Decision.Budgets {
		if line.Budget == "agent-daily-calls" && line.Remaining != line.Cap-1 {
			t.Errorf("%s has %d of %d left: what did not run was not given back", line.Budget, line.Remaining, line.Cap)
		}
	}
	tells(t, p, "CALL DENY", "CALL ALLOW", "settled CALL NOT_RUN step_up=false",
		"CALL ALLOW", "RESULT ALLOW", "settled CALL SUCCEEDED step_up=true")
}

func TestClientFilterTools(t *testing.T) {
	p := startPDP(t)
	c := p.Client(t, support, writ.Handlers{})
	drifted := definition(t, "memory/search_nodes")
	drifted.Definition = []byte(strings.Replace(string(drifted.Definition), `"description"`, `"Description"`, 1))
	var listed []writ.Tool
	for _, name := range []string{"filesystem/read_text_file", "filesystem/move_file", "stripe/create_refund", "everything/get-env", "memory/delete_entities"} {
		listed = append(listed, definition(t, name))
	}
	visible, err := c.FilterTools(t.Context(), writ.Call{Purpose: "support"}, append(listed, drifted))
	if diff := cmp.Diff([]writ.Tool{listed[0], listed[2], listed[4]}, visible); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	tells(t, p, "LIST ALLOW", "settled LIST SUCCEEDED filter_tools=true")
}

// The prompt of a human of the EU goes to the vendor's endpoint there, without
// its metadata.
func TestClientPromptIsRouted(t *testing.T) {
	p := startPDP(t)
	agent := support
	agent.OnBehalfOf = "clerk@eu.example.org"
	c := p.Client(t, agent, writ.Handlers{})
	model := &action{answer: []byte(`{"answer":"It is about a late parcel."}`)}
	result, err := c.EnforcePrompt(t.Context(), writ.Call{Purpose: "support", Destination: writ.Destination{Host: "api.example-ai.com"},
		Cost:    writ.Cost{Tokens: 900, Micros: 1200, Currency: "USD"},
		Content: writ.Content{Data: []byte(`{"messages":[{"role":"user","content":"Summarise.","metadata":{"user":"u1"}}]}`)}}, model.next)
	if err != nil || string(result.Content.Data) != string(model.answer) {
		t.Fatalf("got %s, %v", result.Content.Data, err)
	}
	if got, want := model.permitted.Destination, (writ.Destination{Host: "eu.api.example-ai.com", Vendor: "example-ai", Region: "eu"}); got != want {
		t.Errorf("sent to %+v, want %+v", got, want)
	}
	if got, want := string(model.permitted.Content.Data), `{"messages":[{"content":"Summarise.","role":"user"}]}`; got != want {
		t.Errorf("sent %s, want %s", got, want)
	}
	tells(t, p, "PROMPT ROUTE", "settled PROMPT SUCCEEDED redact=true route=true")
}

func TestClientConnect(t *testing.T) {
	p := startPDP(t)
	c := p.Client(t, support, writ.Handlers{})
	host := &action{answer: []byte(`{}`)}
	next := func(ctx context.Context, permitted writ.Permitted) (writ.Result, error) {
		permitted.Dial(net.Dialer{})
		return host.next(ctx, permitted)
	}
	if _, err := c.EnforceConnect(t.Context(), writ.Call{Purpose: "support", Destination: writ.Destination{Host: "mail.example.org"}}, next); err != nil {
		t.Error(err)
	}
	if got := host.permitted.Destination.Host; got != "mail.example.org" {
		t.Errorf("connected to %q", got)
	}
	_, err := c.EnforceConnect(t.Context(), writ.Call{Purpose: "support", Destination: writ.Destination{Host: "collector.example.com"}}, next)
	deniedBy(t, err, writ.PhaseConnect, "route.vendor_unknown")
	if host.ran != 1 {
		t.Errorf("connected %d times", host.ran)
	}
	tells(t, p, "CONNECT ALLOW", "settled CONNECT SUCCEEDED pin=true", "CONNECT DENY")
}
