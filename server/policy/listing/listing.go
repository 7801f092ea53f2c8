// Package listing reads what MCP servers answer to tools/list, and says what
// changed between two answers. It believes nothing that a server says and shows
// everything.
package listing

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/writpdp/writ/document"
)

// Listing is all tools of one server.
type Listing struct {
	// Server is the server's id, where the text says it; a server's own answer
	// does not.
	Server string
	Tools  []Tool
}

// Tool is one tool's definition.
type Tool struct {
	Name string
	// Digest pins the definition: document.ToolDigest.
	Digest string
	// Raw is the definition as it was listed.
	Raw []byte
}

// Form is what servers' ids are.
var Form = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// MaxSize bounds a listing, in bytes.
const MaxSize = 8 << 20

// maxName bounds a tool's name, in bytes, as a bundle does.
const maxName = 256

// Parse reads a listing: a tools/list result, bare or in its JSON-RPC response, a
// manifest of a bundle, or only the list. An answer that goes on on another page
// is refused, since tools that are on it would seem to be gone.
func Parse(data []byte) (Listing, error) {
	if len(data) > MaxSize {
		return Listing{}, fmt.Errorf("larger than %d bytes", MaxSize)
	}
	if _, err := document.Parse(data); err != nil {
		return Listing{}, err
	}
	var in struct {
		Server string           `json:"server"`
		Tools  []jsontext.Value `json:"tools"`
		Next   string           `json:"nextCursor"`
		Result jsontext.Value   `json:"result"`
		Error  jsontext.Value   `json:"error"`
	}
	if bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("[")) {
		data = bytes.Join([][]byte{[]byte(`{"tools":`), data, []byte("}")}, nil)
	}
	if err := jsonv2.Unmarshal(data, &in); err != nil {
		return Listing{}, errors.New("not an answer to tools/list")
	}
	if in.Error != nil {
		return Listing{}, errors.New("an error that a server answered, and no list of tools")
	}
	if in.Result != nil {
		server := in.Server
		if err := jsonv2.Unmarshal(in.Result, &in); err != nil {
			return Listing{}, errors.New("the result is not an answer to tools/list")
		}
		in.Server = server
	}
	switch {
	case in.Tools == nil:
		return Listing{}, errors.New("there is no list of tools")
	case in.Next != "":
		return Listing{}, errors.New("one page of several: ask for the pages after nextCursor, and join them")
	case in.Server != "" && !Form.MatchString(in.Server):
		return Listing{}, fmt.Errorf("the server's id is not of the form %s", Form)
	}
	l := Listing{Server: in.Server}
	seen := map[string]bool{}
	for i, raw := range in.Tools {
		var tool struct {
			Name string `json:"name"`
		}
		if err := jsonv2.Unmarshal(raw, &tool); err != nil || tool.Name == "" {
			return Listing{}, fmt.Errorf("tool %d: the definition has no name", i)
		}
		if len(tool.Name) > maxName {
			return Listing{}, fmt.Errorf("tool %d: its name is longer than %d bytes", i, maxName)
		}
		if seen[tool.Name] {
			return Listing{}, fmt.Errorf("tool %d: %q is there twice", i, tool.Name)
		}
		seen[tool.Name] = true
		digest, err := document.ToolDigest(raw)
		if err != nil {
			return Listing{}, fmt.Errorf("tool %d: %q: %w", i, tool.Name, err)
		}
		l.Tools = append(l.Tools, Tool{Name: tool.Name, Digest: digest, Raw: raw})
	}
	return l, nil
}

// Manifest is the listing as a bundle holds it, of a server.
func (l Listing) Manifest(server string) ([]byte, error) {
	if !Form.MatchString(server) {
		return nil, fmt.Errorf("the server's id %q is not of the form %s", server, Form)
	}
	out := struct {
		Server string           `json:"server"`
		Tools  []jsontext.Value `json:"tools"`
	}{Server: server, Tools: []jsontext.Value{}}
	for _, t := range l.Tools {
		out.Tools = append(out.Tools, jsontext.Value(t.Raw))
	}
	data, err := jsonv2.Marshal(out, jsontext.WithIndent("  "), jsontext.PreserveRawStrings(true))
	if err != nil {
		return nil, fmt.Errorf("writing the manifest: %w", err)
	}
	return append(data, '\n'), nil
}
