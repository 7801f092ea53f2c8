package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cedar-policy/cedar-go"
	"github.com/google/go-cmp/cmp"
)

func TestStatements(t *testing.T) {
	b := things(t, `@id("p") @owner("o") permit(principal in Team::"t",action,resource);
// a comment
@id("f") @reason("r") forbid (principal, action, resource) when { context.purpose == "q" };
@id("o") @obligate("watermark") @text("w") permit (principal, action, resource);`)
	var got []string
	for _, st := range b.Policies.(*Set).Statements() {
		got = append(got, fmt.Sprintf("%s %s %s %d %v %d", st.ID, st.Effect, st.At(), len(st.Clauses), slices.Sorted(maps.Keys(st.Annotations)), strings.Count(st.Text, "@")))
	}
	want := []string{"f forbid cedar/a.cedar:3:1 1 [id reason] 0", "o oblige cedar/a.cedar:4:1 0 [id obligate text] 0", "p permit cedar/a.cedar:1:1 1 [id owner] 0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Agents are known by declaration and by what policies say of them.
func TestAgents(t *testing.T) {
	b := things(t, `@id("p") permit (principal == Agent::"scope", action, resource);
@id("q") permit (principal, action, resource) when { principal == Agent::"condition" || [Agent::"set"].contains(principal) };
@id("r") permit (principal is Agent, action, resource == Thing::"known");`)
	if diff := cmp.Diff([]string{"a", "condition", "scope", "set"}, b.Policies.(*Set).Agents("")); diff != "" {
		t.Error(diff)
	}
}

func TestEntities(t *testing.T) {
	set := things(t, `@id("p") permit (principal, action, resource);`).Policies.(*Set)
	var got []string
	for uid := range set.Entities() {
		got = append(got, uid.String())
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{`Agent::"a"`, `Thing::"known"`}, got); diff != "" {
		t.Error(diff)
	}
}

func TestAuthorize(t *testing.T) {
	set := things(t, `@id("permits") permit (principal in Team::"other", action == Action::"s/t", resource) when { context.args has n };
@id("forbids") forbid (principal, action == Action::"s/t", resource) when { context.args has n && context.args.n > 5 };
@id("fails") forbid (principal, action == Action::"s/t", resource) when { context.args has n && context.args.n + 9223372036854775807 > 0 && context.args.n > 3 };
@id("obliges") @obligate("watermark") @text("w") permit (principal, action, resource);`).Policies.(*Set)
	entities := cedar.EntityMap{}
	err := json.Unmarshal([]byte(`[{"uid":{"type":"Agent","id":"z"},"attrs":{},"parents":[{"type":"Team","id":"other"}]},{"uid":{"type":"Team","id":"other"},"attrs":{},"parents":[]},
		{"uid":{"type":"Server","id":"s"},"attrs":{},"parents":[]}]`), &entities)
	if err != nil {
		t.Fatal(err)
	}
	const context = `"phase":"CALL","purpose":"p","tenant":"","caller":"","issuer":"","actors":[],"now":{"__extn":{"fn":"datetime","arg":"2026-11-23"}},
		"cost":{"calls":1,"tokens":0,"micros":0,"currency":""},"extra":{},"tool":{"server":"s","name":"t","classes":[],"labels":[]}`
	for _, test := range []struct{ name, principal, context, want string }{
		{"entities of its own", "z", `{"args":{"n":-9},` + context + `}`, "permit permits"},
		{"a forbid and an error", "z", `{"args":{"n":9},` + context + `}`, "permit permits, forbid forbids, error fails"},
		{"the bundle's entities are away", "a", `{"args":{"n":-9},` + context + `}`, ""},
		{"a context that does not fit", "z", `{"args":{"n":"x"},` + context + `}`, "does not fit"},
		{"a context that is missing", "z", `{}`, "does not fit"},
	} {
		t.Run(test.name, func(t *testing.T) {
			request := cedar.Request{Principal: cedar.NewEntityUID("Agent", cedar.String(test.principal)), Action: cedar.NewEntityUID("Action", "s/t"), Resource: cedar.NewEntityUID("Server", "s")}
			if err := json.Unmarshal([]byte(test.context), &request.Context); err != nil {
				t.Fatal(err)
			}
			r, err := set.Authorize(request, entities)
			got := ruled(r)
			if err != nil {
				got = "does not fit"
			}
			if got != test.want {
				t.Errorf("got %q (%v), want %q", got, err, test.want)
			}
		})
	}
}

func TestDeclarations(t *testing.T) {
	a, err := Declarations(small())
	if err != nil {
		t.Fatal(err)
	}
	files := small()
	files[fileSchema] = &fstest.MapFile{Mode: 0o444, Data: []byte("// as before\n" + strings.ReplaceAll(string(files[fileSchema].Data), ";", " ;\n"))}
	b, err := Declarations(files)
	if err != nil || a != b {
		t.Errorf("formatting is a difference: %v\n%s\n%s", err, a, b)
	}
	files[fileSchema] = &fstest.MapFile{Mode: 0o444, Data: []byte(strings.Repeat("(", 1_000_000))}
	if _, err := Declarations(files); err == nil || !strings.Contains(err.Error(), "nested deeper") {
		t.Errorf("got %v", err)
	}
}

// A blank text is as long as the text, and nothing in a string or a comment is
// taken for Cedar.
func TestBlank(t *testing.T) {
	const text = `@id("a(") permit (x) // when {
/* " */ when { "b\"c" && y };`
	const want = `@id("""") permit (x)          ` + "\n" + `        when { """""" && y };`
	if diff := cmp.Diff(want, string(Blank([]byte(text)))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestList(t *testing.T) {
	files := fstest.MapFS{"tests/b.yaml": {Data: []byte("b"), Mode: 0o444}, "tests/a.yaml": {Data: []byte("a"), Mode: 0o444}, "tests/c.csv": {Mode: 0o444}}
	names, err := List(files, DirTests, ".yaml")
	if diff := cmp.Diff([]string{"tests/a.yaml", "tests/b.yaml"}, names); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	if names, err := List(fstest.MapFS{}, DirTests, ".yaml"); names != nil || err != nil {
		t.Errorf("of nothing: %v %v", names, err)
	}
	if data, err := ReadFile(files, "tests/a.yaml"); string(data) != "a" || err != nil {
		t.Errorf("got %q %v", data, err)
	}
	files["tests/big.yaml"] = &fstest.MapFile{Data: make([]byte, maxFile+1), Mode: 0o444}
	if _, err := ReadFile(files, "tests/big.yaml"); err == nil {
		t.Error("a file of any size is read")
	}
}

// Tests are no part of a bundle: with other tests it is the same.
func TestTestsAreNoPart(t *testing.T) {
	files := small()
	bare, err := Load(files)
	if err != nil {
		t.Fatal(err)
	}
	files["tests/a.yaml"] = &fstest.MapFile{Data: []byte("nonsense: ["), Mode: 0o444}
	if got, err := Load(files); err != nil || got.Digest != bare.Digest {
		t.Errorf("got %v %v", got, err)
	}
}

// What a tool's schema enumerates may be shown.
func TestMaskEnumerated(t *testing.T) {
	known := map[string]bool{}
	enumerated(map[string]any{"properties": map[string]any{"reason": map[string]any{"enum": []any{"duplicate", 1, nil}},
		"kind": map[string]any{"anyOf": []any{map[string]any{"const": "exact"}, map[string]any{"type": "string", "description": "free"}}}}},
		0, func(all ...string) {
			for _, s := range all {
				known[s] = true
			}
		})
	if diff := cmp.Diff(map[string]bool{"duplicate": true, "exact": true}, known); diff != "" {
		t.Error(diff)
	}
}

func TestMaskShow(t *testing.T) {
	m := mask{strings: map[string]bool{"known": true, "": true}}
	var longs []cedar.Value
	for i := range 65 {
		longs = append(longs, cedar.Long(i))
	}
	decimal, err := cedar.NewDecimal(15, -1)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		value  cedar.Value
		want   string
		masked bool
	}{
		{cedar.Long(900), "900", false},
		{cedar.True, "true", false},
		{decimal, `decimal("1.5")`, false},
		{cedar.String("known"), `"known"`, false},
		{cedar.String(""), `""`, false},
		{cedar.String("unknown"), "(a string)", true},
		{cedar.NewEntityUID("Agent", "known"), `Agent::"known"`, false},
		{cedar.NewEntityUID("Agent", "unknown"), "Agent::(a string)", true},
		{cedar.NewRecord(cedar.RecordMap{"a": cedar.Long(1)}), "(a record)", true},
		{cedar.NewSet(), "[]", false},
		{cedar.NewSet(cedar.String("known"), cedar.String("a"), cedar.String("b")), `["known", (2 more)]`, true},
		{cedar.NewSet(longs[:9]...), "[0, 1, 2, 3, 4, 5, 6, 7, (1 more)]", true},
		{cedar.NewSet(longs...), "(a set of 65)", true},
		{cedar.NewSet(cedar.NewSet(cedar.String("unknown"))), "[(1 more)]", true},
	} {
		if got, masked := m.show(test.value, false); got != test.want || masked != test.masked {
			t.Errorf("got %s %t, want %s %t", got, masked, test.want, test.masked)
		}
		if got, masked := m.show(test.value, true); got != "(redacted)" || !masked {
			t.Errorf("redacted: %s %t", got, masked)
		}
	}
}

func TestMaskRedacts(t *testing.T) {
	m := mask{redacted: [][]string{{"card"}, {"items", "*", "iban"}}}
	for path, want := range map[string]bool{
		"context.args.card": true, "context.args.card.number": true, "context.args.items": true, "context.args.items.0.iban": true,
		"context.args.items.0.name": false, "context.args": true, "context.args.cards": false, "context.extra.card": false, "resource.card": false, "principal": false,
	} {
		if got := m.redacts(strings.Split(path, ".")); got != want {
			t.Errorf("%s: %t", path, got)
		}
	}
	if m := (&mask{redacted: [][]string{nil}}); !m.redacts([]string{"context", "args", "x"}) {
		t.Error("a field of a document that is redacted whole is shown")
	}
}

func TestLiteralsOfExtensionsAreValidated(t *testing.T) {
	for _, literal := range []string{`datetime("never")`, `decimal("1.23456")`, `ip("256.0.0.1")`, `duration("1 day")`} {
		_, err := thingsOf(`@id("p") permit (principal, action, resource) when { ` + literal + ` == ` + literal + ` };`)
		if err == nil {
			t.Errorf("%s is a literal", literal)
		}
	}
}
