package session_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/policies/policiestest"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/session"
)

// What a bundle says wrong of labels and values is refused, by name.
func TestRefused(t *testing.T) {
	for _, test := range []struct{ name, file, text, want string }{
		{"a number of Writ's", "labels.yaml", "a: { number: 15 }", `labels.yaml: the label "a": the number 15 is not 16 to 60`},
		{"a number too large", "labels.yaml", "a: { number: 61 }", "is not 16 to 60"},
		{"no number", "labels.yaml", "a: {}", "the number 0 is not 16 to 60"},
		{"a number twice", "labels.yaml", "a: { number: 17 }\nb: { number: 17 }", `the label "b": the number 17 is that of "a"`},
		{"Writ's own", "labels.yaml", "pii: { number: 17 }", `the label "pii" is Writ's own`},
		{"a name of nobody's", "labels.yaml", "label-17: { number: 17 }", "called as one is that no bundle names"},
		{"capitals", "labels.yaml", "A: { number: 17 }", "not of the form"},
		{"a key that there is not", "labels.yaml", "a: { nummer: 17 }", "labels.yaml:1:"},
		{"a label that nobody declared", "tools.yaml", "memory: { read_graph: { labels: [nobodys] } }", `the tool memory/read_graph: there is no label "nobodys"`},
		{"neither", "chains.yaml", "v: { within: 1h }", `the value "v": it has not one of count, sum and formerly`},
		{"both", "chains.yaml", "v: { count: {}, formerly: {} }", "it has not one of"},
		{"a word of Cedar's", "chains.yaml", "in: { count: {} }", "a word of Cedar's"},
		{"no identifier", "chains.yaml", "a-b: { count: {} }", "not of the form"},
		{"half a second", "chains.yaml", "v: { count: {}, within: 500ms }", "not whole seconds"},
		{"since and within", "chains.yaml", "v: { count: {}, since: {}, within: 1h }", "both since and within"},
		{"a phase that there is not", "chains.yaml", "v: { count: { phases: [LIST] } }", `the phase "LIST"`},
		{"a tool that there is not", "chains.yaml", "v: { count: { tools: [memory/none] } }", `the tool "memory/none" is in no manifest`},
		{"a class that there is not", "chains.yaml", "v: { count: { classes: [none] } }", `no tool has the class "none"`},
		{"a label that there is not", "chains.yaml", "v: { count: { labels: [none] } }", `there is no label "none"`},
		{"an exception of an exception", "chains.yaml", "v: { count: { except: { except: {} } } }", "an exception has an exception"},
		{"a sum of nothing", "chains.yaml", "v: { sum: { tools: [stripe/create_refund] } }", "has the argument that it is of"},
		{"a sum of results", "chains.yaml", "v: { sum: { phases: [RESULT], tools: [stripe/create_refund] }, of: amount }", "over calls of tools that it names"},
		{"a sum of texts", "chains.yaml", "v: { sum: { tools: [stripe/create_refund] }, of: payment_intent }", `the schema of the tool stripe/create_refund has no integer "payment_intent"`},
		{"a policy of a value that there is not", "cedar/x.cedar", `@id("x") forbid (principal, action, resource) when { context.chain.nobodys > 1 };`, `cedar/x.cedar:1:1: policy "x":`},
		{"a policy that takes a number for a truth", "cedar/x.cedar", `@id("x") forbid (principal, action, resource) when { context.chain.refunds };`, `cedar/x.cedar:1:1: policy "x":`},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := policiestest.Sample()
			if files[test.file] == nil {
				files[test.file] = policiestest.Sample()["writ.yaml"]
			}
			files[test.file].Data = []byte(test.text + "\n")
			if _, err := policy.Load(files); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// A server's word that its world is open counts where the operator has none.
func TestAnnotationRaises(t *testing.T) {
	files := policiestest.Sample()
	files["tools.yaml"].Data = []byte(strings.ReplaceAll(string(files["tools.yaml"].Data), "browser_resize: { labels: [] }", "browser_resize: {}"))
	b, err := policy.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{"browser_resize": {"untrusted-content"}, "browser_close": {}} {
		if diff := cmp.Diff(want, b.Tools[decision.ToolName{Server: "playwright", Name: name}].Labels); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

func TestLooks(t *testing.T) {
	chains := []decision.ChainRule{{ID: "a", Kind: decision.Counts}, {ID: "b", Kind: decision.Formerly}}
	for text, want := range map[string]decision.Looked{
		`context.phase == "CALL"`:                   {},
		`context.args.taint`:                        {},
		`context.taint.contains("pii")`:             {Labels: true},
		`context.chain.a > 3`:                       {Chains: 0b01},
		`context.chain.a > 3 || context.chain.b`:    {Chains: 0b11},
		`context.chain has b && context.chain["b"]`: {Chains: 0b10},
		`context.chain == context.chain`:            {Chains: 0b11},
		`context == context`:                        {Labels: true, Chains: 0b11},
		`context has taint && context.chain.a == 1`: {Labels: true, Chains: 0b01},
		`principal has chain && principal.chain.b`:  {},
	} {
		p, err := cedar.NewPolicyListFromBytes("p", fmt.Appendf(nil, `permit (principal, action, resource) when { %s };`, text))
		if err != nil {
			t.Fatal(err)
		}
		if got := session.Looks((*ast.Policy)(p[0].AST()), chains); got != want {
			t.Errorf("%s: got %+v, want %+v", text, got, want)
		}
	}
}

// What one tenant's policies look at is looked at for its requests alone, and only for
// the actions that they are about.
func TestLooksByTenantAndAction(t *testing.T) {
	files := policiestest.Sample()
	files["cedar/tenants/bolt/x.cedar"] = policiestest.Sample()["writ.yaml"]
	files["cedar/tenants/bolt/x.cedar"].Data = []byte(`@id("x") forbid (principal, action in Action::"memory", resource) when { context.chain.refunds > 2 || context.taint.contains("pii") };`)
	b, err := policy.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	refunds := uint64(0)
	for i, r := range b.Chains {
		if r.ID == "refunds" {
			refunds = 1 << i
		}
	}
	ask := func(tenant, server, name string) decision.Looked {
		return b.Looked(&decision.Request{Phase: decision.Call, Session: "s", Caller: decision.Caller{Tenant: tenant},
			Tool: decision.ToolRef{ToolName: decision.ToolName{Server: server, Name: name}}}, false)
	}
	if got := ask("bolt", "memory", "read_graph"); !got.Labels || got.Chains&refunds == 0 {
		t.Errorf("got %+v", got)
	}
	if got := ask("acme", "memory", "read_graph"); got.Chains&refunds != 0 {
		t.Errorf("another tenant's policy is looked at: %+v", got)
	}
	if got := ask("bolt", "everything", "get-sum"); got.Chains&refunds != 0 {
		t.Errorf("another action's policy is looked at: %+v", got)
	}
}
