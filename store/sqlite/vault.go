package sqlite

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/writpdp/writ/server/audit"
)

const (
	// A token is of one value for ever, so whoever comes second has nothing to add.
	insertVaultSQL = `INSERT INTO vault (tenant, token, class, sealed, record)
		SELECT value ->> 0, value ->> 1, value ->> 2, unhex(value ->> 3), unhex(value ->> 4) FROM json_each(?) WHERE true
		ON CONFLICT (tenant, token) DO NOTHING`

	deleteVaultSQL = `DELETE FROM vault WHERE (tenant, token) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))`

	vaultedSQL = `SELECT tenant, token, class, sealed, record FROM vault WHERE tenant = ? AND token = ?`

	vaultSQL = `SELECT tenant, token, class, sealed, record FROM vault ORDER BY tenant, token`
)

func vaultItem(v audit.VaultRow) any {
	return []any{v.Tenant, v.Token, v.Class, hex.EncodeToString(v.Sealed), hex.EncodeToString(v.Record[:])}
}

// Vaulted is what a token of a tenant stands for, or audit.ErrNotFound.
func (s *Store) Vaulted(ctx context.Context, tenant, token string) (audit.VaultRow, error) {
	found := audit.VaultRow{}
	err := s.each(ctx, func(scan func(...any) error) (err error) {
		found, err = scanVault(scan)
		return err
	}, vaultedSQL, tenant, token)
	switch {
	case err != nil:
		return audit.VaultRow{}, fmt.Errorf("reading the vault: %w", err)
	case found.Token == "":
		return audit.VaultRow{}, audit.ErrNotFound
	}
	return found, nil
}

// VaultRows yields what tokens stand for, by tenant and token.
func (r reader) VaultRows(ctx context.Context, yield func(audit.VaultRow) error) error {
	err := r.each(ctx, func(scan func(...any) error) error {
		v, err := scanVault(scan)
		if err != nil {
			return err
		}
		return yield(v)
	}, vaultSQL)
	return reading("the vault", err)
}

func scanVault(scan func(...any) error) (v audit.VaultRow, err error) {
	var raw []byte
	if err := scan(&v.Tenant, &v.Token, &v.Class, &v.Sealed, &raw); err != nil {
		return v, err
	}
	v.Record, err = id(raw)
	return v, err
}
