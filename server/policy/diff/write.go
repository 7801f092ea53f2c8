package diff

import (
	"fmt"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/writpdp/writ/server/policy/table"
)

// Text is the difference for a terminal.
func (d *Diff) Text() string {
	var b strings.Builder
	for _, p := range d.Policies {
		fmt.Fprintf(&b, "policy %s: %s  %s\n", p.ID, p.Change, p.Position)
		b.WriteString(changed(p))
	}
	for _, one := range d.Data {
		fmt.Fprintf(&b, "%s %s: %s\n", one.Kind, one.ID, one.Change)
		for _, f := range one.Fields {
			fmt.Fprintf(&b, "  %s: %s\n", f.Name, f.arrow())
		}
	}
	if d.Schema {
		fmt.Fprintln(&b, "schema.cedarschema: changed")
	}
	for _, c := range d.Table {
		fmt.Fprintf(&b, "%s  %s  for %s: %s → %s\n", c.Agent, c.Tool, c.Purpose, c.Old, c.New)
	}
	if d.Same() {
		fmt.Fprintln(&b, "The bundles are the same.")
	}
	if d.Proof != nil {
		b.WriteString(d.Proof.Text())
	}
	return b.String()
}

func (f Field) arrow() string {
	switch {
	case f.Old == "":
		return "+ " + f.New
	case f.New == "":
		return "- " + f.Old
	}
	return f.Old + " → " + f.New
}

// changed is what differs of a policy, in lines with + and -.
func changed(p Policy) string {
	var b strings.Builder
	for _, f := range p.Annotations {
		if f.Old != "" {
			fmt.Fprintf(&b, "  - @%s(%q)\n", f.Name, f.Old)
		}
		if f.New != "" {
			fmt.Fprintf(&b, "  + @%s(%q)\n", f.Name, f.New)
		}
	}
	for _, l := range lines(p.Old, p.New) {
		fmt.Fprintf(&b, "  %s\n", l)
	}
	return b.String()
}

// lines are the lines of two texts, each with what became of it.
func lines(old, new string) []string {
	if old == new {
		return nil
	}
	var all []string
	unified := strings.Split(strings.TrimSuffix(string(diff.Diff("old", text(old), "new", text(new))), "\n"), "\n")
	for i, line := range unified[3:] { // after the names
		switch {
		case !strings.HasPrefix(line, "@@ "):
			all = append(all, line[:1]+" "+line[1:])
		case i > 0:
			all = append(all, "  …")
		}
	}
	return all
}

func text(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s + "\n")
}

// Markdown is the difference for a page, such as a pull request's.
func (d *Diff) Markdown() string {
	var b strings.Builder
	if d.Same() {
		b.WriteString("The bundles are the same.\n")
	}
	if len(d.Policies) > 0 {
		fmt.Fprintf(&b, "### Policies\n\n")
	}
	for _, p := range d.Policies {
		body, fence := changed(p), "```"
		for strings.Contains(body, fence) { // a policy may hold one itself
			fence += "`"
		}
		fmt.Fprintf(&b, "**%s** %s (%s)\n\n%sdiff\n%s%s\n\n", table.Cell(p.ID), p.Change, table.Cell(p.Position), fence, body, fence)
	}
	if len(d.Data) > 0 || d.Schema {
		fmt.Fprintf(&b, "### Data\n\n| what | change | field | old | new |\n|---|---|---|---|---|\n")
	}
	row := func(cells ...string) {
		for i := range cells {
			cells[i] = table.Cell(cells[i])
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
	}
	for _, one := range d.Data {
		if len(one.Fields) == 0 {
			row(one.Kind+" "+one.ID, one.Change, "", "", "")
		}
		for _, f := range one.Fields {
			row(one.Kind+" "+one.ID, one.Change, f.Name, f.Old, f.New)
		}
	}
	if d.Schema {
		row("schema.cedarschema", Changed, "", "", "")
	}
	if len(d.Data) > 0 || d.Schema {
		b.WriteString("\n")
	}
	if len(d.Table) > 0 {
		fmt.Fprintf(&b, "### What is permitted\n\n| agent | tool | purpose | old | new |\n|---|---|---|---|---|\n")
	}
	for _, c := range d.Table {
		row(c.Agent, c.Tool, c.Purpose, c.Old, c.New)
	}
	if d.Proof != nil {
		b.WriteString("\n" + d.Proof.Markdown(table.Cell))
	}
	return b.String()
}
