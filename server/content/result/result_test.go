package result_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/content"
	"github.com/writpdp/writ/server/content/result"
)

func parse(t testing.TB, text string) *document.Document {
	t.Helper()
	d, err := document.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return d
}

func words(misfits []result.Misfit) []string {
	var all []string
	for _, m := range misfits {
		all = append(all, m.String())
	}
	return all
}

// What MCP has, and what only looks so.
func TestFormOf(t *testing.T) {
	const foreign, unknown = "no tool result of MCP", "a block of a type that MCP does not have"
	for _, test := range []struct {
		name, content string
		form          result.Form
		says          []string
	}{
		{"nothing", `{"content":[]}`, result.Whole, nil},
		{"every block", `{"content":[{"type":"text","text":"a","annotations":{},"_meta":{}},{"type":"image","data":"eA==","mimeType":"image/png"},{"type":"audio","data":"eA==","mimeType":"audio/wav"},
			{"type":"resource_link","uri":"a:b","name":"n"},{"type":"resource","resource":{"uri":"a:b","text":"x"}},{"type":"resource","resource":{"uri":"a:b","blob":"eA=="}}],
			"structuredContent":{"a":1},"isError":false,"_meta":{},"resultType":"complete","more":1}`, result.Whole, nil},
		{"another block", `{"content":[{"type":"video"},{"type":"text","text":"a"}]}`, result.Unknown, []string{"/content/0: " + unknown}},
		{"a type in upper case", `{"content":[{"type":"Text","text":"a"}]}`, result.Unknown, []string{"/content/0: " + unknown}},
		{"another block, and one that is none", `{"content":[{"type":"video"},{}]}`, result.Foreign, []string{"/content/1: " + foreign + " (a block without a type)"}},
		{"a text block without a text", `{"content":[{"type":"text","text":1}]}`, result.Foreign, []string{"/content/0/text: " + foreign + " (no string)"}},
		{"an image without a type", `{"content":[{"type":"image","data":"x"}]}`, result.Foreign, []string{"/content/0/mimeType: " + foreign + " (no string)"}},
		{"a resource that is two", `{"content":[{"type":"resource","resource":{"uri":"a:b","text":"x","blob":"y"}}]}`, result.Foreign, []string{"/content/0/resource: " + foreign + " (not either a text or a blob)"}},
		{"a resource that is none", `{"content":[{"type":"resource","resource":"x"}]}`, result.Foreign, []string{"/content/0/resource: " + foreign + " (no object)"}},
		{"blocks that are none", `{"content":"x"}`, result.Foreign, []string{"/content: " + foreign + " (no array of blocks)"}},
		{"no blocks", `{"structuredContent":{}}`, result.Foreign, []string{"/content: " + foreign + " (no array of blocks)"}},
		{"a structure that is none", `{"content":[],"structuredContent":[1]}`, result.Foreign, []string{"/structuredContent: " + foreign + " (no object)"}},
		{"an error that is neither", `{"content":[],"isError":"false"}`, result.Foreign, []string{"/isError: " + foreign + " (neither true nor false)"}},
		{"a result that waits", `{"content":[],"resultType":"input_required"}`, result.Foreign, []string{"/resultType: " + foreign + " (a result that is not complete)"}},
		{"a list", `[]`, result.Foreign, []string{"the arguments: " + foreign + " (it is no object)"}},
		{"many", `{"content":[` + strings.Repeat("1,", 99) + `1]}`, result.Foreign, nil},
	} {
		form, found := result.FormOf(parse(t, test.content))
		if form != test.form {
			t.Errorf("%s: got the form %d, want %d", test.name, form, test.form)
		}
		if len(found) > 8 {
			t.Errorf("%s: %d are told", test.name, len(found))
		}
		if diff := cmp.Diff(test.says, words(found), cmpopts.EquateEmpty()); diff != "" && test.name != "many" {
			t.Errorf("%s: -want +got:\n%s", test.name, diff)
		}
	}
	if form, found := result.FormOf(nil); form != result.Foreign || len(found) != 1 {
		t.Errorf("a text: got %d, %v", form, found)
	}
}

// Structured content is there and fits, but of an error, which has none or one that
// fits.
func TestMisfits(t *testing.T) {
	schema, err := content.Compile(parse(t, `{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}`))
	if err != nil {
		t.Fatal(err)
	}
	const missing = "the arguments: required (structuredContent)"
	for text, want := range map[string][]string{
		`{"content":[],"structuredContent":{"n":1}}`: nil,
		`{"content":[]}`:                                                  {missing},
		`{"content":[],"isError":false}`:                                  {missing},
		`{"content":[],"isError":"true"}`:                                 {missing},
		`{"content":[],"isError":true}`:                                   nil,
		`{"content":[],"isError":true,"structuredContent":{"n":1}}`:       nil,
		`{"content":[],"isError":true,"structuredContent":{"hunter2":1}}`: {"/structuredContent: a property that the schema does not name", "/structuredContent: required (n)"},
		`{"content":[],"structuredContent":{"n":"hunter2"}}`:              {"/structuredContent/n: type (integer)"},
		`{"content":[],"structuredContent":{"n":1,"admin":true}}`:         {"/structuredContent: a property that the schema does not name"},
		`{"content":[],"structuredContent":null}`:                         {"/structuredContent: type (object)"},
		`"n"`: {missing},
	} {
		if diff := cmp.Diff(want, words(result.Misfits(schema, parse(t, text))), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: -want +got:\n%s", text, diff)
		}
	}
	if found := result.Misfits(schema, nil); len(found) != 1 {
		t.Errorf("a text: %v", found)
	}
	if found := result.Misfits(nil, nil); found != nil {
		t.Errorf("no schema: %v", found)
	}
}

func TestLimits(t *testing.T) {
	l := result.Limits{Bytes: 10, Depth: 3}.Tighter(result.Limits{Bytes: 20, Values: 5}).Tighter(result.Limits{Depth: 2})
	if want := (result.Limits{Bytes: 10, Values: 5, Depth: 2}); l != want {
		t.Errorf("got %+v, want %+v", l, want)
	}
	if beyond := l.Beyond(result.Limits{Bytes: 10, Values: 5, Depth: 2}); beyond != nil {
		t.Errorf("got %q", beyond)
	}
	if diff := cmp.Diff([]string{"more than 10 bytes", "more than 5 values", "more than 2 levels"}, l.Beyond(result.Limits{Bytes: 11, Values: 6, Depth: 3})); diff != "" {
		t.Error(diff)
	}
	if beyond := (result.Limits{}).Beyond(result.Limits{Bytes: 1 << 60, Values: 1 << 60, Depth: 64}); beyond != nil {
		t.Errorf("no limits: got %q", beyond)
	}
}

// Whatever a tool answers, and whatever schema it has, looking comes to an end, says
// something short, and nothing that looks whole lacks what its blocks must have.
func FuzzResult(f *testing.F) {
	for _, schema := range []string{`{"properties":{"n":{"type":"integer"}},"required":["n"]}`, `{"anyOf":[{"properties":{"a":{}}},{"$ref":"#/$defs/b"}],"$defs":{"b":{"properties":{"b":{"prefixItems":[{}]}}}}}`} {
		for _, text := range []string{`{"content":[],"structuredContent":{"n":1}}`, `{"content":[{"type":"text","text":"a"},{"type":"resource","resource":{"uri":"a","blob":"b"}}],"isError":true}`, `{"content":[{"type":"x"}],"structuredContent":{"b":[1,2]}}`} {
			f.Add([]byte(schema), []byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, schema, text []byte) {
		d, err := document.Parse(text)
		if err != nil {
			return
		}
		form, found := result.FormOf(d)
		if (form == result.Whole) != (len(found) == 0) {
			t.Errorf("the form %d, and %v", form, found)
		}
		in, err := document.ParseObject(schema)
		if err != nil {
			return
		}
		compiled, err := content.Compile(in)
		if err != nil {
			return
		}
		broken := result.Misfits(compiled, d)
		for _, m := range append(found, broken...) {
			if len(m.String()) > 1024 {
				t.Errorf("a misfit of %d bytes", len(m.String()))
			}
		}
		if members, _ := d.Value().(map[string]any); members["structuredContent"] != nil && len(broken) == 0 {
			alone, err := document.Parse(mustMarshal(t, members["structuredContent"]))
			if err != nil {
				t.Fatal(err)
			}
			if more := compiled.Check(alone); len(more) > 0 {
				t.Errorf("what fits in a result does not fit alone: %v", more)
			}
		}
	})
}

func mustMarshal(t *testing.T, value any) []byte {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
