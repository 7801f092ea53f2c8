package develop

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/writpdp/writ/test/detection/corpus"
)

// prose is a text in the making, with what is in it.
type prose struct {
	strings.Builder
	labels, decoys []corpus.Label
}

// put writes texts and values.
func (p *prose) put(parts ...any) *prose {
	for _, part := range parts {
		switch v := part.(type) {
		case string:
			p.WriteString(v)
		case value:
			start := p.Len()
			p.WriteString(v.text)
			p.mark(v, "", start, p.Len())
		case *prose:
			at := p.Len()
			p.WriteString(v.String())
			p.labels = append(p.labels, moved(v.labels, at)...)
			p.decoys = append(p.decoys, moved(v.decoys, at)...)
		default:
			panic(fmt.Sprintf("a %T in a text", part))
		}
	}
	return p
}

func (p *prose) mark(v value, pointer string, start, end int) {
	l := corpus.Label{Detector: v.detector, Pointer: pointer, Start: start, End: end}
	if v.decoy != "" {
		l.Detector = v.decoy
		p.decoys = append(p.decoys, l)
	} else {
		p.labels = append(p.labels, l)
	}
}

func moved(labels []corpus.Label, by int) []corpus.Label {
	out := make([]corpus.Label, len(labels))
	for i, l := range labels {
		l.Start, l.End = l.Start+by, l.End+by
		out[i] = l
	}
	return out
}

// below puts labels of a string below a pointer.
func below(labels []corpus.Label, pointer string) []corpus.Label {
	out := make([]corpus.Label, len(labels))
	for i, l := range labels {
		l.Pointer = pointer + l.Pointer
		out[i] = l
	}
	return out
}

// member is one member of an object; its value is a string, a value, a *prose, a
// numeral, a []any, a []member, or a holder.
type member struct {
	key string
	is  any
}

// numeral is a value that is written as a JSON number.
type numeral value

// holder is a document that stands, as a text, in a string.
type holder struct{ of []member }

// render writes a tree as JSON, indented or not, and says what is where.
func render(tree []member, indent string) *prose {
	p := &prose{}
	p.tree(tree, "", indent, "")
	return p
}

func (p *prose) tree(of any, pointer, indent, lead string) {
	inner := lead + indent
	brk := func(lead string) {
		if indent != "" {
			p.WriteString("\n" + lead)
		}
	}
	switch v := of.(type) {
	case []member:
		p.WriteString("{")
		for i, m := range v {
			if i > 0 {
				p.WriteString(",")
			}
			brk(inner)
			p.WriteString(quote(m.key) + ":")
			if indent != "" {
				p.WriteString(" ")
			}
			p.tree(m.is, pointer+"/"+strings.ReplaceAll(strings.ReplaceAll(m.key, "~", "~0"), "/", "~1"), indent, inner)
		}
		brk(lead)
		p.WriteString("}")
	case []any:
		p.WriteString("[")
		for i, e := range v {
			if i > 0 {
				p.WriteString(",")
			}
			brk(inner)
			p.tree(e, pointer+"/"+strconv.Itoa(i), indent, inner)
		}
		brk(lead)
		p.WriteString("]")
	case string:
		p.WriteString(quote(v))
	case value:
		p.WriteString(quote(v.text))
		p.mark(v, pointer, 0, len(v.text))
	case numeral:
		p.WriteString(v.text)
		p.mark(value(v), pointer, 0, 0)
	case *prose:
		p.WriteString(quote(v.String()))
		p.labels = append(p.labels, below(v.labels, pointer)...)
		p.decoys = append(p.decoys, below(v.decoys, pointer)...)
	case holder:
		within := render(v.of, "")
		p.WriteString(quote(within.String()))
		p.labels = append(p.labels, below(within.labels, pointer)...)
		p.decoys = append(p.decoys, below(within.decoys, pointer)...)
	default:
		text, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		p.Write(text)
	}
}

// quote is a JSON string, with nothing escaped that need not be.
func quote(s string) string {
	var b strings.Builder
	out := json.NewEncoder(&b)
	out.SetEscapeHTML(false)
	if err := out.Encode(s); err != nil {
		panic(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
