package policy

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// broken is the small bundle with some files replaced; "" takes one away.
func broken(changes map[string]string) fstest.MapFS {
	files := small()
	for name, text := range changes {
		if files[name] = (&fstest.MapFile{Data: []byte(text), Mode: 0o444}); text == "" {
			delete(files, name)
		}
	}
	return files
}

func TestLoadRefuses(t *testing.T) {
	tool := func(definition string) string { return `{"server":"s","tools":[` + definition + `]}` }
	tests := []struct{ name, file, text, want string }{
		{"no manifest", "writ.yaml", "", "writ.yaml: file does not exist"},
		{"an empty manifest", "writ.yaml", "\n", "writ.yaml: version 0 is not 1"},
		{"another version", "writ.yaml", "version: 2\nname: x\n", "writ.yaml: version 2 is not 1"},
		{"a name that is none", "writ.yaml", "version: 1\nname: A B\n", `writ.yaml: the name "A B" is not of the form`},
		{"an unknown key", "writ.yaml", "version: 1\nname: x\nvresion: 1\n", "writ.yaml:3:1: unknown field"},
		{"a key twice", "writ.yaml", "version: 1\nname: x\nname: y\n", "writ.yaml:3:1: mapping key"},
		{"a wrong type", "writ.yaml", "version: one\nname: x\n", "writ.yaml:1:10: "},
		{"an async class that is none", "writ.yaml", "version: 1\nname: x\naudit: { async: [read-onyl] }\n", `writ.yaml: audit.async: no tool has the class "read-onyl"`},
		{"broken YAML", "writ.yaml", "version: 1\n\tname: x\n", "writ.yaml:2:1: "},
		{"two documents", "writ.yaml", "version: 1\nname: x\n---\nname: y\n", "more than one YAML document"},
		{"deep YAML", "budgets.yaml", "b: " + strings.Repeat("[", 40), "budgets.yaml:1:36: nested deeper than 32"},
		{"deep YAML by indentation", "budgets.yaml", strings.Repeat(" ", 300) + "a: 1", "budgets.yaml:1: nested deeper than 32"},
		{"long YAML", "budgets.yaml", "# " + strings.Repeat("x", 17<<10), "a line longer than"},
		{"large YAML", "budgets.yaml", strings.Repeat("# x\n", 1<<19), "budgets.yaml: larger than"},
		{"no schema", "schema.cedarschema", "", "schema.cedarschema: file does not exist"},
		{"a broken schema", "schema.cedarschema", "entity A;\nentty B;", "schema.cedarschema:2:1: expected declaration"},
		{"a schema without agents", "schema.cedarschema", "entity Human;\nentity Server;\nentity Destination;\ntype Extra = {};", "Agent"},
		{"a schema without Extra", "schema.cedarschema", "entity Agent;\nentity Human;\nentity Server;\nentity Destination = { host: String, vendor: String, region: String };", "declare `type Extra = {};`"},
		{"an Extra that is no record", "schema.cedarschema", strings.Replace(string(small()[fileSchema].Data), "{ limit?: Long }", "String", 1), "the type Extra is not a record"},
		{"an Extra that must be there", "schema.cedarschema", strings.Replace(string(small()[fileSchema].Data), "limit?", "limit", 1), "the attribute limit of the type Extra must be optional"},
		{"a Destination of its own", "schema.cedarschema", strings.Replace(string(small()[fileSchema].Data), ", region: String", "", 1), "declare `entity Destination"},
		{"an action of its own that a tool has", "schema.cedarschema", string(small()[fileSchema].Data) + `action "s/t";`, `action "s/t" is declared twice`},
		{"an unknown type", "schema.cedarschema", string(small()[fileSchema].Data) + `entity X = { a: Nothing };`, `schema.cedarschema:7:1: entity "X" shape: attribute "a": undefined type "Nothing"`},
		{"types that grow", "schema.cedarschema", string(small()[fileSchema].Data) + bomb(40), "come to more than 100000 types"},
		{"a type that names itself", "schema.cedarschema", string(small()[fileSchema].Data) + "type A = { a: B }; type B = Set<A>;", "schema.cedarschema:7:1: the type A is made of itself: A, B, A"},
		{"types in a circle of namespaces", "schema.cedarschema", string(small()[fileSchema].Data) + "namespace N { type A = { a: M::B }; }\nnamespace M { type C = Long; type B = Set<N::A>; }", "schema.cedarschema:8:30: the type M::B is made of itself: M::B, N::A, M::B"},
		{"actions in a circle", "schema.cedarschema", string(small()[fileSchema].Data) + "action \"a\" in [\"b\"];\n  action \"b\" in [\"c\"];\naction c in [a];", `schema.cedarschema:7:1: the action "a" is in itself: a, b, c, a`},
		{"an action of an unknown type", "schema.cedarschema", string(small()[fileSchema].Data) + "\naction \"q\" appliesTo { principal: [Nope], resource: [Team] };", `schema.cedarschema:8:1: action "q" principal: undefined entity type "Nope"`},
		{"entities in a circle", "entities.json", "[\n" + `{"uid":{"type":"Agent","id":"a"},"attrs":{},"parents":[{"type":"Team","id":"t"}]},` + "\n  " + `{"uid":{"type":"Team","id":"t"},"attrs":{},"parents":[{"type":"Team","id":"u"}]},{"uid":{"type":"Team","id":"u"},"attrs":{},"parents":[{"type":"Team","id":"t"}]}]`, `entities.json:3:3: the entity Team::"t": invalid parent type "Team"`},
		{"entities that are no JSON", "entities.json", "[}", "entities.json: invalid JSON near byte 1"},
		{"an entity twice", "entities.json", `[{"uid":{"type":"Team","id":"t"},"attrs":{},"parents":[]},{"uid":{"type":"Team","id":"t"},"attrs":{},"parents":[]}]`, `duplicate entity Team::"t"`},
		{"an entity without parents", "entities.json", `[{"uid":{"type":"Team","id":"t"},"attrs":{}}]`, `"parents" is missing`},
		{"an entity of an unknown type", "entities.json", `[{"uid":{"type":"Group","id":"g"},"attrs":{},"parents":[]}]`, `entities.json:1:2: the entity Group::"g": entity type "Group" not found`},
		{"an entity with an unknown attribute", "entities.json", `[{"uid":{"type":"Team","id":"t"},"attrs":{"x":1},"parents":[]}]`, `entities.json:1:2: the entity Team::"t": unexpected attribute "x"`},
		{"an entity with a parent of the wrong type", "entities.json", `[{"uid":{"type":"Team","id":"t"},"attrs":{},"parents":[{"type":"Agent","id":"a"}]}]`, `entities.json:1:2: the entity Team::"t": invalid parent type`},
		{"too many ancestors", "entities.json", ancestors(300), "has more than 256 ancestors"},
		{"no tools", "tools/s.json", `{"server":"s"}`, "tools/s.json: server is not a string or tools is not an array"},
		{"tools that are no list", "tools/s.json", `{"server":"s","tools":{}}`, "tools is not an array"},
		{"a manifest that is no object", "tools/s.json", `[]`, "tools/s.json: not a JSON object"},
		{"a key twice in a manifest", "tools/s.json", tool(`{"name":"t","name":"u","inputSchema":{}}`), "tools/s.json: at /tools/0/name: duplicate key"},
		{"another server's manifest", "tools/s.json", `{"server":"x","tools":[]}`, `the server "x" does not match the file's name`},
		{"a server that cannot be named", "tools/a b.json", `{"server":"a b","tools":[]}`, "the server's id is not of the form"},
		{"a server called as an action is", "tools/prompt.json", `{"server":"prompt","tools":[]}`, `"prompt" is called as an action of no tool is`},
		{"a tool without a name", "tools/s.json", tool(`{"inputSchema":{}}`), "tools/s.json: tool 0: the definition has no name"},
		{"a tool without a schema", "tools/s.json", tool(`{"name":"t"}`), "no inputSchema"},
		{"a tool with a long name", "tools/s.json", tool(`{"name":"` + strings.Repeat("t", 300) + `","inputSchema":{}}`), "its name is longer than 256 bytes"},
		{"a tool twice", "tools/s.json", tool(`{"name":"t","inputSchema":{}},{"name":"t","inputSchema":{}}`), "the tool s/t is there twice"},
		{"a tool with a broken schema", "tools/s.json", tool(`{"name":"t","inputSchema":{"type":"objekt"}}`), `tool 0: "t": inputSchema: compiling the schema`},
		{"a tool with a schema of another dialect", "tools/s.json", tool(`{"name":"t","inputSchema":{"$schema":"http://json-schema.org/draft-04/schema#"}}`), "dialect"},
		{"a tool whose schema leads out", "tools/s.json", tool(`{"name":"t","inputSchema":{"$ref":"https://example.com/"}}`), "a reference out of the schema"},
		{"a tool whose types grow", "tools/s.json", tool(`{"name":"t","inputSchema":` + wide() + `}`), `the tool "s/t": its arguments come to more than`},
		{"words on no tool", "tools.yaml", "s: { u: { classes: [x] } }\n", "tools.yaml: the tool s/u is in no manifest"},
		{"a class that is none", "tools.yaml", "s: { t: { classes: [READ] } }\n", `the class or label "READ" is not of the form`},
		{"a class called as the server is", "tools.yaml", "s: { t: { classes: [s] } }\n", `the class "s" is called as a server or an action is`},
		{"a class called prompt", "tools.yaml", "s: { t: { classes: [prompt] } }\n", `the class "prompt" is called`},
		{"a resource that is text of a schema", "tools.yaml", "s: { t: { resources: ['Team], context: {} }; entity X; action \"x\" appliesTo { principal: [Agent], resource: [Team'] } }\n", "is not an entity type"},
		{"a resource of an unknown type", "tools.yaml", "s: { t: { resources: [Nothing] } }\n", "schema.cedarschema: "},
		{"an unknown word", "tools.yaml", "s: { t: { clases: [x] } }\n", "tools.yaml:1:11: unknown field"},
		{"a purpose that is none", "purposes.yaml", "P: { tools: [s/*] }\n", `purposes.yaml: the purpose "P" is not of the form`},
		{"a purpose of an unknown tool", "purposes.yaml", "p: { tools: [s/u] }\n", `purpose "p": the tool "s/u" is in no manifest`},
		{"a purpose of all servers", "purposes.yaml", "p: { tools: ['*/*'] }\n", "is neither server/tool nor server/*"},
		{"a purpose of an unknown vendor", "purposes.yaml", "p: { vendors: [w] }\n", `there is no vendor "w"`},
		{"a purpose in no region", "purposes.yaml", "p: { regions: [ue] }\n", `no vendor is in the region "ue"`},
		{"an alias that is none", "purposes.yaml", "p: *q\n", "purposes.yaml:1:5: could not find alias"},
		{"a vendor without endpoints", "vendors.yaml", "v: { endpoints: [] }\n", `vendor "v" has no endpoints`},
		{"a host that is none", "vendors.yaml", "v: { endpoints: [{ region: eu, host: V.example.org }] }\n", "is not a host name in lower case"},
		{"a region that is none", "vendors.yaml", "v: { endpoints: [{ region: EU, host: v.example.org }] }\n", `the region "EU" is not of the form`},
		{"a host of two", "vendors.yaml", "v: { endpoints: [{ region: eu, host: a }] }\nw: { endpoints: [{ region: eu, host: a }] }\n", `the host "a" belongs to the vendor "v" already`},
		{"a budget of nothing known", "budgets.yaml", "b: { unit: hours, cap: 1, window: day }\n", `the unit "hours" is not calls, tokens or money`},
		{"money of no currency", "budgets.yaml", "b: { unit: money, cap: 1, window: day }\n", "money has a currency of three capitals"},
		{"calls of a currency", "budgets.yaml", "b: { unit: calls, currency: EUR, cap: 1, window: day }\n", "nothing else has one"},
		{"a negative cap", "budgets.yaml", "b: { unit: calls, cap: -1, window: day }\n", "the cap -1 is negative"},
		{"a cap that overflows", "budgets.yaml", "b: { unit: calls, cap: 9223372036854775808, window: day }\n", "budgets.yaml:1:24: "},
		{"no window", "budgets.yaml", "b: { unit: calls, cap: 1, window: week }\n", `the window "week" is not`},
		{"a zone that is none", "budgets.yaml", "b: { unit: calls, cap: 1, window: day, zone: Mars/Base }\n", `the zone "Mars/Base" is not a time zone`},
		{"the zone of the machine", "budgets.yaml", "b: { unit: calls, cap: 1, window: day, zone: Local }\n", "is not a time zone"},
		{"a zone out of the way", "budgets.yaml", "b: { unit: calls, cap: 1, window: day, zone: ../../etc/passwd }\n", "is not a time zone"},
		{"apart by the unknown", "budgets.yaml", "b: { unit: calls, cap: 1, window: day, per: [team] }\n", "not all are tenant"},
		{"a budget of an unknown tool", "budgets.yaml", "b: { unit: calls, cap: 1, window: day, tools: [x/y] }\n", "is in no manifest"},
		{"a budget of an unknown purpose", "budgets.yaml", "b: { unit: calls, cap: 1, window: day, purposes: [q] }\n", `there is no purpose "q"`},
		{"a policy of an unknown action", "cedar/a.cedar", "@id(\"a\")\npermit (principal, action == Action::\"s/u\", resource);", "cedar/a.cedar:1:1: policy \"a\": unrecognized action"},
		{"a policy of no actions", "cedar/a.cedar", "@id(\"a\")\npermit (principal, action in [], resource);", "empty set literals are forbidden"},
		{"a policy of the wrong resource", "cedar/a.cedar", "@id(\"a\")\npermit (principal, action == Action::\"s/t\", resource is Destination);", "unable to find an applicable action"},
		{"a policy of the wrong type", "cedar/a.cedar", "@id(\"a\")\npermit (principal, action, resource)\nwhen { context.purpose == 1 };", "cedar/a.cedar:1:1: policy \"a\": "},
		{"a policy of an optional attribute", "cedar/a.cedar", "@id(\"a\")\npermit (principal, action == Action::\"s/t\", resource)\nwhen { context.args.n > 1 };", "unable to guarantee safety of access to optional attribute"},
		{"the same @id in another file", "cedar/b.cedar", "\n@id(\"one\")" + rest, "cedar/b.cedar:2:1: the @id \"one\" is taken by cedar/a.cedar:1:1"},
		{"a route to an unknown vendor", "cedar/b.cedar", "@id(\"r\") @obligate(\"route\") @vendor(\"w\")" + rest, `cedar/b.cedar:1:1: policy "r": no vendor is "w"`},
		{"a route to an unknown region", "cedar/b.cedar", "@id(\"r\") @obligate(\"route\") @region(\"ue\") @vendor(\"v\")" + rest, `with the region "ue"`},
		{"a policy that is deep", "cedar/b.cedar", strings.Repeat("(", 1000), "cedar/b.cedar:1:65: nested deeper than 64"},
		{"a misspelt file", "budget.yaml", "b: 1\n", "budget.yaml: not a file of a bundle"},
		{"a policy in the wrong place", "more.cedar", rest, "more.cedar: not a file of a bundle"},
		{"a directory of policies", "cedar/team/b.cedar", rest, "cedar/team: a directory, whose files would not be read"},
		{"a large file", "entities.json", strings.Repeat(" ", maxFile+1), "entities.json: larger than"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b, err := Load(broken(map[string]string{test.file: test.text}))
			if b != nil || err == nil || !strings.Contains(err.Error(), test.want) || len(err.Error()) > 2*maxMessage {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// bomb are n types of which each names the one before twice.
func bomb(n int) string {
	var b strings.Builder
	b.WriteString("type T0 = { a: Long };\n")
	for i := range n {
		fmt.Fprintf(&b, "type T%d = { a: T%d, b: Set<T%d> };\n", i+1, i, i)
	}
	return b.String()
}

// ancestors are n teams in a row.
func ancestors(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(`{"uid":{"type":"Agent","id":"%d"},"attrs":{},"parents":[]}`, i))
	}
	var parents []string
	for i := range n {
		parents = append(parents, fmt.Sprintf(`{"type":"Team","id":"%d"}`, i))
	}
	return `[{"uid":{"type":"Agent","id":"a"},"attrs":{},"parents":[` + strings.Join(parents, ",") + `]},` + strings.Join(all, ",") + `]`
}

// wide is a schema of a few kilobytes whose references come to millions.
func wide() string {
	var b strings.Builder
	b.WriteString(`{"$defs":{`)
	for level := range 4 {
		var properties []string
		for i := range 40 {
			properties = append(properties, fmt.Sprintf(`"p%d":{"$ref":"#/$defs/d%d"}`, i, level+1))
		}
		fmt.Fprintf(&b, `"d%d":{"type":"object","properties":{%s}},`, level, strings.Join(properties, ","))
	}
	return b.String() + `"d4":{}},"properties":{"a":{"$ref":"#/$defs/d0"}}}`
}

// Teams may be in teams, and none in itself.
func TestLoadHierarchy(t *testing.T) {
	schema := strings.Replace(string(small()[fileSchema].Data), "entity Team;", "entity Team in [Team];", 1)
	load := func(last string) error {
		_, err := Load(broken(map[string]string{fileSchema: schema, fileEntities: "[\n" + `{"uid":{"type":"Team","id":"t"},"attrs":{},"parents":[{"type":"Team","id":"u"}]},
  {"uid":{"type":"Team","id":"u"},"attrs":{},"parents":[{"type":"Team","id":"v"}]},
  {"uid":{"type":"Team","id":"v"},"attrs":{},"parents":[` + last + `]}]`}))
		return err
	}
	if err := load(""); err != nil {
		t.Error(err)
	}
	const want = `entities.json:2:1: the entity Team::"t": it is its own ancestor: Team::"t", Team::"u", Team::"v", Team::"t"`
	for range 5 {
		if err := load(`{"type":"Team","id":"t"}`); err == nil || err.Error() != want {
			t.Fatalf("got %v", err)
		}
	}
	if err := load(`{"type":"Team","id":"v"}`); err == nil || !strings.Contains(err.Error(), `entities.json:4:3: the entity Team::"v": it is its own ancestor`) {
		t.Errorf("got %v", err)
	}
}

// Types of the same name in other namespaces, and entities that are called like
// types, are no circle.
func TestNoCircle(t *testing.T) {
	for _, more := range []string{
		"namespace N { type A = M::A; }\nnamespace M { type A = Long; }",
		"namespace N { entity B; type A = { a: B }; }\nnamespace M { type B = N::A; }",
		"entity C in [C]; type D = { c: C }; entity E in [C] = { d: D, e?: E };",
		"action a in [b, c]; action b in [c]; action c;",
		"namespace N { action a in [M::Action::\"a\"]; }\nnamespace M { action a; }",
	} {
		if _, err := Load(broken(map[string]string{fileSchema: string(small()[fileSchema].Data) + more})); err != nil {
			t.Errorf("%s: %v", more, err)
		}
	}
}

// Aliases cannot make a bundle larger than its files.
func TestLoadYAMLAliases(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := range 12 {
		fmt.Fprintf(&b, "a%d: &a%d [%s*a%d]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d, ", i), 9), i)
	}
	for _, file := range []string{fileManifest, fileTools, filePurposes, fileVendors, fileBudgets} {
		if _, err := Load(broken(map[string]string{file: b.String()})); err == nil {
			t.Errorf("%s was taken", file)
		}
	}
	more := "version: 1\nname: small\n---\n" + b.String()
	if _, err := Load(broken(map[string]string{fileManifest: more})); err == nil || !strings.Contains(err.Error(), "more than one YAML document") {
		t.Errorf("a second document: %v", err)
	}
	// One alias for what is said twice is fine.
	if _, err := Load(broken(map[string]string{filePurposes: "p: &p\n  tools: [s/t]\nq: *p\n"})); err != nil {
		t.Error(err)
	}
}

// Optional files are optional, and a bundle without policies permits nothing.
func TestLoadTheLeast(t *testing.T) {
	b, err := Load(broken(map[string]string{fileEntities: "", fileTools: "", filePurposes: "", fileVendors: "", fileBudgets: "", fileEgress: "", "cedar/a.cedar": "", "tools/s.json": ""}))
	if err != nil {
		t.Fatal(err)
	}
	if b.Name != "small" || len(b.Tools)+len(b.Purposes)+len(b.Vendors)+len(b.Budgets) > 0 || b.Policies == nil {
		t.Errorf("got %+v", b)
	}
}

// Only real files in real directories are read.
func TestLoadFromDisk(t *testing.T) {
	write := func(t *testing.T) string {
		dir := t.TempDir()
		if err := os.CopyFS(dir, small()); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	whole := write(t)
	if _, err := Load(os.DirFS(whole)); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(dir string) error{
		"a link in place of a file": func(dir string) error {
			return os.Symlink(filepath.Join(whole, fileEntities), filepath.Join(dir, fileEntities))
		},
		"a link to nothing":    func(dir string) error { return os.Symlink("nothing", filepath.Join(dir, fileEntities)) },
		"a directory in place": func(dir string) error { return os.Mkdir(filepath.Join(dir, fileEntities), 0o700) },
		"a link among the policies": func(dir string) error {
			return os.Symlink(filepath.Join(whole, "cedar/a.cedar"), filepath.Join(dir, "cedar/b.cedar"))
		},
		"a directory among the tools":  func(dir string) error { return os.Mkdir(filepath.Join(dir, "tools/x.json"), 0o700) },
		"a link in place of policies":  func(dir string) error { return os.Symlink(filepath.Join(whole, "cedar"), filepath.Join(dir, "cedar")) },
		"a file in place of policies":  func(dir string) error { return os.WriteFile(filepath.Join(dir, "cedar"), nil, 0o600) },
		"a link in place of the tools": func(dir string) error { return os.Symlink(filepath.Join(whole, "tools"), filepath.Join(dir, "tools")) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := write(t)
			for _, gone := range map[string][]string{
				"a link in place of a file": {fileEntities}, "a link to nothing": {fileEntities}, "a directory in place": {fileEntities}, "a link in place of policies": {"cedar"},
				"a file in place of policies": {"cedar"}, "a link in place of the tools": {"tools"},
			}[name] {
				if err := os.RemoveAll(filepath.Join(dir, gone)); err != nil {
					t.Fatal(err)
				}
			}
			if err := change(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := Load(os.DirFS(dir)); err == nil || !strings.Contains(err.Error(), "not a regular file") && !strings.Contains(err.Error(), "not a directory") && !strings.Contains(err.Error(), "a directory, whose") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// The digest is of the names and contents of the files that are read.
func TestDigest(t *testing.T) {
	load := func(files fs.FS) string {
		t.Helper()
		b, err := Load(files)
		if err != nil {
			t.Fatal(err)
		}
		return b.Digest
	}
	want := load(small())
	if got := load(small()); got != want || len(got) != 64 {
		t.Errorf("got %s, and then %s", want, got)
	}
	if got := load(broken(map[string]string{"README.md": "x", "cedar/notes.txt": "x", ".hidden.yaml": "x", "tools/x.mjs": "x"})); got != want {
		t.Error("a file that is none of the bundle changes the digest")
	}
	seen := map[string]string{want: "the bundle"}
	for name, file := range small() {
		for _, more := range []string{"\n", " "} {
			got := load(broken(map[string]string{name: string(file.Data) + more}))
			if other, twice := seen[got]; twice {
				t.Errorf("%s with %q has the digest of %s", name, more, other)
			}
			seen[got] = fmt.Sprintf("%s with %q", name, more)
		}
	}
	renamed := small()
	renamed["cedar/b.cedar"] = renamed["cedar/a.cedar"]
	delete(renamed, "cedar/a.cedar")
	if other, twice := seen[load(renamed)]; twice {
		t.Errorf("a renamed file has the digest of %s", other)
	}
}
