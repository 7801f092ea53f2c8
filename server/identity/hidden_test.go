package identity

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// What holds a key tells nothing of it, wherever it is printed, also where it is a
// field that no method is called of.
func TestKeysAreHidden(t *testing.T) {
	seed := "canary-canary-canary-canary-cana"
	minter, err := NewMinter(strings.NewReader(seed))
	if err != nil {
		t.Fatal(err)
	}
	mint, err := NewMint(testIssuer, tokenKey{ed25519.NewKeyFromSeed([]byte(seed))})
	if err != nil {
		t.Fatal(err)
	}
	type inside struct {
		minter  *Minter
		value   Minter
		mint    *Mint
		Minter  *Minter
		another any
	}
	var out strings.Builder
	for _, value := range []any{minter, *minter, mint, *mint, inside{minter, *minter, mint, minter, *minter}, []any{minter, mint}, map[string]*Minter{"m": minter}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb, value)
		}
		text, err := json.Marshal(value)
		if err != nil {
			t.Error(err)
		}
		out.Write(text)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "key", value)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "key", value)
	}
	for _, form := range []string{"canary", "63616e617279", "99 97 110 97 114 121", "0x63, 0x61, 0x6e", "Y2FuYXJ5"} {
		if strings.Contains(out.String(), form) {
			t.Errorf("a key is told, as %s", form)
		}
	}
}
