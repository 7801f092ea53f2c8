package coverage

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/writpdp/writ/server/policy"
)

//go:embed report.html
var reportHTML string

var report = template.Must(template.New("report").Parse(reportHTML))

// page is what the report shows.
type page struct {
	Bundle   string
	Percent  string
	Count    Count
	Policies []row
	Files    []source
}

type row struct {
	ID, Effect, At, Anchor, Percent string
	Count                           Count
	Whole                           bool
}

type source struct {
	Name  string
	Lines []line
}

type line struct {
	Number int
	Anchor string
	Parts  []part
}

// part is a piece of a line: of a clause, with what was seen of it, or not.
type part struct{ Text, Class, Title string }

// HTML writes the report: every policy with its share, and the sources with the
// clauses marked. It is one file that needs no other.
func (c *Coverage) HTML(out io.Writer, name string, fsys fs.FS) error {
	count := c.Count()
	p := page{Bundle: name, Percent: percent(count), Count: count}
	files := map[string][]*Policy{}
	for _, one := range c.Policies {
		files[one.Position.Filename] = append(files[one.Position.Filename], one)
	}
	names := slices.Sorted(maps.Keys(files))
	for _, one := range c.Policies {
		own := one.Count()
		p.Policies = append(p.Policies, row{ID: one.ID, Effect: one.Effect, At: one.At(), Percent: percent(own), Count: own, Whole: own.Seen == own.Of,
			Anchor: anchor(slices.Index(names, one.Position.Filename), one.Position.Line)})
	}
	for i, file := range names {
		text, err := policy.ReadFile(fsys, file)
		if err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
		p.Files = append(p.Files, source{Name: file, Lines: lines(i, text, files[file])})
	}
	if err := report.Execute(out, p); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

func percent(c Count) string { return fmt.Sprintf("%.1f %%", c.Percent()) }

// anchor is the id of a line: of which file, and its number.
func anchor(file, number int) string { return fmt.Sprintf("f%d-%d", file, number) }

// mark is a span with what was seen of its clause.
type mark struct {
	span
	Seen
}

// lines cuts a file into lines, and these where a clause begins and ends.
func lines(file int, text []byte, policies []*Policy) []line {
	var marks []mark
	blank := policy.Blank(text)
	for _, p := range policies {
		for i, s := range locate(blank, p.Statement) {
			marks = append(marks, mark{s, p.Seen[i]})
		}
	}
	slices.SortStableFunc(marks, func(a, b mark) int { return cmp.Compare(a.start, b.start) })
	var all []line
	at := 0
	for i, content := range strings.SplitAfter(string(text), "\n") {
		end := at + len(content)
		l := line{Number: i + 1, Anchor: anchor(file, i+1)}
		for at < end {
			for len(marks) > 0 && marks[0].end <= at {
				marks = marks[1:]
			}
			stop, one := end, part{}
			if len(marks) > 0 && marks[0].start < end {
				if m := marks[0]; m.start > at {
					stop = m.start
				} else {
					stop = min(end, m.end)
					one = part{Class: m.class(), Title: m.title()}
				}
			}
			one.Text = strings.TrimSuffix(string(text[at:stop]), "\n")
			l.Parts = append(l.Parts, one)
			at = stop
		}
		all = append(all, l)
	}
	return all
}

func (s Seen) class() string {
	switch {
	case s.True > 0 && s.False > 0:
		return "both"
	case s.True > 0:
		return "true"
	case s.False > 0:
		return "false"
	}
	return "none"
}

func (s Seen) title() string {
	text := fmt.Sprintf("true %d times, false %d times", s.True, s.False)
	if s.Errors > 0 {
		text += fmt.Sprintf(", an error %d times", s.Errors)
	}
	return text
}
