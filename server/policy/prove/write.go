package prove

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
)

// Text is the proof for a terminal.
func (p *Proof) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "proof: %s  %s\n", p.summary(), p.counts())
	for _, e := range p.Environments {
		for _, part := range e.parts() {
			fmt.Fprintf(&b, "%s\n", part.head)
			for _, line := range part.lines {
				fmt.Fprintf(&b, "  %s\n", line)
			}
		}
	}
	return b.String()
}

// Markdown is the proof for a page; Escape makes a text a table's cell.
func (p *Proof) Markdown(escape func(string) string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "### Proof\n\n**%s** (%s)\n", p.summary(), p.counts())
	head := false
	for _, e := range p.Environments {
		for _, part := range e.parts() {
			if !head {
				fmt.Fprint(&b, "\n| what | for example |\n|---|---|\n")
				head = true
			}
			fmt.Fprintf(&b, "| %s | %s |\n", escape(part.head), escape(strings.Join(part.lines, "; ")))
		}
	}
	return b.String()
}

// summary is the verdict with what a person must know of it.
func (p *Proof) summary() string {
	said := string(p.Verdict)
	switch {
	case p.Verdict == UnknownVerdict && p.Wider == Yes:
		said = "wider; not known whether also narrower"
	case p.Verdict == UnknownVerdict && p.Narrower == Yes:
		said = "narrower; not known whether also wider"
	}
	switch p.Obligations {
	case Yes:
		said += ", obligations differ"
	case Unknown:
		said += ", not known whether obligations differ"
	}
	return said
}

// counts are how many kinds of requests came out how.
func (p *Proof) counts() string {
	counts := map[Verdict]int{}
	for _, e := range p.Environments {
		counts[e.Verdict]++
	}
	var parts []string
	for _, v := range []Verdict{Wider, Narrower, Both, UnknownVerdict, Equivalent} {
		if counts[v] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[v], v))
		}
	}
	return fmt.Sprintf("of %d kinds of requests %s", len(p.Environments), strings.Join(parts, ", "))
}

type part struct {
	head  string
	lines []string
}

// parts are what is to be said of an environment; none where nothing differs.
func (e *Environment) parts() []part {
	kind := fmt.Sprintf("%s on a %s", e.Action, e.Resource)
	if e.Principal != string(typeAgent) {
		kind += " by a " + e.Principal
	}
	if e.Wider.Claim == Unknown && e.Narrower.Claim == Unknown && e.Wider.Reason == e.Narrower.Reason {
		return []part{{kind + ": unknown", []string{e.Wider.Reason}}}
	}
	var all []part
	add := func(head string, f Finding) {
		switch f.Claim {
		case Yes:
			all = append(all, part{kind + ": " + head, f.Example.lines()})
		case Unknown:
			lines := []string{f.Reason}
			if f.Example != nil {
				lines = append(lines, f.Example.lines()...)
			}
			all = append(all, part{kind + ": not known whether " + head, lines})
		}
	}
	add("wider", e.Wider)
	add("narrower", e.Narrower)
	for _, d := range e.Duties {
		add("NEW also asks for "+d.Duty, d.More)
		add("NEW no longer asks for "+d.Duty, d.Less)
	}
	return all
}

// lines are an example as far as policies look at it.
func (x *Example) lines() []string {
	lines := []string{"principal " + x.Principal, "resource " + x.Resource}
	if len(x.Attributes) > 0 {
		lines = append(lines, "with "+string(x.Attributes))
	}
	lines = append(lines, leaves("context", x.shown)...)
	return append(lines, "OLD: "+x.Old.String(), "NEW: "+x.New.String())
}

// leaves are the values in a record, one each.
func leaves(at string, record cedar.Record) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(record.Map())) {
		v, _ := record.Get(name)
		if inner, ok := v.(cedar.Record); ok && inner.Len() > 0 {
			all = append(all, leaves(at+"."+string(name), inner)...)
			continue
		}
		all = append(all, fmt.Sprintf("%s.%s = %s", at, name, shown(v)))
	}
	return all
}

// shown is a value in Cedar.
func shown(v types.Value) string { return string(v.MarshalCedar()) }

// String is a ruling for a person.
func (r Ruling) String() string {
	switch {
	case r.Refused != "":
		return "refused: " + r.Refused
	case len(r.Errors) > 0:
		return "denied, cannot be evaluated: " + strings.Join(r.Errors, ", ")
	case len(r.Forbids) > 0:
		return "denied by " + strings.Join(r.Forbids, ", ")
	case !r.Allowed:
		return "denied, nothing permits"
	}
	return "allowed by " + strings.Join(r.Permits, ", ")
}
