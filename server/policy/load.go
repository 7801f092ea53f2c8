// Package policy turns the files of a policy bundle into one immutable
// decision.Bundle: it reads, bounds, validates, compiles and indexes them, and
// says with file, line and column what is wrong. A bundle is whole or refused;
// nothing of a broken one is ever used.
package policy

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/decision"
)

// Load reads the bundle at the root of a file system. Only the bundle's own
// files are read, and none through a symbolic link.
func Load(fsys fs.FS) (*decision.Bundle, error) {
	f := &files{fsys: fsys, sums: map[string][sha256.Size]byte{}}
	if err := f.checkNames(); err != nil {
		return nil, err
	}
	var m manifest
	if err := readYAML(f, fileManifest, &m, false); err != nil {
		return nil, err
	}
	if m.Version != 1 {
		return nil, fmt.Errorf("%s: version %d is not 1", fileManifest, m.Version)
	}
	if err := checkName("name", m.Name); err != nil {
		return nil, fmt.Errorf("%s: %w", fileManifest, err)
	}
	b := &decision.Bundle{Name: m.Name}
	facts, err := f.tools(b)
	if err != nil {
		return nil, err
	}
	if err := m.async(b); err != nil {
		return nil, err
	}
	if err := f.data(b); err != nil {
		return nil, err
	}
	policies, err := f.policies(b, facts)
	if err != nil {
		return nil, err
	}
	b.Policies = policies
	if err := m.disclose(b, policies); err != nil {
		return nil, err
	}
	b.Digest = f.digest()
	return b, nil
}

// Schema is the bundle's whole Cedar schema: its own declarations and the
// actions of its tools, as the policies are validated against.
func Schema(fsys fs.FS) ([]byte, error) {
	f := &files{fsys: fsys, sums: map[string][sha256.Size]byte{}}
	facts, err := f.tools(&decision.Bundle{})
	if err != nil {
		return nil, err
	}
	base, err := f.read(fileSchema)
	if err != nil {
		return nil, err
	}
	generated, err := actions(facts)
	if err != nil {
		return nil, err
	}
	if _, err := resolve(fileSchema, base, generated); err != nil {
		return nil, err
	}
	return slices.Concat(base, []byte("\n// Written by `writ policy schema` from the tool manifests.\n\n"), generated), nil
}

// data reads vendors, purposes and budgets, which rest on one another.
func (f *files) data(b *decision.Bundle) error {
	var vendors vendorsFile
	var purposes purposesFile
	var budgets budgetsFile
	for _, part := range []struct {
		name string
		into any
		use  func() error
	}{
		{fileVendors, &vendors, func() error { return vendors.vendors(b) }},
		{filePurposes, &purposes, func() error { return purposes.purposes(b) }},
		{fileBudgets, &budgets, func() error { return budgets.budgets(b) }},
	} {
		if err := readYAML(f, part.name, part.into, true); err != nil {
			return err
		}
		if err := part.use(); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// policies reads, validates and compiles the Cedar side.
func (f *files) policies(b *decision.Bundle, facts []toolFacts) (*Set, error) {
	base, err := f.read(fileSchema)
	if err != nil {
		return nil, err
	}
	generated, err := actions(facts)
	if err != nil {
		return nil, err
	}
	s := &Set{tools: map[decision.ToolName]cedar.Record{}}
	if s.schema, err = resolve(fileSchema, base, generated); err != nil {
		return nil, err
	}
	s.extraType = extraType(s.schema)
	for _, t := range facts {
		s.tools[t.tool.ToolName] = cedar.NewRecord(cedar.RecordMap{
			"server": cedar.String(t.tool.Server), "name": cedar.String(t.tool.Name),
			"classes": stringSet(t.tool.Classes), "labels": stringSet(t.tool.Labels)})
	}
	if s.entities, err = f.entities(s.schema); err != nil {
		return nil, err
	}
	statements, err := f.statements(newValidators(s.schema))
	if err != nil {
		return nil, err
	}
	for _, st := range statements {
		if err := st.checkRoute(b); err != nil {
			return nil, fmt.Errorf("%s: policy %q: %w", st.at(), st.id, err)
		}
	}
	s.index, s.needs = newIndex(statements, s.entities), needsOf(statements)
	s.names, s.around = sync.OnceValue(s.findNames), f.around()
	return s, nil
}

func (f *files) statements(v validators) ([]*statement, error) {
	names, err := f.list(dirCedar, ".cedar")
	if err != nil {
		return nil, err
	}
	var all []*statement
	where := map[string]string{}
	for _, name := range names {
		text, err := f.read(name)
		if err != nil {
			return nil, err
		}
		statements, err := parse(name, text)
		if err != nil {
			return nil, err
		}
		for _, st := range statements {
			if other, twice := where[st.id]; twice {
				return nil, fmt.Errorf("%s: the @id %q is taken by %s", st.at(), st.id, other)
			}
			where[st.id] = st.at()
			if err := v.check(st); err != nil {
				mistakes := slices.Compact(strings.Split(err.Error(), "\n")) // one for each action and type
				return nil, fmt.Errorf("%s: policy %q: %s", st.at(), st.id, short(strings.Join(mistakes, "; ")))
			}
		}
		all = append(all, statements...)
	}
	return all, nil
}

// maxMessage bounds a message about a file, in bytes: one mistake in a policy
// for all actions is found once for each.
const maxMessage = 2048

func short(message string) string { return cut(message, maxMessage) }

func cut(text string, max int) string {
	if len(text) <= max {
		return text
	}
	return strings.ToValidUTF8(text[:max], "") + "…"
}

// validators are the validators by scopes of actions. Validation goes through
// every action that the schema gives a context, so each policy is held against
// a schema in which only those that it can apply to have one.
type validators struct {
	schema *resolved.Schema
	groups cedar.EntityMap // the actions
	by     map[string]*validate.Validator
}

func newValidators(s *resolved.Schema) validators {
	v := validators{schema: s, groups: cedar.EntityMap{}, by: map[string]*validate.Validator{}}
	for uid, action := range s.Actions {
		v.groups[uid] = action.Entity
	}
	return v
}

func (v validators) check(st *statement) error {
	named := anchorsOf(st.ast.Action)
	key := fmt.Sprint(named)
	validator, ok := v.by[key]
	if !ok {
		narrow := *v.schema
		if !slices.Contains(named, anchor{}) {
			narrow.Actions = maps.Clone(v.schema.Actions)
			for uid, action := range narrow.Actions {
				in := ancestry(v.groups, uid, math.MaxInt)
				if !slices.ContainsFunc(named, func(a anchor) bool { return a.uid == uid || a.as == isIn && slices.Contains(in, a.uid) }) {
					action.AppliesTo = nil
					narrow.Actions[uid] = action
				}
			}
		}
		validator = validate.New(&narrow)
		v.by[key] = validator
	}
	return validator.Policy("", st.ast)
}

// at is where a policy stands: file:line:column.
func (s *statement) at() string {
	p := s.policy.Position()
	return fmt.Sprintf("%s:%d:%d", p.Filename, p.Line, p.Column)
}

// maxAncestors bounds the ancestors of one entity.
const maxAncestors = 256

// entities reads entities.json and adds the schema's actions, which Cedar does
// not do by itself.
func (f *files) entities(s *resolved.Schema) (cedar.EntityMap, error) {
	entities := cedar.EntityMap{}
	data, err := f.read(fileEntities)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if _, err := document.Parse(data); err != nil {
			return nil, fmt.Errorf("%s: %w", fileEntities, err)
		}
		if err := json.Unmarshal(data, &entities); err != nil {
			return nil, fmt.Errorf("%s: %s", fileEntities, short(err.Error()))
		}
	}
	validator := validate.New(s)
	uids := slices.SortedFunc(maps.Keys(entities), func(a, b cedar.EntityUID) int { return strings.Compare(a.String(), b.String()) })
	for _, uid := range uids {
		if err := validator.Entity(entities[uid]); err != nil {
			return nil, fmt.Errorf("%s: the entity %s: %s", fileEntities, uid, short(err.Error()))
		}
		if line := ancestry(entities, uid, maxAncestors+2); len(line) > maxAncestors+1 {
			return nil, fmt.Errorf("%s: the entity %s has more than %d ancestors", fileEntities, uid, maxAncestors)
		}
	}
	for uid, action := range s.Actions {
		entities[uid] = action.Entity
	}
	return entities, nil
}
