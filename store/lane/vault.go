package lane

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

// vault notes what a token stands for: the first of a batch.
func (p *planner) vault(row audit.VaultRow) {
	if !slices.ContainsFunc(p.writes.Vaulted, func(v audit.VaultRow) bool { return compareVault(v, row) == 0 }) {
		p.writes.Vaulted = append(p.writes.Vaulted, row)
	}
}

// forget notes that a token goes. What was to be put into the vault before, in the
// same batch, is not: of the store's own, the token is deleted first.
func (p *planner) forget(tenant, token string) {
	gone := audit.VaultRow{Tenant: tenant, Token: token}
	same := func(v audit.VaultRow) bool { return compareVault(v, gone) == 0 }
	p.writes.Vaulted = slices.DeleteFunc(p.writes.Vaulted, same)
	if !slices.ContainsFunc(p.writes.Forgotten, same) {
		p.writes.Forgotten = append(p.writes.Forgotten, gone)
	}
}

func compareVault(a, b audit.VaultRow) int {
	return cmp.Or(strings.Compare(a.Tenant, b.Tenant), strings.Compare(a.Token, b.Token))
}

// checkVault refuses what cannot be stored of a token. A record's effect, which has the
// digest alone, is one.
func checkVault(v *decision.Vault) error {
	if len(v.Sealed) == 0 || len(v.Sealed) > decision.MaxSealed {
		return errors.New("what a token stands for is not there, or too long")
	}
	return errors.Join(checkText("token", v.Token, 1, 64), checkText("class of the token", v.Class, 0, 1024))
}
