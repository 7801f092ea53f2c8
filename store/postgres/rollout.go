package postgres

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/lane"
)

const (
	// The version is guarded by the unique key of the next: two changes that
	// read the same are in conflict.
	newestRolloutSQL = `SELECT coalesce((SELECT version FROM rollout ORDER BY version DESC LIMIT 1), 0)`
	newestLocksSQL   = `SELECT coalesce((SELECT version FROM lock_version ORDER BY version DESC LIMIT 1), 0) FROM lock_fence`

	insertRolloutsSQL = `INSERT INTO rollout (version, record) ` + versionsOf
	insertLocksSQL    = `INSERT INTO lock_version (version, record) ` + versionsOf

	versionsOf = `SELECT w.version, w.record FROM unnest($1::bigint[], $2::uuid[]) WITH ORDINALITY AS w (version, record, n) ORDER BY w.n`

	// Who changes the locks waits for every transaction that has read their
	// version, and keeps others from reading it until the end.
	closeLocksSQL = `LOCK TABLE lock_fence IN ACCESS EXCLUSIVE MODE`

	// The same by the row in the place of the table, which costs every batch a
	// write to it. The version is read by a statement of its own, once the row is
	// held: it sees what was committed until then.
	holdLocksSQL  = `SELECT one FROM lock_fence FOR UPDATE`
	shareLocksSQL = `SELECT one FROM lock_fence FOR SHARE`

	// One statement is one consistent read.
	rolloutSQL = `SELECT ` + recordColumns + `
		FROM (SELECT o.record FROM rollout AS o WHERE $1::bigint = 0 OR o.version = $1 ORDER BY o.version DESC LIMIT 1) AS v
		LEFT JOIN record AS r ON r.tenant = $2 AND r.id = v.record`
	locksSQL = `SELECT ` + recordColumns + `
		FROM (SELECT o.record FROM lock_version AS o WHERE $1::bigint = 0 OR o.version = $1 ORDER BY o.version DESC LIMIT 1) AS v
		LEFT JOIN record AS r ON r.tenant = $2 AND r.id = v.record`

	insertArchiveSQL = `INSERT INTO bundle (digest, archive) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING`

	archiveSQL = `SELECT archive FROM bundle WHERE digest = $1`
)

// Rollout is the record of the change that made a version of the rollout; 0: the
// newest. The error is audit.ErrNotFound where there is no such version; a version
// whose record is gone is another error.
func (s *Store) Rollout(ctx context.Context, version int64) (audit.Row, error) {
	row, err := s.one(ctx, rolloutSQL, version, decision.System)
	if err != nil {
		return audit.Row{}, fmt.Errorf("reading the rollout: %w", err)
	}
	return row, nil
}

// Locks is the record of the change that made a version of the locks; 0: the
// newest. The error is as for Rollout.
func (s *Store) Control(ctx context.Context, version int64) (audit.Row, error) {
	row, err := s.one(ctx, locksSQL, version, decision.System)
	if err != nil {
		return audit.Row{}, fmt.Errorf("reading the locks: %w", err)
	}
	return row, nil
}

// KeepArchive stores an archive under its SHA-256, which it returns. It may be
// stored already.
func (s *Store) KeepArchive(ctx context.Context, archive []byte) ([32]byte, error) {
	digest := sha256.Sum256(archive)
	if _, err := s.change(ctx, insertArchiveSQL, digest[:], archive); err != nil {
		return digest, fmt.Errorf("storing an archive: %w", err)
	}
	return digest, nil
}

// Archive is the archive with a SHA-256, or audit.ErrNotFound. What is stored
// under it may be something else, where somebody has changed the table.
func (s *Store) Archive(ctx context.Context, digest [32]byte) ([]byte, error) {
	var archive []byte
	err := s.read.QueryRow(ctx, archiveSQL, digest[:]).Scan(&archive)
	if errors.Is(err, pgx.ErrNoRows) {
		err = audit.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading an archive: %w", err)
	}
	return archive, nil
}

// Versions yields every version of the chains, the oldest of each first.
func (r reader) Versions(ctx context.Context, yield func(audit.VersionRow) error) error {
	err := stream(ctx, r, "versions", yield, func(rows pgx.Rows) (row audit.VersionRow, err error) {
		return row, rows.Scan(&row.Chain, &row.Version, &row.Record)
	}, `SELECT 1 AS chain, version, record FROM rollout UNION ALL SELECT 2, version, record FROM lock_version ORDER BY chain, version`)
	return reading("the versions", err)
}

// Archives yields every archive of a bundle, by its digest.
func (r reader) Archives(ctx context.Context, yield func(audit.Archive) error) error {
	err := stream(ctx, r, "archives", yield, func(rows pgx.Rows) (a audit.Archive, err error) {
		var raw []byte
		if err := rows.Scan(&raw, &a.Body); err != nil {
			return a, err
		}
		if a.Digest, err = digest(raw); err != nil {
			err = lane.UnreadableArchive(raw)
		}
		return a, err
	}, `SELECT digest, archive FROM bundle ORDER BY digest`)
	return reading("the archives", err)
}
