package document_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/writpdp/writ/document"
)

func parse(t testing.TB, data string) *document.Document {
	t.Helper()
	d, err := document.Parse([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestExpand(t *testing.T) {
	tests := []struct {
		name, data, pattern string
		want                []string
	}{
		{"the whole document", `{"a":1}`, "", []string{""}},
		{"the whole document, a scalar", `1`, "", []string{""}},
		{"a member", `{"a":{"b":1}}`, "/a/b", []string{"/a/b"}},
		{"a member that is null", `{"a":null}`, "/a", []string{"/a"}},
		{"no such member", `{"a":1}`, "/b", nil},
		{"below a scalar", `{"a":1,"b":true,"c":null}`, "/*/x", nil},
		{"escapes", `{"a/b":{"~":{"~1":1}}}`, "/a~1b/~0/~01", []string{"/a~1b/~0/~01"}},
		{"an empty name", `{"":{"":1}}`, "//", []string{"//"}},
		{"any member, in the order of names", `{"b":1,"a":2,"é":3,"A":4}`, "/*", []string{"/A", "/a", "/b", "/é"}},
		{"any member, with names to be escaped", `{"/":1,"~":2,"*":3}`, "/*", []string{"/*", "/~1", "/~0"}},
		{"any element", `[1,[2],{"a":3}]`, "/*", []string{"/0", "/1", "/2"}},
		{"an element", `[1,2]`, "/1", []string{"/1"}},
		{"no such elements", `[1,2]`, "/2", nil},
		{"indexes that RFC 6901 does not have", `{"a":[1,2]}`, "/a/01", nil},
		{"the element after the last", `[1,2]`, "/-", nil},
		{"a signed index", `[1,2]`, "/+1", nil},
		{"an index of an object", `{"0":{"00":1}}`, "/0/00", []string{"/0/00"}},
		{"two wildcards", `{"a":[{"x":1},{"y":2},{"x":3}],"b":{"k":{"x":4}}}`, "/*/*/x", []string{"/a/0/x", "/a/2/x", "/b/k/x"}},
		{"inside a text", `{"t":"{\"card\":\"4242\"}"}`, "/t/card", []string{"/t/card"}},
		{"inside a text with white space", `{"t":" \n[ {\"card\":1} ]\n"}`, "/t/*/card", []string{"/t/0/card"}},
		{"inside a text inside a text", `{"t":"{\"u\":\"[{\\\"card\\\":1}]\"}"}`, "/t/u/*/card", []string{"/t/u/0/card"}},
		{"a text that is a JSON string", `{"t":"\"{}\"","u":"1","v":"null"}`, "/*/*", nil},
		{"the text itself", `{"t":"{\"card\":1}"}`, "/t", []string{"/t"}},
		{"texts that are no JSON", `{"t":"[INFO] {x}","u":"{","v":"[1]\n[2]","w":"","x":"{'a':1}"}`, "/*/*", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parse(t, test.data).Expand(test.pattern)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestPatternsThatAreNone(t *testing.T) {
	for _, pattern := range []string{"a", " /a", "#/a", "/~", "/a/~2", "/~~0", "/~~10", "/a~", "*"} {
		if err := document.CheckPattern(pattern); err == nil {
			t.Errorf("%q was taken", pattern)
		}
		if _, err := parse(t, `{}`).Expand(pattern); err == nil {
			t.Errorf("%q was expanded", pattern)
		}
		if _, err := parse(t, `{}`).Apply([]document.Edit{{Pointer: pattern}}); err == nil {
			t.Errorf("%q was applied", pattern)
		}
	}
	for _, pattern := range []string{"", "/", "/~0~1", "/*/a", "/ "} {
		if err := document.CheckPattern(pattern); err != nil {
			t.Errorf("%q: %v", pattern, err)
		}
	}
}

// A text that another parser reads, and this one does not, may hold what is to
// be redacted: it is not passed over.
func TestExpandOfAmbiguousTexts(t *testing.T) {
	for name, text := range map[string]string{
		"duplicate keys":       `{\"card\":1,\"card\":2}`,
		"a large integer":      `{\"id\":12345678901234567890}`,
		"a large number":       `[1e999]`,
		"a lone surrogate":     `[\"\\ud800\"]`,
		"too deep":             nested(65),
		"a byte order mark":    `\ufeff{\"card\":1}`,
		"deeper in the values": `{\"a\":{\"b\":[{\"c\":1,\"c\":1}]}}`,
	} {
		d := parse(t, `{"t":"`+text+`","u":{"card":1}}`)
		if _, err := d.Expand("/*/card"); !errors.Is(err, document.ErrAmbiguous) {
			t.Errorf("%s: got %v, want ErrAmbiguous", name, err)
		}
		// Nobody asks what is in it: the text as a whole can be redacted.
		if got, err := d.Expand("/t"); err != nil || len(got) != 1 {
			t.Errorf("%s: the text itself: got %v, %v", name, got, err)
		}
	}
}

func TestExpandBounds(t *testing.T) {
	long := strings.Repeat("k", 1025)
	tests := []struct {
		name, data string
		patterns   []string
		want       error
	}{
		{"as many values as edits", "[" + strings.Repeat("1,", document.MaxEdits-1) + "1]", []string{"/*"}, nil},
		{"more values than edits", "[" + strings.Repeat("1,", document.MaxEdits) + "1]", []string{"/*"}, document.ErrTooMany},
		{"the longest pointer", `{"` + long[:1023] + `":1}`, []string{"/*"}, nil},
		{"too long a pointer", `{"` + long[:1024] + `":1}`, []string{"/*"}, document.ErrTooMany},
		{"a long name that leads nowhere", `{"` + long + `":{"a":1}}`, []string{"/*/b"}, nil},
		{"a long name that leads somewhere", `{"` + long + `":{"a":1}}`, []string{"/*/a"}, document.ErrTooMany},
		{"long pointers together", `{"` + long[:1000] + `":[` + strings.Repeat("1,", 999) + `1]}`, []string{"/*/*"}, nil},
		{"long pointers together, in two patterns", `{"` + long[:1000] + `":[` + strings.Repeat("1,", 999) + `1]}`, []string{"/*/*", "/*/*"}, document.ErrTooMany},
		{"texts that hold too much", `["[` + strings.Repeat("1,", document.MaxNodes/2) + `1]","[` + strings.Repeat("1,", document.MaxNodes/2) + `2]"]`,
			[]string{"/0/x", "/1/x"}, document.ErrTooMany},
		{"the same text twice", `["[` + strings.Repeat("1,", document.MaxNodes/2) + `1]","[` + strings.Repeat("1,", document.MaxNodes/2) + `1]"]`,
			[]string{"/0/x", "/1/x"}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			finder := parse(t, test.data).Finder()
			var got error
			for _, pattern := range test.patterns {
				if _, err := finder.Expand(pattern); err != nil {
					got = err
				}
			}
			if !errors.Is(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// What a document of 1 MiB costs does not grow with what was put into it to be
// expensive.
func TestExpandOfAdversarialDocuments(t *testing.T) {
	const size = 1 << 20
	fill := func(open, item, shut string) string {
		return open + strings.Repeat(item+",", (size-len(open)-len(shut))/(len(item)+1)-1) + item + shut
	}
	for name, data := range map[string]string{
		"tiny texts":                   fill(`[`, `"[1]"`, `]`),
		"tiny texts in arrays":         fill(`[[[`, `"{}","[2]"`, `]]]`),
		"a text of tiny texts":         fill(`["[`, `\"[1]\"`, `]"]`),
		"a long name above many":       `{"` + strings.Repeat("k", size/2) + `":[` + strings.Repeat(`[],`, size/8) + `[]]}`,
		"texts that almost are JSON":   fill(`[`, `"[1,{},[`+strings.Repeat("[", 50)+`"`, `]`),
		"one text that almost is JSON": `["[` + strings.Repeat(`{},`, size/4) + `]"]`,
	} {
		t.Run(name, func(t *testing.T) {
			d := parse(t, data)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			finder := d.Finder()
			for _, pattern := range []string{"/*/*/*/*", "/*/*/*/x", "/*/x/*", "/*/*/x/y/z"} {
				_, _ = finder.Expand(pattern)
			}
			runtime.ReadMemStats(&after)
			if got := after.TotalAlloc - before.TotalAlloc; got > 64<<20 {
				t.Errorf("it allocates %d MiB", got>>20)
			}
		})
	}
}
