package table_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/policies"
	"github.com/writpdp/writ/policies/policiestest"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/suite"
	"github.com/writpdp/writ/server/policy/table"
)

// of is the table of the sample bundle with other policies, the sample's own
// where there are none.
func of(t testing.TB, cedar string) table.Table {
	t.Helper()
	files := policiestest.Sample()
	if cedar != "" {
		maps.DeleteFunc(files, func(name string, _ *fstest.MapFile) bool { return strings.HasPrefix(name, "cedar/") })
		files["cedar/a.cedar"] = &fstest.MapFile{Data: []byte(cedar), Mode: 0o444}
	}
	b, err := policy.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	out, err := table.Of(b, b.Policies.(*policy.Set), "")
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The sample bundle's table is the one that it keeps.
func TestSample(t *testing.T) {
	kept, err := policy.ReadFile(policies.Files, table.File(""))
	if err != nil {
		t.Fatal(err)
	}
	is := of(t, "")
	if diff := cmp.Diff(string(kept), string(is.CSV())); diff != "" {
		t.Errorf("-kept +is:\n%s", diff)
	}
	read, err := table.Read(table.File(""), "", kept)
	if diff := cmp.Diff(is, read); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
}

func TestEffects(t *testing.T) {
	const sum = `action == Action::"everything/get-sum"`
	for _, test := range []struct{ cedar, want string }{
		{`@id("a") permit (principal in Team::"support", ` + sum + `, resource);`, "spiffe://example.org/agent/support everything/get-sum support allow"},
		{`@id("a") permit (principal == Agent::"new", ` + sum + `, resource) when { context.args.a.lessThan(decimal("3.0")) };`, "new everything/get-sum support *"},
		{`@id("a") permit (principal == Agent::"new", ` + sum + `, resource) when { context has ticket };`, "new everything/get-sum support ticket"},
		{`@id("a") permit (principal == Agent::"new", ` + sum + `, resource) when { context has ticket && context.args.a.lessThan(decimal("3.0")) };`, "new everything/get-sum support ticket*"},
		{`@id("a") permit (principal == Agent::"new", ` + sum + `, resource) when { context.purpose == "billing" };`, ""},
		{`@id("a") permit (principal == Agent::"new", ` + sum + `, resource); @id("b") forbid (principal, action, resource);`, ""},
		// Who is not the bundle's is somebody too.
		{`@id("a") permit (principal, action == Action::"stripe/retrieve_balance", resource);`, "(any other agent) stripe/retrieve_balance billing allow\n" +
			"spiffe://example.org/agent/operations stripe/retrieve_balance billing allow\nspiffe://example.org/agent/research stripe/retrieve_balance billing allow\n" +
			"spiffe://example.org/agent/support stripe/retrieve_balance billing allow"},
	} {
		t.Run(test.cedar, func(t *testing.T) {
			var got []string
			for _, row := range of(t, test.cedar).Rows {
				got = append(got, fmt.Sprint(row.Agent, " ", row.Tool, " ", row.Purpose, " ", row.Effect))
			}
			if diff := cmp.Diff(test.want, strings.Join(got, "\n")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// No test of the sample bundle contradicts its table: what is allowed whatever comes
// the policies deny nowhere, and what is denied they allow nowhere.
func TestTableAgreesWithCases(t *testing.T) {
	b, err := policy.Load(policies.Files)
	if err != nil {
		t.Fatal(err)
	}
	cases, err := suite.Load(policies.Files, b)
	if err != nil {
		t.Fatal(err)
	}
	cells := map[table.Key]string{}
	for _, row := range of(t, "").Rows {
		cells[row.Key] = row.Effect
	}
	compared := 0
	for _, c := range cases {
		req := c.Request
		if req == nil || req.Phase != decision.Call || req.Principal.OnBehalfOf != "" || req.Session != "" {
			continue
		}
		compared++
		_, d := c.Decide(b)
		says := map[string]bool{}
		for _, f := range d.Findings {
			for _, r := range f.Reasons {
				says[r.Code] = true
			}
		}
		effect := cells[table.Key{Agent: req.Principal.Subject, Tool: req.Tool.String(), Purpose: req.Purpose}]
		switch {
		case effect == "" && d.Allowed():
			t.Errorf("%s is allowed and not in the table", c.ID())
		case effect == table.Allow && (says["policy.no_permit"] || says["policy.forbid"] || says["policy.ticket_required"] || says["policy.error"]):
			t.Errorf("%s is denied and the table allows it", c.ID())
		case strings.HasPrefix(effect, table.Ticket) && req.Ticket == "" && d.Allowed():
			t.Errorf("%s is allowed without a ticket", c.ID())
		}
	}
	if compared < 70 {
		t.Errorf("%d cases were compared", compared)
	}
}

func row(agent, tool, purpose, effect string) table.Row {
	return table.Row{Key: table.Key{Agent: agent, Tool: tool, Purpose: purpose}, Effect: effect}
}

func TestCompare(t *testing.T) {
	old := table.Table{Rows: []table.Row{row("a", "t", "p", "allow"), row("a", "u", "p", "*"), row("b", "t", "p", "ticket")}}
	changed := table.Table{Rows: []table.Row{row("a", "t", "p", "allow"), row("a", "u", "p", "allow"), row("c", "t", "p", "*")}}
	want := []table.Change{
		{Key: table.Key{Agent: "a", Tool: "u", Purpose: "p"}, Old: "*", New: "allow"},
		{Key: table.Key{Agent: "b", Tool: "t", Purpose: "p"}, Old: "ticket", New: "deny"},
		{Key: table.Key{Agent: "c", Tool: "t", Purpose: "p"}, Old: "deny", New: "*"},
	}
	if diff := cmp.Diff(want, table.Compare(old, changed)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := table.Compare(old, old); len(got) > 0 {
		t.Errorf("got %v", got)
	}
}

func TestRead(t *testing.T) {
	for text, want := range map[string]string{
		"":             "the first line is not agent,tool,purpose,effect",
		"agent,tool\n": "record on line 1: wrong number of fields",
		"a,b,c,d\n":    "the first line is not",
		"agent,tool,purpose,effect\na,b,c,deny\n":           `the effect "deny" is not one of a table`,
		"agent,tool,purpose,effect\na,b,c,*\na,b,c,allow\n": "a, b and c are there twice",
		"agent,tool,purpose,effect\na,b,c,\"*\n":            "extraneous or missing",
	} {
		if _, err := table.Read("f.csv", "", []byte(text)); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "f.csv: ") {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

func TestText(t *testing.T) {
	out := table.Table{Rows: []table.Row{row("a", "s/t", "p", "allow"), row("a", "s/t", "q", "*"), row("a", "s/u", "q", "ticket"), row("b|_", "s/[x](y)", "p", "ticket*")}}
	const text = `a
       p      q
  s/t  allow  *
  s/u  -      ticket

b|_
            p
  s/[x](y)  ticket*
`
	if got := out.Text(); !strings.HasPrefix(got, text) || !strings.HasSuffix(got, "What is not here is denied.\n") {
		t.Errorf("got\n%s", got)
	}
	const markdown = `### a

| tool | p | q |
|---|---|---|
| s/t | allow | \* |
| s/u | - | ticket |

### b\|\_

| tool | p |
|---|---|
| s/\[x](y) | ticket\* |
`
	if got := out.Markdown(); !strings.HasPrefix(got, markdown) {
		t.Errorf("-want +got:\n%s", cmp.Diff(markdown, got))
	}
}

// What is read is written as it was read.
func FuzzRead(f *testing.F) {
	f.Add("agent,tool,purpose,effect\na,b,c,*\n\"x\ny\",b,c,ticket\n")
	f.Add("# a comment\nagent,tool,purpose,effect\n")
	f.Fuzz(func(t *testing.T, text string) {
		read, err := table.Read("f.csv", "", []byte(text))
		if err != nil {
			return
		}
		again, err := table.Read("f.csv", "", read.CSV())
		if diff := cmp.Diff(read, again); diff != "" || err != nil {
			t.Errorf("%v %s", err, diff)
		}
		read.Text()
		read.Markdown()
	})
}
