// Package diff says what a change of a bundle changes: by policy, by data, and by
// what the policies permit.
package diff

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/prove"
	"github.com/writpdp/writ/server/policy/table"
)

// Diff is what differs between two bundles.
type Diff struct {
	// Policies are those that were added, removed or changed, by id.
	Policies []Policy `json:"policies"`
	// Access are those that say who may call, likewise.
	Access []Policy `json:"access"`
	// Data are the bundle's name, purposes, vendors, budgets, tools, entities, breakers,
	// labels and chain values, in that order.
	Data []Datum `json:"data"`
	// Schema says that the bundle's own declarations differ.
	Schema bool `json:"schema"`
	// Table are the effects that differ.
	Table []table.Change `json:"table"`
	// Proof is what a prover says of all requests; nil: none was asked.
	Proof *prove.Proof `json:"proof,omitempty"`
}

// The sorts of change.
const (
	Added   = "added"
	Removed = "removed"
	Changed = "changed"
)

// Policy is a policy that differs.
type Policy struct {
	ID     string `json:"id"`
	Change string `json:"change"`
	// Tenant is whose requests it is asked for, in the new bundle, or the old if
	// removed; empty: everybody's.
	Tenant string `json:"tenant,omitempty"`
	// Moved says whose they were; nil: the same.
	Moved *Field `json:"moved,omitempty"`
	// Old and New are the policy in Cedar's own layout; empty where there is
	// none and where only annotations differ, so formatting is no difference.
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
	// Annotations are those that differ.
	Annotations []Field `json:"annotations,omitempty"`
	// Position is where it stands: in the new bundle, or the old if removed.
	Position string `json:"position"`
}

// Datum is one thing of the bundle's data that differs.
type Datum struct {
	Kind   string  `json:"kind"`
	ID     string  `json:"id"`
	Change string  `json:"change"`
	Fields []Field `json:"fields,omitempty"`
}

// Field is a field that differs; empty where there is none.
type Field struct {
	Name string `json:"name"`
	Old  string `json:"old"`
	New  string `json:"new"`
}

// Bundle is a bundle with what a comparison needs besides.
type Bundle struct {
	*decision.Bundle
	Set *policy.Set
	// Schema is the text of its own declarations in Cedar's layout.
	Schema string
}

// statements are the bundle's policies, those in shadow mode too.
func (b Bundle) statements() []policy.Statement {
	if b.Shadow != nil {
		if all, ok := b.Shadow.Policies.(*policy.Set); ok {
			return all.Statements()
		}
	}
	return b.Set.Statements()
}

// Same reports whether nothing differs.
func (d *Diff) Same() bool {
	return len(d.Policies)+len(d.Access)+len(d.Data)+len(d.Table) == 0 && !d.Schema
}

// Of compares two bundles.
func Of(old, new Bundle) (*Diff, error) {
	d := &Diff{Policies: policies(old.statements(), new.statements()), Schema: old.Schema != new.Schema,
		Access: policies(policy.AccessStatements(old.Bundle), policy.AccessStatements(new.Bundle))}
	before, after := data(old), data(new)
	for i, kind := range kinds {
		d.Data = append(d.Data, compare(kind, before[i], after[i])...)
	}
	var err error
	d.Table, err = table.Changes(table.Side{Bundle: old.Bundle, Set: old.Set}, table.Side{Bundle: new.Bundle, Set: new.Set})
	return d, err
}

func policies(old, new []policy.Statement) []Policy {
	before, after := map[string]policy.Statement{}, map[string]policy.Statement{}
	ids := map[string]bool{}
	for _, st := range old {
		before[st.ID], ids[st.ID] = st, true
	}
	for _, st := range new {
		after[st.ID], ids[st.ID] = st, true
	}
	var all []Policy
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		was, hadIt := before[id]
		is, hasIt := after[id]
		p := Policy{ID: id, Change: Changed, Tenant: is.Tenant, Position: is.At(), Annotations: fields(was.Annotations, is.Annotations)}
		if was.Text != is.Text {
			p.Old, p.New = was.Text, is.Text
		}
		switch {
		case !hadIt:
			p.Change = Added
		case !hasIt:
			p.Change, p.Tenant, p.Position = Removed, was.Tenant, was.At()
		case was.Tenant != is.Tenant:
			p.Moved = &Field{"tenant", was.Tenant, is.Tenant}
		case p.Old == p.New && len(p.Annotations) == 0:
			continue
		}
		all = append(all, p)
	}
	return all
}

// fields are those that differ, in order of their names.
func fields(old, new map[string]string) []Field {
	names := maps.Clone(old)
	if names == nil {
		names = map[string]string{}
	}
	maps.Copy(names, new)
	var all []Field
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if old[name] != new[name] {
			all = append(all, Field{name, old[name], new[name]})
		}
	}
	return all
}

// items are things of one kind, each with its fields as texts.
type items map[string]map[string]string

func compare(kind string, old, new items) []Datum {
	ids := map[string]bool{}
	for id := range old {
		ids[id] = true
	}
	for id := range new {
		ids[id] = true
	}
	var all []Datum
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		was, hadIt := old[id]
		is, hasIt := new[id]
		d := Datum{Kind: kind, ID: id, Change: Changed, Fields: fields(was, is)}
		switch {
		case !hadIt:
			d.Change = Added
		case !hasIt:
			d.Change = Removed
		case len(d.Fields) == 0:
			continue
		}
		all = append(all, d)
	}
	return all
}

var kinds = []string{"bundle", "purpose", "vendor", "budget", "tool", "entity", "breaker", "label", "chain"}

// data are the bundle's things by kind, in the order of kinds.
func data(b Bundle) []items {
	all := make([]items, len(kinds))
	for i := range all {
		all[i] = items{}
	}
	all[0]["writ.yaml"] = map[string]string{"name": b.Name, "plan depth": positive(b.Depth), "sessions required": truth(b.SessionRequired)}
	for id, p := range b.Purposes {
		all[1][id] = map[string]string{"tools": patterns(p.Tools), "vendors": strings.Join(p.Vendors, " "), "regions": strings.Join(p.Regions, " ")}
	}
	for id, v := range b.Vendors {
		var endpoints []string
		for _, e := range v.Endpoints {
			endpoints = append(endpoints, e.Region+":"+e.Host)
		}
		all[2][id] = map[string]string{"endpoints": strings.Join(endpoints, " ")}
	}
	for _, rule := range b.Budgets {
		all[3][rule.ID] = budget(rule)
	}
	for _, rule := range b.Breakers {
		all[6][rule.ID] = map[string]string{"failures": fmt.Sprint(rule.Failures), "open": rule.Open.String(), "longest": rule.Longest.String(),
			"backoff": seconds(rule.Backoff), "per": per(rule.Per), "purposes": strings.Join(rule.Purposes, " "), "tools": patterns(rule.Tools),
			"agents": strings.Join(rule.Agents, " ")}
	}
	for name, n := range b.Labels {
		all[7][name] = map[string]string{"number, which sessions hold": fmt.Sprint(n)}
	}
	for i := range b.Chains {
		all[8][b.Chains[i].ID] = chain(b, &b.Chains[i])
	}
	for name, t := range b.Tools {
		all[4][name.String()] = map[string]string{"definition": t.Digest, "classes": strings.Join(t.Classes, " "), "labels": strings.Join(t.Labels, " "),
			"resources": strings.Join(b.Set.Resources(name), " ")}
	}
	for uid, e := range b.Set.Entities() {
		var parents []string
		for parent := range e.Parents.All() {
			parents = append(parents, parent.String())
		}
		slices.Sort(parents)
		all[5][uid.String()] = map[string]string{"parents": strings.Join(parents, " "), "attributes": string(e.Attributes.MarshalCedar()), "tags": string(e.Tags.MarshalCedar())}
	}
	return all
}

func chain(b Bundle, r *decision.ChainRule) map[string]string {
	m := map[string]string{"kind": r.Kind.String(), "of": event(b, &r.Of), "argument": r.Field, "within": seconds(time.Duration(r.Length) * time.Second)}
	if r.Since != nil {
		m["since"] = event(b, r.Since)
	}
	return m
}

func event(b Bundle, e *decision.EventRule) string {
	var parts []string
	for _, p := range e.Phases {
		parts = append(parts, p.String())
	}
	parts = append(parts, patterns(e.Tools), strings.Join(e.Classes, " "), strings.Join(b.LabelNames(e.Labels), " "))
	if e.Except != nil {
		parts = append(parts, "except "+event(b, e.Except))
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "; ")
}

func truth(is bool) string {
	if is {
		return "true"
	}
	return ""
}

func budget(r decision.BudgetRule) map[string]string {
	zone := "UTC"
	if r.Zone != nil {
		zone = r.Zone.String()
	}
	return map[string]string{"unit": r.Unit.String(), "currency": r.Currency, "cap": fmt.Sprint(r.Cap), "window": r.Window.String(), "zone": zone,
		"length": seconds(time.Duration(r.Length) * time.Second), "burst": positive(r.Burst), "unsettled": seconds(r.Unsettled),
		"per": per(r.Per), "purposes": strings.Join(r.Purposes, " "), "tools": patterns(r.Tools), "agents": strings.Join(r.Agents, " ")}
}

// seconds and positive are empty for what is not set.
func seconds(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

func positive(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func per(all []decision.Dimension) string {
	var names []string
	for _, d := range all {
		names = append(names, d.String())
	}
	return strings.Join(names, " ")
}

func patterns(all []decision.ToolPattern) string {
	var texts []string
	for _, p := range all {
		texts = append(texts, p.Server+"/"+p.Name)
	}
	return strings.Join(texts, " ")
}

// JSON is the difference for programs.
func (d *Diff) JSON() ([]byte, error) {
	out := *d // in which an empty list is a list
	out.Policies, out.Data = append([]Policy{}, d.Policies...), append([]Datum{}, d.Data...)
	out.Access = append([]Policy{}, d.Access...)
	out.Table = append([]table.Change{}, d.Table...)
	return json.MarshalIndent(out, "", "  ")
}
