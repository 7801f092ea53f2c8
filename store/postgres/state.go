package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/writpdp/writ/store/lane"
)

const (
	beginSQL = `BEGIN ISOLATION LEVEL READ COMMITTED`

	sizeSQL = `SELECT coalesce((SELECT size FROM checkpoint ORDER BY size DESC LIMIT 1), 0)`

	// A counter that does not exist cannot be locked.
	createCountersSQL = `INSERT INTO budget_use (tenant, budget, subject, window_start, used)
		SELECT w.tenant, w.budget, w.subject, w.window_start, 0
		FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])
			WITH ORDINALITY AS w (tenant, budget, subject, window_start, n) ORDER BY w.n
		ON CONFLICT DO NOTHING`

	// Each row is locked by a query of its own, in their order. A join would be
	// evaluated again, of it and its neighbours, where somebody changed the row
	// meanwhile, and PostgreSQL 18 loses rows there.
	lockCountersSQL = `SELECT b.tenant, b.budget, b.subject, b.window_start, b.used
		FROM (SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])
			WITH ORDINALITY AS u (tenant, budget, subject, window_start, n) ORDER BY u.n) AS w
		CROSS JOIN LATERAL (SELECT o.* FROM budget_use AS o WHERE o.tenant = w.tenant AND o.budget = w.budget
			AND o.subject = w.subject AND o.window_start = w.window_start FOR UPDATE) AS b`

	lockTicketsSQL = `SELECT t.tenant, t.id, t.version, t.state, t.record, t.uses, t.max_uses
		FROM (SELECT * FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS u (tenant, id, n) ORDER BY u.n) AS w
		CROSS JOIN LATERAL (SELECT o.* FROM ticket AS o WHERE o.tenant = w.tenant AND o.id = w.id FOR UPDATE) AS t`

	priorsSQL = `SELECT r.tenant, r.kind, r.key, r.id, r.digest, r.body, l.idx
		FROM unnest($1::text[], $2::smallint[], $3::text[]) AS w (tenant, kind, key)
		JOIN record AS r ON r.tenant = w.tenant AND r.kind = w.kind AND r.key = w.key
		LEFT JOIN leaf AS l ON l.tenant = r.tenant AND l.id = r.id`

	tokensSQL = `SELECT u.token FROM unnest($1::bytea[]) AS w (token) JOIN used_token AS u ON u.token = w.token`

	// It comes after the tokens, whose partitions are then locked: whoever empties
	// one moves the horizon before this transaction reads it, or after it ends.
	horizonSQL = `SELECT hour FROM token_horizon`
)

// lockState begins a transaction and reads what a batch depends on, in one round
// trip. Counters and tickets are locked first, in the order of their keys; what
// is read after that is at least as new. The size is read before the records, so
// that a record which it finds unsealed will stand at an index of at least it. Of
// a counter of which only the holder's lease is charged, the lease is locked alone.
func (s *Store) lockState(ctx context.Context, conn *pgxpool.Conn, n lane.Needs, t *lane.Terms) (*lane.State, error) {
	state, shared, leases := lane.NewState(), t.Shared(), newLeased(t)
	b := &pgx.Batch{}
	b.Queue(beginSQL)
	s.queueFence(b, state, n) // before anything that could be waited for
	leases.fence(b)
	if len(shared) > 0 {
		tenants, budgets, subjects, windows := counterColumns(shared)
		b.Queue(createCountersSQL, tenants, budgets, subjects, windows)
		each(b.Queue(lockCountersSQL, tenants, budgets, subjects, windows), func(row pgx.CollectableRow) error {
			u, err := scanUse(row)
			state.Used[lane.CounterKey{Tenant: u.Tenant, BudgetKey: u.Key}] = u.Used
			return err
		})
	}
	leases.lock(b)
	if len(n.Tickets) > 0 {
		tenants, ids := make([]string, len(n.Tickets)), make([]string, len(n.Tickets))
		for i, k := range n.Tickets {
			tenants[i], ids[i] = k.Tenant, k.ID
		}
		each(b.Queue(lockTicketsSQL, tenants, ids), func(row pgx.CollectableRow) error {
			var k lane.TicketKey
			var t lane.TicketState
			err := row.Scan(&k.Tenant, &k.ID, &t.Version, &t.State, &t.Record, &t.Uses, &t.MaxUses)
			state.Tickets[k] = t
			return err
		})
	}
	if n.Rollout {
		b.Queue(newestRolloutSQL).QueryRow(func(row pgx.Row) error { return row.Scan(&state.Rollout) })
	}
	b.Queue(sizeSQL).QueryRow(func(row pgx.Row) error { return row.Scan(&state.Size) })
	queuePriors(b, state, n.Records)
	if len(n.Tokens) > 0 {
		tokens := make([][]byte, len(n.Tokens))
		for i := range n.Tokens {
			tokens[i] = n.Tokens[i][:]
		}
		each(b.Queue(tokensSQL, tokens), func(row pgx.CollectableRow) error {
			var raw []byte
			if err := row.Scan(&raw); err != nil {
				return err
			}
			token, err := digest(raw)
			state.Tokens[token] = true
			return err
		})
		b.Queue(horizonSQL).QueryRow(func(row pgx.Row) error { return row.Scan(&state.Horizon) })
	}
	if err := run(ctx, conn, b); err != nil {
		return state, err
	}
	// They were created just before: one that is not found is there, and holds more
	// than nothing.
	if found := len(state.Used); found != len(shared) {
		return state, fmt.Errorf("%w: %d of %d counters were found", errMissing, found, len(shared))
	}
	return state, leases.meet(state)
}

// queueFence reads the version of the locks, fenced: whoever changes them waits for
// this transaction, and this one for whoever does.
func (s *Store) queueFence(b *pgx.Batch, state *lane.State, n lane.Needs) {
	switch {
	case n.Relock && s.compatible:
		b.Queue(holdLocksSQL)
	case n.Relock:
		b.Queue(closeLocksSQL)
	case n.Locks && s.compatible:
		b.Queue(shareLocksSQL)
	}
	if n.Locks {
		b.Queue(newestLocksSQL).QueryRow(func(row pgx.Row) error { return row.Scan(&state.Locks) })
	}
}

func queuePriors(b *pgx.Batch, s *lane.State, wanted []lane.RecordKey) {
	tenants, kinds, keys := make([]string, len(wanted)), make([]int16, len(wanted)), make([]string, len(wanted))
	for i, k := range wanted {
		tenants[i], kinds[i], keys[i] = k.Tenant, int16(k.Kind), k.Key
	}
	each(b.Queue(priorsSQL, tenants, kinds, keys), func(row pgx.CollectableRow) error {
		var k lane.RecordKey
		var raw []byte
		var index *int64
		prior := lane.Prior{Size: s.Size}
		err := row.Scan(&k.Tenant, &k.Kind, &k.Key, &prior.ID, &raw, &prior.Body, &index)
		if err != nil {
			return err
		}
		if index != nil {
			prior.Size = *index
		}
		prior.Digest, err = digest(raw)
		s.Records[k] = prior
		return err
	})
}

// each has a queued query call f for each row.
func each(q *pgx.QueuedQuery, f func(pgx.CollectableRow) error) {
	q.Query(func(rows pgx.Rows) error {
		for rows.Next() {
			if err := f(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

func counterColumns(keys []lane.CounterKey) (tenants, budgets, subjects []string, windows []time.Time) {
	for _, k := range keys {
		tenants, budgets, subjects = append(tenants, k.Tenant), append(budgets, k.Budget), append(subjects, k.Subject)
		windows = append(windows, time.Unix(k.Start, 0))
	}
	return tenants, budgets, subjects, windows
}

func digest(b []byte) ([32]byte, error) {
	if len(b) != 32 {
		return [32]byte{}, fmt.Errorf("a digest has %d bytes in the place of 32", len(b))
	}
	return [32]byte(b), nil
}
