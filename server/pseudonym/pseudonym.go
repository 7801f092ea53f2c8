// Package pseudonym owns the key with which redacted values are hashed and tokenised:
// the same value of the same tenant gives the same hash or token, so that what was
// redacted can still be joined, and nobody without the key can tell whether a guessed
// value is the one, or what a token stands for.
package pseudonym

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/tink-crypto/tink-go/v2/daead/subtle"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/secret"
)

// MinKey is the shortest master key, in bytes.
const MinKey = 32

// Key is a master key. A tenant's key is derived from it, so that what one tenant
// sees of hashes says nothing of another's. Safe for concurrent use.
type Key struct {
	secret.Redacted
	master secret.Bytes
	mu     sync.Mutex
	known  map[string]*Keys
}

// Read reads a master key from a file that holds it in base64, in one line.
func Read(file string) (*Key, error) {
	line, err := secret.ReadLine(file)
	if err != nil {
		return nil, err
	}
	master, err := base64.StdEncoding.DecodeString(line)
	if err != nil {
		return nil, fmt.Errorf("%s: it is not base64", file)
	}
	k, err := New(master)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return k, nil
}

// New is a master key of its bytes, which must not be changed any more.
func New(master []byte) (*Key, error) {
	if len(master) < MinKey {
		return nil, fmt.Errorf("the key is shorter than %d bytes", MinKey)
	}
	return &Key{master: secret.Of(master), known: map[string]*Keys{}}, nil
}

// maxKnown bounds the tenants whose keys are remembered.
const maxKnown = 4096

// Of are a tenant's keys.
func (k *Key) Of(tenant string) *Keys {
	k.mu.Lock()
	defer k.mu.Unlock()
	if keys, ok := k.known[tenant]; ok {
		return keys
	}
	if len(k.known) >= maxKnown {
		clear(k.known)
	}
	keys := &Keys{hash: k.derive("hash", tenant, sha256.Size), token: k.derive("token", tenant, sha256.Size)}
	var err error
	if keys.seal, err = subtle.NewAESSIV(k.derive("seal", tenant, subtle.AESSIVKeySize)); err != nil {
		panic(fmt.Sprintf("making a tenant's cipher: %v", err)) // for a length that is not the key's
	}
	k.known[tenant] = keys
	return keys
}

// derive is a tenant's key for one use, by HKDF-SHA-256.
func (k *Key) derive(use, tenant string, length int) []byte {
	key, err := hkdf.Key(sha256.New, k.master.Reveal(), nil, "writ redaction "+use+" 1\x00"+tenant, length)
	if err != nil {
		panic(fmt.Sprintf("deriving a tenant's key: %v", err)) // for a length that cannot be
	}
	return key
}

// Keys are a tenant's. They implement decision.Keys.
type Keys struct {
	secret.Redacted
	hash, token []byte
	seal        *subtle.AESSIV
}

// Hash is HMAC-SHA-256 over the domain, after its length, and the text, cut to 160
// bits.
func (k *Keys) Hash(domain, text string) [20]byte { return sum(k.hash, domain, text) }

// Token is a hash likewise, with a key of its own, and the text sealed by AES-SIV for
// the class: the same for the same.
func (k *Keys) Token(class, text string) (token [20]byte, sealed []byte, err error) {
	token = sum(k.token, class, text)
	if sealed, err = k.seal.EncryptDeterministically([]byte(text), bound(class, token)); err != nil {
		return token, nil, fmt.Errorf("sealing what a token stands for: %w", err)
	}
	return token, sealed, nil
}

// Open is what was sealed for a class and token, as it stands in documents. The error is of what was sealed
// for another, with another key, or changed since.
func (k *Keys) Open(class, token string, sealed []byte) (text string, err error) {
	id, ok := document.TokenOf(token)
	if !ok {
		return "", errors.New("opening what a token stands for: the token is malformed")
	}
	plain, err := k.seal.DecryptDeterministically(sealed, bound(class, id))
	if err != nil {
		return "", errors.New("opening what a token stands for: it is sealed with another key, or changed")
	}
	return string(plain), nil
}

// bound is what a sealed text belongs to.
func bound(class string, token [20]byte) []byte { return append([]byte(class), token[:]...) }

func sum(key []byte, domain, text string) [20]byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(domain))))
	mac.Write([]byte(domain))
	mac.Write([]byte(text))
	return [20]byte(mac.Sum(nil))
}
