package server_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/writpdp/writ/policies/policiestest"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
)

const forbidden = "CALLER_FORBIDDEN"

// admitting puts a bundle into force whose access policies are these.
func (p *pdp) admitting(t testing.TB, text string) {
	t.Helper()
	files := policiestest.Sample()
	files["access/access.cedar"].Data = []byte(text)
	var err error
	p.bundle, err = policy.Load(files)
	must(t, err)
}

// methods are the methods of every service of Writ's wire, each with a question
// that is in order, for a tenant.
func (p *pdp) methods(t testing.TB, tenant string) map[protoreflect.MethodDescriptor]proto.Message {
	t.Helper()
	question := p.listing(t)
	question.Tenant = tenant
	questions := map[protoreflect.FullName]proto.Message{
		"writ.v1.DecisionService.Decide":      question,
		"writ.v1.DecisionService.DecideBatch": &writv1.DecideBatchRequest{Items: []*writv1.BatchItem{{CorrelationId: "1", Request: question}}},
		"writ.v1.DecisionService.Explain":     &writv1.ExplainRequest{Request: question},
		"writ.v1.TokenService.Exchange":       &writv1.ExchangeRequest{RequestId: newID(t), Purposes: []string{"support"}, Count: 1, Tenant: tenant},
		"writ.v1.TicketService.RequestTicket": &writv1.RequestTicketRequest{RequestId: newID(t), Tenant: tenant, Reason: "x", Terms: terms()},
		"writ.v1.TicketService.CreateTicket":  &writv1.CreateTicketRequest{RequestId: newID(t), Tenant: tenant, Reason: "x", Terms: terms(), Approvers: []string{"ann"}},
		"writ.v1.TicketService.ApproveTicket": &writv1.ApproveTicketRequest{RequestId: newID(t), Tenant: tenant, Reason: "x", TicketId: "none"},
		"writ.v1.TicketService.RejectTicket":  &writv1.RejectTicketRequest{RequestId: newID(t), Tenant: tenant, Reason: "x", TicketId: "none"},
		"writ.v1.TicketService.RevokeTicket":  &writv1.RevokeTicketRequest{RequestId: newID(t), Tenant: tenant, Reason: "x", TicketId: "none"},
		"writ.v1.TicketService.GetTicket":     &writv1.GetTicketRequest{Tenant: tenant, TicketId: "none"},
		"writ.v1.TicketService.ListTickets":   &writv1.ListTicketsRequest{Tenant: tenant},
		"writ.v1.DecisionService.Settle": &writv1.SettleRequest{DecisionId: newID(t), Tenant: tenant,
			Outcome: writv1.Outcome_OUTCOME_SUCCEEDED},
		"writ.v1.SessionService.Show":       &writv1.SessionServiceShowRequest{Tenant: tenant, SessionId: "none"},
		"writ.v1.SessionService.Declassify": &writv1.SessionServiceDeclassifyRequest{RequestId: newID(t), Tenant: tenant, SessionId: "none", Labels: []string{"pii"}, Reason: "x"},
		"writ.v1.BudgetService.List":        &writv1.BudgetServiceListRequest{Tenant: tenant},
		"writ.v1.BudgetService.Get":         &writv1.BudgetServiceGetRequest{Tenant: tenant, Budget: "none"},
		"writ.v1.VaultService.Reveal":       &writv1.RevealRequest{Tenant: tenant, Reason: "x", Token: noToken},
		"writ.v1.VaultService.Forget":       &writv1.ForgetRequest{Tenant: tenant, Reason: "x", Token: noToken},
		"writ.v1.BudgetService.Change": &writv1.BudgetServiceChangeRequest{RequestId: newID(t), Tenant: tenant, Budget: "none", Reason: "x",
			Change: &writv1.BudgetServiceChangeRequest_Raise{Raise: 1}},
	}
	all := map[protoreflect.MethodDescriptor]proto.Message{}
	protoregistry.GlobalFiles.RangeFilesByPackage("writ.v1", func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				method := methods.Get(j)
				in, ok := questions[method.FullName()]
				if !ok {
					t.Errorf("the test has no question for %s", method.FullName())
					continue
				}
				all[method] = in
			}
		}
		return true
	})
	if len(all) == 0 {
		t.Fatal("there are no methods")
	}
	return all
}

// ask calls a method and returns why there is no answer, the first item of a batch
// included; empty: there is one.
func (r *running) ask(t testing.TB, method protoreflect.MethodDescriptor, in proto.Message) failure {
	t.Helper()
	out, err := r.message(method)
	must(t, err)
	err = r.conn.Invoke(t.Context(), "/"+string(method.Parent().FullName())+"/"+string(method.Name()), in, out)
	if err != nil {
		return failureOf(err)
	}
	if batch, ok := out.(*writv1.DecideBatchResponse); ok && batch.Results[0].GetError() != nil {
		failed := batch.Results[0].GetError()
		return failure{codes.Code(failed.Code), failed.Reason, failed.Message}
	}
	return failure{}
}

func (*running) message(method protoreflect.MethodDescriptor) (proto.Message, error) {
	kind, err := protoregistry.GlobalTypes.FindMessageByName(method.Output().FullName())
	if err != nil {
		return nil, err
	}
	return kind.New().Interface(), nil
}

const noToken = "[token:00000000000000000000000000000000]"

// Whoever is not permitted an action is refused every method that takes it, over
// every tenant; whoever is permitted is not.
func TestWhoMayCallWhat(t *testing.T) {
	p := open(t)
	r := p.serve(t)
	const all = `@id("all") permit (principal, action, resource);`
	for _, c := range []struct {
		name, tenant, policies string
		admitted               func(method string) bool
	}{
		{"everything", "", all, func(string) bool { return true }},
		{"everything, for another tenant", "bolt", all, func(string) bool { return true }},
		{"its own tenant", "acme", `@id("own") permit (principal, action, resource) when { principal.tenant == resource };`, func(string) bool { return true }},
		{"its own tenant, for another", "bolt", `@id("own") permit (principal, action, resource) when { principal.tenant == resource };`, func(string) bool { return false }},
		{"nothing", "", `@id("none") forbid (principal, action, resource);`, func(string) bool { return false }},
		{"no Decide", "", all + `@id("no") forbid (principal, action == Action::"Decide", resource);`, func(m string) bool { return !strings.HasPrefix(m, "Decide") }},
		{"no Explain", "", all + `@id("no") forbid (principal, action == Action::"Explain", resource);`, func(m string) bool { return m != "Explain" }},
		{"no Settle", "", all + `@id("no") forbid (principal, action == Action::"Settle", resource);`, func(m string) bool { return m != "Settle" }},
		{"no Exchange", "", all + `@id("no") forbid (principal, action == Action::"Exchange", resource);`, func(m string) bool { return m != "Exchange" }},
		{"no ReadBudgets", "", all + `@id("no") forbid (principal, action == Action::"ReadBudgets", resource);`, func(m string) bool { return m != "List" && m != "Get" }},
		{"no ChangeBudget", "", all + `@id("no") forbid (principal, action == Action::"ChangeBudget", resource);`, func(m string) bool { return m != "Change" }},
		{"no change of that budget", "", all + `@id("no") forbid (principal, action == Action::"ChangeBudget", resource) when { context.budget == "none" };`, func(m string) bool { return m != "Change" }},
		{"enforcement", "", `@id("pep") permit (principal, action in Action::"Enforce", resource);`, func(m string) bool { return strings.HasPrefix(m, "Decide") || m == "Settle" }},
		{"tickets", "", `@id("desk") permit (principal, action in Action::"Tickets", resource);`, func(m string) bool { return strings.Contains(m, "Ticket") }},
		{"no approving", "", all + `@id("no") forbid (principal, action == Action::"ApproveTicket", resource);`, func(m string) bool { return m != "ApproveTicket" }},
		{"reading tickets", "", `@id("desk") permit (principal, action == Action::"ReadTickets", resource);`, func(m string) bool { return m == "GetTicket" || m == "ListTickets" }},
		{"no Reveal", "", all + `@id("no") forbid (principal, action == Action::"Reveal", resource);`, func(m string) bool { return m != "Reveal" }},
		{"no Forget", "", all + `@id("no") forbid (principal, action == Action::"Forget", resource);`, func(m string) bool { return m != "Forget" }},
		{"another path", "", `@id("path") permit (principal, action, resource) when { principal.path like "/admin/*" };`, func(string) bool { return false }},
		{"its path", "", `@id("path") permit (principal, action, resource) when { principal.trustDomain == "example.org" && principal.path == "/gateway" };`, func(string) bool { return true }},
		{"somebody else", "", `@id("other") permit (principal == Caller::"spiffe://example.org/other", action, resource);`, func(string) bool { return false }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.admitting(t, c.policies)
			for method, in := range p.methods(t, c.tenant) {
				before := p.books(t)
				got := r.ask(t, method, in)
				refused := got.Code == codes.PermissionDenied && got.Reason == forbidden
				if want := !c.admitted(string(method.Name())); refused != want {
					t.Errorf("%s: refused is %v, want %v: %v", method.Name(), refused, want, got)
				}
				if refused && method.Parent().Name() == "VaultService" {
					before.records++ // who asked in vain is recorded
				}
				if refused && p.books(t) != before {
					t.Errorf("%s: it was refused and left something behind", method.Name())
				}
			}
		})
	}
}

// Even a bundle that permits everything admits nobody to what is no tenant.
func TestNoTenant(t *testing.T) {
	p := open(t)
	r := p.serve(t)
	p.admitting(t, `@id("all") permit (principal, action, resource);`)
	for _, tenant := range []string{decision.System, "a b", "a\x00b", "\x7f", strings.Repeat("t", 129), "a\u00a0b"} {
		for method, in := range p.methods(t, tenant) {
			if got := r.ask(t, method, in); (got.Reason != forbidden && got.Reason != "FIELD_INVALID") != (tenant == "a\u00a0b") {
				t.Errorf("%s for the tenant %q: %v", method.Name(), tenant, got)
			}
		}
	}
}

// The JSON face is held to the same policies.
func TestWhoMayCallTheJSONFace(t *testing.T) {
	p := open(t)
	r := p.serve(t)
	ask := func(tenant string) int {
		t.Helper()
		in := p.listing(t)
		body, err := json.Marshal(map[string]any{
			"subject": map[string]any{"type": "agent", "id": "", "properties": map[string]any{"token": in.PrincipalToken}},
			"action":  map[string]any{"name": "tools/call"},
			"resource": map[string]any{"type": "tool", "id": "filesystem/list_directory",
				"properties": map[string]any{"definition_digest": in.Tool.DefinitionDigest}},
			"context": map[string]any{"purpose": "support", "tenant": tenant, "arguments": json.RawMessage(in.Arguments)},
		})
		must(t, err)
		response, err := http.Post(r.baseURL+"/access/v1/evaluation", "application/json", bytes.NewReader(body))
		must(t, err)
		defer response.Body.Close()
		return response.StatusCode
	}
	for tenant, want := range map[string]int{"": 200, "acme": 200, "bolt": 403} {
		if got := ask(tenant); got != want {
			t.Errorf("the tenant %q: got %d, want %d", tenant, got, want)
		}
	}
}

// What belongs to one tenant is nothing to a caller who works for another, by
// whatever id it is named.
func TestTenantsAreApart(t *testing.T) {
	p := open(t)
	p.admitting(t, `@id("all") permit (principal, action, resource);`)
	p.cap("lists", decision.Calls, 2)
	bolt := func(in *writv1.DecideRequest) *writv1.DecideRequest { in.Tenant = "bolt"; return in }

	first := p.listing(t)
	answer := p.decide(t, first, writv1.Effect_EFFECT_ALLOW)
	for name, settle := range map[string]*writv1.SettleRequest{
		"another tenant":      {DecisionId: answer.DecisionId, Tenant: "bolt", Outcome: writv1.Outcome_OUTCOME_NOT_RUN},
		"one that nobody has": {DecisionId: answer.DecisionId, Tenant: "nobody", Outcome: writv1.Outcome_OUTCOME_NOT_RUN},
	} {
		if _, err := p.Settle(t.Context(), gateway, settle); failureOf(err).Reason != "DECISION_UNKNOWN" {
			t.Errorf("settling for %s: %v", name, err)
		}
	}
	// The same request_id is another request there, and not the first one's retry.
	again := bolt(proto.CloneOf(first))
	again.PrincipalToken = p.token(t)
	if got := p.decide(t, again, writv1.Effect_EFFECT_ALLOW); got.Replayed || got.DecisionId == answer.DecisionId {
		t.Errorf("the other tenant got the first one's answer: %v", got)
	}
	// Its token is used up for everybody.
	stolen := bolt(p.listing(t))
	stolen.PrincipalToken = first.PrincipalToken
	if got := p.decide(t, stolen, writv1.Effect_EFFECT_DENY); got.Reasons[0].Code != "token.replayed" {
		t.Errorf("another's token: %v", got.Reasons)
	}
	// A result of another tenant's call is a result of none.
	result := bolt(p.listing(t))
	result.Phase, result.CallDecisionId = writv1.Phase_PHASE_RESULT, answer.DecisionId
	result.Content = &writv1.Content{MediaType: "application/json", Data: []byte(`{}`)}
	if got := p.decide(t, result, writv1.Effect_EFFECT_DENY); got.Reasons[0].Code != "call.unknown" {
		t.Errorf("another's call: %v", got.Reasons)
	}
	// Each spends its own budget.
	p.decide(t, bolt(p.listing(t)), writv1.Effect_EFFECT_ALLOW)
	p.decide(t, bolt(p.listing(t)), writv1.Effect_EFFECT_DENY)
	p.decide(t, p.listing(t), writv1.Effect_EFFECT_ALLOW)
	p.decide(t, p.listing(t), writv1.Effect_EFFECT_DENY)
	p.verify(t)
}

// Health and reflection tell of no tenant, and need no policy.
func TestOpenMethods(t *testing.T) {
	p := open(t)
	p.admitting(t, `@id("none") forbid (principal, action, resource);`)
	if _, err := healthv1.NewHealthClient(p.serve(t).conn).Check(t.Context(), &healthv1.HealthCheckRequest{}); err != nil {
		t.Error(err)
	}
}
