package lint_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/lint"
)

// drawPolicies are a few policies that often cover one another.
func drawPolicies(t *rapid.T) []string {
	pick := func(name string, some ...string) string { return rapid.SampledFrom(some).Draw(t, name) }
	clause := func() string {
		return pick("clause", "context has session", "context has ticket", "context.purpose == \"p\"", "context.purpose == \"q\"", "context.phase == \"CALL\"", "context has ticket && context has session", "!(context has session || context has ticket)", "context has session || context has ticket")
	}
	var all []string
	for range rapid.IntRange(2, 4).Draw(t, "policies") {
		p := fmt.Sprintf("%s (%s, %s, %s)", pick("effect", "permit", "permit", "forbid"),
			pick("principal", "principal", "principal is Agent", "principal == Agent::\"a\"", "principal == Agent::\"b\"", "principal in Team::\"t\"", "principal is Agent in Team::\"t\""),
			pick("action", "action", "action == Action::\"s/read\"", "action in Action::\"s\"", "action == Action::\"s/move\"", "action in [Action::\"s/read\", Action::\"s/move\"]", "action in Action::\"write\""),
			pick("resource", "resource", "resource", "resource == Server::\"s\"", "resource is Server", "resource is Thing", "resource == Thing::\"x\""))
		for range rapid.IntRange(0, 2).Draw(t, "conditions") {
			p += fmt.Sprintf(" %s { %s }", pick("condition", "when", "when", "unless"), clause())
		}
		all = append(all, p+";")
	}
	return all
}

// A shadowed permit can be taken away: no request is answered otherwise. And one
// that never matches can be, and a forbid too.
func TestShadowedIsNeverMissed(t *testing.T) {
	names := []string{"one", "two", "three", "four"}
	bundle := func(policies []string, without string) map[string]string {
		var text strings.Builder
		for i, p := range policies {
			if names[i] != without {
				fmt.Fprintf(&text, "@id(%q) @owner(\"o\")\n%s\n", names[i], p)
			}
		}
		return map[string]string{"cedar/a.cedar": text.String()}
	}
	shadows, dead := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		for range 5 {
			policies := drawPolicies(t)
			src, err := policy.Read(small(bundle(policies, "")))
			if err != nil {
				t.Fatal(err)
			}
			if slices.ContainsFunc(src.Statements, func(st policy.Written) bool { return st.Invalid != "" }) {
				continue
			}
			whole, err := policy.Load(small(bundle(policies, "")))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range lint.Check(src) {
				if f.Code != "shadowed" && f.Code != "never-matches" {
					continue
				}
				if f.Code == "shadowed" {
					shadows++
				} else {
					dead++
				}
				rest, err := policy.Load(small(bundle(policies, f.Policy)))
				if err != nil {
					t.Fatal(err)
				}
				for range 20 {
					q := drawRequest(t, whole)
					if with, without := permitted(whole, q), permitted(rest, q); with != without {
						t.Fatalf("%s\nwithout %q: %v, with it %v, for %+v\n%s", strings.Join(policies, "\n"), f.Policy, without, with, q.Request, f.Text)
					}
				}
			}
		}
	})
	t.Logf("%d were shadowed, %d never matched", shadows, dead)
	if shadows == 0 || dead == 0 {
		t.Error("the policies are too much alike")
	}
}

func permitted(b *decision.Bundle, q decision.Query) bool {
	r := b.Policies.Judge(q)
	return r.Refused.Code == "" && len(r.Permits) > 0 && len(r.Forbids) == 0 && len(r.Errors) == 0
}

// drawRequest is a request whose purpose grants its tool.
func drawRequest(t *rapid.T, b *decision.Bundle) decision.Query {
	pick := func(name string, some ...string) string { return rapid.SampledFrom(some).Draw(t, name) }
	name := decision.ToolName{Server: "s", Name: pick("tool", "read", "move", "wipe")}
	req := &decision.Request{Phase: rapid.SampledFrom([]decision.Phase{decision.Call, decision.Result}).Draw(t, "phase"), Purpose: "p", Session: pick("session", "", "r"),
		Principal: decision.Principal{Subject: pick("agent", "a", "b", "c")}, Tool: decision.ToolRef{ToolName: name}}
	if name.Name == "read" {
		req.Purpose = pick("purpose", "p", "q")
	}
	var err error
	if req.Arguments, err = document.ParseObject([]byte("{}")); err != nil {
		t.Fatal(err)
	}
	if name.Name == "move" && rapid.Bool().Draw(t, "thing") {
		req.Resource = decision.Resource{Type: "Thing", ID: pick("id", "x", "y")}
		if req.Resource.Properties, err = document.ParseObject([]byte(`{"hot":true}`)); err != nil {
			t.Fatal(err)
		}
	}
	q := decision.Query{Request: req, At: time.Unix(0, 0), Tool: b.Tools[name]}
	if rapid.Bool().Draw(t, "ticket") {
		q.Ticket = &decision.Ticket{ID: "T"}
	}
	return q
}
