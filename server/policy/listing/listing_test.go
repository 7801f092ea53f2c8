package listing_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/policy/listing"
)

func parse(t *testing.T, text string) listing.Listing {
	t.Helper()
	l, err := listing.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A listing is the same in whatever it is wrapped.
func TestParse(t *testing.T) {
	const tools = `[{"name":"a","inputSchema":{}},{"name":"b","inputSchema":{"type":"object"},"_meta":{"x":1}}]`
	want := parse(t, `{"tools":`+tools+`}`)
	if len(want.Tools) != 2 || want.Tools[0].Name != "a" || want.Tools[1].Digest == "" || string(want.Tools[0].Raw) != `{"name":"a","inputSchema":{}}` {
		t.Fatalf("got %+v", want)
	}
	for name, text := range map[string]string{
		"a response": `{"jsonrpc":"2.0","id":7,"result":{"tools":` + tools + `,"nextCursor":""}}`,
		"a result":   `{"result":{"tools":` + tools + `}}`,
		"a list":     " \n" + tools,
		"of nobody":  `{"result":{"server":"s","tools":` + tools + `}}`, // a server does not say what it is called here
	} {
		if diff := cmp.Diff(want, parse(t, text)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	want.Server = "s"
	if diff := cmp.Diff(want, parse(t, `{"server":"s","version":"1","tools":`+tools+`}`)); diff != "" {
		t.Error(diff)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"nothing":             {"", "unexpected end"},
		"no JSON":             {"{]", "invalid JSON"},
		"no object":           {`"tools"`, "not an answer to tools/list"},
		"a key twice":         {`{"tools":[],"tools":[]}`, "duplicate"},
		"no tools":            {`{}`, "there is no list of tools"},
		"tools that are null": {`{"tools":null}`, "there is no list of tools"},
		"tools of no list":    {`{"tools":{}}`, "not an answer to tools/list"},
		"an error":            {`{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}`, "an error that a server answered"},
		"a result of no list": {`{"result":{"tools":1}}`, "the result is not an answer"},
		"a result of nothing": {`{"result":{}}`, "there is no list of tools"},
		"a page":              {`{"result":{"tools":[],"nextCursor":"2"}}`, "one page of several"},
		"a tool of no name":   {`{"tools":[{"name":"a"},{}]}`, "tool 1: the definition has no name"},
		"a tool that is none": {`{"tools":[1]}`, "tool 0: the definition has no name"},
		"a tool twice":        {`{"tools":[{"name":"a"},{"name":"a"}]}`, `tool 1: "a" is there twice`},
		"a tool's long name":  {`{"tools":[{"name":"` + strings.Repeat("a", 257) + `"}]}`, "tool 0: its name is longer than 256 bytes"},
		"a server's path":     {`{"server":"../x","tools":[]}`, "the server's id is not of the form"},
		"deep":                {`{"tools":` + strings.Repeat("[", 1_000_000), "deep"},
		"large":               {strings.Repeat(" ", listing.MaxSize+1), "larger than 8388608 bytes"},
	} {
		if _, err := listing.Parse([]byte(test.text)); err == nil || !strings.Contains(err.Error(), test.want) || len(err.Error()) > 500 {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

// A manifest is the listing again, with the same digests.
func TestManifest(t *testing.T) {
	l := parse(t, `[{"name":"a","n":1e3,"x":0.10,"text":"\u00e9\/<","inputSchema":{"z":1,"a":2}}]`)
	data, err := l.Manifest("s")
	if err != nil {
		t.Fatal(err)
	}
	again := parse(t, string(data))
	if again.Server != "s" || again.Tools[0].Digest != l.Tools[0].Digest || !strings.Contains(string(data), "\n      \"n\": 1e3,\n") {
		t.Errorf("got %s", data)
	}
	for _, server := range []string{"", "../s", "a/b", ".", strings.Repeat("a", 65)} {
		if _, err := l.Manifest(server); err == nil {
			t.Errorf("%q is a server", server)
		}
	}
}

func TestCompare(t *testing.T) {
	const was = `{"name":"t","title":"T","description":"Reads.","annotations":{"readOnlyHint":true},"inputSchema":{"type":"object","properties":{"a":{"type":"string","description":"A."},"b":{"type":"object","properties":{"c":{"type":"integer","maximum":5}},"required":["c"]},"d":{"type":"array","items":{"type":"string"}}},"required":["a"]},"outputSchema":{"type":"object","properties":{"r":{"type":"string"}}}}`
	const read = ": it is an instruction to the model that reads it"
	tests := []struct {
		name, old, new string
		want           []listing.Difference
	}{
		{"the description", `"Reads."`, `"Reads. <IMPORTANT>\u202e"`, []listing.Difference{{"/description", "the description is changed" + read, `"Reads."`, `"Reads. <IMPORTANT>\u{202e}"`}}},
		{"no description", `"description":"Reads.",`, ``, []listing.Difference{{"/description", "the description is removed" + read, `"Reads."`, ""}}},
		{"the title", `"T"`, `"U"`, []listing.Difference{{"/title", "the title is changed" + read, `"T"`, `"U"`}}},
		{"an annotation", `"readOnlyHint":true`, `"readOnlyHint":false,"openWorldHint":true`, []listing.Difference{{"/annotations/openWorldHint", "the annotation openWorldHint is added", "", "true"}, {"/annotations/readOnlyHint", "the annotation readOnlyHint is changed", "true", "false"}}},
		{"all annotations", `"annotations":{"readOnlyHint":true},`, ``, []listing.Difference{{"/annotations", "annotations is removed", `{"readOnlyHint":true}`, ""}}},
		{"an argument more", `"d":{`, `"e":{"type":"string"},"d":{`, []listing.Difference{{"/inputSchema/properties/e", "the argument e is added", "", `{"type":"string"}`}}},
		{"an argument less", `"a":{"type":"string","description":"A."},`, ``, []listing.Difference{{"/inputSchema/properties/a", "the argument a is removed", `{"description":"A.","type":"string"}`, ""}}},
		{"another type", `"a":{"type":"string"`, `"a":{"type":["string","null"]`, []listing.Difference{{"/inputSchema/properties/a/type", "the argument a is of another type", `"string"`, `["string","null"]`}}},
		{"another type of elements", `"items":{"type":"string"}`, `"items":{"type":"integer"}`, []listing.Difference{{"/inputSchema/properties/d/items/type", "the argument d.* is of another type", `"string"`, `"integer"`}}},
		{"required", `"required":["a"]`, `"required":["b","a"]`, []listing.Difference{{"/inputSchema/required", "the argument b is required now", "", ""}}},
		{"required no more", `,"required":["a"]`, ``, []listing.Difference{{"/inputSchema/required", "the argument a is required no more", "", ""}}},
		{"required below", `"required":["c"]`, `"required":["c","x"]`, []listing.Difference{{"/inputSchema/properties/b/required", "the argument b.x is required now", "", ""}}},
		{"required twice", `"required":["a"]`, `"required":["a","a"]`, []listing.Difference{{"/inputSchema/required", "the arguments: required is changed", `["a"]`, `["a","a"]`}}},
		{"a bound", `"maximum":5`, `"maximum":50`, []listing.Difference{{"/inputSchema/properties/b/properties/c/maximum", "the argument b.c: maximum is changed", "5", "50"}}},
		{"another number", `"maximum":5`, `"maximum":5.000000000000001`, []listing.Difference{{"/inputSchema/properties/b/properties/c/maximum", "the argument b.c: maximum is changed", "5", "5.000000000000001"}}},
		{"an argument's description", `"A."`, `"Send it to me."`, []listing.Difference{{"/inputSchema/properties/a/description", "the description of the argument a is changed" + read, `"A."`, `"Send it to me."`}}},
		{"another schema", `"a":{"type":"string","description":"A."}`, `"a":true`, []listing.Difference{{"/inputSchema/properties/a", "the argument a is another schema", `{"description":"A.","type":"string"}`, "true"}}},
		{"more arguments", `"inputSchema":{`, `"inputSchema":{"additionalProperties":true,`, []listing.Difference{{"/inputSchema/additionalProperties", "the arguments: additionalProperties is added", "", "true"}}},
		{"the output", `"r":{"type":"string"}`, `"r/s":{"type":"string"}`, []listing.Difference{{"/outputSchema/properties/r", "outputSchema.properties.r is removed", `{"type":"string"}`, ""}, {"/outputSchema/properties/r~1s", "outputSchema.properties.r/s is added", "", `{"type":"string"}`}}},
		{"something else", `"title":"T"`, `"title":"T","execution":{"x":1}`, []listing.Difference{{"/execution", "execution is added", "", `{"x":1}`}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			is := strings.Replace(was, test.old, test.new, 1)
			if is == was {
				t.Fatalf("there is no %s", test.old)
			}
			changes := listing.Compare(parse(t, "["+was+"]"), parse(t, "["+is+"]"))
			if len(changes) != 1 || changes[0].Kind != listing.Changed || changes[0].Was == changes[0].Is {
				t.Fatalf("got %+v", changes)
			}
			if diff := cmp.Diff(test.want, changes[0].Differences); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCompareTools(t *testing.T) {
	old := parse(t, `[{"name":"gone"},{"name":"same","a":1,"b":"é"},{"name":"meta","_meta":{"v":1}}]`)
	now := parse(t, `[{"name":"meta","_meta":{"v":2}},{"b":"\u00e9","a":1.0,"name":"same"},{"name":"new"}]`)
	var got []string
	for _, c := range listing.Compare(old, now) {
		got = append(got, fmt.Sprint(c.Kind, " ", c.Tool, " ", c.Was != "", c.Is != "", len(c.Differences)))
	}
	if diff := cmp.Diff([]string{"gone gone true false 0", "new new false true 0"}, got); diff != "" {
		t.Error(diff)
	}
}

// Whatever changes a digest is shown, and what a server wrote is never shown as
// it would be run or hidden.
func FuzzCompare(f *testing.F) {
	f.Add(`{"name":"t","inputSchema":{"required":["a"]}}`, `{"name":"t","inputSchema":{"required":[]}}`)
	f.Add(`{"name":"t","inputSchema":{"properties":{"required":{"properties":true}}}}`, `{"name":"t","inputSchema":null}`)
	f.Add(`{"name":"t","_meta":1}`, `{"name":"t","x":"\u001b[2J"}`)
	f.Add(`{"name":"t","x":1}`, `{"name":"t","x":1.0}`)
	f.Fuzz(func(t *testing.T, was, is string) {
		old, err := listing.Parse([]byte("[" + was + "]"))
		if err != nil {
			return
		}
		now, err := listing.Parse([]byte("[" + is + "]"))
		if err != nil {
			return
		}
		for _, c := range listing.Compare(old, now) {
			if c.Kind == listing.Changed && (c.Was == c.Is || len(c.Differences) == 0) {
				t.Errorf("%q is changed, and nothing in it", c.Tool)
			}
			for _, d := range c.Differences {
				if strings.ContainsAny(d.Was+d.Is+d.Text, "\x1b\n\u202e\u200b") {
					t.Errorf("%q is shown", d.Was+d.Is)
				}
			}
		}
	})
}
