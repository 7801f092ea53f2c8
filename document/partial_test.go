package document_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/document"
)

func partial(t *testing.T, data string, withheld []string, found map[string][]string) *document.Document {
	t.Helper()
	d, err := document.Partial([]byte(data), withheld, document.Digest{1}, found)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A pattern finds what is withheld, and nothing can be said of what is below it
// or beside it.
func TestExpandOfAPartialDocument(t *testing.T) {
	const data = `{"a":"[redacted]","b":{"c":1},"list":["[redacted]","x"],"o":{"known":true}}`
	withheld := []string{"/a", "/list/0", "/o/*"}
	for pattern, want := range map[string][]string{
		"/a": {"/a"}, "/list/*": {"/list/0", "/list/1"}, "/b/c": {"/b/c"}, "/none": nil, "/b/*": {"/b/c"},
		"/o/known": {"/o/known"}, "/a/x": {"/a/known/before"},
	} {
		d := partial(t, data, withheld, map[string][]string{"/a/x": {"/a/known/before"}, "/b/c": {"/not/asked"}})
		got, err := d.Expand(pattern)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", pattern, err, diff)
		}
	}
	for _, pattern := range []string{"/a/y", "/*/y", "/o/*", "/o/other", "/list/0/z"} {
		if got, err := partial(t, data, withheld, nil).Expand(pattern); !errors.Is(err, document.ErrWithheld) {
			t.Errorf("%s: got %v, %v", pattern, got, err)
		}
	}
	if _, err := partial(t, "", []string{""}, nil).Expand("/a"); !errors.Is(err, document.ErrWithheld) {
		t.Errorf("of a document that is withheld: %v", err)
	}
}

func TestPartialMasked(t *testing.T) {
	d := partial(t, `{"a":"[redacted]","b":[1,"[redacted]"]}`, []string{"/a", "/b/1"}, nil)
	if !document.HoldsWithheld(d.Value()) || d.Digest() != (document.Digest{1}) {
		t.Errorf("got %v", d.Value())
	}
	whole, err := d.Masked()
	if err != nil || document.HoldsWithheld(whole.Value()) || len(whole.Withheld()) > 0 {
		t.Errorf("masked: %v, %v", whole, err)
	}
	if _, err := partial(t, "", []string{""}, nil).Masked(); !errors.Is(err, document.ErrWithheld) {
		t.Errorf("a document that is withheld: %v", err)
	}
	if d.HasOthers() || !partial(t, `{"a":{}}`, []string{"/a/*"}, nil).HasOthers() {
		t.Error("further members are not told")
	}
}

// A value that a document really has is not taken for one that is withheld.
func TestPartialRefuses(t *testing.T) {
	for _, c := range []struct {
		data     string
		withheld []string
	}{
		{"", nil}, {"", []string{"/a"}}, {"{}", []string{""}}, {`{"a":1}`, []string{"/a"}}, {`{"a":"x"}`, []string{"/a"}},
		{`{"a":"[redacted]"}`, []string{"a"}}, {`{"a":"[redacted]"}`, []string{"/a/b"}}, {`["[redacted]"]`, []string{"/1"}},
		{`["[redacted]"]`, []string{"/00"}}, {`{"a":"[redacted]"}`, []string{"/a", "/a"}}, {`{"a":1`, nil}, {`{"a":1,"a":2}`, nil},
	} {
		if d, err := document.Partial([]byte(c.data), c.withheld, document.Digest{}, nil); err == nil {
			t.Errorf("%s without %q is %v", c.data, c.withheld, d.Value())
		}
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, pointer string
		want             bool
	}{
		{"/a/*", "/a/b", true}, {"/a/*", "/a", false}, {"/a/*", "/a/b/c", false}, {"/a~1b", "/a~1b", true}, {"", "", true},
		{"/*/b", "/x/b", true}, {"/*/b", "/x/c", false}, {"a", "/a", false}, {"/a", "a", false},
	} {
		if got := document.Matches(c.pattern, c.pointer); got != c.want {
			t.Errorf("%q matches %q: %t", c.pattern, c.pointer, got)
		}
	}
}
