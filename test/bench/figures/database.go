package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/writpdp/writ/store/postgres"
)

// database is a PostgreSQL database of this run alone.
type database struct {
	dsn string
	// settings say in a sentence what makes its commits durable.
	settings string
	drop     func() error
}

// createDatabase makes a database beside that of a DSN, with Writ's schema. It
// refuses a server whose commits are not durable, for those are not what is to be
// measured.
func createDatabase(ctx context.Context, dsn string) (d database, err error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return d, fmt.Errorf("connecting to PostgreSQL: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	var version, commit, fsync, pages string
	err = conn.QueryRow(ctx, `SELECT current_setting('server_version'), current_setting('synchronous_commit'),
		current_setting('fsync'), current_setting('full_page_writes')`).Scan(&version, &commit, &fsync, &pages)
	if err != nil {
		return d, fmt.Errorf("reading PostgreSQL's settings: %w", err)
	}
	if commit != "on" || fsync != "on" || pages != "on" {
		return d, fmt.Errorf("PostgreSQL has synchronous_commit %s, fsync %s and full_page_writes %s: all must be on", commit, fsync, pages)
	}
	d.settings = fmt.Sprintf("PostgreSQL %s with synchronous_commit, fsync and full_page_writes on", version)
	name := "writ_figures_" + strings.ToLower(rand.Text())
	if d.dsn, err = withDatabase(dsn, name); err != nil {
		return d, err
	}
	identifier := pgx.Identifier{name}.Sanitize() // a name cannot be a parameter
	if _, err := conn.Exec(ctx, `CREATE DATABASE `+identifier); err != nil {
		return d, fmt.Errorf("creating a database: %w", err)
	}
	d.drop = func() error { return drop(dsn, identifier) }
	if err := postgres.Migrate(ctx, d.dsn); err != nil {
		return d, errors.Join(err, d.drop())
	}
	return d, nil
}

func drop(dsn, identifier string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return fmt.Errorf("connecting to PostgreSQL: %w", err)
	}
	_, err = conn.Exec(ctx, `DROP DATABASE `+identifier+` WITH (FORCE)`)
	if err = errors.Join(err, conn.Close(ctx)); err != nil {
		return fmt.Errorf("dropping the database: %w", err)
	}
	return nil
}

// withDatabase is a DSN with another database: a URL, or words key=value of which
// the last of a key counts.
func withDatabase(dsn, name string) (string, error) {
	if !strings.Contains(dsn, "://") {
		return dsn + " dbname=" + name, nil
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", errors.New("reading the connection string: not a URL") // the error would quote its password
	}
	u.Path = "/" + name
	return u.String(), nil
}
