package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/store/lane"
)

const (
	// A token is of one value for ever, so whoever comes second has nothing to add. The
	// order is everybody's, so that no two wait for each other.
	insertVaultSQL = `INSERT INTO vault (tenant, token, class, sealed, record)
		SELECT w.tenant, w.token, w.class, w.sealed, w.record
		FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::uuid[])
			WITH ORDINALITY AS w (tenant, token, class, sealed, record, n) ORDER BY w.n
		ON CONFLICT (tenant, token) DO NOTHING`

	deleteVaultSQL = `DELETE FROM vault AS v USING unnest($1::text[], $2::text[]) AS w (tenant, token)
		WHERE v.tenant = w.tenant AND v.token = w.token`

	vaultedSQL = `SELECT tenant, token, class, sealed, record FROM vault WHERE tenant = $1 AND token = $2`

	vaultSQL = `SELECT tenant, token, class, sealed, record FROM vault ORDER BY tenant, token`
)

func queueVault(b *pgx.Batch, w *lane.Writes) {
	tenant, token := func(v *audit.VaultRow) string { return v.Tenant }, func(v *audit.VaultRow) string { return v.Token }
	if len(w.Forgotten) > 0 {
		b.Queue(deleteVaultSQL, columns(w.Forgotten, tenant), columns(w.Forgotten, token))
	}
	if len(w.Vaulted) > 0 {
		b.Queue(insertVaultSQL, columns(w.Vaulted, tenant), columns(w.Vaulted, token),
			columns(w.Vaulted, func(v *audit.VaultRow) string { return v.Class }),
			columns(w.Vaulted, func(v *audit.VaultRow) []byte { return v.Sealed }),
			columns(w.Vaulted, func(v *audit.VaultRow) [16]byte { return v.Record }))
	}
}

// Vaulted is what a token of a tenant stands for, or audit.ErrNotFound.
func (s *Store) Vaulted(ctx context.Context, tenant, token string) (audit.VaultRow, error) {
	v, err := scanVault(s.read.QueryRow(ctx, vaultedSQL, tenant, token))
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return audit.VaultRow{}, audit.ErrNotFound
	case err != nil:
		return audit.VaultRow{}, fmt.Errorf("reading the vault: %w", err)
	}
	return v, nil
}

// VaultRows yields what tokens stand for, by tenant and token.
func (r reader) VaultRows(ctx context.Context, yield func(audit.VaultRow) error) error {
	err := stream(ctx, r, "vault", yield, func(rows pgx.Rows) (audit.VaultRow, error) { return scanVault(rows) }, vaultSQL)
	return reading("the vault", err)
}

func scanVault(row pgx.Row) (v audit.VaultRow, err error) {
	err = row.Scan(&v.Tenant, &v.Token, &v.Class, &v.Sealed, &v.Record)
	return v, err
}
