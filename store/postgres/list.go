package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/store/lane"
)

// listTenantSQL and listSQL page by id. Every tenant's records lie together, so
// for all tenants each one's newest are taken first.
const (
	listTenantSQL = `SELECT ` + recordColumns + ` FROM record AS r
		WHERE r.tenant = $1 AND r.id < $2 ORDER BY r.id DESC LIMIT $3`

	listSQL = `WITH RECURSIVE t (tenant) AS (
			SELECT min(o.tenant) FROM record AS o WHERE $1 = ''
			UNION ALL SELECT (SELECT min(o.tenant) FROM record AS o WHERE o.tenant > t.tenant) FROM t WHERE t.tenant IS NOT NULL)
		SELECT ` + recordColumns + ` FROM t CROSS JOIN LATERAL (
			SELECT o.id FROM record AS o WHERE o.tenant = t.tenant AND o.id < $2 ORDER BY o.id DESC LIMIT $3) AS n
		JOIN record AS r ON r.tenant = t.tenant AND r.id = n.id
		ORDER BY r.id DESC, r.tenant LIMIT $3`
)

// List is a page of records, newest id first, from below after; the zero id: from
// the newest. An empty tenant is every tenant. At most lane.MaxList come at once.
func (s *Store) List(ctx context.Context, tenant string, after [16]byte, limit int) ([]audit.Row, error) {
	text := listTenantSQL
	if tenant == "" {
		text = listSQL
	}
	if after == [16]byte{} {
		for i := range after {
			after[i] = 0xff // a UUID of the future, which nobody has
		}
	}
	rows, err := s.read.Query(ctx, text, tenant, after, lane.ListLimit(limit))
	if err != nil {
		return nil, fmt.Errorf("listing records: %w", err)
	}
	page, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (audit.Row, error) { return scanRow(row) })
	if err != nil {
		return nil, fmt.Errorf("listing records: %w", err)
	}
	return page, nil
}
