package policy

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"github.com/writpdp/writ/server/decision"
)

// Source is a bundle as its author wrote it, for judging the writing: lints and
// comparisons. Its policies may not fit its schema. Nothing decides by it.
type Source struct {
	// Bundle is without policies and digest.
	Bundle   *decision.Bundle
	Schema   *resolved.Schema
	Entities cedar.EntityMap
	// Statements are the policies: those of every tenant, then each tenant's own,
	// in the order of their files and places.
	Statements []Written
	// Definitions are the tools in the order of their names.
	Definitions []Definition
	// Texts are the files by name.
	Texts map[string][]byte
	// ToolLints, PurposeLints and ListLints are what tools.yaml, purposes.yaml and the
	// allow lists of egress.yaml say to lints.
	ToolLints    map[decision.ToolName][]string
	PurposeLints map[string][]string
	ListLints    map[string][]string
}

// Written is one policy as its author wrote it.
type Written struct {
	ID     string
	Policy *ast.Policy
	// Tenant is whose requests it is asked for; empty: everybody's.
	Tenant string
	// Shadow says that the policy is in shadow mode: it decides nothing.
	Shadow bool
	// Obligation is the type that @obligate names; empty: the policy decides.
	Obligation string
	// Redact is what a redacting policy looks for; nil: it is none.
	Redact *decision.RedactRule
	// Fields are the pointers of @fields that are redacted whole.
	Fields []string
	// Invalid says why the policy does not fit the schema or the vendors;
	// empty: it does.
	Invalid string
}

// Definition is a tool as its server listed it.
type Definition struct {
	Tool *decision.Tool
	// Input is the tool's JSON Schema; its numbers are json.Number.
	Input map[string]any
	// Raw is the JSON of the definition, in File.
	Raw  []byte
	File string
}

// Read reads a bundle as Load does, and says of each policy on its own whether
// it is valid. The error is of a bundle that cannot be read as one.
func Read(fsys fs.FS) (*Source, error) {
	f := &files{fsys: fsys, sums: map[string][sha256.Size]byte{}, texts: map[string][]byte{}}
	d, err := f.draft()
	if err != nil {
		return nil, err
	}
	s := &Source{Bundle: d.bundle, Schema: d.schema, Entities: d.entities, Texts: f.texts,
		ToolLints: map[decision.ToolName][]string{}, PurposeLints: map[string][]string{}, ListLints: map[string][]string{}}
	v := NewValidator(d.schema)
	for _, st := range d.statements {
		out := Written{ID: st.id, Policy: st.ast, Tenant: st.tenant, Shadow: st.shadow}
		if st.obligate != nil {
			if out.Redact = st.obligate.redact; out.Redact != nil && out.Redact.Whole() {
				out.Fields = out.Redact.Fields
			}
			for _, note := range st.ast.Annotations {
				if note.Key == "obligate" {
					out.Obligation = string(note.Value)
				}
			}
		}
		if err := v.Check(st.ast); err != nil {
			out.Invalid = mistakes(err)
		} else if err := cmp.Or(st.checkRoute(d.bundle), st.checkRedact(d.bundle)); err != nil {
			out.Invalid = err.Error()
		}
		s.Statements = append(s.Statements, out)
	}
	for _, t := range d.facts {
		s.Definitions = append(s.Definitions, Definition{Tool: t.tool, Input: t.input, Raw: t.raw, File: t.file})
		if lints := d.words[t.tool.Server][t.tool.Name].Lint; len(lints) > 0 {
			s.ToolLints[t.tool.ToolName] = lints
		}
	}
	for id, p := range d.purposes {
		if len(p.Lint) > 0 {
			s.PurposeLints[id] = p.Lint
		}
	}
	for id, list := range d.where.Allow {
		if len(list.Lint) > 0 {
			s.ListLints[id] = list.Lint
		}
	}
	return s, nil
}

// Moment is one kind of request that policies are asked about, and what is known
// of it beforehand.
type Moment struct {
	Action cedar.EntityUID
	// Phase is context.phase.
	Phase string
	// Tool is the tool that is called; nil for prompts and connections.
	Tool *Definition
	// Resource is the type of the resource, and Server the resource itself
	// where it is the tool's server.
	Resource cedar.EntityType
	Server   cedar.EntityUID
	// Context is the type of the context.
	Context resolved.RecordType
	// Known are the context's attributes that are always of this value.
	Known cedar.RecordMap
	// Present says of optional attributes whether they are there.
	Present map[string]bool
}

// String names the moment for a person.
func (m Moment) String() string {
	return fmt.Sprintf("%s of %s on a %s", strings.ToLower(m.Phase), m.Action.ID, m.Resource)
}

// Moments are all kinds of requests, in the order of the actions' names.
func (s *Source) Moments() []Moment {
	var all []Moment
	add := func(name, phase string, tool *Definition) {
		uid := cedar.NewEntityUID(typeAction, cedar.String(name))
		applies := s.Schema.Actions[uid].AppliesTo
		for _, typ := range applies.Resources {
			m := Moment{Action: uid, Phase: phase, Tool: tool, Resource: typ, Context: applies.Context,
				Known: cedar.RecordMap{"phase": cedar.String(phase)}, Present: map[string]bool{}}
			if tool != nil {
				m.Known["tool"] = toolRecord(tool.Tool)
				m.Present["content"] = phase == decision.Result.String()
				if typ == typeServer {
					m.Server = cedar.NewEntityUID(typeServer, cedar.String(tool.Tool.Server))
				}
			}
			all = append(all, m)
		}
	}
	add(actionConnect, decision.Connect.String(), nil)
	add(actionPrompt, decision.Prompt.String(), nil)
	for i, d := range s.Definitions {
		for _, phase := range []decision.Phase{decision.Call, decision.Result} {
			add(d.Tool.String(), phase.String(), &s.Definitions[i])
		}
	}
	return all
}

// Ancestors are the entities that an entity of the bundle is in, without itself.
func (s *Source) Ancestors(uid cedar.EntityUID) []cedar.EntityUID {
	return ancestry(s.Entities, uid, maxAncestors+2)[1:]
}

// EntityPlace is where entities.json declares an entity, its line and column.
func (s *Source) EntityPlace(uid cedar.EntityUID) (line, column int) {
	return entityPlace(s.Texts[fileEntities], uid)
}
