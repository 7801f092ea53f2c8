package document_test

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/writpdp/writ/document"
)

var seeds = []string{
	`{}`, `[]`, `null`, `"a"`, `-0`, `1e308`, `1e-400`, `9007199254740993`, `0.1`, `1e20`, `1e21`, `{"a":1,"\u0061":2}`, `"\ud83d\ude00"`, `"\ud800"`,
	"\ufeff{}", "{} {}", "[1,]", "\"\xff\"", `{"a":{"b":[1,true,null,"x"]}}`, `{"t":"{\"card\":\"4242\"}"}`, `{"t":"[{\"u\":\"[1]\"}]","":{"/":"~"}}`,
	strings.Repeat("[", 64) + strings.Repeat("]", 64), strings.Repeat("[", 65) + strings.Repeat("]", 65),
}

// What is accepted is read the same way by encoding/json, and again from its
// canonical form.
func FuzzParse(f *testing.F) {
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := document.Parse(data)
		if err != nil {
			if len(err.Error()) > 512 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		again, err := document.Parse(d.Canonical())
		if err != nil || again.Digest() != d.Digest() || !bytes.Equal(again.Canonical(), d.Canonical()) {
			t.Fatalf("the canonical form %s is not canonical: %v", d.Canonical(), err)
		}
		// Not cmp.Diff: its time doubles with every level of slices.
		if !reflect.DeepEqual(d.Value(), again.Value()) {
			t.Fatalf("got %v, and from the canonical form %v", d.Value(), again.Value())
		}
		var other any
		if err := json.Unmarshal(data, &other); err != nil {
			t.Fatalf("encoding/json refuses it: %v", err)
		}
		if got := floats(t, d.Value()); !reflect.DeepEqual(got, other) {
			t.Fatalf("got %v, and encoding/json reads %v", got, other)
		}
	})
}

// floats is a value tree as encoding/json gives it by default.
func floats(t *testing.T, value any) any {
	switch v := value.(type) {
	case json.Number:
		f, err := v.Float64()
		if err != nil || f == 0 && math.Signbit(f) {
			t.Fatalf("the number %s: %v", v, err)
		}
		return f
	case []any:
		out := make([]any, len(v))
		for i, child := range v {
			out[i] = floats(t, child)
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for name, child := range v {
			out[name] = floats(t, child)
		}
		return out
	}
	return value
}

// Every pattern's matches can be edited, and the result is a document.
func FuzzApply(f *testing.F) {
	for _, seed := range seeds {
		f.Add([]byte(seed), "/*/*", "/t/0/u", true)
	}
	f.Add([]byte(`{"a":[1,2,{"b":3}]}`), "/a/*/b", "/a/0", false)
	f.Add([]byte(`{"a/b":{"~":1}}`), "/a~1b/~0", "", true)
	f.Fuzz(func(t *testing.T, data []byte, pattern, pointer string, remove bool) {
		method := map[bool]document.Method{false: document.Masked, true: document.Removed}
		d, err := document.Parse(data)
		if err != nil {
			return
		}
		if edited, err := d.Apply([]document.Edit{{Pointer: pointer, Method: method[remove]}}); err == nil {
			if _, err := document.Parse(edited.Canonical()); err != nil {
				t.Fatal(err)
			}
		}
		found, err := d.Expand(pattern)
		if err != nil {
			return
		}
		var all []document.Edit
		for _, p := range found {
			all = append(all, document.Edit{Pointer: p, Method: method[remove && p != ""]})
		}
		edited, err := d.Apply(all)
		if err != nil {
			t.Fatalf("the matches %q of %q cannot be edited: %v", found, pattern, err)
		}
		if len(found) == 0 && edited.Digest() != d.Digest() {
			t.Fatalf("no edit changed %s to %s", d.Canonical(), edited.Canonical())
		}
	})
}

// Whatever a record says is withheld, a pattern finds in the rest what it finds in
// the document with masks, or says that it cannot know.
func FuzzPartial(f *testing.F) {
	f.Add([]byte(`{"a":"[redacted]","b":["[redacted]",1]}`), "/a", "/b/0", "/*/*")
	f.Add([]byte(`{"a":{"b":1}}`), "/a/*", "/a/b", "/a/*")
	f.Add([]byte(`{"a":"[redacted]"}`), "", "/a", "/a/b")
	f.Fuzz(func(t *testing.T, data []byte, one, other, pattern string) {
		d, err := document.Partial(data, []string{one, other}, document.Digest{}, nil)
		if err != nil {
			return
		}
		masked, err := d.Masked()
		if err != nil {
			t.Fatal(err)
		}
		if document.HoldsWithheld(masked.Value()) || !document.HoldsWithheld(d.Value()) {
			t.Fatalf("%s without %q and %q: %v", data, one, other, d.Value())
		}
		found, err := d.Expand(pattern)
		if err != nil {
			return
		}
		want, err := masked.Expand(pattern)
		if err != nil || !slices.Equal(found, want) {
			t.Fatalf("%s without %q and %q: %q finds %q, in the whole %q, %v", data, one, other, pattern, found, want, err)
		}
	})
}

// Whatever edits come in, of spans that overlap, cut characters or are beyond the
// string, they are refused or leave a document; in any order the same.
func FuzzSpans(f *testing.F) {
	f.Add("a 4111111111111111 b", uint8(0), 2, 18, uint8(2), 10, 18)
	f.Add("é😀x", uint8(1), 2, 6, uint8(5), 0, 0)
	f.Add(`{"a":"b"}`, uint8(3), 1, 4, uint8(1), 4, 5)
	f.Fuzz(func(t *testing.T, text string, method uint8, start, end int, other uint8, from, to int) {
		edit := func(m uint8, start, end int) document.Edit {
			e := document.Edit{Method: document.Method(m), Start: start, End: end}
			if e.Method.Keyed() {
				e.Replacement = document.Replacement(e.Method, [20]byte{m})
			}
			return e
		}
		one, two := edit(method, start, end), edit(other, from, to)
		got, err := document.ApplyText(text, []document.Edit{one, two})
		again, err2 := document.ApplyText(text, []document.Edit{two, one})
		if (err == nil) != (err2 == nil) || got != again {
			t.Fatalf("got %q, %v and, the other way around, %q, %v", got, err, again, err2)
		}
		if err == nil && utf8.ValidString(text) && !utf8.ValidString(got) {
			t.Fatalf("%q is not UTF-8", got)
		}
	})
}

// What is generalised stays as it is when it is generalised again, and is no longer
// than it was or is a mask.
func FuzzGeneralise(f *testing.F) {
	for _, seed := range []string{"1985-04-12", "203.0.113.7", "2001:db8::1", "::ffff:1.2.3.4", "a@b.c", "SW1A 1AA", "94107-1234", "1.25,-2.5", "00:1a:2b:3c:4d:5e", "fe80::1%eth0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		once := document.Generalise(text)
		if twice := document.Generalise(once); twice != once {
			t.Fatalf("%q becomes %q, and then %q", text, once, twice)
		}
	})
}
