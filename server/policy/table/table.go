// Package table writes what a bundle's policies permit as a table: agent by tool
// by purpose. Kept beside the bundle, it makes a change of policy a change that
// can be read.
package table

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"fmt"
	"slices"
	"strings"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/decision/stage"
	"github.com/writpdp/writ/server/policy"
)

// File is where a bundle keeps the table of a tenant, or of none.
func File(tenant string) string {
	if tenant == "" {
		return policy.DirTests + "/golden.csv"
	}
	return policy.TenantDirectory(policy.DirTests, tenant) + "/golden.csv"
}

// The effects. What is not in the table of no tenant is denied.
const (
	Allow      = "allow"   // whatever the arguments
	Depends    = "*"       // on arguments, resource, time, cost or the caller
	Ticket     = "ticket"  // with a valid ticket, whatever the arguments
	TicketOnly = "ticket*" // with a valid ticket, depending on the rest
	Deny       = "deny"    // whatever the arguments: only in the table of a tenant
)

// Same stands for the effect of a cell that is not in the table of a tenant.
const Same = "as for every tenant"

// Anybody stands for every agent that the bundle does not declare.
const Anybody = "(any other agent)"

// stranger is the id of an agent that no bundle declares: NUL is in no token.
const stranger = "\x00"

// Key says what a row is about.
type Key struct {
	Agent   string `json:"agent"`
	Tool    string `json:"tool"`
	Purpose string `json:"purpose"`
}

// Row is one effect.
type Row struct {
	Key
	Effect string `json:"effect"`
}

// Table is what is permitted to whatever tenant, or, of one tenant, where its
// requests are answered otherwise than that.
type Table struct {
	Tenant string
	// Rows stand in the order of agent, tool and purpose. What is denied to
	// whatever tenant has none.
	Rows []Row
}

// absent is the effect of a cell without a row.
func (t Table) absent() string {
	if t.Tenant == "" {
		return Deny
	}
	return Same
}

// effects are those that a row can have.
func (t Table) effects() []string {
	all := []string{Allow, Depends, Ticket, TicketOnly}
	if t.Tenant != "" {
		all = append(all, Deny)
	}
	return all
}

// maxCells bounds how many effects are worked out.
const maxCells = 1_000_000

// Of works out a bundle's table of a tenant, or of none, for its own agents, tools
// and purposes. A cell is about a call of an agent that acts for no human, in no
// session, to no stated destination.
func Of(b *decision.Bundle, set *policy.Set, tenant string) (Table, error) {
	agents := append(set.Agents(tenant), stranger)
	t := Table{Tenant: tenant}
	cells := 0
	for _, agent := range agents {
		for _, tool := range b.Tools {
			for id, purpose := range b.Purposes {
				if !slices.ContainsFunc(purpose.Tools, func(p decision.ToolPattern) bool { return p.Match(tool.ToolName) }) {
					continue
				}
				if cells++; cells > maxCells {
					return t, fmt.Errorf("the table has more than %d cells: agents by tools by the purposes that grant them", maxCells)
				}
				if effect := t.effect(b, set, agent, tool, id); effect != t.absent() {
					t.Rows = append(t.Rows, Row{Key{shown(agent), tool.String(), id}, effect})
				}
			}
		}
	}
	slices.SortFunc(t.Rows, func(a, b Row) int { return compare(a.Key, b.Key) })
	return t, nil
}

func shown(agent string) string {
	if agent == stranger {
		return Anybody
	}
	return agent
}

func compare(a, b Key) int {
	return cmp.Or(strings.Compare(a.Agent, b.Agent), strings.Compare(a.Tool, b.Tool), strings.Compare(a.Purpose, b.Purpose))
}

// effect is that of one cell.
func (t Table) effect(b *decision.Bundle, set *policy.Set, agent string, tool *decision.Tool, purpose string) string {
	if t.Tenant == "" {
		return effectOf(b, set, "", agent, tool, purpose)
	}
	if !set.Apart(t.Tenant, agent, tool.ToolName) {
		return Same
	}
	own := effectOf(b, set, t.Tenant, agent, tool, purpose)
	if own == effectOf(b, set, "", agent, tool, purpose) {
		return Same
	}
	return own
}

func effectOf(b *decision.Bundle, set *policy.Set, tenant, agent string, tool *decision.Tool, purpose string) string {
	req := &decision.Request{Phase: decision.List, Purpose: purpose, Tool: decision.ToolRef{ToolName: tool.ToolName, Digest: tool.Digest},
		Principal: decision.Principal{Subject: agent, Purposes: []string{purpose}}, Caller: decision.Caller{Tenant: tenant}}
	snap := &decision.Snapshot{Bundle: b}
	for _, f := range []decision.Finding{stage.Purpose(req, snap, nil), stage.Tool(req, snap, nil)} {
		if f.Verdict == decision.Deny {
			return Deny
		}
	}
	query := snap.Query(req, &decision.Decision{})
	without, with := set.Outlook(query, false), set.Outlook(query, true)
	switch {
	case without == policy.Allowed && with == policy.Allowed:
		return Allow
	case without == policy.Denied && with == policy.Denied:
		return Deny
	case without == policy.Denied && with == policy.Allowed:
		return Ticket
	case without == policy.Denied:
		return TicketOnly
	}
	return Depends
}

// Change is a cell that differs between two tables of the same tenant, or of none.
type Change struct {
	Tenant string `json:"tenant,omitempty"`
	Key
	Old string `json:"old"`
	New string `json:"new"`
}

// Compare are the cells that differ, in order.
func Compare(old, new Table) []Change {
	cells := map[Key]Change{}
	for _, row := range old.Rows {
		cells[row.Key] = Change{old.Tenant, row.Key, row.Effect, new.absent()}
	}
	for _, row := range new.Rows {
		before, ok := cells[row.Key]
		if !ok {
			before.Old = old.absent()
		}
		cells[row.Key] = Change{new.Tenant, row.Key, before.Old, row.Effect}
	}
	var all []Change
	for _, c := range cells {
		if c.Old != c.New {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b Change) int { return compare(a.Key, b.Key) })
	return all
}

var header = []string{"agent", "tool", "purpose", "effect"}

// head is what a file of a table begins with.
func (t Table) head() string {
	if t.Tenant == "" {
		return "# Written by `writ policy table -o csv`: what the policies permit. What is not here is denied.\n"
	}
	return "# Written by `writ policy table --tenant " + t.Tenant + " -o csv`: what the policies permit the tenant. What is not here is as for every tenant.\n"
}

// CSV is the table as it is kept.
func (t Table) CSV() []byte {
	var b bytes.Buffer
	b.WriteString(t.head())
	w := csv.NewWriter(&b)
	records := [][]string{header}
	for _, row := range t.Rows {
		records = append(records, []string{row.Agent, row.Tool, row.Purpose, row.Effect})
	}
	if err := w.WriteAll(records); err != nil {
		panic(err) // into memory
	}
	return b.Bytes()
}

// Read reads the table of a tenant, or of none, as CSV writes it.
func Read(file, tenant string, data []byte) (Table, error) {
	t := Table{Tenant: tenant}
	r := csv.NewReader(bytes.NewReader(data))
	r.Comment, r.FieldsPerRecord = '#', len(header)
	records, err := r.ReadAll()
	if err != nil {
		return t, fmt.Errorf("%s: %w", file, err)
	}
	if len(records) == 0 || !slices.Equal(records[0], header) {
		return t, fmt.Errorf("%s: the first line is not %s", file, strings.Join(header, ","))
	}
	seen := map[Key]bool{}
	for _, record := range records[1:] {
		row := Row{Key{record[0], record[1], record[2]}, record[3]}
		if !slices.Contains(t.effects(), row.Effect) {
			return t, fmt.Errorf("%s: the effect %q is not one of a table", file, row.Effect)
		}
		if seen[row.Key] {
			return t, fmt.Errorf("%s: %s, %s and %s are there twice", file, row.Agent, row.Tool, row.Purpose)
		}
		seen[row.Key] = true
		t.Rows = append(t.Rows, row)
	}
	return t, nil
}
