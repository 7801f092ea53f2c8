package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/decision"
)

func TestOutlook(t *testing.T) {
	for _, test := range []struct {
		name, policies string
		without, with  Outlook
	}{
		{"no policy", ``, Denied, Denied},
		{"permitted", `@id("p") permit (principal, action, resource is Server); @id("q") permit (principal, action, resource is Thing);`, Depends, Depends},
		{"always permitted", `@id("p") permit (principal in Team::"t", action, resource) when { context.purpose == "p" };`, Allowed, Allowed},
		{"for another purpose", `@id("p") permit (principal in Team::"t", action, resource) when { context.purpose == "q" };`, Denied, Denied},
		{"by arguments", `@id("p") permit (principal, action == Action::"s/t", resource) when { context.args has n && context.args.n < 3 };`, Depends, Depends},
		{"by time", `@id("p") permit (principal, action, resource) when { context.now < datetime("2026-12-24") };`, Depends, Depends},
		{"by the caller", `@id("p") permit (principal, action, resource) when { context.tenant == "x" };`, Depends, Depends},
		{"by resource", `@id("p") permit (principal, action, resource == Thing::"known");`, Depends, Depends},
		{"for a human", `@id("p") permit (principal, action, resource) when { context has onBehalfOf };`, Denied, Denied},
		{"with a ticket", `@id("p") permit (principal, action, resource); @id("f") forbid (principal, action, resource) unless { context has ticket };`, Denied, Allowed},
		{"with a ticket of some", `@id("p") permit (principal, action, resource); @id("f") forbid (principal, action, resource) unless { context has ticket && context.ticket.approvers.contains("x") };`, Denied, Depends},
		{"forbidden", `@id("p") permit (principal, action, resource); @id("f") forbid (principal, action, resource);`, Denied, Denied},
		{"forbidden at times", `@id("p") permit (principal, action, resource); @id("f") forbid (principal, action, resource) when { context.now < datetime("2026-12-24") };`, Depends, Depends},
		{"a sum that can overflow", `@id("p") permit (principal, action, resource); @id("q") permit (principal, action == Action::"s/t", resource) when { context.args has n && context.args.n + 1 > 3 };`, Depends, Depends},
		{"a sum before what is false", `@id("p") permit (principal, action, resource); @id("q") permit (principal, action == Action::"s/t", resource) when { context.cost.calls + 1 > 3 && context.purpose == "q" };`, Depends, Depends},
		{"a sum after what is false", `@id("p") permit (principal, action, resource); @id("q") permit (principal, action == Action::"s/t", resource) when { context.purpose == "q" && context.cost.calls + 1 > 3 };`, Allowed, Allowed},
		{"an obligation that can fail", `@id("p") permit (principal, action, resource); @id("o") @obligate("watermark") @text("w") permit (principal, action, resource) when { context.cost.calls * 2 > 3 };`, Depends, Depends},
		{"an obligation that cannot", `@id("p") permit (principal, action, resource); @id("o") @obligate("watermark") @text("w") permit (principal, action, resource) when { context.cost.calls > 3 };`, Allowed, Allowed},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := things(t, test.policies)
			set, q := b.Policies.(*Set), listing(b)
			if without, with := set.Outlook(q, false), set.Outlook(q, true); without != test.without || with != test.with {
				t.Errorf("without a ticket %d, with one %d", without, with)
			}
		})
	}
	b := things(t, `@id("p") permit (principal, action, resource);`)
	if got := b.Policies.(*Set).Outlook(calling(t, b), false); got != Denied {
		t.Errorf("a call has the outlook %d", got)
	}
}

func listing(b *decision.Bundle) decision.Query {
	name := decision.ToolName{Server: "s", Name: "t"}
	return decision.Query{Tool: b.Tools[name], Request: &decision.Request{Phase: decision.List, Purpose: "p",
		Principal: decision.Principal{Subject: "a"}, Tool: decision.ToolRef{ToolName: name}}}
}

// What is allowed whatever comes is allowed, and what is denied is denied, in
// every concrete case.
func TestOutlookIsSound(t *testing.T) {
	seen := map[Outlook]int{}
	rapid.Check(t, func(t *rapid.T) {
		text := drawPolicies(t)
		b, err := thingsOf(text)
		if err != nil {
			t.Skip(err) // a condition that the validator finds always false
		}
		set, q := b.Policies.(*Set), decision.Query{}
		ticket := rapid.Bool().Draw(t, "ticket")
		outlook := set.Outlook(listing(b), ticket)
		seen[outlook]++
		for range 10 {
			q = concrete(t, b, ticket)
			r := set.Judge(q)
			allowed := len(r.Permits) > 0 && len(r.Forbids)+len(r.Errors) == 0 && r.Refused.Code == ""
			if outlook == Allowed && !allowed || outlook == Denied && allowed {
				t.Fatalf("the outlook is %d and the ruling %+v, for\n%s", outlook, r, text)
			}
		}
	})
	for _, o := range []Outlook{Denied, Depends, Allowed} {
		if seen[o] == 0 {
			t.Errorf("no outlook was %d: %v", o, seen)
		}
	}
}

// drawPolicies are up to five policies about one tool.
func drawPolicies(t *rapid.T) string {
	conditions := []string{
		`context.args has n`, `context.args has n && context.args.n > 3`, `context.args has n && context.args.n + 9223372036854775800 > 3`,
		`context.purpose == "p"`, `context.purpose == "q"`, `context has ticket`, `!(context has ticket)`, `context.phase == "CALL"`,
		`context.now < datetime("2026-12-24")`, `context.tenant == "acme"`, `context.cost.calls < 2`, `context has onBehalfOf`,
		`resource is Thing`, `resource == Thing::"known"`, `resource in Team::"t"`, `context.actors.contains("x")`, `if context.args has n then context.args.n < 3 else true`,
		`context has ticket && context.ticket.approvers.contains("x")`, `true`, `context.args has n || context.purpose == "p"`,
	}
	scopes := []string{`principal, action == Action::"s/t", resource`, `principal in Team::"t", action == Action::"s/t", resource`, `principal == Agent::"b", action in Action::"s", resource`,
		`principal, action == Action::"s/t", resource is Thing`, `principal, action == Action::"s/t", resource is Server`, `principal, action in Action::"read-only", resource`}
	var text strings.Builder
	for i := range rapid.IntRange(1, 5).Draw(t, "policies") {
		kind := rapid.SampledFrom([]string{"permit", "permit", "forbid", "@obligate(\"watermark\") @text(\"w\") permit"}).Draw(t, "kind")
		fmt.Fprintf(&text, "@id(\"p%d\") %s (%s)", i, kind, rapid.SampledFrom(scopes).Draw(t, "scope"))
		for range rapid.IntRange(0, 2).Draw(t, "conditions") {
			fmt.Fprintf(&text, " %s { %s }", rapid.SampledFrom([]string{"when", "unless"}).Draw(t, "when"), rapid.SampledFrom(conditions).Draw(t, "condition"))
		}
		text.WriteString(";\n")
	}
	return text.String()
}

// Every policy about a tool is in its explanation, as matched or as near, and as
// both only when it cannot be evaluated.
func TestExplanationIsWhole(t *testing.T) {
	errors := 0
	rapid.Check(t, func(t *rapid.T) {
		b, err := thingsOf(drawPolicies(t))
		if err != nil {
			t.Skip(err)
		}
		set := b.Policies.(*Set)
		q := concrete(t, b, rapid.Bool().Draw(t, "ticket"))
		r, e := set.Judge(q), set.Explain(q)
		effects, near := map[string]string{}, map[string]bool{}
		for _, m := range e.Matched {
			effects[m.Policy] = m.Effect
		}
		for _, n := range e.Near {
			near[n.Policy] = true
			if n.Held >= n.Clauses || n.Failed == "" || n.Error && effects[n.Policy] != "error" {
				t.Fatalf("near: %+v, matched: %v", n, effects)
			}
		}
		for _, st := range set.Statements() {
			matched := effects[st.ID] == "permit" || effects[st.ID] == "forbid"
			switch {
			case st.Effect == "oblige" && near[st.ID], st.Effect != "oblige" && matched == near[st.ID]:
				t.Fatalf("%s: matched as %q, near %t", st.ID, effects[st.ID], near[st.ID])
			case effects[st.ID] == "error":
				errors++
			}
		}
		want := map[string]string{}
		for _, m := range r.Permits {
			want[m.Policy] = "permit"
		}
		for _, m := range r.Forbids {
			want[m.Policy] = "forbid"
		}
		for _, m := range r.Errors {
			want[m.Policy] = "error"
		}
		for _, o := range r.Obligations {
			want[o.Policy] = "oblige"
		}
		if diff := cmp.Diff(want, effects); diff != "" {
			t.Fatalf("-judged +explained:\n%s", diff)
		}
	})
	if errors == 0 {
		t.Error("no policy failed")
	}
}

// concrete is a call that fits what an outlook leaves open.
func concrete(t *rapid.T, b *decision.Bundle, ticket bool) decision.Query {
	name := decision.ToolName{Server: "s", Name: "t"}
	q := decision.Query{Tool: b.Tools[name], At: rapid.SampledFrom([]time.Time{time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC), time.Date(2026, 12, 25, 0, 0, 0, 0, time.UTC)}).Draw(t, "now"),
		Request: &decision.Request{Phase: decision.Call, Purpose: "p", Tool: decision.ToolRef{ToolName: name},
			Caller:    decision.Caller{Tenant: rapid.SampledFrom([]string{"acme", "other"}).Draw(t, "tenant")},
			Principal: decision.Principal{Subject: "a", Actors: rapid.SampledFrom([][]string{nil, {"x"}}).Draw(t, "actors")},
			Cost:      decision.Cost{Calls: int64(rapid.IntRange(1, 3).Draw(t, "calls"))}}}
	q.Request.Arguments = drawn(t, rapid.SampledFrom([]string{`{}`, `{"n":2}`, `{"n":9}`}).Draw(t, "arguments"))
	switch rapid.IntRange(0, 2).Draw(t, "resource") {
	case 1:
		q.Request.Resource = decision.Resource{Type: "Thing", ID: "known"}
	case 2:
		q.Request.Resource = decision.Resource{Type: "Thing", ID: "new", Properties: drawn(t, `{"hot":false}`)}
	}
	if ticket {
		q.Ticket = &decision.Ticket{ID: "T", Approvers: rapid.SampledFrom([][]string{{"x"}, {"y"}}).Draw(t, "approvers")}
	}
	return q
}

func drawn(t *rapid.T, data string) *document.Document {
	d, err := document.ParseObject([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return d
}
