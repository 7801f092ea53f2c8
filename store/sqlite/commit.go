package sqlite

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/lane"
)

// Many keys go into one statement as a JSON array: that is several times cheaper
// than running a statement per key.
const (
	sizeSQL = `SELECT coalesce(max(size), 0) FROM checkpoint`

	priorsSQL = `SELECT r.tenant, r.kind, r.key, r.id, r.digest, r.body, l.idx
		FROM json_each(?) AS w
		CROSS JOIN record AS r ON r.tenant = w.value ->> 0 AND r.kind = w.value ->> 1 AND r.key = w.value ->> 2
		LEFT JOIN leaf AS l ON l.tenant = r.tenant AND l.id = r.id`

	countersSQL = `SELECT b.tenant, b.budget, b.subject, b.window_start, b.used
		FROM json_each(?) AS w
		CROSS JOIN budget_use AS b ON b.tenant = w.value ->> 0 AND b.budget = w.value ->> 1
			AND b.subject = w.value ->> 2 AND b.window_start = w.value ->> 3`

	ticketsSQL = `SELECT t.tenant, t.id, t.version, t.state, t.record, t.uses, t.max_uses
		FROM json_each(?) AS w CROSS JOIN ticket AS t ON t.tenant = w.value ->> 0 AND t.id = w.value ->> 1`

	insertRecordSQL = `INSERT INTO record (tenant, id, kind, key, digest, at, caller, principal, session, purpose,
			phase, server, tool, outcome, ticket, bundle, body, leaf)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

	insertPendingSQL = `INSERT INTO pending (at, id, tenant)
		SELECT value ->> 0, unhex(value ->> 1), value ->> 2 FROM json_each(?)`

	// The planner's value is the one after the guard, and the file is locked.
	upsertCountersSQL = `INSERT INTO budget_use (tenant, budget, subject, window_start, used)
		SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(?) WHERE true
		ON CONFLICT (tenant, budget, subject, window_start) DO UPDATE SET used = excluded.used`

	insertTicketSQL = `INSERT INTO ticket (version, state, record, max_uses, uses, tenant, id) VALUES (?, ?, ?, ?, ?, ?, ?)`

	updateTicketSQL = `UPDATE ticket SET version = ?1, state = ?2, record = ?3, uses = ?5
		WHERE tenant = ?6 AND id = ?7 AND version <= ?1 AND uses <= ?5 AND max_uses = ?4`

	insertRolloutsSQL = `INSERT INTO rollout (version, record)
		SELECT value ->> 0, unhex(value ->> 1) FROM json_each(?)`
	insertLocksSQL = `INSERT INTO lock_version (version, record)
		SELECT value ->> 0, unhex(value ->> 1) FROM json_each(?)`

	insertLapsesSQL = `INSERT INTO lapse (tenant, decision, at)
		SELECT value ->> 0, unhex(value ->> 1), value ->> 2 FROM json_each(?)`
	deleteLapsesSQL = `DELETE FROM lapse WHERE (tenant, decision) IN (SELECT value ->> 0, unhex(value ->> 1) FROM json_each(?))`

	insertUsesSQL = `INSERT INTO ticket_use (tenant, ticket, record)
		SELECT value ->> 0, value ->> 1, unhex(value ->> 2) FROM json_each(?)`
)

var hotStatements = []string{
	"BEGIN IMMEDIATE", "COMMIT", "ROLLBACK", sizeSQL, priorsSQL, tokensSQL, horizonSQL, newestLocksSQL, countersSQL, ticketsSQL,
	insertRecordSQL, insertPendingSQL, upsertCountersSQL, insertTicketSQL, updateTicketSQL, insertUsesSQL,
}

// windowUnit turns the seconds of a budget's window into microseconds.
const windowUnit = 1_000_000

// Commit makes an entry durable: the record and its effects, or neither. The
// error is audit.ErrStale or audit.ErrReused (nothing was written), audit.ErrFull
// or lane.ErrClosed (likewise), or another, after which the outcome is unknown:
// also when ctx ends first, for that ends the caller's wait alone. A retry with
// the same key and digest tells.
func (s *Store) Commit(ctx context.Context, e audit.Entry) (audit.Receipt, error) {
	if s.lane == nil {
		return audit.Receipt{}, fmt.Errorf("committing: %w", errReadOnly)
	}
	return s.lane.Commit(ctx, e)
}

// CommitAll commits entries in their order, as Commit does each, and returns when
// the outcome of the last is known.
func (s *Store) CommitAll(entries []audit.Entry) []lane.Outcome {
	if s.lane != nil {
		return s.lane.CommitAll(entries)
	}
	outcomes := make([]lane.Outcome, len(entries))
	for i := range outcomes {
		outcomes[i].Err = fmt.Errorf("committing: %w", errReadOnly)
	}
	return outcomes
}

// commit plans a batch on the state that the file holds, and writes it.
func (t tx) commit(entries []audit.Entry) ([]lane.Outcome, lane.Writes, error) {
	state, err := t.state(lane.NeedsOf(entries))
	if err != nil {
		return nil, lane.Writes{}, fmt.Errorf("reading what the batch depends on: %w", err)
	}
	outcomes, writes := lane.Plan(state, entries)
	if writes.Empty() {
		return outcomes, writes, nil
	}
	if err := t.write(&writes); err != nil {
		return nil, writes, fmt.Errorf("writing the batch: %w", err)
	}
	return outcomes, writes, nil
}

// many is a list of keys as a JSON array; nil: there are none.
func many[T any](keys []T, item func(T) any) []byte {
	if len(keys) == 0 {
		return nil
	}
	items := make([]any, len(keys))
	for i, k := range keys {
		items[i] = item(k)
	}
	text, err := json.Marshal(items)
	if err != nil {
		panic(err) // strings and numbers: cannot happen
	}
	return text
}

func counterItem(k lane.CounterKey) []any {
	return []any{k.Tenant, k.Budget, k.Subject, k.Start * windowUnit}
}

func (t tx) state(n lane.Needs) (*lane.State, error) {
	s := lane.NewState()
	err := t.each(func(scan func(...any) error) error { return scan(&s.Size) }, sizeSQL)
	if err != nil {
		return nil, err
	}
	if err := t.priors(s, n.Records); err != nil {
		return nil, err
	}
	if keys := many(n.Tokens, func(k [32]byte) any { return hex.EncodeToString(k[:]) }); keys != nil {
		err := t.each(func(scan func(...any) error) error {
			var raw []byte
			if err := scan(&raw); err != nil {
				return err
			}
			token, err := digest(raw)
			s.Tokens[token] = true
			return err
		}, tokensSQL, string(keys))
		if err == nil {
			err = t.each(func(scan func(...any) error) error { return scan(&s.Horizon) }, horizonSQL)
		}
		if err != nil {
			return nil, err
		}
	}
	if keys := many(n.Counters, func(k lane.CounterKey) any { return counterItem(k) }); keys != nil {
		err := t.each(func(scan func(...any) error) error {
			u, err := scanUse(scan)
			s.Used[lane.CounterKey{Tenant: u.Tenant, BudgetKey: u.Key}] = u.Used
			return err
		}, countersSQL, string(keys))
		if err != nil {
			return nil, err
		}
	}
	if n.Rollout {
		if err := t.each(func(scan func(...any) error) error { return scan(&s.Rollout) }, newestRolloutSQL); err != nil {
			return nil, err
		}
	}
	if n.Locks {
		if err := t.each(func(scan func(...any) error) error { return scan(&s.Locks) }, newestLocksSQL); err != nil {
			return nil, err
		}
	}
	return s, t.tickets(s, n.Tickets)
}

func (t tx) priors(s *lane.State, wanted []lane.RecordKey) error {
	keys := many(wanted, func(k lane.RecordKey) any { return []any{k.Tenant, int64(k.Kind), k.Key} })
	return t.each(func(scan func(...any) error) error {
		var key lane.RecordKey
		var rawID, rawDigest []byte
		var index *int64
		prior := lane.Prior{Size: s.Size}
		err := scan(&key.Tenant, &key.Kind, &key.Key, &rawID, &rawDigest, &prior.Body, &index)
		if err != nil {
			return err
		}
		if index != nil {
			prior.Size = *index
		}
		if prior.ID, err = id(rawID); err != nil {
			return err
		}
		prior.Digest, err = digest(rawDigest)
		s.Records[key] = prior
		return err
	}, priorsSQL, string(keys))
}

func (t tx) tickets(s *lane.State, wanted []lane.TicketKey) error {
	keys := many(wanted, func(k lane.TicketKey) any { return []any{k.Tenant, k.ID} })
	if keys == nil {
		return nil
	}
	return t.each(func(scan func(...any) error) error {
		var key lane.TicketKey
		var state lane.TicketState
		var raw []byte
		err := scan(&key.Tenant, &key.ID, &state.Version, &state.State, &raw, &state.Uses, &state.MaxUses)
		if err == nil {
			state.Record, err = id(raw)
		}
		s.Tickets[key] = state
		return err
	}, ticketsSQL, string(keys))
}

func (t tx) write(w *lane.Writes) error {
	for i := range w.Rows {
		r := &w.Rows[i]
		err := t.exec(insertRecordSQL, r.Tenant, r.ID[:], int64(r.Kind), r.Key, r.Digest[:], r.At.UnixMicro(),
			r.Caller, r.Principal, r.Session, r.Purpose, int64(r.Phase), r.Server, r.Tool, int64(r.Outcome),
			r.Ticket, r.Bundle, r.Body, r.Leaf[:])
		if err != nil {
			return fmt.Errorf("inserting a record: %w", err)
		}
	}
	for _, step := range []struct {
		text string
		keys []byte
	}{
		{insertPendingSQL, many(w.Rows, pendingItem)},
		{upsertCountersSQL, many(w.Counters, func(c lane.Counter) any { return append(counterItem(c.Key), c.Used) })},
		{insertUsesSQL, many(w.Redemptions, func(r audit.Redemption) any {
			return []any{r.Tenant, r.Ticket, hex.EncodeToString(r.Record[:])}
		})},
		{insertRolloutsSQL, many(w.Rollouts, versionItem)},
		{insertLocksSQL, many(w.Locks, versionItem)},
		{insertLapsesSQL, many(w.Lapses, lapseItem)},
		{deleteLapsesSQL, many(w.Settled, lapseItem)},
		{deleteVaultSQL, many(w.Forgotten, vaultItem)},
		{insertVaultSQL, many(w.Vaulted, vaultItem)},
	} {
		if step.keys == nil {
			continue
		}
		if err := t.exec(step.text, string(step.keys)); err != nil {
			return fmt.Errorf("writing effects: %w", err)
		}
	}
	if err := t.useTokens(w.Tokens); err != nil {
		return fmt.Errorf("using up tokens: %w", err)
	}
	for text, tickets := range map[string][]lane.Ticket{insertTicketSQL: w.Made, updateTicketSQL: w.Tickets} {
		for _, k := range tickets {
			n, err := t.changed(text, k.Version, int64(k.State), k.Record[:], k.MaxUses, k.Uses, k.Key.Tenant, k.Key.ID)
			if err != nil {
				return fmt.Errorf("changing a ticket: %w", err)
			}
			if n != 1 {
				return errors.New("changing a ticket: it is not as it was read")
			}
		}
	}
	return nil
}

func versionItem(r audit.VersionRow) any { return []any{r.Version, hex.EncodeToString(r.Record[:])} }

func lapseItem(l audit.Lapse) any {
	return []any{l.Tenant, hex.EncodeToString(l.Decision[:]), l.At.UnixMicro()}
}

func pendingItem(r audit.Row) any {
	return []any{r.At.UnixMicro(), hex.EncodeToString(r.ID[:]), r.Tenant}
}

// scanUse reads tenant, budget, subject, window_start and used.
func scanUse(scan func(...any) error) (audit.Use, error) {
	var u audit.Use
	var start int64
	err := scan(&u.Tenant, &u.Key.Budget, &u.Key.Subject, &start, &u.Used)
	if err == nil && start%windowUnit != 0 {
		err = &audit.Problem{What: "use", Index: -1, Last: -1, Tenant: u.Tenant,
			Detail: fmt.Sprintf("budget %q, subject %q: its window does not start at a whole second", u.Key.Budget, u.Key.Subject)}
	}
	u.Key = decision.BudgetKey{Budget: u.Key.Budget, Subject: u.Key.Subject, Start: start / windowUnit}
	return u, err
}
