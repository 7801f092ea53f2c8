package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/writpdp/writ/server/audit"
)

// What replicas have leased and not spent is nobody's use.
const sharesSQL = `SELECT b.tenant, b.budget, b.subject, b.window_start, b.used - coalesce((SELECT sum(l.unspent) FROM lease AS l
		WHERE l.tenant = b.tenant AND l.budget = b.budget AND l.subject = b.subject AND l.window_start = b.window_start), 0)::bigint
	FROM budget_use AS b
	WHERE b.tenant = $1 AND b.budget = $2 AND b.subject >= $3 AND b.window_start = $4 AND b.used <> 0 ORDER BY b.subject LIMIT $5`

// Shares are up to limit counters of a tenant's budget in the window that starts at a
// Unix time, by subject, from the first that is not before one. Counters that hold 0
// are left out.
func (s *Store) Shares(ctx context.Context, tenant, budget string, start int64, from string, limit int) ([]audit.Use, error) {
	rows, err := s.read.Query(ctx, sharesSQL, tenant, budget, from, time.Unix(start, 0), limit)
	if err != nil {
		return nil, fmt.Errorf("reading shares of a budget: %w", err)
	}
	uses, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (audit.Use, error) { return scanUse(row) })
	if err != nil {
		return nil, fmt.Errorf("reading shares of a budget: %w", err)
	}
	return uses, nil
}
