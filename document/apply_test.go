package document_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/writpdp/writ/document"
)

// edits reads "mask /a" and "remove /a".
func edits(lines ...string) []document.Edit {
	var all []document.Edit
	for _, line := range lines {
		name, pointer, _ := strings.Cut(line, " ")
		method, _ := document.MethodOf(name)
		all = append(all, document.Edit{Pointer: pointer, Method: method})
	}
	return all
}

func TestApply(t *testing.T) {
	tests := []struct {
		name, data string
		edits      []document.Edit
		want       string
	}{
		{"nothing", `{"b":1,"a":2.0}`, nil, `{"a":2,"b":1}`},
		{"a mask keeps the rest", `{"a":{"x":1,"y":[true,null,"s",1.5]},"b":2}`, edits("mask /a/x"), `{"a":{"x":"[redacted]","y":[true,null,"s",1.5]},"b":2}`},
		{"a removal keeps the rest", `{"a":{"x":1,"y":[{}]},"b":2}`, edits("remove /a/x"), `{"a":{"y":[{}]},"b":2}`},
		{"a mask of an object", `{"a":{"x":1}}`, edits("mask /a"), `{"a":"[redacted]"}`},
		{"escapes", `{"a/b":{"~":1,"m~n":2}}`, edits("mask /a~1b/~0", "remove /a~1b/m~0n"), `{"a/b":{"~":"[redacted]"}}`},
		{"an empty name", `{"":{"":1}}`, edits("mask //"), `{"":{"":"[redacted]"}}`},
		{"a name that looks like an index", `{"0":[1],"01":2}`, edits("mask /0/0", "mask /01"), `{"0":["[redacted]"],"01":"[redacted]"}`},
		{"several removals of one array", `[0,1,2,3,4,5]`, edits("remove /4", "remove /0", "mask /2", "remove /1"), `["[redacted]",3,5]`},
		{"all elements", `{"a":[1,2]}`, edits("remove /a/0", "remove /a/1"), `{"a":[]}`},
		{"inside elements that move", `[{"a":1},{"a":2},{"a":3}]`, edits("remove /0", "mask /1/a", "remove /2/a"), `[{"a":"[redacted]"},{}]`},
		{"a mask above a mask", `{"a":{"b":1}}`, edits("mask /a/b", "mask /a"), `{"a":"[redacted]"}`},
		{"a mask above a removal", `{"a":{"b":1}}`, edits("mask /a", "remove /a/b"), `{"a":"[redacted]"}`},
		{"a removal above a mask", `{"a":{"b":1},"c":2}`, edits("mask /a/b", "remove /a"), `{"c":2}`},
		{"a removal and a mask of the same", `{"a":1,"c":2}`, edits("mask /a", "remove /a"), `{"c":2}`},
		{"the same twice", `[1,2]`, edits("remove /0", "remove /0"), `[2]`},
		{"the whole document", `{"a":1}`, edits("mask "), `"[redacted]"`},
		{"the whole document and below", `{"a":1}`, edits("mask /a", "mask "), `"[redacted]"`},
		{"inside a text", `{"t":"{\"b\":1,\"card\":\"4242\"}"}`, edits("mask /t/card"), `{"t":"{\"b\":1,\"card\":\"[redacted]\"}"}`},
		{"a removal inside a text", `{"t":" [ {\"card\":1}, 2 ] "}`, edits("remove /t/0"), `{"t":"[2]"}`},
		{"all of a text's elements", `{"t":"[1,2]"}`, edits("remove /t/0", "remove /t/1"), `{"t":"[]"}`},
		{"two levels of texts", `{"t":"{\"u\":\"[{\\\"card\\\":1,\\\"x\\\":2}]\",\"v\":3}"}`, edits("mask /t/u/0/card", "remove /t/v"),
			`{"t":"{\"u\":\"[{\\\"card\\\":\\\"[redacted]\\\",\\\"x\\\":2}]\"}"}`},
		{"a text and inside it", `{"t":"{\"card\":1}"}`, edits("mask /t/card", "mask /t"), `{"t":"[redacted]"}`},
		{"characters that are escaped somewhere", "{\"a\":\"<&>\u2028\\u0001😀\",\"b\":1}", edits("remove /b"), "{\"a\":\"<&>\u2028\\u0001😀\"}"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := parse(t, test.data)
			before := string(d.Canonical())
			got, err := d.Apply(test.edits)
			if err != nil {
				t.Fatal(err)
			}
			if string(got.Canonical()) != test.want {
				t.Errorf("got %s, want %s", got.Canonical(), test.want)
			}
			if again := parse(t, test.want); got.Digest() != again.Digest() || fmt.Sprint(got.Value()) != fmt.Sprint(again.Value()) {
				t.Errorf("the document is not what its form says: %v", got.Value())
			}
			if string(d.Canonical()) != before || fmt.Sprint(d.Value()) != fmt.Sprint(parse(t, test.data).Value()) {
				t.Errorf("the original was changed to %v", d.Value())
			}
		})
	}
}

func TestApplyRefuses(t *testing.T) {
	const data = `{"a":{"b":"hunter2"},"l":["hunter2"],"t":"{\"card\":\"hunter2\"}","d":"{\"x\":1,\"x\":\"hunter2\"}","s":"\"{}\"","n":1}`
	tests := []struct {
		name  string
		edits []document.Edit
		want  string
	}{
		{"no such member", edits("mask /x"), `nothing at "/x"`},
		{"no such member below", edits("mask /n", "mask /a/x/y"), `nothing at "/a/x"`},
		{"no such element", edits("mask /l/1"), `nothing at "/l/1"`},
		{"an index that is none", edits("mask /l/00"), `nothing at "/l/00"`},
		{"the element after the last", edits("mask /l/-"), `nothing at "/l/-"`},
		{"below a number", edits("mask /n/x"), `nothing at "/n/x"`},
		{"below a text that is no document", edits("mask /a/b/c"), `nothing at "/a/b/c"`},
		{"below a text that is ambiguous", edits("mask /d/x"), `nothing at "/d/x"`},
		{"below a text that is a text", edits("mask /s/x"), `nothing at "/s/x"`},
		{"not in the text", edits("mask /t/x~1y"), `nothing at "/t/x~1y"`},
		{"the first of two", edits("mask /z", "mask /y"), `nothing at "/y"`},
		{"a removal of everything", edits("remove "), "the whole document cannot be removed, only masked"},
		{"too many edits", make([]document.Edit, document.MaxEdits+1), "more than 4096 edits"},
		{"no pointer", edits("mask a"), `the JSON pointer "a" does not start with /`},
		{"a long pointer", edits("mask /" + strings.Repeat("x", 1000)), `nothing at "/` + strings.Repeat("x", 252) + `…"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parse(t, data).Apply(test.edits)
			if got != nil || err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}
