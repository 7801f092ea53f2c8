package corpus

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Detectors are the types that are measured, in the order in which they are told,
// with what is structured: what has a checksum or a fixed shape. The others are
// known by what stands around them.
var Detectors = []struct {
	ID         string
	Structured bool
}{
	{"email", true}, {"phone", true}, {"payment-card", true}, {"iban", true}, {"eu-vat", true},
	{"us-ssn", true}, {"us-itin", true}, {"uk-nino", true}, {"uk-nhs", true}, {"es-dni", true}, {"es-nie", true},
	{"it-codice-fiscale", true}, {"fr-nir", true}, {"de-steuer-id", true}, {"pl-pesel", true}, {"nl-bsn", true},
	{"be-national-number", true}, {"pt-nif", true}, {"se-personnummer", true}, {"fi-hetu", true}, {"dk-cpr", true},
	{"no-fodselsnummer", true}, {"ip-address", true}, {"mac-address", true}, {"private-key", true}, {"jwt", true},
	{"database-url", true}, {"webhook-url", true}, {"cloud-key", true}, {"oauth-token", true}, {"api-key", true},
	{"passport", false}, {"driving-licence", false}, {"date-of-birth", false}, {"geo-coordinates", false},
	{"person-name", false}, {"high-entropy", false}, {"named-secret", false},
}

// alike are detectors between which a finding may choose: which of them a token
// belongs to is a matter of names.
var alike = map[string]string{"cloud-key": "credential", "oauth-token": "credential", "api-key": "credential", "high-entropy": "credential",
	"named-secret": "credential"}

// whole are secrets whose parts look like something else: what is found within one
// is not counted, for it goes with the whole.
var whole = []string{"private-key", "jwt", "database-url", "webhook-url"}

// Same reports whether a finding of one detector answers a label of the other.
func Same(found, label string) bool {
	return found == label || alike[found] != "" && alike[found] == alike[label]
}

// touches reports whether two spans at one pointer share a byte; a span of 0 and 0 is
// the whole value.
func (l Label) touches(m Label) bool {
	return l.Pointer == m.Pointer && (l.End == 0 || m.End == 0 || l.Start < m.End && m.Start < l.End)
}

// within reports whether it lies inside another.
func (l Label) within(m Label) bool {
	return l.Pointer == m.Pointer && (m.End == 0 || l.End > 0 && l.Start >= m.Start && l.End <= m.End)
}

// Row is what became of one type.
type Row struct {
	// Labelled is how often it is there, and Hit how often of these it was found.
	Labelled, Hit int
	// Right and False are findings of it on what is there and on what is not.
	Right, False int
}

func (r Row) plus(s Row) Row {
	return Row{r.Labelled + s.Labelled, r.Hit + s.Hit, r.Right + s.Right, r.False + s.False}
}

// Precision is the share of findings that are right; 1 where nothing was found.
func (r Row) Precision() float64 { return share(r.Right, r.Right+r.False) }

// Recall is the share of what is there that was found; 1 where nothing is there.
func (r Row) Recall() float64 { return share(r.Hit, r.Labelled) }

func share(part, of int) float64 {
	if of == 0 {
		return 1
	}
	return float64(part) / float64(of)
}

// Score is what a scanner made of documents.
type Score struct {
	Rows map[string]Row
	// Misses and Falses count mistakes by category.
	Misses, Falses map[string]int
	Documents      int
}

// New is the score of no document.
func New() *Score {
	return &Score{Rows: map[string]Row{}, Misses: map[string]int{}, Falses: map[string]int{}}
}

// Add counts what a scanner found in a document. A label is hit by a finding that
// shares a byte with it and is of its type; such a finding is right, however many hit
// the same label. A finding that hits no label is false, but for one that lies within
// a secret of another type that is labelled as a whole.
func (s *Score) Add(d *Document, found []Label) {
	s.Documents++
	add := func(detector string, r Row) { s.Rows[detector] = s.Rows[detector].plus(r) }
	for _, l := range d.Labels {
		hit := slices.ContainsFunc(found, func(f Label) bool { return Same(f.Detector, l.Detector) && f.touches(l) })
		if hit {
			add(l.Detector, Row{Labelled: 1, Hit: 1})
			continue
		}
		add(l.Detector, Row{Labelled: 1})
		s.Misses[fmt.Sprintf("%s in %s %s", l.Detector, d.Kind, d.Locale)]++
	}
	for _, f := range found {
		right, part, on := false, false, ""
		for _, l := range d.Labels {
			switch {
			case Same(f.Detector, l.Detector) && f.touches(l):
				right = true
			case slices.Contains(whole, l.Detector) && f.within(l):
				part = true
			case f.touches(l):
				on = l.Detector
			}
		}
		for _, decoy := range d.Decoys {
			if f.touches(decoy) {
				on = decoy.Detector
			}
		}
		switch {
		case right:
			add(f.Detector, Row{Right: 1})
		case !part:
			add(f.Detector, Row{False: 1})
			if on == "" {
				on = "something else in " + d.Kind
			}
			s.Falses[fmt.Sprintf("%s for %s", f.Detector, on)]++
		}
	}
}

// Structured is the sum over the structured types.
func (s *Score) Structured() Row { return s.sum(func(string) bool { return true }) }

func (s *Score) sum(of func(id string) bool) (sum Row) {
	for _, d := range Detectors {
		if d.Structured && of(d.ID) {
			sum = sum.plus(s.Rows[d.ID])
		}
	}
	return sum
}

// sought reports whether every scanner has found something of a type.
func sought(id string, scores []*Score) bool {
	return !slices.ContainsFunc(scores, func(s *Score) bool { return s.Rows[id].Right+s.Rows[id].False == 0 })
}

// Table are scores side by side, by type, with the sum over structured types: rows of
// cells, the first of which is the head.
func Table(names []string, scores []*Score) [][]string {
	head := []string{"type", "labelled"}
	for _, name := range names {
		head = append(head, name+" precision", "recall")
	}
	rows := [][]string{head}
	line := func(name string, row func(*Score) Row) {
		cells := []string{name, strconv.Itoa(row(scores[0]).Labelled)}
		for _, s := range scores {
			cells = append(cells, figures(row(s))...)
		}
		rows = append(rows, cells)
	}
	for _, d := range Detectors {
		name := d.ID
		if !d.Structured {
			name += " *"
		}
		line(name, func(s *Score) Row { return s.Rows[d.ID] })
	}
	line("structured, together", (*Score).Structured)
	if len(scores) > 1 {
		line("that all look for", func(s *Score) Row { return s.sum(func(id string) bool { return sought(id, scores) }) })
	}
	return rows
}

// Plain writes a table for a terminal.
func Plain(w io.Writer, rows [][]string) error {
	out := tabwriter.NewWriter(w, 2, 0, 2, ' ', tabwriter.AlignRight)
	for _, row := range rows {
		fmt.Fprintln(out, strings.Join(row, "\t")+"\t")
	}
	return out.Flush()
}

// Markdown writes a table for a page.
func Markdown(w io.Writer, rows [][]string) {
	for i, row := range rows {
		fmt.Fprintf(w, "| %s |\n", strings.ReplaceAll(strings.Join(row, " | "), "*", `\*`))
		if i == 0 {
			fmt.Fprintln(w, strings.Repeat("|---", len(row))+"|")
		}
	}
}

// figures are precision and recall as they are told.
func figures(r Row) []string {
	told := []string{"-", "-"}
	if r.Right+r.False > 0 {
		told[0] = fmt.Sprintf("%.3f", r.Precision())
	}
	if r.Labelled > 0 {
		told[1] = fmt.Sprintf("%.3f", r.Recall())
	}
	return told
}

// Mistakes writes the categories of mistakes, the most frequent first.
func (s *Score) Mistakes(w io.Writer) {
	list := func(title string, counts map[string]int) {
		names := slices.Sorted(maps.Keys(counts))
		slices.SortStableFunc(names, func(a, b string) int { return counts[b] - counts[a] })
		fmt.Fprintf(w, "\n%s\n%s\n", title, strings.Repeat("-", len(title)))
		for _, name := range names {
			fmt.Fprintf(w, "%5d %s\n", counts[name], name)
		}
	}
	list("missed", s.Misses)
	list("false", s.Falses)
}
