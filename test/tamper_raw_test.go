package test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"
)

// raw is a store's tables without the store: what whoever may do everything in
// the database can do. It has one connection, and no constraint of the schema
// but keys holds there.
type raw struct {
	db       *sql.DB
	postgres bool
	tables   map[string]table
}

// table is a table's columns, in their order.
type table []column

type column struct {
	name string
	kind string // as the schema names it
	key  bool   // of the primary key
}

func openRaw(t *testing.T, driver, dsn string) raw {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	closing(t, db.Close)
	db.SetMaxOpenConns(1)
	r := raw{db: db, postgres: driver == "pgx", tables: map[string]table{}}
	if r.postgres {
		r.dropChecks(t)
		r.exec(t, "SET synchronous_commit = off")
	} else {
		r.exec(t, "PRAGMA ignore_check_constraints = ON")
		r.exec(t, "PRAGMA busy_timeout = 5000")
		r.exec(t, "PRAGMA synchronous = OFF")
	}
	r.columns(t)
	return r
}

func (r raw) dropChecks(t *testing.T) {
	t.Helper()
	for _, c := range r.query(t, `SELECT conrelid::regclass::text AS relation, conname AS name FROM pg_constraint
		WHERE contype = 'c' AND coninhcount = 0 AND connamespace = current_schema()::regnamespace`) {
		r.exec(t, fmt.Sprintf(`ALTER TABLE %s DROP CONSTRAINT %q`, c["relation"], c["name"]))
	}
}

// columns reads which tables and columns there are.
func (r raw) columns(t *testing.T) {
	t.Helper()
	text := `SELECT m.name AS relation, c.name AS name, c.type AS kind, c.pk > 0 AS key
		FROM sqlite_schema AS m, pragma_table_info(m.name) AS c WHERE m.type = 'table' ORDER BY m.name, c.cid`
	if r.postgres {
		text = `SELECT c.table_name::text AS relation, c.column_name::text AS name, c.data_type::text AS kind,
				CASE WHEN k.column_name IS NULL THEN 0 ELSE 1 END AS key
			FROM information_schema.columns AS c
			LEFT JOIN information_schema.table_constraints AS p
				ON p.table_schema = c.table_schema AND p.table_name = c.table_name AND p.constraint_type = 'PRIMARY KEY'
			LEFT JOIN information_schema.key_column_usage AS k
				ON k.constraint_schema = p.constraint_schema AND k.constraint_name = p.constraint_name AND k.column_name = c.column_name
			WHERE c.table_schema = current_schema() AND NOT EXISTS (
				SELECT 1 FROM pg_inherits AS i JOIN pg_class AS p ON p.oid = i.inhrelid
				WHERE p.relname = c.table_name AND p.relnamespace = current_schema()::regnamespace)
			ORDER BY c.table_name, c.ordinal_position`
	}
	for _, c := range r.query(t, text) {
		name := c["relation"].(string)
		r.tables[name] = append(r.tables[name], column{name: c["name"].(string), kind: c["kind"].(string), key: c["key"].(int64) != 0})
	}
	if len(r.tables) < 9 {
		t.Fatalf("found only the tables %v", r.names())
	}
}

// partition is the table of one of a name's partitions that holds a row with
// values, and the row: PostgreSQL has one table over them, SQLite has not.
func (r raw) partition(t *testing.T, name string, with values) (string, values) {
	t.Helper()
	for _, table := range r.own() {
		if whole(table) != name {
			continue
		}
		for _, one := range r.all(t, table) {
			if same(one["record"], with["record"]) {
				return table, r.find(t, table, with)
			}
		}
	}
	t.Fatalf("no partition of %s has a row with %v", name, with)
	return "", nil
}

// whole is the name that a table and its partitions share.
func whole(table string) string {
	if name, ok := strings.CutPrefix(table, "used_token_"); ok && len(name) == 1 {
		return "used_token"
	}
	return table
}

func (r raw) names() []string { return slices.Sorted(maps.Keys(r.tables)) }

// own are the tables that are not the engine's.
func (r raw) own() []string {
	return slices.DeleteFunc(r.names(), func(name string) bool { return strings.HasPrefix(name, "sqlite_") })
}

// exec runs a statement and wants it to do something.
func (r raw) exec(t *testing.T, text string, args ...any) int64 {
	t.Helper()
	result, err := r.db.ExecContext(t.Context(), text, args...)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	n, err := result.RowsAffected()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// values are a row by its columns.
type values map[string]any

func (r raw) query(t *testing.T, text string, args ...any) []values {
	t.Helper()
	rows, err := r.db.QueryContext(t.Context(), text, args...)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var all []values
	for rows.Next() {
		scanned, targets := make([]any, len(names)), make([]any, len(names))
		for i := range scanned {
			targets[i] = &scanned[i]
		}
		if err := rows.Scan(targets...); err != nil {
			t.Fatal(err)
		}
		one := values{}
		for i, name := range names {
			if b, ok := scanned[i].([]byte); ok {
				scanned[i] = bytes.Clone(b)
			}
			one[name] = scanned[i]
		}
		all = append(all, one)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// first is the record of the first version of the rollout.
func (r raw) first(t *testing.T) [16]byte {
	t.Helper()
	return idIn(r.all(t, "rollout")[0]["record"])
}

// all are the rows of a table by its primary key.
func (r raw) all(t *testing.T, name string) []values {
	t.Helper()
	var keys []string
	for _, c := range r.tables[name] {
		if c.key {
			keys = append(keys, c.name)
		}
	}
	return r.query(t, fmt.Sprintf("SELECT * FROM %s ORDER BY %s", name, strings.Join(keys, ", ")))
}

// set changes one value of a row.
func (r raw) set(t *testing.T, name string, of values, column string, value any) {
	t.Helper()
	where, args := r.where(name, of, 2)
	if n := r.exec(t, fmt.Sprintf("UPDATE %s SET %s = $1 WHERE %s", name, column, where), append([]any{value}, args...)...); n != 1 {
		t.Fatalf("setting %s.%s changed %d rows", name, column, n)
	}
}

// drop deletes a row.
func (r raw) drop(t *testing.T, name string, of values) {
	t.Helper()
	where, args := r.where(name, of, 1)
	if n := r.exec(t, fmt.Sprintf("DELETE FROM %s WHERE %s", name, where), args...); n != 1 {
		t.Fatalf("deleting from %s changed %d rows", name, n)
	}
}

// add inserts a row.
func (r raw) add(t *testing.T, name string, of values) {
	t.Helper()
	var names, places []string
	var args []any
	for _, c := range r.tables[name] {
		names, args = append(names, c.name), append(args, of[c.name])
		places = append(places, fmt.Sprintf("$%d", len(args)))
	}
	r.exec(t, fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", name, strings.Join(names, ", "), strings.Join(places, ", ")), args...)
}

// where names a row by its primary key; first is the number of its first value.
func (r raw) where(name string, of values, first int) (string, []any) {
	var parts []string
	var args []any
	for _, c := range r.tables[name] {
		if c.key {
			parts = append(parts, fmt.Sprintf("%s = $%d", c.name, first+len(args)))
			args = append(args, of[c.name])
		}
	}
	return strings.Join(parts, " AND "), args
}

// find is the one row of a table that holds a record's id, or other values.
func (r raw) find(t *testing.T, name string, with values) values {
	t.Helper()
	var found []values
	for _, one := range r.all(t, name) {
		fits := true
		for column, value := range with {
			fits = fits && same(one[column], value)
		}
		if fits {
			found = append(found, one)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%s has %d rows with %v", name, len(found), with)
	}
	return found[0]
}

// same compares what is stored with a value that may be an id.
func same(stored, value any) bool {
	if id, ok := value.([16]byte); ok {
		return idIn(stored) == id
	}
	return stored == value
}

// idIn reads an id as either engine gives it.
func idIn(stored any) [16]byte {
	switch v := stored.(type) {
	case []byte:
		if len(v) == 16 {
			return [16]byte(v)
		}
	case string:
		return uuid.FromStringOrNil(v)
	}
	return [16]byte{}
}

// id writes an id as the engine takes it.
func (r raw) id(id [16]byte) any {
	if r.postgres {
		return uuid.UUID(id).String()
	}
	return id[:]
}

// at writes a time as the engine takes it.
func (r raw) at(at time.Time) any {
	if r.postgres {
		return at
	}
	return at.UnixMicro()
}

// keep copies all tables aside under a name.
func (r raw) keep(t *testing.T, name string) string {
	t.Helper()
	if r.postgres {
		r.exec(t, "CREATE SCHEMA "+name)
	} else {
		r.exec(t, "ATTACH DATABASE ':memory:' AS "+name)
	}
	for _, table := range r.own() {
		r.exec(t, fmt.Sprintf("CREATE TABLE %s.%s AS SELECT * FROM %s", name, table, table))
	}
	return name
}

// restore brings all tables back as they were kept.
func (r raw) restore(t *testing.T, name string) {
	t.Helper()
	tx, err := r.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	run := func(text string) {
		if err == nil {
			_, err = tx.ExecContext(context.WithoutCancel(t.Context()), text)
		}
	}
	for _, table := range r.own() {
		run("DELETE FROM " + table)
		run(fmt.Sprintf("INSERT INTO %s SELECT * FROM %s.%s", table, name, table))
	}
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
}
