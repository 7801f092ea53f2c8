package postgres

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/gofrs/uuid/v5"
	"github.com/jackc/pgx/v5"

	"github.com/writpdp/writ/store/lane"
)

// tendEvery is how often a store looks after leases: its own and those of
// processes that are gone. A holder that told nothing for two seconds, by the
// database's clock, is fenced by whoever looks next.
const tendEvery = 500 * time.Millisecond

// tendTime is how long a look may take: a server that hangs is given up, and the next
// look goes to the one in its place.
const tendTime = 5 * time.Second

// leaveTime is how long the end of a store may wait for returning its leases.
const leaveTime = 3 * time.Second

const (
	joinSQL = `INSERT INTO lease_holder (id, told) VALUES ($1, clock_timestamp())`

	// Of holder $1: whether it still is one; of all: how many tell, and whether
	// another is silent.
	heartbeatSQL = `WITH mine AS (UPDATE lease_holder SET told = clock_timestamp() WHERE id = $1 RETURNING id)
		SELECT EXISTS (SELECT FROM mine),
			(SELECT count(*) FROM lease_holder WHERE told >= clock_timestamp() - interval '2 s'),
			EXISTS (SELECT FROM lease_holder WHERE id <> $1 AND told < clock_timestamp() - interval '2 s')`

	lookSQL = `SELECT EXISTS (SELECT FROM lease_holder WHERE told < clock_timestamp() - interval '2 s')`

	// A tick must not wait so long that this holder falls silent itself.
	hastySQL = `SELECT set_config('lock_timeout', '300ms', true), set_config('statement_timeout', '1s', true)`

	// A holder whose batch is under way is left for the next look.
	fenceSilentSQL = `WITH silent AS MATERIALIZED (
			SELECT id FROM lease_holder WHERE told < clock_timestamp() - interval '2 s' AND id <> $1 ORDER BY id FOR UPDATE SKIP LOCKED)
		DELETE FROM lease_holder AS h USING silent AS s WHERE h.id = s.id RETURNING h.id`

	leaveHolderSQL = `DELETE FROM lease_holder WHERE id = $1 RETURNING id`

	// The three statements that close leases: each sees what was committed before
	// it began, and so all that the holder's last batch has spent. Nobody changes
	// a lease whose holder is deleted.
	lockLeasedSQL = `SELECT b.used FROM (SELECT DISTINCT tenant, budget, subject, window_start FROM lease WHERE holder = ANY ($1)
			ORDER BY tenant, budget, subject, window_start) AS w
		CROSS JOIN LATERAL (SELECT o.used FROM budget_use AS o WHERE o.tenant = w.tenant AND o.budget = w.budget
			AND o.subject = w.subject AND o.window_start = w.window_start FOR UPDATE) AS b`

	creditLeasedSQL = `UPDATE budget_use AS b SET used = greatest(0, b.used - l.unspent)
		FROM (SELECT tenant, budget, subject, window_start, sum(unspent)::bigint AS unspent FROM lease
			WHERE holder = ANY ($1) GROUP BY tenant, budget, subject, window_start) AS l
		WHERE b.tenant = l.tenant AND b.budget = l.budget AND b.subject = l.subject AND b.window_start = l.window_start`

	endLeasedSQL = `DELETE FROM lease WHERE holder = ANY ($1)`

	creditLeasesSQL = `UPDATE budget_use AS b SET used = greatest(0, b.used - l.unspent)
		FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS w (tenant, budget, subject, window_start)
		JOIN lease AS l ON l.holder = $5 AND l.tenant = w.tenant AND l.budget = w.budget
			AND l.subject = w.subject AND l.window_start = w.window_start
		WHERE b.tenant = l.tenant AND b.budget = l.budget AND b.subject = l.subject AND b.window_start = l.window_start`
)

// keeper runs something at times, until it is stopped.
type keeper struct {
	once   sync.Once
	cancel context.CancelFunc
	done   chan struct{}
}

func (k *keeper) start(tend func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	k.cancel, k.done = cancel, make(chan struct{})
	go func() {
		defer close(k.done)
		tick := time.NewTicker(tendEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				soon, done := context.WithTimeout(ctx, tendTime)
				tend(soon)
				done()
			}
		}
	}()
}

// stop returns when nothing runs any more. It may be called more than once.
func (k *keeper) stop() {
	k.once.Do(k.cancel)
	<-k.done
}

// tend looks after leases once. What fails is tried again at the next look, and
// until then is as exact as before: a lease that is not returned is room that is
// not used. Unlike a commit it may be cut short, for nobody is answered on it, and
// whoever commits after it has it on the standby too.
func (s *Store) tend(ctx context.Context) {
	at, holder := s.now(), s.leases.Holder()
	if holder == [16]byte{} {
		s.look(ctx)
		if s.leases.Wanted(at) {
			s.join(ctx)
		}
		return
	}
	var alive, silent bool
	var holders int64
	if err := s.write.QueryRow(ctx, heartbeatSQL, uuid.UUID(holder)).Scan(&alive, &holders, &silent); err != nil {
		return
	}
	if !alive {
		s.leases.Gone(holder)
		return
	}
	s.leases.Beside(holders)
	if silent {
		_ = s.fence(ctx)
	}
	_ = s.giveBack(ctx, holder, s.leases.Idle(at))
	if !s.leases.Wanted(at) {
		s.leave(ctx)
	}
}

// look fences who is silent, where this process is no holder.
func (s *Store) look(ctx context.Context) {
	var silent bool
	if err := s.read.QueryRow(ctx, lookSQL).Scan(&silent); err == nil && silent {
		_ = s.fence(ctx)
	}
}

// join makes this process a holder, under an id that was never one's: whatever
// became of an earlier one, this one has no leases.
func (s *Store) join(ctx context.Context) {
	id, err := uuid.NewV4()
	if err != nil {
		return
	}
	if _, err := s.write.Exec(ctx, joinSQL, id); err == nil {
		s.leases.Join(id)
	}
}

// leave returns all leases of this process, which then is no holder any more.
func (s *Store) leave(ctx context.Context) {
	holder := s.leases.Holder()
	if holder == [16]byte{} {
		return
	}
	if _, err := s.end(ctx, leaveHolderSQL, uuid.UUID(holder)); err == nil {
		s.leases.Gone(holder)
	}
}

// drain returns all leases at the end. A counter that is busy just then is tried
// again; what cannot be returned is left to others.
func (s *Store) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	for range 5 {
		s.leave(ctx)
	}
}

// fence takes the leases of all who are silent away from them. Any number of
// processes may do so at once: each holder is deleted by one of them.
func (s *Store) fence(ctx context.Context) error {
	_, err := s.end(ctx, fenceSilentSQL, uuid.UUID(s.leases.Holder()))
	return err
}

// end deletes holders and returns what they have left of their leases, in one
// transaction, and tells how many holders it were.
func (s *Store) end(ctx context.Context, which string, id uuid.UUID) (n int, err error) {
	err = pgx.BeginTxFunc(ctx, s.write, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, hastySQL); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, which, id)
		if err != nil {
			return err
		}
		ended, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
		if n = len(ended); err != nil || n == 0 {
			return err
		}
		for _, text := range []string{lockLeasedSQL, creditLeasedSQL, endLeasedSQL} {
			if _, err := tx.Exec(ctx, text, ended); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("ending leases: %w", err)
	}
	return n, nil
}

// giveBack returns leases of this process. The lane that charges them may do so
// meanwhile: who comes second finds the rows as the first has left them.
func (s *Store) giveBack(ctx context.Context, holder [16]byte, idle []lane.Idle) error {
	if len(idle) == 0 {
		return nil
	}
	keys := columns(idle, func(i *lane.Idle) lane.CounterKey { return i.Key })
	lane.SortCounters(keys)
	tenants, budgets, subjects, windows := counterColumns(keys)
	id := uuid.UUID(holder)
	err := pgx.BeginTxFunc(ctx, s.write, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		b := &pgx.Batch{}
		b.Queue(hastySQL)
		b.Queue(fenceSQL, id)
		b.Queue(lockCountersSQL, tenants, budgets, subjects, windows)
		b.Queue(lockLeasesSQL, tenants, budgets, subjects, windows, id)
		b.Queue(creditLeasesSQL, tenants, budgets, subjects, windows, id)
		b.Queue(endLeasesSQL, tenants, budgets, subjects, windows, id)
		return tx.SendBatch(ctx, b).Close()
	})
	if err != nil {
		return fmt.Errorf("returning leases: %w", err)
	}
	s.leases.Returned(holder, idle)
	return nil
}
