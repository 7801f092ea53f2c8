package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
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

// BenchmarkTenants asks one tenant's question of bundles of as many policies as
// tenants times ten: they must not make it slower.
func BenchmarkTenants(b *testing.B) {
	for _, tenants := range []int{1, 1_000} {
		b.Run(fmt.Sprintf("tenants=%d/policies=sample+%d", tenants, 10*tenants), func(b *testing.B) {
			bundle := load(b, ofTenants(b, tenants))
			query := typical(b, bundle)
			query.Request.Caller.Tenant = "tenant-0"
			if r := bundle.Policies.Judge(query); len(r.Permits) != 4 || len(r.Errors) > 0 {
				b.Fatalf("got %+v", r)
			}
			b.ReportAllocs()
			for b.Loop() {
				bundle.Policies.Judge(query)
			}
		})
	}
}

// ofTenants is the sample bundle with ten policies more for each of some tenants.
func ofTenants(b *testing.B, tenants int) fstest.MapFS {
	files := sample(b)
	for i := range tenants {
		files[fmt.Sprintf("cedar/tenants/tenant-%d/own.cedar", i)] = text(perTenant(i))
	}
	return files
}

// perTenant are ten policies of the i-th tenant, three of which permit the typical
// call.
func perTenant(i int) string {
	var text strings.Builder
	for j := range 10 {
		purpose := "support"
		if j > 2 {
			purpose = fmt.Sprintf("purpose-%d", j)
		}
		fmt.Fprintf(&text, "@id(\"tenant-%d-%d\")\npermit (principal in Team::\"support\", action == Action::\"filesystem/read_text_file\", resource)\nwhen { context.purpose == %q && context.args.path like \"/srv/*\" };\n", i, j, purpose)
	}
	return text.String()
}

func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{0, 1_000, 10_000} {
		b.Run(fmt.Sprintf("policies=sample+%d", n), func(b *testing.B) {
			files := sample(b)
			files["cedar/synthetic.cedar"] = text(perAgent(n))
			for b.Loop() {
				load(b, files)
			}
		})
	}
	b.Run("tenants=1000/policies=sample+10000", func(b *testing.B) {
		files := ofTenants(b, 1_000)
		for b.Loop() {
			load(b, files)
		}
	})
}
