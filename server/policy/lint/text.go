package lint

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"unicode"
	"unicode/utf8"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/writpdp/writ/server/policy"
)

// unseen are characters that are not seen, or that change the order in which
// others are: what a reviewer reads is not what a machine or a model does.
var unseen = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x00AD, 0x00AD, 1}, {0x061C, 0x061C, 1}, {0x115F, 0x1160, 1}, {0x180E, 0x180E, 1}, {0x200B, 0x200B, 1}, {0x200E, 0x200F, 1},
		{0x2028, 0x202E, 1}, {0x2060, 0x206F, 1}, {0x3164, 0x3164, 1}, {0xFEFF, 0xFEFF, 1}, {0xFFA0, 0xFFA0, 1}, {0xFFF9, 0xFFFB, 1},
	},
	R32: []unicode.Range32{{0xE0000, 0xE01EF, 1}},
}

// escape is an escaped character in Cedar.
var escape = regexp.MustCompile(`\\u\{([0-9A-Fa-f]{1,6})\}`)

// maxHidden is how many characters are named of one file.
const maxHidden = 16

func hiddenText(l *linter) {
	for _, name := range slices.Sorted(maps.Keys(l.src.Texts)) {
		if path.Dir(name) == "tools" {
			continue // by tool, as a JSON parser reads it
		}
		text, count := l.src.Texts[name], 0
		found := func(offset int, r rune) {
			if count++; count > maxHidden {
				return
			}
			f := at(name, text, offset)
			about := "file " + name
			if st, ok := l.statementAt(f); ok {
				f.Policy, about = st.ID, "policy "+st.ID
			}
			f.Severity, f.Text, f.Fix = Warning, fmt.Sprintf("The character U+%04X is not seen as it is.", r), "Take it away, or say in ASCII what it is for."
			l.report(about, f)
		}
		for offset := 0; offset < len(text); {
			r, size := utf8.DecodeRune(text[offset:])
			if unicode.Is(unseen, r) {
				found(offset, r)
			}
			offset += size
		}
		if path.Ext(name) != ".cedar" {
			continue
		}
		for _, m := range escape.FindAllSubmatchIndex(text, -1) {
			if n, err := strconv.ParseInt(string(text[m[2]:m[3]]), 16, 32); err == nil && unicode.Is(unseen, rune(n)) {
				found(m[0], rune(n))
			}
		}
	}
	for _, d := range l.src.Definitions {
		walkJSON(d.Raw, func(pointer, text string) bool {
			for _, r := range text {
				if unicode.Is(unseen, r) {
					f := l.tool(d)
					f.Severity, f.Text = Warning, fmt.Sprintf("%s has the character U+%04X at %s, which is not seen as it is: a model reads what a reviewer does not.", d.Tool, r, pointer)
					f.Fix = "Do not accept the definition before you know what it is for."
					l.report("tool "+d.Tool.String(), f)
					return false
				}
			}
			return true
		})
	}
}

// statementAt is the policy that a place is in.
func (l *linter) statementAt(f Finding) (found policy.Written, ok bool) {
	for _, st := range l.src.Statements {
		p := st.Policy.Position
		if p.Filename == f.File && (p.Line < f.Line || p.Line == f.Line && p.Column <= f.Column) {
			found, ok = st, true
		}
	}
	return found, ok
}

// walkJSON visits every name and text of a document with its pointer, as long as
// visit wants more.
func walkJSON(data []byte, visit func(pointer, text string) bool) {
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		return // it was read before, so it never is
	}
	var walk func(pointer string, v any) bool
	walk = func(pointer string, v any) bool {
		switch v := v.(type) {
		case string:
			return visit(pointer, v)
		case []any:
			for i, element := range v {
				if !walk(pointer+"/"+strconv.Itoa(i), element) {
					return false
				}
			}
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(v)) {
				below := pointer + "/" + strconv.QuoteToASCII(name)
				if len(name) > 0 && name == strconv.QuoteToASCII(name)[1:len(strconv.QuoteToASCII(name))-1] {
					below = pointer + "/" + name
				}
				if !visit(below, name) || !walk(below, v[name]) {
					return false
				}
			}
		}
		return true
	}
	walk("", v)
}

func mixedScripts(l *linter) {
	for _, st := range l.src.Statements {
		var texts []string
		for _, uid := range entitiesOf(st.Policy) {
			texts = append(texts, string(uid.ID))
		}
		for _, v := range valuesOf(st.Policy) {
			switch v := v.(type) {
			case cedar.String:
				texts = append(texts, string(v))
			case cedar.Set:
				for element := range v.All() {
					if s, ok := element.(cedar.String); ok {
						texts = append(texts, string(s))
					}
				}
			}
		}
		for _, c := range st.Policy.Conditions {
			ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
				if like, ok := n.(ast.NodeTypeLike); ok {
					texts = append(texts, string(like.Value.MarshalCedar()))
				}
				return true
			})
		}
		for _, text := range texts {
			if word := mixed(text); word != "" {
				l.of(st, Warning, fmt.Sprintf("%s mixes scripts and may look like another name: %s.", strconv.Quote(word), strconv.QuoteToASCII(word)), "Write it in one script.")
				break
			}
		}
	}
	for _, d := range l.src.Definitions {
		if word := mixed(d.Tool.Name); word != "" {
			f := l.tool(d)
			f.Severity, f.Text = Warning, fmt.Sprintf("The tool's name mixes scripts and may look like another: %s.", strconv.QuoteToASCII(d.Tool.String()))
			f.Fix = "Do not accept the tool before you know why."
			l.report("tool "+d.Tool.String(), f)
		}
	}
}

// lookalikes are scripts whose letters look like one another's.
var lookalikes = []*unicode.RangeTable{
	unicode.Latin, unicode.Cyrillic, unicode.Greek, unicode.Armenian, unicode.Cherokee, unicode.Coptic, unicode.Lisu, unicode.Deseret,
	// Letters of Latin in other widths and shapes.
	{R16: []unicode.Range16{{0xFF21, 0xFF5A, 1}}, R32: []unicode.Range32{{0x1D400, 0x1D7FF, 1}}},
}

// mixed is the first word of a text with letters of two scripts that look alike.
func mixed(text string) string {
	start, first := -1, -1
	bad := false
	for i, r := range text + " " {
		if !unicode.IsLetter(r) && !unicode.IsMark(r) {
			if bad {
				return text[start:i]
			}
			start, first = -1, -1
			continue
		}
		if start < 0 {
			start = i
		}
		// The last that fits: the shapes of Latin are Latin too.
		script := -1
		for n, table := range lookalikes {
			if unicode.Is(table, r) {
				script = n
			}
		}
		if script >= 0 && first >= 0 && script != first {
			bad = true
		}
		if script >= 0 && first < 0 {
			first = script
		}
	}
	return ""
}
