package sqlite

import (
	"context"
	"fmt"

	"github.com/writpdp/writ/server/audit"
)

const sharesSQL = `SELECT tenant, budget, subject, window_start, used FROM budget_use
	WHERE tenant = ? AND budget = ? AND subject >= ? AND window_start = ? AND used <> 0 ORDER BY subject LIMIT ?`

// Shares are up to limit counters of a tenant's budget in the window that starts at a
// Unix time, by subject, from the first that is not before one. Counters that hold 0
// are left out.
func (s *Store) Shares(ctx context.Context, tenant, budget string, start int64, from string, limit int) ([]audit.Use, error) {
	var uses []audit.Use
	err := s.each(ctx, func(scan func(...any) error) error {
		u, err := scanUse(scan)
		if err == nil {
			uses = append(uses, u)
		}
		return err
	}, sharesSQL, tenant, budget, from, start*windowUnit, limit)
	if err != nil {
		return nil, fmt.Errorf("reading shares of a budget: %w", err)
	}
	return uses, nil
}
