package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/gofrs/uuid/v5"
	"github.com/jackc/pgx/v5"

	"github.com/writpdp/writ/server/decision"
)

const (
	tellSQL = `WITH forgotten AS (DELETE FROM replica WHERE told < $6 AND id <> $1)
		INSERT INTO replica (id, name, version, applied, told) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (id) DO UPDATE SET name = excluded.name, version = excluded.version, applied = excluded.applied, told = excluded.told`

	clockSQL = `SELECT clock_timestamp()`

	leaveSQL = `DELETE FROM replica WHERE id = $1`

	replicasSQL = `SELECT id, name, version, applied, told FROM replica ORDER BY name COLLATE "C", id LIMIT $1`
)

// Tell keeps what a replica tells in the place of what it told before, and drops
// those that told more than decision.ReplicaForgotten earlier. Unlike a commit it may
// be cut short: a server must be able to end while its database hangs.
func (s *Store) Tell(ctx context.Context, r decision.Replica) error {
	_, err := s.write.Exec(ctx, tellSQL, uuid.UUID(r.ID), r.Name, r.Version, r.Applied, r.Told, r.Told.Add(-decision.ReplicaForgotten))
	if s.noted(err) != nil {
		return fmt.Errorf("entering a replica: %w", err)
	}
	return nil
}

// Clock is the time by the server's clock.
func (s *Store) Clock(ctx context.Context) (at time.Time, err error) {
	if err := s.read.QueryRow(ctx, clockSQL).Scan(&at); err != nil {
		return at, fmt.Errorf("reading the database's clock: %w", err)
	}
	return at, nil
}

// Leave drops a replica, if it is there. It may be cut short as well.
func (s *Store) Leave(ctx context.Context, id [16]byte) error {
	if _, err := s.write.Exec(ctx, leaveSQL, uuid.UUID(id)); err != nil {
		return fmt.Errorf("dropping a replica: %w", err)
	}
	return nil
}

// Replicas are those that told, by name and id, at most decision.MaxReplicas.
func (s *Store) Replicas(ctx context.Context) ([]decision.Replica, error) {
	rows, err := s.read.Query(ctx, replicasSQL, decision.MaxReplicas)
	if err != nil {
		return nil, fmt.Errorf("listing the replicas: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r decision.Replica, err error) {
		var id uuid.UUID
		var applied, told time.Time
		err = row.Scan(&id, &r.Name, &r.Version, &applied, &told)
		r.ID, r.Applied, r.Told = id, applied.UTC(), told.UTC()
		return r, err
	})
	if err != nil {
		return nil, fmt.Errorf("listing the replicas: %w", err)
	}
	return all, nil
}
