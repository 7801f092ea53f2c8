package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/gofrs/uuid/v5"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/lane"
)

const (
	usedSQL = `(SELECT json_group_array(coalesce(b.used, 0) ORDER BY w.key) FROM json_each(?5) AS w
		LEFT JOIN budget_use AS b ON b.tenant = ?2 AND b.budget = w.value ->> 0
			AND b.subject = w.value ->> 1 AND b.window_start = w.value ->> 2)`
)

// One statement is one consistent read.
var (
	snapshotSQL = `SELECT ` + tokenUsedSQL + `, ` + usedSQL + `, ` + ticketColumns + `
		FROM (SELECT 1) LEFT JOIN ticket AS t ON t.tenant = ?2 AND t.id = ?6` + ticketJoin

	// For a result, the ticket is the one that its call names.
	recallSQL = `SELECT ` + tokenUsedSQL + `, ` + usedSQL + `, ` + ticketColumns + `, ` + recordColumns + `
		FROM (SELECT 1) LEFT JOIN record AS r ON r.tenant = ?2 AND r.id = ?6
		LEFT JOIN ticket AS t ON t.tenant = ?2 AND t.id = r.ticket` + ticketJoin
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
	var used []byte
	var ticket ticketScan
	var call rowScan
	targets := append([]any{&facts.TokenUsed, &used}, ticket.targets()...)
	args := []any{w.Token[:], w.Tenant, int64(audit.Decision), uuid.UUID(w.RequestID).String(), counterKeys(w.Budgets), w.Ticket, lane.WantedHour(w), lane.WantedProof(w)}
	stmt, recalled := s.snapshot, w.CallID != [16]byte{}
	if recalled {
		stmt, targets, args[5] = s.recall, append(targets, call.targets()...), w.CallID[:]
	}
	err := stmt.QueryRowContext(ctx, args...).Scan(targets...)
	if err != nil {
		return decision.Facts{}, err
	}
	if facts.Ticket, err = ticket.ticket(); err != nil {
		return decision.Facts{}, err
	}
	if facts.Used, err = counters(w.Budgets, used); err != nil {
		return decision.Facts{}, err
	}
	if recalled {
		err = recall(&facts, &call)
	}
	return facts, err
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

func counterKeys(keys []decision.BudgetKey) string {
	text := many(keys, func(k decision.BudgetKey) any { return []any{k.Budget, k.Subject, k.Start * windowUnit} })
	if text == nil {
		return "[]"
	}
	return string(text)
}

func counters(keys []decision.BudgetKey, text []byte) (map[decision.BudgetKey]int64, error) {
	var values []int64
	if err := json.Unmarshal(text, &values); err != nil || len(values) != len(keys) {
		return nil, errors.New("the counters are malformed")
	}
	used := make(map[decision.BudgetKey]int64, len(keys))
	for i, k := range keys {
		used[k] = values[i]
	}
	return used, nil
}

// Record is a record of a tenant by its id, or audit.ErrNotFound.
func (s *Store) Record(ctx context.Context, tenant string, id [16]byte) (audit.Row, error) {
	row, err := s.one(ctx, `SELECT `+recordColumns+` FROM record AS r WHERE r.tenant = ? AND r.id = ?`, tenant, id[:])
	if err != nil {
		return audit.Row{}, fmt.Errorf("reading a record: %w", err)
	}
	return row, nil
}

// Settlement is the record of a decision's settlement, or audit.ErrNotFound.
func (s *Store) Settlement(ctx context.Context, tenant string, decision string) (audit.Row, error) {
	row, err := s.one(ctx, `SELECT `+recordColumns+` FROM record AS r WHERE r.tenant = ? AND r.kind = ? AND r.key = ?`,
		tenant, int64(audit.Settlement), decision)
	if err != nil {
		return audit.Row{}, fmt.Errorf("reading a settlement: %w", err)
	}
	return row, nil
}

func (s *Store) one(ctx context.Context, text string, args ...any) (audit.Row, error) {
	row, err := scanRow(s.read.QueryRowContext(ctx, text, args...).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return audit.Row{}, audit.ErrNotFound
	}
	return row, err
}
