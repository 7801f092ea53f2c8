// Package report writes what became of a bundle's tests: for a terminal, and in
// the forms that build servers read.
package report

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/writpdp/writ/server/policy/coverage"
)

// Test is one test with what became of it.
type Test struct {
	Suite string `json:"suite"`
	Name  string `json:"name"`
	// File, Line and Column are where it stands; a line of 0 is not known.
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	// Failures are sentences; none: it passed.
	Failures []string `json:"failures,omitempty"`
}

// Report is a whole run.
type Report struct {
	Tests []Test
	// Coverage is that of the run; nil: it was not asked for.
	Coverage *coverage.Coverage
}

// Failed is the number of tests that did.
func (r *Report) Failed() int {
	n := 0
	for _, t := range r.Tests {
		n += min(1, len(t.Failures))
	}
	return n
}

// Forms are the ways to write a report, by name.
var Forms = map[string]func(*Report, io.Writer) error{
	"tree": (*Report).tree, "json": (*Report).json, "junit": (*Report).junit, "sarif": (*Report).sarif, "github": (*Report).github,
}

func (t Test) place() string {
	if t.Line == 0 {
		return t.File
	}
	return fmt.Sprintf("%s:%d:%d", t.File, t.Line, t.Column)
}

// suites are the tests by suite, in the order in which they come.
func (r *Report) suites() [][]Test {
	var all [][]Test
	for _, t := range r.Tests {
		i := slices.IndexFunc(all, func(s []Test) bool { return s[0].Suite == t.Suite })
		if i < 0 {
			all = append(all, []Test{t})
		} else {
			all[i] = append(all[i], t)
		}
	}
	return all
}

func (r *Report) tree(out io.Writer) error {
	var b strings.Builder
	for _, suite := range r.suites() {
		fmt.Fprintln(&b, suite[0].Suite)
		for _, t := range suite {
			if len(t.Failures) == 0 {
				fmt.Fprintf(&b, "  ok    %s\n", t.Name)
				continue
			}
			fmt.Fprintf(&b, "  FAIL  %s  %s\n", t.Name, t.place())
			for _, failure := range t.Failures {
				fmt.Fprintf(&b, "        %s\n", failure)
			}
		}
	}
	b.WriteString(r.summary())
	if _, err := io.WriteString(out, b.String()); err != nil {
		return err
	}
	if r.Coverage != nil {
		return r.Coverage.Text(out)
	}
	return nil
}

func (r *Report) summary() string {
	failed := r.Failed()
	return fmt.Sprintf("%d passed, %d failed\n", len(r.Tests)-failed, failed)
}

func (r *Report) json(out io.Writer) error {
	failed := r.Failed()
	report := struct {
		Passed   int               `json:"passed"`
		Failed   int               `json:"failed"`
		Tests    []Test            `json:"tests"`
		Coverage *coverage.Summary `json:"coverage,omitempty"`
	}{len(r.Tests) - failed, failed, r.Tests, nil}
	if r.Coverage != nil {
		report.Coverage = r.Coverage.Summary()
	}
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(report)
}

// The elements of a JUnit report.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		File    string        `xml:"file,attr"`
		Line    int           `xml:"line,attr,omitempty"`
		Failure *junitFailure `xml:"failure"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

func (r *Report) junit(out io.Writer) error {
	report := junitSuites{Tests: len(r.Tests), Failures: r.Failed()}
	for _, tests := range r.suites() {
		s := junitSuite{Name: tests[0].Suite, Tests: len(tests), Failures: (&Report{Tests: tests}).Failed()}
		for _, t := range tests {
			c := junitCase{Name: t.Name, Class: t.Suite, File: t.File, Line: t.Line}
			if len(t.Failures) > 0 {
				c.Failure = &junitFailure{Message: t.Failures[0], Text: strings.Join(append([]string{t.place()}, t.Failures...), "\n")}
			}
			s.Cases = append(s.Cases, c)
		}
		report.Suites = append(report.Suites, s)
	}
	text, err := xml.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s%s\n", xml.Header, text)
	return err
}

// The objects of a SARIF 2.1.0 log.
type (
	sarifText struct {
		Text string `json:"text"`
	}
	sarifRegion struct {
		Line   int `json:"startLine"`
		Column int `json:"startColumn,omitempty"`
	}
	sarifPhysical struct {
		Artifact struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
		Region *sarifRegion `json:"region,omitempty"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifResult struct {
		Rule      string          `json:"ruleId"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifRule struct {
		ID   string    `json:"id"`
		Text sarifText `json:"shortDescription"`
	}
)

func (r *Report) sarif(out io.Writer) error {
	const rule = "policy-test"
	results := []sarifResult{}
	for _, t := range r.Tests {
		if len(t.Failures) == 0 {
			continue
		}
		var at sarifLocation
		at.Physical.Artifact.URI = (&url.URL{Path: t.File}).String()
		if t.Line > 0 {
			at.Physical.Region = &sarifRegion{t.Line, t.Column}
		}
		results = append(results, sarifResult{Rule: rule, Level: "error", Message: sarifText{t.title() + ": " + strings.Join(t.Failures, " ")}, Locations: []sarifLocation{at}})
	}
	type object map[string]any
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(object{
		"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0",
		"runs": []object{{
			"tool":    object{"driver": object{"name": "writ", "rules": []sarifRule{{rule, sarifText{"A test of the policy bundle fails."}}}}},
			"results": results,
		}},
	})
}

func (t Test) title() string { return t.Suite + "/" + t.Name }

// github writes workflow commands, which show failures beside the lines that they
// are about.
func (r *Report) github(out io.Writer) error {
	data := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	var b strings.Builder
	for _, t := range r.Tests {
		if len(t.Failures) == 0 {
			continue
		}
		fmt.Fprintf(&b, "::error file=%s", property.Replace(t.File))
		if t.Line > 0 {
			fmt.Fprintf(&b, ",line=%d,col=%d", t.Line, t.Column)
		}
		fmt.Fprintf(&b, ",title=%s::%s\n", property.Replace(t.title()), data.Replace(strings.Join(t.Failures, "\n")))
	}
	b.WriteString(r.summary())
	_, err := io.WriteString(out, b.String())
	return err
}
