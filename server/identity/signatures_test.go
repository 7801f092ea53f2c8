package identity

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// counted is an algorithm that counts the verifications of another.
type counted struct {
	jwt.SigningMethod
	n *atomic.Int64
}

func (c counted) Verify(text string, signature []byte, key any) error {
	c.n.Add(1)
	return c.SigningMethod.Verify(text, signature, key)
}

// swapped are keys that can be replaced.
type swapped struct{ now atomic.Pointer[Keys] }

func (s *swapped) At(time.Time) (Keys, bool) { return *s.now.Load(), true }
func (*swapped) Missed()                     {}

// counting makes a verifier whose keys can be replaced, and counts what they
// verify.
func counting(t *testing.T) (*Verifier, *swapped, Keys, *atomic.Int64) {
	t.Helper()
	n := &atomic.Int64{}
	keys := testKeySet(t)
	for id, k := range keys.byID {
		for i, m := range k.methods {
			k.methods[i] = counted{m, n}
		}
		keys.byID[id] = k
	}
	source := &swapped{}
	source.now.Store(&keys)
	v, err := NewVerifier(Config{
		Issuers:  []Issuer{{ID: testIssuer, Keys: source}},
		Audience: testAudience, Servers: map[string]string{"mail": mailServer, "files": filesServer},
	})
	if err != nil {
		t.Fatal(err)
	}
	return v, source, keys, n
}

// A token that is shown again is not verified again, and is held to all other
// rules again.
func TestSignaturesAreRemembered(t *testing.T) {
	v, _, _, n := counting(t)
	signers, _ := testKeys()
	s := signers["EdDSA"]
	token := s.good()
	first, err := verify(v, token, now)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		again, err := verify(v, token, now)
		if err != nil || again.Token != first.Token {
			t.Fatalf("got %+v, %v, want the same principal", again, err)
		}
	}
	if got := n.Load(); got != 1 {
		t.Errorf("the signature was verified %d times, want once", got)
	}
	// The clock, and the end of the memory with the token's own.
	refuses(t, v, Presented{Token: token}, now.Add(-time.Minute), wantExpired, "token.iat_future")
	refuses(t, v, Presented{Token: token}, now.Add(300*time.Second), wantExpired, "token.expired")
	if _, err := verify(v, token, now.Add(290*time.Second-1)); err != nil || n.Load() != 2 {
		t.Errorf("just before exp: %v, verified %d times; the clock past exp counts as one", err, n.Load())
	}
	if _, err := verify(v, token, now.Add(290*time.Second)); err != nil || n.Load() != 3 {
		t.Errorf("at exp, within the leeway: %v, verified %d times, want once more", err, n.Load())
	}
	// The audience and the binding, of tokens that were accepted before.
	for name, c := range map[string]struct {
		claims    func(map[string]any)
		good, bad func(*Presented)
		code      string
	}{
		"audience": {set("aud", mailServer), about("mail"), about("files"), "token.aud_server"},
		"binding": {set("cnf", boundTo('p')), func(p *Presented) { p.Certificate = certificate('p') },
			func(p *Presented) { p.Certificate = certificate('q') }, "token.cnf_certificate"},
	} {
		p := badToken{claims: c.claims, with: c.good}.presented(signers)
		if _, err := v.Verify(p, now); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c.bad(&p)
		refuses(t, v, p, now, wantClaims, c.code)
	}
}

// What was good under a key that is gone, or replaced under its id, is good no
// more.
func TestSignaturesGoWithTheirKey(t *testing.T) {
	v, source, keys, _ := counting(t)
	signers, _ := testKeys()
	token := signers["EdDSA"].good()
	if _, err := verify(v, token, now); err != nil {
		t.Fatal(err)
	}
	without := Keys{byID: map[string]key{"p256": keys.byID["p256"]}}
	source.now.Store(&without)
	refuses(t, v, Presented{Token: token}, now, wantInvalid, "token.kid_unknown")
	other, err := ReadKeys([]byte(`{"keys":[` + jwkOf(map[string]any{"kid": "ed"}, stranger().public()) + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	source.now.Store(&other)
	refuses(t, v, Presented{Token: token}, now, wantInvalid, "token.signature")
	narrowed := Keys{byID: map[string]key{"ed": keys.byID["p256"]}}
	source.now.Store(&narrowed)
	refuses(t, v, Presented{Token: token}, now, wantInvalid, "token.alg_key")
	source.now.Store(&keys)
	if _, err := verify(v, token, now); err != nil {
		t.Errorf("with its key again: %v", err)
	}
}

// Nothing that was refused is remembered, and neither is another spelling of what
// was accepted.
func TestSignaturesOfBadTokensAreNotRemembered(t *testing.T) {
	v, _, _, _ := counting(t)
	signers, _ := testKeys()
	for _, bad := range badTokens() {
		_, _ = v.Verify(bad.presented(signers), now)
	}
	held := 0
	for i := range v.seen.shards {
		held += len(v.seen.shards[i].young) + len(v.seen.shards[i].old)
	}
	// Three cases, of two tokens, are bad at another time only.
	if want := 2; held != want {
		t.Errorf("%d signatures are held, want %d", held, want)
	}
	token := signers["EdDSA"].good()
	if _, err := verify(v, token, now); err != nil {
		t.Fatal(err)
	}
	cut := strings.LastIndexByte(token, '.') + 1
	forged := token[:cut] + b64(make([]byte, 64))
	refuses(t, v, Presented{Token: forged}, now, wantInvalid, "token.signature")
}

// However many good tokens come, from however many at once, what is held is
// bounded, and what comes last is there.
func TestSignaturesAreBounded(t *testing.T) {
	var s signatures
	k := &key{thumbprint: [32]byte{1}}
	const each = 4 * signatureShards * signaturesAged / 8
	var group sync.WaitGroup
	for g := range 8 {
		group.Go(func() {
			for i := range each {
				s.add(signatureOf(k, fmt.Sprint(g, i)), now.Add(time.Minute))
			}
		})
	}
	group.Wait()
	held := 0
	for i := range s.shards {
		held += len(s.shards[i].young) + len(s.shards[i].old)
	}
	if most := 2 * signatureShards * signaturesAged; held > most || held < most/4 {
		t.Errorf("%d signatures are held, want %d to %d", held, most/4, most)
	}
	id := signatureOf(k, "x")
	s.add(id, now.Add(time.Second))
	if !s.good(id, now.Add(time.Second-time.Microsecond)) || s.good(id, now.Add(time.Second)) {
		t.Error("a signature is not held until exactly its token's end")
	}
	if s.good(signatureOf(&key{thumbprint: [32]byte{2}}, "x"), now) {
		t.Error("good under another key")
	}
}
