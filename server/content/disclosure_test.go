package content_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/content"
)

func object(t testing.TB, text string) *document.Document {
	t.Helper()
	d, err := document.ParseObject([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

const disclosedSchema = `{"properties":{
	"s":{"type":"string"},"kind":{"enum":["a","b",3]},"only":{"const":"one"},"n":{"type":"number"},"b":{"type":"boolean"},
	"list":{"type":"array","items":{"type":"string"}},"*":{"type":"string"},
	"o":{"$ref":"#/$defs/o"},"any":{"anyOf":[{"type":"null"},{"properties":{"deep":{"type":"string"}}}]},"free":{"type":"object"}},
	"$defs":{"o":{"properties":{"s":{"type":"string"},"o":{"$ref":"#/$defs/o"}}}},"default":{"s":"not listed"}}`

// What is disclosed of a document, and what is named as withheld.
func TestDisclosure(t *testing.T) {
	schema, err := content.Compile(object(t, disclosedSchema))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, document  string
		patterns, never []string
		text            string
		withheld        []string
	}{
		{"nothing", `{}`, nil, nil, `{}`, nil},
		{"numbers and the like", `{"n":1.5,"b":true,"s":null}`, nil, nil, `{"b":true,"n":1.5,"s":null}`, nil},
		{"a text", `{"s":"x"}`, nil, nil, `{"s":"[redacted]"}`, []string{"/s"}},
		{"a listed text", `{"kind":"b","only":"one"}`, nil, nil, `{"kind":"b","only":"one"}`, nil},
		{"a text that is only a default", `{"s":"not listed"}`, nil, nil, `{"s":"[redacted]"}`, []string{"/s"}},
		{"texts in a list", `{"list":["x","a"]}`, nil, nil, `{"list":["[redacted]","a"]}`, []string{"/list/0"}},
		{"a named text", `{"s":"x","list":["y","z"]}`, []string{"/s", "/list/1"}, nil, `{"list":["[redacted]","z"],"s":"x"}`, []string{"/list/0"}},
		{"named texts of a list", `{"list":["y","z"]}`, []string{"/list/*", "/list/0"}, nil, `{"list":["y","z"]}`, nil},
		{"a named text by reference", `{"o":{"o":{"s":"x"},"s":"y"}}`, []string{"/o/o/s"}, nil, `{"o":{"o":{"s":"x"},"s":"[redacted]"}}`, []string{"/o/s"}},
		{"a star and a name", `{"o":{"s":"x","o":{"s":"y"}}}`, []string{"/*/s", "/o/o/s"}, nil, `{"o":{"o":{"s":"y"},"s":"x"}}`, nil},
		{"a foreign name", `{"n":1,"secret":1}`, nil, nil, `{"n":1}`, []string{"/*"}},
		{"a foreign name below", `{"free":{"secret":{"n":1}}}`, nil, nil, `{"free":{}}`, []string{"/free/*"}},
		{"a name that is a star", `{"*":"x"}`, nil, nil, `{}`, []string{"/*"}},
		{"redacted though named", `{"s":"x","n":1}`, []string{"/s"}, []string{"/n", "/s"}, `{"n":"[redacted]","s":"[redacted]"}`, []string{"/n", "/s"}},
		{"redacted within a named text", `{"s":"{\"card\":1}"}`, []string{"/s"}, []string{"/s/card"}, `{"s":"[redacted]"}`, []string{"/s"}},
		{"beside what is redacted", `{"s":"x"}`, []string{"/s"}, []string{"/s2", "/sx/y"}, `{"s":"x"}`, nil},
		{"a redacted object", `{"o":{"s":"x"}}`, []string{"/o/s"}, []string{"/o"}, `{"o":"[redacted]"}`, []string{"/o"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := schema.Disclosure(c.patterns)
			if err != nil {
				t.Fatal(err)
			}
			d := object(t, c.document)
			text, withheld, ok := o.Of(d, c.never, 1000)
			if !ok || string(text) != c.text || !cmp.Equal(withheld, c.withheld) {
				t.Errorf("got %s without %q, %t; want %s without %q", text, withheld, ok, c.text, c.withheld)
			}
			if _, err := document.Partial(text, withheld, d.Digest(), nil); err != nil {
				t.Errorf("read back: %v", err)
			}
		})
	}
}

// Nothing is disclosed beyond the bound, by nobody's word, and of no document
// that nobody knows.
func TestDisclosureOfNothing(t *testing.T) {
	d := object(t, `{"s":"x","n":1}`)
	var none *content.Disclosure
	if text, withheld, ok := none.Of(d, nil, 1000); text != nil || !slices.Equal(withheld, []string{""}) || !ok {
		t.Errorf("got %s, %q, %t", text, withheld, ok)
	}
	o, err := content.NewDisclosure(map[string]bool{"s": true, "n": true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for room := range 30 {
		if text, withheld, ok := o.Of(d, nil, room); ok != (room >= 26) || !ok && (text != nil || !slices.Equal(withheld, []string{""})) {
			t.Errorf("in %d bytes: %s, %q, %t", room, text, withheld, ok)
		}
	}
	if _, err := content.NewDisclosure(nil, []string{""}); err == nil {
		t.Error("a pattern for the whole document was accepted")
	}
}

func TestReaches(t *testing.T) {
	schema := object(t, disclosedSchema).Value().(map[string]any)
	for pattern, want := range map[string]bool{
		"/s": true, "/o/s": true, "/o/o/o/o/s": true, "/any/deep": true, "/list/*": true, "/list/3": true, "/*/deep": true,
		"/none": false, "/s/x": false, "/list/x": false, "/free/x": false, "/o/none": false, "/$defs": false,
	} {
		if got, err := content.Reaches(schema, pattern); err != nil || got != want {
			t.Errorf("%s: got %t, %v", pattern, got, err)
		}
	}
	for _, pattern := range []string{"", "s", "/~"} {
		if _, err := content.Reaches(schema, pattern); err == nil {
			t.Errorf("%q was accepted", pattern)
		}
	}
	// The places of a schema that refers to itself twice at each step do not
	// double with each.
	twice := object(t, `{"properties":{"a":{"$ref":"#"}},"anyOf":[{"$ref":"#"},{"$ref":"#"}]}`).Value().(map[string]any)
	if got, err := content.Reaches(twice, strings.Repeat("/a", 60)); err != nil || !got {
		t.Errorf("got %t, %v", got, err)
	}
}
