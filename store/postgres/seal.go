package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/store/lane"
)

const (
	// sequencerSQL has a row for the one who extends the log, until its transaction
	// ends, and none for the others, nor where nothing waits: holding it is written
	// to the disk.
	sequencerSQL = `SELECT one FROM sequencer WHERE EXISTS (SELECT 1 FROM pending) FOR UPDATE SKIP LOCKED`

	newestSQL = `SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1`

	waitingSQL = `SELECT tenant, id FROM pending ORDER BY at, id, tenant LIMIT $1`

	// Record by record through the primary key: with statistics that know
	// nothing of the records that came last, a join may read the whole table.
	nextSQL = `SELECT ` + recordColumns + ` FROM unnest($1::text[], $2::uuid[]) WITH ORDINALITY AS w (tenant, id, n)
		CROSS JOIN LATERAL (SELECT * FROM record AS o WHERE o.tenant = w.tenant AND o.id = w.id OFFSET 0) AS r ORDER BY w.n`

	tileSQL = `SELECT hashes FROM tile WHERE level = $1 AND idx = $2`

	insertLeavesSQL = `INSERT INTO leaf (idx, tenant, id)
		SELECT $1 + w.n - 1, w.tenant, w.id FROM unnest($2::text[], $3::uuid[]) WITH ORDINALITY AS w (tenant, id, n)`

	upsertTilesSQL = `INSERT INTO tile (level, idx, hashes)
		SELECT w.level, w.idx, w.hashes FROM unnest($1::smallint[], $2::bigint[], $3::bytea[])
			WITH ORDINALITY AS w (level, idx, hashes, n) ORDER BY w.n
		ON CONFLICT (level, idx) DO UPDATE SET hashes = excluded.hashes`

	insertCheckpointSQL = `INSERT INTO checkpoint (size, note) VALUES ($1, $2)`

	deletePendingSQL = `DELETE FROM pending AS p USING unnest($1::timestamptz[], $2::uuid[], $3::text[]) AS w (at, id, tenant)
		WHERE p.at = w.at AND p.id = w.id AND p.tenant = w.tenant`
)

// Seal moves at most max records that wait into the tree, oldest first, in one
// transaction: leaves, tiles and checkpoint are durable together, or none is. It
// returns how many; 0: none waited, or another replica is sealing. Once begun, it
// ends whatever becomes of ctx.
func (s *Store) Seal(ctx context.Context, max int, extend audit.Extend) (sealed int, err error) {
	if max < 1 {
		return 0, fmt.Errorf("sealing: max is %d", max)
	}
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("sealing: %w", err)
	}
	ctx = context.WithoutCancel(ctx)
	conn, err := s.write.Acquire(ctx)
	if err != nil {
		return 0, fmt.Errorf("sealing: %w", err)
	}
	defer conn.Release()
	defer s.watch(conn)()
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		sealed, err = seal(ctx, tx, max, extend)
		return err
	})
	if s.noted(err) != nil {
		return 0, fmt.Errorf("sealing: %w", err)
	}
	return sealed, nil
}

func seal(ctx context.Context, tx pgx.Tx, max int, extend audit.Extend) (int, error) {
	var mine bool
	switch err := tx.QueryRow(ctx, sequencerSQL).Scan(&mine); {
	case errors.Is(err, pgx.ErrNoRows):
		return 0, nil
	case err != nil:
		return 0, err
	}
	// What follows sees all that the sequencer before has committed: each
	// statement sees the state of its own beginning.
	var last audit.Checkpoint
	err := tx.QueryRow(ctx, newestSQL).Scan(&last.Size, &last.Note)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, fmt.Errorf("reading the newest checkpoint: %w", err)
	}
	rows, err := next(ctx, tx, max)
	if err != nil {
		return 0, fmt.Errorf("reading what waits: %w", err)
	}
	if len(rows) == 0 {
		return 0, nil
	}
	extension, err := extend(last, func(level int, index int64) ([]byte, error) { return readTile(ctx, tx, level, index) }, rows)
	if err != nil {
		return 0, err
	}
	if err := lane.CheckExtension(last, rows, &extension); err != nil {
		return 0, err
	}
	if err := writeExtension(ctx, tx, last.Size, rows, &extension); err != nil {
		return 0, fmt.Errorf("writing: %w", err)
	}
	return len(rows), nil
}

// some is how many records are read at once.
const some = 512

// next are the records to seal: at most max, and no more once their bodies hold
// lane.SealBytes.
func next(ctx context.Context, tx pgx.Tx, max int) ([]audit.Row, error) {
	type key struct {
		tenant string
		id     [16]byte
	}
	waiting, err := tx.Query(ctx, waitingSQL, max)
	if err != nil {
		return nil, err
	}
	keys, err := pgx.CollectRows(waiting, func(row pgx.CollectableRow) (k key, err error) {
		err = row.Scan(&k.tenant, &k.id)
		return k, err
	})
	if err != nil {
		return nil, err
	}
	var rows []audit.Row
	bytes := 0
	for part := range slices.Chunk(keys, some) {
		var tenants []string
		var ids [][16]byte
		for _, k := range part {
			tenants, ids = append(tenants, k.tenant), append(ids, k.id)
		}
		found, err := tx.Query(ctx, nextSQL, tenants, ids)
		if err != nil {
			return nil, err
		}
		more, err := pgx.CollectRows(found, func(row pgx.CollectableRow) (audit.Row, error) { return scanRow(row) })
		if err != nil {
			return nil, err
		}
		for _, row := range more {
			if bytes >= lane.SealBytes {
				return rows, nil
			}
			bytes += len(row.Body)
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// one is what runs a query for one row.
type one interface {
	QueryRow(ctx context.Context, text string, args ...any) pgx.Row
}

func readTile(ctx context.Context, from one, level int, index int64) (hashes []byte, err error) {
	err = from.QueryRow(ctx, tileSQL, level, index).Scan(&hashes)
	if errors.Is(err, pgx.ErrNoRows) {
		err = audit.ErrNotFound
	}
	return hashes, err
}

func writeExtension(ctx context.Context, tx pgx.Tx, first int64, rows []audit.Row, e *audit.Extension) error {
	tiles := slices.Clone(e.Tiles)
	slices.SortFunc(tiles, func(a, b audit.Tile) int {
		return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(a.Index, b.Index))
	})
	tenants := columns(rows, func(r *audit.Row) string { return r.Tenant })
	ids := columns(rows, func(r *audit.Row) [16]byte { return r.ID })
	b := &pgx.Batch{}
	b.Queue(insertLeavesSQL, first, tenants, ids)
	b.Queue(upsertTilesSQL,
		columns(tiles, func(t *audit.Tile) int16 { return int16(t.Level) }),
		columns(tiles, func(t *audit.Tile) int64 { return t.Index }),
		columns(tiles, func(t *audit.Tile) []byte { return t.Hashes }))
	b.Queue(insertCheckpointSQL, e.Checkpoint.Size, e.Checkpoint.Note)
	results := tx.SendBatch(ctx, b)
	if err := results.Close(); err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, deletePendingSQL, columns(rows, func(r *audit.Row) any { return r.At }), ids, tenants)
	if n := tag.RowsAffected(); err == nil && n != int64(len(rows)) {
		err = fmt.Errorf("%d of %d records no longer wait", int64(len(rows))-n, len(rows))
	}
	return err
}

// Checkpoint is the newest; the zero value: the log is empty.
func (s *Store) Checkpoint(ctx context.Context) (audit.Checkpoint, error) {
	var c audit.Checkpoint
	err := s.read.QueryRow(ctx, newestSQL).Scan(&c.Size, &c.Note)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return audit.Checkpoint{}, fmt.Errorf("reading the newest checkpoint: %w", err)
	}
	return c, nil
}

// LeafOf is a record's index in the log; sealed is false while it waits for one.
// The error is audit.ErrNotFound where there is no such record.
func (s *Store) LeafOf(ctx context.Context, tenant string, id [16]byte) (index int64, sealed bool, err error) {
	var leaf *int64
	err = s.read.QueryRow(ctx, `SELECT l.idx FROM record AS r LEFT JOIN leaf AS l ON l.tenant = r.tenant AND l.id = r.id
		WHERE r.tenant = $1 AND r.id = $2`, tenant, id).Scan(&leaf)
	if errors.Is(err, pgx.ErrNoRows) {
		err = audit.ErrNotFound
	}
	if err != nil {
		return 0, false, fmt.Errorf("reading a record's index: %w", err)
	}
	return or(leaf), leaf != nil, nil
}

// Tile is a stored tile, or audit.ErrNotFound.
func (s *Store) Tile(ctx context.Context, level int, index int64) ([]byte, error) {
	hashes, err := readTile(ctx, s.read, level, index)
	if err != nil {
		return nil, fmt.Errorf("reading tile %d of level %d: %w", index, level, err)
	}
	return hashes, nil
}
