package policy

import (
	"fmt"
	"strings"

	"github.com/cedar-policy/cedar-go"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy/session"
)

// sessions reads the labels that there are and the values over a session's events, for
// a bundle that has its tools.
func (f *files) sessions(b *decision.Bundle, facts []toolFacts) error {
	var labels session.LabelsFile
	if err := readYAML(f, fileLabels, &labels, true); err != nil {
		return err
	}
	var err error
	if b.Labels, err = labels.Labels(); err != nil {
		return fmt.Errorf("%s: %w", fileLabels, err)
	}
	for _, t := range facts {
		if _, unknown := b.LabelsOf(t.tool.Labels); len(unknown) > 0 {
			return fmt.Errorf("%s: the tool %s: there is no label %q: declare it in %s", fileTools, t.tool, unknown[0], fileLabels)
		}
	}
	var chains session.ChainsFile
	if err := readYAML(f, fileChains, &chains, true); err != nil {
		return err
	}
	inputs := map[decision.ToolName]map[string]any{}
	for _, t := range facts {
		inputs[t.tool.ToolName] = t.input
	}
	b.Chains, err = chains.Chains(b, session.Tools{
		Patterns: func(texts []string) ([]decision.ToolPattern, error) { return patterns(b.Tools, texts) },
		Integer:  func(tool decision.ToolName, argument string) bool { return integer(inputs[tool], argument) },
	})
	if err != nil {
		return fmt.Errorf("%s: %w", fileChains, err)
	}
	return nil
}

// integer reports whether a JSON Schema says that a property is an integer.
func integer(input map[string]any, property string) bool {
	properties, _ := input["properties"].(map[string]any)
	typ, _ := properties[property].(map[string]any)
	return typ["type"] == "integer"
}

// asked is what is looked up of an action: a tool's, or the phase of one that belongs
// to none.
type asked struct {
	phase decision.Phase
	tool  decision.ToolName
}

func askedOf(req *decision.Request) asked {
	if req.Phase == decision.Prompt || req.Phase == decision.Connect {
		return asked{phase: req.Phase}
	}
	return asked{tool: req.Tool.ToolName}
}

// looks says what of its session the policies look at that a request can be put to;
// nil: none looks at anything. What a tenant's own look at is looked at for its
// requests alone.
func (s *Set) looks() func(*decision.Request) decision.Looked {
	common := s.looksOn(s.index.common)
	tenants := map[string]map[asked]decision.Looked{}
	for tenant, own := range s.index.tenants {
		if looks := s.looksOn(own); len(looks) > 0 {
			tenants[tenant] = looks
		}
	}
	if len(common)+len(tenants) == 0 {
		return nil
	}
	return func(req *decision.Request) decision.Looked {
		own := tenants[req.Caller.Tenant]
		if req.Phase != decision.List || req.Tool.ToolName != (decision.ToolName{}) {
			at := askedOf(req)
			return common[at].Or(own[at])
		}
		var all decision.Looked
		for i := range req.Candidates {
			at := asked{tool: req.Candidates[i].ToolName}
			all = all.Or(common[at]).Or(own[at])
		}
		return all
	}
}

// looksOn is what the policies of a shelf look at, by action.
func (s *Set) looksOn(at *shelf) map[asked]decision.Looked {
	all := map[asked]decision.Looked{}
	for _, place := range at.members {
		st := s.index.statements[place]
		looked := session.Looks(st.ast, s.chains)
		if looked.Nothing() {
			continue
		}
		wanted := map[int32]bool{}
		for _, a := range anchorsOf(st.ast.Action) {
			wanted[at.anchors[a]] = true
		}
		for uid, action := range s.schema.Actions {
			if action.AppliesTo == nil || !s.reaches(at, uid, wanted) {
				continue
			}
			key := s.actionOf(uid)
			all[key] = all[key].Or(looked)
		}
	}
	return all
}

func (s *Set) reaches(at *shelf, action cedar.EntityUID, wanted map[int32]bool) bool {
	for _, anchor := range s.index.lineage(at, action) {
		if wanted[anchor] {
			return true
		}
	}
	return false
}

func (s *Set) actionOf(uid cedar.EntityUID) asked {
	switch uid.ID {
	case actionPrompt:
		return asked{phase: decision.Prompt}
	case actionConnect:
		return asked{phase: decision.Connect}
	}
	server, name, _ := strings.Cut(string(uid.ID), "/")
	return asked{tool: decision.ToolName{Server: server, Name: name}}
}
