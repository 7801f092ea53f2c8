package policy

import (
	"fmt"
	"strconv"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/content"
	"github.com/writpdp/writ/server/decision"
)

// maxRecord is how many patterns one list of what is recorded has.
const maxRecord = 64

// recordable is what of a tool's arguments may stand in a record. A pattern that
// leads nowhere is an error: whoever wrote it means something else.
func recordable(schema *content.Schema, input *document.Document, patterns []string) (*content.Disclosure, error) {
	if len(patterns) > maxRecord {
		return nil, fmt.Errorf("more than %d patterns", maxRecord)
	}
	for _, pattern := range patterns {
		ok, err := content.Reaches(input.Value().(map[string]any), pattern)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, fmt.Errorf("the tool has no argument at %q", pattern)
		}
	}
	return schema.Disclosure(patterns)
}

// disclose says what of a request's context and of resources may stand in a
// record: what the bundle's Cedar schema declares.
func (m *manifest) disclose(b *decision.Bundle, s *Set) error {
	if len(m.Audit.Record) > maxRecord {
		return fmt.Errorf("%s: audit.record: more than %d patterns", fileManifest, maxRecord)
	}
	for _, pattern := range m.Audit.Record {
		if tokens, err := document.Tokens(pattern); err == nil && !declares(s.extraType, tokens) {
			return fmt.Errorf("%s: audit.record: the type Extra has nothing at %q", fileManifest, pattern)
		}
	}
	var err error
	if b.RecordContext, err = content.NewDisclosure(namesOf(s.extraType, map[string]bool{}), m.Audit.Record); err != nil {
		return fmt.Errorf("%s: audit.record: %w", fileManifest, err)
	}
	b.RecordResources = map[string]*content.Disclosure{}
	for name, entity := range s.schema.Entities {
		if b.RecordResources[string(name)], err = content.NewDisclosure(namesOf(entity.Shape, map[string]bool{}), nil); err != nil {
			return err
		}
	}
	return nil
}

// namesOf adds the names of a type's attributes, at any depth.
func namesOf(typ resolved.IsType, names map[string]bool) map[string]bool {
	switch typ := typ.(type) {
	case resolved.RecordType:
		for name, attribute := range typ {
			names[string(name)] = true
			namesOf(attribute.Type, names)
		}
	case resolved.SetType:
		namesOf(typ.Element, names)
	}
	return names
}

// declares reports whether a type has something where the tokens of a pattern
// lead.
func declares(typ resolved.IsType, tokens []string) bool {
	if len(tokens) == 0 {
		return true
	}
	token := tokens[0]
	switch typ := typ.(type) {
	case resolved.RecordType:
		for name, attribute := range typ {
			if (token == "*" || name == cedar.String(token)) && declares(attribute.Type, tokens[1:]) {
				return true
			}
		}
	case resolved.SetType:
		_, err := strconv.Atoi(token)
		return (token == "*" || err == nil) && declares(typ.Element, tokens[1:])
	}
	return false
}
