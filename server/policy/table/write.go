package table

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
)

// legend says what the effects mean.
func (t Table) legend() string {
	rest := "What is not here is denied.\n"
	if t.Tenant != "" {
		rest = "deny: whatever comes.\nThis is the tenant " + t.Tenant + ".  What is not here is as for every tenant.\n"
	}
	return "allow: whatever the arguments.  *: depends on arguments, resource, time, cost or the caller.\n" +
		"ticket: with a valid ticket.  ticket*: with a valid ticket, depending on the rest.  " + rest
}

// grid is the table of one agent: tools by purposes.
type grid struct {
	agent    string
	purposes []string
	rows     [][]string // the tool, then an effect for each purpose
}

func (t Table) grids() []grid {
	var all []grid
	for rest := t.Rows; len(rest) > 0; {
		n := slices.IndexFunc(rest, func(r Row) bool { return r.Agent != rest[0].Agent })
		if n < 0 {
			n = len(rest)
		}
		g := grid{agent: rest[0].Agent}
		for _, row := range rest[:n] {
			if !slices.Contains(g.purposes, row.Purpose) {
				g.purposes = append(g.purposes, row.Purpose)
			}
		}
		slices.Sort(g.purposes)
		for _, row := range rest[:n] {
			if len(g.rows) == 0 || g.rows[len(g.rows)-1][0] != row.Tool {
				g.rows = append(g.rows, append([]string{row.Tool}, slices.Repeat([]string{"-"}, len(g.purposes))...))
			}
			g.rows[len(g.rows)-1][1+slices.Index(g.purposes, row.Purpose)] = row.Effect
		}
		all, rest = append(all, g), rest[n:]
	}
	return all
}

// Text is the table for a terminal, one grid for each agent.
func (t Table) Text() string {
	var b strings.Builder
	for _, g := range t.grids() {
		fmt.Fprintln(&b, g.agent)
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "  \t%s\n", strings.Join(g.purposes, "\t"))
		for _, row := range g.rows {
			fmt.Fprintf(w, "  %s\n", strings.Join(row, "\t"))
		}
		w.Flush()
		fmt.Fprintln(&b)
	}
	return b.String() + t.legend()
}

// Markdown is the table for a page, one grid for each agent.
func (t Table) Markdown() string {
	var b strings.Builder
	for _, g := range t.grids() {
		fmt.Fprintf(&b, "### %s\n\n| tool | %s |\n|---|%s\n", Cell(g.agent), strings.Join(g.purposes, " | "), strings.Repeat("---|", len(g.purposes)))
		for _, row := range g.rows {
			cells := make([]string, len(row))
			for i, text := range row {
				cells[i] = Cell(text)
			}
			fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
		}
		fmt.Fprintln(&b)
	}
	return b.String() + Cell(strings.ReplaceAll(strings.TrimSpace(t.legend()), "\n", " ")) + "\n"
}

// Cell is a text in a cell of a Markdown table: names are whatever a server
// lists.
func Cell(text string) string {
	return strings.NewReplacer("|", `\|`, "*", `\*`, "_", `\_`, "<", "&lt;", "`", "\\`", "[", `\[`, "\n", " ", "\r", " ").Replace(text)
}
