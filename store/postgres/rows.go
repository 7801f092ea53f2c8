package postgres

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/lane"
)

// recordColumns are those of a record r, as rowScan reads them.
const recordColumns = `r.tenant, r.id, r.kind, r.key, r.digest, r.at, r.caller, r.principal, r.session, r.purpose,
	r.phase, r.server, r.tool, r.outcome, r.ticket, r.bundle, r.body, r.leaf`

// ticketColumns are those of a ticket t and of the record k that made its newest
// version, as ticketScan reads them; ticketJoin finds that record.
var ticketColumns = `t.id, t.version, t.uses, ` + strings.ReplaceAll(recordColumns, "r.", "k.")

const ticketJoin = ` LEFT JOIN record AS k ON k.tenant = t.tenant AND k.id = t.record `

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
	id            *string
	version, uses *int64
	record        rowScan
}

func (s *ticketScan) targets() []any {
	return append([]any{&s.id, &s.version, &s.uses}, s.record.targets()...)
}

// stored is the ticket with its record; ok is false where none was joined, or one
// that is older than the records of tickets.
func (s *ticketScan) stored() (t audit.TicketRecord, ok bool, err error) {
	if s.id == nil || or(s.version) == 0 {
		return t, false, nil
	}
	t.Uses = or(s.uses)
	t.Row, ok, err = s.record.row()
	if err == nil && !ok {
		err = fmt.Errorf("the record of ticket %q is gone", *s.id)
	}
	return t, ok, err
}

// ticket is nil where none was joined.
func (s *ticketScan) ticket() (*decision.Ticket, error) {
	stored, ok, err := s.stored()
	if err != nil || !ok {
		return nil, err
	}
	t, err := audit.TicketOf(&stored, *s.id)
	if err == nil && t.Version != *s.version {
		err = fmt.Errorf("ticket %q is stored in version %d, and its record makes %d", t.ID, *s.version, t.Version)
	}
	return &t, err
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
