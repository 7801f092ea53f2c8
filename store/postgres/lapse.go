package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/writpdp/writ/server/audit"
)

const (
	dueSQL = `SELECT tenant, decision, at FROM lapse WHERE at <= $1 ORDER BY at, tenant, decision LIMIT $2`

	lapsesSQL = `SELECT tenant, decision, at FROM lapse ORDER BY tenant, decision`
)

// Due are decisions whose reservations have lapsed by a time and that nobody has
// settled, the oldest first, at most a number.
func (s *Store) Due(ctx context.Context, at time.Time, limit int) ([]audit.Lapse, error) {
	rows, err := s.read.Query(ctx, dueSQL, at, limit)
	if err != nil {
		return nil, fmt.Errorf("reading what has lapsed: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (audit.Lapse, error) { return scanLapse(row) })
	if err != nil {
		return nil, fmt.Errorf("reading what has lapsed: %w", err)
	}
	return all, nil
}

// Lapses yields the decisions whose reservations will lapse, or have and are not
// settled, by tenant and id.
func (r reader) Lapses(ctx context.Context, yield func(audit.Lapse) error) error {
	err := stream(ctx, r, "lapses", yield, func(rows pgx.Rows) (audit.Lapse, error) { return scanLapse(rows) }, lapsesSQL)
	return reading("the lapses", err)
}

func scanLapse(row pgx.Row) (l audit.Lapse, err error) {
	err = row.Scan(&l.Tenant, &l.Decision, &l.At)
	l.At = l.At.UTC()
	return l, err
}
