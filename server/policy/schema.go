package policy

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"github.com/writpdp/writ/server/decision"
)

// The entity types that Writ gives meaning to; a bundle's schema declares them.
const (
	typeAgent       = cedar.EntityType("Agent")
	typeHuman       = cedar.EntityType("Human")
	typeServer      = cedar.EntityType("Server")
	typeDestination = cedar.EntityType("Destination")
	typeAction      = cedar.EntityType("Action")
)

// The actions that belong to no tool.
const (
	actionPrompt  = "prompt"
	actionConnect = "connect"
)

// The context attributes of the actions, in Cedar's schema language: those of
// every action, and what a tool's, a prompt's and a connection's have besides.
// extra is of the type that the bundle declares.
const (
	contextTypes = `phase: String, purpose: String, tenant: String, caller: String, issuer: String,
    onBehalfOf?: Human, actors: Set<String>, session?: String, now: datetime,
    ticket?: { id: String, approvers: Set<String> },
    cost: { calls: Long, tokens: Long, micros: Long, currency: String },
    extra: Extra`
	contentType     = `{ size: Long, json: Bool }`
	destinationType = `{ host: String, vendor: String, region: String }`
	toolContext     = `tool: { server: String, name: String, classes: Set<String>, labels: Set<String> },
    content?: ` + contentType + `, destination?: ` + destinationType
	promptContext  = `content: ` + contentType + `, destination: ` + destinationType
	connectContext = `destination: ` + destinationType
)

// toolFacts are what the schema says of a tool.
type toolFacts struct {
	tool *decision.Tool
	// input is the tool's JSON Schema.
	input map[string]any
	// resources are the entity types that the tool acts upon.
	resources []string
}

// Actions writes the Cedar actions of tools, their argument types included, in
// Cedar's schema language. Tools and classes come in the order of their names.
//
// An action is called "server/tool" and stands in the groups "server" and each
// of its classes. The types follow the conventions of cedar-for-agents: string
// is String, integer Long, number decimal, boolean Bool, an array a Set and an
// object a record; what has no Cedar type is left out, so no policy can rest on
// it.
func actions(tools []toolFacts) []byte {
	var b bytes.Buffer
	groups := map[string]bool{}
	for _, t := range tools {
		groups[t.tool.Server] = true
		for _, class := range t.tool.Classes {
			groups[class] = true
		}
	}
	for _, group := range slices.Sorted(maps.Keys(groups)) {
		fmt.Fprintf(&b, "action %s;\n", quote(group))
	}
	for _, a := range []struct{ name, context string }{{actionPrompt, promptContext}, {actionConnect, connectContext}} {
		fmt.Fprintf(&b, "\naction %s appliesTo {\n  principal: [Agent],\n  resource: [Destination],\n  context: {\n    %s,\n    %s\n  }\n};\n",
			quote(a.name), a.context, contextTypes)
	}
	for _, t := range tools {
		in := []string{quote(t.tool.Server)}
		for _, class := range t.tool.Classes {
			in = append(in, quote(class))
		}
		fmt.Fprintf(&b, "\naction %s in [%s] appliesTo {\n  principal: [Agent],\n  resource: [%s],\n  context: {\n    args: %s,\n    %s,\n    %s\n  }\n};\n",
			quote(t.tool.String()), strings.Join(in, ", "), strings.Join(append([]string{string(typeServer)}, t.resources...), ", "),
			cedarRecord(t.input, t.input, 0), toolContext, contextTypes)
	}
	return b.Bytes()
}

func quote(s string) string { return strconv.Quote(s) }

// maxTypeDepth bounds how deep argument types go; deeper ones are left out.
const maxTypeDepth = 8

// cedarRecord is the record type of a JSON Schema object.
func cedarRecord(root, s map[string]any, depth int) string {
	properties, _ := s["properties"].(map[string]any)
	required, _ := s["required"].([]any)
	var members []string
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		typ, nullable := cedarType(root, properties[name], depth+1)
		if typ == "" {
			continue
		}
		mark := "?"
		if !nullable && slices.Contains(required, any(name)) {
			mark = ""
		}
		members = append(members, fmt.Sprintf("%s%s: %s", quote(name), mark, typ))
	}
	if len(members) == 0 {
		return "{}"
	}
	return "{ " + strings.Join(members, ", ") + " }"
}

// cedarType is the Cedar type of a JSON Schema; empty where it has none.
func cedarType(root map[string]any, s any, depth int) (typ string, nullable bool) {
	m, ok := s.(map[string]any)
	if !ok || depth > maxTypeDepth {
		return "", false
	}
	if ref, ok := m["$ref"].(string); ok {
		return cedarType(root, follow(root, ref), depth+1)
	}
	for _, keyword := range []string{"anyOf", "oneOf"} {
		if list, ok := m[keyword].([]any); ok {
			return cedarUnion(root, list, depth)
		}
	}
	names, nullable := typeNames(m)
	if len(names) != 1 {
		return "", false
	}
	switch names[0] {
	case "string":
		return "String", nullable
	case "integer":
		return "Long", nullable
	case "number":
		return "decimal", nullable
	case "boolean":
		return "Bool", nullable
	case "array":
		if element, null := cedarType(root, m["items"], depth+1); element != "" && !null {
			return "Set<" + element + ">", nullable
		}
	case "object":
		if _, ok := m["properties"]; ok {
			return cedarRecord(root, m, depth), nullable
		}
	}
	return "", false
}

// cedarUnion has a type when all alternatives but null have the same.
func cedarUnion(root map[string]any, list []any, depth int) (typ string, nullable bool) {
	for _, alternative := range list {
		if m, ok := alternative.(map[string]any); ok && m["type"] == "null" {
			nullable = true
			continue
		}
		t, null := cedarType(root, alternative, depth+1)
		if t == "" || typ != "" && t != typ {
			return "", false
		}
		typ, nullable = t, nullable || null
	}
	return typ, nullable
}

// typeNames are the type keyword's names without null; those of an enum or a
// const where there is no such keyword.
func typeNames(m map[string]any) (names []string, nullable bool) {
	add := func(name string) {
		if name == "null" {
			nullable = true
		} else if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	switch t := m["type"].(type) {
	case string:
		add(t)
	case []any:
		for _, name := range t {
			if name, ok := name.(string); ok {
				add(name)
			}
		}
	case nil:
		values, _ := m["enum"].([]any)
		if c, ok := m["const"]; ok {
			values = append(values, c)
		}
		for _, v := range values {
			switch v.(type) {
			case string:
				add("string")
			case bool:
				add("boolean")
			case nil:
				add("null")
			default:
				return nil, false
			}
		}
	}
	return names, nullable
}

// follow finds a reference within a schema; nil where there is nothing.
func follow(root map[string]any, ref string) any {
	path, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return nil
	}
	var at any = root
	for token := range strings.SplitSeq(path, "/") {
		m, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = m[token]
	}
	return at
}

// resolve parses a bundle's schema together with the actions of its tools.
func resolve(file string, base, generated []byte) (*resolved.Schema, error) {
	if err := checkCedar(file, base); err != nil {
		return nil, err
	}
	var declared schema.Schema
	declared.SetFilename(file)
	if err := declared.UnmarshalCedar(base); err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	var whole schema.Schema
	whole.SetFilename(file)
	if err := whole.UnmarshalCedar(slices.Concat(base, []byte("\n"), generated)); err != nil {
		return nil, fmt.Errorf("reading the schema with the tools' actions: %w", err)
	}
	s, err := whole.Resolve()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for _, name := range []cedar.EntityType{typeAgent, typeHuman, typeServer, typeDestination} {
		if _, ok := s.Entities[name]; !ok {
			return nil, fmt.Errorf("%s: the schema declares no entity %s", file, name)
		}
	}
	connect := s.Actions[cedar.NewEntityUID(typeAction, actionConnect)].AppliesTo.Context
	if want, _ := connect["destination"].Type.(resolved.RecordType); !reflect.DeepEqual(shapeOf(s.Entities[typeDestination].Shape), shapeOf(want)) {
		return nil, fmt.Errorf("%s: declare `entity Destination = { host: String, vendor: String, region: String };`", file)
	}
	for name, attribute := range extraType(s) {
		if !attribute.Optional {
			return nil, fmt.Errorf("%s: the attribute %s of the type Extra must be optional: a caller may leave it out", file, name)
		}
	}
	return s, nil
}

// shapeOf is a record type without its annotations, to be compared.
func shapeOf(r resolved.RecordType) map[string]string {
	shape := map[string]string{}
	for name, a := range r {
		shape[string(name)] = fmt.Sprintf("%T %v %v", a.Type, a.Type, a.Optional)
	}
	return shape
}

// extraType is the type of context.extra, which is the same for every action.
func extraType(s *resolved.Schema) resolved.RecordType {
	prompt := s.Actions[cedar.NewEntityUID(typeAction, actionPrompt)]
	extra, _ := prompt.AppliesTo.Context["extra"].Type.(resolved.RecordType)
	return extra
}
