package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/store/lane"
)

// reader streams what is stored: its methods are those of audit.Reader. An error
// of yield ends the stream and comes back, wrapped.
type reader struct {
	tx pgx.Tx // repeatable read
}

// View calls f with a reader whose methods all see the same moment, whatever is
// committed or sealed meanwhile. They are called one after the other, until f
// returns. It may take as long as it needs; ctx ends it.
func (s *Store) View(ctx context.Context, f func(audit.Reader) error) error {
	return pgx.BeginTxFunc(ctx, s.read, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		// An auditor reads everything, and takes its time over each record.
		_, err := tx.Exec(ctx, `SELECT set_config('statement_timeout', '0', true),
			set_config('idle_in_transaction_session_timeout', '0', true),
			set_config('enable_seqscan', 'on', true), set_config('cursor_tuple_fraction', '1', true)`)
		if err != nil {
			return fmt.Errorf("beginning to read: %w", err)
		}
		return f(reader{tx})
	})
}

// stream passes each row of a query, made by scan, to yield. It takes the rows
// from a cursor, some at a time, so that ending early does not mean reading the
// rest to its end. The cursor's name, a plain identifier, is the query's own: pgx
// remembers statements by their text, with their columns. The arguments are
// literals in the statement: integers, and texts, which the query casts.
func stream[T any](ctx context.Context, r reader, cursor string, yield func(T) error, scan func(pgx.Rows) (T, error), query string, args ...any) error {
	values := []any{pgx.QueryExecModeSimpleProtocol} // the other modes have no parameters here
	for _, arg := range args {
		values = append(values, fmt.Sprint(arg)) // quoted: a literal of the least integer is none of its type
	}
	if _, err := r.tx.Exec(ctx, "DECLARE "+cursor+" NO SCROLL CURSOR FOR "+query, values...); err != nil {
		return err
	}
	for {
		n, err := fetch(ctx, r, cursor, yield, scan)
		if n > 0 && err == nil {
			continue
		}
		if _, closing := r.tx.Exec(ctx, "CLOSE "+cursor); err == nil {
			err = closing
		}
		return err
	}
}

// fetch passes on some rows, and tells how many.
func fetch[T any](ctx context.Context, r reader, cursor string, yield func(T) error, scan func(pgx.Rows) (T, error)) (n int, err error) {
	rows, err := r.tx.Query(ctx, "FETCH 200 FROM "+cursor)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for ; rows.Next(); n++ {
		one, err := scan(rows)
		if err != nil {
			return n, err
		}
		if err := yield(one); err != nil {
			return n, err
		}
	}
	return n, rows.Err()
}

func reading(what string, err error) error {
	if err != nil {
		return fmt.Errorf("reading %s: %w", what, err)
	}
	return nil
}

// Checkpoints yields every checkpoint, by size.
func (r reader) Checkpoints(ctx context.Context, yield func(audit.Checkpoint) error) error {
	err := stream(ctx, r, "checkpoints", yield, func(rows pgx.Rows) (c audit.Checkpoint, err error) {
		return c, rows.Scan(&c.Size, &c.Note)
	}, `SELECT size, note FROM checkpoint ORDER BY size`)
	return reading("the checkpoints", err)
}

// Leaves yields the sealed records with from <= index < to, by index. One whose
// record is gone comes without a body.
func (r reader) Leaves(ctx context.Context, from, to int64, yield func(audit.Leaf) error) error {
	err := stream(ctx, r, "leaves", yield, func(rows pgx.Rows) (leaf audit.Leaf, err error) {
		var tenant string
		var id [16]byte
		var scan rowScan
		if err := rows.Scan(append([]any{&leaf.Index, &tenant, &id}, scan.targets()...)...); err != nil {
			return leaf, err
		}
		leaf.Row, err = scan.beside(tenant, id)
		return leaf, err
	}, `SELECT l.idx, l.tenant, l.id, `+recordColumns+`
		FROM leaf AS l LEFT JOIN record AS r ON r.tenant = l.tenant AND r.id = l.id
		WHERE l.idx >= $1::bigint AND l.idx < $2::bigint ORDER BY l.idx`, from, to)
	return reading("the leaves", err)
}

// PendingRows yields the records that wait to be sealed, in the order in which
// they will be. One whose record is gone comes without a body.
func (r reader) PendingRows(ctx context.Context, yield func(audit.Row) error) error {
	err := stream(ctx, r, "waiting", yield, func(rows pgx.Rows) (audit.Row, error) {
		var tenant string
		var id [16]byte
		var scan rowScan
		if err := rows.Scan(append([]any{&tenant, &id}, scan.targets()...)...); err != nil {
			return audit.Row{}, err
		}
		return scan.beside(tenant, id)
	}, `SELECT p.tenant, p.id, `+recordColumns+`
		FROM pending AS p LEFT JOIN record AS r ON r.tenant = p.tenant AND r.id = p.id ORDER BY p.at, p.id, p.tenant`)
	return reading("the records that wait", err)
}

// Tiles yields every tile, by level and index.
func (r reader) Tiles(ctx context.Context, yield func(audit.Tile) error) error {
	err := stream(ctx, r, "tiles", yield, func(rows pgx.Rows) (t audit.Tile, err error) {
		return t, rows.Scan(&t.Level, &t.Index, &t.Hashes)
	}, `SELECT level, idx, hashes FROM tile ORDER BY level, idx`)
	return reading("the tiles", err)
}

type recordName struct {
	tenant string
	id     [16]byte
}

// Orphans yields the records that are neither sealed nor waiting: there are none,
// unless somebody has changed the tables.
func (r reader) Orphans(ctx context.Context, yield func(tenant string, id [16]byte) error) error {
	err := stream(ctx, r, "orphans", func(o recordName) error { return yield(o.tenant, o.id) }, func(rows pgx.Rows) (o recordName, err error) {
		return o, rows.Scan(&o.tenant, &o.id)
	}, `SELECT r.tenant, r.id FROM record AS r
		WHERE NOT EXISTS (SELECT 1 FROM leaf AS l WHERE l.tenant = r.tenant AND l.id = r.id)
			AND NOT EXISTS (SELECT 1 FROM pending AS p WHERE p.at = r.at AND p.id = r.id AND p.tenant = r.tenant)
		ORDER BY r.tenant, r.id`)
	return reading("the orphans", err)
}

// usesSQL are the counters with their leases. A lease of no counter comes with one
// that holds nothing; strays are leases of no holder, of which there are none: both
// go in one transaction.
const usesSQL = `SELECT coalesce(b.tenant, l.tenant) AS tenant, coalesce(b.budget, l.budget) AS budget,
		coalesce(b.subject, l.subject) AS subject, coalesce(b.window_start, l.window_start) AS window_start,
		coalesce(b.used, 0) AS used, coalesce(l.unspent, 0) AS leased, coalesce(l.strays, 0) AS strays
	FROM (SELECT tenant, budget, subject, window_start, used FROM budget_use WHERE used <> 0) AS b FULL JOIN (
		SELECT o.tenant, o.budget, o.subject, o.window_start,
			least(sum(o.unspent), 9223372036854775807)::bigint AS unspent, count(*) FILTER (WHERE h.id IS NULL) AS strays
		FROM lease AS o LEFT JOIN lease_holder AS h ON h.id = o.holder GROUP BY o.tenant, o.budget, o.subject, o.window_start
		HAVING sum(o.unspent) <> 0 OR count(*) FILTER (WHERE h.id IS NULL) > 0
	) AS l ON l.tenant = b.tenant AND l.budget = b.budget AND l.subject = b.subject AND l.window_start = b.window_start
	ORDER BY tenant, budget, subject, window_start`

// Uses yields what every counter holds that does not hold 0, by its key.
func (r reader) Uses(ctx context.Context, yield func(audit.Use) error) error {
	err := stream(ctx, r, "uses", yield, func(rows pgx.Rows) (u audit.Use, err error) {
		var leased, strays int64
		u, err = scanUse(rows, &leased, &strays)
		if u.Leased = leased; err == nil && strays > 0 {
			err = &audit.Problem{What: "lease", Index: -1, Last: -1, Tenant: u.Tenant,
				Detail: fmt.Sprintf("budget %q, subject %q: somebody has a lease of it who is no holder of leases", u.Key.Budget, u.Key.Subject)}
		}
		return u, err
	}, usesSQL)
	return reading("the counters", err)
}

// Redemptions yields every use of a ticket, by tenant, ticket and record.
func (r reader) Redemptions(ctx context.Context, yield func(audit.Redemption) error) error {
	err := stream(ctx, r, "redemptions", yield, func(rows pgx.Rows) (u audit.Redemption, err error) {
		return u, rows.Scan(&u.Tenant, &u.Ticket, &u.Record)
	}, `SELECT tenant, ticket, record FROM ticket_use ORDER BY tenant, ticket, record`)
	return reading("the redemptions", err)
}

// TicketRows yields every ticket, by tenant and id.
func (r reader) TicketRows(ctx context.Context, yield func(audit.TicketRow) error) error {
	err := stream(ctx, r, "tickets", yield, func(rows pgx.Rows) (t audit.TicketRow, err error) {
		var state int64
		var record [16]byte
		if err := rows.Scan(&t.Tenant, &t.Ticket, &t.Version, &state, &record, &t.MaxUses, &t.Uses); err != nil {
			return t, err
		}
		if t.State, t.Record, err = lane.TicketColumns(state, record[:]); err != nil {
			err = lane.UnreadableTicket(&t, err)
		}
		return t, err
	}, `SELECT tenant, id, version, state, record, max_uses, uses FROM ticket ORDER BY tenant, id`)
	return reading("the tickets", err)
}

// UsedTokens yields every token that was accepted, by its digest.
func (r reader) UsedTokens(ctx context.Context, yield func(audit.UsedToken) error) error {
	err := stream(ctx, r, "tokens", yield, func(rows pgx.Rows) (u audit.UsedToken, err error) {
		var raw []byte
		var slot int
		if err := rows.Scan(&u.Tenant, &raw, &u.Record, &u.Expires, &slot); err != nil {
			return u, err
		}
		u.Expires = u.Expires.UTC()
		if u.Token, err = digest(raw); err == nil {
			err = lane.CheckSlot(&u, slot)
		}
		return u, err
	}, `SELECT tenant, token, record, expires, slot FROM used_token ORDER BY token`)
	return reading("the used tokens", err)
}
