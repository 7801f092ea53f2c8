// Package crowd checks Ed25519 signatures that come at the same time together, which
// takes little more than half the time for each.
package crowd

import (
	"crypto/ed25519"
	"runtime"
	"sync"

	"github.com/hdevalence/ed25519consensus"
)

// most bounds how many signatures are checked together.
const most = 64

// Verifier checks signatures. The zero value is ready; safe for concurrent use.
//
// Signatures that are checked together are held to the equation with the cofactor
// (RFC 8032, section 5.1.7, allows either). It differs from that of crypto/ed25519
// for signatures alone that whoever holds the private key has made to differ: nobody
// else gains anything.
type Verifier struct {
	mu      sync.Mutex // guards waiting
	waiting []*question
}

type question struct {
	key                ed25519.PublicKey
	message, signature []byte
	answer             chan bool // takes the one answer without a reader
}

// Verify reports whether a signature of a message is good. It asks nobody to wait:
// who comes when nobody else has lets those go first that are about to ask, for as
// long as more come, and checks what they all brought.
func (v *Verifier) Verify(key ed25519.PublicKey, message, signature []byte) bool {
	q := &question{key: key, message: message, signature: signature}
	v.mu.Lock()
	if leads := len(v.waiting) == 0; !leads {
		q.answer = make(chan bool, 1)
		v.waiting = append(v.waiting, q)
		v.mu.Unlock()
		return <-q.answer
	}
	v.waiting = append(v.waiting, q)
	v.mu.Unlock()
	var all []*question
	for came := 0; ; came = len(all) {
		runtime.Gosched()
		v.mu.Lock()
		if all = v.waiting; len(all) == came || len(all) >= most {
			v.waiting = nil
			v.mu.Unlock()
			return lead(all)
		}
		v.mu.Unlock()
	}
}

// lead answers all questions but the first, whose answer it returns.
func lead(all []*question) (first bool) {
	for from := 0; from < len(all); from += most {
		some := all[from:min(from+most, len(all))]
		together := len(some) > 1 && good(some)
		for i, q := range some {
			ok := together || ed25519.Verify(q.key, q.message, q.signature)
			if from+i == 0 {
				first = ok
			} else {
				q.answer <- ok
			}
		}
	}
	return first
}

// good reports whether all signatures are good; if not, it is not known which.
func good(some []*question) bool {
	batch := ed25519consensus.NewPreallocatedBatchVerifier(len(some))
	for _, q := range some {
		batch.Add(q.key, q.message, q.signature)
	}
	return batch.Verify()
}
