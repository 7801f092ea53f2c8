package policy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/policies/policiestest"
	"github.com/writpdp/writ/server/content/detect"
	"github.com/writpdp/writ/server/content/result"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
)

// What a bundle says of results is what its tools have.
func TestResults(t *testing.T) {
	files := sample(t)
	files["writ.yaml"].Data = append(files["writ.yaml"].Data, "results:\n  foreign: allow\n  unknown_blocks: allow\n  max_output:\n    read-only: { bytes: 1000, depth: 30 }\n    destructive: { values: 7 }\n"...)
	b := load(t, files)
	if !b.Foreign || !b.Blocks {
		t.Errorf("foreign %t, blocks %t", b.Foreign, b.Blocks)
	}
	for tool, want := range map[decision.ToolName]result.Limits{
		{Server: "mongodb", Name: "find"}:                {Bytes: 1000, Values: 2000, Depth: 12},
		{Server: "playwright", Name: "browser_snapshot"}: {Bytes: 1000, Depth: 30},
		{Server: "filesystem", Name: "move_file"}:        {Values: 7},
		{Server: "filesystem", Name: "write_file"}:       {},
	} {
		if diff := cmp.Diff(want, b.Tools[tool].Limits); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tool, diff)
		}
	}
	if tools := load(t, policiestest.Sample()).Tools; tools[decision.ToolName{Server: "filesystem", Name: "read_text_file"}].Output == nil ||
		tools[decision.ToolName{Server: "stripe", Name: "create_refund"}].Output != nil {
		t.Error("a tool has not the schema for results that its definition has")
	}
}

// Misspelt words and limits of nothing are refused, and a schema for results is
// held to what one for arguments is.
func TestResultsRefused(t *testing.T) {
	definition := func(output string) func(t *testing.T) error {
		return func(*testing.T) error {
			files := policiestest.Sample()
			files["tools/x.json"] = text(`{"server":"x","tools":[{"name":"t","inputSchema":{},"outputSchema":` + output + `}]}`)
			_, err := policy.Load(files)
			return err
		}
	}
	manifest := func(more string) func(t *testing.T) error {
		return func(t *testing.T) error {
			files := sample(t)
			files["writ.yaml"].Data = append(files["writ.yaml"].Data, more...)
			_, err := policy.Load(files)
			return err
		}
	}
	for _, c := range []struct {
		name, want string
		load       func(*testing.T) error
	}{
		{"a word", `writ.yaml: results.foreign: "yes" is neither deny nor allow`, manifest("results: { foreign: 'yes' }\n")},
		{"another word", `writ.yaml: results.unknown_blocks: "uninspected" is neither deny nor allow`, manifest("results: { unknown_blocks: uninspected }\n")},
		{"a limit of nothing", `max_output: of the class "read-only": bytes is not a positive number`, manifest("results: { max_output: { read-only: { bytes: 0 } } }\n")},
		{"a limit below nothing", "values is not a positive number", manifest("results: { max_output: { read-only: { values: -1 } } }\n")},
		{"an unknown limit", "items", manifest("results: { max_output: { read-only: { items: 1 } } }\n")},
		{"an unknown class", `results.max_output: no tool has the class "readonly"`, manifest("results: { max_output: { readonly: { bytes: 1 } } }\n")},
		{"a reference out of the schema", "outputSchema: ", definition(`{"$ref":"https://example.com/x"}`)},
		{"a schema that is none", "outputSchema: ", definition(`true`)},
		{"an unknown format", `outputSchema: the format "int64" is not known`, definition(`{"properties":{"a":{"format":"int64"}}}`)},
		{"an unknown format that the bundle names", "", func(*testing.T) error {
			files := policiestest.Sample()
			files["tools/x.json"] = text(`{"server":"x","tools":[{"name":"t","inputSchema":{"properties":{"a":{"format":"int64"}}}}]}`)
			files["writ.yaml"].Data = append(files["writ.yaml"].Data, "schemas: { formats: [int64] }\n"...)
			_, err := policy.Load(files)
			return err
		}},
	} {
		err := c.load(t)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want something about %q", c.name, err, c.want)
		}
	}
}

// What a redaction leaves of a result must still be what the tool says.
func TestRedactedResultFits(t *testing.T) {
	for _, c := range []struct{ name, fields, method, want string }{
		{"a text for a text", "/structuredContent/content", "mask", ""},
		{"what must be there", "/structuredContent/content", "remove", "redact.breaks_schema"},
		{"all that must be there", "/structuredContent", "remove", "redact.breaks_schema"},
		{"a text for an object", "/structuredContent", "mask", "redact.breaks_schema"},
		{"in the blocks alone", "/content/*/text", "remove", ""},
	} {
		files := sample(t)
		files["cedar/more.cedar"] = text(`@id("more") @obligate("redact") @method("` + c.method + `") @fields("` + c.fields + `")
permit (principal, action == Action::"filesystem/read_text_file", resource) when { context.phase == "RESULT" };`)
		b := load(t, files)
		name := decision.ToolName{Server: "filesystem", Name: "read_text_file"}
		q := decision.Query{Inspection: &detect.Inspection{}, Tool: b.Tools[name], Request: &decision.Request{Phase: decision.Result, Purpose: "support", Tool: decision.ToolRef{ToolName: name, Digest: b.Tools[name].Digest},
			Principal: decision.Principal{Subject: "spiffe://example.org/agent/support", Purposes: []string{"support"}}, Arguments: parsed(t, `{"path":"/srv/files/a"}`),
			Content: decision.Content{Document: parsed(t, `{"content":[{"type":"text","text":"a"}],"structuredContent":{"content":"a"}}`), Size: 1}}}
		if got := b.Policies.Judge(q).Refused.Code; got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func parsed(t *testing.T, text string) *document.Document {
	t.Helper()
	d, err := document.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}
