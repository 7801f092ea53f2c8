package policy

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/content"
	"github.com/writpdp/writ/server/decision"
)

// tools reads the manifests, in the order of their names, and what the operator
// says of the tools.
func (f *files) tools(b *decision.Bundle) ([]toolFacts, toolsFile, error) {
	var words toolsFile
	if err := readYAML(f, fileTools, &words, true); err != nil {
		return nil, nil, err
	}
	names, err := f.list(dirTools, ".json")
	if err != nil {
		return nil, nil, err
	}
	b.Tools = map[decision.ToolName]*decision.Tool{}
	var facts []toolFacts
	for _, name := range names {
		more, err := f.manifest(name, words)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		for _, t := range more {
			if _, twice := b.Tools[t.tool.ToolName]; twice {
				return nil, nil, fmt.Errorf("%s: the tool %s is there twice", name, t.tool)
			}
			b.Tools[t.tool.ToolName] = t.tool
		}
		facts = append(facts, more...)
	}
	for server, tools := range words {
		for tool := range tools {
			if _, ok := b.Tools[decision.ToolName{Server: server, Name: tool}]; !ok {
				return nil, nil, fmt.Errorf("%s: the tool %s/%s is in no manifest", fileTools, server, tool)
			}
		}
	}
	if err := checkGroups(facts); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", fileTools, err)
	}
	slices.SortFunc(facts, func(a, b toolFacts) int { return strings.Compare(a.tool.String(), b.tool.String()) })
	return facts, words, nil
}

// checkGroups refuses a class that is called as a server is, because both become
// the same group of actions, and one that an action of no tool is called.
func checkGroups(facts []toolFacts) error {
	servers := map[string]bool{actionPrompt: true, actionConnect: true}
	for _, t := range facts {
		servers[t.tool.Server] = true
	}
	for _, t := range facts {
		for _, class := range t.tool.Classes {
			if servers[class] {
				return fmt.Errorf("the tool %s: the class %q is called as a server or an action is", t.tool, class)
			}
		}
	}
	return nil
}

// serverForm is what a request can name a server, and typeForm an entity type.
var (
	serverForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	typeForm   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}(::[A-Za-z_][A-Za-z0-9_]{0,63}){0,4}$`)
)

// maxToolName bounds a tool's name, in bytes.
const maxToolName = 256

// manifest reads what one server answered to tools/list, with its "server" id.
func (f *files) manifest(name string, words toolsFile) ([]toolFacts, error) {
	data, err := f.read(name)
	if err != nil {
		return nil, err
	}
	if _, err := document.ParseObject(data); err != nil {
		return nil, err
	}
	var in struct {
		Server string           `json:"server"`
		Tools  []jsontext.Value `json:"tools"`
	}
	if err := jsonv2.Unmarshal(data, &in); err != nil || in.Tools == nil {
		return nil, errors.New("server is not a string or tools is not an array")
	}
	switch {
	case !serverForm.MatchString(in.Server):
		return nil, fmt.Errorf("the server's id is not of the form %s", serverForm)
	case in.Server+".json" != path.Base(name):
		return nil, fmt.Errorf("the server %q does not match the file's name", in.Server)
	case in.Server == actionPrompt || in.Server == actionConnect:
		return nil, fmt.Errorf("the server %q is called as an action of no tool is", in.Server)
	}
	var facts []toolFacts
	for i, definition := range in.Tools {
		t, err := newTool(in.Server, definition, words)
		if err != nil {
			return nil, fmt.Errorf("tool %d: %w", i, err)
		}
		t.file = name
		facts = append(facts, t)
	}
	return facts, nil
}

func newTool(server string, definition []byte, words toolsFile) (toolFacts, error) {
	var in struct {
		Name        string         `json:"name"`
		InputSchema jsontext.Value `json:"inputSchema"`
		Annotations struct {
			OpenWorld any `json:"openWorldHint"`
		} `json:"annotations"`
	}
	if err := jsonv2.Unmarshal(definition, &in); err != nil || in.Name == "" || len(in.InputSchema) == 0 {
		return toolFacts{}, errors.New("the definition has no name or no inputSchema")
	}
	if len(in.Name) > maxToolName {
		return toolFacts{}, fmt.Errorf("its name is longer than %d bytes", maxToolName)
	}
	digest, err := document.ToolDigest(definition)
	if err != nil {
		return toolFacts{}, fmt.Errorf("%q: %w", in.Name, err)
	}
	input, err := document.ParseObject(in.InputSchema)
	if err != nil {
		return toolFacts{}, fmt.Errorf("%q: inputSchema: %w", in.Name, err)
	}
	compiled, err := content.Compile(input)
	if err != nil {
		return toolFacts{}, fmt.Errorf("%q: inputSchema: %w", in.Name, err)
	}
	said := words[server][in.Name]
	labels := []string(nil)
	switch {
	case said.Labels != nil:
		labels = *said.Labels
	case in.Annotations.OpenWorld == true:
		// A server is believed where it makes itself look worse.
		labels = []string{decision.LabelUntrusted}
	}
	for _, word := range slices.Concat(said.Classes, labels) {
		if err := checkName("class or label", word); err != nil {
			return toolFacts{}, fmt.Errorf("%q: %w", in.Name, err)
		}
	}
	for _, typ := range said.Resources {
		if !typeForm.MatchString(typ) {
			return toolFacts{}, fmt.Errorf("%q: the resource %q is not an entity type", in.Name, typ)
		}
	}
	record, err := recordable(compiled, input, said.Record)
	if err != nil {
		return toolFacts{}, fmt.Errorf("%q: record: %w", in.Name, err)
	}
	return toolFacts{
		tool: &decision.Tool{ToolName: decision.ToolName{Server: server, Name: in.Name}, Digest: digest,
			Input: compiled, Classes: said.Classes, Labels: labels, Record: record},
		input: input.Value().(map[string]any), resources: said.Resources, raw: definition,
	}, nil
}
