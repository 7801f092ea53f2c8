package identity

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// What is remembered of a header proves nothing of the token that has it next.
func TestHeadersProveNothing(t *testing.T) {
	v := newTestVerifier(t)
	signers, _ := testKeys()
	good := signers["EdDSA"].good()
	for range 2 {
		if _, err := v.Verify(good, now); err != nil {
			t.Fatal(err)
		}
	}
	header, rest, _ := strings.Cut(good, ".")
	if _, ok := v.headers.find(header); !ok {
		t.Fatal("the header of a proved token is not remembered")
	}
	claims, _, _ := strings.Cut(rest, ".")
	for name, token := range map[string]string{
		"another's signature": header + "." + claims + "." + signers["ES256"].good()[strings.LastIndexByte(signers["ES256"].good(), '.')+1:],
		"no signature":        header + "." + claims + ".",
		"other claims":        header + "." + b64([]byte(strings.Replace(encode(goodClaims()), "planted-sub", "another-sub", 1))) + good[strings.LastIndexByte(good, '.'):],
	} {
		if _, err := v.Verify(token, now); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Nobody fills the memory but who signs, and nobody beyond its bound.
func TestHeadersAreBounded(t *testing.T) {
	v := newTestVerifier(t)
	signers, _ := testKeys()
	ed := signers["EdDSA"]
	headerOf := func(i int) string {
		members := ed.header()
		members["n"] = i
		return encode(members)
	}
	forged := b64([]byte(headerOf(0))) + "." + b64([]byte(encode(goodClaims()))) + "." + b64(make([]byte, 64))
	if _, err := v.Verify(forged, now); err == nil {
		t.Fatal("a forged token was accepted")
	}
	if known := v.headers.known.Load(); known != nil {
		t.Errorf("the header of a forged token is remembered: %v", *known)
	}
	for i := range 3 * maxHeaders {
		if _, err := v.Verify(ed.sign(headerOf(i), encode(goodClaims())), now); err != nil {
			t.Fatal(err)
		}
		if n := len(*v.headers.known.Load()); n > maxHeaders {
			t.Fatalf("%d headers are remembered", n)
		}
	}
}

// Tokens are verified at the same time, with headers that are known and not.
func TestHeadersAtOnce(t *testing.T) {
	v := newTestVerifier(t)
	signers, _ := testKeys()
	tokens := make([]string, 2*maxHeaders)
	for i := range tokens {
		members := signers["EdDSA"].header()
		members["n"] = fmt.Sprint(i / 2)
		tokens[i] = signers["EdDSA"].sign(encode(members), encode(goodClaims()))
	}
	var group sync.WaitGroup
	for from := range 4 {
		group.Go(func() {
			for i := range tokens {
				if _, err := v.Verify(tokens[(i+from*7)%len(tokens)], now); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}
