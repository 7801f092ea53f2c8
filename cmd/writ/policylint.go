package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"github.com/writpdp/writ/server/policy/lint"
)

type policyLintCmd struct {
	bundleArg
	Output string `short:"o" enum:"text,json,github,sarif" default:"text" help:"How findings are written: text, json (one array), github (annotations of a workflow), sarif (2.1.0)."`
}

// Run lints the bundle.
func (c policyLintCmd) Run(to streams) error {
	findings := lint.Bundle(c.files())
	failed, dir := false, c.nearby()
	for i, f := range findings {
		findings[i].File = path.Join(dir, f.File)
		failed = failed || f.Severity != lint.Note
	}
	write := map[string]func(io.Writer, []lint.Finding) error{"text": lintText, "json": lintJSON, "github": lintGitHub, "sarif": lintSARIF}[c.Output]
	if err := write(to.out, findings); err != nil {
		return fmt.Errorf("writing the findings: %w", err)
	}
	if failed {
		return exitCode(exitFailed)
	}
	return nil
}

// nearby is the bundle's directory as a code host and an editor want it: from the
// working directory, where it is below it.
func (b bundleArg) nearby() string {
	if b.Bundle == "" {
		return ""
	}
	return filepath.ToSlash(b.place(""))
}

func lintText(w io.Writer, findings []lint.Finding) error {
	for _, f := range findings {
		about := ""
		if f.Policy != "" {
			about = fmt.Sprintf(" (policy %s)", f.Policy)
		}
		if _, err := fmt.Fprintf(w, "%s: %s: %s%s [%s]\n  %s\n", f.At(), f.Severity, f.Text, about, f.Code, f.Fix); err != nil {
			return err
		}
	}
	if len(findings) == 0 {
		_, err := fmt.Fprintln(w, "nothing found")
		return err
	}
	return nil
}

func lintJSON(w io.Writer, findings []lint.Finding) error {
	if findings == nil {
		findings = []lint.Finding{}
	}
	return indented(w, findings)
}

func indented(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// A workflow command ends at a line's end, and its properties at more.
var (
	githubText     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	githubProperty = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

func lintGitHub(w io.Writer, findings []lint.Finding) error {
	commands := map[lint.Severity]string{lint.Note: "notice", lint.Warning: "warning", lint.Error: "error"}
	for _, f := range findings {
		if _, err := fmt.Fprintf(w, "::%s file=%s,line=%d,col=%d,title=%s::%s\n", commands[f.Severity], githubProperty.Replace(f.File), f.Line, f.Column,
			githubProperty.Replace("writ "+f.Code), githubText.Replace(f.Text+" "+f.Fix)); err != nil {
			return err
		}
	}
	return nil
}

// The parts of SARIF 2.1.0 that a code host reads.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool struct {
			Driver sarifDriver `json:"driver"`
		} `json:"tool"`
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`
	}
	sarifDriver struct {
		Name  string      `json:"name"`
		Rules []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string       `json:"id"`
		ShortDescription sarifMessage `json:"shortDescription"`
	}
	sarifMessage struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		Level     lint.Severity   `json:"level"`
		Message   sarifMessage    `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifLocation struct {
		Physical struct {
			Artifact struct {
				URI string `json:"uri"`
			} `json:"artifactLocation"`
			Region struct {
				StartLine   int `json:"startLine"`
				StartColumn int `json:"startColumn"`
			} `json:"region"`
		} `json:"physicalLocation"`
	}
)

func lintSARIF(w io.Writer, findings []lint.Finding) error {
	run := sarifRun{ColumnKind: "unicodeCodePoints", Results: []sarifResult{}}
	run.Tool.Driver = sarifDriver{Name: "writ policy lint", Rules: []sarifRule{}}
	for _, rule := range lint.Rules {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{ID: rule.Code, ShortDescription: sarifMessage{rule.About}})
	}
	for _, f := range findings {
		var at sarifLocation
		at.Physical.Artifact.URI = (&url.URL{Path: f.File}).EscapedPath()
		at.Physical.Region.StartLine, at.Physical.Region.StartColumn = f.Line, f.Column
		run.Results = append(run.Results, sarifResult{RuleID: f.Code, Level: f.Severity, Message: sarifMessage{f.Text + " " + f.Fix}, Locations: []sarifLocation{at}})
	}
	return indented(w, sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}})
}
