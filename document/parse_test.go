package document_test

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/document"
)

// nested is n arrays within one another.
func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func TestParseRefuses(t *testing.T) {
	tests := []struct{ name, data, pointer, problem string }{
		{"nothing", "", "", "unexpected end of the document"},
		{"white space", " \n", "", "unexpected end of the document"},
		{"half an object", `{"a":`, "/a", "unexpected end of the document"},
		{"half a string", `["a`, "", "unexpected end of the document"},
		{"duplicate keys", `{"a":1,"a":1}`, "/a", "duplicate key"},
		{"duplicate keys by an escape", `{"a":1,"\u0061":2}`, "/a", "duplicate key"},
		{"duplicate keys by a surrogate pair", `{"😀":1,"\ud83d\ude00":2}`, "/😀", "duplicate key"},
		{"duplicate keys by an escaped slash", `{"x":{"/":1,"\/":2}}`, "/x/~1", "duplicate key"},
		{"duplicate empty keys", `{"":1,"":2}`, "/", "duplicate key"},
		{"invalid UTF-8", "[\"\xff\"]", "", "invalid UTF-8 near byte"},
		{"invalid UTF-8 in a key", "{\"\xc3\x28\":1}", "", "invalid UTF-8 near byte"},
		{"an overlong encoding", "\"\xc0\x80\"", "", "invalid UTF-8 near byte"},
		{"an encoded surrogate", "\"\xed\xa0\x80\"", "", "invalid UTF-8 near byte"},
		{"a lone high surrogate", `"\ud800"`, "", "invalid JSON near byte"},
		{"a lone low surrogate", `{"\udc00":1}`, "", "invalid JSON near byte"},
		{"two high surrogates", `"\ud800\ud800"`, "", "invalid JSON near byte"},
		{"NaN", `{"a":NaN}`, "/a", "invalid JSON near byte 5"},
		{"Infinity", `[Infinity]`, "", "invalid JSON near byte 1"},
		{"-Infinity", `[-Infinity]`, "", "invalid JSON near byte 2"},
		{"too large a number", `{"a":1e999}`, "/a", "number out of range"},
		{"too small a number", `-1e309`, "", "number out of range"},
		{"a number that becomes zero", `[1e-400]`, "/0", "number out of range"},
		{"a number that becomes zero by a large exponent", `[-0.001e-999999]`, "/0", "number out of range"},
		{"an integer beyond 2^53", `{"a":9007199254740993}`, "/a", "integer beyond 2^53"},
		{"2^53", `9007199254740992`, "", "integer beyond 2^53"},
		{"-2^53", `-9007199254740992`, "", "integer beyond 2^53"},
		{"a negative integer beyond 2^53", `[0,-9007199254740993]`, "/1", "integer beyond 2^53"},
		{"an integer beyond 2^53 as a fraction", `9007199254740993.0`, "", "integer beyond 2^53"},
		{"an integer beyond 2^53 with an exponent", `[1e20]`, "/0", "integer beyond 2^53"},
		{"an integer beyond any exponent's beginning", `1000000000000000000000000`, "", "integer beyond 2^53"},
		{"a leading zero", `[01]`, "", "invalid JSON near byte 2"},
		{"a leading plus", `+1`, "", "invalid JSON near byte 0"},
		{"a hexadecimal number", `[0x10]`, "", "invalid JSON near byte 2"},
		{"two values", `{} {}`, "", "more than one JSON value"},
		{"garbage after the value", `{}x`, "", "more than one JSON value"},
		{"a byte order mark", "\ufeff{}", "", "invalid JSON near byte 0"},
		{"a comment", `{/**/}`, "", "invalid JSON near byte 1"},
		{"a trailing comma", `[1,]`, "", "invalid JSON near byte 2"},
		{"a control character", "[\"\x01\"]", "", "invalid JSON near byte 2"},
		{"too deep", nested(document.MaxDepth + 1), "", "nested deeper than 64"},
		{"too deep by far", strings.Repeat("[", 1<<20), "", "nested deeper than 64"},
		{"too deep in objects", strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65), "", "nested deeper than 64"},
		{"too many values", "[" + strings.Repeat("1,", document.MaxNodes) + "1]", "/199998", "more than 200000 values"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d, err := document.Parse([]byte(test.data))
			var got *document.Error
			if d != nil || !errors.As(err, &got) || !strings.HasPrefix(got.Problem, test.problem) {
				t.Fatalf("got %v, %v, want the problem %q", d, err, test.problem)
			}
			if test.pointer != "" && got.Pointer != test.pointer {
				t.Errorf("got the pointer %q, want %q", got.Pointer, test.pointer)
			}
		})
	}
}

func TestParseTakes(t *testing.T) {
	tests := []struct {
		name, data   string
		want         any
		depth, nodes int
	}{
		{"null", "null", nil, 0, 1},
		{"true", " true\n", true, 0, 1},
		{"a string", `"\u00e9\ud83d\ude00\/"`, "é😀/", 0, 1},
		{"the largest integer", "9007199254740991", json.Number("9007199254740991"), 0, 1},
		{"the smallest integer", "-9007199254740991", json.Number("-9007199254740991"), 0, 1},
		{"zero", "[0,-0,0.0,0e9]", []any{json.Number("0"), json.Number("0"), json.Number("0"), json.Number("0")}, 1, 5},
		{"integers in other spellings", "[1.0,1e3,-12e-1,1E+2]", []any{json.Number("1"), json.Number("1000"), json.Number("-1.2"), json.Number("100")}, 1, 5},
		{"more digits than a double has", "[0.1000000000000000055511151231257827, 1.00000000000000000001]", []any{json.Number("0.1"), json.Number("1")}, 1, 3},
		{"large doubles", "[1e21,-1.5e300]", []any{json.Number("1e+21"), json.Number("-1.5e+300")}, 1, 3},
		{"the smallest double", "5e-324", json.Number("5e-324"), 0, 1},
		{"an object", `{"a":{"b":[]},"":{}}`, map[string]any{"a": map[string]any{"b": []any{}}, "": map[string]any{}}, 3, 4},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d, err := document.Parse([]byte(test.data))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, d.Value()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if d.Depth() != test.depth || d.Nodes() != test.nodes {
				t.Errorf("got depth %d and %d nodes, want %d and %d", d.Depth(), d.Nodes(), test.depth, test.nodes)
			}
		})
	}
	if d, err := document.Parse([]byte(nested(document.MaxDepth))); err != nil || d.Depth() != document.MaxDepth {
		t.Errorf("the greatest depth: %v", err)
	}
	full := "[" + strings.Repeat("1,", document.MaxNodes-2) + "1]"
	if d, err := document.Parse([]byte(full)); err != nil || d.Nodes() != document.MaxNodes {
		t.Errorf("the greatest number of values: %v", err)
	}
}

func TestParseObject(t *testing.T) {
	if d, err := document.ParseObject(nil); err != nil || string(d.Canonical()) != "{}" {
		t.Errorf("no bytes: got %v, want {}", err)
	}
	for _, data := range []string{"[]", "1", `"{}"`, "null", " "} {
		if _, err := document.ParseObject([]byte(data)); err == nil {
			t.Errorf("%q was taken for an object", data)
		}
	}
}

// Whatever is wrong, and wherever, no value of the document is in the error.
func TestErrorsHoldNoValues(t *testing.T) {
	const canary = "hunter2"
	secret, number := `"`+canary+`"`, "271828182845"
	for _, data := range []string{
		`{"a":` + secret + `,"a":` + secret + `}`,
		`{"a":[` + secret + `,` + number + `,]}`,
		`{"a":` + secret + ` ` + secret + `}`,
		`{"a":` + number + `e999}`, `{"a":` + number + number + `}`, `{"a":` + number + `x}`,
		`{"a":` + secret, `{"a":"` + canary + "\xff\"}", `{"a":"` + canary + `\ud800"}`, `{"a":"` + canary + `\q"}`,
		`{"a":` + secret + `}` + secret, secret + secret, canary, `"` + canary,
		strings.Repeat(`[`+secret+`,`, 65), `[` + strings.Repeat(secret+",", document.MaxNodes),
	} {
		_, err := document.Parse([]byte(data))
		if err == nil {
			t.Errorf("%.60q was taken", data)
		} else if strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), number) {
			t.Errorf("%.60q: the error holds a value: %v", data, err)
		}
	}
}

// Names of members are shown, but no longer than a line and without anything
// that could forge another one.
func TestErrorPointerIsSafe(t *testing.T) {
	forged := "x\nlevel=info msg=\"all is well\"\x1b[2J\u202e\u2028"
	for _, name := range []string{forged, strings.Repeat("é", 1<<18), strings.Repeat("\x00", 1<<18), strings.Repeat("~/", 200)} {
		quoted, err := json.Marshal(name)
		if err != nil {
			t.Fatal(err)
		}
		_, err = document.Parse([]byte(`{"a":{` + string(quoted) + `:1e999}}`))
		var got *document.Error
		if !errors.As(err, &got) {
			t.Fatalf("got %v", err)
		}
		if len(got.Pointer) > 256 || !utf8.ValidString(got.Pointer) || !strings.HasPrefix(got.Pointer, "/a/") {
			t.Errorf("got the pointer %q of %d bytes", got.Pointer, len(got.Pointer))
		}
		for _, r := range err.Error() {
			if !strconv.IsPrint(r) {
				t.Errorf("the error %q holds %q", err, r)
			}
		}
	}
}

func TestCheckText(t *testing.T) {
	if err := document.CheckText([]byte("a\x00é")); err != nil {
		t.Error(err)
	}
	if err := document.CheckText([]byte("hunter2\xff")); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}
