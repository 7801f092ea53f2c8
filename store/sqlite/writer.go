package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	sqlite "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/store/lane"
)

// writer owns the one connection that writes.
type writer struct {
	db     *sql.DB
	memory *lane.Memory

	mu    sync.Mutex // held for a transaction; guards all below
	conn  *sql.Conn
	stmts map[string]*sql.Stmt // by their text
}

func newWriter(ctx context.Context, db *sql.DB, memory *lane.Memory) (*writer, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{db: db, memory: memory, conn: conn, stmts: map[string]*sql.Stmt{}}
	for _, text := range hotStatements {
		if _, err := w.stmt(ctx, text); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return w, nil
}

func (w *writer) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for _, stmt := range w.stmts {
		errs = append(errs, stmt.Close())
	}
	return errors.Join(append(errs, w.conn.Close(), w.db.Close())...)
}

// stmt is a statement, prepared once: the texts are constants, so there are few.
func (w *writer) stmt(ctx context.Context, text string) (*sql.Stmt, error) {
	if stmt, ok := w.stmts[text]; ok {
		return stmt, nil
	}
	stmt, err := w.conn.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	w.stmts[text] = stmt
	return stmt, nil
}

// tx is a transaction of the writer. Its statements know no context: what has
// begun is short, and is not to be cut off in the middle.
type tx struct{ w *writer }

// update runs f in a transaction that locks the file first, so that what f reads
// stays true until it is committed. An error of f rolls back.
func (w *writer) update(f func(tx) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := tx{w}
	if err := t.exec("BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("beginning: %w", err)
	}
	done := false
	defer func() {
		if !done {
			// Some errors have rolled back already, and then this one fails.
			_ = t.exec("ROLLBACK")
		}
	}()
	if err := f(t); err != nil {
		return err
	}
	if err := t.exec("COMMIT"); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	done = true
	return nil
}

func (t tx) exec(text string, args ...any) error {
	stmt, err := t.w.stmt(context.Background(), text)
	if err != nil {
		return err
	}
	_, err = stmt.ExecContext(context.Background(), args...)
	return err
}

// changed is exec, and tells how many rows changed.
func (t tx) changed(text string, args ...any) (int64, error) {
	stmt, err := t.w.stmt(context.Background(), text)
	if err != nil {
		return 0, err
	}
	result, err := stmt.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// each runs a query and calls f for each row.
func (t tx) each(f func(scan func(...any) error) error, text string, args ...any) error {
	stmt, err := t.w.stmt(context.Background(), text)
	if err != nil {
		return err
	}
	rows, err := stmt.QueryContext(context.Background(), args...)
	if err != nil {
		return err
	}
	return drain(rows, f)
}

func drain(rows *sql.Rows, f func(scan func(...any) error) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := f(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// flush makes a batch durable: the lane's function. Where a constraint refuses
// the batch, it is cut in halves until the entry that it refuses stands alone,
// and its neighbours commit without it.
func (w *writer) flush(entries []audit.Entry) []lane.Outcome {
	var outcomes []lane.Outcome
	var writes lane.Writes
	err := w.update(func(t tx) (err error) {
		outcomes, writes, err = t.commit(entries)
		return err
	})
	if err == nil {
		w.memory.Written(&writes)
		return outcomes
	}
	if half := len(entries) / 2; half > 0 && refused(err) {
		return append(w.flush(entries[:half:half]), w.flush(entries[half:])...)
	}
	outcomes = make([]lane.Outcome, len(entries))
	for i := range outcomes {
		outcomes[i].Err = fmt.Errorf("committing the record: %w", err)
	}
	return outcomes
}

// refused reports that SQLite refuses the data, not that the machine fails.
func refused(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return false
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE:
		return true
	}
	return false
}
