package test

import (
	"context"
	"crypto/sha256"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/writpdp/writ/clients/go/writtest"
	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/policies/policiestest"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/decision/stage"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/replay"
)

// recorder is a store as a replay reads it.
type recorder interface {
	writtest.Store
	View(ctx context.Context, f func(audit.Reader) error) error
}

// replayed replays all records of a store, but for those that seed made.
func replayed(t *testing.T, s recorder, bundle *decision.Bundle, old ...*decision.Bundle) *replay.Report {
	t.Helper()
	alike := map[string]map[string]decision.PolicyKind{}
	for _, b := range old {
		alike[b.Digest] = policy.Alike(b, bundle)
	}
	last := [16]byte(slices.Repeat([]byte{0xff}, 16))
	r, err := replay.Run(t.Context(), replay.Config{
		Bundle: bundle, Alike: alike, Samples: 5, Record: s.Record,
		Records: func(ctx context.Context, yield func(audit.Row) error) error {
			return s.View(ctx, func(r audit.Reader) error {
				return r.Records(ctx, "", [16]byte{}, last, func(row audit.Row) error {
					if found, err := audit.FindingsOf(row.Body); err == nil && found[0].Stage == "seed" {
						return nil
					}
					return yield(row)
				})
			})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// recorded is a store that holds the records of every case, some of them settled.
func recorded(t *testing.T, engine string, edit func(fstest.MapFS)) (s recorder, bundle *decision.Bundle, decisions, settlements int64) {
	t.Helper()
	cases := readCases(t)
	store, _ := engines[engine](t)
	current := cases[0]
	p := writtest.Start(t, writtest.Config{Store: store, Bundle: edited(t, edit),
		Now: func() time.Time { return current.Given.Now }, Tenant: func() string { return current.Name }})
	conn, err := grpc.NewClient(p.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ask := func(t *testing.T, _ *writtest.PDP, _ *Step, in *writv1.DecideRequest) *writv1.DecideResponse {
		answer, err := writv1.NewDecisionServiceClient(conn).Decide(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		decisions++
		if answer.Effect != writv1.Effect_EFFECT_DENY && len(answer.Budgets) > 0 {
			_, err := writv1.NewDecisionServiceClient(conn).Settle(t.Context(), &writv1.SettleRequest{DecisionId: answer.DecisionId,
				Outcome: writv1.Outcome_OUTCOME_SUCCEEDED, Actual: &writv1.Cost{Calls: 1}})
			if err != nil {
				t.Fatal(err)
			}
			settlements++
		}
		return answer
	}
	for _, c := range cases {
		current = c
		seed(t, p, c)
		playWire(t, p, c, ask)
	}
	return store.(recorder), p.Bundle, decisions, settlements
}

// edited is the sample bundle with some files changed; nil: as it is.
func edited(t *testing.T, edit func(fstest.MapFS)) fs.FS {
	t.Helper()
	files := policiestest.Sample()
	if edit != nil {
		edit(files)
	}
	return files
}

// change replaces a text of one file, which must be there.
func change(t *testing.T, name, from, to string) func(fstest.MapFS) {
	return func(files fstest.MapFS) {
		t.Helper()
		text := string(files[name].Data)
		if !strings.Contains(text, from) {
			t.Fatalf("%s has no %q", name, from)
		}
		files[name] = &fstest.MapFile{Data: []byte(strings.Replace(text, from, to, 1)), Mode: 0o444}
	}
}

func loaded(t *testing.T, files fs.FS) *decision.Bundle {
	t.Helper()
	b, err := policy.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A bundle decides its own records again as it did, on both stores: every case.
// What a record withholds may keep that from being known, never turn it round.
func TestReplayOfTheSameBundle(t *testing.T) {
	for engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s, bundle, decisions, settlements := recorded(t, engine, nil)
			r := replayed(t, s, bundle)
			if got := r.Total.Sum(); got != decisions || r.Settlements != settlements || settlements == 0 {
				t.Errorf("%d decisions and %d settlements were replayed, %d and %d were made", got, r.Settlements, decisions, settlements)
			}
			if r.Total.Changed() > 0 {
				t.Errorf("the same bundle changes %v", r.Because)
			}
			if most := decisions / 3; r.Total[replay.Undetermined] > most {
				t.Errorf("%d of %d are undetermined: %v", r.Total[replay.Undetermined], decisions, r.Because[replay.Undetermined])
			}
			// With what records tell of the bundle's own policies, all but the one
			// request whose context did not fit the schema, which is withheld, one in
			// whose URL a detector found something, so the record does not say where it
			// leads, and those that a rate and a breaker have denied at their moment.
			r = replayed(t, s, bundle, bundle)
			want := map[string]int64{"context /amountLimit": 1, "arguments": 1, "arguments: the URLs in them": 1,
				"budget.rate: it was so at that moment": 1, "breaker.open: it was so at that moment": 1}
			if got := r.Because[replay.Undetermined]; r.Total[replay.Unchanged] != decisions-4 || !maps.Equal(got, want) {
				t.Errorf("of %d decisions %v because of %v", decisions, r.Total, r.Because)
			}
		})
	}
}

// classesOf are the classes of a tool's records.
func classesOf(r *replay.Report, tool string) replay.Counts {
	for _, g := range r.Groups() {
		if g.By == "tool" && g.Value == tool {
			return g.Counts
		}
	}
	return replay.Counts{}
}

// What a change of the bundle would have changed is said for the tools that it is
// about, and nothing is said of others.
func TestReplayOfAnotherBundle(t *testing.T) {
	s, old, _, _ := recorded(t, "sqlite", nil)
	same := replayed(t, s, old, old)
	for _, c := range []struct {
		name    string
		edit    func(fstest.MapFS)
		tool    string
		class   replay.Class
		because string
	}{
		{"a forbid", func(files fstest.MapFS) {
			files["cedar/new.cedar"] = &fstest.MapFile{Mode: 0o444, Data: []byte(`@id("no-refunds") forbid (principal, action == Action::"stripe/create_refund", resource);`)}
		}, "stripe/create_refund", replay.WouldDeny, "policy.forbid no-refunds"},
		{"a forbid on a number", func(files fstest.MapFS) {
			files["cedar/new.cedar"] = &fstest.MapFile{Mode: 0o444, Data: []byte(`@id("small") forbid (principal, action == Action::"stripe/create_refund", resource) when { context.args has amount && context.args.amount > 100 };`)}
		}, "stripe/create_refund", replay.WouldDeny, "policy.forbid small"},
		{"a permit no more", change(t, "cedar/billing.cedar", `permit (principal in Team::"billing", action == Action::"stripe/create_customer"`, `permit (principal in Team::"none", action == Action::"stripe/create_customer"`),
			"stripe/create_customer", replay.WouldDeny, "policy.no_permit"},
		{"a tool no more granted", change(t, "purposes.yaml", "    - stripe/create_customer\n", ""), "stripe/create_customer", replay.WouldDeny, "purpose.tool"},
		{"a secret", change(t, "cedar/maintenance.cedar", `forbid (principal, action in Action::"secret", resource);`, `permit (principal, action in Action::"secret", resource);`),
			"everything/get-env", replay.WouldAllow, "policy.forbid no-secrets-of-the-process"},
		{"a redaction that the tool refuses", change(t, "cedar/billing.cedar", `@method("remove")`, `@method("mask")`), "stripe/create_customer", replay.WouldDeny, "redact.breaks_schema"},
		{"no redaction", change(t, "cedar/billing.cedar", `@fields("/email")`, `@fields("/phone")`), "stripe/create_customer", replay.ObligationsChanged, "-redact"},
		{"a redaction more", func(files fstest.MapFS) {
			files["cedar/new.cedar"] = &fstest.MapFile{Mode: 0o444, Data: []byte(`@id("new") @obligate("redact") @fields("/name") permit (principal, action == Action::"stripe/create_customer", resource);`)}
		}, "stripe/create_customer", replay.ObligationsChanged, "+redact"},
		{"a fresh redaction of results", func(files fstest.MapFS) {
			files["cedar/new.cedar"] = &fstest.MapFile{Mode: 0o444, Data: []byte(`@id("new") @obligate("redact") @fields("/structuredContent/new") permit (principal, action, resource) when { context.phase == "RESULT" };`)}
		}, "supabase/execute_sql", replay.Undetermined, "content: what /structuredContent/new matches"},
		{"a budget of none", func(files fstest.MapFS) {
			change(t, "budgets.yaml", "  cap: 20\n", "  cap: 0\n")(files)
		}, "stripe/create_refund", replay.WouldDeny, "budget.too_large"},
		{"another allow list", change(t, "egress.yaml", "    tools: [stripe/create_payment_link]\n", "    tools: [everything/echo]\n"), "everything/echo", replay.WouldDeny, "egress.host"},
		{"a scheme more", change(t, "egress.yaml", "schemes: [https, http]", "schemes: [https, http, memo]"), "everything/echo", replay.WouldAllow, "egress.scheme"},
		{"other places for URLs", change(t, "tools.yaml", "echo: { labels: [] }", "echo: { labels: [], urls: [/message] }"), "everything/echo", replay.Undetermined, "arguments: the URLs in them"},
		{"a changed definition", func(files fstest.MapFS) {
			change(t, "tools/stripe.json", `"create_refund"`, `"create_refund", "title": "changed"`)(files)
		}, "stripe/create_refund", replay.WouldDeny, "tool.drift"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := replayed(t, s, loaded(t, edited(t, c.edit)), old)
			if classesOf(r, c.tool)[c.class] == 0 || r.Because[c.class][c.because] == 0 {
				t.Errorf("%s: %v because of %v, want some %v because of %q", c.tool, classesOf(r, c.tool), r.Because, c.class, c.because)
			}
			for _, other := range []string{"filesystem/list_directory", "memory/create_entities"} {
				if got, want := classesOf(r, other), classesOf(same, other); got != want && c.class != replay.Undetermined {
					t.Errorf("%s: %v, want %v", other, got, want)
				}
			}
		})
	}
}

// What a tenant's own policies would have changed is of its records alone: each case
// is a tenant of its own. With the old bundle at hand the others are as determined
// as if nothing had changed.
func TestReplayOfTenants(t *testing.T) {
	s, old, _, _ := recorded(t, "sqlite", nil)
	same := replayed(t, s, old, old)
	in := func(tenant, cedar string) *replay.Report {
		return replayed(t, s, loaded(t, edited(t, func(files fstest.MapFS) {
			files["cedar/tenants/"+tenant+"/own.cedar"] = &fstest.MapFile{Mode: 0o444, Data: []byte(cedar)}
		})), old)
	}
	const forbid = `@id("own") forbid (principal, action, resource);`
	r := in("allow_small_refund", forbid)
	if got := r.Total[replay.WouldDeny]; got == 0 || r.Because[replay.WouldDeny]["policy.forbid own"] != got || r.Total.Changed() != got || r.Total[replay.Undetermined] != same.Total[replay.Undetermined] {
		t.Errorf("of one tenant: %v because of %v; as it was: %v", r.Total, r.Because, same.Total)
	}
	for tenant, cedar := range map[string]string{
		"nobody":  forbid + `@id("all") permit (principal, action, resource); @id("fails") forbid (principal, action, resource) when { context.cost.calls + 9223372036854775807 > 0 };`,
		"nobody2": `@id("own") @obligate("redact") @fields("/path /content/0/text") permit (principal, action, resource); @id("tell") @obligate("notify") @to("us") @body("b") permit (principal, action, resource);`,
	} {
		if r := in(tenant, cedar); r.Total != same.Total {
			t.Errorf("of a tenant without records: %v because of %v; as it was: %v", r.Total, r.Because, same.Total)
		}
	}
}

// plant puts texts that no record may hold in every place of a request that has
// any.
func plant(t *testing.T, req *decision.Request) {
	parse := func(text string) *document.Document {
		d, err := document.ParseObject([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	req.Arguments = parse(`{"name":"planted-1","email":"planted-2","metadata":{"planted-3":"planted-4","planted-5":{"planted-6":7}},"planted-7":1}`)
	req.Context = parse(`{"incident":"planted-8","planted-9":true,"breakGlass":false}`)
	req.Resource = decision.Resource{Type: "Payment", ID: "planted-10", Properties: parse(`{"currency":"planted-11","disputed":false,"planted-12":{"planted-13":[1]}}`)}
	req.Content = decision.Content{Document: parse(`{"planted-14":"planted-15"}`), Digest: sha256.Sum256([]byte("planted-16")), Size: 10}
}

// No record holds a text of a document that the bundle does not name, whatever
// the decision and the phase, and none holds what a redaction matched, also where
// the bundle names it.
func TestRecordsHoldNothingPlanted(t *testing.T) {
	plain := sampleBundle(t)
	named := loaded(t, edited(t, change(t, "tools.yaml", "  create_customer: { classes: [write, outbound], labels: [] }", "  create_customer: { classes: [write, outbound], labels: [], record: [/email, /name] }")))
	for _, c := range readCases(t) {
		for i := range c.Steps {
			for _, b := range []*decision.Bundle{plain, named} {
				req := c.Steps[i].pure(b, caseCaller, nil)
				req.ID, req.Principal.Token = [16]byte{6: 0x70, 8: 0x80, 15: 1}, [32]byte{1}
				plant(t, req)
				if req.Tool.Name == "create_customer" { // as it is, so that the policies are asked
					req.Resource = decision.Resource{}
				}
				snap := &decision.Snapshot{At: c.Given.Now, Bundle: b}
				d := stage.All.Decide(req, snap)
				entry, _, err := audit.Decided([16]byte{6: 0x70, 8: 0x80, 15: 2}, req, snap, &d)
				if err != nil {
					t.Fatal(err)
				}
				text := string(entry.Body)
				if b == named && req.Tool.Name == "create_customer" && req.Phase == decision.Call {
					if strings.Contains(text, "planted-2") || !strings.Contains(text, "planted-1") {
						t.Errorf("%s: the record does not hold the name alone", c.Name)
					}
					text = strings.ReplaceAll(text, "planted-1", "")
				}
				if strings.Contains(text, "planted") {
					t.Errorf("%s, step %d: the record holds %q", c.Name, i+1, text[strings.Index(text, "planted"):][:12])
				}
			}
		}
	}
}

// A record says what it withholds, and a replay with a bundle that asks for just
// that says that it stands in the way.
func TestReplaySaysWhatStandsInTheWay(t *testing.T) {
	s, _, _, _ := recorded(t, "sqlite", nil)
	r := replayed(t, s, loaded(t, edited(t, func(files fstest.MapFS) {
		files["cedar/new.cedar"] = &fstest.MapFile{Mode: 0o444, Data: []byte(`@id("new") forbid (principal, action == Action::"stripe/create_refund", resource) when { context.args.payment_intent like "pi_*" };`)}
	})))
	if r.Because[replay.Undetermined]["arguments /payment_intent"] == 0 {
		t.Errorf("undetermined because of %v", r.Because[replay.Undetermined])
	}
	for _, g := range r.Groups() {
		for class := range g.Samples {
			if n := g.Counts[class]; replay.Class(class) != replay.Unchanged && int64(len(g.Samples[class])) != min(5, n) {
				t.Errorf("%s %s has %d samples of %d", g.By, g.Value, len(g.Samples[class]), n)
			}
		}
	}
}

// Where the bundle names the arguments that policies look at, everything is
// determined.
func TestReplayOfRecordedTexts(t *testing.T) {
	names := func(files fstest.MapFS) {
		for _, tool := range []string{"read_text_file", "list_directory", "get_file_info", "write_file", "edit_file"} {
			change(t, "tools.yaml", "  "+tool+": { ", "  "+tool+": { record: [/path], ")(files)
		}
	}
	s, bundle, _, _ := recorded(t, "sqlite", names)
	r := replayed(t, s, bundle)
	if r.Total.Changed() > 0 {
		t.Errorf("the same bundle changes %v", r.Because)
	}
	if left := slices.Sorted(maps.Keys(r.Because[replay.Undetermined])); slices.ContainsFunc(left, func(s string) bool { return path.Base(s) == "path" }) {
		t.Errorf("undetermined because of %v", left)
	}
}
