package jwks

import (
	"bytes"
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writpdp/writ/server/identity"
)

// server serves a key set over TLS on loopback, and counts who asks.
type server struct {
	*httptest.Server
	answer   atomic.Pointer[http.HandlerFunc]
	requests atomic.Int64
	asked    chan struct{}
}

func newServer(t *testing.T, set []byte) *server {
	t.Helper()
	s := &server{asked: make(chan struct{}, 1<<10)}
	s.set(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(set) })
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		(*s.answer.Load())(w, r)
		select {
		case s.asked <- struct{}{}:
		default:
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) set(answer http.HandlerFunc) { s.answer.Store(&answer) }

// await waits until so many requests were answered.
func (s *server) await(t *testing.T, n int64) {
	t.Helper()
	for s.requests.Load() < n {
		select {
		case <-s.asked:
		case <-t.Context().Done():
			t.Fatal("the requests do not come")
		}
	}
}

func (s *server) caFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Whatever a server answers but a key set is no key set, and costs little.
func TestURLAnswers(t *testing.T) {
	elsewhere := newServer(t, keySet("z"))
	server := newServer(t, keySet("a"))
	s, err := URL(server.URL, server.caFile(t), config(&bytes.Buffer{}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Look(t.Context()); err != nil || has(s, time.Now()) != "a" {
		t.Fatalf("got %s, %v", has(s, time.Now()), err)
	}
	endless := func(w http.ResponseWriter, _ *http.Request) {
		for chunk := bytes.Repeat([]byte(" "), 1<<16); ; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
	for name, answer := range map[string]http.HandlerFunc{
		"a redirection": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) },
		"another address": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusPermanentRedirect)
		},
		"not found":         http.NotFound,
		"an error with one": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500); _, _ = w.Write(keySet("z")) },
		"nothing":           func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
		"a part":            func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(206); _, _ = w.Write(keySet("z")) },
		"a page":            func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"no end":            endless,
		"long headers":      func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 2*maxHeader)) },
		"a compressed one": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write([]byte("\x1f\x8b\x08\x00"))
		},
	} {
		server.set(answer)
		if _, err := s.Look(t.Context()); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if got := has(s, time.Now()); got != "a" {
			t.Errorf("%s: the keys are %s", name, got)
		}
	}
	if n := elsewhere.requests.Load(); n != 0 {
		t.Errorf("a redirection was followed %d times", n)
	}
	// A server that never answers keeps nobody longer than the caller's time.
	hold := make(chan struct{})
	server.set(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Look(ctx); err == nil {
		t.Error("silence is accepted")
	}
	close(hold)
}

// A server that another authority vouches for is not believed.
func TestURLTrust(t *testing.T) {
	server := newServer(t, keySet("a"))
	s, err := URL(server.URL, "", config(&bytes.Buffer{}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Look(t.Context()); err == nil || has(s, time.Now()) != "none" {
		t.Errorf("without the authority: %v, %s", err, has(s, time.Now()))
	}
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(keySet("b")) }))
	defer plain.Close()
	if s, err = URL(plain.URL, "", config(&bytes.Buffer{})); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Look(t.Context()); err != nil || has(s, time.Now()) != "b" {
		t.Errorf("http on loopback: %v, %s", err, has(s, time.Now()))
	}
}

func TestURLRefuses(t *testing.T) {
	ca := newServer(t, nil).caFile(t)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ url, ca string }{
		"http":           {"http://issuer.example/keys", ""},
		"http with a CA": {"http://127.0.0.1/keys", ca},
		"a file":         {"file:///etc/keys", ""},
		"no scheme":      {"issuer.example/keys", ""},
		"no host":        {"https:///keys", ""},
		"a credential":   {"https://user:planted@issuer.example/keys", ""},
		"a fragment":     {"https://issuer.example/keys#x", ""},
		"not a URL":      {"https://issuer.example/%zz", ""},
		"no CA file":     {"https://issuer.example/keys", empty + ".missing"},
		"an empty CA":    {"https://issuer.example/keys", empty},
	} {
		_, err := URL(c.url, c.ca, config(&bytes.Buffer{}))
		if err == nil || strings.Contains(err.Error(), "planted") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestGoodFor(t *testing.T) {
	for _, c := range []struct {
		control []string
		age     string
		want    time.Duration
	}{
		{nil, "", defaultGood},
		{[]string{"public, max-age=600"}, "", 10 * time.Minute},
		{[]string{"public", "MAX-AGE=600"}, "60", 9 * time.Minute},
		{[]string{`max-age="600"`}, "", 10 * time.Minute},
		{[]string{"max-age=600"}, "planted", 10 * time.Minute},
		{[]string{"max-age=60"}, "600", -9 * time.Minute},
		{[]string{"max-age=-1"}, "", defaultGood},
		{[]string{"max-age=x"}, "", defaultGood},
		{[]string{"max-age=99999999999999999999"}, "", defaultGood},
		{[]string{"max-age=9223372036854775807"}, "", maxDirective * time.Second},
		{[]string{"max-age=600, no-cache"}, "", 0},
		{[]string{"no-store"}, "", 0},
		{[]string{"s-maxage=600"}, "", defaultGood},
	} {
		h := http.Header{"Cache-Control": c.control}
		if c.age != "" {
			h.Set("Age", c.age)
		}
		if got := goodFor(h); got != c.want {
			t.Errorf("%q, age %q: got %s, want %s", c.control, c.age, got, c.want)
		}
	}
}

var _ identity.KeySource = (*Source)(nil)
