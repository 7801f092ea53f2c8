package diff

import (
	"fmt"
	"slices"
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
	for _, p := range d.Access {
		fmt.Fprintf(&b, "access %s: %s  %s\n", p.ID, p.Change, p.Position)
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
		fmt.Fprintf(&b, "%s%s  %s  for %s: %s → %s\n", ofTenant(c.Tenant), c.Agent, c.Tool, c.Purpose, c.Old, c.New)
	}
	if d.Same() {
		fmt.Fprintln(&b, "The bundles are the same.")
	}
	if d.Proof != nil {
		b.WriteString(d.Proof.Text())
	}
	return b.String()
}

// ofTenant begins a line about one tenant.
func ofTenant(tenant string) string {
	if tenant == "" {
		return ""
	}
	return "tenant " + tenant + ": "
}

// whose says whose requests a policy is asked for.
func whose(tenant string) string {
	if tenant == "" {
		return "for every tenant"
	}
	return "for the tenant " + tenant
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
	if p.Moved != nil {
		fmt.Fprintf(&b, "  - // %s\n  + // %s\n", whose(p.Moved.Old), whose(p.Moved.New))
	}
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

// section writes policies under a title, if there are any.
func section(b *strings.Builder, title string, policies []Policy) {
	if len(policies) > 0 {
		fmt.Fprintf(b, "### %s\n\n", title)
	}
	for _, p := range policies {
		body, fence := changed(p), "```"
		for strings.Contains(body, fence) { // a policy may hold one itself
			fence += "`"
		}
		fmt.Fprintf(b, "**%s** %s (%s)\n\n%sdiff\n%s%s\n\n", table.Cell(p.ID), p.Change, table.Cell(p.Position), fence, body, fence)
	}
}

// Markdown is the difference for a page, such as a pull request's.
func (d *Diff) Markdown() string {
	var b strings.Builder
	if d.Same() {
		b.WriteString("The bundles are the same.\n")
	}
	section(&b, "Policies", d.Policies)
	section(&b, "Who may call", d.Access)
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
	tenants := slices.ContainsFunc(d.Table, func(c table.Change) bool { return c.Tenant != "" })
	if len(d.Table) > 0 {
		head, rule := "| agent | tool | purpose | old | new |", "|---|---|---|---|---|"
		if tenants {
			head, rule = "| tenant "+head, "|---"+rule
		}
		fmt.Fprintf(&b, "### What is permitted\n\n%s\n%s\n", head, rule)
	}
	for _, c := range d.Table {
		cells := []string{c.Agent, c.Tool, c.Purpose, c.Old, c.New}
		if tenants {
			cells = append([]string{c.Tenant}, cells...)
		}
		row(cells...)
	}
	if d.Proof != nil {
		b.WriteString("\n" + d.Proof.Markdown(table.Cell))
	}
	return b.String()
}
