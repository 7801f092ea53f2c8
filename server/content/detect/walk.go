package detect

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/content/detect/leak"
)

// Bounds of an inspection.
const (
	maxLevels  = 8  // of strings within strings that are decoded or folded
	maxTexts   = 3  // of documents within strings
	maxGaps    = 64 // that are told; more are cut
	maxPointer = 1024
)

// inspector looks into one document or text.
type inspector struct {
	set     *Set
	out     Inspection
	readers [maxLevels]reader
	run     *leak.Run
	names   map[string]named
	order   []string // names of the objects on the way, one after the other
	path    []byte
	left    int // work
	nodes   int // values that may still be read in strings
	depth   int // of documents within strings
	scratch []byte
}

// inspectors are used again for the sake of their buffers. One that waits holds
// nothing of a document but bytes that are overwritten before they are read.
var inspectors = sync.Pool{New: func() any { return &inspector{names: map[string]named{}} }}

func (s *Set) begin() *inspector {
	in := inspectors.Get().(*inspector)
	in.set, in.out, in.left, in.nodes, in.depth, in.path = s, Inspection{By: s.digest}, s.work, document.MaxNodes, 0, in.path[:0]
	if in.run == nil || in.run.Of() != s.leaks {
		in.run = s.leaks.Run()
	}
	in.run.Work = 0
	return in
}

func (in *inspector) end() Inspection {
	out := in.out
	slices.SortStableFunc(out.Gaps, func(a, b Gap) int {
		return cmp.Or(strings.Compare(a.Pointer, b.Pointer), strings.Compare(a.Kind, b.Kind))
	})
	out.Gaps = slices.Compact(out.Gaps)
	if cap(in.scratch) <= 64<<10 && len(in.names) <= 1024 && cap(in.readers[0].tokens) <= 16<<10 {
		clear(in.names)
		clear(in.order[:cap(in.order)])
		for i := range in.readers {
			r := &in.readers[i]
			r.s, r.inspector = "", nil
			clear(r.matches[:cap(r.matches)])
		}
		in.set, in.out = nil, Inspection{}
		inspectors.Put(in)
	}
	return out
}

// Inspect looks into every string, number and member name of a document, and into
// the documents that its strings hold.
func (s *Set) Inspect(d *document.Document) Inspection {
	in := s.begin()
	if len(d.Canonical()) > s.bytes {
		in.gap("oversize")
	} else {
		in.value(d.Value(), 0, 0)
	}
	return in.end()
}

// InspectText looks into a plain text.
func (s *Set) InspectText(text string) Inspection {
	in := s.begin()
	if len(text) > s.bytes {
		in.gap("oversize")
	} else {
		in.report(in.read(text, 0, 0, 0))
	}
	return in.end()
}

// spend counts work, and cuts the inspection when there is too much.
func (in *inspector) spend(n int) {
	if in.left -= n; in.left < 0 {
		in.out.Cut = true
	}
}

// afford reports whether there is work left for something costly.
func (in *inspector) afford() bool {
	in.spend(1)
	return !in.out.Cut
}

// gap tells what is not looked into, at the present place.
func (in *inspector) gap(kind string) {
	if len(in.out.Gaps) >= maxGaps {
		in.out.Cut = true
		return
	}
	in.out.Gaps = append(in.out.Gaps, Gap{Pointer: in.pointer(), Kind: kind})
}

func (in *inspector) pointer() string {
	if len(in.path) > maxPointer {
		in.out.Cut = true // nothing can be done at a place that cannot be named
		return ""
	}
	return string(in.path)
}

// report tells the findings in the string at the present place.
func (in *inspector) report(all []match) {
	for _, m := range all {
		in.tell(m)
	}
}

func (in *inspector) tell(m match) {
	if len(in.out.Findings) >= in.set.findings {
		in.out.Cut = true
		return
	}
	d := &in.set.detectors[m.detector]
	in.out.Findings = append(in.out.Findings, Finding{Detector: d.id, Labels: d.labels, Pointer: in.pointer(), Start: m.start, End: m.end,
		Confidence: m.confidence, Validator: m.validator, Encoding: m.encoding})
}

// whole tells a finding that is the whole value at the present place.
func (in *inspector) whole(detector int, confidence uint8, validator, encoding string) {
	if !in.set.detectors[detector].off {
		in.tell(match{detector: detector, confidence: confidence, validator: validator, encoding: encoding})
	}
}

// value looks into a value. about is what the names above say of it, parent what they
// say of the object that it is a member of.
func (in *inspector) value(v any, about, parent kind) {
	if in.out.Cut {
		return
	}
	switch v := v.(type) {
	case string:
		in.string(v, about, "")
	case json.Number:
		in.numeral(string(v), about)
	case map[string]any:
		in.object(v, about, parent)
	case []any:
		in.array(v, about, parent)
	case document.Withheld:
		in.gap("withheld")
	}
}

func (in *inspector) object(members map[string]any, about, parent kind) {
	base := len(in.order)
	for name := range members {
		in.order = append(in.order, name)
	}
	names := in.order[base:len(in.order):len(in.order)]
	slices.Sort(names)
	length := len(in.path)
	for _, name := range names {
		said, known := in.names[name]
		if !known {
			said = understand(name)
			in.names[name] = said
		}
		in.path = document.AppendToken(in.path, name)
		if said.text {
			in.name(name)
		}
		switch v := members[name].(type) {
		case string:
			gaps := len(in.out.Gaps)
			in.string(v, in.said(said, about), said.spelt)
			if name == "data" && len(in.out.Gaps) == gaps && v != "" {
				in.media(members["type"])
			}
		default:
			in.value(v, in.said(said, about), about)
		}
		in.path = in.path[:length]
	}
	in.split(names, func(i int) any { return members[names[i]] }, len(names) > 1)
	in.order = in.order[:base]
}

// media says of the data of an MCP block that it is an image or audio, whatever its
// bytes look like.
func (in *inspector) media(kind any) {
	if kind == "image" || kind == "audio" {
		in.gap(kind.(string))
	}
}

// said is what a member's name says of its value, and the names above: they hold
// where it says nothing of its own.
func (in *inspector) said(name named, above kind) kind {
	k := name.kinds
	if k&justName != 0 {
		if above&(ofPerson|ofName) != 0 || k&ofPerson != 0 {
			k |= ofName
		}
	}
	if k&(persons|ofSecret|ofToken|ofHash|ofOther|ofName|ofGeo|ofLatitude|ofLongitude|ofVersion|ofIP) == 0 {
		k |= above & (persons | ofGeo | ofVersion)
	} else if k&(ofOther|justID) != 0 && k&persons == 0 {
		k |= above & persons &^ ofCard
	}
	if k&persons != 0 {
		k &^= ofOther | justID
	}
	return k | above&ofPerson&^justName
}

// name looks into the name of a member.
func (in *inspector) name(name string) {
	var has uint8
	for i := range len(name) {
		has |= class[name[i]]
	}
	if has&(digit|atSign|high) == 0 && len(name) < 24 {
		return
	}
	for _, m := range in.read(name, 0, 0, 0) {
		in.tell(match{detector: m.detector, confidence: m.confidence, validator: m.validator, encoding: "name"})
	}
}

func (in *inspector) array(elements []any, about, parent kind) {
	length := len(in.path)
	for i, v := range elements {
		in.path = document.AppendIndex(in.path, i)
		in.value(v, about, parent)
		in.path = in.path[:length]
		if in.out.Cut {
			return
		}
	}
	in.split(nil, func(i int) any {
		if i < len(elements) {
			return elements[i]
		}
		return nil
	}, len(elements) > 1)
}

// string looks into a string: the document that it holds, or its text. spelt is the
// name of the member that it is.
func (in *inspector) string(s string, about kind, spelt string) {
	if s == "" {
		return
	}
	if len(s) > 1 && (s[0] == '{' || s[0] == '[' || s[0] <= ' ') {
		if value, ok := in.embedded(s); ok {
			in.depth++
			in.value(value, about, 0)
			in.depth--
			return
		}
	}
	if len(s) < 5 && about&(ofSecret|ofName) == 0 && len(in.set.custom) == 0 {
		return
	}
	found := in.read(s, about, 0, 0)
	if about&(ofSecret|ofToken|ofName) != 0 || spelt != "" && len(s) >= 10 {
		found = in.called(s, about, spelt, found)
	}
	in.report(found)
}

// embedded is the document that a string holds, as far as there is work left.
func (in *inspector) embedded(s string) (any, bool) {
	value, nodes, ok := document.Embedded(s, in.nodes)
	in.nodes -= min(nodes, in.nodes)
	if in.nodes == 0 || ok && in.depth >= maxTexts {
		in.gap("nested")
		return nil, false
	}
	return value, ok
}

// called adds what the name of a member says of the whole string.
func (in *inspector) called(s string, about kind, spelt string, found []match) []match {
	if about&ofName != 0 && about&ofSecret == 0 && len(found) == 0 {
		if text, _ := fold(s); proper(text, 0) == len(text) && len(text) > 1 {
			in.whole(personName, 75, "", "")
		}
		return found
	}
	specific := slices.ContainsFunc(found, func(m match) bool { return in.set.detectors[m.detector].labels != nil && !weak(m) })
	if specific {
		return found
	}
	if spelt != "" && about&ofHash == 0 && len(s) >= 10 && len(s) <= 512 && oneWord(s) {
		if m, ok := in.leaked(s, spelt); ok {
			return append(found[:0], m)
		}
	}
	if about&ofSecret != 0 && len(s) >= 4 && !placeholder(s) {
		in.whole(namedSecret, 85, "", "")
		return slices.DeleteFunc(found, weak)
	}
	return found
}

// oneWord reports whether a string is one word with digits.
func oneWord(s string) bool {
	digits := false
	for i := range len(s) {
		if s[i] <= ' ' {
			return false
		}
		digits = digits || class[s[i]] == digit
	}
	return digits
}

// leaked applies gitleaks' rules to a member as if it were an assignment.
func (in *inspector) leaked(s, spelt string) (match, bool) {
	name := strings.ReplaceAll(spelt, " ", "_")
	possible := -1
	in.set.leakWords.Find(name, func(word, _, _ int) bool {
		if in.set.leaks.Possible(word) {
			possible = word
		}
		return possible < 0
	})
	if possible < 0 || !in.afford() {
		return match{}, false
	}
	text := name + ` = "` + s + `"`
	shift := len(text) - 1 - len(s)
	var best match
	found := false
	in.run.Reset()
	before := in.run.Work
	in.set.leakWords.Find(name, func(word, start, end int) bool {
		in.run.Find(text, word, start, end, func(m leak.Match) bool {
			if m.Start >= shift && m.End <= shift+len(s) {
				one := match{detector: in.set.byLeak[m.Detector], start: m.Start - shift, end: m.End - shift, confidence: leakConfidence(m), validator: "gitleaks/" + m.Rule}
				if !in.set.detectors[one.detector].off && (!found || better(one, best)) {
					best, found = one, true
				}
			}
			return true
		})
		return true
	})
	in.spend(in.run.Work - before)
	return best, found
}

// numeral looks at a number: what it is as a text, or by its name.
func (in *inspector) numeral(s string, about kind) {
	if about&(ofLatitude|ofLongitude) != 0 || about&ofGeo != 0 {
		if f, err := strconv.ParseFloat(s, 64); err == nil && f >= -180 && f <= 180 && strings.IndexByte(s, '.') >= 0 && len(s)-strings.IndexByte(s, '.') > 3 {
			in.whole(geoCoordinates, 85, "range", "")
			return
		}
	}
	if about&ofSecret != 0 && len(s) >= 3 {
		in.whole(namedSecret, 80, "", "")
		return
	}
	if len(s) < 8 {
		return
	}
	if m := in.read(s, about, 0, 0); len(m) > 0 && m[0].start == 0 && m[0].end == len(s) {
		in.whole(m[0].detector, m[0].confidence, m[0].validator, "")
	}
}

// sortMatches puts matches in the order of their places, the longer first.
func sortMatches(all []match) {
	if len(all) > 1 {
		slices.SortStableFunc(all, func(a, b match) int { return cmp.Or(a.start-b.start, b.end-a.end) })
	}
}
