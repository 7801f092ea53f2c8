package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/policies"
	"github.com/writpdp/writ/server/decision"
)

func permitted(r decision.Ruling) bool {
	return r.Refused.Code == "" && len(r.Permits) > 0 && len(r.Forbids) == 0 && len(r.Errors) == 0
}

// hidden fails when a list hides a tool that a call with some arguments, cost,
// ticket and resource is permitted.
func hidden(t *rapid.T, b *decision.Bundle, name decision.ToolName, call decision.Query) {
	list := call
	req := *call.Request
	req.Phase, req.Arguments, req.Cost, req.Resource = decision.List, nil, decision.Cost{}, decision.Resource{}
	list.Request, list.Ticket = &req, nil
	seen, allowed := b.Policies.Judge(list), b.Policies.Judge(call)
	if permitted(allowed) && !permitted(seen) {
		t.Fatalf("%s is hidden: %+v\nand its call is permitted: %+v\nwith %s", name, seen, allowed, call.Request.Arguments.Canonical())
	}
}

func drawTicket(t *rapid.T) *decision.Ticket {
	if rapid.Bool().Draw(t, "ticket") {
		return &decision.Ticket{ID: "T", Approvers: rapid.SampledFrom([][]string{nil, {"lead"}, {"lead", "other"}}).Draw(t, "approvers")}
	}
	return nil
}

func object(t *rapid.T, members map[string]any) *document.Document {
	data, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	d, err := document.ParseObject(data)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// calls are calls of the sample bundle's tools, with arguments of all sorts.
func calls(t *testing.T, b *decision.Bundle) *rapid.Generator[decision.Query] {
	t.Helper()
	var tools []*decision.Tool
	for _, tool := range b.Tools {
		tools = append(tools, tool)
	}
	slices.SortFunc(tools, func(a, b *decision.Tool) int { return strings.Compare(a.String(), b.String()) })
	agents := rapid.SampledFrom([]string{"support", "operations", "research", "nobody"})
	anything := rapid.SampledFrom([]any{"", "x", "/srv/files/a", "/srv/files/drafts/../a", "https://example.org", 0, 1, 4000, 20_000, 200_000, 1.5, true, []any{}, map[string]any{}})
	return rapid.Custom(func(t *rapid.T) decision.Query {
		tool := rapid.SampledFrom(tools).Draw(t, "tool")
		arguments := map[string]any{}
		for _, name := range []string{"path", "amount", "url", "payment_intent", "query", "name", "email", "limit"} {
			if rapid.Bool().Draw(t, name) {
				arguments[name] = anything.Draw(t, "value")
			}
		}
		req := &decision.Request{Phase: decision.Call, Purpose: rapid.SampledFrom([]string{"support", "billing", "maintenance", "research"}).Draw(t, "purpose"),
			Principal: decision.Principal{Subject: "spiffe://example.org/agent/" + agents.Draw(t, "agent"), OnBehalfOf: rapid.SampledFrom([]string{"", "clerk@eu.example.org"}).Draw(t, "human")},
			Tool:      decision.ToolRef{ToolName: tool.ToolName}, Arguments: object(t, arguments), Cost: decision.Cost{Calls: 1, Tokens: rapid.Int64Range(0, 9).Draw(t, "tokens")}}
		if rapid.Bool().Draw(t, "facts") {
			req.Context = object(t, map[string]any{"amountLimit": rapid.IntRange(0, 1_000_000).Draw(t, "limit"), "breakGlass": rapid.Bool().Draw(t, "break glass")})
		}
		if tool.Name == "create_refund" && rapid.Bool().Draw(t, "payment") {
			req.Resource = decision.Resource{Type: "Payment", ID: "p", Properties: object(t, map[string]any{"currency": "EUR", "disputed": rapid.Bool().Draw(t, "disputed")})}
		}
		at := rapid.SampledFrom([]time.Time{time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC), time.Date(2026, 12, 25, 10, 0, 0, 0, time.UTC)}).Draw(t, "at")
		return decision.Query{Request: req, At: at, Tool: tool, Ticket: drawTicket(t)}
	})
}

func TestListHidesNothingOfTheSample(t *testing.T) {
	b, err := Load(policies.Files)
	if err != nil {
		t.Fatal(err)
	}
	drawn := calls(t, b)
	rapid.Check(t, func(t *rapid.T) {
		for range 20 {
			q := drawn.Draw(t, "call")
			hidden(t, b, q.Tool.ToolName, q)
		}
	})
}

// A context of only what policies look at is ruled on as the whole one is.
func TestNeedsAreEnough(t *testing.T) {
	b, err := Load(policies.Files)
	if err != nil {
		t.Fatal(err)
	}
	lean := b.Policies.(*Set)
	whole := *lean
	if whole.needs = (needs{all: true}); lean.needs.all || lean.needs.has("issuer") || !lean.needs.has("purpose") {
		t.Errorf("the policies look at %v", lean.needs)
	}
	drawn := calls(t, b)
	rapid.Check(t, func(t *rapid.T) {
		for range 20 {
			q := drawn.Draw(t, "call")
			if diff := cmp.Diff(whole.Judge(q), lean.Judge(q)); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

// Policies of all sorts, on what a list does not know.
func TestListHidesNothingOfAnyPolicies(t *testing.T) {
	atoms := rapid.SampledFrom([]string{
		"true", "false", "context has ticket", "context has ticket && context.ticket.approvers.contains(\"lead\")", "context has ticket && context.ticket.id == \"T\"",
		"context.args has n", "context.args has n && context.args.n > 3", "context.args has n && context.args.n + 9223372036854775807 > 0", "context.cost.tokens > 3", "context.cost.calls == 1",
		"context.phase == \"CALL\"", "context.phase == \"LIST\"", "context.purpose == \"p\"", "context.purpose == \"q\"", "context has onBehalfOf", "context.extra has limit && context.extra.limit > 3",
		"resource is Server", "resource is Thing && resource.hot", "resource in Team::\"t\"", "principal in Team::\"t\"", "resource == Server::\"s\"",
		"context.extra has limit && context.extra.limit * 9223372036854775807 > 0", "[1, 2].contains(context.cost.calls)", "context.cost == context.cost", "context == context",
	})
	clause := rapid.Custom(func(t *rapid.T) string {
		a, b, c := atoms.Draw(t, "a"), atoms.Draw(t, "b"), atoms.Draw(t, "c")
		return fmt.Sprintf(rapid.SampledFrom([]string{"(%[1]s)", "!(%[1]s)", "(%[1]s) && (%[2]s)", "(%[1]s) || (%[2]s)", "if (%[1]s) then (%[2]s) else (%[3]s)", "(%[1]s) == (%[2]s)"}).Draw(t, "form"), a, b, c)
	})
	scope := rapid.SampledFrom([]string{"resource", "resource", "resource is Thing", "resource == Server::\"s\"", "resource in Team::\"t\"", "resource is Thing in Team::\"t\""})
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		for i := range rapid.IntRange(1, 4).Draw(t, "policies") {
			fmt.Fprintf(&text, "@id(\"p%d\") %s (principal, action == Action::\"s/t\", %s)", i, rapid.SampledFrom([]string{"permit", "permit", "forbid"}).Draw(t, "effect"), scope.Draw(t, "scope"))
			for range rapid.IntRange(0, 2).Draw(t, "conditions") {
				fmt.Fprintf(&text, " %s { %s }", rapid.SampledFrom([]string{"when", "unless"}).Draw(t, "condition"), clause.Draw(t, "clause"))
			}
			text.WriteString(";\n")
		}
		b, err := Load(broken(map[string]string{"cedar/a.cedar": text.String(), fileTools: "s: { t: { resources: [Thing] } }\n",
			fileSchema: string(small()[fileSchema].Data) + "entity Thing in [Team] = { hot: Bool };"}))
		if err != nil {
			t.Skip(err) // the validator has its reasons
		}
		for range 10 {
			req := &decision.Request{Phase: decision.Call, Purpose: "p", Principal: decision.Principal{Subject: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "agent")},
				Tool: decision.ToolRef{ToolName: decision.ToolName{Server: "s", Name: "t"}}, Arguments: object(t, map[string]any{}), Cost: decision.Cost{Calls: 1, Tokens: rapid.Int64Range(0, 9).Draw(t, "tokens")}}
			if rapid.Bool().Draw(t, "n") {
				req.Arguments = object(t, map[string]any{"n": rapid.IntRange(0, 9).Draw(t, "n")})
			}
			if rapid.Bool().Draw(t, "facts") {
				req.Context = object(t, map[string]any{"limit": rapid.IntRange(0, 9).Draw(t, "limit")})
			}
			if rapid.Bool().Draw(t, "thing") {
				req.Resource = decision.Resource{Type: "Thing", ID: "x", Properties: object(t, map[string]any{"hot": rapid.Bool().Draw(t, "hot")})}
			}
			name := req.Tool.ToolName
			hidden(t, b, name, decision.Query{Request: req, At: time.Unix(0, 0), Tool: b.Tools[name], Ticket: drawTicket(t)})
		}
	})
}
