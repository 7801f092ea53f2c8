package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gofrs/uuid/v5"
	"github.com/jackc/pgx/v5"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/lane"
)

const (
	// A token that a record used stays used, unless the record is that of this
	// very request; a record that is gone does not free it, and what may have been
	// forgotten counts as used.
	tokenUsedSQL = `EXISTS (SELECT 1 FROM token_horizon AS h WHERE h.hour > $9)
			OR EXISTS (SELECT 1 FROM used_token AS u WHERE u.token IN ($1, $10) AND NOT EXISTS (
			SELECT 1 FROM record AS o
			WHERE o.tenant = u.tenant AND o.id = u.record AND o.tenant = $2 AND o.kind = $3 AND o.key = $4))`

	// What this process has leased and not spent is free for its decisions.
	usedSQL = `ARRAY(SELECT coalesce((SELECT greatest(0, b.used - coalesce((SELECT l.unspent FROM lease AS l WHERE l.holder = $11
					AND l.tenant = $2 AND l.budget = w.budget AND l.subject = w.subject AND l.window_start = w.window_start), 0))
				FROM budget_use AS b
				WHERE b.tenant = $2 AND b.budget = w.budget AND b.subject = w.subject AND b.window_start = w.window_start), 0)
			FROM unnest($5::text[], $6::text[], $7::timestamptz[]) WITH ORDINALITY AS w (budget, subject, window_start, n)
			ORDER BY w.n)`
)

var (
	// One statement is one consistent read, and one round trip.
	snapshotSQL = `SELECT ` + tokenUsedSQL + `, ` + usedSQL + `, ` + ticketColumns + `
		FROM (SELECT 1) AS one LEFT JOIN ticket AS t ON t.tenant = $2 AND t.id = $8` + ticketJoin

	// For a result, the ticket is the one that its call names.
	recallSQL = `SELECT ` + tokenUsedSQL + `, ` + usedSQL + `, ` + ticketColumns + `, ` + recordColumns + `
		FROM (SELECT 1) AS one LEFT JOIN record AS r ON r.tenant = $2 AND r.id = $8
		LEFT JOIN ticket AS t ON t.tenant = $2 AND t.id = r.ticket` + ticketJoin
)

// Snapshot reads the facts that a decision needs, as they were at one moment.
// Where the want allows it, they are as they are remembered.
func (s *Store) Snapshot(ctx context.Context, w decision.Want) (decision.Facts, error) {
	if facts, ok := s.memory.Facts(&w); ok {
		return facts, nil
	}
	facts, err := s.facts(ctx, &w)
	if err != nil {
		return decision.Facts{}, fmt.Errorf("reading a snapshot: %w", err)
	}
	s.memory.Read(w.Tenant, facts.Used)
	return facts, nil
}

func (s *Store) facts(ctx context.Context, w *decision.Want) (decision.Facts, error) {
	var facts decision.Facts
	var used []int64
	var ticket ticketScan
	var call rowScan
	targets := append([]any{&facts.TokenUsed, &used}, ticket.targets()...)
	args := []any{
		w.Token[:], w.Tenant, int16(audit.Decision), uuid.UUID(w.RequestID).String(),
		columns(w.Budgets, func(k *decision.BudgetKey) string { return k.Budget }),
		columns(w.Budgets, func(k *decision.BudgetKey) string { return k.Subject }),
		columns(w.Budgets, func(k *decision.BudgetKey) time.Time { return time.Unix(k.Start, 0) }),
		w.Ticket, lane.WantedHour(w), lane.WantedProof(w), uuid.UUID(s.leases.Holder()),
	}
	text, recalled := snapshotSQL, w.CallID != [16]byte{}
	if recalled {
		text, targets, args[7] = recallSQL, append(targets, call.targets()...), w.CallID
	}
	if err := s.read.QueryRow(ctx, text, args...).Scan(targets...); err != nil {
		return decision.Facts{}, err
	}
	if len(used) != len(w.Budgets) {
		return decision.Facts{}, errors.New("the counters are malformed")
	}
	facts.Used = make(map[decision.BudgetKey]int64, len(used))
	for i, k := range w.Budgets {
		facts.Used[k] = used[i]
	}
	var err error
	if facts.Ticket, err = ticket.ticket(); err != nil {
		return decision.Facts{}, err
	}
	if recalled {
		return facts, recall(&facts, &call)
	}
	return facts, nil
}

// recall adds the call that a result belongs to. A record that is no decision on
// a call is as good as none.
func recall(facts *decision.Facts, scan *rowScan) error {
	row, ok, err := scan.row()
	if err != nil {
		return err
	}
	if ok {
		call, err := audit.CallFactsOf(row)
		switch {
		case err == nil:
			facts.Call = &call
		case !errors.Is(err, audit.ErrNotFound):
			return fmt.Errorf("reading the call's record: %w", err)
		}
	}
	if facts.Ticket != nil && (facts.Call == nil || facts.Call.Ticket != facts.Ticket.ID) {
		facts.Ticket = nil // named, but not redeemed
	}
	return nil
}

// Record is a record of a tenant by its id, or audit.ErrNotFound.
func (s *Store) Record(ctx context.Context, tenant string, id [16]byte) (audit.Row, error) {
	row, err := s.one(ctx, `SELECT `+recordColumns+` FROM record AS r WHERE r.tenant = $1 AND r.id = $2`, tenant, id)
	if err != nil {
		return audit.Row{}, fmt.Errorf("reading a record: %w", err)
	}
	return row, nil
}

// Settlement is the record of a decision's settlement, or audit.ErrNotFound.
func (s *Store) Settlement(ctx context.Context, tenant string, decision string) (audit.Row, error) {
	row, err := s.one(ctx, `SELECT `+recordColumns+` FROM record AS r WHERE r.tenant = $1 AND r.kind = $2 AND r.key = $3`,
		tenant, int16(audit.Settlement), decision)
	if err != nil {
		return audit.Row{}, fmt.Errorf("reading a settlement: %w", err)
	}
	return row, nil
}

func (s *Store) one(ctx context.Context, text string, args ...any) (audit.Row, error) {
	row, err := scanRow(s.read.QueryRow(ctx, text, args...))
	if errors.Is(err, pgx.ErrNoRows) {
		return audit.Row{}, audit.ErrNotFound
	}
	return row, err
}
