package policy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cedar-policy/cedar-go/x/exp/schema/ast"
)

// Bounds of a schema's types, when the types that they name are put in their
// places, which Cedar does: each of forty types that names the one before twice
// makes a schema of two lines larger than any memory.
const (
	maxTypes = 100_000 // of all declarations
	maxExtra = 256     // of Extra, which is part of every action
)

// growth finds out how large types become.
type growth struct {
	common map[string][]ast.IsType // by the last part of their names
	sizes  map[string]int
}

// checkTypes refuses a schema whose types grow beyond the bounds, and one whose
// Extra is missing or no record.
func checkTypes(s *ast.Schema) error {
	extra, ok := s.CommonTypes["Extra"]
	if !ok {
		return errors.New("declare `type Extra = {};`, with what callers may add in context.extra")
	}
	if _, ok := extra.Type.(ast.RecordType); !ok {
		return errors.New("the type Extra is not a record")
	}
	parts := []ast.Namespace{{Entities: s.Entities, Actions: s.Actions, CommonTypes: s.CommonTypes}}
	for _, namespace := range s.Namespaces {
		parts = append(parts, namespace)
	}
	g := growth{common: map[string][]ast.IsType{}, sizes: map[string]int{}}
	for _, part := range parts {
		for name, common := range part.CommonTypes {
			g.common[string(name)] = append(g.common[string(name)], common.Type)
		}
	}
	if g.size(extra.Type) > maxExtra {
		return fmt.Errorf("the type Extra comes to more than %d types", maxExtra)
	}
	total := 0
	for _, part := range parts {
		for _, common := range part.CommonTypes {
			total = min(total+g.size(common.Type), maxTypes+1)
		}
		for _, entity := range part.Entities {
			total = min(total+g.size(entity.Shape)+g.size(entity.Tags), maxTypes+1)
		}
		for _, action := range part.Actions {
			if action.AppliesTo != nil {
				total = min(total+g.size(action.AppliesTo.Context), maxTypes+1)
			}
		}
	}
	if total > maxTypes {
		return fmt.Errorf("the declarations come to more than %d types", maxTypes)
	}
	return nil
}

// size is the number of types that a type comes to. A name counts as the largest
// of those that end like it, whatever their namespaces.
func (g growth) size(t ast.IsType) int {
	switch t := t.(type) {
	case ast.SetType:
		return 1 + g.size(t.Element)
	case ast.RecordType:
		n := 1
		for _, attribute := range t {
			n = min(n+g.size(attribute.Type), maxTypes+1)
		}
		return n
	case ast.TypeRef:
		name := string(t)[strings.LastIndexByte(string(t), ':')+1:]
		known, ok := g.sizes[name]
		if !ok {
			known = 1
			g.sizes[name] = known // while it is found out; Cedar refuses a type that names itself
			for _, common := range g.common[name] {
				known = max(known, g.size(common))
			}
			g.sizes[name] = known
		}
		return known
	}
	return 1
}
