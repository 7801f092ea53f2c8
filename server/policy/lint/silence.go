package lint

import (
	"fmt"
	"slices"
	"strings"
)

// silences are the lints that policies, purposes and tools switch off, by what
// they are of.
type silences map[string]*silence

type silence struct {
	at    Finding // where it is said
	codes []string
	used  map[string]bool
}

// silences reports whether something is silenced, and remembers that it was of
// use.
func (s silences) silences(about, code string) bool {
	quiet, ok := s[about]
	if !ok || !slices.Contains(quiet.codes, code) {
		return false
	}
	quiet.used[code] = true
	return true
}

// readSilences reads @lint("-code -code") of policies, and the key lint of
// purposes and tools. A code that there is not is an error: it would silence
// nothing, or something else one day.
func (l *linter) readSilences() {
	l.quiet = silences{}
	for _, st := range l.src.Statements {
		for _, note := range st.Policy.Annotations {
			if note.Key == "lint" {
				at := st.Policy.Position
				l.silence("policy "+st.ID, Finding{File: at.Filename, Line: at.Line, Column: at.Column, Policy: st.ID}, strings.Fields(string(note.Value)))
			}
		}
	}
	for id, codes := range l.src.PurposeLints {
		l.silence("purpose "+id, l.place("purposes.yaml", id), codes)
	}
	for id, codes := range l.src.ListLints {
		l.silence("allow list "+id, l.place(egressFile, "allow", id), codes)
	}
	for name, codes := range l.src.ToolLints {
		l.silence("tool "+name.String(), l.place("tools.yaml", name.Server, name.Name), codes)
	}
}

func (l *linter) silence(about string, at Finding, said []string) {
	s := &silence{at: at, used: map[string]bool{}}
	l.quiet[about] = s
	for _, word := range said {
		if code, minus := strings.CutPrefix(word, "-"); minus && silenceable(code) {
			s.codes = append(s.codes, code)
		} else {
			at.Code, at.Severity = codeUnknownLint, Error
			at.Text, at.Fix = fmt.Sprintf("The %s silences %q, which is no lint.", about, word), "Name lints as -code, with a code of docs/lints.md."
			l.findings = append(l.findings, at.plain())
		}
	}
	if len(said) == 0 {
		at.Code, at.Severity = codeUnknownLint, Error
		at.Text, at.Fix = fmt.Sprintf("The %s silences no lint.", about), "Name lints as -code, or take the annotation away."
		l.findings = append(l.findings, at.plain())
	}
}

// reportUnused reports what silences nothing: the next mistake of its kind would
// go unseen.
func (l *linter) reportUnused() {
	for about, s := range l.quiet {
		for _, code := range s.codes {
			if !s.used[code] {
				f := s.at
				f.Code, f.Severity = codeUnusedLint, Warning
				f.Text, f.Fix = fmt.Sprintf("The %s silences %s, which finds nothing there.", about, code), "Take the word away."
				l.findings = append(l.findings, f.plain())
			}
		}
	}
}
