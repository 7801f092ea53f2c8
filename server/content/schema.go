// Package content looks into what is in a call: the JSON Schema of a tool's
// input, and later what kinds of data a payload holds. It is pure: it reads no
// file and opens no address, whatever a schema refers to.
package content

import (
	"errors"
	"fmt"
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
	// names are the property names that the schema itself knows. Any other
	// name in a document came from the caller and stays out of violations.
	names map[string]bool
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

func (noLoader) Load(url string) (any, error) {
	return nil, errors.New("a reference out of the schema")
}

const (
	draft2020 = "https://json-schema.org/draft/2020-12/schema"
	schemaURL = "mem:///schema.json"
)

// Compile compiles a tool's input schema: draft 2020-12, or draft 7 read as
// 2020-12. Objects that say nothing of further properties refuse them, so that
// no argument passes that the tool's author did not name (mass assignment).
func Compile(schema *document.Document) (*Schema, error) {
	root, ok := schema.Value().(map[string]any)
	if !ok {
		return nil, errors.New("the schema is not a JSON object")
	}
	if dialect, ok := root["$schema"].(string); ok && !knownDialect(dialect) {
		return nil, fmt.Errorf("the schema dialect %q is not known: use %s", dialect, draft2020)
	}
	closer := closer{root: root, names: map[string]bool{}}
	closed := closer.schema(root, true).(map[string]any)
	if _, open := closed["additionalProperties"]; !open && closed["unevaluatedProperties"] == nil {
		closed["unevaluatedProperties"] = false // arguments are closed, whatever their shape
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.UseLoader(noLoader{})
	compiler.AssertFormat()
	if err := compiler.AddResource(schemaURL, closed); err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	compiled, err := compiler.Compile(schemaURL)
	if err != nil {
		return nil, fmt.Errorf("compiling the schema: %w", err)
	}
	return &Schema{compiled: compiled, names: closer.names}, nil
}

func knownDialect(dialect string) bool {
	switch strings.TrimSuffix(dialect, "#") {
	case draft2020, "http://json-schema.org/draft-07/schema", "https://json-schema.org/draft-07/schema":
		return true
	}
	return false
}

// Check returns what breaks the schema; nil: nothing does. At most 8.
func (s *Schema) Check(d *document.Document) []Violation {
	err := s.compiled.Validate(d.Value())
	if err == nil {
		return nil
	}
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return []Violation{{Keyword: "schema", Detail: "the document could not be checked"}}
	}
	var found []Violation
	s.collect(invalid, &found)
	return found
}

// collect gathers the leaves of the error tree: the inner ones say "allOf
// failed" and the like.
func (s *Schema) collect(e *jsonschema.ValidationError, found *[]Violation) {
	if len(*found) == 8 {
		return
	}
	if len(e.Causes) > 0 {
		for _, cause := range e.Causes {
			s.collect(cause, found)
		}
		return
	}
	keyword, detail := describe(e.ErrorKind)
	at := e.InstanceLocation
	if keyword == unknownProperty && len(at) > 0 {
		at = at[:len(at)-1]
	}
	*found = append(*found, Violation{Pointer: s.pointer(at), Keyword: keyword, Detail: detail})
}

const unknownProperty = "a property that the schema does not name"

// describe names the keyword and what the schema, never the document, says.
func describe(k jsonschema.ErrorKind) (keyword, detail string) {
	switch k := k.(type) {
	case *kind.FalseSchema, *kind.AdditionalProperties:
		return unknownProperty, ""
	case *kind.Required:
		return "required", strings.Join(k.Missing, ", ")
	case *kind.Type:
		return "type", strings.Join(k.Want, " or ")
	case *kind.Format:
		return "format", k.Want
	case *kind.Pattern:
		return "pattern", k.Want
	case *kind.Enum:
		return "enum", fmt.Sprint(k.Want...)
	case *kind.Const:
		return "const", fmt.Sprint(k.Want)
	}
	if path := k.KeywordPath(); len(path) > 0 {
		return path[0], ""
	}
	return "schema", ""
}

func (s *Schema) pointer(tokens []string) string {
	var b strings.Builder
	for _, token := range tokens {
		if _, err := strconv.Atoi(token); err != nil && !s.names[token] {
			token = "*"
		}
		b.WriteByte('/')
		b.WriteString(strings.ReplaceAll(strings.ReplaceAll(token, "~", "~0"), "/", "~1"))
	}
	return b.String()
}
