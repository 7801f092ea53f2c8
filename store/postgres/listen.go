package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Topic is what somebody has changed: the name of the channel on which the
// database tells of it.
type Topic string

// What the database tells of. Both are changed by who administers alone.
const (
	LocksChanged   Topic = "writ_locks"
	RolloutChanged Topic = "writ_rollout"
)

const (
	// The database tells at the commit, and only if there is one.
	notifySQL = `SELECT pg_notify($1, '')`

	// hearAgain is how long after it was lost a connection is made anew; each time
	// that fails twice as long, up to hearLast.
	hearAgain = 50 * time.Millisecond
	hearLast  = 5 * time.Second
)

// Listen calls changed when somebody may have changed something, on a connection of
// its own, until ctx is done: soon after the change's commit, and for every topic
// when it begins to hear, for what it may have missed. changed is called from one
// goroutine, which it must not hold up. It is a hint and no more: a connection that
// is lost is made anew, and report is told once, and with nil when it hears again.
// Where the database tells nothing of changes, it reports that and returns.
func (s *Store) Listen(ctx context.Context, changed func(Topic), report func(error)) {
	if s.compatible {
		return
	}
	failed := false
	for wait := hearAgain; ; wait = min(2*wait, hearLast) {
		err := s.hear(ctx, changed, func() {
			wait = hearAgain
			if failed {
				failed = false
				report(nil)
			}
		})
		if ctx.Err() != nil {
			return
		}
		if !failed {
			failed = true
			report(fmt.Errorf("listening for changes: %w", err))
		}
		if code := codeOf(err); code == unsupported || code == syntaxError {
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// hear listens on a connection until it is lost. heard is called once it hears.
func (s *Store) hear(ctx context.Context, changed func(Topic), heard func()) error {
	c := s.read.Config().ConnConfig
	c.RuntimeParams["application_name"] = "writ-listener"
	c.RuntimeParams["idle_session_timeout"] = "0" // it hears nothing for days
	// The pool's connections answer for warnings; this one has nothing to answer for.
	c.OnNotice = nil
	c.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) { changed(Topic(n.Channel)) }
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, topic := range []Topic{LocksChanged, RolloutChanged} {
		if _, err := conn.Exec(ctx, `LISTEN `+pgx.Identifier{string(topic)}.Sanitize()); err != nil {
			return err
		}
	}
	heard()
	changed(LocksChanged)
	changed(RolloutChanged)
	for {
		if err := conn.PgConn().WaitForNotification(ctx); err != nil {
			return err
		}
	}
}
