package policy_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/decision"
)

// typical is a call that a gateway asks about all day.
func typical(t testing.TB, b *decision.Bundle) decision.Query {
	t.Helper()
	arguments, err := document.ParseObject([]byte(`{"path":"/srv/files/customers/1001.json","head":20}`))
	if err != nil {
		t.Fatal(err)
	}
	name := decision.ToolName{Server: "filesystem", Name: "read_text_file"}
	req := &decision.Request{
		Phase: decision.Call, Purpose: "support", Session: "run-17", Tool: decision.ToolRef{ToolName: name, Digest: b.Tools[name].Digest}, Arguments: arguments,
		Caller:    decision.Caller{SPIFFEID: "spiffe://example.org/gateway", Tenant: "acme"},
		Principal: decision.Principal{Subject: "spiffe://example.org/agent/support", Issuer: "https://issuer.example.org", OnBehalfOf: "clerk@eu.example.org", Purposes: []string{"support"}},
		Cost:      decision.Cost{Calls: 1},
	}
	return decision.Query{Request: req, At: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC), Tool: b.Tools[name]}
}

func BenchmarkJudge(b *testing.B) {
	for _, n := range []int{0, 10, 1_000, 10_000} {
		b.Run(fmt.Sprintf("policies=sample+%d", n), func(b *testing.B) {
			files := sample(b)
			files["cedar/synthetic.cedar"] = text(perAgent(n))
			bundle := load(b, files)
			query := typical(b, bundle)
			if r := bundle.Policies.Judge(query); len(r.Permits) != 1 || len(r.Errors) > 0 {
				b.Fatalf("got %+v", r)
			}
			b.ReportAllocs()
			for b.Loop() {
				bundle.Policies.Judge(query)
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{0, 1_000} {
		b.Run(fmt.Sprintf("policies=sample+%d", n), func(b *testing.B) {
			files := sample(b)
			files["cedar/synthetic.cedar"] = text(perAgent(n))
			for b.Loop() {
				load(b, files)
			}
		})
	}
}
