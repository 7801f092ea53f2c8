package postgres

import (
	"context"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Session parameters. All statements but the streams of an auditor are lookups by
// key, whose plans are the same for every value. A plan that was made while the
// tables were empty must not scan them when they are large, so scans are ruled
// out; the penalty that rules them out must not call up the compiler.
var (
	writeParameters = map[string]string{
		"application_name":                    "writ",
		"statement_timeout":                   "10s",
		"lock_timeout":                        "5s",
		"idle_in_transaction_session_timeout": "10s", // a replica that is stopped in mid-batch lets go of its locks
		"plan_cache_mode":                     "force_generic_plan",
		"enable_seqscan":                      "off",
		"enable_hashjoin":                     "off",
		"enable_mergejoin":                    "off",
		"jit":                                 "off",
	}
	readParameters = map[string]string{
		"application_name":                    "writ",
		"statement_timeout":                   "10s",
		"idle_in_transaction_session_timeout": "60s",
		"plan_cache_mode":                     "force_generic_plan",
		"enable_seqscan":                      "off",
		"jit":                                 "off",
	}
)

// configure reads a connection string and adds what every connection here has.
func configure(dsn string, parameters map[string]string) (*pgxpool.Config, error) {
	c, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	c.PingTimeout = 5 * time.Second
	if c.ConnConfig.ConnectTimeout == 0 {
		c.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	c.ConnConfig.DialFunc = dialer().DialContext
	// Of several hosts the one that takes writes is meant, for reading too, whatever
	// the string says: what a standby has may be older than what was answered.
	c.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	c.ConnConfig.OnNotice = noteWarning
	for name, value := range parameters {
		if _, set := c.ConnConfig.RuntimeParams[name]; !set {
			c.ConnConfig.RuntimeParams[name] = value
		}
	}
	// Whatever else is configured: a commit is durable before it is answered.
	if c.ConnConfig.RuntimeParams["synchronous_commit"] != "remote_apply" {
		c.ConnConfig.RuntimeParams["synchronous_commit"] = "on"
	}
	return c, nil
}

func pool(ctx context.Context, dsn string, size int, parameters map[string]string) (*pgxpool.Pool, error) {
	c, err := configure(dsn, parameters)
	if err != nil {
		return nil, err
	}
	c.MaxConns, c.MinConns = int32(size), 0
	return pgxpool.NewWithConfig(ctx, c)
}

// owner reads the connection string of the schema's owner, whose statements may take
// as long as they need. Of several hosts it, too, means the one that takes writes.
func owner(dsn string) (*pgx.ConnConfig, error) {
	c, err := pgx.ParseConfig(dsn)
	if err == nil {
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	return c, err
}

// hosts is how many servers a connection string names.
func hosts(c *pgconn.Config) int {
	all := map[string]bool{}
	add := func(host string, port uint16) { all[net.JoinHostPort(host, strconv.Itoa(int(port)))] = true }
	add(c.Host, c.Port)
	for _, f := range c.Fallbacks { // with and without TLS, each is there twice
		add(f.Host, f.Port)
	}
	return len(all)
}

// frozenAfter is how many times as long as the server lets a statement take what is
// done on a connection may take.
const frozenAfter = 3

// patience asks the server how long what is done on a connection to it may take; 0:
// for ever, because it lets statements take as long as they need.
func (s *Store) patience(ctx context.Context) (time.Duration, error) {
	var ms int64
	err := s.write.QueryRow(ctx, `SELECT setting::bigint FROM pg_settings WHERE name = 'statement_timeout'`).Scan(&ms)
	return frozenAfter * time.Duration(ms) * time.Millisecond, err
}

// watch drops a connection of the writers unless done is called in time. The server
// ends what takes too long, a wait for the standby too; one that does not is frozen,
// or its disk is, while its machine still answers. Nothing is said to the server, and
// what became of the work is not known: whoever takes writes by then can tell.
func (s *Store) watch(conn *pgxpool.Conn) (done func() bool) {
	if s.frozen == 0 {
		return func() bool { return true }
	}
	socket := conn.Conn().PgConn().Conn()
	return time.AfterFunc(s.frozen, func() { _ = socket.Close() }).Stop
}

// reset gives up every connection: one was lost, or leads to a server that takes no
// writes any more, and its neighbours are likely to as well. New ones find the
// primary. Readers too: a server that was replaced still tells what it knew.
func (s *Store) reset() {
	s.write.Reset()
	s.read.Reset()
}

// noted resets the connections where an error is the server's word that it is not
// the one to write to, and passes the error on.
func (s *Store) noted(err error) error {
	if codeOf(err) != "" && classify(err) == lost {
		s.reset()
	}
	return err
}
