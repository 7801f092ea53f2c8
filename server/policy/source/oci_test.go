package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cuelabs.dev/go/oci/ociregistry/ocimem"
	"cuelabs.dev/go/oci/ociregistry/ociserver"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	orasfile "oras.land/oras-go/v2/content/file"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry/remote"

	"github.com/writpdp/writ/server/policy/trust"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// registry is where artefacts are pushed to: a registry on loopback, or a layout.
type artefacts struct {
	to     oras.Target
	config OCIConfig
}

// newRegistry is a real registry on loopback.
func newRegistry(t testing.TB, wrap func(http.Handler) http.Handler) artefacts {
	t.Helper()
	var handler http.Handler = ociserver.New(ocimem.New(), nil)
	if wrap != nil {
		handler = wrap(handler)
	}
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	name := strings.TrimPrefix(s.URL, "http://") + "/policies/acme"
	repository, err := remote.NewRepository(name)
	must(t, err)
	repository.PlainHTTP = true
	return artefacts{repository, OCIConfig{Reference: name + ":stable"}}
}

func newLayout(t testing.TB) artefacts {
	t.Helper()
	dir := t.TempDir()
	store, err := oci.New(dir)
	must(t, err)
	return artefacts{store, OCIConfig{Reference: "stable", Layout: dir}}
}

func (a artefacts) source(t testing.TB, change func(*OCIConfig)) *OCI {
	t.Helper()
	c := a.config
	c.Trust, c.Now = trust.None, func() time.Time { return noon }
	if change != nil {
		change(&c)
	}
	o, err := NewOCI(c)
	must(t, err)
	return o
}

// entryOf is a line of a tar.
type entryOf struct {
	name, text, link string
	kind             byte
}

func tarOf(t testing.TB, entries ...entryOf) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		must(t, w.WriteHeader(&tar.Header{Typeflag: e.kind, Name: e.name, Linkname: e.link, Size: int64(len(e.text)), Mode: 0o777, Format: tar.FormatPAX}))
		_, err := io.WriteString(w, e.text)
		must(t, err)
	}
	must(t, errors.Join(w.Close(), z.Close()))
	return b.Bytes()
}

// push pushes an artefact of layers and tags it.
func (a artefacts) push(t testing.TB, dated string, layers ...[]byte) ocispec.Descriptor {
	t.Helper()
	return a.pushAs(t, ocispec.MediaTypeImageLayerGzip, dated, layers...)
}

func (a artefacts) pushAs(t testing.TB, mediaType, dated string, layers ...[]byte) ocispec.Descriptor {
	t.Helper()
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		ArtifactType: "application/vnd.example.policies", Config: a.blob(t, ocispec.MediaTypeEmptyJSON, []byte("{}"))}
	if dated != "" {
		m.Annotations = map[string]string{ocispec.AnnotationCreated: dated}
	}
	for _, layer := range layers {
		m.Layers = append(m.Layers, a.blob(t, mediaType, layer))
	}
	d := a.manifest(t, m)
	must(t, a.to.Tag(t.Context(), d, "stable"))
	return d
}

func (a artefacts) blob(t testing.TB, mediaType string, data []byte) ocispec.Descriptor {
	t.Helper()
	d := content.NewDescriptorFromBytes(mediaType, data)
	exists, err := a.to.Exists(t.Context(), d)
	must(t, err)
	if !exists {
		must(t, a.to.Push(t.Context(), d, bytes.NewReader(data)))
	}
	return d
}

func (a artefacts) manifest(t testing.TB, m ocispec.Manifest) ocispec.Descriptor {
	t.Helper()
	data, err := json.Marshal(m)
	must(t, err)
	return a.blob(t, m.MediaType, data)
}

// signer signs artefacts.
type signer struct{ private ed25519.PrivateKey }

func newSigner(t testing.TB) (signer, *trust.Keys) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	der, err := x509.MarshalPKIXPublicKey(public)
	must(t, err)
	keys, err := trust.Read(trust.Material{Public: map[string][]byte{"ci.pub": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}})
	must(t, err)
	return signer{private}, keys
}

// sign attaches a signature over one artefact to another.
func (a artefacts) sign(t testing.TB, s signer, artifactType string, over, to ocispec.Descriptor) {
	t.Helper()
	statement := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://sigstore.dev/cosign/sign/v1","subject":[{"digest":{"sha256":%q}}],"predicate":{}}`, over.Digest.Encoded())
	const payloadType = "application/vnd.in-toto+json"
	envelope, err := json.Marshal(dsse.Envelope{PayloadType: payloadType, Payload: base64.StdEncoding.EncodeToString([]byte(statement)),
		Signatures: []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(ed25519.Sign(s.private, dsse.PAE(payloadType, []byte(statement))))}}})
	must(t, err)
	if strings.Contains(artifactType, "bundle") {
		envelope = fmt.Appendf(nil, `{"mediaType":%q,"dsseEnvelope":%s}`, artifactType, envelope)
	}
	to = ocispec.Descriptor{MediaType: to.MediaType, Digest: to.Digest, Size: to.Size}
	a.manifest(t, ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType,
		Config: a.blob(t, ocispec.MediaTypeEmptyJSON, []byte("{}")), Subject: &to, Layers: []ocispec.Descriptor{a.blob(t, artifactType, envelope)}})
}

func places(t *testing.T) map[string]artefacts {
	return map[string]artefacts{"registry": newRegistry(t, nil), "layout": newLayout(t)}
}

const (
	eleven = "2026-11-23T11:00:00Z"
	half   = "2026-11-23T11:30:00Z"
)

// A tag is followed from artefact to artefact, forward in time.
func TestOCIFollows(t *testing.T) {
	for name, a := range places(t) {
		t.Run(name, func(t *testing.T) {
			first := a.push(t, eleven, tarOf(t, entryOf{name: "./", kind: tar.TypeDir}, entryOf{name: "./acme/", kind: tar.TypeDir},
				entryOf{name: "./acme/writ.yaml", text: "1"}, entryOf{name: "other/x", text: "x"}, entryOf{name: "acme/.hidden", text: "x"}))
			o := a.source(t, func(c *OCIConfig) { c.Directory = "acme" })
			found := take(t, o, Position{})
			if got := contents(t, found.Files); got != "writ.yaml=1;" || found.Commit != first.Digest.String() || !found.Dated.Equal(noon.Add(-time.Hour)) {
				t.Errorf("got %s, %+v", got, found)
			}
			at := Position{Revision: found.Revision, Dated: found.Dated}
			if found := take(t, o, at); found.Files != nil || found.Revision != at.Revision {
				t.Errorf("unchanged: got %+v", found)
			}
			second := a.push(t, half, tarOf(t, entryOf{name: "acme/writ.yaml", text: "2"}))
			found = take(t, o, at)
			if got := contents(t, found.Files); got != "writ.yaml=2;" || found.Commit != second.Digest.String() {
				t.Errorf("got %s, %+v", got, found)
			}
			at = Position{Revision: found.Revision, Dated: found.Dated}
			must(t, a.to.Tag(t.Context(), first, "stable"))
			if _, err := fetch(t, o, at); !errors.Is(err, ErrRewound) {
				t.Errorf("set back: got %v", err)
			}
			for name, dated := range map[string]string{"no date": "", "no time": "yesterday", "the same time": half, "to come": "2027-01-01T00:00:00Z"} {
				a.push(t, dated, tarOf(t, entryOf{name: "acme/writ.yaml", text: name}))
				var refusal *Refusal
				if _, err := fetch(t, o, at); !errors.As(err, &refusal) || refusal.Again {
					t.Errorf("%s: got %v", name, err)
				}
			}
			must(t, a.to.Tag(t.Context(), first, "stable"))
			willing := a.source(t, func(c *OCIConfig) { c.Directory, c.AllowRollback = "acme", true })
			if found := take(t, willing, at); found.Commit != first.Digest.String() {
				t.Errorf("asked for: got %+v", found)
			}
			late := a.source(t, func(c *OCIConfig) { c.Directory, c.Since, c.AllowRollback = "acme", noon.Add(-45*time.Minute), true })
			if _, err := fetch(t, late, Position{}); !errors.Is(err, ErrRewound) {
				t.Errorf("older than may be: got %v", err)
			}
			pinned := a.source(t, func(c *OCIConfig) {
				c.Directory = "acme"
				c.Reference = strings.TrimSuffix(strings.TrimSuffix(c.Reference, "stable"), ":")
				if c.Layout == "" {
					c.Reference += "@"
				}
				c.Reference += first.Digest.String()
			})
			if found := take(t, pinned, at); found.Commit != first.Digest.String() {
				t.Errorf("pinned: got %+v", found)
			}
		})
	}
}

// What the usual client pushes of a directory is a bundle: it packs the directory
// with its name, dates the manifest, and says nothing else.
func TestOCIAsPushed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "acme")
	write(t, filepath.Join(dir, "cedar/a.cedar"), "a")
	write(t, filepath.Join(dir, "writ.yaml"), "1")
	from, err := orasfile.New(filepath.Dir(dir))
	must(t, err)
	defer from.Close()
	layer, err := from.Add(t.Context(), "acme", ocispec.MediaTypeImageLayerGzip, dir)
	must(t, err)
	d, err := oras.PackManifest(t.Context(), from, oras.PackManifestVersion1_1, "application/vnd.unknown.artifact.v1", oras.PackManifestOptions{Layers: []ocispec.Descriptor{layer}})
	must(t, err)
	must(t, from.Tag(t.Context(), d, "stable"))
	a := newRegistry(t, nil)
	_, err = oras.Copy(t.Context(), from, "stable", a.to, "stable", oras.DefaultCopyOptions)
	must(t, err)
	found := take(t, a.source(t, func(c *OCIConfig) { c.Directory, c.Now = "acme", time.Now }), Position{})
	if got := contents(t, found.Files); got != "cedar/a.cedar=a;writ.yaml=1;" || found.Dated.IsZero() {
		t.Errorf("got %s, %+v", got, found)
	}
}

// Only a signature over this artefact, of a key that is named, counts.
func TestOCITrust(t *testing.T) {
	ci, keys := newSigner(t)
	mallory, _ := newSigner(t)
	for name, a := range places(t) {
		t.Run(name, func(t *testing.T) {
			other := a.push(t, eleven, tarOf(t, entryOf{name: "writ.yaml", text: "other"}))
			a.sign(t, ci, signatureTypes[0], other, other)
			d := a.push(t, half, tarOf(t, entryOf{name: "writ.yaml", text: "1"}))
			o := func() *OCI { return a.source(t, func(c *OCIConfig) { c.Trust = keys }) }
			refused := func(what, says string) {
				t.Helper()
				_, err := fetch(t, o(), Position{})
				var refusal *Refusal
				if !errors.As(err, &refusal) || !refusal.Again || refusal.Revision != d.Digest.String() || !strings.Contains(err.Error(), says) {
					t.Errorf("%s: got %v, want it refused: %s", what, err, says)
				}
			}
			refused("nothing", "it has no signature")
			a.sign(t, ci, "application/vnd.example.sbom", d, d)
			refused("something else", "it has no signature")
			a.sign(t, mallory, signatureTypes[1], d, d)
			refused("somebody's", "none of the public keys")
			a.sign(t, ci, signatureTypes[1], other, d)
			refused("another artefact's", "")
			for _, kind := range signatureTypes {
				a.sign(t, ci, kind, d, d)
				if found := take(t, o(), Position{}); found.Signer.Name != "ci.pub" || contents(t, found.Files) != "writ.yaml=1;" {
					t.Errorf("%s: got %+v", kind, found)
				}
			}
		})
	}
}

// Layers that lead out of the tree, or are none.
func TestOCIRefuses(t *testing.T) {
	a := newRegistry(t, nil)
	good := entryOf{name: "writ.yaml", text: "x"}
	bomb := func() []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		w := tar.NewWriter(z)
		zeros := make([]byte, 1<<20)
		for i := range 9 { // 9 × 8 MiB in some kilobytes
			must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprint("z", i), Size: maxFile, Mode: 0o600}))
			for range maxFile >> 20 {
				_, err := w.Write(zeros)
				must(t, err)
			}
		}
		must(t, errors.Join(w.Close(), z.Close()))
		return b.Bytes()
	}
	many := make([]entryOf, 2*maxFiles+2)
	for i := range many {
		many[i] = entryOf{name: fmt.Sprintf("other/%d", i)}
	}
	for name, c := range map[string]struct {
		layer []byte
		says  string
	}{
		"up":            {tarOf(t, good, entryOf{name: "../x", text: "x"}), "not a name within the tree"},
		"up, hidden":    {tarOf(t, good, entryOf{name: "cedar/../../../etc/x", text: "x"}), "not a name within the tree"},
		"up by dots":    {tarOf(t, good, entryOf{name: "./../x", text: "x"}), "not a name within the tree"},
		"up elsewhere":  {tarOf(t, good, entryOf{name: "other/../../x"}), "not a name within the tree"},
		"root":          {tarOf(t, good, entryOf{name: "/etc/passwd", text: "x"}), "not a name within the tree"},
		"up, directory": {tarOf(t, good, entryOf{name: "../", kind: tar.TypeDir}), "not a name within the tree"},
		"backslash":     {tarOf(t, good, entryOf{name: `..\x`, text: "x"}), "not a name within the tree"},
		"link":          {tarOf(t, good, entryOf{name: "x", link: "/etc/passwd", kind: tar.TypeSymlink}), "x: neither a file nor a directory"},
		"hard link":     {tarOf(t, good, entryOf{name: "x", link: "writ.yaml", kind: tar.TypeLink}), "x: neither a file nor a directory"},
		"device":        {tarOf(t, good, entryOf{name: "x", kind: tar.TypeChar}), "x: neither a file nor a directory"},
		"pipe":          {tarOf(t, good, entryOf{name: "x", kind: tar.TypeFifo}), "x: neither a file nor a directory"},
		"twice":         {tarOf(t, good, entryOf{name: "./writ.yaml", text: "y"}), "duplicate"},
		"file in file":  {tarOf(t, good, entryOf{name: "writ.yaml/x", text: "y"}), "duplicate"},
		"many":          {tarOf(t, many...), "more than"},
		"bomb":          {bomb(), "together"},
		"cut":           {tarOf(t, good)[:30], "reading a tar"},
		"nonsense":      {[]byte("nonsense"), "reading the layer"},
	} {
		t.Run(name, func(t *testing.T) {
			a.push(t, eleven, c.layer)
			_, err := fetch(t, a.source(t, nil), Position{})
			var refusal *Refusal
			if !errors.As(err, &refusal) || refusal.Again || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want it refused: %s", err, c.says)
			}
		})
	}
	for name, push := range map[string]func() ocispec.Descriptor{
		"0 layers":  func() ocispec.Descriptor { return a.push(t, eleven) },
		"2 layers":  func() ocispec.Descriptor { return a.push(t, eleven, tarOf(t, good), tarOf(t)) },
		"not a tar": func() ocispec.Descriptor { return a.pushAs(t, "application/octet-stream", eleven, tarOf(t, good)) },
		"not an artefact's": func() ocispec.Descriptor {
			data := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
			d := a.blob(t, ocispec.MediaTypeImageIndex, data)
			must(t, a.to.Tag(t.Context(), d, "stable"))
			return d
		},
	} {
		push()
		if _, err := fetch(t, a.source(t, nil), Position{}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// However a byte of a tar is changed, what is taken is within the tree.
func TestUntarChanged(t *testing.T) {
	for _, layer := range [][]byte{
		tarOf(t, entryOf{name: "a/b", text: "x"}, entryOf{name: "c/", kind: tar.TypeDir}, entryOf{name: strings.Repeat("d", 120), text: "y"}),
		tarOf(t, entryOf{name: "..x/c", text: "y"}, entryOf{name: "./..d/./e", text: "y"}, entryOf{name: ".l", link: "/etc/passwd", kind: tar.TypeReg}),
	} {
		z, err := gzip.NewReader(bytes.NewReader(layer))
		must(t, err)
		data, err := io.ReadAll(z)
		must(t, err)
		for i := range data {
			for _, bits := range []byte{0x01, 0x80, 0xff, 0x41} {
				changed := bytes.Clone(data)
				changed[i] ^= bits
				got, err := untar(bytes.NewReader(changed), ".")
				if err != nil {
					continue
				}
				for _, file := range got.files {
					if checkName(file.Name) != nil || hidden(file.Name) {
						t.Errorf("byte %d: took %q", i, file.Name)
					}
				}
			}
		}
	}
}

// A digest that no signature and no record can name.
func TestOCIDigest(t *testing.T) {
	a := newLayout(t)
	d := a.push(t, eleven, tarOf(t, entryOf{name: "writ.yaml", text: "1"}))
	data, err := content.FetchAll(t.Context(), a.to, d)
	must(t, err)
	name(&d.Digest, fmt.Sprintf("sha512:%x", sha512.Sum512(data)))
	must(t, a.to.Push(t.Context(), d, bytes.NewReader(data)))
	must(t, a.to.Tag(t.Context(), d, "stable"))
	var refusal *Refusal
	if _, err := fetch(t, a.source(t, nil), Position{}); !errors.As(err, &refusal) || !strings.Contains(err.Error(), "is not an artefact's manifest") {
		t.Errorf("got %v", err)
	}
}

func name[D ~string](d *D, text string) { *d = D(text) }

// A registry that hangs, lies, or asks for what nobody gives it.
func TestOCILies(t *testing.T) {
	var lie func(http.ResponseWriter, *http.Request) bool
	a := newRegistry(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if lie == nil || !lie(w, r) {
				next.ServeHTTP(w, r)
			}
		})
	})
	a.push(t, eleven, tarOf(t, entryOf{name: "writ.yaml", text: "1"}))
	get := func(part string, answer func(http.ResponseWriter)) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, part) {
				return false
			}
			answer(w)
			return true
		}
	}
	for name, c := range map[string]struct {
		lie  func(http.ResponseWriter, *http.Request) bool
		says string
	}{
		"another manifest": {get("/manifests/", func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
			fmt.Fprint(w, "{}")
		}), "fetching the manifest"},
		"another layer":    {get("/blobs/", func(w http.ResponseWriter) { fmt.Fprint(w, "x") }), "fetching the bundle"},
		"gone":             {func(w http.ResponseWriter, r *http.Request) bool { http.NotFound(w, r); return true }, "not found"},
		"elsewhere, plain": {get("/blobs/", func(w http.ResponseWriter) { w.Header().Set("Location", "http://example.org/x"); w.WriteHeader(307) }), "redirects to http://example.org"},
	} {
		lie = c.lie
		_, err := fetch(t, a.source(t, nil), Position{})
		var refusal *Refusal
		if err == nil || errors.As(err, &refusal) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %s", name, err, c.says)
		}
	}
	slow := errors.New("too slow")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, slow)
	defer cancel()
	lie = func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }
	if _, err := a.source(t, nil).Fetch(ctx, Position{}); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, slow) {
		t.Errorf("silent: got %v", err)
	}
}

func TestOCICredentials(t *testing.T) {
	a := newRegistry(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if user, password, _ := r.BasicAuth(); r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") && (user != "writ" || password != "canary-secret") {
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	a.push(t, eleven, tarOf(t, entryOf{name: "writ.yaml", text: "1"}))
	file := filepath.Join(t.TempDir(), "password")
	with := func(c *OCIConfig) { c.Username, c.PasswordFile = "writ", file }
	write(t, file, "canary-secret\n")
	if found := take(t, a.source(t, with), Position{}); contents(t, found.Files) != "writ.yaml=1;" {
		t.Errorf("got %+v", found)
	}
	write(t, file, "canary-wrong\n")
	if _, err := fetch(t, a.source(t, with), Position{}); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("got %v", err)
	}
	must(t, os.Remove(file))
	if _, err := fetch(t, a.source(t, with), Position{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestOCIConfig(t *testing.T) {
	good := OCIConfig{Reference: "registry.example.org/policies:stable", Trust: trust.None}
	for name, change := range map[string]func(*OCIConfig){
		"no reference":          func(c *OCIConfig) { c.Reference = "" },
		"no tag":                func(c *OCIConfig) { c.Reference = "registry.example.org/policies" },
		"no registry":           func(c *OCIConfig) { c.Reference = "policies:stable" },
		"no layout's file":      func(c *OCIConfig) { c.Layout, c.CAFile = "/srv/layout", "ca" },
		"user without password": func(c *OCIConfig) { c.Username = "u" },
		"directory above":       func(c *OCIConfig) { c.Directory = ".." },
		"nobody":                func(c *OCIConfig) { c.Trust = nil },
	} {
		c := good
		change(&c)
		if _, err := NewOCI(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := NewOCI(good); err != nil {
		t.Error(err)
	}
}
