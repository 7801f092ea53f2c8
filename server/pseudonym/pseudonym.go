// Package pseudonym owns the key with which redacted values are hashed: the same
// value of the same tenant gives the same hash, so that what was redacted can still
// be joined, and nobody without the key can tell whether a guessed value is the one.
package pseudonym

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/writpdp/writ/server/decision"
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
	known  map[string]decision.Keys
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
	return &Key{master: secret.Of(master), known: map[string]decision.Keys{}}, nil
}

// maxKnown bounds the tenants whose keys are remembered.
const maxKnown = 4096

// Of are a tenant's keys.
func (k *Key) Of(tenant string) decision.Keys {
	k.mu.Lock()
	defer k.mu.Unlock()
	if keys, ok := k.known[tenant]; ok {
		return keys
	}
	// It fails for a key or a length that cannot be, and New saw to both.
	derived, err := hkdf.Key(sha256.New, k.master.Reveal(), nil, "writ redaction hash 1\x00"+tenant, sha256.Size)
	if err != nil {
		panic(fmt.Sprintf("deriving a tenant's key: %v", err))
	}
	if len(k.known) >= maxKnown {
		clear(k.known)
	}
	keys := decision.Keys(func(domain, text string) [20]byte { return sum(derived, domain, text) })
	k.known[tenant] = keys
	return keys
}

// sum is HMAC-SHA-256 over the domain, after its length, and the text, cut to 160
// bits.
func sum(key []byte, domain, text string) [20]byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(domain))))
	mac.Write([]byte(domain))
	mac.Write([]byte(text))
	return [20]byte(mac.Sum(nil))
}
