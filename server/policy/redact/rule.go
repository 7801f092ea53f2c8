// Package redact is what redacting policies ask for: it reads their annotations, and
// turns what they look for in one request into edits. It is pure.
package redact

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/decision"
)

// Annotations are those of a redacting policy.
var Annotations = []string{"detect", "labels", "fields", "method"}

// maxNamed is how many patterns, detectors or labels one policy names.
const maxNamed = 64

// MaxList bounds one such list, in bytes.
const MaxList = 8192

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// Parse reads a policy's annotations. The error names the one that is wrong.
func Parse(id string, notes map[string]string) (*decision.RedactRule, error) {
	r := &decision.RedactRule{Policy: id}
	for _, list := range []struct {
		name string
		into *[]string
	}{{"fields", &r.Fields}, {"detect", &r.Detectors}, {"labels", &r.Labels}} {
		text, ok := notes[list.name]
		if !ok {
			continue
		}
		*list.into = strings.Fields(text)
		if n := len(*list.into); n == 0 || n > maxNamed {
			return nil, fmt.Errorf("@%s has none or more than %d words", list.name, maxNamed)
		}
	}
	if len(r.Fields)+len(r.Detectors)+len(r.Labels) == 0 {
		return nil, fmt.Errorf(`@obligate("redact") needs @fields, @detect or @labels`)
	}
	for _, f := range r.Fields {
		if err := document.CheckPattern(f); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Concat(r.Detectors, r.Labels) {
		if !nameForm.MatchString(name) {
			return nil, fmt.Errorf("%q is not the name of a detector or label", name)
		}
	}
	name, ok := notes["method"]
	if !ok {
		return r, nil
	}
	if r.Method, ok = document.MethodOf(name); !ok {
		return nil, fmt.Errorf(`@method(%q) is none of "mask", "remove", "partial", "hash", "tokenise" and "generalise"`, name)
	}
	return r, nil
}

// Check refuses a rule that names a detector or a label which the bundle does not
// have: it would redact nothing, for ever. detects are a detector's labels, or nil
// where there is none.
func Check(r *decision.RedactRule, detects func(detector string) []string, labels func(label string) bool) error {
	for _, id := range r.Detectors {
		if detects(id) == nil {
			return fmt.Errorf("@detect: the bundle has no detector %q", id)
		}
	}
	for _, label := range r.Labels {
		if !labels(label) {
			return fmt.Errorf("@labels: the bundle has no label %q", label)
		}
	}
	return nil
}
