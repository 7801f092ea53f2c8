package source

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/writpdp/writ/server/policy/trust"
)

// Bounds of an artefact.
const (
	maxManifest  = 4 << 20
	maxEnvelope  = 256 << 10
	maxReferrers = 32
	maxAhead     = 5 * time.Minute // of an artefact's date
)

// algorithm is that of a manifest's digest: signatures and records have no
// room for another.
const algorithm = "sha256"

// signatureTypes are the artefact types of a signature.
var signatureTypes = []string{"application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.dsse.envelope.v1+json"}

// OCIConfig says which artefact to follow. Files are read anew at every fetch.
type OCIConfig struct {
	// Reference is registry/repository:tag or registry/repository@digest; a tag
	// or a digest where Layout is given.
	Reference string
	// Layout is an OCI image layout on this machine; empty: a registry.
	Layout string
	// Since is when the oldest artefact that may come into force was made; zero:
	// there is none.
	Since time.Time
	// Directory is the bundle's within the artefact; empty: the root.
	Directory string
	// Username and PasswordFile are the registry's; both or neither.
	Username, PasswordFile string
	// CAFile holds the authorities of the registry's certificate; empty: the
	// system's.
	CAFile string
	// Trust says who may sign; trust.None: nobody has to.
	Trust *trust.Keys
	// AllowRollback takes an artefact that is not newer than the one in force.
	AllowRollback bool
	// Now is the clock.
	Now func() time.Time
}

// OCI is an OCI artefact: one layer, a tar, that holds the bundle.
type OCI struct {
	OCIConfig
	reference registry.Reference // of a registry
	pinned    bool               // by digest
}

// NewOCI checks the configuration; it connects to nothing.
func NewOCI(c OCIConfig) (*OCI, error) {
	o := &OCI{OCIConfig: c}
	var err error
	if o.Directory, err = checkDirectory(c.Directory); err != nil {
		return nil, err
	}
	switch {
	case c.Reference == "":
		return nil, errors.New("the artefact's reference is missing")
	case (c.Username == "") != (c.PasswordFile == "") || c.Layout != "" && (c.Username != "" || c.CAFile != ""):
		return nil, errors.New("a user name and a password file are for a registry, and go together")
	case c.Trust == nil:
		return nil, errors.New("it must be said who is trusted, or that nobody has to sign")
	case c.Layout != "":
		o.reference.Reference = c.Reference
	default:
		if o.reference, err = registry.ParseReference(c.Reference); err != nil {
			return nil, fmt.Errorf("the reference is not registry/repository:tag or @digest: %w", err)
		}
		if o.reference.Reference == "" {
			return nil, errors.New("the reference names neither a tag nor a digest")
		}
	}
	o.pinned = o.reference.ValidateReferenceAsDigest() == nil
	return o, nil
}

// Name is the reference and the directory.
func (o *OCI) Name() string {
	name := "oci " + o.Reference
	if o.Layout != "" {
		name = "oci layout " + o.Layout + " " + o.Reference
	}
	return name + " directory " + o.Directory
}

// store is what is needed of a registry or a layout.
type store interface {
	content.ReadOnlyGraphStorage
	Resolve(context.Context, string) (ocispec.Descriptor, error)
}

// Fetch reads the artefact that the reference names now. Its signature is
// verified before anything of the bundle is fetched.
func (o *OCI) Fetch(ctx context.Context, at Position) (Found, error) {
	from, release, err := o.open(ctx)
	if err != nil {
		return Found{}, fmt.Errorf("opening %s: %w", o.Name(), err)
	}
	defer release()
	manifest, err := from.Resolve(ctx, o.reference.Reference)
	if err != nil {
		return Found{}, fmt.Errorf("resolving %s: %w", o.Name(), err)
	}
	found := Found{Revision: manifest.Digest.String(), Commit: manifest.Digest.String()}
	if found.Revision == at.Revision || found.Revision == at.Refused {
		return found, nil
	}
	m, refusal, err := o.manifest(ctx, from, manifest)
	if err != nil || refusal != nil {
		return Found{}, o.refuse(found, refusal, err)
	}
	if !o.Trust.Unsigned() {
		if found.Signer, refusal, err = o.verify(ctx, from, manifest); err != nil || refusal != nil {
			return Found{}, o.refuse(found, refusal, err)
		}
	}
	if found.Dated, err = o.follows(m, at); err != nil {
		return Found{}, &Refusal{Revision: found.Revision, Signer: found.Signer, Err: err}
	}
	data, err := content.FetchAll(ctx, from, m.Layers[0])
	if err != nil {
		return Found{}, fmt.Errorf("fetching the bundle: %w", err)
	}
	if found.Files, err = unpackLayer(data, m.Layers[0].MediaType, o.Directory); err != nil {
		return Found{}, &Refusal{Revision: found.Revision, Signer: found.Signer, Err: err}
	}
	return found, nil
}

// refuse tells a failure from a refusal; an artefact without a signature can be
// given one later.
func (o *OCI) refuse(found Found, refusal, err error) error {
	if err != nil {
		return err
	}
	return &Refusal{Revision: found.Revision, Err: refusal, Again: errors.Is(refusal, trust.ErrUntrusted)}
}

// manifest reads a manifest: of an image whose one layer is a tar.
func (o *OCI) manifest(ctx context.Context, from store, d ocispec.Descriptor) (m ocispec.Manifest, refusal, err error) {
	if d.MediaType != ocispec.MediaTypeImageManifest || d.Size > maxManifest || d.Digest.Algorithm() != algorithm {
		return m, fmt.Errorf("a %.80q of %d bytes with the digest %.80q is not an artefact's manifest", d.MediaType, d.Size, d.Digest), nil
	}
	data, err := content.FetchAll(ctx, from, d)
	if err != nil {
		return m, nil, fmt.Errorf("fetching the manifest: %w", err)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("reading the manifest: %w", err), nil
	}
	if len(m.Layers) != 1 {
		return m, fmt.Errorf("the artefact has %d layers: a bundle is one", len(m.Layers)), nil
	}
	layer := m.Layers[0]
	if layer.MediaType != ocispec.MediaTypeImageLayer && layer.MediaType != ocispec.MediaTypeImageLayerGzip {
		return m, fmt.Errorf("the artefact's layer is a %.80q, and not a tar", layer.MediaType), nil
	}
	if layer.Size > maxTotal {
		return m, fmt.Errorf("the artefact's layer is larger than %d bytes", maxTotal), nil
	}
	return m, nil, nil
}

// verify looks for a signature among what refers to the artefact. Of many it
// looks at the first few.
func (o *OCI) verify(ctx context.Context, from store, d ocispec.Descriptor) (signer trust.Signer, refusal, err error) {
	referrers, err := registry.Referrers(ctx, from, d, "")
	if err != nil {
		return signer, nil, fmt.Errorf("looking for signatures: %w", err)
	}
	refusal = fmt.Errorf("it has no signature: %w", trust.ErrUntrusted)
	looked := 0
	for _, r := range referrers {
		if !slices.Contains(signatureTypes, r.ArtifactType) || r.Size > maxManifest {
			continue
		}
		if looked++; looked > maxReferrers {
			return signer, fmt.Errorf("none of its first %d signatures: %w", maxReferrers, refusal), nil
		}
		envelope, err := o.envelope(ctx, from, r)
		if err != nil {
			return signer, nil, fmt.Errorf("fetching a signature: %w", err)
		}
		if signer, refusal = o.Trust.Artefact(envelope, d.Digest.Encoded()); refusal == nil {
			return signer, nil, nil
		}
	}
	return trust.Signer{}, refusal, nil
}

// envelope fetches a signature; empty: it is none.
func (o *OCI) envelope(ctx context.Context, from store, d ocispec.Descriptor) ([]byte, error) {
	data, err := content.FetchAll(ctx, from, d)
	if err != nil {
		return nil, err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(data, &m); err != nil || len(m.Layers) != 1 || m.Layers[0].Size > maxEnvelope {
		return nil, nil
	}
	return content.FetchAll(ctx, from, m.Layers[0])
}

// follows refuses an artefact that does not come after the one in force: by the
// date in its manifest, which the signature covers. A tag that is set back to an
// older artefact is a rollback that nobody decided here.
func (o *OCI) follows(m ocispec.Manifest, at Position) (time.Time, error) {
	text := m.Annotations[ocispec.AnnotationCreated]
	dated, err := time.Parse(time.RFC3339, text)
	switch {
	case o.pinned:
		return dated, nil
	case dated.Before(o.Since):
		return dated, fmt.Errorf("it was made at %.40q, before %s: %w", text, o.Since.Format(time.RFC3339), ErrRewound)
	case o.AllowRollback:
		return dated, nil
	case err != nil:
		return dated, fmt.Errorf("its manifest's %s is not a time, so nothing tells what came before: %w", ocispec.AnnotationCreated, ErrRewound)
	case dated.After(o.Now().Add(maxAhead)):
		return dated, fmt.Errorf("it says that it was made at %s, which is to come", text)
	case at.Revision != "" && !dated.After(at.Dated):
		return dated, fmt.Errorf("it was made at %s, no later than the one of %s: %w", text, at.Dated.Format(time.RFC3339), ErrRewound)
	}
	return dated, nil
}

func unpackLayer(data []byte, mediaType, directory string) (fs.FS, error) {
	var r io.Reader = bytes.NewReader(data)
	if mediaType == ocispec.MediaTypeImageLayerGzip {
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("reading the layer: %w", err)
		}
		r = z
	}
	t, err := untar(r, directory)
	if err != nil {
		return nil, err
	}
	return t.fs()
}

// open makes a store for one fetch.
func (o *OCI) open(ctx context.Context) (from store, release func(), err error) {
	if o.Layout != "" {
		root, err := os.OpenRoot(o.Layout)
		if err != nil {
			return nil, nil, err
		}
		layout, err := oci.NewFromFS(ctx, boundFS{root.FS()})
		if err != nil {
			return nil, nil, errors.Join(err, root.Close())
		}
		return layout, func() { root.Close() }, nil
	}
	client, err := newClient(o.CAFile)
	if err != nil {
		return nil, nil, err
	}
	client.Transport = boundTransport{client.Transport}
	client.CheckRedirect = func(r *http.Request, via []*http.Request) error { // to where a registry keeps its blobs
		if len(via) > 3 || r.URL.Scheme != "https" && !loopback(r.URL.Hostname()) {
			return fmt.Errorf("it redirects to %s://%s", r.URL.Scheme, r.URL.Host)
		}
		return nil
	}
	authenticated := &auth.Client{Client: client}
	authenticated.SetUserAgent("writ")
	if o.PasswordFile != "" {
		password, err := readSecret(o.PasswordFile)
		if err != nil {
			return nil, nil, err
		}
		authenticated.Credential = auth.StaticCredential(o.reference.Host(), auth.Credential{Username: o.Username, Password: password})
	}
	repository := &remote.Repository{Client: authenticated, Reference: o.reference, ReferrerListMaxPages: 8, MaxMetadataBytes: maxManifest}
	repository.PlainHTTP = plainHost(o.reference.Registry)
	return repository, client.CloseIdleConnections, nil
}
