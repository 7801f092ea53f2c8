// Package sqlite keeps the ledger in one SQLite file, for a single machine: the
// records and what they change, tickets, and the log's tree. One connection
// writes, in batches; others read. What it answered is on the disk.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	sqlite "modernc.org/sqlite"

	"github.com/writpdp/writ/migrations"
	"github.com/writpdp/writ/store/lane"
)

const (
	readers     = 16
	busyTimeout = "5000" // milliseconds that another process may hold the file
	// drainTime is how long Close waits for the commits under way.
	drainTime = 10 * time.Second
)

var errReadOnly = errors.New("the store is open for reading only")

// Store is a ledger in a file. It is safe for concurrent use. Several processes
// may open the same file.
type Store struct {
	reader
	read     *sql.DB
	snapshot *sql.Stmt
	recall   *sql.Stmt // snapshot, with the call that a result belongs to
	memory   lane.Memory

	// nil when the store is open for reading only.
	write *writer
	lane  *lane.Lane
}

// Open opens a ledger's file for reading and writing, and brings its schema up
// to date. A file that does not exist is created, for its owner alone, and so is
// its directory. A schema newer than this build is refused.
func Open(ctx context.Context, path string) (*Store, error) {
	if err := create(path); err != nil {
		return nil, fmt.Errorf("creating the ledger's file: %w", err)
	}
	db, err := connect(path, false)
	if err != nil {
		return nil, fmt.Errorf("opening the ledger's file: %w", err)
	}
	db.SetMaxOpenConns(1)
	if err := migrate(ctx, db); err != nil {
		return nil, errors.Join(fmt.Errorf("migrating the ledger: %w", err), db.Close())
	}
	s, err := openReaders(ctx, path)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if s.write, err = newWriter(ctx, db, &s.memory); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the ledger's file: %w", err), s.Close(), db.Close())
	}
	s.lane = lane.New(s.write.flush, lane.Config{Batch: 1024})
	return s, nil
}

// OpenReadOnly opens a ledger's file for reading; whatever would write fails.
// The file must exist, with the schema of this build.
func OpenReadOnly(ctx context.Context, path string) (*Store, error) {
	s, err := openReaders(ctx, path)
	if err != nil {
		return nil, err
	}
	var version int64
	err = s.read.QueryRowContext(ctx, "SELECT max(version_id) FROM goose_db_version WHERE is_applied = 1").Scan(&version)
	if err == nil {
		err = checkVersion(version)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("checking the ledger's schema: %w", err), s.Close())
	}
	return s, nil
}

func openReaders(ctx context.Context, path string) (*Store, error) {
	db, err := connect(path, true)
	if err != nil {
		return nil, fmt.Errorf("opening the ledger's file for reading: %w", err)
	}
	db.SetMaxOpenConns(readers)
	db.SetMaxIdleConns(readers)
	s := &Store{reader: reader{db.QueryContext}, read: db}
	if s.snapshot, err = db.PrepareContext(ctx, snapshotSQL); err == nil {
		s.recall, err = db.PrepareContext(ctx, recallSQL)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the ledger's file for reading: %w", err), db.Close())
	}
	return s, nil
}

// Close answers what is being committed and closes the file. A nil error says
// that nothing was left waiting.
func (s *Store) Close() error {
	var errs []error
	if s.lane != nil {
		ctx, cancel := context.WithTimeout(context.Background(), drainTime)
		defer cancel()
		if err := s.lane.Close(ctx); err != nil {
			return fmt.Errorf("closing the ledger: %w", err)
		}
		errs = append(errs, s.write.close())
	}
	if err := errors.Join(append(errs, s.read.Close())...); err != nil {
		return fmt.Errorf("closing the ledger: %w", err)
	}
	return nil
}

// create makes the file, and its directory, where they are missing. It never
// opens a file that exists: closing it again would drop the locks that another
// store of this process holds on it.
func create(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

func connect(path string, readOnly bool) (*sql.DB, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	query := url.Values{"_busy_timeout": {busyTimeout}, "_dqs": {"0"}, "_foreign_keys": {"on"}}
	if readOnly {
		query.Set("mode", "ro")
		query.Set("_query_only", "on")
	} else {
		query.Set("mode", "rw")
		query.Set("_journal_mode", "WAL")
		// The write-ahead log is synced at each commit: what was answered
		// survives a power cut.
		query.Set("_synchronous", "FULL")
		// Copied back every 16 MiB, which spares syncs of the file itself.
		query["_pragma"] = []string{"wal_autocheckpoint(4096)", "journal_size_limit(67108864)", "cache_size(-8192)"}
	}
	name := filepath.ToSlash(absolute)
	if !strings.HasPrefix(name, "/") {
		name = "/" + name
	}
	dsn := url.URL{Scheme: "file", Path: name, RawQuery: query.Encode()}
	connector, err := sqlite.NewConnector(dsn.String())
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// migrate is safe against another process that migrates at the same time: the
// one that comes second fails on what exists already, and finds nothing left to
// do when it looks again.
func migrate(ctx context.Context, db *sql.DB) error {
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, migrations.SQLite(), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		_, err = provider.Up(ctx)
		if err == nil || try == 5 || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return err
	}
	version, err := provider.GetDBVersion(ctx)
	if err != nil {
		return err
	}
	return checkVersion(version)
}

func checkVersion(version int64) error {
	latest, err := migrations.Latest(migrations.SQLite())
	if err != nil {
		return err
	}
	if version != latest {
		return fmt.Errorf("its schema has version %d, this build has %d", version, latest)
	}
	return nil
}
