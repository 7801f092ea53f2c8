package postgres

import (
	"context"

	"github.com/writpdp/writ/server/audit"
)

// The store reads as a view does, each stream in a view of its own.

// Checkpoints yields every checkpoint, by size.
func (s *Store) Checkpoints(ctx context.Context, yield func(audit.Checkpoint) error) error {
	return s.View(ctx, func(r audit.Reader) error { return r.Checkpoints(ctx, yield) })
}

// Leaves yields the sealed records with from <= index < to, by index. One whose
// record is gone comes without a body.
func (s *Store) Leaves(ctx context.Context, from, to int64, yield func(audit.Leaf) error) error {
	return s.View(ctx, func(r audit.Reader) error { return r.Leaves(ctx, from, to, yield) })
}

// PendingRows yields the records that wait to be sealed, in the order in which
// they will be. One whose record is gone comes without a body.
func (s *Store) PendingRows(ctx context.Context, yield func(audit.Row) error) error {
	return s.View(ctx, func(r audit.Reader) error { return r.PendingRows(ctx, yield) })
}

// Tiles yields every tile, by level and index.
func (s *Store) Tiles(ctx context.Context, yield func(audit.Tile) error) error {
	return s.View(ctx, func(r audit.Reader) error { return r.Tiles(ctx, yield) })
}

// Orphans yields the records that are neither sealed nor waiting: there are none,
// unless somebody has changed the tables.
func (s *Store) Orphans(ctx context.Context, yield func(tenant string, id [16]byte) error) error {
	return s.View(ctx, func(r audit.Reader) error { return r.Orphans(ctx, yield) })
}

// Uses yields what every counter holds that does not hold 0, by its key.
func (s *Store) Uses(ctx context.Context, yield func(audit.Use) error) error {
	return s.View(ctx, func(r audit.Reader) error { return r.Uses(ctx, yield) })
}

// Redemptions yields every use of a ticket, by tenant, ticket and record.
func (s *Store) Redemptions(ctx context.Context, yield func(audit.Redemption) error) error {
	return s.View(ctx, func(r audit.Reader) error { return r.Redemptions(ctx, yield) })
}

// TicketRows yields every ticket.
func (s *Store) TicketRows(ctx context.Context, yield func(audit.TicketRow) error) error {
	return s.View(ctx, func(r audit.Reader) error { return r.TicketRows(ctx, yield) })
}

// UsedTokens yields every token that was accepted, by its digest.
func (s *Store) UsedTokens(ctx context.Context, yield func(audit.UsedToken) error) error {
	return s.View(ctx, func(r audit.Reader) error { return r.UsedTokens(ctx, yield) })
}

// Lapses yields the decisions whose reservations will lapse, or have and are not
// settled, by tenant and id.
func (s *Store) Lapses(ctx context.Context, yield func(audit.Lapse) error) error {
	return s.View(ctx, func(r audit.Reader) error { return r.Lapses(ctx, yield) })
}

// VaultRows yields what tokens of redactions stand for, by tenant and token.
func (s *Store) VaultRows(ctx context.Context, yield func(audit.VaultRow) error) error {
	return s.View(ctx, func(r audit.Reader) error { return r.VaultRows(ctx, yield) })
}

// Versions yields every version of the chains, the oldest of each first.
func (s *Store) Versions(ctx context.Context, yield func(audit.VersionRow) error) error {
	return s.View(ctx, func(r audit.Reader) error { return r.Versions(ctx, yield) })
}

// Archives yields every archive of a bundle, by its digest.
func (s *Store) Archives(ctx context.Context, yield func(audit.Archive) error) error {
	return s.View(ctx, func(r audit.Reader) error { return r.Archives(ctx, yield) })
}
