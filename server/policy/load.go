// Package policy turns the files of a policy bundle into one immutable
// decision.Bundle: it reads, bounds, validates, compiles and indexes them, and
// says with file, line and column what is wrong. A bundle is whole or refused;
// nothing of a broken one is ever used.
package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
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
	d, err := f.draft()
	if err != nil {
		return nil, err
	}
	if err := d.validate(); err != nil {
		return nil, err
	}
	b, set := d.bundle, d.compile(d.inForce())
	b.Looks = set.looks()
	if err := d.manifest.disclose(b, set); err != nil {
		return nil, err
	}
	b.Policies, b.Digest = set, f.digest()
	if len(d.inForce()) < len(d.statements) {
		shadow := *b
		all := d.compile(d.statements)
		shadow.Policies, shadow.Looks, shadow.Only = all, all.looks(), d.watching()
		b.Shadow = &shadow
	}
	return b, nil
}

// draft is a bundle that is read whole and whose policies are not yet held
// against its schema.
type draft struct {
	manifest   manifest
	bundle     *decision.Bundle // without policies and digest
	facts      []toolFacts
	words      toolsFile
	purposes   purposesFile
	where      egressFile
	schema     *resolved.Schema
	entities   cedar.EntityMap
	statements []*statement // by file and place
	// around is a digest of what policies see the world through.
	around string
}

func (f *files) draft() (*draft, error) {
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
	d := &draft{manifest: m, bundle: &decision.Bundle{Name: m.Name}}
	var err error
	if d.facts, d.words, err = f.tools(d.bundle, &m); err != nil {
		return nil, err
	}
	if m.Plan.Depth < 0 || m.Plan.Depth > maxDepth {
		return nil, fmt.Errorf("%s: plan.depth is not within 0 to %d", fileManifest, maxDepth)
	}
	d.bundle.Depth = m.Plan.Depth
	if err := m.classes(d.bundle); err != nil {
		return nil, err
	}
	if err := m.results(d.bundle); err != nil {
		return nil, err
	}
	if err := m.roles(d.bundle); err != nil {
		return nil, err
	}
	if err := f.data(d); err != nil {
		return nil, err
	}
	if err := f.sessions(d.bundle, d.facts); err != nil {
		return nil, err
	}
	d.bundle.SessionRequired = m.Sessions.Required
	if d.bundle.Detect, err = f.detectors(d.bundle); err != nil {
		return nil, err
	}
	base, err := f.read(fileSchema)
	if err != nil {
		return nil, err
	}
	generated, err := actions(d.facts, d.bundle.Chains)
	if err != nil {
		return nil, err
	}
	if d.schema, err = resolve(fileSchema, base, generated); err != nil {
		return nil, err
	}
	if d.entities, err = f.entities(d.schema); err != nil {
		return nil, err
	}
	d.bundle.Agents = map[string]bool{}
	for uid := range d.entities {
		if uid.Type == typeAgent {
			d.bundle.Agents[string(uid.ID)] = true
		}
	}
	if d.bundle.Access, err = f.access(); err != nil {
		return nil, err
	}
	d.statements, err = f.deciding()
	d.around = f.around()
	return d, err
}

// Schema is the bundle's whole Cedar schema: its own declarations and the
// actions of its tools, as the policies are validated against.
func Schema(fsys fs.FS) ([]byte, error) {
	f := &files{fsys: fsys, sums: map[string][sha256.Size]byte{}}
	var m manifest // only what it says of schemas matters here
	if err := readYAML(f, fileManifest, &m, true); err != nil {
		return nil, err
	}
	b := &decision.Bundle{}
	facts, _, err := f.tools(b, &m)
	if err != nil {
		return nil, err
	}
	if err := f.sessions(b, facts); err != nil {
		return nil, err
	}
	base, err := f.read(fileSchema)
	if err != nil {
		return nil, err
	}
	generated, err := actions(facts, b.Chains)
	if err != nil {
		return nil, err
	}
	if _, err := resolve(fileSchema, base, generated); err != nil {
		return nil, err
	}
	return slices.Concat(base, []byte("\n// Written by `writ policy schema` from the tool manifests.\n\n"), generated), nil
}

// data reads vendors, purposes, egress, budgets and breakers, which rest on one another.
func (f *files) data(d *draft) error {
	b := d.bundle
	var vendors vendorsFile
	var budgets budgetsFile
	var breakers breakersFile
	for _, part := range []struct {
		name string
		into any
		use  func() error
	}{
		{fileVendors, &vendors, func() error { return vendors.vendors(b) }},
		{filePurposes, &d.purposes, func() error { return d.purposes.purposes(b) }},
		{fileEgress, &d.where, func() error { return d.where.rules(b) }},
		{fileBudgets, &budgets, func() error { return budgets.budgets(b) }},
		{fileBreakers, &breakers, func() error { return breakers.breakers(b) }},
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

// validate holds the policies against the schema and the vendors, and returns
// the first that does not fit.
func (d *draft) validate() error {
	v := NewValidator(d.schema)
	for _, st := range d.statements {
		if err := v.Check(st.ast); err != nil {
			return fmt.Errorf("%s: policy %q: %s", st.at(), st.id, mistakes(err))
		}
	}
	for _, st := range d.statements {
		if err := cmp.Or(st.checkRoute(d.bundle), st.checkRedact(d.bundle)); err != nil {
			return fmt.Errorf("%s: policy %q: %w", st.at(), st.id, err)
		}
	}
	return nil
}

// mistakes are those of a validation in one line: there is one for each action
// and type.
func mistakes(err error) string {
	return short(strings.Join(slices.Compact(strings.Split(err.Error(), "\n")), "; "))
}

// inForce are the policies that are not in shadow mode.
func (d *draft) inForce() []*statement {
	return slices.DeleteFunc(slices.Clone(d.statements), func(s *statement) bool { return s.shadow })
}

// watching are the tenants for whom some policy is in shadow mode; nil: all.
func (d *draft) watching() map[string]bool {
	only := map[string]bool{}
	for _, st := range d.statements {
		switch {
		case st.shadow && st.tenant == "":
			return nil
		case st.shadow:
			only[st.tenant] = true
		}
	}
	return only
}

// compile makes some of a draft's policies fit for being asked.
func (d *draft) compile(statements []*statement) *Set {
	s := &Set{schema: d.schema, chains: d.bundle.Chains, extraType: extraType(d.schema), entities: d.entities, tools: map[decision.ToolName]cedar.Record{},
		needs: needsOf(statements), index: newIndex(statements, d.entities), masks: newMasks(d.bundle, d.facts, d.entities, d.statements)}
	for _, t := range d.facts {
		s.tools[t.tool.ToolName] = toolRecord(t.tool)
	}
	s.names, s.around = sync.OnceValue(s.findNames), d.around
	return s
}

// toolRecord is a tool as context.tool.
func toolRecord(t *decision.Tool) cedar.Record {
	return cedar.NewRecord(cedar.RecordMap{"server": cedar.String(t.Server), "name": cedar.String(t.Name),
		"classes": stringSet(t.Classes), "labels": stringSet(t.Labels)})
}

// statementsIn reads the policies of a directory.
func (f *files) statementsIn(dir string) ([]*statement, error) {
	names, err := f.list(dir, ".cedar")
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

// at is where a policy stands: file:line:column.
func (s *statement) at() string { return place(s.policy.Position()) }

func place(p cedar.Position) string {
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
			return nil, fmt.Errorf("%s: the entity %s: %s", entityAt(fileEntities, data, uid), uid, short(err.Error()))
		}
		if line := ancestry(entities, uid, maxAncestors+2); len(line) > maxAncestors+1 {
			return nil, fmt.Errorf("%s: the entity %s has more than %d ancestors", entityAt(fileEntities, data, uid), uid, maxAncestors)
		}
	}
	if uid, err := checkHierarchy(entities); err != nil {
		return nil, fmt.Errorf("%s: the entity %s: %w", entityAt(fileEntities, data, uid), uid, err)
	}
	for uid, action := range s.Actions {
		entities[uid] = action.Entity
	}
	return entities, nil
}
