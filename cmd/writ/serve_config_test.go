package main

import (
	"context"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

const hidden = "canary-secret"

// A configuration that cannot be served as it stands is refused, with the place
// and without the secrets.
func TestServeRefuses(t *testing.T) {
	s := migrated(t)
	loopback := []string{"tls:\n  cert_file: server.pem\n  key_file: server.key\n  client_ca_file: ca.pem\n", "",
		"https://writ.example.org", "http://127.0.0.1:7701"}
	with := func(more ...string) []string { return append(append([]string(nil), loopback...), more...) }
	s.write(t, "empty", "")
	s.write(t, "secret", hidden)
	s.write(t, "two", "PRIVATE\nKEY")
	s.write(t, "down", "postgres://u:"+hidden+"@127.0.0.1:1/db")
	s.write(t, "odd", "postgres://u:"+hidden+"%zz@127.0.0.1/db")
	s.write(t, "rooted", "postgres://u:"+hidden+"@127.0.0.1:1/db?sslmode=verify-full&sslrootcert=/nothing.pem")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	public, err := os.ReadFile(s.path("log.pub"))
	must(t, err)
	s.write(t, "public", string(public))
	s.write(t, "open", hidden)
	must(t, os.Chmod(s.path("open"), 0o644))
	must(t, os.Mkdir(s.path("nothing"), 0o700))
	for _, c := range []struct {
		name, says string
		edits      []string // old, new, …
	}{
		{"unknown key", "writ.yaml:[2:1] unknown field", []string{"http: 127", "htpp: 127"}},
		{"unknown key inside", "writ.yaml:[8:3] unknown field", []string{"key_file: log.key", "keyfile: log.key"}},
		{"key twice", "writ.yaml:[2:1] ", []string{"http: 127", "grpc: 127"}},
		{"no YAML", "writ.yaml:[", []string{"grpc: 127.0.0.1:0", "grpc: ["}},
		{"a text for a list", "writ.yaml:[", []string{"callers:\n  - spiffe_id: spiffe://example.org/gateway/*\n    tenant: acme", "callers: all"}},
		{"no bundle", "not named", []string{"bundle: policies", ""}},
		{"two stores", "there is one store", []string{"database_file: database", "database_file: database\ndata_dir: data"}},
		{"failover of a directory", "no place beside data_dir", []string{"database_file: database", "data_dir: data\nallow_failover_loss: true"}},
		{"notifications of a directory", "no place beside data_dir", []string{"database_file: database", "data_dir: data\nnotify: false"}},
		{"no database", "not named", []string{"database_file: database", ""}},
		{"no origin", "log.origin is missing", []string{"origin: writ.example.org/log", `origin: ""`}},
		{"in the plain for everybody", "both listeners must be on loopback", with("grpc: 127.0.0.1:0", "grpc: 0.0.0.0:0", "audience", "audience")},
		{"in the plain on a bare port", "both listeners must be on loopback", with("http: 127.0.0.1:0", `http: ":0"`)},
		{"in the plain on a name", "both listeners must be on loopback", with("http: 127.0.0.1:0", `http: localhost.example.org:0`)},
		{"in the plain for nobody", "loopback_caller says who", with()},
		{"loopback caller unknown", "loopback_caller: ", with("tokens:", "loopback_caller: spiffe://example.org/other\ntokens:")},
		{"loopback caller no ID", "loopback_caller: ", with("tokens:", "loopback_caller: me\ntokens:")},
		{"loopback caller with TLS", "no place beside tls", []string{"tokens:", "loopback_caller: spiffe://example.org/gateway/a\ntokens:"}},
		{"bundle without files", "writ.yaml", []string{"bundle: policies", "bundle: nothing"}},
		{"database file empty", "is empty", []string{"database_file: database", "database_file: empty"}},
		{"database that is a secret", "not a PostgreSQL connection string", []string{"database_file: database", "database_file: secret"}},
		{"database with a missing file", "nothing.pem", []string{"database_file: database", "database_file: rooted"}},
		{"database file of two lines", "more than one line", []string{"database_file: database", "database_file: two"}},
		{"database away", "opening the ledger's database", []string{"database_file: database", "database_file: down"}},
		{"database malformed", "not a PostgreSQL connection string", []string{"database_file: database", "database_file: odd"}},
		{"log key missing", "log.kex", []string{"log.key", "log.kex"}},
		{"log key of another log", "log's key", []string{"writ.example.org/log", "other.example.org/log"}},
		{"log key public", "log's key", []string{"key_file: log.key", "key_file: public"}},
		{"log key for everybody", "defaultMode 0440", []string{"key_file: log.key", "key_file: open"}},
		{"no log key", "log: the key is not named", []string{"key_file: log.key", `key_file: ""`}},
		{"two log keys", "log: key_file and kms name two keys", []string{"key_file: log.key", "key_file: log.key\n  kms: hashivault://x"}},
		{"a passphrase for nothing", "passphrase_file without key_file", []string{"key_file: log.key", "kms: hashivault://x\n  passphrase_file: secret"}},
		{"a passphrase for a key that is plain", "not encrypted", []string{"key_file: log.key", "key_file: log.key\n  passphrase_file: secret"}},
		{"a KMS of another kind", "a KMS URI begins with", []string{"key_file: log.key", "kms: exec://sh"}},
		{"a Vault that is nowhere", "not said where the Vault is", []string{"key_file: log.key", "kms: hashivault://x"}},
		{"a Vault in the plain", "not https", []string{"key_file: log.key", "kms: hashivault://x", "tokens:", "vault:\n  address: http://vault.example.org\n  token_file: secret\ntokens:"}},
		{"a Vault with a password", "not a plain URL", []string{"key_file: log.key", "kms: hashivault://x", "tokens:", "vault:\n  address: https://u:" + hidden + "@vault.example.org\n  token_file: secret\ntokens:"}},
		{"a retired key that is none", "retired key", []string{"key_file: log.key", "key_file: log.key\n  retired_key_files: [secret]"}},
		{"database for everybody", "defaultMode 0440", []string{"database_file: database", "database_file: open"}},
		{"log key nonsense", "log's key", []string{"key_file: log.key", "key_file: secret"}},
		{"certificate and key differ", "server's certificate", []string{"key_file: server.key", "key_file: client.key"}},
		{"no authority", "no certificate of an authority in it", []string{"client_ca_file: ca.pem", "client_ca_file: secret"}},
		{"no audience", "no audience", []string{"audience: writ", `audience: ""`}},
		{"no issuer", "no issuer", []string{"issuers:\n    - issuer: https://issuer.example.org\n      jwks_file: issuer.json", "issuers: []"}},
		{"keys nonsense", "secret: ", []string{"jwks_file: issuer.json", "jwks_file: secret"}},
		{"keys nowhere", "one of jwks_file, jwks_url and trust_domain", []string{"      jwks_file: issuer.json\n", ""}},
		{"keys twice", "one of jwks_file, jwks_url and trust_domain", []string{"jwks_file: issuer.json", "jwks_file: issuer.json\n      jwks_url: https://issuer.example.org/keys"}},
		{"keys over plain HTTP", "not https", []string{"jwks_file: issuer.json", "jwks_url: http://issuer.example.org/keys"}},
		{"keys with a secret", "holds a credential", []string{"jwks_file: issuer.json", "jwks_url: https://u:" + hidden + "@issuer.example.org/keys"}},
		{"keys without their authority", "nothing.pem", []string{"jwks_file: issuer.json", "jwks_url: https://issuer.example.org/keys\n      jwks_ca_file: nothing.pem"}},
		{"authority of a file", "jwks_ca_file is for a jwks_url", []string{"jwks_file: issuer.json", "jwks_file: issuer.json\n      jwks_ca_file: ca.pem"}},
		{"keys of no trust domain", "trust_domain: ", []string{"jwks_file: issuer.json", "trust_domain: not/one"}},
		{"keys of a trust domain without a Workload API", "SPIFFE_ENDPOINT_SOCKET says where", []string{"jwks_file: issuer.json", "trust_domain: example.org"}},
		{"keys for ever", "age of keys", []string{"jwks_file: issuer.json", "jwks_file: issuer.json\n      keys_max_age: 1000h"}},
		{"two servers of one audience", "is also that of", []string{"  max_lifetime: 5m", "  server_audiences: { a: x, b: x }\n  max_lifetime: 5m"}},
		{"a server with this PDP's audience", "is also that of", []string{"  max_lifetime: 5m", "  server_audiences: { a: writ }\n  max_lifetime: 5m"}},
		{"tokens live longer than ever", "lifetime", []string{"max_lifetime: 5m", "max_lifetime: 61m\n  allow_longer_lifetimes: true"}},
		{"tokens live too long", "lifetime", []string{"max_lifetime: 5m", "max_lifetime: 11m"}},
		{"no callers", "callers: ", []string{"callers:\n  - spiffe_id: spiffe://example.org/gateway/*\n    tenant: acme", ""}},
		{"everybody calls", "callers: ", []string{"spiffe://example.org/gateway/*", "spiffe://*"}},
		{"caller of no tenant", "callers: ", []string{"tenant: acme", `tenant: ""`}},
		{"base URL in the plain", "base URL is not https", []string{"https://writ.example.org", "http://writ.example.org"}},
		{"no base URL", "base URL", []string{"base_url: https://writ.example.org", ""}},
		{"address taken", "listening for gRPC", []string{"grpc: 127.0.0.1:0", "grpc: " + taken.Addr().String()}},
		{"address malformed", "listening for JSON", []string{"http: 127.0.0.1:0", "http: 127.0.0.1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := goodConfig
			for i := 0; i < len(c.edits); i += 2 {
				if !strings.Contains(config, c.edits[i]) {
					t.Fatalf("the configuration has no %q", c.edits[i])
				}
				config = strings.Replace(config, c.edits[i], c.edits[i+1], 1)
			}
			s.write(t, "writ.yaml", config)
			code, out, errs := writ(t, "serve", "--config", s.path("writ.yaml"))
			if code != exitFailed || out != "" || !strings.Contains(errs, c.says) {
				t.Errorf("exit code %d, %s%s, want %q", code, out, errs, c.says)
			}
			if strings.Contains(errs, hidden) || strings.Contains(errs, "PRIVATE") || strings.Contains(errs, string(public)) {
				t.Errorf("the error tells a secret: %s", errs)
			}
			if n := strings.Count(errs, "\n"); n > 8 {
				t.Errorf("the error takes %d lines: %s", n, errs)
			}
		})
	}
}

// Without TLS, on loopback, everybody is one configured caller.
func TestServeLoopback(t *testing.T) {
	s := migrated(t)
	s.write(t, "writ.yaml", strings.NewReplacer("tls:\n  cert_file: server.pem\n  key_file: server.key\n  client_ca_file: ca.pem\n",
		"loopback_caller: "+testGateway+"\n", "https://writ.example.org", "http://127.0.0.1:7701").Replace(goodConfig))
	p := s.serve(t)
	s.write(t, "token", s.token(t))
	out := succeed(t, "decide", "--addr", p.grpc, "--token-file", s.path("token"), "--tool", "filesystem/list_directory", "--args", `{"path":"/srv/files/"}`)
	if !strings.Contains(out, "ALLOW") {
		t.Errorf("got %s", out)
	}
	if code := p.stop(t, os.Interrupt); code != exitOK {
		t.Errorf("exit code %d after SIGINT: %s", code, p.stderr)
	}
}

// A schema that a later build has made is none of this one's.
func TestServeNewerSchema(t *testing.T) {
	s := migrated(t)
	dsn, err := readLine(s.path("database"))
	must(t, err)
	conn, err := pgx.Connect(t.Context(), dsn)
	must(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	_, err = conn.Exec(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (4711, true)")
	must(t, err)
	for _, args := range [][]string{
		{"serve", "--config", s.path("writ.yaml")},
		{"log", "list", "--database-file", s.path("database")},
	} {
		if code, _, errs := writ(t, args...); code != exitFailed || !strings.Contains(errs, "4711") {
			t.Errorf("writ %s: exit code %d: %s", args[0], code, errs)
		}
	}
}

// A private key is its owner's, and never written over.
func TestKeygen(t *testing.T) {
	s := &site{dir: t.TempDir()}
	succeed(t, "log", "keygen", "--origin", testOrigin, "--dir", s.path("keys"))
	before, err := os.ReadFile(s.path("keys/log.key"))
	must(t, err)
	info, err := os.Stat(s.path("keys/log.key"))
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the private key's mode is %s", info.Mode())
	}
	if code, out, errs := writ(t, "log", "keygen", "--origin", testOrigin, "--dir", s.path("keys")); code != exitFailed || strings.Contains(out+errs, "PRIVATE") {
		t.Errorf("a second time: exit code %d, %s%s", code, out, errs)
	}
	after, err := os.ReadFile(s.path("keys/log.key"))
	must(t, err)
	if string(before) != string(after) {
		t.Error("the private key was written over")
	}
	for _, origin := range []string{"", "has space", "has+plus", "line\nbreak"} {
		if code, _, errs := writ(t, "log", "keygen", "--origin", origin, "--dir", s.path("other")); code == exitOK {
			t.Errorf("the origin %q is accepted: %s", origin, errs)
		}
	}
}

// The command line asks by mTLS or on loopback, and says so when it cannot.
func TestDecideRefuses(t *testing.T) {
	s := &site{dir: t.TempDir(), ca: newAuthority(t)}
	save(t, s.ca.issue(t, nil, testGateway), s.path("client.pem"), s.path("client.key"))
	s.write(t, "token", hidden)
	s.write(t, "empty", "")
	for name, c := range map[string]struct {
		code int
		says string
		args []string
	}{
		"plain to another machine":  {exitUsage, "loopback", []string{"--token-file", s.path("token"), "--addr", "192.0.2.1:7700"}},
		"certificate without CA":    {exitUsage, "--ca", []string{"--token-file", s.path("token"), "--cert", s.path("client.pem"), "--key", s.path("client.key")}},
		"CA without certificate":    {exitUsage, "--cert", []string{"--token-file", s.path("token"), "--ca", s.path("client.pem")}},
		"Workload API without whom": {exitUsage, "--server-id", []string{"--token-file", s.path("token"), "--workload-api", "unix:///nothing"}},
		"Workload API and files": {exitUsage, "goes without --ca", []string{"--token-file", s.path("token"), "--workload-api", "unix:///nothing",
			"--server-id", "spiffe://example.org/writ", "--ca", s.path("client.pem"), "--cert", s.path("client.pem"), "--key", s.path("client.key")}},
		"whom without a certificate": {exitUsage, "--workload-api", []string{"--token-file", s.path("token"), "--server-id", "spiffe://example.org/writ"}},
		"whom by a name":             {exitUsage, "--server-id: ", []string{"--token-file", s.path("token"), "--server-id", "writ", "--workload-api", "unix:///nothing"}},
		"no Workload API":            {exitFailed, "asking the Workload API", []string{"--token-file", s.path("token"), "--server-id", "spiffe://example.org/writ", "--workload-api", "unix:///nothing", "--wait", "1s"}},
		"empty token":                {exitFailed, "is empty", []string{"--token-file", s.path("empty")}},
		"malformed arguments":        {exitFailed, "no decision, so deny", []string{"--token-file", s.path("token"), "--args", "{", "--wait", "1s", "--addr", "127.0.0.1:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := writ(t, append([]string{"decide", "--tool", "filesystem/list_directory"}, c.args...)...)
			if code != c.code || !strings.Contains(errs, c.says) || strings.Contains(out+errs, hidden) {
				t.Errorf("exit code %d: %s%s, want %d and %q", code, out, errs, c.code, c.says)
			}
		})
	}
}
