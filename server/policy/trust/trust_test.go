package trust

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/hiddeco/sshsig"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"golang.org/x/crypto/ssh"
)

var (
	noon    = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	payload = []byte("tree 0123\n\nmessage\n")
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func line(t testing.TB, key crypto.PublicKey) string {
	t.Helper()
	public, err := ssh.NewPublicKey(key)
	must(t, err)
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))
}

func newEd25519(t testing.TB) (ed25519.PublicKey, ed25519.PrivateKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	return public, private
}

func signSSH(t testing.TB, key any, message []byte, namespace string) string {
	t.Helper()
	signer, err := ssh.NewSignerFromKey(key)
	must(t, err)
	signature, err := sshsig.Sign(bytes.NewReader(message), signer, sshsig.HashSHA512, namespace)
	must(t, err)
	return string(sshsig.Armor(signature))
}

// untrusted checks that an error says so, and why.
func untrusted(t testing.TB, what string, err error, says string) {
	t.Helper()
	if !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), says) {
		t.Errorf("%s: got %v, want it untrusted: %s", what, err, says)
	}
}

func TestAllowedSigners(t *testing.T) {
	public, _ := newEd25519(t)
	good := line(t, public)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	must(t, err)
	strongKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	for text, says := range map[string]string{
		"":                                    "no key is named",
		"# a comment\n\n":                     "no key is named",
		"a " + good:                           "",
		"a@x,b@y " + good + " and a comment":  "",
		"a " + line(t, &strongKey.PublicKey):  "",
		"a " + line(t, &weak.PublicKey):       "line 1: an RSA key",
		"# x\na " + good + "\nb nonsense":     "line 3: not a public key",
		good:                                  "line 1",
		"alone":                               "line 1",
		"a cert-authority " + good:            `the option "cert-authority" is not supported`,
		"a unknown=\"x\" " + good:             "is not supported",
		"a valid-after=\"tomorrow\" " + good:  "the time",
		"a valid-before=\"20261332\" " + good: "the time",
		"a valid-before=\"20261123120000Z\" " + good: "",
		"a Namespaces=\"file\" " + good:              "no key is named",
		"a namespaces=\"file,git\" " + good:          "",
		"\"a b\" " + good:                            "line 1",
	} {
		_, err := Read(Material{AllowedSigners: []byte(text)})
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%q: got %v, want %q", text, err, says)
		}
	}
}

func TestSSH(t *testing.T) {
	public, private := newEd25519(t)
	curve, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	strongKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	_, other := newEd25519(t)
	keys, err := Read(Material{AllowedSigners: []byte("alice " + line(t, public) + "\nbob " + line(t, &curve.PublicKey) + "\ncarol " + line(t, &strongKey.PublicKey) +
		"\ndave valid-before=\"20261123\" " + line(t, other.Public()))})
	must(t, err)
	for name, key := range map[string]any{"alice": private, "bob": curve, "carol": strongKey} {
		signer, err := keys.Git(payload, signSSH(t, key, payload, "git"), noon)
		if err != nil || signer.Name != name || !keys.Knows(signer.Key) {
			t.Errorf("got %+v, %v, want %s", signer, err, name)
		}
	}
	_, stranger := newEd25519(t)
	good := signSSH(t, private, payload, "git")
	for name, c := range map[string]struct{ signature, says string }{
		"none":              {"", "no signature"},
		"spaces":            {" \n ", "no signature"},
		"nonsense":          {"x", "neither of SSH nor of OpenPGP"},
		"cut":               {good[:len(good)/2], "malformed"},
		"stranger":          {signSSH(t, stranger, payload, "git"), "not among"},
		"another message":   {signSSH(t, private, []byte("x"), "git"), "does not fit"},
		"another namespace": {signSSH(t, private, payload, "file"), "does not fit"},
		"expired":           {signSSH(t, other, payload, "git"), "not valid at this time"},
		"huge":              {"-----BEGIN SSH SIGNATURE-----" + strings.Repeat("A", maxSignature), "larger than"},
		"SHA-1":             {sha1Signature(t, strongKey), "malformed"},
	} {
		_, err := keys.Git(payload, c.signature, noon)
		untrusted(t, name, err, c.says)
	}
	if _, err := keys.Git(payload, signSSH(t, other, payload, "git"), noon.AddDate(0, 0, -1)); err != nil {
		t.Errorf("before it expired: %v", err)
	}
	for name, none := range map[string]*Keys{"nil": nil, "none": None} {
		_, err := none.Git(payload, good, noon)
		untrusted(t, name, err, "no keys")
		_, err = none.Artefact([]byte("{}"), "")
		untrusted(t, name, err, "no keys")
		if none.Knows("") {
			t.Errorf("%s knows nobody's key", name)
		}
	}
	if (*Keys)(nil).Unsigned() || !None.Unsigned() || keys.Unsigned() {
		t.Error("only None needs no signature")
	}
}

// sha1Signature is a valid signature of RSA with SHA-1.
func sha1Signature(t testing.TB, key *rsa.PrivateKey) string {
	t.Helper()
	signer, err := ssh.NewSignerFromKey(key)
	must(t, err)
	old, err := ssh.NewSignerWithAlgorithms(signer.(ssh.AlgorithmSigner), []string{ssh.KeyAlgoRSA})
	must(t, err)
	signature, err := sshsig.Sign(bytes.NewReader(payload), signer, sshsig.HashSHA512, "git")
	must(t, err)
	sum, err := old.Sign(rand.Reader, []byte("x"))
	must(t, err)
	signature.Signature = sum
	return string(sshsig.Armor(signature))
}

func keyring(t testing.TB, write func(*openpgp.Entity, *bytes.Buffer) error, entities ...*openpgp.Entity) []byte {
	t.Helper()
	var all bytes.Buffer
	for _, e := range entities {
		must(t, write(e, &all))
	}
	var out bytes.Buffer
	w, err := armor.Encode(&out, openpgp.PublicKeyType, nil)
	must(t, err)
	_, err = w.Write(all.Bytes())
	must(t, err)
	must(t, w.Close())
	return out.Bytes()
}

func public(e *openpgp.Entity, b *bytes.Buffer) error { return e.Serialize(b) }

func TestOpenPGP(t *testing.T) {
	made := func(at time.Time, seconds uint32) *packet.Config {
		return &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return at }, KeyLifetimeSecs: seconds}
	}
	entity := func(name string, c *packet.Config) *openpgp.Entity {
		e, err := openpgp.NewEntity(name, "", name+"@example.org", c)
		must(t, err)
		return e
	}
	sign := func(e *openpgp.Entity, message []byte, c *packet.Config) string {
		var b bytes.Buffer
		must(t, openpgp.ArmoredDetachSign(&b, e, bytes.NewReader(message), c))
		return b.String()
	}
	year := made(noon.AddDate(-1, 0, 0), 0)
	alice, stranger := entity("alice", year), entity("stranger", year)
	expired := entity("expired", made(noon.AddDate(-1, 0, 0), 3600*24*30))
	revoked := entity("revoked", year)
	then := made(noon.AddDate(-1, 0, 1), 0)
	before := sign(revoked, payload, then)
	must(t, revoked.RevokeKey(packet.KeyCompromised, "lost", year))
	keys, err := Read(Material{OpenPGP: keyring(t, public, alice, expired, revoked)})
	must(t, err)
	signer, err := keys.Git(payload, sign(alice, payload, made(noon.AddDate(0, -1, 0), 0)), noon)
	if err != nil || signer.Name != "alice <alice@example.org>" || !keys.Knows(signer.Key) {
		t.Errorf("got %+v, %v", signer, err)
	}
	for name, c := range map[string]struct{ signature, says string }{
		"stranger":        {sign(stranger, payload, year), "not in the keyring"},
		"another message": {sign(alice, []byte("x"), then), "not valid"},
		"expired":         {sign(expired, payload, then), "not valid"},
		"revoked":         {before, "not valid"},
		"nonsense":        {"-----BEGIN PGP SIGNATURE-----\nx", "not valid"},
		"to come":         {sign(alice, payload, made(noon.AddDate(1, 0, 0), 0)), "not valid"},
	} {
		_, err := keys.Git(payload, c.signature, noon)
		untrusted(t, name, err, c.says)
	}
	_, err = Read(Material{OpenPGP: keyring(t, func(e *openpgp.Entity, b *bytes.Buffer) error { return e.SerializePrivate(b, year) }, entity("careless", year))})
	if err == nil {
		t.Error("a private key is taken")
	}
	if _, err := Read(Material{OpenPGP: []byte("nonsense")}); err == nil {
		t.Error("nonsense is taken")
	}
}

func pemOf(t testing.TB, key crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func TestPublicKeys(t *testing.T) {
	public, private := newEd25519(t)
	large, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	for name, c := range map[string]struct {
		text []byte
		says string
	}{
		"good":      {pemOf(t, public), ""},
		"empty":     {nil, "not one PEM"},
		"nonsense":  {[]byte("x"), "not one PEM"},
		"two":       {append(pemOf(t, public), pemOf(t, public)...), "not one PEM"},
		"private":   {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), "not one PEM"},
		"P-384":     {pemOf(t, &large.PublicKey), "not on P-256"},
		"RSA":       {pemOf(t, &rsaKey.PublicKey), "neither"},
		"malformed": {pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}), "reading the public key"},
	} {
		_, err := Read(Material{Public: map[string][]byte{"k": c.text}})
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: got %v, want %q", name, err, c.says)
		}
	}
}

// envelope signs a statement.
func envelope(t testing.TB, key crypto.Signer, payloadType, statement string, keyID string) []byte {
	t.Helper()
	message := dsse.PAE(payloadType, []byte(statement))
	options := crypto.Hash(0)
	if _, ok := key.(*ecdsa.PrivateKey); ok {
		sum := sha256.Sum256(message)
		message, options = sum[:], crypto.SHA256
	}
	signature, err := key.Sign(rand.Reader, message, options)
	must(t, err)
	out, err := json.Marshal(dsse.Envelope{PayloadType: payloadType, Payload: base64.StdEncoding.EncodeToString([]byte(statement)),
		Signatures: []dsse.Signature{{KeyID: keyID, Sig: base64.StdEncoding.EncodeToString(signature)}}})
	must(t, err)
	return out
}

func TestArtefact(t *testing.T) {
	_, private := newEd25519(t)
	_, stranger := newEd25519(t)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	keys, err := Read(Material{Public: map[string][]byte{"ci.pub": pemOf(t, private.Public()), "ops.pub": pemOf(t, &curve.PublicKey)}})
	must(t, err)
	digest := strings.Repeat("ab", 32)
	about := func(typ, predicate, digest string) string {
		return fmt.Sprintf(`{"_type":%q,"predicateType":%q,"subject":[{"digest":{"sha256":"%064d"}},{"name":"x","digest":{"sha256":%q}}],"predicate":{}}`, typ, predicate, 0, digest)
	}
	good := about(statementTypes[0], predicateType, digest)
	bundled := func(inner []byte) []byte {
		return fmt.Appendf(nil, `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"x"}},"dsseEnvelope":%s}`, inner)
	}
	for name, c := range map[string]struct {
		envelope []byte
		signer   string
	}{
		"ed25519":        {envelope(t, private, payloadType, good, ""), "ci.pub"},
		"ECDSA":          {envelope(t, curve, payloadType, good, ""), "ops.pub"},
		"the older type": {envelope(t, curve, payloadType, about(statementTypes[1], predicateType, digest), ""), "ops.pub"},
		"a hint":         {envelope(t, private, payloadType, good, "whatever"), "ci.pub"},
		"a bundle":       {bundled(envelope(t, private, payloadType, good, "")), "ci.pub"},
	} {
		signer, err := keys.Artefact(c.envelope, digest)
		if err != nil || signer.Name != c.signer || !keys.Knows(signer.Key) {
			t.Errorf("%s: got %+v, %v", name, signer, err)
		}
	}
	signed := envelope(t, private, payloadType, good, "")
	var swapped dsse.Envelope
	must(t, json.Unmarshal(signed, &swapped))
	swapped.Payload = base64.StdEncoding.EncodeToString([]byte(about(statementTypes[0], predicateType, strings.Repeat("cd", 32))))
	other, err := json.Marshal(swapped)
	must(t, err)
	for name, c := range map[string]struct {
		envelope []byte
		digest   string
		says     string
	}{
		"stranger":               {envelope(t, stranger, payloadType, good, ""), digest, "none of the public keys"},
		"another artefact":       {signed, strings.Repeat("cd", 32), "another artefact"},
		"no artefact":            {signed, "", "another artefact"},
		"another statement":      {other, strings.Repeat("cd", 32), "none of the public keys"},
		"an inventory":           {envelope(t, private, payloadType, about(statementTypes[0], "https://cyclonedx.org/bom", digest), ""), digest, "approves nothing"},
		"another statement type": {envelope(t, private, payloadType, about("x", predicateType, digest), ""), digest, "not over an in-toto"},
		"another payload":        {envelope(t, private, "text/plain", good, ""), digest, "not over an in-toto"},
		"no statement":           {envelope(t, private, payloadType, "x", ""), digest, "not over an in-toto"},
		"no signature":           {[]byte(`{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[]}`), digest, "none of the public keys"},
		"nonsense":               {[]byte("x"), digest, "not a DSSE envelope"},
		"key twice":              {append([]byte(`{"payload":"",`), signed[1:]...), digest, "not a DSSE envelope"},
		"huge":                   {bytes.Repeat([]byte(" "), maxSignature+1), digest, "larger than"},
		"nothing":                {nil, digest, "not a DSSE envelope"},
	} {
		_, err := keys.Artefact(c.envelope, c.digest)
		untrusted(t, name, err, c.says)
	}
	signers, err := Read(Material{AllowedSigners: []byte("a " + line(t, private.Public()))})
	must(t, err)
	_, err = signers.Artefact(signed, digest)
	untrusted(t, "no public key", err, "no public key")
}

// What cosign 3.1.3 attached to a manifest of this digest, by `cosign sign --key`.
func TestCosign(t *testing.T) {
	const digest = "24d84492ea3a120d5326edf45ddc8862aaf63203beb8839d454c82ba9ca34c94"
	key, err := os.ReadFile("testdata/cosign.pub")
	must(t, err)
	bundle, err := os.ReadFile("testdata/cosign.json")
	must(t, err)
	keys, err := Read(Material{Public: map[string][]byte{"cosign.pub": key}})
	must(t, err)
	if signer, err := keys.Artefact(bundle, digest); err != nil || signer.Name != "cosign.pub" {
		t.Errorf("got %+v, %v", signer, err)
	}
	signed := func(bundle []byte) string {
		var b struct{ DSSEEnvelope dsse.Envelope }
		must(t, json.Unmarshal(bundle, &b))
		payload, err := b.DSSEEnvelope.DecodeB64Payload()
		must(t, err)
		return b.DSSEEnvelope.PayloadType + string(payload)
	}
	for i := range bundle { // what is beside the envelope is not looked at
		changed := bytes.Clone(bundle)
		changed[i] ^= 4
		if signer, err := keys.Artefact(changed, digest); err == nil && signed(changed) != signed(bundle) {
			t.Errorf("byte %d: signed by %+v", i, signer)
		}
	}
}

// Whatever a server sends for a signature is refused, and soon.
func FuzzSignature(f *testing.F) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	must(f, err)
	year := &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return noon.AddDate(-1, 0, 0) }}
	alice, err := openpgp.NewEntity("alice", "", "alice@example.org", year)
	must(f, err)
	known, err := Read(Material{AllowedSigners: []byte("a " + line(f, private.Public())), Public: map[string][]byte{"k": pemOf(f, private.Public())},
		OpenPGP: keyring(f, public, alice)})
	must(f, err)
	var pgp bytes.Buffer
	must(f, openpgp.ArmoredDetachSign(&pgp, alice, strings.NewReader("another"), year))
	f.Add(pgp.String())
	f.Add(signSSH(f, private, []byte("another"), "git"))
	f.Add(string(envelope(f, private, payloadType, "{}", "")))
	f.Fuzz(func(t *testing.T, signature string) {
		if s, err := known.Git(payload, signature, noon); err == nil {
			t.Errorf("signed by %+v", s)
		}
		if s, err := known.Artefact([]byte(signature), strings.Repeat("ab", 32)); err == nil {
			t.Errorf("signed by %+v", s)
		}
	})
}
