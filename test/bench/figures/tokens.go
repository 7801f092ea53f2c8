package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/writpdp/writ/server/identity"
	"github.com/writpdp/writ/test/bench/workload"
)

// tokenFigures are what a principal token costs, by the name of the figure: the
// median of whole verifications, one after the other, of tokens that were never
// seen; and, warm, of one that was.
var tokenFigures = map[string]jwt.SigningMethod{
	"token_verify_us_eddsa": jwt.SigningMethodEdDSA,
	"token_verify_us_es256": jwt.SigningMethodES256,
	"token_verify_us_es384": jwt.SigningMethodES384,
	"token_verify_us_rs256": jwt.SigningMethodRS256,
	"token_verify_us_ps256": jwt.SigningMethodPS256,
	warmFigure:              jwt.SigningMethodEdDSA,
}

const (
	warmFigure = "token_check_warm_us"
	// tokensEach is how many tokens each round verifies.
	tokensEach = 400
)

// tokens measures the figures that are wanted.
func (b *bench) tokens(wanted []figure) error {
	for _, f := range wanted {
		method, ok := tokenFigures[f.name]
		if !ok {
			continue
		}
		took, err := b.verifications(method, f.name == warmFigure)
		if err != nil {
			return fmt.Errorf("measuring %s: %w", f.name, err)
		}
		b.results.tokens[f.name] = 1e6 * took.Seconds()
	}
	return nil
}

// verifications is the median of all rounds' medians.
func (b *bench) verifications(method jwt.SigningMethod, warm bool) (time.Duration, error) {
	set, private, err := tokenKey(method)
	if err != nil {
		return 0, err
	}
	at := time.Now()
	tokens := make([]string, tokensEach)
	for i := range tokens {
		if tokens[i], err = benchToken(method, private, i, at); err != nil {
			return 0, err
		}
	}
	rounds := make([]time.Duration, b.settings.rounds)
	for r := range rounds {
		v, err := workload.Verifier(set) // which remembers nothing
		if err != nil {
			return 0, err
		}
		all := make([]time.Duration, len(tokens))
		for pass := range 2 {
			for i, token := range tokens {
				began := time.Now()
				if _, err := v.Verify(identity.Presented{Token: token}, at); err != nil {
					return 0, err
				}
				if warm == (pass == 1) {
					all[i] = time.Since(began)
				}
			}
			if !warm {
				break
			}
		}
		slices.Sort(all)
		rounds[r] = percentile(all, 0.5)
	}
	slices.Sort(rounds)
	return percentile(rounds, 0.5), nil
}

// tokenKey makes a key for an algorithm, and the key set of its issuer.
func tokenKey(method jwt.SigningMethod) (set []byte, private crypto.Signer, err error) {
	b64 := base64.RawURLEncoding.EncodeToString
	switch m := method.(type) {
	case *jwt.SigningMethodEd25519:
		_, k, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, nil, err
		}
		return keySet("OKP", "crv", "Ed25519", "x", b64(k.Public().(ed25519.PublicKey))), k, nil
	case *jwt.SigningMethodECDSA:
		curve := elliptic.P256()
		if m.CurveBits == 384 {
			curve = elliptic.P384()
		}
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			return nil, nil, err
		}
		point, err := k.PublicKey.Bytes()
		if err != nil {
			return nil, nil, err
		}
		return keySet("EC", "crv", curve.Params().Name, "x", b64(point[1:1+m.KeySize]), "y", b64(point[1+m.KeySize:])), k, nil
	}
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, nil, err
	}
	return keySet("RSA", "n", b64(k.N.Bytes()), "e", b64(big.NewInt(int64(k.E)).Bytes())), k, nil
}

func keySet(kty string, members ...string) []byte {
	var text strings.Builder
	for i := 0; i < len(members); i += 2 {
		fmt.Fprintf(&text, `,%q:%q`, members[i], members[i+1])
	}
	return fmt.Appendf(nil, `{"keys":[{"kty":%q,"kid":"k"%s}]}`, kty, text.String())
}

func benchToken(method jwt.SigningMethod, private crypto.Signer, i int, at time.Time) (string, error) {
	token := jwt.NewWithClaims(method, jwt.MapClaims{
		"iss": workload.Issuer, "sub": workload.Agent(i), "aud": workload.Audience, "jti": fmt.Sprintf("token-%012d", i),
		"purposes": []string{"support"}, "iat": at.Unix(), "nbf": at.Unix(), "exp": at.Unix() + 300,
	})
	token.Header["kid"] = "k"
	return token.SignedString(private)
}
