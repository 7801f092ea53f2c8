package policy

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

// small is a whole bundle, small enough to be loaded often.
func small() fstest.MapFS {
	files := fstest.MapFS{}
	for name, text := range map[string]string{
		fileManifest: "version: 1\nname: small\n",
		fileSchema: "entity Team;\nentity Agent in [Team];\nentity Human;\nentity Server;\n" +
			"entity Destination = { host: String, vendor: String, region: String };\ntype Extra = { limit?: Long };\n",
		fileEntities: `[{"uid":{"type":"Agent","id":"a"},"attrs":{},"parents":[{"type":"Team","id":"t"}]}]`,
		fileTools:    "s:\n  t: { classes: [read-only], labels: [pii] }\n",
		filePurposes: "p:\n  tools: [s/*]\n  vendors: [v]\n",
		fileVendors:  "v:\n  endpoints:\n    - { region: eu, host: v.example.org }\n",
		fileBudgets:  "b:\n  unit: calls\n  cap: 3\n  window: day\n  zone: Europe/Berlin\n  per: [tenant]\n",
		"cedar/a.cedar": "@id(\"one\")\npermit (principal in Team::\"t\", action in Action::\"read-only\", resource)\n" +
			"when { context.purpose == \"p\" && context.extra has limit };\n" +
			"@id(\"two\")\n@obligate(\"redact\")\n@fields(\"/a /b/*\")\npermit (principal, action, resource);\n",
		"tools/s.json": `{"server":"s","tools":[{"name":"t","inputSchema":{"type":"object","properties":{"n":{"type":"integer"}}}}]}`,
	} {
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return files
}

func TestSmallBundleLoads(t *testing.T) {
	if _, err := Load(small()); err != nil {
		t.Fatal(err)
	}
}

// Whatever one file of a bundle holds, loading it ends with a whole bundle or an
// error that names a file.
func FuzzBundle(f *testing.F) {
	names := []string{fileManifest, fileSchema, fileEntities, fileTools, filePurposes, fileVendors, fileBudgets, "cedar/a.cedar", "tools/s.json"}
	for i, name := range names {
		f.Add(uint8(i), small()[name].Data)
	}
	for _, text := range []string{
		strings.Repeat("(", 1<<16), strings.Repeat("[", 1<<16), strings.Repeat("if ", 1<<12), strings.Repeat("!", 1<<12),
		"@id(\"x\")\npermit (principal, action, resource) when { " + strings.Repeat("true && ", 1<<10) + "true };",
		"\"", "/", "// (((", "@id(\"a\") @id(\"a\") permit (principal, action, resource);",
	} {
		f.Add(uint8(7), []byte(text))
	}
	f.Add(uint8(4), []byte("p: &a { tools: [s/t] }\nq: *a\n"))
	f.Add(uint8(4), []byte("p: { tools: [s/t] }\np: { tools: [s/t] }\n"))
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		bundle := small()
		name := names[int(which)%len(names)]
		bundle[name] = &fstest.MapFile{Data: data, Mode: fs.ModePerm}
		b, err := Load(bundle)
		if err == nil && (b.Digest == "" || b.Policies == nil) {
			t.Errorf("%s: a bundle that is not whole", name)
		}
		if err != nil && err.Error() == "" {
			t.Errorf("%s: an error without words", name)
		}
	})
}
