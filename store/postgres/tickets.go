package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/lane"
)

const (
	insertTicketSQL = `INSERT INTO ticket (tenant, id, principal, server, tool, tool_digest, arguments_digest,
			not_before, not_after, max_uses, approvers)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (tenant, id) DO NOTHING`

	listTicketsSQL = `SELECT ` + ticketColumns + ` FROM ticket AS t WHERE t.tenant = $1 ORDER BY t.id`

	revokeTicketSQL = `UPDATE ticket SET revoked = true WHERE tenant = $1 AND id = $2`
)

// CreateTicket stores a new ticket, without uses. The error is
// lane.ErrTicketExists where the tenant has one of that id. Its times are kept to
// the microsecond.
func (s *Store) CreateTicket(ctx context.Context, tenant string, t decision.Ticket) error {
	if err := lane.CheckTicket(tenant, &t); err != nil {
		return fmt.Errorf("checking the ticket: %w", err)
	}
	n, err := s.change(ctx, insertTicketSQL, tenant, t.ID, t.Principal, t.Tool.Server, t.Tool.Name, t.ToolDigest,
		t.ArgumentsDigest, t.NotBefore, t.NotAfter, t.MaxUses, append([]string{}, t.Approvers...))
	if err == nil && n == 0 {
		err = lane.ErrTicketExists
	}
	if err != nil {
		return fmt.Errorf("creating the ticket: %w", err)
	}
	return nil
}

// Tickets are a tenant's tickets, by id.
func (s *Store) Tickets(ctx context.Context, tenant string) ([]decision.Ticket, error) {
	rows, err := s.read.Query(ctx, listTicketsSQL, tenant)
	if err != nil {
		return nil, fmt.Errorf("listing tickets: %w", err)
	}
	tickets, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (decision.Ticket, error) {
		var scan ticketScan
		if err := row.Scan(scan.targets()...); err != nil {
			return decision.Ticket{}, err
		}
		return *scan.ticket(), nil // the id is of the primary key: never NULL
	})
	if err != nil {
		return nil, fmt.Errorf("listing tickets: %w", err)
	}
	return tickets, nil
}

// RevokeTicket revokes a ticket: no commit after it redeems it. It may be revoked
// already. The error is audit.ErrNotFound where there is none of that id.
func (s *Store) RevokeTicket(ctx context.Context, tenant, id string) error {
	n, err := s.change(ctx, revokeTicketSQL, tenant, id)
	if err == nil && n == 0 {
		err = audit.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("revoking the ticket: %w", err)
	}
	return nil
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
