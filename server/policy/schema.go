package policy

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy/session"
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
// every action, but for those about its session, and what a tool's, a prompt's and a
// connection's have besides.
// extra is of the type that the bundle declares.
const (
	contextTypes = `phase: String, purpose: String, tenant: String, caller: String, issuer: String,
    onBehalfOf?: Human, actors: Set<String>, session?: String, now: datetime,
    ticket?: { id: String, approvers: Set<String> },
    cost: { calls: Long, tokens: Long, micros: Long, currency: String },
    extra: Extra`
	contentType     = `{ size: Long, json: Bool }`
	foundType       = `{ labels: Set<String>, detectors: Set<String>, uninspected: Bool }`
	destinationType = `{ host: String, vendor: String, region: String }`
	toolContext     = `tool: { server: String, name: String, classes: Set<String>, labels: Set<String> },
    found: ` + foundType + `, content?: ` + contentType + `, destination?: ` + destinationType
	promptContext  = `found: ` + foundType + `, content: ` + contentType + `, destination: ` + destinationType
	connectContext = `destination: ` + destinationType
)

// toolFacts are what the schema says of a tool.
type toolFacts struct {
	tool *decision.Tool
	// input is the tool's JSON Schema.
	input map[string]any
	// resources are the entity types that the tool acts upon.
	resources []string
	// raw is the definition as it was listed, in a file.
	raw  []byte
	file string
}

// Actions writes the Cedar actions of tools, their argument types included, in
// Cedar's schema language. Tools and classes come in the order of their names.
//
// An action is called "server/tool" and stands in the groups "server" and each
// of its classes. The types follow the conventions of cedar-for-agents: string
// is String, integer Long, number decimal, boolean Bool, an array a Set and an
// object a record; what has no Cedar type is left out, so no policy can rest on
// it. The error is of a tool whose arguments have too many types.
func actions(tools []toolFacts, chains []decision.ChainRule) ([]byte, error) {
	common := contextTypes + ",\n    " + session.Types(chains)
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
			quote(a.name), a.context, common)
	}
	for _, t := range tools {
		in := []string{quote(t.tool.Server)}
		for _, class := range t.tool.Classes {
			in = append(in, quote(class))
		}
		arguments, err := argumentType(t.input)
		if err != nil {
			return nil, fmt.Errorf("the tool %q: %w", t.tool.String(), err)
		}
		fmt.Fprintf(&b, "\naction %s in [%s] appliesTo {\n  principal: [Agent],\n  resource: [%s],\n  context: {\n    args: %s,\n    %s,\n    %s\n  }\n};\n",
			quote(t.tool.String()), strings.Join(in, ", "), strings.Join(append([]string{string(typeServer)}, t.resources...), ", "),
			arguments, toolContext, common)
	}
	return b.Bytes(), nil
}

// minimal declares what the actions of any bundle rest on, and nothing more.
const minimal = `// The agent, the human it acts for, and what an action is on.
entity Agent;
entity Human;
entity Server;
entity Destination = { host: String, vendor: String, region: String };

// What enforcement points may add in context.extra.
type Extra = {};
`

// SchemaOf is a whole Cedar schema for the tools of one server, from their
// definitions in JSON: the least that a bundle declares, and their actions as
// Schema writes them.
func SchemaOf(server string, definitions [][]byte) ([]byte, error) {
	if !serverForm.MatchString(server) {
		return nil, fmt.Errorf("the server's id %q is not of the form %s", server, serverForm)
	}
	var facts []toolFacts
	for i, definition := range definitions {
		t, err := newTool(server, definition, nil)
		if err != nil {
			return nil, fmt.Errorf("tool %d: %w", i, err)
		}
		facts = append(facts, t)
	}
	slices.SortFunc(facts, func(a, b toolFacts) int { return strings.Compare(a.tool.Name, b.tool.Name) })
	generated, err := actions(facts, nil)
	if err != nil {
		return nil, err
	}
	if _, err := resolve(fileSchema, []byte(minimal), generated); err != nil {
		return nil, err
	}
	return slices.Concat([]byte(minimal), []byte("\n"), generated), nil
}

// quote writes a string literal of Cedar, whose escapes are Rust's and not Go's.
// A name can be anything that a server lists.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\u{%x}`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
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
	if err := checkTypes(declared.AST()); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := checkCycles(file, base, declared.AST()); err != nil {
		return nil, err
	}
	var whole schema.Schema
	whole.SetFilename(file)
	if err := whole.UnmarshalCedar(slices.Concat(base, []byte("\n"), generated)); err != nil {
		return nil, fmt.Errorf("reading the schema with the tools' actions: %w", err)
	}
	s, err := whole.Resolve()
	if err != nil {
		return nil, resolving(file, base, err)
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
	extra := extraType(s)
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		if !extra[name].Optional {
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
