package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy/clause"
)

// Bounds of the values in an explanation.
const (
	maxShownValue    = 256 // bytes
	maxShownElements = 8   // of a set
	maxSeenElements  = 64  // of a set that is looked into
)

// absent stands for a value that is not there.
const absent = "absent"

// mask decides which values of a request an explanation may show. Who reads one
// need not be who asked, so a string is shown only when the bundle itself holds
// it: then it is one that the policies speak of. Numbers, booleans and times are
// shown. Nothing is of a field that some policy redacts.
type mask struct {
	// under is the mask of what every tenant's policies hold, under that of one
	// tenant's own; nil: this is it.
	under *mask
	// strings are what the bundle holds: literals in its conditions, ids of
	// entities, purposes, vendors, tools and their words, values that a tool's
	// schema enumerates. The empty one is among them.
	strings map[string]bool
	// redacted are the fields of arguments that policies redact, by token; *
	// is any.
	redacted [][]string
}

// masks are the masks of the tenants that have policies of their own, and of all
// others under "". What one tenant's policies hold must neither be shown nor be
// found out by asking for another.
type masks map[string]*mask

func (m masks) of(tenant string) *mask {
	if own, ok := m[tenant]; ok {
		return own
	}
	return m[""]
}

func newMasks(b *decision.Bundle, facts []toolFacts, entities cedar.EntityMap, statements []*statement) masks {
	common := newMask(b, facts, entities)
	all := masks{"": common}
	for _, st := range statements {
		if all[st.tenant] == nil {
			all[st.tenant] = &mask{under: common, strings: map[string]bool{}}
		}
		all[st.tenant].hold(st)
	}
	return all
}

func (m *mask) add(all ...string) {
	for _, s := range all {
		m.strings[s] = true
	}
}

// newMask is that of a bundle without policies.
func newMask(b *decision.Bundle, facts []toolFacts, entities cedar.EntityMap) *mask {
	m := &mask{strings: map[string]bool{"": true}}
	add := m.add
	for _, phase := range []decision.Phase{decision.List, decision.Prompt, decision.Call, decision.Result, decision.Connect} {
		add(phase.String())
	}
	for uid := range entities {
		add(string(uid.ID))
	}
	add(slices.Collect(maps.Keys(b.Purposes))...)
	for id, vendor := range b.Vendors {
		add(id)
		for _, e := range vendor.Endpoints {
			add(e.Host, e.Region)
		}
	}
	for _, t := range facts {
		add(t.tool.Server, t.tool.Name)
		add(t.tool.Classes...)
		add(t.tool.Labels...)
		enumerated(t.input, 0, add)
	}
	return m
}

// hold adds what a policy holds.
func (m *mask) hold(st *statement) {
	for _, scope := range []any{st.ast.Principal, st.ast.Action, st.ast.Resource} {
		for _, a := range anchorsOf(scope) {
			m.add(string(a.uid.ID))
		}
	}
	for _, c := range st.ast.Conditions {
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
			if v, ok := n.(ast.NodeValue); ok {
				switch v := v.Value.(type) {
				case cedar.String:
					m.add(string(v))
				case cedar.EntityUID:
					m.add(string(v.ID))
				}
			}
			return true
		})
	}
	if st.obligate != nil && st.obligate.redact != nil {
		for _, field := range st.obligate.redact.Fields {
			if tokens, err := document.Tokens(field); err == nil {
				m.redacted = append(m.redacted, tokens)
			}
		}
	}
}

// holds reports whether a string is one that the bundle holds.
func (m *mask) holds(s string) bool {
	return m.strings[s] || m.under != nil && m.under.holds(s)
}

// enumerated adds the strings that a JSON Schema lists as values.
func enumerated(schema any, depth int, add func(...string)) {
	if depth > document.MaxDepth {
		return
	}
	switch s := schema.(type) {
	case map[string]any:
		values, _ := s["enum"].([]any)
		for _, v := range append(slices.Clip(values), s["const"]) {
			if text, ok := v.(string); ok {
				add(text)
			}
		}
		for _, below := range s {
			enumerated(below, depth+1, add)
		}
	case []any:
		for _, below := range s {
			enumerated(below, depth+1, add)
		}
	}
}

// saw is what a clause looked at, as far as it may be shown.
func (m *mask) saw(c clause.Clause, env eval.Env) []decision.Seen {
	var all []decision.Seen
	for _, leaf := range c.Leaves() {
		seen := decision.Seen{Expression: cut(leaf.String(), maxShownValue), Value: absent}
		if v, ok := leaf.Value(env); ok {
			seen.Value, seen.Masked = m.show(v, m.redacts(leaf.Path))
		}
		all = append(all, seen)
	}
	return all
}

// redacts reports whether a path is, holds or is part of a redacted field.
func (m *mask) redacts(path []string) bool {
	if len(path) < 2 || path[0] != "context" || path[1] != "args" {
		return false
	}
	return m.under != nil && m.under.redacts(path) || slices.ContainsFunc(m.redacted, func(field []string) bool {
		for i := range min(len(field), len(path)-2) {
			if field[i] != "*" && field[i] != path[i+2] {
				return false
			}
		}
		return true
	})
}

// show writes a value in Cedar, with a word in brackets for what is masked.
func (m *mask) show(v cedar.Value, redacted bool) (text string, masked bool) {
	if redacted {
		return "(redacted)", true
	}
	switch v := v.(type) {
	case cedar.String:
		if !m.holds(string(v)) {
			return "(a string)", true
		}
	case cedar.EntityUID:
		if !m.holds(string(v.ID)) {
			return string(v.Type) + `::(a string)`, true
		}
	case cedar.Record:
		return "(a record)", true
	case cedar.IPAddr:
		return "(an address)", true
	case cedar.Set:
		return m.set(v)
	}
	return cut(string(v.MarshalCedar()), maxShownValue), false
}

// set writes the elements that may be shown in order, and counts the others.
func (m *mask) set(s cedar.Set) (text string, masked bool) {
	if s.Len() > maxSeenElements {
		return fmt.Sprintf("(a set of %d)", s.Len()), true
	}
	var shown []string
	for v := range s.All() {
		if one, hidden := m.show(v, false); !hidden {
			shown = append(shown, one)
		}
	}
	slices.Sort(shown)
	shown = shown[:min(len(shown), maxShownElements)]
	if rest := s.Len() - len(shown); rest > 0 {
		masked = true
		shown = append(shown, fmt.Sprintf("(%d more)", rest))
	}
	return "[" + strings.Join(shown, ", ") + "]", masked
}
