// Package content looks into what is in a call: the JSON Schema of a tool's
// input, and later what kinds of data a payload holds. It is pure: it reads no
// file and opens no address, whatever a schema refers to.
package content

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/writpdp/writ/document"
)

// Schema is a compiled JSON Schema that refuses every property it does not
// name. Safe for concurrent use.
type Schema struct {
	compiled *jsonschema.Schema
	unfit    *jsonschema.Schema // takes what compiled does not
	plain    *plain             // nil: the schema says more
	// names are the property names that the schema itself knows. Any other
	// name in a document came from the caller and stays out of violations.
	names map[string]bool
	// words are the strings that the schema lists under enum and const.
	words map[string]bool
	// local says that what breaks the schema at one place of a document does
	// not depend on the values at others.
	local bool
	// costs are the most units of work for one value of a document, by the
	// document's depth.
	costs []int
}

// Violation says where a document breaks a schema and which keyword it breaks,
// without its values.
type Violation struct {
	// Pointer is the RFC 6901 pointer to the place in the document, in which *
	// stands for a name that the schema does not know.
	Pointer string
	// Keyword is the JSON Schema keyword, for example "required".
	Keyword string
	// Detail names what the schema wants, from the schema alone.
	Detail string
}

func (v Violation) String() string {
	at := v.Pointer
	if at == "" {
		at = "the arguments"
	}
	if v.Detail == "" {
		return fmt.Sprintf("%s: %s", at, v.Keyword)
	}
	return fmt.Sprintf("%s: %s (%s)", at, v.Keyword, v.Detail)
}

// noLoader refuses every reference out of the schema.
type noLoader struct{}

func (noLoader) Load(string) (any, error) { return nil, errOutside }

var errOutside = errors.New("a reference out of the schema")

const (
	draft2020 = "https://json-schema.org/draft/2020-12/schema"
	schemaURL = "schema:///arguments"
)

// Bounds of a schema and of what is said of it.
const (
	// maxSchema is the largest number of values in a schema: the time to
	// compile one grows with its square.
	maxSchema = 4000
	// maxViolations is how many violations Check returns.
	maxViolations = 8
	// maxDetail bounds a violation's detail, in bytes.
	maxDetail = 256
)

// Compile compiles a tool's input schema, or that of its structured results: draft
// 2020-12, or draft 7 read as 2020-12. Objects that name properties and say nothing
// of further ones refuse these, tuples further elements, and so does the document
// itself whatever its schema names: nothing passes that the tool's author did not
// name (mass assignment). A format that is none of Formats is an error, unless it
// is among loose: these say nothing.
func Compile(schema *document.Document, loose ...string) (*Schema, error) {
	root, ok := schema.Value().(map[string]any)
	if !ok {
		return nil, errors.New("the schema is not a JSON object")
	}
	if schema.Nodes() > maxSchema {
		return nil, fmt.Errorf("the schema has more than %d values", maxSchema)
	}
	closer := closer{root: root, loose: loose, names: map[string]bool{}, shapes: map[string]shape{}}
	closed := closer.schema(root, whole, nil).(map[string]any)
	if closer.problem != nil {
		return nil, closer.problem
	}
	if _, open := closed["additionalProperties"]; !open && closed["unevaluatedProperties"] == nil {
		closed["unevaluatedProperties"] = false // arguments are closed, whatever their shape
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.UseLoader(noLoader{})
	compiler.UseRegexpEngine(expression)
	compiler.AssertFormat()
	for _, format := range ours {
		compiler.RegisterFormat(format)
	}
	if err := compiler.AddResource(schemaURL, closed); err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	compiled, err := compiler.Compile(schemaURL)
	if err != nil {
		return nil, fmt.Errorf("compiling the schema: %w", err)
	}
	costs, err := costsOf(compiled)
	if err != nil {
		return nil, fmt.Errorf("compiling the schema: %w", err)
	}
	words := map[string]bool{}
	listed(root, words)
	return &Schema{compiled: compiled, unfit: &jsonschema.Schema{DraftVersion: 2020, Not: compiled}, plain: plainOf(compiled), names: closer.names, words: words, local: isLocal(root), costs: costs}, nil
}

func knownDialect(dialect string) bool {
	switch strings.TrimSuffix(dialect, "#") {
	case draft2020, "http://json-schema.org/draft-07/schema", "https://json-schema.org/draft-07/schema":
		return true
	}
	return false
}

// Check returns what breaks the schema, in the order of the places; nil: nothing
// does. At most 8.
func (s *Schema) Check(d *document.Document) []Violation { return s.check(d, d.Value()) }

// CheckMember is Check of one member of a document that is an object; pointers are
// into the document. A member that is not there breaks nothing.
func (s *Schema) CheckMember(d *document.Document, name string) []Violation {
	members, _ := d.Value().(map[string]any)
	value, there := members[name]
	if !there {
		return nil
	}
	found := s.check(d, value)
	for i := range found {
		found[i].Pointer = "/" + document.Escape(name) + found[i].Pointer
	}
	return found
}

// check holds a value of a document to the schema; what that costs is bounded by
// the whole document.
func (s *Schema) check(d *document.Document, value any) []Violation {
	if s.tooCostly(d) {
		return []Violation{{Keyword: "schema", Detail: "the document is too large or too deep for it"}}
	}
	if s.plain != nil && s.plain.takes(value) {
		return nil
	}
	// What says only whether a value fits takes a tenth of the memory, and a value
	// may be wrong in a hundred thousand places.
	if s.unfit.Validate(value) != nil {
		return nil
	}
	if s.work(d) > maxTold {
		return []Violation{{Keyword: "schema", Detail: "the document is too large to say where it breaks it"}}
	}
	err := s.compiled.Validate(value)
	if err == nil {
		return []Violation{{Keyword: "schema", Detail: "the document could not be checked"}} // never: both say the same
	}
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return []Violation{{Keyword: "schema", Detail: "the document could not be checked"}}
	}
	found := map[Violation]bool{}
	s.collect(value, invalid, found)
	// The errors come in the order of a map, and a decision must not depend on
	// chance.
	return slices.SortedFunc(maps.Keys(found), Violation.compare)[:min(len(found), maxViolations)]
}

func (v Violation) compare(other Violation) int {
	return cmp.Or(strings.Compare(v.Pointer, other.Pointer), strings.Compare(v.Keyword, other.Keyword), strings.Compare(v.Detail, other.Detail))
}

// collect gathers the leaves of the error tree: the inner ones say "allOf
// failed" and the like.
func (s *Schema) collect(root any, e *jsonschema.ValidationError, found map[Violation]bool) {
	_, ofName := e.ErrorKind.(*kind.PropertyNames) // its causes are about the name alone
	if len(e.Causes) > 0 && !ofName {
		for _, cause := range e.Causes {
			s.collect(root, cause, found)
		}
		return
	}
	keyword, detail := describe(e.ErrorKind)
	at := e.InstanceLocation
	if strings.HasSuffix(e.SchemaURL, "/unevaluatedProperties") && len(at) > 0 {
		keyword, at = UnknownProperty, at[:len(at)-1]
	}
	if strings.HasSuffix(e.SchemaURL, "/unevaluatedItems") && len(at) > 0 {
		keyword, at = UnknownElement, at[:len(at)-1]
	}
	found[Violation{Pointer: s.pointer(root, at), Keyword: keyword, Detail: cut(detail)}] = true
}

// The keywords of what closing a schema refuses.
const (
	UnknownProperty = "a property that the schema does not name"
	UnknownElement  = "an element beyond those that the schema names"
)

// describe names the keyword and what the schema, never the document, says.
func describe(k jsonschema.ErrorKind) (keyword, detail string) {
	switch k := k.(type) {
	case nil:
		return "schema", ""
	case *kind.FalseSchema:
		return "false", ""
	case *kind.AdditionalProperties:
		return UnknownProperty, ""
	case *kind.Not:
		return "not", ""
	case *kind.Required:
		return "required", strings.Join(k.Missing, ", ")
	case *kind.DependentRequired:
		return "dependentRequired", strings.Join(k.Missing, ", ")
	case *kind.Type:
		return "type", strings.Join(k.Want, " or ")
	case *kind.Format:
		return "format", k.Want
	case *kind.Pattern:
		return "pattern", k.Want
	case *kind.Enum:
		return "enum", oneOf(k.Want)
	case *kind.Const:
		return "const", oneOf([]any{k.Want})
	}
	if path := k.KeywordPath(); len(path) > 0 {
		return path[0], ""
	}
	return "schema", ""
}

// oneOf lists what a schema allows, as far as it is short.
func oneOf(values []any) string {
	var b strings.Builder
	for i, v := range values {
		if i > 0 {
			b.WriteString(", ")
		}
		switch v.(type) {
		case map[string]any, []any:
			b.WriteString("…")
		default:
			fmt.Fprint(&b, v)
		}
		if b.Len() > maxDetail {
			break
		}
	}
	return b.String()
}

// cut bounds a text of the schema's.
func cut(text string) string {
	if len(text) <= maxDetail {
		return text
	}
	return strings.ToValidUTF8(text[:maxDetail-len("…")], "") + "…"
}

// pointer names a place in a document. A token that leads on in no array, and
// that no property of the schema is called, is the caller's.
func (s *Schema) pointer(value any, tokens []string) string {
	var b strings.Builder
	for _, token := range tokens {
		switch v := value.(type) {
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(v) {
				token = "*"
			} else {
				value = v[i]
			}
		case map[string]any:
			if value = v[token]; !s.names[token] {
				token = "*"
			}
		default:
			token = "*"
		}
		b.WriteByte('/')
		b.WriteString(document.Escape(token))
	}
	return cut(b.String())
}
