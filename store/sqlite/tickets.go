package sqlite

import (
	"context"
	"fmt"

	"github.com/writpdp/writ/server/audit"
)

var (
	ticketSQL  = `SELECT ` + ticketColumns + ` FROM ticket AS t` + ticketJoin + `WHERE t.tenant = ? AND t.id = ?`
	listingSQL = `SELECT ` + ticketColumns + ` FROM ticket AS t` + ticketJoin + `WHERE t.tenant = ? AND t.id > ? AND t.version > 0 ORDER BY t.id LIMIT ?`
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

func (s *Store) tickets(ctx context.Context, text string, args ...any) (all []audit.TicketRecord, err error) {
	err = s.each(ctx, func(scan func(...any) error) error {
		var row ticketScan
		if err := scan(row.targets()...); err != nil {
			return err
		}
		t, ok, err := row.stored()
		if ok {
			all = append(all, t)
		}
		return err
	}, text, args...)
	return all, err
}

// TicketChange is the record of a change of a ticket, by its idempotency key, or
// audit.ErrNotFound.
func (s *Store) TicketChange(ctx context.Context, tenant, key string) (audit.Row, error) {
	row, err := s.one(ctx, `SELECT `+recordColumns+` FROM record AS r WHERE r.tenant = ? AND r.kind = ? AND r.key = ?`,
		tenant, int64(audit.Ticket), key)
	if err != nil {
		return audit.Row{}, fmt.Errorf("reading a change of a ticket: %w", err)
	}
	return row, nil
}

// update runs f in a transaction of the writer, which ctx does not cut short.
func (s *Store) update(ctx context.Context, f func(tx) error) error {
	if s.write == nil {
		return errReadOnly
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.write.update(f)
}
