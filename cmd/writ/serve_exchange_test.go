package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

const exchangeSection = `  exchange:
    issuer: https://writ.example.org
    key_file: token.key
    passphrase_file: passphrase
    max_depth: 3
    public_key_files: []
    grants:
      - spiffe_id: spiffe://example.org/gateway/a
        tenant: acme
        purposes: [support]
        tools: [filesystem/list_directory]
callers:`

// exchanging is a site whose server exchanges tokens.
func exchanging(t testing.TB) *site {
	t.Helper()
	s := migrated(t)
	s.write(t, "passphrase", hidden+"\n")
	s.tokenKey(t)
	s.write(t, "writ.yaml", strings.Replace(goodConfig, "callers:", exchangeSection, 1))
	return s
}

// tokenKey makes an encrypted key that signs tokens, as sigstore's tools write it.
func (s *site) tokenKey(t testing.TB) (public []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := cryptoutils.MarshalPrivateKeyToEncryptedDER(private, func(bool) ([]byte, error) { return []byte(hidden), nil })
	must(t, err)
	s.write(t, "token.key", string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: der})))
	spki, err := x509.MarshalPKIXPublicKey(private.Public())
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})
}

// exchange asks for tokens by the client's certificate.
func (s *site) exchange(t testing.TB, p *process, args ...string) (code int, out, errs string) {
	t.Helper()
	return writ(t, append([]string{"token", "exchange", "--addr", p.grpc, "--ca", s.path("ca.pem"), "--cert", s.path("client.pem"),
		"--key", s.path("client.key")}, args...)...)
}

func (s *site) ask(t testing.TB, p *process, token string, args ...string) string {
	t.Helper()
	s.write(t, "token", token)
	_, out, errs := writ(t, append([]string{"decide", "--addr", p.grpc, "--ca", s.path("ca.pem"), "--cert", s.path("client.pem"),
		"--key", s.path("client.key"), "--token-file", s.path("token")}, args...)...)
	return out + errs
}

var listFiles = []string{"--tool", "filesystem/list_directory", "--args", `{"path":"/srv/files/"}`}

// An agent that is proved by its certificate gets the tokens that it is granted;
// the key that signs is changed without a token that is not accepted.
func TestServeExchange(t *testing.T) {
	s := exchanging(t)
	p := s.serve(t)
	code, out, errs := s.exchange(t, p, "--purpose", "support", "--count", "2")
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	tokens := strings.Fields(out)
	// It is an agent of no team, so policy denies; but the token is its own.
	if out := s.ask(t, p, tokens[0], listFiles...); !strings.Contains(out, "policy.") || strings.Contains(out, "no decision") || strings.Contains(out, "purpose.") {
		t.Errorf("a decision by an exchanged token: %s", out)
	}
	for name, args := range map[string][]string{
		"exchange.purposes": {"--purpose", "research"},
		"exchange.tools":    {"--purpose", "support", "--tool", "filesystem/read_text_file"},
		"exchange.lifetime": {"--purpose", "support", "--ttl", "9m"},
	} {
		if code, _, errs := s.exchange(t, p, args...); code != exitFailed || !strings.Contains(errs, name) {
			t.Errorf("%s: exit code %d: %s", name, code, errs)
		}
	}
	if strings.Contains(p.stderr.String(), hidden) || strings.Contains(p.stderr.String(), tokens[1]) {
		t.Errorf("the log tells a secret: %s", p.stderr)
	}
	if code := p.stop(t, os.Interrupt); code != exitOK {
		t.Fatalf("exit code %d: %s", code, p.stderr)
	}

	// Another key signs; the one before is published beside it, and its tokens are
	// still accepted. Once it is not published any more, they are not.
	old := succeed(t, "key", "public", "--key-file", s.path("token.key"), "--passphrase-file", s.path("passphrase"))
	s.write(t, "old.pem", old)
	s.tokenKey(t)
	for _, c := range []struct {
		others, says string
		keys         int
	}{{"[old.pem]", "policy.", 2}, {"[]", "no decision, so deny: the token's issuer has no such key", 1}} {
		s.write(t, "writ.yaml", strings.Replace(strings.Replace(goodConfig, "callers:", exchangeSection, 1), "public_key_files: []", "public_key_files: "+c.others, 1))
		p := s.serve(t)
		if keys := s.keySet(t, p); strings.Count(keys, `"kid"`) != c.keys {
			t.Errorf("with %s the key set is %s", c.others, keys)
		}
		if out := s.ask(t, p, tokens[1], listFiles...); !strings.Contains(out, c.says) {
			t.Errorf("with %s: %s, want %q", c.others, out, c.says)
		}
		p.stop(t, os.Interrupt)
	}
}

// keySet is what the server publishes.
func (s *site) keySet(t testing.TB, p *process) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(s.path("client.pem"), s.path("client.key"))
	must(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{RootCAs: s.ca.pool(), Certificates: []tls.Certificate{pair}}}}
	response, err := client.Get("https://" + p.http + "/.well-known/jwks.json")
	must(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	must(t, err)
	return string(body)
}

func TestServeExchangeRefuses(t *testing.T) {
	s := exchanging(t)
	s.write(t, "secret", hidden)
	good, err := os.ReadFile(s.path("writ.yaml"))
	must(t, err)
	for name, c := range map[string]struct{ from, to, says string }{
		"no key":                    {"    key_file: token.key\n    passphrase_file: passphrase\n", "", "tokens.exchange: the key is not named"},
		"two keys":                  {"passphrase_file: passphrase", "kms: hashivault://x", "tokens.exchange: key_file and kms name two keys"},
		"no passphrase":             {"    passphrase_file: passphrase\n", "", "no file with its passphrase"},
		"no issuer":                 {"issuer: https://writ.example.org\n    key_file: token", "issuer: ''\n    key_file: token", "the issuer is not"},
		"somebody else's issuer":    {"issuer: https://writ.example.org\n    key_file: token", "issuer: " + testIssuer + "\n    key_file: token", "is there twice"},
		"an unknown key":            {"max_depth: 3", "depth: 3", "unknown field"},
		"too deep":                  {"max_depth: 3", "max_depth: 9", "max_depth is not 1 to 8"},
		"below nothing":             {"max_depth: 3", "max_depth: -1", "max_depth is not 1 to 8"},
		"a public key of nothing":   {"public_key_files: []", "public_key_files: [secret]", "not one PEM block of a public key"},
		"a grant for everybody":     {"spiffe_id: spiffe://example.org/gateway/a", "spiffe_id: spiffe://example.org/*", "grant 0: spiffe_id"},
		"a grant for no tenant":     {"        tenant: acme\n        purposes", "        purposes", "grant 0: no tenant"},
		"a grant of everything":     {"purposes: [support]", "purposes: ['*']", "holds a wildcard"},
		"a grant of nothing":        {"purposes: [support]", "purposes: []", "is empty"},
		"a grant of a server":       {"tools: [filesystem/list_directory]", "tools: ['filesystem/*']", "holds a wildcard"},
		"agents of no domain":       {"    grants:", "    agents: [{ trust_domain: 'Not One', jwks_file: issuer.json }]\n    grants:", "is not a trust domain's name"},
		"agents without keys":       {"    grants:", "    agents: [{ trust_domain: example.org, jwks_file: secret }]\n    grants:", "secret: reading the key set"},
		"agents of no Workload API": {"    grants:", "    agents: [{ trust_domain: example.org }]\n    grants:", "SPIFFE_ENDPOINT_SOCKET says where"},
		"agents of two places":      {"    grants:", "    agents: [{ trust_domain: example.org, jwks_file: issuer.json, jwks_url: 'https://issuer.example.org/keys' }]\n    grants:", "one of jwks_file, jwks_url and trust_domain"},
		"humans of no place":        {"    grants:", "    humans: [{ issuer: https://login.example.org, audience: portal }]\n    grants:", "humans: issuer \"https://login.example.org\": one of jwks_file"},
		"humans for the PDP":        {"    grants:", "    humans: [{ issuer: https://login.example.org, audience: writ, jwks_file: issuer.json }]\n    grants:", "has the audience of agents"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(string(good), c.from) {
				t.Fatalf("the configuration has no %q", c.from)
			}
			s.write(t, "writ.yaml", strings.Replace(string(good), c.from, c.to, 1))
			code, out, errs := writ(t, "serve", "--config", s.path("writ.yaml"))
			if code != exitFailed || !strings.Contains(errs, c.says) || strings.Contains(out+errs, hidden) {
				t.Errorf("exit code %d: %s%s, want %q", code, out, errs, c.says)
			}
		})
	}
}

// The key command prints what others need of a key, and never more.
func TestKeyPublic(t *testing.T) {
	s := &site{dir: t.TempDir()}
	succeed(t, "log", "keygen", "--origin", testOrigin, "--dir", s.dir)
	want, err := os.ReadFile(s.path("log.pub"))
	must(t, err)
	if got := succeed(t, "key", "public", "--key-file", s.path("log.key"), "--origin", testOrigin); got != strings.TrimSpace(string(want)) {
		t.Errorf("the log's public key is %s, want %s", got, want)
	}
	s.write(t, "passphrase", hidden)
	pub := s.tokenKey(t)
	if got := succeed(t, "key", "public", "--key-file", s.path("token.key"), "--passphrase-file", s.path("passphrase")); got != strings.TrimSpace(string(pub)) {
		t.Errorf("the public key is %s, want %s", got, pub)
	}
	for name, args := range map[string][]string{
		"of no key":        nil,
		"of two":           {"--key-file", s.path("log.key"), "--kms", "hashivault://x"},
		"of another kind":  {"--key-file", s.path("token.key"), "--passphrase-file", s.path("passphrase"), "--origin", testOrigin},
		"of a broken name": {"--key-file", s.path("log.key"), "--origin", "a+b"},
		"of a program":     {"--kms", "exec://x"},
	} {
		if code, out, errs := writ(t, append([]string{"key", "public"}, args...)...); code == exitOK || out != "" || strings.Contains(errs, hidden) {
			t.Errorf("%s: exit code %d: %s%s", name, code, out, errs)
		}
	}
}
