package main

import (
	"os"
	"strings"
	"testing"

	"github.com/writpdp/writ/test/vaulttest"
)

// A log that began with a key in a file goes on with one that never leaves a
// Vault, and so do tokens; auditors verify it by both public keys.
func TestServeKMS(t *testing.T) {
	s := exchanging(t)
	v := vaulttest.Start(t)
	v.Do(t, "keys/writ-log", `{"type":"ed25519"}`)
	v.Do(t, "keys/writ-tokens", `{"type":"ecdsa-p256"}`)
	p := s.serve(t)
	s.ask(t, p, s.token(t), listFiles...)
	if code := p.stop(t, os.Interrupt); code != exitOK {
		t.Fatalf("exit code %d: %s", code, p.stderr)
	}

	config, err := os.ReadFile(s.path("writ.yaml"))
	must(t, err)
	vault := "vault:\n  address: " + v.Address + "\n  token_file: " + v.TokenFile + "\ntokens:"
	s.write(t, "writ.yaml", strings.NewReplacer("key_file: log.key", "kms: hashivault://writ-log\n  retired_key_files: [log.pub]",
		"key_file: token.key\n    passphrase_file: passphrase", "kms: hashivault://writ-tokens", "tokens:", vault).Replace(string(config)))
	p = s.serve(t)
	if code, out, errs := s.exchange(t, p, "--purpose", "support"); code != exitOK {
		t.Errorf("exit code %d: %s", code, errs)
	} else if out := s.ask(t, p, strings.TrimSpace(out), listFiles...); strings.Contains(out, "no decision") {
		t.Errorf("a decision by a token that the Vault has signed: %s", out)
	}
	if code := p.stop(t, os.Interrupt); code != exitOK {
		t.Fatalf("exit code %d: %s", code, p.stderr)
	}
	if strings.Contains(p.stderr.String(), vaulttest.Token) {
		t.Errorf("the log tells the Vault's token: %s", p.stderr)
	}

	s.write(t, "vault.pub", succeed(t, "key", "public", "--kms", "hashivault://writ-log", "--vault-address", v.Address, "--vault-token-file", v.TokenFile,
		"--origin", testOrigin))
	out := succeed(t, "log", "verify", "--database-file", s.path("database"), "--key", s.path("vault.pub"), "--key", s.path("log.pub"))
	if !strings.HasPrefix(out, "OK") || !strings.Contains(out, "unsealed records  0") {
		t.Errorf("the log: %s", out)
	}
	if code, out, _ := writ(t, "log", "verify", "--database-file", s.path("database"), "--key", s.path("vault.pub")); code == exitOK {
		t.Errorf("the log verifies without the key that it began with: %s", out)
	}

}
