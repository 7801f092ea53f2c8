package identity

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"
)

// maxHeaders bounds the headers that are remembered. An issuer signs with few
// keys at a time, and all tokens of one key have the same header.
const maxHeaders = 64

// headers are decoded token headers by the very bytes that they were decoded
// from. One is remembered when its token's signature is proved, so nobody but a
// trusted issuer fills them. The zero value holds none. Safe for concurrent use.
type headers struct {
	known atomic.Pointer[map[string]map[string]any] // exchanged, never changed
	mu    sync.Mutex                                // guards the exchange
}

// decode is what a header holds, and must not be changed; nil headers know none.
func (h *headers) decode(encoded string) (map[string]any, error) {
	if header, ok := h.find(encoded); ok {
		return header, nil
	}
	return object("header", encoded)
}

func (h *headers) find(encoded string) (map[string]any, bool) {
	if h == nil {
		return nil, false
	}
	known := h.known.Load()
	if known == nil {
		return nil, false
	}
	header, ok := (*known)[encoded]
	return header, ok
}

// keep remembers the header of a token whose signature is proved, and forgets all
// others when they are too many.
func (h *headers) keep(t *parts) {
	if _, ok := h.find(t.encoded); ok {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	known := map[string]map[string]any{}
	if old := h.known.Load(); old != nil && len(*old) < maxHeaders {
		maps.Copy(known, *old)
	}
	known[strings.Clone(t.encoded)] = t.header // and not the whole token with it
	h.known.Store(&known)
}
