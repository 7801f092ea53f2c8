package pseudonym_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/pseudonym"
)

func key(t *testing.T, b byte) *pseudonym.Key {
	k, err := pseudonym.New(bytes.Repeat([]byte{b}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// The same value joins within a tenant and a domain, and nowhere else.
func TestHashesJoinWithinATenantAndADomain(t *testing.T) {
	k := key(t, 1)
	seen := map[[20]byte]string{}
	for _, one := range []struct {
		key                  *pseudonym.Key
		tenant, domain, text string
	}{
		{k, "acme", "email", "a@example.com"}, {k, "acme", "email", "b@example.com"}, {k, "acme", "phone", "a@example.com"},
		{k, "other", "email", "a@example.com"}, {key(t, 2), "acme", "email", "a@example.com"},
		{k, "acme", "emaila", "@example.com"}, {k, "acme", "", "emaila@example.com"}, {k, "acmeemail", "", "a@example.com"},
	} {
		sum := one.key.Of(one.tenant).Hash(one.domain, one.text)
		if again := one.key.Of(one.tenant).Hash(one.domain, one.text); again != sum {
			t.Errorf("%q: got %x, then %x", one.text, sum, again)
		}
		name := fmt.Sprintf("%q %q %q", one.tenant, one.domain, one.text)
		if other, twice := seen[sum]; twice {
			t.Errorf("%s has the hash of %s", name, other)
		}
		seen[sum] = name
	}
}

// A restarted server, and another version of it, hashes as before.
func TestHashStays(t *testing.T) {
	if got, want := fmt.Sprintf("%x", key(t, 1).Of("acme").Hash("email", "a@example.com")), "fa4fa3786dfe12b22df22e74382e67cab3cc3aae"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestRead(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	for _, test := range []struct{ name, text, want string }{
		{"a key", good + "\n", ""},
		{"a short one", base64.StdEncoding.EncodeToString([]byte("hunter2")), "shorter than 32 bytes"},
		{"no base64", "hunter2 hunter2", "not base64"},
		{"nothing", "", "empty"},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			k, err := pseudonym.Read(file)
			if test.want == "" {
				if err != nil || fmt.Sprintf("%v %+v", k, k) != "[secret] [secret]" {
					t.Errorf("got %v, %v", k, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// What is sealed is opened by its tenant's keys, for its class and token, and by
// nothing else.
func TestTokens(t *testing.T) {
	k := key(t, 1)
	id, sealed, err := k.Of("acme").Token("email", "a@example.com")
	if err != nil || bytes.Contains(sealed, []byte("example")) {
		t.Fatal(err)
	}
	token := document.Replacement(document.Tokenised, id)
	if got, err := k.Of("acme").Open("email", token, sealed); got != "a@example.com" {
		t.Errorf("got %q, %v", got, err)
	}
	if again, _, _ := k.Of("acme").Token("email", "a@example.com"); again != id || id == k.Of("acme").Hash("email", "a@example.com") {
		t.Error("a token is not the same again, or is the hash")
	}
	other, _, _ := k.Of("acme").Token("email", "b@example.com")
	changed := bytes.Clone(sealed)
	changed[len(changed)-1] ^= 1
	for name, open := range map[string]func() (string, error){
		"another tenant": func() (string, error) { return k.Of("other").Open("email", token, sealed) },
		"another key":    func() (string, error) { return key(t, 2).Of("acme").Open("email", token, sealed) },
		"another class":  func() (string, error) { return k.Of("acme").Open("phone", token, sealed) },
		"another token": func() (string, error) {
			return k.Of("acme").Open("email", document.Replacement(document.Tokenised, other), sealed)
		},
		"no token": func() (string, error) { return k.Of("acme").Open("email", "", sealed) },
		"changed":  func() (string, error) { return k.Of("acme").Open("email", token, changed) },
		"cut":      func() (string, error) { return k.Of("acme").Open("email", token, sealed[:3]) },
	} {
		if got, err := open(); err == nil || got != "" {
			t.Errorf("%s: got %q", name, got)
		}
	}
}
