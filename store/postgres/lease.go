package postgres

import (
	"github.com/gofrs/uuid/v5"
	"github.com/jackc/pgx/v5"

	"github.com/writpdp/writ/store/lane"
)

const (
	// A heartbeat changes no key, so the two never wait for each other; a delete
	// waits for this, and this for a delete.
	fenceSQL = `SELECT id FROM lease_holder WHERE id = $1 FOR KEY SHARE`

	// Each row is locked by a query of its own, in their order, as counters are.
	lockLeasesSQL = `SELECT l.tenant, l.budget, l.subject, l.window_start, l.unspent
		FROM (SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])
			WITH ORDINALITY AS u (tenant, budget, subject, window_start, n) ORDER BY u.n) AS w
		CROSS JOIN LATERAL (SELECT o.* FROM lease AS o WHERE o.holder = $5 AND o.tenant = w.tenant AND o.budget = w.budget
			AND o.subject = w.subject AND o.window_start = w.window_start FOR UPDATE) AS l`

	keepLeasesSQL = `INSERT INTO lease (holder, tenant, budget, subject, window_start, unspent)
		SELECT $6, w.tenant, w.budget, w.subject, w.window_start, w.unspent
		FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::bigint[])
			WITH ORDINALITY AS w (tenant, budget, subject, window_start, unspent, n) ORDER BY w.n
		ON CONFLICT (holder, tenant, budget, subject, window_start) DO UPDATE SET unspent = excluded.unspent`

	endLeasesSQL = `DELETE FROM lease AS l USING unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])
			AS w (tenant, budget, subject, window_start)
		WHERE l.holder = $5 AND l.tenant = w.tenant AND l.budget = w.budget
			AND l.subject = w.subject AND l.window_start = w.window_start`
)

// leased is what a batch reads of its leases: that their holder still is one, and
// what they hold. Leases are locked after all counters, as everybody does.
type leased struct {
	terms *lane.Terms
	held  []lane.CounterKey
	alive bool
	rows  map[lane.CounterKey]int64
}

func newLeased(t *lane.Terms) *leased {
	return &leased{terms: t, held: t.Held(), rows: map[lane.CounterKey]int64{}}
}

func (l *leased) fence(b *pgx.Batch) {
	if len(l.held) == 0 {
		return
	}
	each(b.Queue(fenceSQL, uuid.UUID(l.terms.Holder)), func(pgx.CollectableRow) error {
		l.alive = true
		return nil
	})
}

func (l *leased) lock(b *pgx.Batch) {
	if len(l.held) == 0 {
		return
	}
	tenants, budgets, subjects, windows := counterColumns(l.held)
	each(b.Queue(lockLeasesSQL, tenants, budgets, subjects, windows, uuid.UUID(l.terms.Holder)), func(row pgx.CollectableRow) error {
		u, err := scanUse(row)
		l.rows[lane.CounterKey{Tenant: u.Tenant, BudgetKey: u.Key}] = u.Used
		return err
	})
}

// meet prepares the state for planning. The error is errFenced or errLeased.
func (l *leased) meet(s *lane.State) error {
	switch {
	case len(l.held) > 0 && !l.alive:
		return errFenced
	case !l.terms.Meet(s, l.rows):
		return errLeased
	}
	return nil
}

func queueLeases(b *pgx.Batch, holder [16]byte, s *lane.Settled) {
	key := func(l *lane.Lease) lane.CounterKey { return l.Key }
	if len(s.Kept) > 0 {
		tenants, budgets, subjects, windows := counterColumns(columns(s.Kept, key))
		b.Queue(keepLeasesSQL, tenants, budgets, subjects, windows,
			columns(s.Kept, func(l *lane.Lease) int64 { return l.Unspent }), uuid.UUID(holder))
	}
	if len(s.Ended) > 0 {
		tenants, budgets, subjects, windows := counterColumns(columns(s.Ended, key))
		b.Queue(endLeasesSQL, tenants, budgets, subjects, windows, uuid.UUID(holder))
	}
}
