// Package postgres keeps the ledger in PostgreSQL, for any number of replicas:
// the records and what they change, tickets, and the log's tree. Each replica
// commits in batches, on a few connections at once. What it answered is durable,
// on the synchronous standby too, where there is one.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/writpdp/writ/migrations"
	"github.com/writpdp/writ/store/lane"
)

// drainTime is how long Close waits for the commits under way.
const drainTime = 10 * time.Second

// Config is where the ledger is and how many connections to spend on it.
type Config struct {
	// DSN is a connection string, a URL or keywords and values. Required.
	DSN string
	// Lanes is how many batches may be under way at once; 0: 4.
	Lanes int
	// Readers is the most connections that read at once; 0: 16.
	Readers int
	// Now is the clock by which demand is measured and leases grow old; nil:
	// time.Now. Who is fenced goes by the database's clock alone.
	Now func() time.Time
}

// Store is a ledger in a database. It is safe for concurrent use.
type Store struct {
	write *pgxpool.Pool // of the lanes, the keeper of leases, the sealer and what changes tickets
	read  *pgxpool.Pool
	// frozen is how long what is done on a connection may take; 0: for ever.
	frozen time.Duration
	// compatible says that neither NOTIFY nor locks on tables are used.
	compatible bool
	lanes      []*lane.Lane
	now        func() time.Time
	// memory is of the counters, and leases of those that this process has leased.
	memory lane.Memory
	leases lane.Leases
	keeper keeper
}

// Open opens the ledger of a database with the defaults of Config.
func Open(ctx context.Context, dsn string) (*Store, error) {
	return New(ctx, Config{DSN: dsn})
}

// New opens the ledger of a database. It never changes the schema: one of another
// version than this build's is refused, and so is a server that may lose what it
// has committed (fsync is off), or that takes no writes.
func New(ctx context.Context, c Config) (*Store, error) {
	if c.Lanes <= 0 {
		c.Lanes = 4
	}
	if c.Readers <= 0 {
		c.Readers = 16
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Store{now: c.Now}
	var err error
	// Beside the lanes: one to seal, one to change tickets, one to keep leases.
	if s.write, err = pool(ctx, c.DSN, c.Lanes+3, writeParameters); err != nil {
		return nil, fmt.Errorf("opening the ledger's database: %w", err)
	}
	if s.read, err = pool(ctx, c.DSN, c.Readers, readParameters); err != nil {
		s.write.Close()
		return nil, fmt.Errorf("opening the ledger's database: %w", err)
	}
	if err := s.check(ctx); err != nil {
		s.write.Close()
		s.read.Close()
		return nil, fmt.Errorf("opening the ledger's database: %w", err)
	}
	for range c.Lanes {
		s.lanes = append(s.lanes, lane.New(s.flush, lane.Config{}))
	}
	s.keeper.start(s.tend)
	return s, nil
}

// Close answers what is being committed, returns all leases and closes the
// connections. A nil error says that nothing was left waiting. Leases that cannot
// be returned, for the database is gone, are taken back by others later.
func (s *Store) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	defer s.keeper.stop()
	for _, l := range s.lanes {
		if err := l.Close(ctx); err != nil {
			// A flush is stuck with its connection. It is not to be cut off: what
			// it says about its records would be wrong.
			return fmt.Errorf("closing the ledger: %w", err)
		}
	}
	s.keeper.stop()
	s.drain(ctx)
	s.write.Close()
	s.read.Close()
	return nil
}

// check refuses a server that cannot keep the ledger.
func (s *Store) check(ctx context.Context) error {
	var fsync, encoding string
	err := s.read.QueryRow(ctx, "SELECT current_setting('fsync'), current_setting('server_encoding')").Scan(&fsync, &encoding)
	if err != nil {
		return err
	}
	if fsync != "on" {
		return errors.New("the server has fsync off: it may lose what it has committed")
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the database has the encoding %s in the place of UTF8", encoding)
	}
	latest, err := migrations.Latest(migrations.Postgres())
	if err != nil {
		return err
	}
	var version int64
	err = s.read.QueryRow(ctx, "SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied").Scan(&version)
	if refusal, ok := errors.AsType[*pgconn.PgError](err); ok && refusal.Code == undefinedTable {
		err = nil // version 0
	}
	switch {
	case err != nil:
		return fmt.Errorf("reading the schema's version: %w", err)
	case version < latest:
		return fmt.Errorf("the schema has version %d, this build needs %d: migrate the database first", version, latest)
	case version > latest:
		return fmt.Errorf("the schema has version %d, which is newer than this build's %d", version, latest)
	}
	if err := s.read.QueryRow(ctx, `SELECT compatible FROM engine`).Scan(&s.compatible); err != nil {
		return fmt.Errorf("reading what the database is asked for: %w", err)
	}
	if s.frozen, err = s.patience(ctx); err != nil {
		return fmt.Errorf("reading how long a statement may take: %w", err)
	}
	return nil
}

// SetCompatible says for all servers of a database whether they use neither NOTIFY
// nor locks on tables, for an engine that lacks these. The connection is the schema's
// owner's. A server learns of it when it starts, and all must go by the same: none
// may run meanwhile.
func SetCompatible(ctx context.Context, dsn string, compatible bool) error {
	c, err := owner(dsn)
	if err == nil {
		var conn *pgx.Conn
		if conn, err = pgx.ConnectConfig(ctx, c); err == nil {
			defer conn.Close(context.WithoutCancel(ctx))
			_, err = conn.Exec(ctx, `UPDATE engine SET compatible = $1`, compatible)
		}
	}
	if err != nil {
		return fmt.Errorf("saying what the database may be asked for: %w", err)
	}
	return nil
}

// Migrate brings a database's schema up to date. Any number of processes may
// migrate at once: one does, the others wait for it, for up to a minute.
func Migrate(ctx context.Context, dsn string) (err error) {
	c, err := owner(dsn)
	if err != nil {
		return fmt.Errorf("migrating the ledger's database: %w", err)
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 60))
	if err != nil {
		return fmt.Errorf("migrating the ledger's database: %w", err)
	}
	db := stdlib.OpenDB(*c)
	defer func() { err = errors.Join(err, db.Close()) }()
	provider, err := goose.NewProvider(goose.DialectPostgres, db, migrations.Postgres(),
		goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("migrating the ledger's database: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrating the ledger's database: %w", err)
	}
	return nil
}
