package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/writpdp/writ/server/audit"
)

const sharesSQL = `SELECT tenant, budget, subject, window_start, used FROM budget_use
	WHERE tenant = $1 AND budget = $2 AND subject >= $3 AND window_start = $4 AND used <> 0 ORDER BY subject LIMIT $5`

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
