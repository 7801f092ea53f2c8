package archive

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/policy"
)

// An archive holds the tenants' directories, and no more of them than the bundle
// reads.
func TestTenants(t *testing.T) {
	files := sample(t)
	long := strings.Repeat("t", 128)
	for i, tenant := range []string{"acme", "Other", long} {
		files["cedar/tenants/"+tenant+"/own.cedar"] = &fstest.MapFile{Data: []byte(`@id("own-` + string(rune('a'+i)) + `") forbid (principal, action, resource);`), Mode: 0o444}
	}
	archive, bundle, err := Pack(files)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	if opened.Digest != bundle.Digest {
		t.Error("the archive gives another bundle")
	}
	if diff := cmp.Diff([]string{"Other", "acme", long}, opened.Policies.(*policy.Set).Tenants()); diff != "" {
		t.Error(diff)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, files); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cedar/tenants/acme/README.md", "cedar/tenants/acme/CODEOWNERS", "cedar/tenants/none/notes.txt", "tests/tenants/acme/a.yaml"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(packed(t, os.DirFS(dir)), archive) {
		t.Error("what lies about gives another archive")
	}
	// The same policy for another tenant is another bundle.
	moved := sample(t)
	for name, file := range files {
		moved[strings.Replace(name, "/acme/", "/acme2/", 1)] = file
	}
	delete(moved, "cedar/tenants/acme/own.cedar")
	if bytes.Equal(packed(t, moved), archive) {
		t.Error("a tenant's name is no part of the archive")
	}
	for want, m := range map[string]member{
		"cedar/tenants/acme/x.txt: no part of the bundle":                   plain("cedar/tenants/acme/x.txt", "x"),
		"cedar/tenants/x.cedar: not the directory of a tenant":              plain("cedar/tenants/x.cedar", ""),
		"cedar/tenants/acme/more: a directory":                              plain("cedar/tenants/acme/more/x.cedar", ""),
		"cedar/tenants/other: differs from cedar/tenants/Other":             plain("cedar/tenants/other/x.cedar", ""),
		`cedar/tenants/writ:system: the tenant "writ:system" is reserved`:   plain("cedar/tenants/writ:system/x.cedar", ""),
		`"cedar/tenants/acme/../b/x.cedar": not the name of a file`:         plain("cedar/tenants/acme/../b/x.cedar", ""),
		`"cedar/tenants//x.cedar": not the name of a file`:                  plain("cedar/tenants//x.cedar", ""),
		`cedar/tenants/acme.: the directory of a tenant is not of the form`: plain("cedar/tenants/acme./x.cedar", ""),
	} {
		var members []member
		all := map[string]string{m.header.Name: m.data}
		inside, err := read(archive)
		if err != nil {
			t.Fatal(err)
		}
		for name, data := range inside {
			all[name] = string(data)
		}
		for _, name := range slices.Sorted(maps.Keys(all)) {
			members = append(members, plain(name, all[name]))
		}
		if _, err := Open(archiveOf(t, members...)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
