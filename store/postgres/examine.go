package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/writpdp/writ/migrations"
	"github.com/writpdp/writ/store/lane"
)

const (
	// commits is how many are timed, and quick what no disk that keeps its word
	// is faster than.
	commits = 32
	quick   = 40 * time.Microsecond
	// maxSkew is how far a server's clock may be from the database's.
	maxSkew = 250 * time.Millisecond
	// oldest and newest are the versions of PostgreSQL that Writ is tested on.
	oldest, newest = 15, 18
)

// Examine looks at a database as it is for Writ, with the role that serves. It
// changes nothing. The error says that it could not be examined; what is wrong with
// it is among the findings. now is the clock of this machine.
func Examine(ctx context.Context, dsn string, now func() time.Time) ([]lane.Finding, error) {
	found, err := examine(ctx, dsn, now, true)
	if err != nil {
		return nil, fmt.Errorf("examining the database: %w", err)
	}
	return found, nil
}

// CheckServed refuses a server that cannot keep what serving promises, for the
// reasons that Examine gives: it takes no writes, may lose what it has committed, is
// reached by a pooler that makes one connection of many, or, where the string names
// several hosts, none of which is a synchronous standby, would lose what was answered
// last at a failover. lossy accepts the last of these.
func CheckServed(ctx context.Context, dsn string, lossy bool) error {
	found, err := examine(ctx, dsn, time.Now, false)
	if err != nil {
		return fmt.Errorf("opening the ledger's database: %w", err)
	}
	for _, f := range found {
		if f.Grade == lane.Bad && !(f.Check == failover && lossy) {
			return fmt.Errorf("the database cannot keep what is promised: %s: %s; %s", f.Check, f.Says, f.Remedy)
		}
	}
	return nil
}

// examine looks at what serving depends on, or at all.
func examine(ctx context.Context, dsn string, now func() time.Time, all bool) ([]lane.Finding, error) {
	pool, err := configure(dsn, writeParameters)
	if err != nil {
		return nil, err
	}
	e := &examination{config: pool.ConnConfig, now: now}
	e.config.DefaultQueryExecMode = pgx.QueryExecModeExec // behind some poolers statements cannot be prepared
	e.conn, err = pgx.ConnectConfig(ctx, e.config)
	if errors.Is(err, pgconn.ErrReadOnlyConnection) { // none of the hosts takes writes: what it is can be told
		e.config.ValidateConnect = nil
		e.conn, err = pgx.ConnectConfig(ctx, e.config)
	}
	if refusal, ok := errors.AsType[*pgconn.PgError](err); ok && strings.Contains(refusal.Message, "startup parameter") {
		e.add("pooler", lane.Bad, poolerRemedy, "what stands before the server takes no settings for a connection: %s", refusal.Message)
		return e.found, nil
	}
	if err != nil {
		return nil, err
	}
	defer e.conn.Close(context.WithoutCancel(ctx))
	parts := []func(context.Context) error{e.version, e.settings, e.failover, e.pooler}
	if all {
		parts = append(parts, e.standbys, e.schema, e.rights, e.leases, e.clock, e.disk)
	}
	for _, part := range parts {
		if err := part(ctx); err != nil {
			return nil, err
		}
	}
	return e.found, nil
}

// failover is the check whose failing an operator may accept.
const failover = "failover"

const poolerRemedy = "Connect to the server itself, or see that the pooler is in session mode and passes settings on."

type examination struct {
	config   *pgx.ConnConfig
	conn     *pgx.Conn
	now      func() time.Time
	readOnly bool
	found    []lane.Finding
}

func (e *examination) add(check string, g lane.Grade, remedy, format string, args ...any) {
	if g == lane.Good {
		remedy = ""
	}
	e.found = append(e.found, lane.Finding{Check: check, Grade: g, Says: fmt.Sprintf(format, args...), Remedy: remedy})
}

// when is a grade where something holds, and Good where it does not.
func when(holds bool, g lane.Grade) lane.Grade {
	if holds {
		return g
	}
	return lane.Good
}

func (e *examination) version(ctx context.Context) error {
	var number int
	var recovery bool
	err := e.conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, pg_is_in_recovery(),
		current_setting('transaction_read_only')::bool`).Scan(&number, &recovery, &e.readOnly)
	if err != nil {
		return err
	}
	major := number / 10000
	e.add("version", when(major < oldest || major > newest, lane.Suspect), "Use a version that Writ is tested on.",
		"PostgreSQL %d; Writ is tested on %d to %d", major, oldest, newest)
	says := "it takes writes"
	switch {
	case recovery:
		says = "a standby, which takes no writes"
	case e.readOnly:
		says = "it is set to take no writes"
	}
	e.add("primary", when(recovery || e.readOnly, lane.Bad), "Connect to the primary: name all hosts in the connection string; and set default_transaction_read_only = off.", "%s", says)
	return nil
}

// settings are those without which what was committed can be lost.
func (e *examination) settings(ctx context.Context) error {
	for _, name := range []string{"fsync", "full_page_writes"} {
		var value string
		if err := e.conn.QueryRow(ctx, `SELECT current_setting($1)`, name).Scan(&value); err != nil {
			return err
		}
		e.add(name, when(value != "on", lane.Bad), "Set "+name+" = on.", "it is %s", value)
	}
	var value, commit string
	err := e.conn.QueryRow(ctx, `SELECT current_setting('server_encoding'), current_setting('synchronous_commit')`).Scan(&value, &commit)
	if err != nil {
		return err
	}
	e.add("synchronous_commit", when(commit != "on" && commit != "remote_apply", lane.Bad), "See that nothing between changes a connection's settings.",
		"for Writ's connections it is %s", commit)
	e.add("encoding", when(value != "UTF8", lane.Bad), "Create the database with ENCODING 'UTF8'.", "it is %s", value)
	return nil
}

// failover says what one would lose. Who names several hosts means to have one.
func (e *examination) failover(ctx context.Context) error {
	var names string
	if err := e.conn.QueryRow(ctx, `SELECT current_setting('synchronous_standby_names')`).Scan(&names); err != nil {
		return err
	}
	const remedy = "Set synchronous_standby_names on every host; or have the configuration accept the loss (allow_failover_loss)."
	switch n := hosts(&e.config.Config); {
	case names != "":
		e.add(failover, lane.Good, "", "commits wait for a standby: %s", names)
	case n > 1:
		e.add(failover, lane.Bad, remedy, "%d hosts are named and no standby is synchronous: a failover loses what was answered last, and accepts used tokens again", n)
	default:
		e.add(failover, lane.Suspect, "For failover without loss, have a standby, set synchronous_standby_names, and name all hosts.",
			"no standby is synchronous: what was answered last is lost if this server's disk is")
	}
	return nil
}

// standbys says whether those that commits wait for are there.
func (e *examination) standbys(ctx context.Context) error {
	var all, told, waiting int
	var named bool
	err := e.conn.QueryRow(ctx, `SELECT current_setting('synchronous_standby_names') <> '', count(*), count(sync_state),
		count(*) FILTER (WHERE sync_state IN ('sync', 'quorum')) FROM pg_stat_replication`).Scan(&named, &all, &told, &waiting)
	switch {
	case err != nil || !named:
		return err
	case all > told:
		e.add("standby", lane.Suspect, "Let the role read pg_stat_replication (pg_monitor).", "%d are connected; the role may not see which are synchronous", all)
	default:
		e.add("standby", when(waiting == 0, lane.Bad), "Start a standby that synchronous_standby_names names: until then every commit waits.",
			"%d synchronous are connected", waiting)
	}
	return nil
}

func (e *examination) schema(ctx context.Context) error {
	latest, err := migrations.Latest(migrations.Postgres())
	if err != nil {
		return err
	}
	var version int64
	err = e.conn.QueryRow(ctx, "SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied").Scan(&version)
	if refusal, ok := errors.AsType[*pgconn.PgError](err); ok && refusal.Code == undefinedTable {
		err = nil // version 0
	}
	e.add("schema", when(version != latest, lane.Bad), "Run `writ migrate` of this version, as the schema's owner.",
		"version %d; this build has %d", version, latest)
	return err
}

// rights are what the role may do and should not, and what it should and may not.
func (e *examination) rights(ctx context.Context) error {
	var super bool
	var role string
	if err := e.conn.QueryRow(ctx, `SELECT rolsuper, rolname FROM pg_roles WHERE rolname = current_user`).Scan(&super, &role); err != nil {
		return err
	}
	if super {
		e.add("role", lane.Suspect, "Serve with a role of its own: `writ migrate --grant ROLE`.", "%s is a superuser: with its password, records can be changed", role)
		return nil
	}
	var lacks, has []string
	for _, right := range []struct {
		table, privilege string
		wanted           bool
	}{
		{"record", "SELECT", true}, {"record", "INSERT", true}, {"pending", "DELETE", true}, {"leaf", "INSERT", true}, {"checkpoint", "INSERT", true},
		{"used_token", "INSERT", true}, {"lock_version", "INSERT", true}, {"lock_fence", "UPDATE", true}, {"sequencer", "UPDATE", true}, {"replica", "DELETE", true},
		{"lease_holder", "INSERT", true}, {"lease_holder", "DELETE", true}, {"lease", "INSERT", true}, {"lease", "DELETE", true},
		{"record", "UPDATE", false}, {"record", "DELETE", false}, {"record", "TRUNCATE", false}, {"leaf", "UPDATE", false}, {"leaf", "DELETE", false},
		{"checkpoint", "UPDATE", false}, {"checkpoint", "DELETE", false}, {"used_token", "DELETE", false}, {"used_token", "UPDATE", false},
		{"lock_version", "DELETE", false}, {"lock_version", "UPDATE", false},
	} {
		var may *bool // NULL: there is no such table, as the schema's check says
		err := e.conn.QueryRow(ctx, `SELECT has_table_privilege(to_regclass($1), $2)`, right.table, right.privilege).Scan(&may)
		switch {
		case err != nil:
			return err
		case may == nil || *may == right.wanted:
		case right.wanted:
			lacks = append(lacks, right.privilege+" on "+right.table)
		default:
			has = append(has, right.privilege+" on "+right.table)
		}
	}
	switch {
	case len(lacks) > 0:
		e.add("role", lane.Bad, "Run `writ migrate --grant "+role+"` as the schema's owner.", "%s lacks %s", role, strings.Join(lacks, ", "))
	case len(has) > 0:
		e.add("role", lane.Suspect, "Serve with a role that owns nothing: `writ migrate --grant ROLE`.", "%s can change what was recorded: %s", role, strings.Join(has, ", "))
	default:
		e.add("role", lane.Good, "", "%s can add records and change none", role)
	}
	return nil
}

// leases are of processes that tell of themselves, or else whoever looks next takes
// them back.
func (e *examination) leases(ctx context.Context) error {
	var leases, holders, silent int
	err := e.conn.QueryRow(ctx, `SELECT (SELECT count(*) FROM lease), count(*), count(*) FILTER (WHERE told < clock_timestamp() - interval '10 s')
		FROM lease_holder`).Scan(&leases, &holders, &silent)
	if refusal, ok := errors.AsType[*pgconn.PgError](err); ok && (refusal.Code == undefinedTable || refusal.Code == denied) {
		return nil // as the checks of the schema and the role say
	}
	e.add("leases", when(silent > 0, lane.Suspect), "Start a server on this database: it takes back what a silent one has leased.",
		"%d, of %d processes, of which %d are silent", leases, holders, silent)
	return err
}

// clock compares the two clocks: the database's reading lies between two of this
// machine's.
func (e *examination) clock(ctx context.Context) error {
	skew, within := time.Duration(0), time.Duration(1<<62)
	for range 5 {
		before := e.now()
		var there time.Time
		if err := e.conn.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&there); err != nil {
			return err
		}
		if took := e.now().Sub(before); took < within { // the closest reading of several
			within, skew = took, there.Sub(before.Add(took/2))
		}
	}
	off := skew.Abs() - within/2
	e.add("clock", when(off > maxSkew, lane.Suspect), "Keep both clocks by NTP.", "the database's is %s ahead of this machine's, give or take %s",
		skew.Round(time.Millisecond), (within / 2).Round(time.Millisecond))
	return nil
}

// pooler notices that statements of one connection reach several sessions.
func (e *examination) pooler(ctx context.Context) error {
	seen := []uint32{}
	for range 8 {
		var pid uint32
		if err := e.conn.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
			return err
		}
		if !slices.Contains(seen, pid) {
			seen = append(seen, pid)
		}
	}
	shared, err := e.shared(ctx, seen[len(seen)-1])
	switch {
	case err != nil:
		return err
	case len(seen) > 1 || shared:
		e.add("pooler", lane.Bad, poolerRemedy, "a pooler hands statements to other sessions: settings and prepared statements do not last")
	case seen[0] != e.conn.PgConn().PID():
		e.add("pooler", lane.Suspect, poolerRemedy, "a pooler stands before the server")
	default:
		e.add("pooler", lane.Good, "", "none stands before the server")
	}
	return nil
}

// shared reports whether a second connection, in a transaction, takes the session
// from the first.
func (e *examination) shared(ctx context.Context, mine uint32) (bool, error) {
	other, err := pgx.ConnectConfig(ctx, e.config)
	if err != nil {
		return false, err
	}
	defer other.Close(context.WithoutCancel(ctx))
	tx, err := other.Begin(ctx)
	if err != nil {
		return false, err
	}
	var there, here uint32
	if err := tx.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&there); err != nil {
		return false, err
	}
	if err := e.conn.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&here); err != nil {
		return false, err
	}
	return there == mine || here != mine, tx.Rollback(ctx)
}

// disk times commits that wait for the disk, and write nothing that stays.
func (e *examination) disk(ctx context.Context) error {
	if e.readOnly {
		return nil // as the primary's check says
	}
	var took []time.Duration
	for range commits {
		began := e.now()
		if _, err := e.conn.Exec(ctx, `SELECT pg_logical_emit_message(true, 'writ', '')`); err != nil {
			return err
		}
		took = append(took, e.now().Sub(began))
	}
	slices.Sort(took)
	median := took[len(took)/2]
	e.add("disk", when(median < quick, lane.Suspect), "See that the disk's cache survives a power cut, and that nothing between lies about syncing.",
		"a commit takes %s; %s", median.Round(time.Microsecond), map[bool]string{true: "no disk that keeps what it is given is so fast", false: "as of a disk that is waited for"}[median < quick])
	return nil
}
