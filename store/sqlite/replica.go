package sqlite

import (
	"context"
	"fmt"

	"github.com/writpdp/writ/server/decision"
)

const (
	tellSQL = `INSERT INTO replica (id, name, version, applied, told) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET name = excluded.name, version = excluded.version, applied = excluded.applied, told = excluded.told`

	forgetReplicasSQL = `DELETE FROM replica WHERE told < ?`

	leaveSQL = `DELETE FROM replica WHERE id = ?`

	replicasSQL = `SELECT id, name, version, applied, told FROM replica ORDER BY name, id LIMIT ?`
)

// Tell keeps what a replica tells in the place of what it told before, and drops
// those that told more than decision.ReplicaForgotten earlier.
func (s *Store) Tell(ctx context.Context, r decision.Replica) error {
	err := s.update(ctx, func(x tx) error {
		if err := x.exec(tellSQL, r.ID[:], r.Name, r.Version, r.Applied.UnixMicro(), r.Told.UnixMicro()); err != nil {
			return err
		}
		return x.exec(forgetReplicasSQL, r.Told.Add(-decision.ReplicaForgotten).UnixMicro())
	})
	if err != nil {
		return fmt.Errorf("entering a replica: %w", err)
	}
	return nil
}

// Leave drops a replica, if it is there.
func (s *Store) Leave(ctx context.Context, id [16]byte) error {
	if err := s.update(ctx, func(x tx) error { return x.exec(leaveSQL, id[:]) }); err != nil {
		return fmt.Errorf("dropping a replica: %w", err)
	}
	return nil
}

// Replicas are those that told, by name and id, at most decision.MaxReplicas.
func (s *Store) Replicas(ctx context.Context) ([]decision.Replica, error) {
	var all []decision.Replica
	err := s.each(ctx, func(scan func(...any) error) error {
		var id []byte
		var applied, told int64
		var r decision.Replica
		if err := scan(&id, &r.Name, &r.Version, &applied, &told); err != nil {
			return err
		}
		copy(r.ID[:], id) // 16 bytes: the table has nothing else
		r.Applied, r.Told = moment(applied), moment(told)
		all = append(all, r)
		return nil
	}, replicasSQL, decision.MaxReplicas)
	if err != nil {
		return nil, fmt.Errorf("listing the replicas: %w", err)
	}
	return all, nil
}
