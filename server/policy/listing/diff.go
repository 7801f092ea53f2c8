package listing

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/writpdp/writ/document"
)

// Kind is what became of a tool.
type Kind string

// The kinds of changes.
const (
	New     Kind = "new"
	Gone    Kind = "gone"
	Changed Kind = "changed"
)

// Change is what became of one tool.
type Change struct {
	Tool string `json:"tool"`
	Kind Kind   `json:"kind"`
	// Was and Is are the digests; empty where there is no tool.
	Was string `json:"was,omitempty"`
	Is  string `json:"is,omitempty"`
	// Differences are those of a changed definition.
	Differences []Difference `json:"differences,omitempty"`
}

// Difference is one place at which two definitions differ.
type Difference struct {
	// Pointer is the RFC 6901 pointer to it.
	Pointer string `json:"pointer"`
	// Text says what it means.
	Text string `json:"text"`
	// Was and Is are the values in JSON, cut; empty where there is none.
	Was string `json:"was,omitempty"`
	Is  string `json:"is,omitempty"`
}

// Compare is what changed from one listing to another, in the order of the
// tools' names. Nothing changed when there is nothing.
func Compare(old, new Listing) []Change {
	before, after := byName(old), byName(new)
	names := slices.Concat(slices.Collect(maps.Keys(before)), slices.Collect(maps.Keys(after)))
	slices.Sort(names)
	var changes []Change
	for _, name := range slices.Compact(names) {
		was, had := before[name]
		is, has := after[name]
		switch {
		case !had:
			changes = append(changes, Change{Tool: name, Kind: New, Is: is.Digest})
		case !has:
			changes = append(changes, Change{Tool: name, Kind: Gone, Was: was.Digest})
		case was.Digest != is.Digest:
			changes = append(changes, Change{Tool: name, Kind: Changed, Was: was.Digest, Is: is.Digest, Differences: differences(was.Raw, is.Raw)})
		}
	}
	return changes
}

func byName(l Listing) map[string]Tool {
	all := map[string]Tool{}
	for _, t := range l.Tools {
		all[t.Name] = t
	}
	return all
}

// differences are those of two definitions that have different digests.
func differences(was, is []byte) []Difference {
	a, b := object(was), object(is)
	delete(a, "_meta") // the digest leaves it out
	delete(b, "_meta")
	var d differ
	d.walk(nil, a, b)
	return d.found
}

func object(data []byte) map[string]any {
	var v map[string]any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&v); err != nil {
		return nil // it was read before, so it never is
	}
	return v
}

type differ struct{ found []Difference }

// absent is in the place of what is not there.
type absent struct{}

func (d *differ) walk(path []string, was, is any) {
	if same(was, is) {
		return
	}
	a, object := was.(map[string]any)
	b, both := is.(map[string]any)
	if !object || !both {
		if len(path) > 0 && path[len(path)-1] == "required" && d.required(path, was, is) {
			return
		}
		d.found = append(d.found, Difference{Pointer: pointer(path), Text: Plain(meaning(path, was, is)), Was: show(was), Is: show(is)})
		return
	}
	names := slices.Concat(slices.Collect(maps.Keys(a)), slices.Collect(maps.Keys(b)))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		d.walk(append(path[:len(path):len(path)], name), member(a, name), member(b, name))
	}
}

func member(m map[string]any, name string) any {
	if v, ok := m[name]; ok {
		return v
	}
	return absent{}
}

func same(a, b any) bool {
	if _, gone := a.(absent); gone {
		_, too := b.(absent)
		return too
	}
	if _, gone := b.(absent); gone {
		return false
	}
	return encode(a) == encode(b)
}

// required is the change of a list of required names, name by name.
func (d *differ) required(path []string, was, is any) bool {
	before, ok := names(was)
	after, both := names(is)
	if !ok || !both {
		return false
	}
	at := arguments(path)
	found := len(d.found)
	for _, name := range before {
		if !slices.Contains(after, name) {
			d.found = append(d.found, Difference{Pointer: pointer(path), Text: Plain(join(at, name)) + " is required no more"})
		}
	}
	for _, name := range after {
		if !slices.Contains(before, name) {
			d.found = append(d.found, Difference{Pointer: pointer(path), Text: Plain(join(at, name)) + " is required now"})
		}
	}
	return len(d.found) > found // else only the order changed, or a name is there twice
}

func names(v any) ([]string, bool) {
	if _, gone := v.(absent); gone {
		return nil, true
	}
	list, ok := v.([]any)
	if !ok {
		return nil, false
	}
	var all []string
	for _, element := range list {
		name, ok := element.(string)
		if !ok {
			return nil, false
		}
		all = append(all, name)
	}
	return all, true
}

// instruction is why a changed description counts: models read it and follow it.
const instruction = ": it is an instruction to the model that reads it"

// meaning says what a difference at a place means.
func meaning(path []string, was, is any) string {
	how := "changed"
	if _, before := was.(absent); before {
		how = "added"
	} else if _, after := is.(absent); after {
		how = "removed"
	}
	last := path[len(path)-1]
	switch {
	case len(path) == 1 && (last == "description" || last == "title"):
		return fmt.Sprintf("the %s is %s%s", last, how, instruction)
	case path[0] == "annotations" && len(path) > 1:
		return fmt.Sprintf("the annotation %s is %s", last, how)
	case path[0] != "inputSchema":
		return fmt.Sprintf("%s is %s", strings.Join(path, "."), how)
	case len(path) == 1:
		return "the input schema is " + how
	}
	at := arguments(path)
	switch {
	case isProperty(path):
		if how == "changed" {
			return at + " is another schema"
		}
		return fmt.Sprintf("%s is %s", at, how)
	case last == "type":
		return fmt.Sprintf("%s is of another type", at)
	case last == "description" || last == "title":
		return fmt.Sprintf("the %s of %s is %s%s", last, at, how, instruction)
	}
	return fmt.Sprintf("%s: %s is %s", at, last, how)
}

// isProperty reports whether a path ends at a property of a schema.
func isProperty(path []string) bool {
	return len(path) >= 2 && path[len(path)-2] == "properties"
}

// arguments names the argument that a path into an input schema is about.
func arguments(path []string) string {
	var all []string
	for i := 1; i < len(path); i++ {
		switch path[i] {
		case "properties":
			if i+1 < len(path) {
				i++
				all = append(all, path[i])
			}
		case "items":
			all = append(all, "*")
		}
	}
	if len(all) == 0 {
		return "the arguments"
	}
	return "the argument " + strings.Join(all, ".")
}

func join(at, name string) string {
	if at == "the arguments" {
		return "the argument " + name
	}
	return at + "." + name
}

func pointer(path []string) string {
	var b strings.Builder
	for _, token := range path {
		b.WriteString("/" + document.Escape(token))
	}
	return b.String()
}

func encode(v any) string {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return err.Error() // what JSON was read from can be written to it
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// maxShown bounds a value that is shown, in bytes.
const maxShown = 512

// show writes a value, cut; nothing for what is not there.
func show(v any) string {
	if _, gone := v.(absent); gone {
		return ""
	}
	text := Plain(encode(v))
	if len(text) > maxShown {
		text = strings.ToValidUTF8(text[:maxShown], "") + "…"
	}
	return text
}

// Plain writes a text that somebody else chose in characters that are seen as they
// are and move no cursor; the others it names.
func Plain(text string) string {
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\u{%x}`, r)
		}
	}
	return b.String()
}
