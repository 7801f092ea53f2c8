package sqlite

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/store/lane"
)

const (
	newestSQL = `SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1`

	nextSQL = `SELECT ` + recordColumns + ` FROM pending AS p JOIN record AS r ON r.tenant = p.tenant AND r.id = p.id
		ORDER BY p.at, p.id, p.tenant LIMIT ?`

	tileSQL = `SELECT hashes FROM tile WHERE level = ? AND idx = ?`

	insertLeavesSQL = `INSERT INTO leaf (idx, tenant, id)
		SELECT value ->> 0, value ->> 1, unhex(value ->> 2) FROM json_each(?)`

	upsertTileSQL = `INSERT INTO tile (level, idx, hashes) VALUES (?, ?, ?)
		ON CONFLICT (level, idx) DO UPDATE SET hashes = excluded.hashes`

	insertCheckpointSQL = `INSERT INTO checkpoint (size, note) VALUES (?, ?)`

	deletePendingSQL = `DELETE FROM pending WHERE (at, id, tenant) IN (
		SELECT value ->> 0, unhex(value ->> 1), value ->> 2 FROM json_each(?))`
)

// Seal moves at most max records that wait into the tree, oldest first, in one
// transaction: leaves, tiles and checkpoint are durable together, or none is. It
// returns how many; 0: none waited. extend runs inside, so commits wait for it.
func (s *Store) Seal(ctx context.Context, max int, extend audit.Extend) (int, error) {
	if max < 1 {
		return 0, fmt.Errorf("sealing: max is %d", max)
	}
	var sealed int
	err := s.update(ctx, func(t tx) (err error) {
		sealed, err = t.seal(max, extend)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("sealing: %w", err)
	}
	return sealed, nil
}

func (t tx) seal(max int, extend audit.Extend) (int, error) {
	var last audit.Checkpoint
	err := t.each(func(scan func(...any) error) error { return scan(&last.Size, &last.Note) }, newestSQL)
	if err != nil {
		return 0, fmt.Errorf("reading the newest checkpoint: %w", err)
	}
	rows, err := t.next(max)
	if err != nil {
		return 0, fmt.Errorf("reading what waits: %w", err)
	}
	if len(rows) == 0 {
		return 0, nil
	}
	extension, err := extend(last, t.tile, rows)
	if err != nil {
		return 0, err
	}
	if err := lane.CheckExtension(last, rows, &extension); err != nil {
		return 0, err
	}
	if err := t.extend(last.Size, rows, &extension); err != nil {
		return 0, fmt.Errorf("writing: %w", err)
	}
	return len(rows), nil
}

// next are the records to seal: at most max, and no more once their bodies hold
// lane.SealBytes.
func (t tx) next(max int) ([]audit.Row, error) {
	var rows []audit.Row
	bytes := 0
	enough := errors.New("enough")
	err := t.each(func(scan func(...any) error) error {
		if bytes >= lane.SealBytes {
			return enough
		}
		row, err := scanRow(scan)
		bytes += len(row.Body)
		rows = append(rows, row)
		return err
	}, nextSQL, max)
	if errors.Is(err, enough) {
		err = nil
	}
	return rows, err
}

func (t tx) tile(level int, index int64) ([]byte, error) {
	var hashes []byte
	err := t.each(func(scan func(...any) error) error { return scan(&hashes) }, tileSQL, level, index)
	if err == nil && hashes == nil {
		err = audit.ErrNotFound
	}
	return hashes, err
}

func (t tx) extend(first int64, rows []audit.Row, e *audit.Extension) error {
	next := first
	leaves := many(rows, func(r audit.Row) any {
		next++
		return []any{next - 1, r.Tenant, hex.EncodeToString(r.ID[:])}
	})
	if err := t.exec(insertLeavesSQL, string(leaves)); err != nil {
		return err
	}
	for _, tile := range e.Tiles {
		if err := t.exec(upsertTileSQL, tile.Level, tile.Index, tile.Hashes); err != nil {
			return err
		}
	}
	if err := t.exec(insertCheckpointSQL, e.Checkpoint.Size, e.Checkpoint.Note); err != nil {
		return err
	}
	n, err := t.changed(deletePendingSQL, string(many(rows, pendingItem)))
	if err == nil && n != int64(len(rows)) {
		err = fmt.Errorf("%d of %d records no longer wait", int64(len(rows))-n, len(rows))
	}
	return err
}

// Checkpoint is the newest; the zero value: the log is empty.
func (s *Store) Checkpoint(ctx context.Context) (audit.Checkpoint, error) {
	var c audit.Checkpoint
	err := s.read.QueryRowContext(ctx, newestSQL).Scan(&c.Size, &c.Note)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return audit.Checkpoint{}, fmt.Errorf("reading the newest checkpoint: %w", err)
	}
	return c, nil
}

// LeafOf is a record's index in the log; sealed is false while it waits for one.
// The error is audit.ErrNotFound where there is no such record.
func (s *Store) LeafOf(ctx context.Context, tenant string, id [16]byte) (index int64, sealed bool, err error) {
	var leaf sql.Null[int64]
	err = s.read.QueryRowContext(ctx, `SELECT l.idx FROM record AS r LEFT JOIN leaf AS l ON l.tenant = r.tenant AND l.id = r.id
		WHERE r.tenant = ? AND r.id = ?`, tenant, id[:]).Scan(&leaf)
	if errors.Is(err, sql.ErrNoRows) {
		err = audit.ErrNotFound
	}
	if err != nil {
		return 0, false, fmt.Errorf("reading a record's index: %w", err)
	}
	return leaf.V, leaf.Valid, nil
}

// Tile is a stored tile, or audit.ErrNotFound.
func (s *Store) Tile(ctx context.Context, level int, index int64) ([]byte, error) {
	var hashes []byte
	err := s.read.QueryRowContext(ctx, tileSQL, level, index).Scan(&hashes)
	if errors.Is(err, sql.ErrNoRows) {
		err = audit.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading tile %d of level %d: %w", index, level, err)
	}
	return hashes, nil
}
