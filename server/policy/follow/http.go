package follow

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
)

// maxHook bounds the body of a webhook, in bytes.
const maxHook = 1 << 20

// MinSecret is the least length of a webhook's secret, in bytes.
const MinSecret = 16

// Hook is a webhook that asks for a look at the source. Whoever calls proves to
// know the secret: by the body's HMAC-SHA256 in X-Hub-Signature-256, or by the
// secret itself in X-Gitlab-Token or as a bearer token. What the body says is
// not read: the source says what there is. A repeated call costs one look.
func (f *Follower) Hook(secret string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "only POST", http.StatusMethodNotAllowed)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxHook))
		var large *http.MaxBytesError
		switch {
		case errors.As(err, &large):
			http.Error(w, "the body is too large", http.StatusRequestEntityTooLarge)
		case err != nil:
			http.Error(w, "the body cannot be read", http.StatusBadRequest)
		case !proves(r.Header, body, secret):
			http.Error(w, "the secret is not known to you", http.StatusUnauthorized)
		default:
			f.Trigger()
			w.WriteHeader(http.StatusAccepted)
		}
	})
}

// proves compares in constant time: of digests, so that not even the secret's
// length tells.
func proves(h http.Header, body []byte, secret string) bool {
	if secret == "" {
		return false
	}
	if signature, ok := strings.CutPrefix(h.Get("X-Hub-Signature-256"), "sha256="); ok {
		given, err := hex.DecodeString(signature)
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(body)
		return err == nil && hmac.Equal(given, mac.Sum(nil))
	}
	given, ok := strings.CutPrefix(h.Get("Authorization"), "Bearer ")
	if !ok {
		given = h.Get("X-Gitlab-Token")
	}
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}
