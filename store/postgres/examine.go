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
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, fmt.Errorf("examining the database: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	e := &examination{conn: conn, now: now}
	for _, part := range []func(context.Context) error{
		e.version, e.settings, e.standbys, e.schema, e.rights, e.leases, e.clock, e.pooler, e.disk,
	} {
		if err := part(ctx); err != nil {
			return nil, fmt.Errorf("examining the database: %w", err)
		}
	}
	return e.found, nil
}

type examination struct {
	conn  *pgx.Conn
	now   func() time.Time
	found []lane.Finding
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
	err := e.conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, pg_is_in_recovery()`).Scan(&number, &recovery)
	if err != nil {
		return err
	}
	major := number / 10000
	e.add("version", when(major < oldest || major > newest, lane.Suspect), "Use a version that Writ is tested on.",
		"PostgreSQL %d; Writ is tested on %d to %d", major, oldest, newest)
	e.add("primary", when(recovery, lane.Bad), "Connect to the primary: list all hosts, with target_session_attrs=read-write.",
		"%s", map[bool]string{true: "a standby, which takes no writes", false: "it takes writes"}[recovery])
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
	var value string
	if err := e.conn.QueryRow(ctx, `SELECT current_setting('server_encoding')`).Scan(&value); err != nil {
		return err
	}
	e.add("encoding", when(value != "UTF8", lane.Bad), "Create the database with ENCODING 'UTF8'.", "it is %s", value)
	return nil
}

// standbys says what a failover would lose.
func (e *examination) standbys(ctx context.Context) error {
	var names string
	if err := e.conn.QueryRow(ctx, `SELECT current_setting('synchronous_standby_names')`).Scan(&names); err != nil {
		return err
	}
	if names == "" {
		e.add("standby", lane.Suspect, "For failover without loss, set synchronous_standby_names.",
			"none is synchronous: what was answered last is lost if this server's disk is")
		return nil
	}
	var waiting int
	err := e.conn.QueryRow(ctx, `SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')`).Scan(&waiting)
	if err != nil {
		return err
	}
	e.add("standby", when(waiting == 0, lane.Bad), "Start a standby that synchronous_standby_names names, or every commit waits; or let the role read pg_stat_replication (pg_monitor).",
		"%d synchronous of those named: %s", waiting, names)
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
		{"used_token", "INSERT", true}, {"lock_version", "INSERT", true}, {"lock_fence", "UPDATE", true}, {"replica", "DELETE", true},
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
	const remedy = "Connect to the server itself, or see that the pooler is in session mode."
	switch {
	case len(seen) > 1:
		e.add("pooler", lane.Bad, remedy, "a pooler hands statements to other sessions: settings and prepared statements do not last")
	case seen[0] != e.conn.PgConn().PID():
		e.add("pooler", lane.Suspect, remedy, "a pooler stands before the server")
	default:
		e.add("pooler", lane.Good, "", "none stands before the server")
	}
	return nil
}

// disk times commits that wait for the disk, and write nothing that stays.
func (e *examination) disk(ctx context.Context) error {
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
