package policy

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	publicast "github.com/cedar-policy/cedar-go/ast"

	"github.com/writpdp/writ/server/decision"
)

// Alike are the policies that match in two bundles on the same requests: they are
// the same but for their annotations, of the same tenant, and so is all that they
// see. nil: what they see differs, or a bundle was not loaded by this package.
func Alike(a, b *decision.Bundle) map[string]decision.PolicyKind {
	one, ok := a.Policies.(*Set)
	other, too := b.Policies.(*Set)
	if !ok || !too || one.around != other.around {
		return nil
	}
	alike := map[string]decision.PolicyKind{}
	texts := map[string]string{}
	for _, st := range one.index.statements {
		texts[st.id] = st.tenant + "/" + st.bare() // no tenant's name has a slash
	}
	for _, st := range other.index.statements {
		if text, ok := texts[st.id]; ok && text == st.tenant+"/"+st.bare() {
			alike[st.id] = st.kind()
		}
	}
	return alike
}

// bare is a policy without its annotations.
func (s *statement) bare() string {
	copied := *s.ast
	copied.Annotations = nil
	return string(cedar.NewPolicyFromAST((*publicast.Policy)(&copied)).MarshalCedar())
}

func (s *statement) kind() decision.PolicyKind {
	switch {
	case s.forbid:
		return decision.Forbids
	case s.obligate == nil:
		return decision.Permits
	case s.obligate.redact != nil:
		return decision.Redacts
	case s.obligate.route != nil:
		return decision.Routes
	}
	return decision.Obliges
}

// around is a digest of the files that policies see the world through: entities,
// schema, vendors and the word on tools. A tool's definition is no part of it: a
// request with another than the pinned one is refused.
func (f *files) around() string {
	names := slices.Sorted(maps.Keys(f.sums))
	return f.digestOf(slices.DeleteFunc(names, func(name string) bool {
		return path.Dir(name) == dirAccess || strings.HasPrefix(name, dirCedar+"/") || path.Dir(name) == dirTools || name == fileManifest || name == filePurposes || name == fileBudgets || name == fileBreakers || name == fileEgress
	}))
}
