package postgres

import (
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/store/lane"
)

const (
	insertRecordsSQL = `INSERT INTO record (tenant, id, kind, key, digest, at, caller, principal, session, purpose,
			phase, server, tool, outcome, ticket, bundle, body, leaf)
		SELECT w.tenant, w.id, w.kind, w.key, w.digest, w.at, w.caller, w.principal, w.session, w.purpose,
			w.phase, w.server, w.tool, w.outcome, w.ticket, w.bundle, w.body, w.leaf
		FROM unnest($1::text[], $2::uuid[], $3::smallint[], $4::text[], $5::bytea[], $6::timestamptz[], $7::text[], $8::text[],
			$9::text[], $10::text[], $11::smallint[], $12::text[], $13::text[], $14::smallint[], $15::text[], $16::text[],
			$17::bytea[], $18::bytea[])
			WITH ORDINALITY AS w (tenant, id, kind, key, digest, at, caller, principal, session, purpose,
			phase, server, tool, outcome, ticket, bundle, body, leaf, n) ORDER BY w.n`

	insertPendingSQL = `INSERT INTO pending (at, id, tenant)
		SELECT w.at, w.id, w.tenant FROM unnest($1::timestamptz[], $2::uuid[], $3::text[]) AS w (at, id, tenant)`

	insertTokensSQL = `INSERT INTO used_token (token, tenant, record, expires, slot)
		SELECT w.token, w.tenant, w.record, w.expires, w.slot
		FROM unnest($1::bytea[], $2::text[], $3::uuid[], $4::timestamptz[], $5::smallint[])
			WITH ORDINALITY AS w (token, tenant, record, expires, slot, n) ORDER BY w.n`

	// The counters and the tickets are locked since they were read, so the
	// planner's values are those after the guards, and each of them is there. The
	// CHECKs of the schema stand behind that.
	updateCountersSQL = `UPDATE budget_use AS b SET used = w.used
		FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::bigint[]) AS w (tenant, budget, subject, window_start, used)
		WHERE b.tenant = w.tenant AND b.budget = w.budget AND b.subject = w.subject AND b.window_start = w.window_start`

	// A ticket that does not exist cannot be locked: of two who make one of the same
	// id, one violates the key, and is planned again.
	insertTicketsSQL = `INSERT INTO ticket (tenant, id, version, state, record, max_uses, uses)
		SELECT w.tenant, w.id, w.version, w.state, w.record, w.max_uses, w.uses
		FROM unnest($1::text[], $2::text[], $3::bigint[], $4::smallint[], $5::uuid[], $6::bigint[], $7::bigint[])
			WITH ORDINALITY AS w (tenant, id, version, state, record, max_uses, uses, n) ORDER BY w.n`

	updateTicketsSQL = `UPDATE ticket AS t SET version = w.version, state = w.state, record = w.record, uses = w.uses
		FROM unnest($1::text[], $2::text[], $3::bigint[], $4::smallint[], $5::uuid[], $6::bigint[], $7::bigint[])
			AS w (tenant, id, version, state, record, max_uses, uses)
		WHERE t.tenant = w.tenant AND t.id = w.id`

	insertLapsesSQL = `INSERT INTO lapse (tenant, decision, at)
		SELECT w.tenant, w.decision, w.at FROM unnest($1::text[], $2::uuid[], $3::timestamptz[])
			WITH ORDINALITY AS w (tenant, decision, at, n) ORDER BY w.n`

	deleteLapsesSQL = `DELETE FROM lapse AS l USING unnest($1::text[], $2::uuid[]) AS w (tenant, decision)
		WHERE l.tenant = w.tenant AND l.decision = w.decision`

	insertUsesSQL = `INSERT INTO ticket_use (tenant, ticket, record)
		SELECT w.tenant, w.ticket, w.record FROM unnest($1::text[], $2::text[], $3::uuid[])
			WITH ORDINALITY AS w (tenant, ticket, record, n) ORDER BY w.n`
)

// columns is a column of many rows.
func columns[R, T any](rows []R, of func(*R) T) []T {
	values := make([]T, len(rows))
	for i := range rows {
		values[i] = of(&rows[i])
	}
	return values
}

func queueRows(b *pgx.Batch, rows []audit.Row) {
	tenants := columns(rows, func(r *audit.Row) string { return r.Tenant })
	ids := columns(rows, func(r *audit.Row) [16]byte { return r.ID })
	times := columns(rows, func(r *audit.Row) time.Time { return r.At })
	b.Queue(insertRecordsSQL, tenants, ids,
		columns(rows, func(r *audit.Row) int16 { return int16(r.Kind) }),
		columns(rows, func(r *audit.Row) string { return r.Key }),
		columns(rows, func(r *audit.Row) []byte { return r.Digest[:] }),
		times,
		columns(rows, func(r *audit.Row) string { return r.Caller }),
		columns(rows, func(r *audit.Row) string { return r.Principal }),
		columns(rows, func(r *audit.Row) string { return r.Session }),
		columns(rows, func(r *audit.Row) string { return r.Purpose }),
		columns(rows, func(r *audit.Row) int16 { return int16(r.Phase) }),
		columns(rows, func(r *audit.Row) string { return r.Server }),
		columns(rows, func(r *audit.Row) string { return r.Tool }),
		columns(rows, func(r *audit.Row) int16 { return int16(r.Outcome) }),
		columns(rows, func(r *audit.Row) string { return r.Ticket }),
		columns(rows, func(r *audit.Row) string { return r.Bundle }),
		columns(rows, func(r *audit.Row) []byte { return r.Body }),
		columns(rows, func(r *audit.Row) []byte { return r.Leaf[:] }))
	b.Queue(insertPendingSQL, times, ids, tenants)
}

// queueNotices tells who listens of what changes: see Listen.
func queueNotices(b *pgx.Batch, w *lane.Writes) {
	if len(w.Locks) > 0 {
		b.Queue(notifySQL, LocksChanged)
	}
	if len(w.Rollouts) > 0 {
		b.Queue(notifySQL, RolloutChanged)
	}
}

func queueEffects(b *pgx.Batch, w *lane.Writes, counters []lane.Counter) {
	if len(w.Tokens) > 0 {
		b.Queue(insertTokensSQL,
			columns(w.Tokens, func(t *audit.UsedToken) []byte { return t.Token[:] }),
			columns(w.Tokens, func(t *audit.UsedToken) string { return t.Tenant }),
			columns(w.Tokens, func(t *audit.UsedToken) [16]byte { return t.Record }),
			columns(w.Tokens, func(t *audit.UsedToken) time.Time { return t.Expires }),
			columns(w.Tokens, func(t *audit.UsedToken) int16 { return int16(lane.SlotOf(t.Expires)) }))
	}
	if len(counters) > 0 {
		tenants, budgets, subjects, windows := counterColumns(columns(counters, func(c *lane.Counter) lane.CounterKey { return c.Key }))
		b.Queue(updateCountersSQL, tenants, budgets, subjects, windows,
			columns(counters, func(c *lane.Counter) int64 { return c.Used }))
	}
	queueTickets(b, insertTicketsSQL, w.Made)
	queueTickets(b, updateTicketsSQL, w.Tickets)
	if len(w.Redemptions) > 0 {
		b.Queue(insertUsesSQL,
			columns(w.Redemptions, func(r *audit.Redemption) string { return r.Tenant }),
			columns(w.Redemptions, func(r *audit.Redemption) string { return r.Ticket }),
			columns(w.Redemptions, func(r *audit.Redemption) [16]byte { return r.Record }))
	}
	queueVault(b, w)
	if len(w.Lapses) > 0 {
		tenants, decisions := lapseColumns(w.Lapses)
		b.Queue(insertLapsesSQL, tenants, decisions, columns(w.Lapses, func(l *audit.Lapse) time.Time { return l.At }))
	}
	if len(w.Settled) > 0 {
		tenants, decisions := lapseColumns(w.Settled)
		b.Queue(deleteLapsesSQL, tenants, decisions)
	}
	for text, rows := range map[string][]audit.VersionRow{insertRolloutsSQL: w.Rollouts, insertLocksSQL: w.Locks} {
		if len(rows) > 0 {
			b.Queue(text, columns(rows, func(r *audit.VersionRow) int64 { return r.Version }),
				columns(rows, func(r *audit.VersionRow) [16]byte { return r.Record }))
		}
	}
}

func lapseColumns(all []audit.Lapse) (tenants []string, decisions [][16]byte) {
	return columns(all, func(l *audit.Lapse) string { return l.Tenant }), columns(all, func(l *audit.Lapse) [16]byte { return l.Decision })
}

func queueTickets(b *pgx.Batch, text string, tickets []lane.Ticket) {
	if len(tickets) == 0 {
		return
	}
	b.Queue(text,
		columns(tickets, func(t *lane.Ticket) string { return t.Key.Tenant }),
		columns(tickets, func(t *lane.Ticket) string { return t.Key.ID }),
		columns(tickets, func(t *lane.Ticket) int64 { return t.Version }),
		columns(tickets, func(t *lane.Ticket) int16 { return int16(t.State) }),
		columns(tickets, func(t *lane.Ticket) [16]byte { return t.Record }),
		columns(tickets, func(t *lane.Ticket) int64 { return t.MaxUses }),
		columns(tickets, func(t *lane.Ticket) int64 { return t.Uses }))
}
