package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/coverage"
	"github.com/writpdp/writ/server/policy/report"
	"github.com/writpdp/writ/server/policy/suite"
	"github.com/writpdp/writ/server/policy/table"
)

type policyTestCmd struct {
	bundleArg
	Only      string  `name:"run" placeholder:"REGEXP" help:"Only the tests whose suite/name matches."`
	Output    string  `short:"o" default:"tree" enum:"tree,json,junit,sarif,github" help:"Output: ${enum}."`
	Cover     bool    `help:"Say which clauses of the policies were seen true and false."`
	Threshold float64 `placeholder:"PERCENT" help:"Fail when fewer of the clauses' outcomes were seen."`
	HTML      string  `name:"html" type:"path" placeholder:"FILE" help:"Write the coverage as a page, with the sources marked."`
	Update    bool    `help:"Rewrite tests/golden.csv, and that of each tenant, to what the policies permit now."`
}

// Run runs the bundle's tests.
func (c policyTestCmd) Run(to streams) error {
	only, err := regexp.Compile(c.Only)
	if err != nil {
		return usageError(fmt.Sprintf("--run: %v", err))
	}
	if c.Threshold < 0 || c.Threshold > 100 {
		return usageError("--threshold is a percentage")
	}
	if c.Update && c.Bundle == "" {
		return usageError("--update writes to a bundle's directory: name it")
	}
	b, set, err := loadBundle(c.files())
	if err != nil {
		return err
	}
	cases, err := suite.Load(c.files(), b)
	if err != nil {
		return err
	}
	var seen *coverage.Coverage
	judged := b
	if c.Cover || c.Threshold > 0 || c.HTML != "" {
		judged, seen = coverage.Watch(b, set)
	}
	r := &report.Report{}
	cases = slices.DeleteFunc(cases, func(one *suite.Case) bool { return !only.MatchString(one.ID()) })
	for _, result := range suite.Run(judged, cases) {
		r.Tests = append(r.Tests, report.Test{Suite: result.Suite, Name: result.Name, File: c.place(result.File),
			Line: result.Line, Column: result.Column, Failures: result.Failures})
	}
	golden, err := c.goldens(b, set, only)
	if err != nil {
		return err
	}
	r.Tests = append(r.Tests, golden...)
	if len(r.Tests) == 0 {
		return errors.New("no test matches: tests stand in tests/*.yaml and tests/*.json of the bundle")
	}
	if err := c.coverage(r, seen, b.Name); err != nil {
		return err
	}
	if err := report.Forms[c.Output](r, to.out); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if r.Failed() > 0 {
		return exitCode(exitFailed)
	}
	return nil
}

// maxChanges bounds the effects that a failure lists.
const maxChanges = 100

// goldens hold the bundle's tables against what its policies permit: that of every
// tenant, and those of the tenants that have policies or tests of their own.
func (c policyTestCmd) goldens(b *decision.Bundle, set *policy.Set, only *regexp.Regexp) ([]report.Test, error) {
	tested, err := policy.TenantDirectories(c.files(), policy.DirTests)
	if err != nil {
		return nil, err
	}
	tenants := append(slices.Sorted(slices.Values(append(tested, set.Tenants()...))), "")
	var all []report.Test
	for _, tenant := range slices.Compact(tenants) {
		test := report.Test{Suite: "golden", Name: strings.TrimSpace("table " + tenant), File: c.place(table.File(tenant))}
		if !only.MatchString(test.Suite + "/" + test.Name) {
			continue
		}
		one, err := c.golden(test, b, set, tenant)
		if err != nil {
			return nil, err
		}
		all = append(all, one...)
	}
	return all, nil
}

// golden holds one table. A tenant that has no such file has no such test, unless
// the file is to be written.
func (c policyTestCmd) golden(test report.Test, b *decision.Bundle, set *policy.Set, tenant string) ([]report.Test, error) {
	file := table.File(tenant)
	kept, err := policy.ReadFile(c.files(), file)
	switch missing := errors.Is(err, fs.ErrNotExist); {
	case missing && !c.Update:
		return nil, nil
	case err != nil && !missing:
		return nil, err
	}
	is, err := table.Of(b, set, tenant)
	if err != nil {
		return nil, err
	}
	if c.Update {
		if err := replaceFile(filepath.Join(c.Bundle, file), is.CSV()); err != nil {
			return nil, err
		}
		return []report.Test{test}, nil
	}
	was, err := table.Read(file, tenant, kept)
	if err != nil {
		return nil, err
	}
	changes := table.Compare(was, is)
	for _, change := range changes[:min(len(changes), maxChanges)] {
		test.Failures = append(test.Failures, fmt.Sprintf("%s, %s, %s: the table says %s and the policies say %s.",
			change.Agent, change.Tool, change.Purpose, change.Old, change.New))
	}
	if rest := len(changes) - maxChanges; rest > 0 {
		test.Failures = append(test.Failures, fmt.Sprintf("%d more effects differ.", rest))
	}
	if len(changes) > 0 {
		test.Failures = append(test.Failures, "If that is meant, `writ policy test --update DIR` rewrites the table.")
	}
	return []report.Test{test}, nil
}

// coverage adds what the clauses' coverage is asked for.
func (c policyTestCmd) coverage(r *report.Report, seen *coverage.Coverage, name string) error {
	if c.Threshold > 0 {
		test := report.Test{Suite: "coverage", Name: "clauses", File: c.place("cedar")}
		if count := seen.Count(); count.Percent() < c.Threshold {
			test.Failures = []string{fmt.Sprintf("%.1f %% of the outcomes of clauses were seen (%d of %d), and the threshold is %g %%.",
				count.Percent(), count.Seen, count.Of, c.Threshold)}
		}
		r.Tests = append(r.Tests, test)
	}
	if c.Cover || c.Threshold > 0 {
		r.Coverage = seen
	}
	if c.HTML == "" {
		return nil
	}
	var page bytes.Buffer
	if err := seen.HTML(&page, name, c.files()); err != nil {
		return err
	}
	return replaceFile(c.HTML, page.Bytes())
}

// replaceFile writes a file through another, so that it is whole or as it was.
func replaceFile(name string, data []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("writing a file: %w", err)
		}
	}()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(data)
	if err := errors.Join(err, temporary.Chmod(0o644), temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), name)
}
