package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/lane"
)

const (
	newestRolloutSQL = `SELECT coalesce(max(version), 0) FROM rollout`
	newestLocksSQL   = `SELECT coalesce(max(version), 0) FROM lock_version`

	// One statement is one consistent read.
	rolloutSQL = `SELECT ` + recordColumns + `
		FROM (SELECT version, record FROM rollout WHERE ?1 = 0 OR version = ?1 ORDER BY version DESC LIMIT 1) AS v
		LEFT JOIN record AS r ON r.tenant = ?2 AND r.id = v.record`
	locksSQL = `SELECT ` + recordColumns + `
		FROM (SELECT version, record FROM lock_version WHERE ?1 = 0 OR version = ?1 ORDER BY version DESC LIMIT 1) AS v
		LEFT JOIN record AS r ON r.tenant = ?2 AND r.id = v.record`

	insertArchiveSQL = `INSERT INTO bundle (digest, archive) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING`

	archiveSQL = `SELECT archive FROM bundle WHERE digest = ?`
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
	err := s.update(ctx, func(x tx) error { return x.exec(insertArchiveSQL, digest[:], archive) })
	if err != nil {
		return digest, fmt.Errorf("storing an archive: %w", err)
	}
	return digest, nil
}

// Archive is the archive with a SHA-256, or audit.ErrNotFound. What is stored
// under it may be something else, where somebody has changed the file.
func (s *Store) Archive(ctx context.Context, digest [32]byte) ([]byte, error) {
	var archive []byte
	err := s.read.QueryRowContext(ctx, archiveSQL, digest[:]).Scan(&archive)
	if errors.Is(err, sql.ErrNoRows) {
		err = audit.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading an archive: %w", err)
	}
	return archive, nil
}

// Versions yields every version of the chains, the oldest of each first.
func (r reader) Versions(ctx context.Context, yield func(audit.VersionRow) error) error {
	err := r.each(ctx, func(scan func(...any) error) error {
		var row audit.VersionRow
		var raw []byte
		if err := scan(&row.Chain, &row.Version, &raw); err != nil {
			return err
		}
		var err error
		if row.Record, err = id(raw); err != nil {
			return err
		}
		return yield(row)
	}, `SELECT 1 AS chain, version, record FROM rollout UNION ALL SELECT 2, version, record FROM lock_version ORDER BY chain, version`)
	return reading("the versions", err)
}

// Archives yields every archive of a bundle, by its digest.
func (r reader) Archives(ctx context.Context, yield func(audit.Archive) error) error {
	err := r.each(ctx, func(scan func(...any) error) error {
		var a audit.Archive
		var raw []byte
		if err := scan(&raw, &a.Body); err != nil {
			return err
		}
		var err error
		if a.Digest, err = digest(raw); err != nil {
			return lane.UnreadableArchive(raw)
		}
		return yield(a)
	}, `SELECT digest, archive FROM bundle ORDER BY digest`)
	return reading("the archives", err)
}
