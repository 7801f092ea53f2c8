package sqlite

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/lane"
)

const (
	insertTicketSQL = `INSERT INTO ticket (tenant, id, principal, server, tool, tool_digest, arguments_digest,
			not_before, not_after, max_uses, approvers)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, id) DO NOTHING`

	listTicketsSQL = `SELECT ` + ticketColumns + ` FROM ticket AS t WHERE t.tenant = ? ORDER BY t.id`

	revokeTicketSQL = `UPDATE ticket SET revoked = 1 WHERE tenant = ? AND id = ?`
)

// CreateTicket stores a new ticket, without uses. The error is
// lane.ErrTicketExists where the tenant has one of that id. Its times are kept to
// the microsecond.
func (s *Store) CreateTicket(ctx context.Context, tenant string, t decision.Ticket) error {
	if err := lane.CheckTicket(tenant, &t); err != nil {
		return fmt.Errorf("checking the ticket: %w", err)
	}
	approvers, err := json.Marshal(append([]string{}, t.Approvers...))
	if err != nil {
		return fmt.Errorf("encoding the approvers: %w", err)
	}
	err = s.update(ctx, func(x tx) error {
		n, err := x.changed(insertTicketSQL, tenant, t.ID, t.Principal, t.Tool.Server, t.Tool.Name, t.ToolDigest,
			t.ArgumentsDigest, t.NotBefore.UnixMicro(), t.NotAfter.UnixMicro(), t.MaxUses, string(approvers))
		if err == nil && n == 0 {
			err = lane.ErrTicketExists
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("creating the ticket: %w", err)
	}
	return nil
}

// Tickets are a tenant's tickets, by id.
func (s *Store) Tickets(ctx context.Context, tenant string) ([]decision.Ticket, error) {
	var tickets []decision.Ticket
	err := s.each(ctx, func(scan func(...any) error) error {
		var row ticketScan
		if err := scan(row.targets()...); err != nil {
			return err
		}
		t, err := row.ticket()
		if err == nil {
			tickets = append(tickets, *t)
		}
		return err
	}, listTicketsSQL, tenant)
	if err != nil {
		return nil, fmt.Errorf("listing tickets: %w", err)
	}
	return tickets, nil
}

// RevokeTicket revokes a ticket: no commit after it redeems it. It may be revoked
// already. The error is audit.ErrNotFound where there is none of that id.
func (s *Store) RevokeTicket(ctx context.Context, tenant, id string) error {
	err := s.update(ctx, func(x tx) error {
		n, err := x.changed(revokeTicketSQL, tenant, id)
		if err == nil && n == 0 {
			err = audit.ErrNotFound
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("revoking the ticket: %w", err)
	}
	return nil
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
