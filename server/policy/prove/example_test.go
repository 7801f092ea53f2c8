package prove

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go"
	"github.com/google/go-cmp/cmp"
)

// printed is an example as the tool prints it, of a call of s/t.
const printed = `principal: Agent::"a\", action: Action::\"no\" 😀\u{301}\n", action: Action::"s/t", resource: Thing::"x, resource: \" {"
context: {actors: ["x\"y é"], args: {d: decimal("1.5"), w: "\0\'\u{7f}"}, caller: "", cost: {calls: 1, currency: "", micros: 0, tokens: 0}, extra: {}, issuer: "", now: datetime("1970-01-01").offset(duration("-1ms")), phase: "CALL", purpose: "p", tenant: "", tool: {classes: [], labels: [], name: "", server: ""}}
entities: [
  Action::"s/t" in [Action::"s"],
  Thing::"x" {
    hot: false,
    owner: Human::"i",
  },
  Thing::"x, resource: \" {" in [Team::"t"] {
    hot: true,
    owner: Human::"h",
    "odd name": "  }",
  },
]
`

func TestParseExample(t *testing.T) {
	got, err := parseExample(printed)
	if err != nil {
		t.Fatal(err)
	}
	if want := cedar.NewEntityUID("Agent", "a\", action: Action::\"no\" 😀\u0301\n"); got.principal != want {
		t.Errorf("got %s, want %s", got.principal, want)
	}
	if want := cedar.NewEntityUID("Thing", `x, resource: " {`); got.resource != want {
		t.Errorf("got %s, want %s", got.resource, want)
	}
	r := &reader{of: got.context}
	if got := []any{r.moment("now"), r.record("args").text("w"), r.texts("actors")}; !cmp.Equal(got, []any{int64(-1), "\x00'\x7f", []string{`x"y é`}}) {
		t.Errorf("got %q", got)
	}
	want := cedar.NewRecord(cedar.RecordMap{"hot": cedar.True, "owner": cedar.NewEntityUID("Human", "h"), "odd name": cedar.String("  }")})
	if !got.attributes.Equal(want) {
		t.Errorf("got %s, want %s", got.attributes, want)
	}
	for _, bad := range []string{"", "principal: x", "principal: Agent::\"a\"\ncontext: {}", strings.Replace(printed, "context: {", "context: {,", 1),
		strings.Replace(printed, `purpose: "p"`, `purpose: principal`, 1), strings.Replace(printed, "context: ", "context: {} }; permit (principal, action, resource) when { ", 1),
		strings.Repeat("x", maxExample+1), strings.Replace(printed, `purpose: "p"`, `purpose: `+strings.Repeat("[", 1000), 1), strings.Replace(printed, "hot: true", "hot: <unknown>", 1)} {
		if got, err := parseExample(bad); err == nil {
			t.Errorf("read %.80q as %+v", bad, got)
		}
	}
}

func FuzzParseExample(f *testing.F) {
	f.Add(printed)
	f.Fuzz(func(t *testing.T, text string) { parseExample(text) })
}

// A prover that is wrong, or lies, makes nothing wider: its example is decided again.
func TestExamplesAreDecidedAgain(t *testing.T) {
	old := sideOf(t, `@id("p") permit (principal, action == Action::"s/t", resource is Server) when { context.args.w == "a" };`)
	new := sideOf(t, `@id("p") permit (principal, action == Action::"s/t", resource is Server) when { context.args.w == "b" };`)
	const example = `principal: Agent::"a", action: Action::"s/t", resource: Server::"s"
context: {actors: [], args: {w: "W"}, caller: "", cost: {calls: 1, currency: "", micros: 0, tokens: 0}, extra: {}, issuer: "", now: datetime("2026-01-01"), phase: "CALL", purpose: "p", tenant: "", tool: {classes: [], labels: [], name: "", server: ""}}`
	for _, test := range []struct {
		name   string
		answer func(Question) (Answer, error)
		wider  Finding
	}{
		{"right", func(Question) (Answer, error) { return Answer{Example: strings.Replace(example, "W", "b", 1)}, nil }, Finding{Claim: Yes}},
		{"the other way round", func(Question) (Answer, error) { return Answer{Example: strings.Replace(example, "W", "a", 1)}, nil },
			Finding{Claim: Unknown, Reason: "the prover's counterexample does not come out so with the bundles"}},
		{"of what neither allows", func(Question) (Answer, error) { return Answer{Example: example}, nil },
			Finding{Claim: Unknown, Reason: "the prover's counterexample does not come out so with the bundles"}},
		{"of another kind", func(Question) (Answer, error) {
			return Answer{Example: strings.Replace(example, `"s/t"`, `"z/t"`, 1)}, nil
		},
			Finding{Claim: Unknown, Reason: "the prover's counterexample cannot be decided again: it is of another kind of request"}},
		{"none", func(Question) (Answer, error) { return Answer{}, nil },
			Finding{Claim: Unknown, Reason: "the prover's counterexample cannot be decided again: it has no context"}},
		{"no answer", func(Question) (Answer, error) { return Answer{Holds: true}, errors.New("unsupported") }, Finding{Claim: Unknown, Reason: "unsupported"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := Of(t.Context(), old, new, func(_ context.Context, q Question) (Answer, error) { return test.answer(q) }, 1)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range p.Environments {
				if e.Action != "s/t" || e.Resource != "Server" {
					if e.Verdict != Equivalent {
						t.Errorf("%s on %s: %s", e.Action, e.Resource, e.Verdict)
					}
					continue
				}
				got := e.Wider
				if got.Claim == Yes && (got.Example == nil || !got.Example.New.Allowed || got.Example.Old.Allowed) {
					t.Errorf("the example: %+v", got.Example)
				}
				got.Example = nil
				if diff := cmp.Diff(test.wider, got); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			}
			if p.Verdict == Equivalent || p.Wider == No {
				t.Errorf("the whole: %s, wider %s", p.Verdict, p.Wider)
			}
		})
	}
}

func TestVerdicts(t *testing.T) {
	for _, test := range []struct {
		wider, narrower Claim
		want            Verdict
	}{
		{No, No, Equivalent}, {Yes, No, Wider}, {No, Yes, Narrower}, {Yes, Yes, Both},
		{Unknown, No, UnknownVerdict}, {No, Unknown, UnknownVerdict}, {Unknown, Yes, UnknownVerdict}, {Yes, Unknown, UnknownVerdict}, {"", "", UnknownVerdict}, {No, "", UnknownVerdict},
	} {
		if got := verdict(test.wider, test.narrower); got != test.want {
			t.Errorf("wider %q narrower %q: got %s, want %s", test.wider, test.narrower, got, test.want)
		}
	}
	for _, test := range [][3]Claim{{Yes, Unknown, Yes}, {No, Unknown, Unknown}, {No, No, No}, {No, Yes, Yes}, {No, "", Unknown}} {
		if got := worse(test[0], test[1]); got != test[2] {
			t.Errorf("%v: got %s", test, got)
		}
	}
}
