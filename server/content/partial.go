package content

import (
	"slices"

	"github.com/writpdp/writ/document"
)

// apart are the keywords with which a value elsewhere in the document, or what
// kind of value this is, decides what breaks a schema here.
var apart = []string{"anyOf", "oneOf", "not", "if", "contains", "dependentRequired", "dependentSchemas", "dependencies",
	"uniqueItems", "propertyNames", "patternProperties", "unevaluatedProperties", "unevaluatedItems", "$dynamicRef"}

// isLocal reports whether a schema has none of the keywords of apart. It reads
// names of properties as keywords too, which only errs to the careful side.
func isLocal(schema any) bool {
	switch s := schema.(type) {
	case map[string]any:
		for keyword, child := range s {
			if slices.Contains(apart, keyword) || !data[keyword] && !isLocal(child) {
				return false
			}
		}
	case []any:
		for _, child := range s {
			if !isLocal(child) {
				return false
			}
		}
	}
	return true
}

// Breaks returns what edits to a partial document break, if the whole document
// fits the schema. It is known only where the schema judges each place by
// itself; else, and where an edit is below what is withheld, ok is false.
func (s *Schema) Breaks(d *document.Document, edits []document.Edit) (broken []Violation, ok bool) {
	shape, err := d.Masked()
	if err != nil || !s.local || d.HasOthers() {
		return nil, false
	}
	edited, err := shape.Apply(edits)
	if err != nil {
		return nil, false
	}
	// Where a mask stands for a value that is not known and stays, the value fits.
	stays := map[string]bool{}
	for _, pointer := range d.Withheld() {
		stays[pointer] = true
	}
	for _, e := range edits {
		delete(stays, e.Pointer)
	}
	found := s.Check(edited)
	for _, v := range found {
		if !stays[v.Pointer] {
			broken = append(broken, v)
		}
	}
	return broken, len(broken) > 0 || len(found) < maxViolations // the list is cut there
}
