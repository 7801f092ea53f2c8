package postgres

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/lane"
)

// recordColumns are those of a record r, as rowScan reads them.
const recordColumns = `r.tenant, r.id, r.kind, r.key, r.digest, r.at, r.caller, r.principal, r.session, r.purpose,
	r.phase, r.server, r.tool, r.outcome, r.ticket, r.bundle, r.body, r.leaf`

// ticketColumns are those of a ticket t, as ticketScan reads them.
const ticketColumns = `t.id, t.principal, t.server, t.tool, t.tool_digest, t.arguments_digest, t.not_before, t.not_after,
	t.max_uses, t.uses, t.approvers, t.revoked`

// rowScan reads a record's columns; all are NULL where no record was joined.
type rowScan struct {
	tenant, key, caller, principal, session, purpose *string
	server, tool, ticket, bundle                     *string
	id                                               *[16]byte
	kind, phase, outcome                             *int16
	at                                               *time.Time
	digest, body, leaf                               []byte
}

func (s *rowScan) targets() []any {
	return []any{
		&s.tenant, &s.id, &s.kind, &s.key, &s.digest, &s.at, &s.caller, &s.principal, &s.session, &s.purpose,
		&s.phase, &s.server, &s.tool, &s.outcome, &s.ticket, &s.bundle, &s.body, &s.leaf,
	}
}

// or is what a pointer points to, or the zero value: the schema has no NULL, but
// somebody can change it.
func or[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// row is the record; ok is false where none was joined.
func (s *rowScan) row() (row audit.Row, ok bool, err error) {
	if s.tenant == nil {
		return audit.Row{}, false, nil
	}
	row = audit.Row{
		Tenant: *s.tenant, ID: or(s.id), Kind: audit.Kind(or(s.kind)), Key: or(s.key), At: or(s.at).UTC(),
		Caller: or(s.caller), Principal: or(s.principal), Session: or(s.session), Purpose: or(s.purpose),
		Phase: decision.Phase(or(s.phase)), Server: or(s.server), Tool: or(s.tool),
		Outcome: decision.Outcome(or(s.outcome)), Ticket: or(s.ticket), Bundle: or(s.bundle), Body: s.body,
	}
	if err := s.narrow(&row); err != nil {
		return audit.Row{}, false, err
	}
	if row.Digest, err = digest(s.digest); err != nil {
		return audit.Row{}, false, lane.Unreadable(&row, "digest", err.Error())
	}
	if row.Leaf, err = digest(s.leaf); err != nil {
		return audit.Row{}, false, lane.Unreadable(&row, "leaf", err.Error())
	}
	return row, true, nil
}

// narrow refuses a number that a row's field would cut down to another: a record
// of the kind 257 must not be read as one of the kind 1.
func (s *rowScan) narrow(row *audit.Row) error {
	for _, column := range []struct {
		name  string
		value int16
	}{{"kind", or(s.kind)}, {"phase", or(s.phase)}, {"outcome", or(s.outcome)}} {
		if column.value < 0 || column.value > math.MaxUint8 {
			return lane.Unreadable(row, column.name, fmt.Sprintf("%d is out of range", column.value))
		}
	}
	return nil
}

// beside is the record, or what another table says of one that is gone.
func (s *rowScan) beside(tenant string, id [16]byte) (audit.Row, error) {
	row, ok, err := s.row()
	if err == nil && !ok {
		row.Tenant, row.ID = tenant, id
	}
	return row, err
}

// scanRow reads a record's columns, which are there.
func scanRow(from pgx.Row) (audit.Row, error) {
	var s rowScan
	if err := from.Scan(s.targets()...); err != nil {
		return audit.Row{}, err
	}
	row, ok, err := s.row()
	if err == nil && !ok {
		err = errors.New("a record has no tenant")
	}
	return row, err
}

// ticketScan reads a ticket's columns; all are NULL where none was joined.
type ticketScan struct {
	id, principal, server, tool, toolDigest, argumentsDigest *string
	notBefore, notAfter                                      *time.Time
	maxUses, uses                                            *int64
	approvers                                                []string
	revoked                                                  *bool
}

func (s *ticketScan) targets() []any {
	return []any{
		&s.id, &s.principal, &s.server, &s.tool, &s.toolDigest, &s.argumentsDigest, &s.notBefore, &s.notAfter,
		&s.maxUses, &s.uses, &s.approvers, &s.revoked,
	}
}

// ticket is nil where none was joined.
func (s *ticketScan) ticket() *decision.Ticket {
	if s.id == nil {
		return nil
	}
	t := &decision.Ticket{
		ID: *s.id, Principal: or(s.principal), Tool: decision.ToolName{Server: or(s.server), Name: or(s.tool)},
		ToolDigest: or(s.toolDigest), ArgumentsDigest: or(s.argumentsDigest),
		NotBefore: or(s.notBefore).UTC(), NotAfter: or(s.notAfter).UTC(),
		MaxUses: or(s.maxUses), Uses: or(s.uses), Revoked: or(s.revoked), Approvers: s.approvers,
	}
	if len(t.Approvers) == 0 {
		t.Approvers = nil
	}
	return t
}

// scanUse reads tenant, budget, subject, window_start and used, and what comes
// after them.
func scanUse(from pgx.Row, after ...any) (audit.Use, error) {
	var u audit.Use
	var start time.Time
	err := from.Scan(append([]any{&u.Tenant, &u.Key.Budget, &u.Key.Subject, &start, &u.Used}, after...)...)
	if err == nil && start.Nanosecond() != 0 {
		err = &audit.Problem{What: "use", Index: -1, Last: -1, Tenant: u.Tenant,
			Detail: fmt.Sprintf("budget %q, subject %q: its window does not start at a whole second", u.Key.Budget, u.Key.Subject)}
	}
	u.Key.Start = start.Unix()
	return u, err
}
