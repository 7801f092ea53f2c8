package postgres

import (
	"context"
	"fmt"

	"github.com/gofrs/uuid/v5"
	"github.com/jackc/pgx/v5"

	"github.com/writpdp/writ/server/audit"
)

// tenantsSQL are the tenants that have records. Each one's lie together, so this
// looks at one record of each.
const tenantsSQL = `WITH RECURSIVE t (tenant) AS (
		SELECT min(tenant) FROM record
		UNION ALL SELECT (SELECT min(o.tenant) FROM record AS o WHERE o.tenant > t.tenant) FROM t WHERE t.tenant IS NOT NULL)
	SELECT tenant FROM t WHERE tenant IS NOT NULL ORDER BY tenant`

// Records yields the records with from <= id < to, by id; of every tenant, one
// after the other, where none is named.
func (r reader) Records(ctx context.Context, tenant string, from, to [16]byte, yield func(audit.Row) error) error {
	tenants := []string{tenant}
	if tenant == "" {
		rows, err := r.tx.Query(ctx, tenantsSQL)
		if err == nil {
			tenants, err = pgx.CollectRows(rows, pgx.RowTo[string])
		}
		if err != nil {
			return reading("the tenants", err)
		}
	}
	for _, one := range tenants {
		err := stream(ctx, r, "records", yield, func(rows pgx.Rows) (audit.Row, error) { return scanRow(rows) },
			`SELECT `+recordColumns+` FROM record AS r WHERE r.tenant = $1::text AND r.id >= $2::uuid AND r.id < $3::uuid ORDER BY r.id`,
			one, uuid.UUID(from).String(), uuid.UUID(to).String())
		if err != nil {
			return reading("the records", err)
		}
	}
	return nil
}

// Records yields the records with from <= id < to, by id; of every tenant, one
// after the other, where none is named.
func (s *Store) Records(ctx context.Context, tenant string, from, to [16]byte, yield func(audit.Row) error) error {
	return s.View(ctx, func(r audit.Reader) error { return r.Records(ctx, tenant, from, to, yield) })
}

// CountRecords is how many records Records would yield.
func (s *Store) CountRecords(ctx context.Context, tenant string, from, to [16]byte) (n int64, err error) {
	err = s.read.QueryRow(ctx, `SELECT count(*) FROM record AS r WHERE (r.tenant = $1 OR $1 = '') AND r.id >= $2 AND r.id < $3`,
		tenant, from, to).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("counting records: %w", err)
	}
	return n, nil
}
