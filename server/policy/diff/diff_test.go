package diff_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/policies/policiestest"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/diff"
)

// changed is the sample bundle with one text in a file put for another; the whole
// file where the first is empty.
func changed(t testing.TB, edits ...[3]string) diff.Bundle {
	t.Helper()
	files := policiestest.Sample()
	for _, e := range edits {
		text := string(files[e[0]].Data)
		if !strings.Contains(text, e[1]) {
			t.Fatalf("%s holds no %s", e[0], e[1])
		}
		files[e[0]] = &fstest.MapFile{Data: []byte(strings.Replace(text, e[1], e[2], 1)), Mode: 0o444}
	}
	b, err := policy.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	schema, err := policy.Declarations(files)
	if err != nil {
		t.Fatal(err)
	}
	return diff.Bundle{Bundle: b, Set: b.Policies.(*policy.Set), Schema: schema}
}

func TestText(t *testing.T) {
	const billing = "cedar/billing.cedar"
	for _, test := range []struct {
		name  string
		edits [][3]string
		want  string
	}{
		{"nothing", nil, "The bundles are the same.\n"},
		{"formatting and comments", [][3]string{{billing, "permit (principal in", "// why\n  permit(principal   in"}, {"schema.cedarschema", "entity Team;", "// who\nentity  Team ;"},
			{"purposes.yaml", "description: Answer", "description: Please"}}, "The bundles are the same.\n"},
		{"a condition", [][3]string{{billing, "context.args.amount <= 100000 }", "context.args.amount <= 200000 }"}},
			`policy refund-up-to-1000: changed  cedar/billing.cedar:27:1
        action == Action::"stripe/create_refund",
        resource
    )
  - when { context.args has amount && context.args.amount <= 100000 };
  + when { context.args has amount && context.args.amount <= 200000 };
`},
		{"who may call", [][3]string{{"access/access.cedar", `like "/agent/*" };`, `like "/agents/*" };`}}, `access access-explain: changed  access/access.cedar:12:1
        resource
    )
    when { principal.tenant == resource }
  - unless { principal.path like "/agent/*" };
  + unless { principal.path like "/agents/*" };
`},
		{"an annotation", [][3]string{{billing, `@owner("billing")`, `@owner("finance")`}}, `policy billing-reads: changed  cedar/billing.cedar:3:1
  - @owner("billing")
  + @owner("finance")
`},
		{"what is permitted", [][3]string{{"cedar/support.cedar", `Action::"everything/get-sum", `, ``}}, `policy support-thinks: changed  cedar/support.cedar:36:1
    permit (
        principal in Team::"support",
  -     action in [Action::"everything/get-sum", Action::"everything/echo", Action::"sequential-thinking/sequentialthinking"],
  +     action in [Action::"everything/echo", Action::"sequential-thinking/sequentialthinking"],
        resource
    );
spiffe://example.org/agent/support  everything/get-sum  for support: allow → deny
`},
		{"a policy gone, another come", [][3]string{{billing, `@id("billing-reads")`, `@id("billing-looks")`}}, `policy billing-looks: added  cedar/billing.cedar:3:1
  + @id("billing-looks")
  + @owner("billing")
  + permit (
  +     principal in Team::"billing",
  +     action in Action::"read-only",
  +     resource == Server::"stripe"
  + );
policy billing-reads: removed  cedar/billing.cedar:3:1
  - @id("billing-reads")
  - @owner("billing")
  - permit (
  -     principal in Team::"billing",
  -     action in Action::"read-only",
  -     resource == Server::"stripe"
  - );
`},
		{"data", [][3]string{{"budgets.yaml", "cap: 20\n", "cap: 30\n"}, {"purposes.yaml", "vendors: [example-ai]", "vendors: []"},
			{"vendors.yaml", "{ region: eu, host: mail.example.org }", "{ region: us, host: mail.example.org }\n    - { region: eu, host: eu.mail.example.org }"}, {"vendors.yaml", "receives: [pii, financial]\n", "receives: [pii]\n"},
			{"vendors.yaml", "until: 2027-06-30", "until: 2026-06-30"}, {"egress.yaml", "ports: [443, 80]", "ports: [443]"}, {"egress.yaml", "addresses: [10.20.0.0/24]", "addresses: [10.20.0.0/16]"}, {"egress.yaml", "regions: [eu]", "regions: [us]"}, {"tools.yaml", "echo: { labels: [] }", "echo: { labels: [], urls: [/message] }"}, {"tools.yaml", "read_graph: { classes: [read-only], labels: [private-data] }", "read_graph: { classes: [read-only], labels: [private-data, financial], resources: [Payment] }"},
			{"entities.json", `{ "uid": { "type": "Team", "id": "research" }, "attrs": {}, "parents": [] },`, `{ "uid": { "type": "Team", "id": "new" }, "attrs": {}, "parents": [] },`},
			{"writ.yaml", "name: sample", "name: example"}, {"schema.cedarschema", "incident?: String", "incident?: Long"}, {"tools/memory.json", `"description": "Read the entire`, `"description": "Now read the entire`}},
			`bundle egress.yaml: changed
  ports: 443 80 → 443
bundle writ.yaml: changed
  name: sample → example
purpose billing: changed
  vendors: - example-ai
vendor example-mail: changed
  contracts: post (dpa, before 2027-07-01, regions [eu], labels []) → post (dpa, before 2026-07-01, regions [eu], labels [])
  endpoints: eu:mail.example.org → us:mail.example.org eu:eu.mail.example.org
  receives: pii financial → pii
budget refunds-daily: changed
  cap: 20 → 30
tool everything/echo: changed
  urls: + /message
tool memory/read_graph: changed
  definition: `},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, err := diff.Of(changed(t), changed(t, test.edits...))
			if err != nil {
				t.Fatal(err)
			}
			got := d.Text()
			if test.name == "data" {
				for _, want := range []string{"allow list ledger: changed\n  addresses: 10.20.0.0/24 → 10.20.0.0/16\n", "residency health-stays: changed\n  regions: eu → us\n", "  labels: private-data → private-data financial\n", "  resources: + Payment\n", `entity Team::"new": added`, `entity Team::"research": removed`, "schema.cedarschema: changed\n"} {
					if !strings.Contains(got, want) {
						t.Errorf("no %q in\n%s", want, got)
					}
				}
				got = got[:min(len(got), len(test.want))]
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if d.Same() != strings.HasPrefix(test.want, "The bundles are the same") {
				t.Errorf("same: %t", d.Same())
			}
		})
	}
}

func TestJSON(t *testing.T) {
	d, err := diff.Of(changed(t), changed(t, [3]string{"budgets.yaml", "cap: 20\n", "cap: 30\n"}))
	if err != nil {
		t.Fatal(err)
	}
	text, err := d.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"policies": []any{}, "access": []any{}, "schema": false, "table": []any{},
		"data": []any{map[string]any{"kind": "budget", "id": "refunds-daily", "change": "changed",
			"fields": []any{map[string]any{"name": "cap", "old": "20", "new": "30"}}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// What bundles hold does not break out of the page.
func TestMarkdown(t *testing.T) {
	d, err := diff.Of(changed(t), changed(t,
		[3]string{"cedar/billing.cedar", `@owner("billing")`, "@owner(\"```\\n<script>\")"},
		[3]string{"budgets.yaml", "cap: 20\n", "cap: 30\n"},
		[3]string{"cedar/support.cedar", `Action::"everything/get-sum", `, ``}))
	if err != nil {
		t.Fatal(err)
	}
	got := d.Markdown()
	for _, want := range []string{"**billing-reads** changed (cedar/billing.cedar:3:1)\n\n````diff\n", "\n````\n", "| budget refunds-daily | changed | cap | 20 | 30 |\n",
		"| spiffe://example.org/agent/support | everything/get-sum | support | allow | deny |\n", "### Policies\n", "### Data\n", "### What is permitted\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	same, err := diff.Of(changed(t), changed(t))
	if err != nil || same.Markdown() != "The bundles are the same.\n" {
		t.Errorf("got %v %q", err, same.Markdown())
	}
}
