package test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/writpdp/writ/clients/go/writtest"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/postgres"
	"github.com/writpdp/writ/test/pgtest"
)

// stores are the engines that every case runs on; nil is the embedded default.
var stores = map[string]func(t *testing.T) writtest.Store{
	"sqlite":   func(*testing.T) writtest.Store { return nil },
	"postgres": openPostgres,
}

func openPostgres(t *testing.T) writtest.Store {
	t.Helper()
	dsn := pgtest.DSN(t)
	if err := postgres.Migrate(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	s, err := postgres.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// faces are the wires that every case goes through.
var faces = map[string]func(*testing.T, *writtest.PDP, *Step, *writv1.DecideRequest) *writv1.DecideResponse{
	"grpc": askGRPC, "json": askJSON,
}

// Every case comes out the same through every face on every store, and the log
// of all cases verifies. Each case has a tenant of its own.
func TestCasesWire(t *testing.T) {
	cases := readCases(t)
	for store, open := range stores {
		for face, ask := range faces {
			t.Run(store+"/"+face, func(t *testing.T) {
				t.Parallel()
				var current atomic.Pointer[Case] // a connection that is made asks the time too
				current.Store(cases[0])
				p := writtest.Start(t, writtest.Config{
					Store:  open(t),
					Now:    func() time.Time { return current.Load().Given.Now },
					Tenant: func() string { return current.Load().Name },
				})
				records := int64(0)
				for _, c := range cases {
					current.Store(c)
					t.Run(c.Name, func(t *testing.T) {
						records += seed(t, p, c)
						playWire(t, p, c, ask)
						records += int64(len(c.Steps))
					})
				}
				current.Store(&Case{Given: Given{Now: cases[0].Given.Now}})
				if n := p.Verify(t); n != records {
					t.Errorf("the log holds %d records, want %d", n, records)
				}
			})
		}
	}
}

func playWire(t *testing.T, p *writtest.PDP, c *Case, ask func(*testing.T, *writtest.PDP, *Step, *writv1.DecideRequest) *writv1.DecideResponse) {
	var calls, tokens []string
	for i := range c.Steps {
		s := &c.Steps[i]
		token, err := p.Token(writtest.Agent{Subject: s.Agent, OnBehalfOf: s.OnBehalfOf, Purposes: s.Carries, Tools: s.CarriesTools})
		if err != nil {
			t.Fatal(err)
		}
		if s.Token > 0 {
			token = tokens[s.Token-1]
		}
		answer := ask(t, p, s, s.Request(p.Bundle, newID(t).String(), token, calls))
		check(t, i+1, answer, c.Wants[i])
		calls, tokens = append(calls, answer.DecisionId), append(tokens, token)
	}
}

// seed makes a case's given facts true and returns how many records that took.
func seed(t *testing.T, p *writtest.PDP, c *Case) int64 {
	t.Helper()
	records := int64(len(c.Given.Locks))
	for _, given := range c.Given.Tickets {
		ticket, err := given.Made(c.Given.Now)
		if err != nil {
			t.Fatal(err)
		}
		records += p.AddTicketOf(t, c.Name, *ticket)
	}
	p.Look(t) // the clock is another
	for _, given := range c.Given.Locks {
		l, err := given.Made(c.Given.Now, c.Name)
		if err != nil {
			t.Fatal(err)
		}
		p.Lock(t, l)
	}
	for _, given := range c.Given.Changes {
		p.Adjust(t, given.Made(c.Given.Now, c.Name))
	}
	records += int64(len(c.Given.Changes))
	if len(c.Given.Spent) == 0 {
		return records
	}
	caller := decision.Caller{SPIFFEID: writtest.Caller, Tenant: c.Name}
	req := c.Steps[0].pure(p.Bundle, caller, nil)
	req.ID = newID(t)
	d := decision.Decision{Findings: []decision.Finding{{Stage: "seed", Verdict: decision.Permit}}}
	for _, rule := range p.Bundle.Budgets {
		if amount, ok := c.Given.Spent[rule.ID]; ok {
			key := rule.Key(req, p.Bundle.Vendor(req.Destination), c.Given.Now)
			effect := decision.Effect(decision.Charge{Key: key, Amount: amount, Cap: rule.Cap})
			if rule.Window == decision.Rate {
				effect = rule.Pace(key, amount, c.Given.Now)
			}
			d.Findings[0].Effects = append(d.Findings[0].Effects, effect)
		}
	}
	for _, rule := range p.Bundle.Breakers {
		for range c.Given.Spent[rule.ID] {
			d.Findings[0].Effects = append(d.Findings[0].Effects, decision.Observe{Key: rule.Key(req, p.Bundle.Vendor(req.Destination)),
				Trip: rule.Trip, At: c.Given.Now, Failed: true})
		}
	}
	entry, _, err := audit.Decided(newID(t), req, &decision.Snapshot{At: c.Given.Now, Bundle: p.Bundle}, &d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Store.Commit(t.Context(), entry); err != nil {
		t.Fatal(err)
	}
	return records + 1
}

func newID(t *testing.T) uuid.UUID {
	t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func askGRPC(t *testing.T, p *writtest.PDP, _ *Step, in *writv1.DecideRequest) *writv1.DecideResponse {
	t.Helper()
	conn, err := grpc.NewClient(p.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer, err := writv1.NewDecisionServiceClient(conn).Decide(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// askJSON says the question as an AuthZEN evaluation.
func askJSON(t *testing.T, p *writtest.PDP, s *Step, in *writv1.DecideRequest) *writv1.DecideResponse {
	t.Helper()
	body, err := json.Marshal(evaluation(s, in))
	if err != nil {
		t.Fatal(err)
	}
	status, text, err := Evaluate(t.Context(), p.BaseURL, in.RequestId, body)
	if err != nil {
		t.Fatal(err)
	}
	if status != http.StatusOK {
		t.Fatalf("%d: %s\nfor %s", status, text, body)
	}
	return fromAuthZEN(t, text)
}

type object = map[string]any

// evaluation is the question in AuthZEN's terms.
func evaluation(s *Step, in *writv1.DecideRequest) object {
	context := object{"purpose": in.Purpose}
	put := func(key string, value any, given bool) {
		if given {
			context[key] = value
		}
	}
	put("session_id", in.SessionId, in.SessionId != "")
	put("plan_depth", in.PlanDepth, in.PlanDepth != 0)
	put("ticket_id", in.TicketId, in.TicketId != "")
	put("call_decision_id", in.CallDecisionId, in.CallDecisionId != "")
	put("arguments", json.RawMessage(in.Arguments), len(in.Arguments) > 0)
	put("extra", json.RawMessage(in.Context), len(in.Context) > 0)
	if len(in.SupportedObligations) == 0 {
		context["supported_obligations"] = []string{}
	}
	if c := in.Cost; c != nil {
		context["cost"] = object{"calls": c.Calls, "tokens": c.Tokens, "micros": c.Micros, "currency": c.Currency}
	}
	if len(s.Content) > 0 {
		context["content"] = object{"media_type": "application/json", "document": json.RawMessage(s.Content)}
	}
	if s.Text != "" {
		context["content"] = object{"media_type": "text/plain", "data": s.Text}
	}
	if r := in.Resource; r != nil {
		resource := object{"type": r.Type, "id": r.Id}
		if len(r.Properties) > 0 {
			resource["properties"] = json.RawMessage(r.Properties)
		}
		context["resource"] = resource
	}
	tool := func(t *writv1.Tool) object {
		return object{"server": t.Server, "name": t.Name, "definition_digest": t.DefinitionDigest}
	}
	var action string
	var resource object
	switch in.Phase {
	case writv1.Phase_PHASE_LIST:
		action, resource = "tools/list", object{"type": "mcp_server", "id": in.Candidates[0].Server}
		var candidates []object
		for _, c := range in.Candidates {
			candidates = append(candidates, tool(c))
		}
		context["candidates"] = candidates
	case writv1.Phase_PHASE_CALL, writv1.Phase_PHASE_RESULT:
		action = map[writv1.Phase]string{writv1.Phase_PHASE_CALL: "tools/call", writv1.Phase_PHASE_RESULT: "tools/result"}[in.Phase]
		resource = object{"type": "tool", "id": in.Tool.Server + "/" + in.Tool.Name}
		if in.Tool.DefinitionDigest != "" {
			resource["properties"] = object{"definition_digest": in.Tool.DefinitionDigest}
		}
	default:
		action = strings.ToLower(s.Phase)
		d := in.Destination
		resource = object{"type": "destination", "id": d.Host, "properties": object{"vendor": d.Vendor, "region": d.Region, "url": d.Url,
			"scheme": d.Scheme, "port": d.Port, "method": d.Method, "addresses": append([]string{}, d.Addresses...), "redirected_from": d.RedirectedFrom}}
	}
	return object{
		"subject": object{"type": "agent", "id": s.Agent, "properties": object{"token": in.PrincipalToken}},
		"action":  object{"name": action}, "resource": resource, "context": context,
	}
}

// fromAuthZEN is the answer as gRPC would have given it.
func fromAuthZEN(t *testing.T, text []byte) *writv1.DecideResponse {
	t.Helper()
	var in struct {
		Decision bool
		Context  struct {
			ID      string
			Effect  string
			Reasons []struct {
				Code, Text, Lift string
				PolicyID         string `json:"policy_id"`
			}
			Obligations []struct {
				ID, Type   string
				Properties object
			}
			Budgets []struct {
				Budget              string
				Reserved, Remaining int64
				Exhausted           bool
			}
			RetryAfter    int64 `json:"retry_after_seconds"`
			TicketRequest struct {
				PolicyIDs []string `json:"policy_ids"`
			} `json:"ticket_request"`
		}
	}
	if err := json.Unmarshal(text, &in); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	c := in.Context
	out := &writv1.DecideResponse{DecisionId: c.ID, Effect: writv1.Effect(writv1.Effect_value["EFFECT_"+c.Effect])}
	if in.Decision == (out.Effect == writv1.Effect_EFFECT_DENY) {
		t.Errorf("decision is %t and the effect %s", in.Decision, c.Effect)
	}
	for _, r := range c.Reasons {
		out.Reasons = append(out.Reasons, &writv1.Reason{Code: r.Code, Text: r.Text, Lift: r.Lift, PolicyId: r.PolicyID})
	}
	for _, o := range c.Obligations {
		out.Obligations = append(out.Obligations, nativeObligation(t, o.Type, o.Properties))
	}
	for _, b := range c.Budgets {
		out.Budgets = append(out.Budgets, &writv1.BudgetLine{Budget: b.Budget, Reserved: b.Reserved, Remaining: b.Remaining, Exhausted: b.Exhausted})
	}
	if c.RetryAfter > 0 {
		out.RetryAfter = durationpb.New(time.Duration(c.RetryAfter) * time.Second)
	}
	if len(c.TicketRequest.PolicyIDs) > 0 {
		out.AccessRequest = &writv1.AccessRequest{PolicyIds: c.TicketRequest.PolicyIDs}
	}
	return out
}

// nativeObligation reads an AuthZEN obligation's properties as the parameters of
// the native type; enums come without their prefix.
func nativeObligation(t *testing.T, kind string, properties object) *writv1.Obligation {
	t.Helper()
	native := map[string]string{"step-up": "step_up", "notification": "notify"}[kind]
	if kind == "custom" {
		native = properties["action"].(string)
		delete(properties, "action")
		delete(properties, "vendor")
	}
	var params any = properties
	switch native {
	case "route":
		params = properties["destination"]
		params.(object)["reason"] = properties["reason"]
	case "redact":
		properties["target"] = "TARGET_" + properties["target"].(string)
		for _, e := range properties["edits"].([]any) {
			e.(object)["method"] = "METHOD_" + e.(object)["method"].(string)
		}
	}
	text, err := json.Marshal(object{native: params})
	if err != nil {
		t.Fatal(err)
	}
	var o writv1.Obligation
	if err := protojson.Unmarshal(text, &o); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return &o
}
