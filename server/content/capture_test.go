package content_test

import (
	"encoding/json"
	"io/fs"
	"testing"

	"github.com/writpdp/writ/policies"
	"github.com/writpdp/writ/server/content"
)

// captured are the schemas of the tools that real servers list, by
// "server/tool".
func captured(t testing.TB) map[string]*content.Schema {
	t.Helper()
	names, err := fs.Glob(policies.Files, "tools/*.json")
	if err != nil {
		t.Fatal(err)
	}
	schemas := map[string]*content.Schema{}
	for _, name := range names {
		data, err := fs.ReadFile(policies.Files, name)
		if err != nil {
			t.Fatal(err)
		}
		var manifest struct {
			Server string
			Tools  []struct {
				Name        string
				InputSchema json.RawMessage
			}
		}
		if err := json.Unmarshal(data, &manifest); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, tool := range manifest.Tools {
			schemas[manifest.Server+"/"+tool.Name] = compile(t, string(tool.InputSchema))
		}
	}
	if len(schemas) < 100 {
		t.Errorf("only %d tools", len(schemas))
	}
	return schemas
}

func TestCapturedTools(t *testing.T) {
	schemas := captured(t)
	tests := []struct {
		tool          string
		takes, refuse []string
	}{
		{"filesystem/read_text_file", []string{`{"path":"/srv/a.txt"}`, `{"path":"/srv/a.txt","head":10}`}, []string{`{}`, `{"path":1}`, `{"path":"a","mode":"0777"}`}},
		{"filesystem/edit_file", []string{`{"path":"a","edits":[{"oldText":"x","newText":"y"}],"dryRun":true}`}, []string{`{"path":"a","edits":[{"oldText":"x","newText":"y","force":true}]}`, `{"path":"a","edits":[{"oldText":"x"}]}`}},
		{"stripe/create_refund", []string{`{"payment_intent":"pi_1","amount":500}`, `{"payment_intent":"pi_1","amount":500.0}`}, []string{`{"payment_intent":"pi_1","amount":0.5}`, `{"payment_intent":"pi_1","fee":1}`}},
		{"memory/create_entities", []string{`{"entities":[{"name":"a","entityType":"person","observations":["x"]}]}`}, []string{`{"entities":[{"name":"a","entityType":"person","observations":["x"],"admin":true}]}`, `{"entities":{}}`}},
		{"mongodb/find", []string{`{"connectionId":"main","database":"shop","collection":"orders","filter":{"total":{"$gt":10}},"limit":5}`}, []string{`{"database":"shop"}`, `{"connectionId":"main","database":"shop","collection":"orders","eval":"1"}`}},
		{"supabase/execute_sql", []string{`{"project_id":"p","query":"select 1"}`}, []string{`{"query":"select 1"}`, `{"project_id":"p","query":"select 1","role":"postgres"}`}},
		{"playwright/browser_navigate", []string{`{"url":"https://example.org"}`}, []string{`{}`, `{"url":["https://example.org"]}`}},
		{"everything/get-sum", []string{`{"a":1,"b":2.5}`}, []string{`{"a":1}`, `{"a":1,"b":"2"}`}},
	}
	for _, test := range tests {
		schema, ok := schemas[test.tool]
		if !ok {
			t.Errorf("there is no tool %s", test.tool)
			continue
		}
		for _, arguments := range test.takes {
			if found := schema.Check(parse(t, arguments)); found != nil {
				t.Errorf("%s refuses %s: %v", test.tool, arguments, found)
			}
		}
		for _, arguments := range test.refuse {
			if found := schema.Check(parse(t, arguments)); found == nil {
				t.Errorf("%s takes %s", test.tool, arguments)
			}
		}
	}
	// No tool takes what its author did not name.
	for name, schema := range schemas {
		if found := schema.Check(parse(t, `{"nobody-named-this":1}`)); found == nil {
			t.Errorf("%s takes any argument", name)
		}
	}
}
