package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/store/lane"
)

// reader streams what is stored: its methods are those of audit.Reader. Each
// reads the state of one moment. An error of yield ends the stream and comes
// back, wrapped. A long reading keeps the write-ahead log from being emptied.
type reader struct {
	query func(ctx context.Context, text string, args ...any) (*sql.Rows, error)
}

// View calls f with a reader whose methods all see the same moment, whatever is
// committed or sealed meanwhile. They are called one after the other, until f
// returns.
func (s *Store) View(ctx context.Context, f func(audit.Reader) error) error {
	view, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("beginning to read: %w", err)
	}
	defer view.Rollback() // it has only read
	return f(reader{view.QueryContext})
}

// each runs a query and calls f for each row.
func (r reader) each(ctx context.Context, f func(scan func(...any) error) error, text string, args ...any) error {
	rows, err := r.query(ctx, text, args...)
	if err != nil {
		return err
	}
	return drain(rows, f)
}

// listTenantSQL and listSQL page by id. Every tenant's records lie together, so
// for all tenants each one's newest are taken first.
const (
	listTenantSQL = `SELECT ` + recordColumns + ` FROM record AS r
		WHERE r.tenant = ?1 AND (?2 OR r.id < ?3) ORDER BY r.id DESC LIMIT ?4`

	listSQL = `WITH RECURSIVE t (tenant) AS (
			SELECT min(tenant) FROM record
			UNION ALL SELECT (SELECT min(o.tenant) FROM record AS o WHERE o.tenant > t.tenant) FROM t WHERE t.tenant IS NOT NULL)
		SELECT ` + recordColumns + ` FROM t JOIN record AS r ON r.tenant = t.tenant
		WHERE r.id IN (SELECT n.id FROM record AS n WHERE n.tenant = t.tenant AND (?2 OR n.id < ?3) ORDER BY n.id DESC LIMIT ?4)
		ORDER BY r.id DESC, r.tenant LIMIT ?4`
)

// List is a page of records, newest id first, from below after; the zero id: from
// the newest. An empty tenant is every tenant. At most lane.MaxList come at once.
func (s *Store) List(ctx context.Context, tenant string, after [16]byte, limit int) ([]audit.Row, error) {
	text := listTenantSQL
	if tenant == "" {
		text = listSQL
	}
	var rows []audit.Row
	err := s.each(ctx, func(scan func(...any) error) error {
		row, err := scanRow(scan)
		rows = append(rows, row)
		return err
	}, text, tenant, after == [16]byte{}, after[:], lane.ListLimit(limit))
	if err != nil {
		return nil, fmt.Errorf("listing records: %w", err)
	}
	return rows, nil
}

// Checkpoints yields every checkpoint, by size.
func (r reader) Checkpoints(ctx context.Context, yield func(audit.Checkpoint) error) error {
	err := r.each(ctx, func(scan func(...any) error) error {
		var c audit.Checkpoint
		if err := scan(&c.Size, &c.Note); err != nil {
			return err
		}
		return yield(c)
	}, `SELECT size, note FROM checkpoint ORDER BY size`)
	return reading("the checkpoints", err)
}

// Leaves yields the sealed records with from <= index < to, by index. One whose
// record is gone comes without a body.
func (r reader) Leaves(ctx context.Context, from, to int64, yield func(audit.Leaf) error) error {
	err := r.each(ctx, func(scan func(...any) error) error {
		var leaf audit.Leaf
		var tenant string
		var rawID []byte
		var row rowScan
		if err := scan(append([]any{&leaf.Index, &tenant, &rawID}, row.targets()...)...); err != nil {
			return err
		}
		var err error
		if leaf.Row, err = row.or(tenant, rawID); err != nil {
			return err
		}
		return yield(leaf)
	}, `SELECT l.idx, l.tenant, l.id, `+recordColumns+`
		FROM leaf AS l LEFT JOIN record AS r ON r.tenant = l.tenant AND r.id = l.id
		WHERE l.idx >= ? AND l.idx < ? ORDER BY l.idx`, from, to)
	return reading("the leaves", err)
}

// PendingRows yields the records that wait to be sealed, in the order in which
// they will be. One whose record is gone comes without a body.
func (r reader) PendingRows(ctx context.Context, yield func(audit.Row) error) error {
	err := r.each(ctx, func(scan func(...any) error) error {
		var tenant string
		var rawID []byte
		var scanned rowScan
		if err := scan(append([]any{&tenant, &rawID}, scanned.targets()...)...); err != nil {
			return err
		}
		row, err := scanned.or(tenant, rawID)
		if err != nil {
			return err
		}
		return yield(row)
	}, `SELECT p.tenant, p.id, `+recordColumns+`
		FROM pending AS p LEFT JOIN record AS r ON r.tenant = p.tenant AND r.id = p.id ORDER BY p.at, p.id, p.tenant`)
	return reading("the records that wait", err)
}

// or is the record, or what another table says of one that is gone.
func (s *rowScan) or(tenant string, rawID []byte) (audit.Row, error) {
	row, ok, err := s.row()
	if err == nil && !ok {
		row.Tenant = tenant
		row.ID, err = id(rawID)
	}
	return row, err
}

// Tiles yields every tile, by level and index.
func (r reader) Tiles(ctx context.Context, yield func(audit.Tile) error) error {
	err := r.each(ctx, func(scan func(...any) error) error {
		var t audit.Tile
		if err := scan(&t.Level, &t.Index, &t.Hashes); err != nil {
			return err
		}
		return yield(t)
	}, `SELECT level, idx, hashes FROM tile ORDER BY level, idx`)
	return reading("the tiles", err)
}

// Orphans yields the records that are neither sealed nor waiting: there are none,
// unless somebody has changed the file.
func (r reader) Orphans(ctx context.Context, yield func(tenant string, id [16]byte) error) error {
	err := r.each(ctx, func(scan func(...any) error) error {
		var tenant string
		var rawID []byte
		if err := scan(&tenant, &rawID); err != nil {
			return err
		}
		id, err := id(rawID)
		if err != nil {
			return err
		}
		return yield(tenant, id)
	}, `SELECT r.tenant, r.id FROM record AS r
		WHERE NOT EXISTS (SELECT 1 FROM leaf AS l WHERE l.tenant = r.tenant AND l.id = r.id)
			AND NOT EXISTS (SELECT 1 FROM pending AS p WHERE p.at = r.at AND p.id = r.id AND p.tenant = r.tenant)
		ORDER BY r.tenant, r.id`)
	return reading("the orphans", err)
}

// Uses yields what every counter holds that does not hold 0, by its key.
func (r reader) Uses(ctx context.Context, yield func(audit.Use) error) error {
	err := r.each(ctx, func(scan func(...any) error) error {
		u, err := scanUse(scan)
		if err != nil {
			return err
		}
		return yield(u)
	}, `SELECT tenant, budget, subject, window_start, used FROM budget_use
		WHERE used <> 0 ORDER BY tenant, budget, subject, window_start`)
	return reading("the counters", err)
}

// Redemptions yields every use of a ticket, by tenant, ticket and record.
func (r reader) Redemptions(ctx context.Context, yield func(audit.Redemption) error) error {
	err := r.each(ctx, func(scan func(...any) error) error {
		var use audit.Redemption
		var rawID []byte
		if err := scan(&use.Tenant, &use.Ticket, &rawID); err != nil {
			return err
		}
		var err error
		if use.Record, err = id(rawID); err != nil {
			return err
		}
		return yield(use)
	}, `SELECT tenant, ticket, record FROM ticket_use ORDER BY tenant, ticket, record`)
	return reading("the redemptions", err)
}

// TicketRows yields every ticket, by tenant and id.
func (r reader) TicketRows(ctx context.Context, yield func(audit.TicketRow) error) error {
	err := r.each(ctx, func(scan func(...any) error) error {
		var t audit.TicketRow
		var state int64
		var raw []byte
		err := scan(&t.Tenant, &t.Ticket, &t.Version, &state, &raw, &t.MaxUses, &t.Uses)
		if err != nil {
			return err
		}
		if t.State, t.Record, err = lane.TicketColumns(state, raw); err != nil {
			return lane.UnreadableTicket(&t, err)
		}
		return yield(t)
	}, `SELECT tenant, id, version, state, record, max_uses, uses FROM ticket ORDER BY tenant, id`)
	return reading("the tickets", err)
}

// recentKeysSQL are the keys of decisions from one on. Those of every tenant lie
// together, as for listSQL.
const recentKeysSQL = `WITH RECURSIVE t (tenant) AS (
		SELECT min(tenant) FROM record
		UNION ALL SELECT (SELECT min(o.tenant) FROM record AS o WHERE o.tenant > t.tenant) FROM t WHERE t.tenant IS NOT NULL)
	SELECT r.key FROM t JOIN record AS r ON r.tenant = t.tenant AND r.kind = ? AND r.key >= ?`

// Recent yields the keys of all tenants' decisions that are not below a key, and
// the accepted tokens that expire after a time.
func (s *Store) Recent(ctx context.Context, key string, expires time.Time, keys func(string), tokens func([32]byte, time.Time)) error {
	err := s.each(ctx, func(scan func(...any) error) error {
		var key string
		err := scan(&key)
		keys(key)
		return err
	}, recentKeysSQL, int64(audit.Decision), key)
	if err != nil {
		return reading("the recent keys", err)
	}
	err = s.each(ctx, func(scan func(...any) error) error {
		var raw []byte
		var at int64
		if err := scan(&raw, &at); err != nil {
			return err
		}
		token, err := digest(raw)
		tokens(token, moment(at))
		return err
	}, recentTokensSQL, expires.UnixMicro())
	return reading("the recent tokens", err)
}

func reading(what string, err error) error {
	if err != nil {
		return fmt.Errorf("reading %s: %w", what, err)
	}
	return nil
}
