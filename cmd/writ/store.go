package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/mod/sumdb/note"

	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/respond"
	"github.com/writpdp/writ/store/postgres"
	"github.com/writpdp/writ/store/sqlite"
)

// The files of a data directory.
const (
	fileStore    = "writ.db"
	fileLogKey   = "log.key" // private
	fileLogPub   = "log.pub"
	fileTokenKey = "token.pem" // private
	dirSpool     = "spool"
)

// dataStore is a store with all that the commands do with it. Both stores are
// one; the suite in store/storetest holds them together.
type dataStore interface {
	server.Ledger
	View(ctx context.Context, f func(audit.Reader) error) error
	List(ctx context.Context, tenant string, after [16]byte, limit int) ([]audit.Row, error)
	CountRecords(ctx context.Context, tenant string, from, to [16]byte) (int64, error)
	LeafOf(ctx context.Context, tenant string, id [16]byte) (index int64, sealed bool, err error)
	Checkpoint(context.Context) (audit.Checkpoint, error)
	Tile(ctx context.Context, level int, index int64) ([]byte, error)
	Seal(ctx context.Context, max int, extend audit.Extend) (int, error)
	server.Tickets
	server.Vault
	Rollout(ctx context.Context, version int64) (audit.Row, error)
	Control(ctx context.Context, version int64) (audit.Row, error)
	server.Lapses
	respond.Roll
	respond.Counters
	KeepArchive(ctx context.Context, archive []byte) ([32]byte, error)
	Archive(ctx context.Context, digest [32]byte) ([]byte, error)
	Close() error
}

// storeFlags say which store a command works on.
type storeFlags struct {
	Data         string `xor:"store" type:"path" help:"A data directory of writ dev." placeholder:"DIR"`
	DatabaseFile string `xor:"store" type:"existingfile" help:"A file that holds a PostgreSQL connection string." placeholder:"FILE"`
}

// use opens the store, for reading only or for changes too, and closes it after.
func (f storeFlags) use(ctx context.Context, write bool, do func(dataStore) error) error {
	store, err := f.open(ctx, write)
	if err != nil {
		return err
	}
	return errors.Join(do(store), store.Close())
}

func (f storeFlags) open(ctx context.Context, write bool) (dataStore, error) {
	switch {
	case f.DatabaseFile != "":
		dsn, err := readDSN(f.DatabaseFile)
		if err != nil {
			return nil, err
		}
		return postgres.Open(ctx, dsn)
	case f.Data == "":
		return nil, usageError("name a store: --data DIR or --database-file FILE")
	}
	path := filepath.Join(f.Data, fileStore)
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	if write {
		return sqlite.Open(ctx, path)
	}
	return sqlite.OpenReadOnly(ctx, path)
}

// verifier reads the log's public key, by default the data directory's.
func (f storeFlags) verifier(file string) (note.Verifier, error) {
	if file == "" {
		if f.Data == "" {
			return nil, usageError("name the log's public key: --key FILE")
		}
		file = filepath.Join(f.Data, fileLogPub)
	}
	text, err := readLine(file)
	if err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(text)
	if err != nil {
		return nil, fmt.Errorf("reading the log's public key in %s: %w", file, err)
	}
	return v, nil
}

// readLine reads a small file that holds one line.
func readLine(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading a file: %w", err)
	}
	line := strings.TrimSpace(string(data))
	switch {
	case line == "":
		return "", fmt.Errorf("%s: it is empty", file)
	case strings.ContainsAny(line, "\r\n"):
		return "", fmt.Errorf("%s: it holds more than one line", file)
	}
	return line, nil
}

// readDSN reads a PostgreSQL connection string. Of what is wrong with one only
// missing files are told: the parser's errors quote it, and with it a password
// that it took for something else.
func readDSN(file string) (string, error) {
	dsn, err := readLine(file)
	if err != nil {
		return "", err
	}
	_, err = pgconn.ParseConfig(dsn)
	if missing, ok := errors.AsType[*fs.PathError](err); ok {
		return "", fmt.Errorf("%s: the connection string: %w", file, missing)
	}
	if err != nil {
		return "", fmt.Errorf("%s: not a PostgreSQL connection string", file)
	}
	return dsn, nil
}

type migrateCmd struct {
	DatabaseFile string `required:"" type:"existingfile" help:"A file that holds a PostgreSQL connection string of the schema's owner." placeholder:"FILE"`
	Compatible   *bool  `negatable:"" help:"Whether servers use neither NOTIFY nor locks on tables, for engines that lack them; none may run meanwhile. Without: as it is."`
	Grant        string `help:"A role that is then granted what serving takes, and no more. It must exist." placeholder:"ROLE"`
}

// Run migrates.
func (c migrateCmd) Run(ctx context.Context, to streams) error {
	dsn, err := readDSN(c.DatabaseFile)
	if err != nil {
		return err
	}
	if err := postgres.Migrate(ctx, dsn); err != nil {
		return err
	}
	fmt.Fprintln(to.out, "the database has this version's schema")
	if c.Compatible != nil {
		if err := postgres.SetCompatible(ctx, dsn, *c.Compatible); err != nil {
			return err
		}
		fmt.Fprintf(to.out, "compatible: %t\n", *c.Compatible)
	}
	if c.Grant != "" {
		if err := postgres.Grant(ctx, dsn, c.Grant); err != nil {
			return err
		}
		fmt.Fprintf(to.out, "the role %s may serve from it\n", c.Grant)
	}
	return nil
}
