package storetest

import (
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

// vaulted puts into the vault what a token stands for.
func vaulted(token, value string) decision.Vault {
	sealed := []byte("sealed " + value)
	return decision.Vault{Token: token, Class: "email", Sealed: sealed, Digest: sha256.Sum256(sealed)}
}

// testVault: what a token stands for is there with its record, the first stays, tenants
// are apart, and what is forgotten is gone until it comes again.
func testVault(t *testing.T, place Place) {
	open := opener(t, place)
	s := open()
	first := entry("a", "1", vaulted("one", "x"), vaulted("two", "y"))
	commit(t, s, first)
	commit(t, s, entry("b", "1", vaulted("one", "x")))
	commit(t, s, of("bolt", entry("c", "1", vaulted("one", "z"))))
	want := audit.VaultRow{Tenant: "acme", Token: "one", Class: "email", Sealed: []byte("sealed x"), Record: first.ID}
	for _, store := range []Store{s, open()} {
		got, err := store.Vaulted(t.Context(), "acme", "one")
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v, -want +got:\n%s", err, diff)
		}
	}
	absent := func(tenant, token string) {
		t.Helper()
		if got, err := s.Vaulted(t.Context(), tenant, token); !errors.Is(err, audit.ErrNotFound) {
			t.Errorf("got %v, %v", got, err)
		}
	}
	absent("bolt", "two")
	absent("acme", "three")
	absent("", "one")

	commit(t, s, entry("d", "1", decision.Forget{Token: "one"}))
	absent("acme", "one")
	if _, err := s.Vaulted(t.Context(), "bolt", "one"); err != nil {
		t.Errorf("another tenant's is gone too: %v", err)
	}
	again := entry("e", "1", vaulted("one", "x"))
	commit(t, s, again)
	if got, err := s.Vaulted(t.Context(), "acme", "one"); err != nil || got.Record != again.ID {
		t.Errorf("got %v, %v", got, err)
	}

	// A request that fails its guard leaves nothing.
	if _, err := s.Commit(t.Context(), entry("f", "1", vaulted("four", "x"), charge(9, 1))); !errors.Is(err, audit.ErrStale) {
		t.Errorf("got %v", err)
	}
	absent("acme", "four")
	// What a record alone tells, which has no more than a digest, is not stored.
	for name, bad := range map[string]decision.Vault{
		"nothing sealed": {Token: "five"}, "too long": vaulted("five", strings.Repeat("x", decision.MaxSealed)), "no token": vaulted("", "x")} {
		if _, err := s.Commit(t.Context(), entry("g "+name, "1", bad)); err == nil {
			t.Errorf("%s: committed", name)
		}
	}
	var all []string
	if err := s.View(t.Context(), func(r audit.Reader) error {
		return r.VaultRows(t.Context(), func(v audit.VaultRow) error {
			all = append(all, v.Tenant+" "+v.Token)
			return nil
		})
	}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"acme one", "acme two", "bolt one"}; !slices.Equal(all, want) {
		t.Errorf("got %q, want %q", all, want)
	}
}
