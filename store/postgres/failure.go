package postgres

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// SQLSTATEs that mean something of their own here.
const (
	undefinedTable  = "42P01"
	denied          = "42501"
	uniqueViolation = "23505"
	unsupported     = "0A000"
	syntaxError     = "42601"
)

// failure is what a failed attempt at a batch calls for.
type failure uint8

const (
	// broken: neither again nor in parts will it succeed.
	broken failure = iota
	// conflict: another batch was faster. Nothing was written; read again.
	conflict
	// blocked: somebody held a lock for too long. Nothing was written.
	blocked
	// lost: the connection broke, or the server went away. Whether the batch
	// was committed is not known.
	lost
	// refused: the server refuses the data. Nothing was written.
	refused
)

// errUnsure: the commit was answered with a warning. The wait for the synchronous
// standby was cancelled, so the batch may be on the primary alone.
var errUnsure = errors.New("the server warns about the commit")

// errMissing: what is there was not found. Nothing was written.
var errMissing = errors.New("the server does not find what it has")

// Sentinels of a batch that counted on a lease; nothing was written.
var (
	// errFenced: another process has taken this one's leases away.
	errFenced = errors.New("the holder of the leases is gone")
	// errLeased: a lease is not what was expected.
	errLeased = errors.New("a lease does not cover the batch")
)

const warned = "writ.warned"

// noteWarning remembers, on a connection, that the server has warned.
func noteWarning(c *pgconn.PgConn, n *pgconn.Notice) {
	if n.SeverityUnlocalized == "WARNING" {
		c.CustomData()[warned] = true
	}
}

// codeOf is the SQLSTATE of an error that the server answered; else empty.
func codeOf(err error) string {
	if refusal, ok := errors.AsType[*pgconn.PgError](err); ok {
		return refusal.Code
	}
	return ""
}

func classify(err error) failure {
	if errors.Is(err, errMissing) || errors.Is(err, errFenced) || errors.Is(err, errLeased) {
		return conflict
	}
	refusal, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return lost
	}
	switch code := refusal.Code; {
	case code == uniqueViolation, code == "40001", code == "40P01", // unique key, serialization, deadlock
		code == unsupported, code == "26000": // a prepared statement outlived a change of the schema
		return conflict
	case code == "55P03", code == "57014": // lock timeout, statement timeout
		return blocked
	case strings.HasPrefix(code, "08"), strings.HasPrefix(code, "57P"), code == "25006", code == "25P03":
		// Connection, shutdown; read-only after a failover; idle for too long.
		return lost
	case strings.HasPrefix(code, "22"), strings.HasPrefix(code, "23"), strings.HasPrefix(code, "54"):
		return refused
	}
	return broken
}
