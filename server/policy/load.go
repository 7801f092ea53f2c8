// Package policy turns the files of a policy bundle into one immutable
// decision.Bundle: it reads, bounds, validates, compiles and indexes them, and
// says with file, line and column what is wrong. A bundle is whole or refused;
// nothing of a broken one is ever used.
package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/content"
	"github.com/writpdp/writ/server/decision"
)

// Bounds of a bundle.
const (
	maxFile   = maxCedarFile
	maxBundle = 64 << 20
	maxFiles  = 10_000
)

// files reads a bundle's files within the bounds and remembers what was read
// for the digest.
type files struct {
	fsys  fs.FS
	size  int64
	sums  map[string][sha256.Size]byte
	count int
}

func (f *files) read(name string) ([]byte, error) {
	info, err := fs.Lstat(f.fsys, name)
	if err != nil {
		return nil, fmt.Errorf("reading the bundle: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", name)
	}
	if f.count++; f.count > maxFiles {
		return nil, fmt.Errorf("the bundle has more than %d files", maxFiles)
	}
	file, err := f.fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading the bundle: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: larger than %d bytes", name, maxFile)
	}
	if f.size += int64(len(data)); f.size > maxBundle {
		return nil, fmt.Errorf("the bundle is larger than %d bytes", maxBundle)
	}
	f.sums[name] = sha256.Sum256(data)
	return data, nil
}

// digest covers the name and content of every file that was read, in the order
// of their names.
func (f *files) digest() string {
	names := make([]string, 0, len(f.sums))
	for name := range f.sums {
		names = append(names, name)
	}
	slices.Sort(names)
	h := sha256.New()
	for _, name := range names {
		sum := f.sums[name]
		fmt.Fprintf(h, "%x  %s\n", sum, name)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Load reads the bundle at the root of a file system. Only the bundle's own
// files are read, and none through a symbolic link.
func Load(fsys fs.FS) (*decision.Bundle, error) {
	f := &files{fsys: fsys, sums: map[string][sha256.Size]byte{}}
	var m manifest
	if err := readYAML(f, fileManifest, &m, false); err != nil {
		return nil, err
	}
	if m.Version != 1 {
		return nil, fmt.Errorf("%s: version %d is not 1", fileManifest, m.Version)
	}
	if err := checkName("name", m.Name); err != nil {
		return nil, fmt.Errorf("%s: %w", fileManifest, err)
	}
	b := &decision.Bundle{Name: m.Name}
	facts, err := f.tools(b)
	if err != nil {
		return nil, err
	}
	if err := f.data(b); err != nil {
		return nil, err
	}
	if b.Policies, err = f.policies(facts); err != nil {
		return nil, err
	}
	b.Digest = f.digest()
	return b, nil
}

// Schema is the bundle's whole Cedar schema: its own declarations and the
// actions of its tools, as the policies are validated against.
func Schema(fsys fs.FS) ([]byte, error) {
	f := &files{fsys: fsys, sums: map[string][sha256.Size]byte{}}
	facts, err := f.tools(&decision.Bundle{})
	if err != nil {
		return nil, err
	}
	base, err := f.read(fileSchema)
	if err != nil {
		return nil, err
	}
	generated := actions(facts)
	if _, err := resolve(fileSchema, base, generated); err != nil {
		return nil, err
	}
	return slices.Concat(base, []byte("\n// Written by `writ policy schema` from the tool manifests.\n\n"), generated), nil
}

// data reads vendors, purposes and budgets, which rest on one another.
func (f *files) data(b *decision.Bundle) error {
	var vendors vendorsFile
	var purposes purposesFile
	var budgets budgetsFile
	for _, part := range []struct {
		name string
		into any
		use  func() error
	}{
		{fileVendors, &vendors, func() error { return vendors.vendors(b) }},
		{filePurposes, &purposes, func() error { return purposes.purposes(b) }},
		{fileBudgets, &budgets, func() error { return budgets.budgets(b) }},
	} {
		if err := readYAML(f, part.name, part.into, true); err != nil {
			return err
		}
		if err := part.use(); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// tools reads the manifests, in the order of their names, and what the operator
// says of the tools.
func (f *files) tools(b *decision.Bundle) ([]toolFacts, error) {
	var words toolsFile
	if err := readYAML(f, fileTools, &words, true); err != nil {
		return nil, err
	}
	names, err := fs.Glob(f.fsys, globTools)
	if err != nil {
		return nil, fmt.Errorf("listing tool manifests: %w", err)
	}
	b.Tools = map[decision.ToolName]*decision.Tool{}
	var facts []toolFacts
	for _, name := range names {
		more, err := f.manifest(name, words)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for _, t := range more {
			if _, twice := b.Tools[t.tool.ToolName]; twice {
				return nil, fmt.Errorf("%s: the tool %s is there twice", name, t.tool)
			}
			b.Tools[t.tool.ToolName] = t.tool
		}
		facts = append(facts, more...)
	}
	for server, tools := range words {
		for tool := range tools {
			if _, ok := b.Tools[decision.ToolName{Server: server, Name: tool}]; !ok {
				return nil, fmt.Errorf("%s: the tool %s/%s is in no manifest", fileTools, server, tool)
			}
		}
	}
	slices.SortFunc(facts, func(a, b toolFacts) int { return strings.Compare(a.tool.String(), b.tool.String()) })
	return facts, nil
}

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
	if err := jsonv2.Unmarshal(data, &in); err != nil {
		return nil, errors.New("server is not a string or tools is not an array")
	}
	if in.Server == "" || in.Server+".json" != path.Base(name) {
		return nil, fmt.Errorf("the server %q does not match the file's name", in.Server)
	}
	var facts []toolFacts
	for i, definition := range in.Tools {
		t, err := newTool(in.Server, definition, words)
		if err != nil {
			return nil, fmt.Errorf("tool %d: %w", i, err)
		}
		facts = append(facts, t)
	}
	return facts, nil
}

func newTool(server string, definition []byte, words toolsFile) (toolFacts, error) {
	var in struct {
		Name        string         `json:"name"`
		InputSchema jsontext.Value `json:"inputSchema"`
	}
	if err := jsonv2.Unmarshal(definition, &in); err != nil || in.Name == "" {
		return toolFacts{}, errors.New("the definition has no name and inputSchema")
	}
	digest, err := document.ToolDigest(definition)
	if err != nil {
		return toolFacts{}, fmt.Errorf("%s: %w", in.Name, err)
	}
	input, err := document.ParseObject(in.InputSchema)
	if err != nil {
		return toolFacts{}, fmt.Errorf("%s: inputSchema: %w", in.Name, err)
	}
	compiled, err := content.Compile(input)
	if err != nil {
		return toolFacts{}, fmt.Errorf("%s: inputSchema: %w", in.Name, err)
	}
	said := words[server][in.Name]
	for _, word := range slices.Concat(said.Classes, said.Labels) {
		if err := checkName("class or label", word); err != nil {
			return toolFacts{}, fmt.Errorf("%s: %w", in.Name, err)
		}
	}
	return toolFacts{
		tool: &decision.Tool{ToolName: decision.ToolName{Server: server, Name: in.Name}, Digest: digest,
			Input: compiled, Classes: said.Classes, Labels: said.Labels},
		input: input.Value().(map[string]any), resources: said.Resources,
	}, nil
}

// policies reads, validates and compiles the Cedar side.
func (f *files) policies(facts []toolFacts) (*Set, error) {
	base, err := f.read(fileSchema)
	if err != nil {
		return nil, err
	}
	s := &Set{tools: map[decision.ToolName]cedar.Record{}}
	if s.schema, err = resolve(fileSchema, base, actions(facts)); err != nil {
		return nil, err
	}
	s.extraType = extraType(s.schema)
	for _, t := range facts {
		s.tools[t.tool.ToolName] = cedar.NewRecord(cedar.RecordMap{
			"server": cedar.String(t.tool.Server), "name": cedar.String(t.tool.Name),
			"classes": stringSet(t.tool.Classes), "labels": stringSet(t.tool.Labels)})
	}
	validator := validate.New(s.schema)
	if s.entities, err = f.entities(s.schema, validator); err != nil {
		return nil, err
	}
	statements, err := f.statements(validator)
	if err != nil {
		return nil, err
	}
	s.index = newIndex(statements, s.entities)
	return s, nil
}

func (f *files) statements(validator *validate.Validator) ([]*statement, error) {
	names, err := fs.Glob(f.fsys, globCedar)
	if err != nil {
		return nil, fmt.Errorf("listing policies: %w", err)
	}
	var all []*statement
	where := map[string]string{}
	for _, name := range names {
		text, err := f.read(name)
		if err != nil {
			return nil, err
		}
		statements, err := parse(name, text)
		if err != nil {
			return nil, err
		}
		for _, st := range statements {
			if other, twice := where[st.id]; twice {
				return nil, fmt.Errorf("%s: the @id %q is taken by %s", st.at(), st.id, other)
			}
			where[st.id] = st.at()
			if err := validator.Policy(st.id, st.ast); err != nil {
				return nil, fmt.Errorf("%s: policy %q: %w", st.at(), st.id, err)
			}
		}
		all = append(all, statements...)
	}
	return all, nil
}

// at is where a policy stands: file:line:column.
func (s *statement) at() string {
	p := s.policy.Position()
	return fmt.Sprintf("%s:%d:%d", p.Filename, p.Line, p.Column)
}

// entities reads entities.json and adds the schema's actions, which Cedar does
// not do by itself.
func (f *files) entities(s *resolved.Schema, validator *validate.Validator) (cedar.EntityMap, error) {
	entities := cedar.EntityMap{}
	data, err := f.read(fileEntities)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if _, err := document.Parse(data); err != nil {
			return nil, fmt.Errorf("%s: %w", fileEntities, err)
		}
		if err := json.NewDecoder(bytes.NewReader(data)).Decode(&entities); err != nil {
			return nil, fmt.Errorf("%s: %w", fileEntities, err)
		}
		if err := validator.Entities(entities); err != nil {
			return nil, fmt.Errorf("%s: %w", fileEntities, err)
		}
	}
	for uid, action := range s.Actions {
		entities[uid] = action.Entity
	}
	return entities, nil
}
