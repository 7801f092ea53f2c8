package identity

import (
	"crypto/sha256"
	"sync"
	"time"
)

// Bounds of what is remembered: at most 65,536 signatures, some 6 MiB.
const (
	signatureShards = 16
	signaturesAged  = 2048 // of a shard, in each of its two generations
)

// signatures remembers which tokens had a good signature of which key, until they
// expire, so that a token that is shown again (a retry, a result after its call)
// costs a hash instead of a verification. It knows nothing else of a token: its
// claims, the time, the audience and whether it was used are asked every time.
//
// Only tokens that passed every rule enter, so nobody fills it but who holds
// tokens of a known issuer, and forgetting only costs a verification. An entry is
// found by whoever has the key: with a key that is gone, or another one under its
// id, it is never asked for again. The zero value is ready; safe for concurrent
// use.
type signatures struct {
	shards [signatureShards]signatureShard
}

type signatureShard struct {
	mu sync.Mutex // guards what follows
	// When young is full it becomes old, and what was old is forgotten.
	young, old map[signatureID]int64 // until, in microseconds since 1970
}

// signatureID is a hash over a key and a whole token, signature included.
type signatureID [sha256.Size]byte

func signatureOf(k *key, token string) signatureID {
	data := make([]byte, 0, 1024) // on the stack, and most fit
	data = append(data, k.thumbprint[:]...)
	return sha256.Sum256(append(data, token...))
}

// good reports whether a signature was found good, of a token that is not
// expired.
func (s *signatures) good(id signatureID, at time.Time) bool {
	shard := &s.shards[id[0]%signatureShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	until, ok := shard.young[id]
	if !ok {
		until, ok = shard.old[id]
	}
	return ok && at.UnixMicro() < until
}

// add remembers that a signature is good, until its token expires.
func (s *signatures) add(id signatureID, until time.Time) {
	shard := &s.shards[id[0]%signatureShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if len(shard.young) >= signaturesAged {
		shard.old, shard.young = shard.young, shard.old
		clear(shard.young)
	}
	if shard.young == nil {
		shard.young = make(map[signatureID]int64, signaturesAged)
	}
	shard.young[id] = until.UnixMicro()
}
