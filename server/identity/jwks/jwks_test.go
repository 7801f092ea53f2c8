package jwks

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/writpdp/writ/server/identity"
)

// key makes an Ed25519 key from a letter.
func key(letter byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{letter}, ed25519.SeedSize))
}

// keySet is a JWKS with one key for each letter, which is its kid too.
func keySet(letters string) []byte {
	var keys []string
	for _, l := range []byte(letters) {
		x := base64.RawURLEncoding.EncodeToString(key(l).Public().(ed25519.PublicKey))
		keys = append(keys, fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","kid":"%c","x":"%s"}`, l, x))
	}
	return []byte(`{"keys":[` + strings.Join(keys, ",") + `]}`)
}

// config has a clock and no luck: the jitter is always the same.
func config(log io.Writer) Config {
	return Config{Issuer: "i", Now: time.Now, Jitter: func() float64 { return 0.5 }, Log: slog.New(slog.NewTextHandler(log, nil))}
}

// served is what a source reads in a test: a set, or an error.
type served struct {
	good time.Duration

	mu    sync.Mutex // guards what follows
	set   string     // letters; empty: an error
	reads int
}

func (s *served) says(set string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set = set
}

func (s *served) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads
}

func (s *served) source(t *testing.T, c Config) *Source {
	t.Helper()
	source, err := newSource(c, origin{
		read: func(context.Context) ([]byte, time.Duration, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.reads++
			if s.set == "" {
				return nil, 0, errors.New("away")
			}
			return keySet(s.set), s.good, nil
		},
		least: leastGood, most: mostGood, cooldown: urlCooldown,
	})
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// follow runs a source within a bubble, and has it read once before.
func follow(t *testing.T, s *Source) {
	t.Helper()
	next, _ := s.Look(t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		s.Run(ctx, next)
		close(done)
	}()
	t.Cleanup(func() { cancel(); <-done })
}

func has(s identity.KeySource, at time.Time) string {
	keys, ok := s.At(at)
	if !ok {
		return "none"
	}
	return strings.Join(keys.IDs(), "")
}

// Keys are read again before they are due, within bounds, whoever serves them.
func TestRefresh(t *testing.T) {
	for _, c := range []struct {
		says, want time.Duration // between two reads
	}{
		{0, leastGood * 7 / 8}, {time.Second, leastGood * 7 / 8}, {8 * time.Minute, 7 * time.Minute}, {100 * time.Hour, mostGood * 7 / 8},
	} {
		synctest.Test(t, func(t *testing.T) {
			from := &served{set: "a", good: c.says}
			s := from.source(t, config(&bytes.Buffer{}))
			follow(t, s)
			for n := 1; n < 4; n++ {
				time.Sleep(c.want - time.Nanosecond)
				synctest.Wait()
				if from.count() != n {
					t.Fatalf("says %s: %d reads before it is due, want %d", c.says, from.count(), n)
				}
				set := "abcd"[:n+1]
				from.says(set)
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				if from.count() != n+1 || has(s, time.Now()) != set {
					t.Fatalf("says %s: %d reads, keys %s; want %d, %s", c.says, from.count(), has(s, time.Now()), n+1, set)
				}
			}
		})
	}
}

// While the issuer is away its last keys are used, until MaxAge to the moment.
func TestAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		from := &served{set: "a", good: time.Minute}
		c := config(&log)
		c.MaxAge = 10 * time.Minute
		s := from.source(t, c)
		follow(t, s)
		read := time.Now()
		from.says("")
		time.Sleep(c.MaxAge - time.Nanosecond)
		synctest.Wait()
		if got := has(s, time.Now()); got != "a" {
			t.Errorf("before they are too old: %s", got)
		}
		if most := 2 + int(c.MaxAge/urlCooldown); from.count() > most || from.count() < 5 {
			t.Errorf("%d reads, want 5 to %d", from.count(), most)
		}
		time.Sleep(time.Nanosecond)
		if got := has(s, time.Now()); got != "none" {
			t.Errorf("once they are too old: %s", got)
		}
		if got := has(s, read); got != "a" {
			t.Errorf("for a decision at an earlier time: %s", got)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		from.says("b")
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := has(s, time.Now()); got != "b" {
			t.Errorf("when it is back: %s", got)
		}
		for _, line := range []string{"the last ones stay", "trusted no more"} {
			if n := strings.Count(log.String(), line); n != 1 {
				t.Errorf("%d lines with %q, want one:\n%s", n, line, log.String())
			}
		}
	})
}

// A set that is broken is as good as none, and takes nothing away.
func TestBrokenSet(t *testing.T) {
	var log bytes.Buffer
	set := keySet("a")
	s, err := newSource(config(&log), origin{
		read:  func(context.Context) ([]byte, time.Duration, error) { return set, 0, nil },
		least: leastGood, most: mostGood, cooldown: urlCooldown,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"not JSON": []byte("<html>"), "no keys": []byte(`{"keys":[]}`), "private": []byte(`{"keys":[{"kty":"oct","k":"planted"}]}`),
		"too large": bytes.Repeat([]byte(" "), identity.MaxKeySet+1), "nothing": nil,
	} {
		set = bad
		if _, err := s.Look(t.Context()); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if got := has(s, time.Now()); got != "a" {
			t.Errorf("%s: the keys are %s", name, got)
		}
	}
	if strings.Contains(log.String(), "planted") {
		t.Errorf("the log quotes a key: %s", log.String())
	}
}

// An unknown key asks for a read at once when none was lately, and for one at the
// end of the cool-down when one was: never for more, whoever asks how often.
func TestMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := &served{set: "a", good: mostGood}
		s := from.source(t, config(&bytes.Buffer{}))
		follow(t, s)
		time.Sleep(urlCooldown)
		miss := func() {
			var group sync.WaitGroup
			for range 100 {
				group.Go(func() {
					for range 100 {
						s.Missed()
					}
				})
			}
			group.Wait()
			synctest.Wait()
		}
		from.says("ab")
		miss()
		if from.count() != 2 || has(s, time.Now()) != "ab" {
			t.Fatalf("%d reads, keys %s; want 2, ab", from.count(), has(s, time.Now()))
		}
		for range 10 { // a flood for ten cool-downs
			for range 10 {
				miss()
				time.Sleep(urlCooldown / 10)
			}
		}
		synctest.Wait()
		if from.count() > 2+10 {
			t.Errorf("%d reads in ten cool-downs", from.count())
		}
		from.says("abc")
		miss()
		time.Sleep(urlCooldown)
		synctest.Wait()
		if got := has(s, time.Now()); got != "abc" {
			t.Errorf("a cool-down after a miss the keys are %s", got)
		}
	})
}

// 10,000 tokens with random keys from many callers are all refused, without
// waiting, and make no more than one request to a real server.
func TestUnknownKeysAreNoAmplifier(t *testing.T) {
	const tokens, callers = 10_000, 50
	server := newServer(t, keySet("a"))
	s, err := URL(server.URL, server.caFile(t), config(&bytes.Buffer{}))
	if err != nil {
		t.Fatal(err)
	}
	s.cooldown = time.Hour // none that the test would outlast
	next, err := s.Look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan struct{})
	go func() { s.Run(ctx, next); close(ran) }()
	v, err := identity.NewVerifier(identity.Config{Issuers: []identity.Issuer{{ID: "i", Keys: s}}, Audience: "a"})
	if err != nil {
		t.Fatal(err)
	}
	var refused atomic.Int64
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for range tokens / callers {
				_, err := v.Verify(identity.Presented{Token: tokenOf("i", fmt.Sprint(rand.Uint64()))}, time.Now())
				if e, ok := errors.AsType[*identity.Error](err); ok && e.Code == "token.kid_unknown" {
					refused.Add(1)
				}
			}
		})
	}
	group.Wait()
	if got := refused.Load(); got != tokens {
		t.Errorf("%d of %d were refused for their key", got, tokens)
	}
	if got := server.requests.Load(); got != 1 {
		t.Errorf("%d requests, want the first alone", got)
	}
	cancel()
	<-ran
	// And with the cool-down over, one for all of them.
	s.cooldown = 0
	ctx, cancel = context.WithCancel(t.Context())
	ran = make(chan struct{})
	go func() { s.Run(ctx, time.Hour); close(ran) }()
	server.await(t, 2)
	cancel()
	<-ran
	if got := server.requests.Load(); got != 2 {
		t.Errorf("%d requests, want one more", got)
	}
}

// tokenOf is a token that nobody signed.
func tokenOf(issuer, kid string) string {
	part := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return base64.RawURLEncoding.EncodeToString(data)
	}
	return part(map[string]string{"alg": "EdDSA", "kid": kid}) + "." + part(map[string]string{"iss": issuer}) + "." +
		base64.RawURLEncoding.EncodeToString(make([]byte, 64))
}

// A file is followed: a new key is there, a revoked one gone, and one half
// written or away changes nothing.
func TestFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "keys.json")
		write := func(data []byte) {
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(filePoll)
			synctest.Wait()
		}
		s, err := File(file, config(&bytes.Buffer{}))
		if err != nil {
			t.Fatal(err)
		}
		follow(t, s)
		if got := has(s, time.Now()); got != "none" {
			t.Errorf("without a file: %s", got)
		}
		time.Sleep(filePoll)
		for _, c := range []struct{ data, want string }{
			{string(keySet("a")), "a"}, {string(keySet("ab")), "ab"}, {string(keySet("b")), "b"},
			{string(keySet("c")[:30]), "b"}, {"", "b"}, {string(keySet("c")), "c"},
		} {
			write([]byte(c.data))
			time.Sleep(filePoll)
			synctest.Wait()
			if got := has(s, time.Now()); got != c.want {
				t.Errorf("the keys are %s, want %s", got, c.want)
			}
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(DefaultMaxAge - 10*filePoll)
		if got := has(s, time.Now()); got != "c" {
			t.Errorf("without the file: %s", got)
		}
		time.Sleep(11 * filePoll)
		if got := has(s, time.Now()); got != "none" {
			t.Errorf("without the file for too long: %s", got)
		}
	})
}

func TestConfigBounds(t *testing.T) {
	for _, age := range []time.Duration{-1, time.Second, LeastMaxAge - 1, LongestMaxAge + 1} {
		c := config(&bytes.Buffer{})
		c.MaxAge = age
		if _, err := File("x", c); err == nil {
			t.Errorf("an age of %s is accepted", age)
		}
		if _, err := NewWorkload(c); err == nil {
			t.Errorf("an age of %s is accepted of trust domains", age)
		}
	}
}
