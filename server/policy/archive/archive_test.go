package archive

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/writpdp/writ/policies/policiestest"
	"github.com/writpdp/writ/server/policy"
)

// sample is the sample bundle, to be changed.
func sample(t testing.TB) fstest.MapFS {
	t.Helper()
	files := policiestest.Sample()
	return files
}

func packed(t testing.TB, fsys fs.FS) []byte {
	t.Helper()
	archive, _, err := Pack(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return archive
}

// An archive is the same bundle, whatever else lies about and whenever the files
// were written.
func TestPack(t *testing.T) {
	files := sample(t)
	archive, bundle, err := Pack(files)
	if err != nil {
		t.Fatal(err)
	}
	direct, err := policy.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	if bundle.Digest != direct.Digest || opened.Digest != direct.Digest {
		t.Errorf("digests: packed %s, opened %s, want %s", bundle.Digest, opened.Digest, direct.Digest)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, files); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"README.md": "# Ours", ".git/config": "x", "cedar/notes.txt": "y", "CODEOWNERS": "* @ann"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(packed(t, os.DirFS(dir)), archive) {
		t.Error("the same bundle in a directory gives another archive")
	}
	if bytes.Contains(archive, []byte("Ours")) {
		t.Error("the archive holds what the bundle does not")
	}
	// Held fast: an archive that is stored is read by every later version.
	if got, want := fmt.Sprintf("%x", sha256.Sum256(packed(t, few))), fewDigest; got != want {
		t.Errorf("the form of an archive changed: %s, want %s", got, want)
	}
}

// few is a bundle of a few lines, with a name that needs a header of its own.
var few = fstest.MapFS{
	"writ.yaml":          {Data: []byte("version: 1\nname: few\n")},
	"schema.cedarschema": {Data: []byte("entity Agent; entity Team; entity Human; entity Server; entity Destination = { host: String, vendor: String, region: String }; type Extra = {};\n")},
	"cedar/" + strings.Repeat("a", 150) + ".cedar": {Data: []byte("@id(\"none\")\nforbid (principal, action, resource);\n")},
}

const fewDigest = "b8c3d14446f19ba0f70ce20d99382d517d376f7976b6c9835ffe60b86b1966b1"

func TestPackFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, sample(t)); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("version: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "budgets.yaml")
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, link); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Pack(os.DirFS(dir)); err == nil || !strings.Contains(err.Error(), "budgets.yaml: not a regular file") {
		t.Errorf("a link was packed: %v", err)
	}
}

// member is one of a hostile archive.
type member struct {
	header tar.Header
	data   string
}

func archiveOf(t *testing.T, members ...member) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, m := range members {
		m.header.Size = int64(len(m.data))
		if err := w.WriteHeader(&m.header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(m.data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func plain(name, data string) member {
	return member{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o444}, data}
}

func TestOpenRefuses(t *testing.T) {
	good := packed(t, sample(t))
	var whole []member
	files := sample(t)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if name != "bundle.go" && !strings.HasPrefix(name, policy.DirTests+"/") {
			whole = append(whole, plain(name, string(files[name].Data)))
		}
	}
	if !bytes.Equal(archiveOf(t, whole...), good) {
		t.Fatal("the test writes another archive than Pack")
	}
	with := func(m ...member) []byte { return archiveOf(t, append(slices.Clone(whole), m...)...) }
	swapped := slices.Clone(whole)
	swapped[0], swapped[1] = swapped[1], swapped[0]
	owned := slices.Clone(whole)
	owned[0].header.Uid = 7
	for want, archive := range map[string][]byte{
		"it is not in the canonical form":        nil,
		"unexpected EOF":                         good[:len(good)/2],
		"canonical form":                         append(bytes.Clone(good), 0),
		"canonical form ":                        archiveOf(t, swapped...),
		"canonical form  ":                       archiveOf(t, owned...),
		`"zz": not a regular file`:               with(member{tar.Header{Typeflag: tar.TypeSymlink, Name: "zz", Linkname: "/etc/passwd"}, ""}),
		`"zy": not a regular file`:               with(member{tar.Header{Typeflag: tar.TypeLink, Name: "zy", Linkname: "writ.yaml"}, ""}),
		`"zd/": not a regular file`:              with(member{tar.Header{Typeflag: tar.TypeDir, Name: "zd/"}, ""}),
		`"../zz": not the name of a file`:        with(plain("../zz", "x")),
		`"/zz": not the name of a file`:          with(plain("/zz", "x")),
		`"z/../../z": not the name of a file`:    with(plain("z/../../z", "x")),
		"not the name of a file":                 with(plain(strings.Repeat("z", 600), "x")),
		"not the name of a file ":                with(plain(strings.Repeat("z/", 9)+"z", "x")),
		`"writ.yaml": it is there twice`:         with(plain("writ.yaml", "version: 1")),
		"zz.txt: no part of the bundle":          with(plain("zz.txt", "x")),
		"zz.yaml: not a file of a bundle":        with(plain("zz.yaml", "x")),
		fmt.Sprintf("it is larger than %d", Max): make([]byte, Max+1),
		fmt.Sprintf("it has more than %d files", policy.MaxFiles): archiveOf(t, func() (many []member) {
			for i := range policy.MaxFiles + 1 {
				many = append(many, plain(fmt.Sprint("z", i), ""))
			}
			return many
		}()...),
	} {
		if _, err := Open(archive); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(want)) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// A bundle that is stored and read back is small beside the bounds, and flips of
// single bits never give another bundle.
func TestOpenNoticesEveryFlip(t *testing.T) {
	good := packed(t, few)
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		bundle, err := Open(bad)
		if err != nil {
			continue
		}
		whole, _, err := Pack(unpacked(bad))
		if err != nil || !bytes.Equal(whole, bad) {
			t.Errorf("byte %d: opened as %s, and is not what packing gives: %v", i, bundle.Digest, err)
		}
	}
}

// unpacked is the file system of an archive that Open has taken.
func unpacked(archive []byte) fs.FS {
	files, err := read(archive)
	if err != nil {
		panic(err)
	}
	fsys, err := tree(files)
	if err != nil {
		panic(err)
	}
	return fsys
}

func FuzzOpen(f *testing.F) {
	f.Add(packed(f, few))
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, archive []byte) {
		bundle, err := Open(archive)
		if err != nil {
			return
		}
		again, packed, err := Pack(unpacked(archive))
		if err != nil || !bytes.Equal(again, archive) || packed.Digest != bundle.Digest {
			t.Errorf("an archive is opened that packing does not give: %v", err)
		}
	})
}
