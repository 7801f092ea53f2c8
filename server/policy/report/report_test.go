package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/policy/report"
)

var some = &report.Report{Tests: []report.Test{
	{Suite: "a", Name: "good", File: "p/tests/a.yaml", Line: 3, Column: 5},
	{Suite: "b", Name: "whole", File: "p/tests/b.csv"},
	{Suite: "a", Name: "bad, really: 100 %", File: "p/tests/a b.yaml", Line: 7, Column: 9, Failures: []string{"It is <one>.", "It is\nanother."}},
	{Suite: "b", Name: "nowhere", File: "p/tests/b.csv", Failures: []string{"Gone."}},
}}

func written(t *testing.T, form string) string {
	t.Helper()
	var out bytes.Buffer
	if err := report.Forms[form](some, &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestTree(t *testing.T) {
	const want = `a
  ok    good
  FAIL  bad, really: 100 %  p/tests/a b.yaml:7:9
        It is <one>.
        It is
another.
b
  ok    whole
  FAIL  nowhere  p/tests/b.csv
        Gone.
2 passed, 2 failed
`
	if diff := cmp.Diff(want, written(t, "tree")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestJSON(t *testing.T) {
	var got struct {
		Passed, Failed int
		Tests          []report.Test
	}
	if err := json.Unmarshal([]byte(written(t, "json")), &got); err != nil {
		t.Fatal(err)
	}
	if got.Passed != 2 || got.Failed != 2 {
		t.Errorf("%d passed, %d failed", got.Passed, got.Failed)
	}
	if diff := cmp.Diff(some.Tests, got.Tests); diff != "" {
		t.Error(diff)
	}
}

func TestJUnit(t *testing.T) {
	type failure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	type testcase struct {
		Name    string   `xml:"name,attr"`
		Class   string   `xml:"classname,attr"`
		Failure *failure `xml:"failure"`
	}
	var got struct {
		XMLName  xml.Name `xml:"testsuites"`
		Tests    int      `xml:"tests,attr"`
		Failures int      `xml:"failures,attr"`
		Suites   []struct {
			Name     string     `xml:"name,attr"`
			Failures int        `xml:"failures,attr"`
			Cases    []testcase `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal([]byte(written(t, "junit")), &got); err != nil {
		t.Fatal(err)
	}
	if got.Tests != 4 || got.Failures != 2 || len(got.Suites) != 2 || got.Suites[0].Failures != 1 {
		t.Errorf("got %+v", got)
	}
	want := []testcase{{Name: "good", Class: "a"}, {Name: "bad, really: 100 %", Class: "a",
		Failure: &failure{Message: "It is <one>.", Text: "p/tests/a b.yaml:7:9\nIt is <one>.\nIt is\nanother."}}}
	if diff := cmp.Diff(want, got.Suites[0].Cases); diff != "" {
		t.Error(diff)
	}
}

func TestSARIF(t *testing.T) {
	type object = map[string]any
	var got struct {
		Version string
		Runs    []struct {
			Tool    object
			Results []object
		}
	}
	if err := json.Unmarshal([]byte(written(t, "sarif")), &got); err != nil {
		t.Fatal(err)
	}
	want := []object{
		{"ruleId": "policy-test", "level": "error", "message": object{"text": "a/bad, really: 100 %: It is <one>. It is\nanother."},
			"locations": []any{object{"physicalLocation": object{"artifactLocation": object{"uri": "p/tests/a%20b.yaml"}, "region": object{"startLine": 7.0, "startColumn": 9.0}}}}},
		{"ruleId": "policy-test", "level": "error", "message": object{"text": "b/nowhere: Gone."},
			"locations": []any{object{"physicalLocation": object{"artifactLocation": object{"uri": "p/tests/b.csv"}}}}},
	}
	if got.Version != "2.1.0" || len(got.Runs) != 1 {
		t.Fatalf("got %+v", got)
	}
	if diff := cmp.Diff(want, got.Runs[0].Results); diff != "" {
		t.Error(diff)
	}
}

// A name cannot end a command or begin another.
func TestGitHub(t *testing.T) {
	const want = `::error file=p/tests/a b.yaml,line=7,col=9,title=a/bad%2C really%3A 100 %25::It is <one>.%0AIt is%0Aanother.
::error file=p/tests/b.csv,title=b/nowhere::Gone.
2 passed, 2 failed
`
	if diff := cmp.Diff(want, written(t, "github")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if strings.Count(written(t, "github"), "\n") != 3 {
		t.Error("there are more lines than commands")
	}
}
