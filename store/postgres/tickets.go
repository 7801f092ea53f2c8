package postgres

import (
	"context"
	"fmt"

	"github.com/writpdp/writ/server/audit"
)

var (
	ticketSQL  = `SELECT ` + ticketColumns + ` FROM ticket AS t` + ticketJoin + `WHERE t.tenant = $1 AND t.id = $2`
	listingSQL = `SELECT ` + ticketColumns + ` FROM ticket AS t` + ticketJoin + `WHERE t.tenant = $1 AND t.id > $2 AND t.version > 0 ORDER BY t.id LIMIT $3`
)

// Ticket is a tenant's ticket: the record of its newest version, and its uses. The
// error is audit.ErrNotFound where there is none, or one that has no record.
func (s *Store) Ticket(ctx context.Context, tenant, id string) (audit.TicketRecord, error) {
	tickets, err := s.tickets(ctx, ticketSQL, tenant, id)
	if err == nil && len(tickets) == 0 {
		err = audit.ErrNotFound
	}
	if err != nil {
		return audit.TicketRecord{}, fmt.Errorf("reading a ticket: %w", err)
	}
	return tickets[0], nil
}

// Tickets are up to limit of a tenant's tickets, by id, those after one.
func (s *Store) Tickets(ctx context.Context, tenant, after string, limit int) ([]audit.TicketRecord, error) {
	tickets, err := s.tickets(ctx, listingSQL, tenant, after, limit)
	if err != nil {
		return nil, fmt.Errorf("listing tickets: %w", err)
	}
	return tickets, nil
}

func (s *Store) tickets(ctx context.Context, text string, args ...any) ([]audit.TicketRecord, error) {
	rows, err := s.read.Query(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []audit.TicketRecord
	for rows.Next() {
		var row ticketScan
		if err := rows.Scan(row.targets()...); err != nil {
			return nil, err
		}
		t, ok, err := row.stored()
		if err != nil {
			return nil, err
		}
		if ok {
			all = append(all, t)
		}
	}
	return all, rows.Err()
}

// TicketChange is the record of a change of a ticket, by its idempotency key, or
// audit.ErrNotFound.
func (s *Store) TicketChange(ctx context.Context, tenant, key string) (audit.Row, error) {
	row, err := s.one(ctx, `SELECT `+recordColumns+` FROM record AS r WHERE r.tenant = $1 AND r.kind = $2 AND r.key = $3`,
		tenant, int16(audit.Ticket), key)
	if err != nil {
		return audit.Row{}, fmt.Errorf("reading a change of a ticket: %w", err)
	}
	return row, nil
}

// change runs one statement, and tells how many rows it changed. As every commit,
// this one is not cut short: ctx only keeps it from beginning.
func (s *Store) change(ctx context.Context, text string, args ...any) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	ctx = context.WithoutCancel(ctx)
	conn, err := s.write.Acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	defer s.watch(conn)()
	tag, err := conn.Exec(ctx, text, args...)
	return tag.RowsAffected(), s.noted(err)
}
