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

// File is where a bundle keeps its table.
const File = policy.DirTests + "/golden.csv"

// The effects. What is not in a table is denied.
const (
	Allow      = "allow"   // whatever the arguments
	Depends    = "*"       // on arguments, resource, time, cost or the caller
	Ticket     = "ticket"  // with a valid ticket, whatever the arguments
	TicketOnly = "ticket*" // with a valid ticket, depending on the rest
	Deny       = "deny"    // whatever the arguments: such rows are left out
)

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

// Table is rows in the order of agent, tool and purpose, without denials.
type Table []Row

// maxCells bounds how many effects are worked out.
const maxCells = 1_000_000

// Of works out the table of a bundle, for its own agents, tools and purposes. A
// cell is about a call of an agent that acts for no human, in no session, to no
// stated destination.
func Of(b *decision.Bundle, set *policy.Set) (Table, error) {
	agents := append(set.Agents(), stranger)
	var t Table
	cells := 0
	for _, agent := range agents {
		for _, tool := range b.Tools {
			for id, purpose := range b.Purposes {
				if !slices.ContainsFunc(purpose.Tools, func(p decision.ToolPattern) bool { return p.Match(tool.ToolName) }) {
					continue
				}
				if cells++; cells > maxCells {
					return nil, fmt.Errorf("the table has more than %d cells: agents by tools by the purposes that grant them", maxCells)
				}
				if effect := effectOf(b, set, agent, tool, id); effect != Deny {
					t = append(t, Row{Key{shown(agent), tool.String(), id}, effect})
				}
			}
		}
	}
	slices.SortFunc(t, func(a, b Row) int { return compare(a.Key, b.Key) })
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

func effectOf(b *decision.Bundle, set *policy.Set, agent string, tool *decision.Tool, purpose string) string {
	req := &decision.Request{Phase: decision.List, Purpose: purpose, Tool: decision.ToolRef{ToolName: tool.ToolName, Digest: tool.Digest},
		Principal: decision.Principal{Subject: agent, Purposes: []string{purpose}}}
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

// Change is a cell that differs between two tables.
type Change struct {
	Key
	Old string `json:"old"`
	New string `json:"new"`
}

// Compare are the cells that differ, in order. What is in no table is denied.
func Compare(old, new Table) []Change {
	cells := map[Key]Change{}
	for _, row := range old {
		cells[row.Key] = Change{row.Key, row.Effect, Deny}
	}
	for _, row := range new {
		before, ok := cells[row.Key]
		if !ok {
			before.Old = Deny
		}
		cells[row.Key] = Change{row.Key, before.Old, row.Effect}
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
const head = "# Written by `writ policy table -o csv`: what the policies permit. What is not here is denied.\n"

// CSV is the table as it is kept.
func (t Table) CSV() []byte {
	var b bytes.Buffer
	b.WriteString(head)
	w := csv.NewWriter(&b)
	records := [][]string{header}
	for _, row := range t {
		records = append(records, []string{row.Agent, row.Tool, row.Purpose, row.Effect})
	}
	if err := w.WriteAll(records); err != nil {
		panic(err) // into memory
	}
	return b.Bytes()
}

// Read reads a table as CSV writes it.
func Read(file string, data []byte) (Table, error) {
	r := csv.NewReader(bytes.NewReader(data))
	r.Comment, r.FieldsPerRecord = '#', len(header)
	records, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(records) == 0 || !slices.Equal(records[0], header) {
		return nil, fmt.Errorf("%s: the first line is not %s", file, strings.Join(header, ","))
	}
	var t Table
	seen := map[Key]bool{}
	for _, record := range records[1:] {
		row := Row{Key{record[0], record[1], record[2]}, record[3]}
		if !slices.Contains([]string{Allow, Depends, Ticket, TicketOnly}, row.Effect) {
			return nil, fmt.Errorf("%s: the effect %q is not one of a table", file, row.Effect)
		}
		if seen[row.Key] {
			return nil, fmt.Errorf("%s: %s, %s and %s are there twice", file, row.Agent, row.Tool, row.Purpose)
		}
		seen[row.Key] = true
		t = append(t, row)
	}
	return t, nil
}
