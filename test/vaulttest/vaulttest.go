// Package vaulttest runs Vault's own transit engine for tests, on loopback: the
// program in test/transit, which is a module of its own.
package vaulttest

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Token is what the engine's token file holds first.
const Token = "canary-token-1"

// Vault is a running transit engine, at the mount "transit".
type Vault struct {
	// Address is its URL.
	Address string
	// TokenFile holds the token that it takes; what is written there holds from
	// then on.
	TokenFile string
}

// Start runs an engine for the length of a test.
func Start(t testing.TB) *Vault {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("starting the transit engine: %v", err)
		}
	}
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	must(err)
	v := &Vault{TokenFile: filepath.Join(t.TempDir(), "token")}
	must(os.WriteFile(v.TokenFile, []byte(Token+"\n"), 0o600))
	cmd := exec.Command("go", "run", "-C", filepath.Join(strings.TrimSpace(string(root)), "test", "transit"), ".", v.TokenFile)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	must(err)
	stdout, err := cmd.StdoutPipe()
	must(err)
	must(cmd.Start())
	t.Cleanup(func() {
		_ = stdin.Close() // it ends with its input
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	must(err)
	v.Address = strings.TrimSpace(line)
	return v
}

// Do asks the engine itself, as an operator does: a path below the mount, and a
// JSON body.
func (v *Vault) Do(t testing.TB, path, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, v.Address+"/v1/transit/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	token, err := os.ReadFile(v.TokenFile)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Vault-Token", strings.TrimSpace(string(token)))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, _ := io.ReadAll(response.Body); response.StatusCode >= 300 {
		t.Fatalf("%s: %s: %s", path, response.Status, text)
	}
}
