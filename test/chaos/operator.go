package main

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/gofrs/uuid/v5"
	"github.com/jackc/pgx/v5"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/respond"
	"github.com/writpdp/writ/server/ticket"
	"github.com/writpdp/writ/store/postgres"
	"github.com/writpdp/writ/test/bench/workload"
)

// operator has tickets approved, sets locks and lifts them, and keeps checkpoints
// outside of the store, all as the commands of the same names do.
type operator struct {
	*load
	random  *rand.Rand
	journal *journal
	kept    [][]byte
	locks   int64
}

// lockTime is how long a lock is set for. It is lifted much sooner; a clock that is
// three quarters of a minute ahead would have it end.
const lockTime = 30 * time.Second

func (o *operator) run(ctx context.Context) error {
	var store *postgres.Store
	for store == nil {
		var err error
		if store, err = o.site.store(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			pause(ctx, 100*time.Millisecond)
		}
	}
	defer store.Close()
	for turn := 0; o.ends.Err() == nil; turn++ {
		if err := o.grant(ctx, store); err != nil {
			return err
		}
		if turn%2 == 0 {
			if err := o.lock(ctx, store); err != nil {
				return err
			}
		}
		o.keep(ctx, store)
		pause(o.ends, 500*time.Millisecond)
	}
	return nil
}

// grant creates a ticket of few uses.
func (o *operator) grant(ctx context.Context, store *postgres.Store) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	agent, uses, now := workload.Agent(o.random.IntN(workload.Agents)), 1+o.random.Int64N(3), time.Now()
	t := decision.Ticket{ID: id.String(), Principal: agent, Tool: decision.ToolName{Server: "stripe", Name: "create_refund"},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(24 * time.Hour), MaxUses: uses, Approvers: []string{"finance-lead"}}
	// It may be there although there is an error: nobody learns of it then.
	if err := o.journal.write(line{Ticket: &granted{ID: t.ID, Uses: uses}}); err != nil {
		return err
	}
	_, err = ticket.Create(ctx, store, t, ticket.By{Caller: decision.Caller{Tenant: tenant}, Actor: "chaos", Reason: "To see that it holds.",
		Source: "cli", Key: t.ID, At: now, ID: id})
	if err != nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tickets = append(o.tickets, ticketOf{t.ID, agent})
	return nil
}

func by() (audit.By, error) {
	id, err := uuid.NewV7()
	return audit.By{Actor: "chaos", Reason: "To see that it holds.", At: time.Now(), ID: id}, err
}

// lock stops an agent, or all that is done for a human, for a second or two.
func (o *operator) lock(ctx context.Context, store *postgres.Store) error {
	b, err := by()
	if err != nil {
		return err
	}
	stopped := &locked{Agent: workload.Agent(o.random.IntN(workload.Agents))}
	target := decision.Target{Kind: decision.OfAgent, Value: stopped.Agent, Tenant: tenant}
	if o.random.IntN(2) == 0 {
		stopped = &locked{Human: o.human(o.random)}
		target.Kind, target.Value = decision.OfHuman, stopped.Human
	}
	l := decision.Lock{ID: "L-" + uuid.UUID(b.ID).String(), Target: target,
		Effect: decision.LockDeny, Until: b.At.Add(lockTime)}
	_, set := respond.Set(ctx, store, l, b)
	stopped.From = o.since() // it was durable before
	pause(ctx, time.Duration(500+o.random.IntN(1500))*time.Millisecond)
	stopped.To = o.since()
	if set == nil {
		o.locks++
		if err := o.journal.write(line{Lock: stopped}); err != nil {
			return err
		}
	}
	if b, err = by(); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if _, err := respond.Lift(ctx, store, l.ID, b); err == nil || set != nil {
			return nil
		}
		pause(ctx, 200*time.Millisecond)
		if b, err = by(); err != nil {
			return err
		}
		if c, err := respond.Newest(ctx, store); err == nil && len(c.Control.Locks) == 0 {
			return nil // lifted, although there was no answer
		}
	}
	return nil
}

// keep keeps the newest checkpoint, once what it rests on is where every commit is:
// a primary shows what it read from its own log after a crash before its standby has
// it.
func (o *operator) keep(ctx context.Context, store *postgres.Store) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	head, err := store.Checkpoint(ctx)
	if err != nil || head.Size == 0 {
		return
	}
	conn, err := pgx.Connect(ctx, o.site.dsn("postgres"))
	if err != nil {
		return
	}
	defer conn.Close(ctx)
	var standing int
	if conn.QueryRow(ctx, "SELECT count(*) FROM checkpoint WHERE size = $1", head.Size).Scan(&standing) != nil || standing != 1 {
		return
	}
	if _, err := conn.Exec(ctx, "SELECT pg_logical_emit_message(true, 'chaos', '')"); err == nil {
		o.kept = append(o.kept, head.Note)
	}
}
