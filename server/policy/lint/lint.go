// Package lint finds what is suspect in a policy bundle although it is valid:
// policies that cannot do what they seem to, and grants that are wider than
// they look. It reads and decides nothing, and what it says of policies is so
// for every request: where it cannot know, it says nothing.
package lint

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/listing"
	"github.com/writpdp/writ/server/policy/reach"
)

// Severity is how much a finding weighs.
type Severity string

// A note is worth reading; a warning is to be mended or silenced; with an error
// the bundle does not load, or denies what it was not meant to.
const (
	Note    Severity = "note"
	Warning Severity = "warning"
	Error   Severity = "error"
)

// Finding is one thing that is suspect.
type Finding struct {
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	File     string   `json:"file"`
	Line     int      `json:"line"`
	Column   int      `json:"column"`
	// Policy is the policy's id; empty: it is of no policy.
	Policy string `json:"policy,omitempty"`
	Text   string `json:"text"`
	// Fix says what to do about it.
	Fix string `json:"fix"`
}

// At is the finding's place, file:line:column.
func (f Finding) At() string { return fmt.Sprintf("%s:%d:%d", f.File, f.Line, f.Column) }

// plain is the finding without characters that a terminal would obey: names in it
// are chosen by servers.
func (f Finding) plain() Finding {
	f.Text, f.Fix, f.File = listing.Plain(f.Text), listing.Plain(f.Fix), listing.Plain(f.File)
	return f
}

// Rule is one lint.
type Rule struct {
	Code     string
	Severity Severity
	// About is what it finds, in a few words.
	About string
	find  func(*linter) // nil: it is found on the way, and cannot be silenced
}

// Rules are all lints, in the order of docs/lints.md.
var Rules = []Rule{
	{"invalid", Error, "a policy that does not fit the schema or the vendors", invalid},
	{"unknown-tool", Error, "a tool in a policy that no manifest has", unknownTool},
	{"enum-id", Error, "an entity of an enumerated type that the schema does not list", enumID},
	{"always-fails", Error, "a policy that is an error whatever comes", alwaysFails},
	{"can-fail", Warning, "a policy that can be an error, and then denies", canFail},
	{"never-matches", Warning, "a policy that no request can match", neverMatches},
	{"shadowed", Warning, "a permit that adds nothing, or that forbids always override", shadowed},
	{"unconditional", Warning, "a permit without conditions on a destructive tool", unconditional},
	{"unclassed", Warning, "a permitted tool that calls itself destructive and is not classed so", unclassed},
	{"broad-purpose", Warning, "a purpose that grants more than it can name", broadPurpose},
	{"unknown-purpose", Warning, "a purpose in a policy that purposes.yaml does not have", unknownPurpose},
	{"no-such-field", Warning, "a redaction of a field that no tool has", noSuchField},
	{"private-range", Warning, "an allow list with addresses that are not public", privateRange},
	{"broad-suffix", Warning, "an allow list of a suffix below which anybody can have a name", broadSuffix},
	{"open-scheme", Warning, "a scheme of which nothing else is looked at", openScheme},
	{"no-owner", Warning, "a policy without @owner", noOwner},
	{"hidden-text", Warning, "characters that are not seen or that reorder text", hiddenText},
	{"mixed-scripts", Warning, "a name that mixes scripts and looks like another", mixedScripts},
	{codeBroken, Error, "a bundle that cannot be read", nil},
	{codeUnknownLint, Error, "silence for what is no lint", nil},
	{codeUnusedLint, Warning, "silence for what finds nothing", nil},
}

const (
	codeBroken      = "broken"
	codeUnknownLint = "unknown-lint"
	codeUnusedLint  = "unused-lint"
)

// silenceable reports whether a code is one of a lint that can be silenced.
func silenceable(code string) bool {
	return slices.ContainsFunc(Rules, func(r Rule) bool { return r.Code == code && r.find != nil })
}

// linter is one run over one bundle.
type linter struct {
	src      *policy.Source
	engine   *reach.Engine
	moments  []moment
	purposes []string // sorted
	inputs   map[decision.ToolName]shape
	outputs  map[decision.ToolName]shape
	yaml     map[string]ast.Node // parsed for places
	subjects []*subject          // the valid policies
	rule     Rule                // that runs
	findings []Finding
	quiet    silences
}

// Bundle lints the bundle at the root of a file system. One that cannot be read
// has one finding, which says why and, where that is known, at which place.
func Bundle(fsys fs.FS) []Finding {
	src, err := policy.Read(fsys)
	if err != nil {
		return []Finding{broken(err)}
	}
	return Check(src)
}

// placed is how an error of a bundle begins: with a file, and often a place.
var placed = regexp.MustCompile(`^(?:reading [a-z ']+: )?([A-Za-z0-9_./ @+-]+\.[a-z]+):(?:(\d+):)?(?:(\d+):)? (?s:(.+))$`)

func broken(err error) Finding {
	f := Finding{Code: codeBroken, Severity: Error, File: "writ.yaml", Line: 1, Column: 1, Text: "The bundle cannot be read: " + err.Error() + ".", Fix: "Mend it: nothing else was looked at."}
	if m := placed.FindStringSubmatch(err.Error()); m != nil {
		f.File, f.Text = m[1], "The bundle cannot be read: "+m[4]+"."
		if line, err := strconv.Atoi(m[2]); err == nil {
			f.Line = line
		}
		if column, err := strconv.Atoi(m[3]); err == nil {
			f.Column = column
		}
	}
	return f.plain()
}

// Check runs every lint over a bundle and returns what they find and nobody
// silenced, in the order of the places.
func Check(src *policy.Source) []Finding {
	l := &linter{src: src, engine: reach.New(src), purposes: slices.Sorted(maps.Keys(src.Bundle.Purposes)),
		yaml: map[string]ast.Node{}, inputs: map[decision.ToolName]shape{}, outputs: map[decision.ToolName]shape{}}
	for _, d := range src.Definitions {
		l.inputs[d.Tool.ToolName], l.outputs[d.Tool.ToolName] = shapesOf(d)
	}
	l.readMoments()
	l.readSilences()
	for _, st := range src.Statements {
		if st.Invalid == "" {
			l.subjects = append(l.subjects, l.reach(st))
		}
	}
	for _, rule := range Rules {
		if l.rule = rule; rule.find != nil {
			rule.find(l)
		}
	}
	l.reportUnused()
	slices.SortStableFunc(l.findings, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), strings.Compare(a.Code, b.Code), strings.Compare(a.Text, b.Text))
	})
	return l.findings
}

// of reports a finding of a policy, unless it is silenced.
func (l *linter) of(st policy.Written, severity Severity, text, fix string) {
	at := st.Policy.Position
	l.report("policy "+st.ID, Finding{Severity: severity, File: at.Filename, Line: at.Line, Column: at.Column, Policy: st.ID, Text: text, Fix: fix})
}

// report adds a finding of something that can silence it.
func (l *linter) report(about string, f Finding) {
	f.Code = l.rule.Code
	if l.quiet.silences(about, f.Code) {
		return
	}
	l.findings = append(l.findings, f.plain())
}
