package detect

import "strings"

// table is what the columns of a text are called, where it is one: comma-separated
// values, or a table in Markdown.
type table struct {
	sep     byte // 0: the text is no table
	columns []kind
	// at is a place in the text, line where its line begins, column how many
	// separators stand before it there, and quoted whether it is within quotes.
	at, column int
	quoted     bool
}

// maxHeader is the longest line that can name columns, in bytes.
const maxHeader = 2048

// table reads the names of columns from the first line that can hold some: the line
// after it has as many separators.
func (r *reader) table() {
	r.columns = table{columns: r.columns.columns[:0]}
	s := r.s
	first := strings.IndexByte(s, '\n')
	for skipped := 0; first >= 0 && skipped < 64; skipped++ {
		line := s[:first]
		rest := s[first+1:]
		end := strings.IndexByte(rest[:min(len(rest), maxHeader)], '\n')
		if end < 0 {
			end = min(len(rest), maxHeader)
		}
		if i := strings.LastIndexByte(line, '\n'); i >= 0 {
			line = line[i+1:]
		}
		if sep := separator(line, rest[:end]); sep != 0 {
			for name := range strings.SplitSeq(line, string(sep)) {
				said := understand(strings.Trim(name, " \"'\r"))
				if said.kinds&persons != 0 {
					said.kinds &^= ofOther | justID
				}
				r.columns.columns = append(r.columns.columns, said.kinds)
			}
			r.columns.sep, r.columns.at = sep, first+1
			return
		}
		next := strings.IndexByte(rest, '\n')
		if next < 0 {
			return
		}
		first += 1 + next
	}
}

// separator is what stands between the cells of two lines; 0: they are no table.
func separator(header, line string) byte {
	if len(header) > maxHeader || len(header) < 5 {
		return 0
	}
	for _, sep := range []byte("|\t;,") {
		n := strings.Count(header, string(sep))
		if n >= 2 && strings.Count(line, string(sep)) >= n && !strings.Contains(header, ": ") {
			return sep
		}
	}
	return 0
}

// said is what the column of a place says of it. Places come in order, but for a sign
// that belongs to a number, and for another pass over the text.
func (t *table) said(s string, place int) (k kind, known bool) {
	if t.sep == 0 || place < t.at && t.column == 0 && !t.quoted {
		return 0, false
	}
	if place < t.at-4 {
		// Another pass over the text begins: from the line's beginning.
		t.at, t.column, t.quoted = strings.LastIndexByte(s[:place], '\n')+1, 0, false
	}
	for ; t.at < place; t.at++ {
		switch c := s[t.at]; {
		case c == '\n':
			t.column, t.quoted = 0, false
		case c == '"':
			t.quoted = !t.quoted
		case c == t.sep && !t.quoted:
			t.column++
		}
	}
	if t.column >= len(t.columns) || t.column == 0 && len(t.columns) < 2 {
		return 0, false
	}
	return t.columns[t.column], true
}
