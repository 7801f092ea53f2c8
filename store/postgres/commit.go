package postgres

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/lane"
)

// Commit makes an entry durable: the record and its effects, or neither. The
// error is audit.ErrStale or audit.ErrReused (nothing was written), audit.ErrFull
// or lane.ErrClosed (likewise), or another, after which the outcome is unknown:
// also when ctx ends first, for that ends the caller's wait alone. A retry with
// the same key and digest tells.
func (s *Store) Commit(ctx context.Context, e audit.Entry) (audit.Receipt, error) {
	return s.lanes[route(&e, len(s.lanes))].Commit(ctx, e)
}

// route picks an entry's lane. What charges counters goes by tenant: batches that
// share a counter wait for each other anyway, so one large batch is better than
// several small ones. The rest is spread; the same request always meets itself.
func route(e *audit.Entry, lanes int) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(e.Tenant))
	charges := slices.ContainsFunc(e.Effects, func(effect decision.Effect) bool {
		_, ok := effect.(decision.Counting)
		return ok
	})
	if !charges {
		_, _ = h.Write([]byte(e.Key))
	}
	return int(h.Sum64() % uint64(lanes))
}

// How often a batch is tried, by what went wrong.
const (
	maxConflicts = 10
	maxBlocked   = 2
	maxLost      = 5
	lostPause    = 10 * time.Millisecond // before the first retry; then four times as long each
)

// flush makes a batch durable: the lanes' function. A batch that fails is read
// and planned again, never blindly repeated: what an attempt did commit, though
// its answer was lost, is then found under its own keys, and nothing is applied
// twice. Where the server refuses the data, or conflicts do not end, the batch is
// cut in halves until the entry that is to blame stands alone.
func (s *Store) flush(entries []audit.Entry) []lane.Outcome {
	var conflicts, blocks, losses int
	for {
		outcomes, err := s.attempt(entries)
		if err == nil {
			return outcomes
		}
		again := false
		kind := classify(err)
		switch kind {
		case conflict:
			conflicts++
			again = conflicts < maxConflicts
		case blocked:
			blocks++
			again = blocks < maxBlocked
		case lost:
			losses++
			again = losses < maxLost
			if again {
				s.reset()
				pause(losses)
			}
		}
		if again {
			continue
		}
		if half := len(entries) / 2; half > 0 && (kind == refused || kind == conflict) {
			return append(s.flush(entries[:half:half]), s.flush(entries[half:])...)
		}
		outcomes = make([]lane.Outcome, len(entries))
		for i := range outcomes {
			outcomes[i].Err = fmt.Errorf("committing the record: %w", err)
		}
		return outcomes
	}
}

// pause waits before the n-th retry.
func pause(n int) {
	timer := time.NewTimer(lostPause << (2 * (n - 1)))
	defer timer.Stop()
	<-timer.C
}

// attempt commits a batch in two round trips: what it depends on is locked and
// read; then, planned, it is written and committed.
//
// No caller's deadline reaches this far. pgx ends a statement whose context ends
// by cancelling it on the server, and a commit that is cancelled while it waits
// for the synchronous standby is visible to all although no standby has it.
func (s *Store) attempt(entries []audit.Entry) ([]lane.Outcome, error) {
	ctx := context.Background()
	conn, err := s.write.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	defer conn.Release() // one that is still in a transaction is closed
	defer s.watch(conn)()
	needs, at := lane.NeedsOf(entries), s.now()
	terms := s.leases.Terms(entries, needs.Counters, at)
	state, err := s.lockState(ctx, conn, needs, &terms)
	if err != nil {
		return nil, s.failed(ctx, conn, &terms, fmt.Errorf("reading what the batch depends on: %w", err))
	}
	outcomes, writes := lane.Plan(state, entries)
	settled := terms.Settle(state, &writes)
	if err := s.commit(ctx, conn, &writes, &terms, &settled); err != nil {
		return nil, s.failed(ctx, conn, &terms, fmt.Errorf("writing the batch: %w", err))
	}
	s.leases.Committed(&terms, &settled, &s.memory, at)
	return outcomes, nil
}

// failed ends an attempt that failed with err. Its leases are as doubtful as its
// outcome.
func (s *Store) failed(ctx context.Context, conn *pgxpool.Conn, t *lane.Terms, err error) error {
	if s.leases.Doubt(t); errors.Is(err, errFenced) {
		s.leases.Gone(t.Holder)
	}
	return rollback(ctx, conn, err)
}

// rollback frees a connection for its next use, if it is still there.
func rollback(ctx context.Context, conn *pgxpool.Conn, err error) error {
	if classify(err) == lost {
		_ = conn.Conn().Close(ctx)
		return err
	}
	if _, failed := conn.Exec(ctx, "ROLLBACK"); failed != nil {
		_ = conn.Conn().Close(ctx)
	}
	return err
}

// run sends statements in one round trip.
func run(ctx context.Context, conn *pgxpool.Conn, b *pgx.Batch) error {
	return conn.SendBatch(ctx, b).Close()
}

// commit applies a plan and commits. Every statement of many rows has them in the
// order of their unique key, as all replicas do, so that no two wait for each
// other. A plan that writes nothing still writes a message to the write-ahead
// log: what it answers may rest on a commit whose standby is still behind, and
// this commit waits for both. Who listens is told of what administers alone change.
func (s *Store) commit(ctx context.Context, conn *pgxpool.Conn, w *lane.Writes, t *lane.Terms, settled *lane.Settled) error {
	b := &pgx.Batch{}
	if w.Empty() {
		b.Queue("SELECT pg_logical_emit_message(true, 'writ', '')")
	} else {
		queueRows(b, w.Rows)
		queueEffects(b, w, settled.Counters)
		queueLeases(b, t.Holder, settled)
	}
	if !s.compatible {
		queueNotices(b, w)
	}
	b.Queue("COMMIT")
	delete(conn.Conn().PgConn().CustomData(), warned)
	if err := run(ctx, conn, b); err != nil {
		return err
	}
	if conn.Conn().PgConn().CustomData()[warned] == true {
		return errUnsure
	}
	if conn.Conn().PgConn().TxStatus() != 'I' {
		return errors.New("the commit did not end the transaction")
	}
	return nil
}
