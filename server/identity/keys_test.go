package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"strings"
	"testing"
)

// rfc7638 is the key of RFC 7638, section 3.1, rfc8037 that of RFC 8037, appendix
// A.2, and rfc9449 that of RFC 9449's proofs.
const (
	rfc9449 = `{"kty":"EC","kid":"dpop","crv":"P-256","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA"}`
	rfc7638 = `{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`
	rfc8037 = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"ed"}`
)

func TestThumbprints(t *testing.T) {
	keys, err := ReadKeys([]byte(`{"keys":[` + rfc7638 + `,` + rfc8037 + `,` + rfc9449 + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{
		"2011-04-29": "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
		"dpop":       "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
		"ed":         "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
	} {
		sum := keys.byID[id].thumbprint
		if got := b64(sum[:]); got != want {
			t.Errorf("thumbprint of %s is %s, want %s", id, got, want)
		}
	}
}

// smallOrder are points to which a multiple of eight times any number is nothing,
// in each way to write them.
var smallOrder = []string{
	"0100000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000080",
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0000000000000000000000000000000000000000000000000000000000000080",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
}

// A key of small order is refused, for under it a signature that nobody made is
// good for whatever is signed.
func TestSmallOrderKeys(t *testing.T) {
	for _, point := range smallOrder {
		public, err := hex.DecodeString(point)
		if err != nil {
			t.Fatal(err)
		}
		_, err = ReadKeys([]byte(`{"keys":[` + jwkOf(map[string]any{"kid": "k"}, ed25519.PublicKey(public)) + `]}`))
		if err == nil || !strings.Contains(err.Error(), "small order") {
			t.Errorf("%s: got %v", point, err)
		}
	}
	neutral, err := hex.DecodeString(smallOrder[0])
	if err != nil {
		t.Fatal(err)
	}
	forged := append(neutral[:32:32], make([]byte, 32)...)
	if !ed25519.Verify(neutral, []byte("whatever"), forged) {
		t.Error("the forgery is not good: there is nothing to be refused")
	}
}

func TestReadKeysRefuses(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec := jwkOf(map[string]any{"kid": "e"}, private.Public())
	swap := func(jwk, old, new string) string {
		if !strings.Contains(jwk, old) {
			t.Fatalf("the key has no %s", old)
		}
		return `{"keys":[` + strings.Replace(jwk, old, new, 1) + `]}`
	}
	with := func(member string) string { return swap(rfc8037, "{", "{"+member+",") }
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, set, want string }{
		{"not JSON", `keys`, "invalid JSON"},
		{"empty", ``, `"keys" is not an array`},
		{"an array", `[]`, "not a JSON object"},
		{"a single key", rfc8037, `"keys" is not an array`},
		{"keys an object", `{"keys":{}}`, `"keys" is not an array`},
		{"no keys", `{"keys":[]}`, `"keys" is not an array of 1 to 256 keys`},
		{"too many keys", `{"keys":[` + strings.Repeat("{},", 256) + `{}]}`, `"keys" is not an array of 1 to 256 keys`},
		{"too large", strings.Repeat(" ", MaxKeySet+1), "larger than"},
		{"duplicate key in JSON", with(`"kid":"b"`), "duplicate key"},
		{"key not an object", `{"keys":["x"]}`, "key 0 of the key set: it is not an object"},
		{"same kid", `{"keys":[` + rfc8037 + `,` + rfc8037 + `]}`, `key 1 of the key set: its "kid" is that of an earlier key`},
		{"no kid", swap(rfc8037, `,"kid":"ed"`, ``), `"kid" is missing`},
		{"kid empty", swap(rfc8037, `"kid":"ed"`, `"kid":""`), `"kid" is not 1 to 256 bytes long`},
		{"kid a number", swap(rfc8037, `"kid":"ed"`, `"kid":1`), `"kid" is not a string`},
		{"private Ed25519", with(`"d":"planted"`), `private member "d": a key set holds public keys only`},
		{"private RSA", with(`"qi":"planted"`), `private member "qi"`},
		{"symmetric", `{"keys":[{"kty":"oct","kid":"k","k":"planted"}]}`, `private member "k"`},
		{"no kty", swap(rfc8037, `"kty":"OKP",`, ``), `"kty" is missing`},
		{"kty unknown", swap(rfc8037, `"OKP"`, `"AKP"`), `"kty" is not "OKP", "EC" or "RSA"`},
		{"for encryption", with(`"use":"enc"`), `"use" is not "sig" or "jwt-svid"`},
		{"use an X.509-SVID", with(`"use":"x509-svid"`), `"use" is not "sig" or "jwt-svid"`},
		{"to sign", with(`"key_ops":["sign"]`), `"key_ops" does not hold "verify"`},
		{"key_ops a string", with(`"key_ops":"verify"`), `"key_ops" does not hold "verify"`},
		{"alg of another type", with(`"alg":"ES256"`), `"alg" is not an algorithm for this type of key`},
		{"alg none", with(`"alg":"none"`), `"alg" is not an algorithm for this type of key`},
		{"alg null", with(`"alg":null`), `"alg" is not a string`},
		{"Ed448", swap(rfc8037, `"Ed25519"`, `"Ed448"`), `"crv" is not "Ed25519"`},
		{"x short", swap(rfc8037, `HURo"`, `"`), `"x" is not`},
		{"x padded", swap(rfc8037, `HURo"`, `HURo="`), `"x" is not base64url`},
		{"x with stray bits", swap(rfc8037, `HURo"`, `HURp"`), `"x" is not base64url`},
		{"x with a line break", swap(rfc8037, `HURo"`, `HU\nRo"`), `"x" is not base64url`},
		{"x no point", `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"` + b64(append([]byte{2}, make([]byte, 31)...)) + `"}]}`, "not on the curve"},
		{"x missing", swap(rfc8037, `"x"`, `"z"`), `"x" is missing`},
		{"P-521", swap(jwkOf(map[string]any{"kid": "e"}, p521.Public()), "{", "{"), `"crv" is not "P-256" or "P-384"`},
		{"P-256 called P-384", swap(ec, "P-256", "P-384"), `"x" and "y" are not 48 bytes long`},
		{"point not on the curve", swap(ec, `"x":"`+b64(private.X.FillBytes(make([]byte, 32)))+`"`, `"x":"`+b64(make([]byte, 32))+`"`), "its point is not on the curve"},
		{"y missing", swap(ec, `"y"`, `"z"`), `"y" is missing`},
		{"RSA of 1024 bits", `{"keys":[{"kty":"RSA","kid":"r","e":"AQAB","n":"` + b64([]byte(strings.Repeat("\xff", 128))) + `"}]}`, "an RSA key must have 2048 to 8192 bits"},
		{"RSA of 8200 bits", `{"keys":[{"kty":"RSA","kid":"r","e":"AQAB","n":"` + b64([]byte(strings.Repeat("\xff", 1025))) + `"}]}`, "an RSA key must have 2048 to 8192 bits"},
		{"RSA with an even modulus", `{"keys":[{"kty":"RSA","kid":"r","e":"AQAB","n":"` + b64([]byte(strings.Repeat("\xfe", 256))) + `"}]}`, "not that of an RSA key"},
		{"RSA with exponent 1", swap(rfc7638, `"AQAB"`, `"AQ"`), "not that of an RSA key"},
		{"RSA with a long exponent", swap(rfc7638, `"AQAB"`, `"AQAAAAAB"`), "not that of an RSA key"},
		{"RSA with a leading zero", swap(rfc7638, `"n":"`, `"n":"AAAA`), `"n" or "e" is not in its shortest form`},
		{"RSA without e", swap(rfc7638, `"e"`, `"z"`), `"e" is missing`},
	} {
		t.Run(c.name, func(t *testing.T) {
			keys, err := ReadKeys([]byte(c.set))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if strings.Contains(err.Error(), "planted") {
				t.Errorf("the error %q quotes a key", err)
			}
			if len(keys.byID) != 0 {
				t.Error("a refused set gave keys")
			}
		})
	}
}

func FuzzReadKeys(f *testing.F) {
	_, text := testKeys()
	f.Add([]byte(text))
	f.Add([]byte(`{"keys":[` + rfc7638 + `,` + rfc8037 + `]}`))
	f.Add([]byte(`{"keys":[{"kty":"oct","kid":"k","k":"AA"}]}`))
	signers, _ := testKeys()
	token := signers["EdDSA"].good()
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := ReadKeys(data)
		if err != nil {
			if len(keys.byID) != 0 {
				t.Error("a refused set gave keys")
			}
			return
		}
		// Every accepted key can be used without a panic.
		v, err := NewVerifier(Config{Issuers: []Issuer{{ID: testIssuer, Keys: keys}}, Audience: testAudience})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = verify(v, token, now)
		for id, k := range keys.byID {
			if len(k.methods) == 0 || k.public == nil {
				t.Errorf("key %q has no algorithm", id)
			}
			for _, m := range k.methods {
				if err := m.Verify("text", make([]byte, 64), k.public); err == nil {
					t.Errorf("key %q accepts a signature of zeros", id)
				}
			}
		}
	})
}
