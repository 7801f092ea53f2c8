package identity

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // hash of ES384
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"time"

	"filippo.io/edwards25519"
	"github.com/golang-jwt/jwt/v5"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/identity/crowd"
)

// MaxKeySet is the largest key set, in bytes.
const MaxKeySet = 1 << 20

// Bounds of a key set.
const (
	maxKeys    = 256
	maxKeyID   = 256 // bytes
	minRSABits = 2048
	maxRSABits = 8192 // more only makes a verification slow
)

// ps256 is PS256 as RFC 7518 has it, with a salt as long as the hash; the
// library's own takes any salt.
var ps256 = &jwt.SigningMethodRSAPSS{
	SigningMethodRSA: &jwt.SigningMethodRSA{Name: "PS256", Hash: crypto.SHA256},
	Options:          &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash},
}

// together is EdDSA, but that signatures which come at the same time are checked
// together.
var together = &ed25519Together{SigningMethod: jwt.SigningMethodEdDSA}

type ed25519Together struct {
	jwt.SigningMethod
	crowd crowd.Verifier
}

// Verify checks a signature of a text; key is an ed25519.PublicKey.
func (m *ed25519Together) Verify(text string, signature []byte, key any) error {
	public, ok := key.(ed25519.PublicKey)
	switch {
	case !ok || len(public) != ed25519.PublicKeySize:
		return jwt.ErrInvalidKeyType
	case !m.crowd.Verify(public, []byte(text), signature):
		return jwt.ErrEd25519Verification
	}
	return nil
}

// privateMembers are the members of a JWK that only a private or a symmetric
// key has.
var privateMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// algorithms are those that are accepted from some key.
var algorithms = []string{"EdDSA", "ES256", "ES384", "RS256", "PS256"}

// strict64 decodes base64url without padding and without stray bits.
var strict64 = base64.RawURLEncoding.Strict()

// KeySource is where the keys of an issuer come from. It answers at once, from
// memory. Safe for concurrent use.
type KeySource interface {
	// At is the keys that may be trusted at a time; ok is false when there are
	// none, because the issuer could not be asked for too long.
	At(time.Time) (keys Keys, ok bool)
	// Missed tells that a token names a key that is not among them, or that there
	// are none. It comes as often as strangers want.
	Missed()
}

// Keys are an issuer's public keys by their `kid`. Immutable; the zero value
// holds none. Keys are their own KeySource, which never changes.
type Keys struct {
	byID map[string]key
}

// At are the keys themselves.
func (k Keys) At(time.Time) (Keys, bool) { return k, len(k.byID) > 0 }

// Missed does nothing: there are no others to be had.
func (Keys) Missed() {}

// IDs are the `kid` of all keys, sorted.
func (k Keys) IDs() []string { return slices.Sorted(maps.Keys(k.byID)) }

// Equal reports whether two sets hold the same keys, for the same algorithms,
// under the same ids.
func (k Keys) Equal(other Keys) bool {
	return maps.EqualFunc(k.byID, other.byID, func(a, b key) bool {
		return a.thumbprint == b.thumbprint && slices.Equal(a.methods, b.methods)
	})
}

// key is one public key. Its type says which algorithms it may be used with.
type key struct {
	public     any
	methods    []jwt.SigningMethod
	signature  int               // bytes of its signatures
	thumbprint [sha256.Size]byte // RFC 7638
}

// method is the algorithm a token names, if the key is of its type.
func (k key) method(alg string) (jwt.SigningMethod, bool) {
	i := slices.IndexFunc(k.methods, func(m jwt.SigningMethod) bool { return m.Alg() == alg })
	if i < 0 {
		return nil, false
	}
	return k.methods[i], true
}

// ReadKeys reads an RFC 7517 key set: Ed25519, P-256, P-384 and RSA keys of 2048
// to 8192 bits, for signatures, each with a `kid` of its own. Keys for something
// else, or of other types, are passed over; a set with a private key, a broken or
// weak one, or none that is left, is refused whole.
func ReadKeys(data []byte) (Keys, error) {
	if len(data) > MaxKeySet {
		return Keys{}, fmt.Errorf("reading the key set: larger than %d bytes", MaxKeySet)
	}
	set, err := document.ParseObject(data)
	if err != nil {
		return Keys{}, fmt.Errorf("reading the key set: %w", err)
	}
	list, ok := set.Value().(map[string]any)["keys"].([]any)
	if !ok || len(list) == 0 || len(list) > maxKeys {
		return Keys{}, fmt.Errorf(`reading the key set: "keys" is not an array of 1 to %d keys`, maxKeys)
	}
	keys := Keys{byID: make(map[string]key, len(list))}
	var ignored error
	for i, value := range list {
		if err := keys.add(value); err != nil {
			err = fmt.Errorf("reading key %d of the key set: %w", i, err)
			if !errors.Is(err, errIgnored) {
				return Keys{}, err
			}
			ignored = cmp.Or(ignored, err)
		}
	}
	if len(keys.byID) == 0 {
		return Keys{}, ignored
	}
	return keys, nil
}

// errIgnored is that of a key which is none for tokens: RFC 7517 asks to pass over
// it, for issuers publish their other keys in the same set.
var errIgnored = errors.New("it is none for tokens")

func (k Keys) add(value any) error {
	object, ok := value.(map[string]any)
	if !ok {
		return errors.New("it is not an object")
	}
	jwk := jwk(object)
	if err := jwk.checkPublic(); err != nil {
		return err
	}
	if err := jwk.checkUse(); err != nil {
		return err
	}
	id, err := jwk.text("kid")
	if err != nil {
		return err
	}
	if id == "" || len(id) > maxKeyID {
		return fmt.Errorf(`"kid" is not 1 to %d bytes long`, maxKeyID)
	}
	if _, twice := k.byID[id]; twice {
		return errors.New(`its "kid" is that of an earlier key`)
	}
	public, err := jwk.public()
	if err != nil {
		return err
	}
	k.byID[id] = public
	return nil
}

// jwk is a JSON Web Key.
type jwk map[string]any

// text is a required member that is a string.
func (j jwk) text(name string) (string, error) {
	value, ok := j[name]
	if !ok {
		return "", fmt.Errorf("%q is missing", name)
	}
	s, ok := value.(string)
	if !ok {
		return "", fmt.Errorf("%q is not a string", name)
	}
	return s, nil
}

// bytes is a required member in base64url.
func (j jwk) bytes(name string) ([]byte, error) {
	s, err := j.text(name)
	if err != nil {
		return nil, err
	}
	data, err := decode64(s)
	if err != nil {
		return nil, fmt.Errorf("%q is not base64url", name)
	}
	return data, nil
}

func (j jwk) checkPublic() error {
	for _, name := range privateMembers {
		if _, ok := j[name]; ok {
			return fmt.Errorf("it has the private member %q: a key set holds public keys only", name)
		}
	}
	return nil
}

func (j jwk) checkUse() error {
	if use, ok := j["use"]; ok && use != "sig" && use != "jwt-svid" {
		return fmt.Errorf(`%w: "use" is not "sig" or "jwt-svid"`, errIgnored)
	}
	if value, ok := j["key_ops"]; ok {
		ops, _ := value.([]any)
		if !slices.Contains(ops, any("verify")) {
			return fmt.Errorf(`%w: "key_ops" does not hold "verify"`, errIgnored)
		}
	}
	return nil
}

// public reads the key itself. An `alg` narrows a key to one algorithm and must
// be one of the key's type.
func (j jwk) public() (key, error) {
	kty, err := j.text("kty")
	if err != nil {
		return key{}, err
	}
	var k key
	switch kty {
	case "OKP":
		k, err = j.edwards()
	case "EC":
		k, err = j.elliptic()
	case "RSA":
		k, err = j.rsa()
	default:
		err = fmt.Errorf(`%w: "kty" is not "OKP", "EC" or "RSA"`, errIgnored)
	}
	if err != nil {
		return key{}, err
	}
	if _, ok := j["alg"]; ok {
		alg, err := j.text("alg")
		if err != nil {
			return key{}, err
		}
		only, ok := k.method(alg)
		if !ok {
			return key{}, fmt.Errorf(`%w: "alg" is not an algorithm for this type of key`, errIgnored)
		}
		k.methods = []jwt.SigningMethod{only}
	}
	return k, nil
}

func (j jwk) edwards() (key, error) {
	if crv, err := j.text("crv"); err != nil || crv != "Ed25519" {
		return key{}, fmt.Errorf(`%w: "crv" is not "Ed25519"`, errIgnored)
	}
	x, err := j.bytes("x")
	if err != nil {
		return key{}, err
	}
	if len(x) != ed25519.PublicKeySize {
		return key{}, fmt.Errorf(`"x" is not %d bytes long`, ed25519.PublicKeySize)
	}
	// A point of small order accepts signatures that nobody made.
	point, err := new(edwards25519.Point).SetBytes(x)
	if err != nil {
		return key{}, errors.New("its point is not on the curve")
	}
	if new(edwards25519.Point).MultByCofactor(point).Equal(edwards25519.NewIdentityPoint()) == 1 {
		return key{}, errors.New("its point is of small order")
	}
	return key{
		public:     ed25519.PublicKey(x),
		signature:  ed25519.SignatureSize,
		methods:    []jwt.SigningMethod{together},
		thumbprint: thumbprint(`{"crv":"Ed25519","kty":"OKP","x":"%s"}`, x),
	}, nil
}

func (j jwk) elliptic() (key, error) {
	crv, err := j.text("crv")
	if err != nil {
		return key{}, err
	}
	var curve elliptic.Curve
	var method *jwt.SigningMethodECDSA
	switch crv {
	case "P-256":
		curve, method = elliptic.P256(), jwt.SigningMethodES256
	case "P-384":
		curve, method = elliptic.P384(), jwt.SigningMethodES384
	default:
		return key{}, fmt.Errorf(`%w: "crv" is not "P-256" or "P-384"`, errIgnored)
	}
	x, err := j.bytes("x")
	if err != nil {
		return key{}, err
	}
	y, err := j.bytes("y")
	if err != nil {
		return key{}, err
	}
	if len(x) != method.KeySize || len(y) != method.KeySize {
		return key{}, fmt.Errorf(`"x" and "y" are not %d bytes long`, method.KeySize)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
	if err != nil {
		return key{}, errors.New("its point is not on the curve")
	}
	return key{
		public:     public,
		signature:  2 * method.KeySize,
		methods:    []jwt.SigningMethod{method},
		thumbprint: thumbprint(`{"crv":"`+crv+`","kty":"EC","x":"%s","y":"%s"}`, x, y),
	}, nil
}

func (j jwk) rsa() (key, error) {
	n, err := j.bytes("n")
	if err != nil {
		return key{}, err
	}
	e, err := j.bytes("e")
	if err != nil {
		return key{}, err
	}
	if len(n) == 0 || n[0] == 0 || len(e) == 0 || e[0] == 0 {
		return key{}, errors.New(`"n" or "e" is not in its shortest form`)
	}
	modulus, exponent := new(big.Int).SetBytes(n), new(big.Int).SetBytes(e)
	if bits := modulus.BitLen(); bits < minRSABits || bits > maxRSABits {
		return key{}, fmt.Errorf("an RSA key must have %d to %d bits", minRSABits, maxRSABits)
	}
	if modulus.Bit(0) == 0 || exponent.BitLen() > 31 || exponent.Bit(0) == 0 || exponent.BitLen() < 2 {
		return key{}, errors.New("its modulus or exponent is not that of an RSA key")
	}
	return key{
		public:     &rsa.PublicKey{N: modulus, E: int(exponent.Int64())},
		signature:  (modulus.BitLen() + 7) / 8,
		methods:    []jwt.SigningMethod{jwt.SigningMethodRS256, ps256},
		thumbprint: thumbprint(`{"e":"%s","kty":"RSA","n":"%s"}`, e, n),
	}, nil
}

// thumbprint hashes the members that RFC 7638 requires, in its order.
func thumbprint(format string, members ...[]byte) [sha256.Size]byte {
	encoded := make([]any, len(members))
	for i, m := range members {
		encoded[i] = strict64.EncodeToString(m)
	}
	return sha256.Sum256(fmt.Appendf(nil, format, encoded...))
}
