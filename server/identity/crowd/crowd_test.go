package crowd_test

import (
	"crypto/ed25519"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/writpdp/writ/server/identity/crowd"
)

// Whoever asks with whom, each gets the answer that crypto/ed25519 gives it alone:
// bad signatures spoil nobody's, and good ones help nobody's.
func TestEachGetsItsOwnAnswer(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var v crowd.Verifier
	for round := range 30 {
		random := rand.New(rand.NewPCG(seed, uint64(round)))
		var group sync.WaitGroup
		for i := range 1 + random.IntN(200) {
			var secret [ed25519.SeedSize]byte
			secret[0] = byte(random.IntN(3))
			private := ed25519.NewKeyFromSeed(secret[:])
			message := fmt.Appendf(nil, "message %d of round %d", i, round)
			key, signature := private.Public().(ed25519.PublicKey), ed25519.Sign(private, message)
			if random.IntN(10) == 0 {
				switch random.IntN(4) {
				case 0:
					signature[random.IntN(len(signature))] ^= 1 << random.IntN(8)
				case 1:
					message = append(message, '!')
				case 2:
					signature = signature[:random.IntN(len(signature))]
				case 3:
					signature = make([]byte, ed25519.SignatureSize)
				}
			}
			want := len(signature) == ed25519.SignatureSize && ed25519.Verify(key, message, signature)
			group.Go(func() {
				if got := v.Verify(key, message, signature); got != want {
					t.Errorf("round %d, %d: got %v, want %v", round, i, got, want)
				}
			})
		}
		group.Wait()
	}
}

func TestAlone(t *testing.T) {
	var v crowd.Verifier
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	message := []byte("message")
	signature := ed25519.Sign(private, message)
	key := private.Public().(ed25519.PublicKey)
	if !v.Verify(key, message, signature) {
		t.Error("a good signature is bad")
	}
	if v.Verify(key, []byte("another"), signature) {
		t.Error("a bad signature is good")
	}
}
