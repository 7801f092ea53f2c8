package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/writpdp/writ/server/audit"
)

const (
	dueSQL = `SELECT tenant, decision, at FROM lapse WHERE at <= ? ORDER BY at, tenant, decision LIMIT ?`

	lapsesSQL = `SELECT tenant, decision, at FROM lapse ORDER BY tenant, decision`
)

// Due are decisions whose reservations have lapsed by a time and that nobody has
// settled, the oldest first, at most a number.
func (s *Store) Due(ctx context.Context, at time.Time, limit int) ([]audit.Lapse, error) {
	var all []audit.Lapse
	err := s.each(ctx, func(scan func(...any) error) error {
		l, err := scanLapse(scan)
		all = append(all, l)
		return err
	}, dueSQL, at.UnixMicro(), limit)
	if err != nil {
		return nil, fmt.Errorf("reading what has lapsed: %w", err)
	}
	return all, nil
}

// Lapses yields the decisions whose reservations will lapse, or have and are not
// settled, by tenant and id.
func (r reader) Lapses(ctx context.Context, yield func(audit.Lapse) error) error {
	err := r.each(ctx, func(scan func(...any) error) error {
		l, err := scanLapse(scan)
		if err != nil {
			return err
		}
		return yield(l)
	}, lapsesSQL)
	return reading("the lapses", err)
}

func scanLapse(scan func(...any) error) (l audit.Lapse, err error) {
	var raw []byte
	var at int64
	if err := scan(&l.Tenant, &raw, &at); err != nil {
		return l, err
	}
	l.At = moment(at)
	l.Decision, err = id(raw)
	return l, err
}
