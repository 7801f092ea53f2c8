package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

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
	tenant, key, caller, principal, session, purpose sql.Null[string]
	server, tool, ticket, bundle                     sql.Null[string]
	kind, at, phase, outcome                         sql.Null[int64]
	id, digest, body, leaf                           []byte
}

func (s *rowScan) targets() []any {
	return []any{
		&s.tenant, &s.id, &s.kind, &s.key, &s.digest, &s.at, &s.caller, &s.principal, &s.session, &s.purpose,
		&s.phase, &s.server, &s.tool, &s.outcome, &s.ticket, &s.bundle, &s.body, &s.leaf,
	}
}

// row is the record; ok is false where none was joined.
func (s *rowScan) row() (row audit.Row, ok bool, err error) {
	if !s.tenant.Valid {
		return audit.Row{}, false, nil
	}
	row = audit.Row{
		Tenant: s.tenant.V, Kind: audit.Kind(s.kind.V), Key: s.key.V, At: moment(s.at.V),
		Caller: s.caller.V, Principal: s.principal.V, Session: s.session.V, Purpose: s.purpose.V,
		Phase: decision.Phase(s.phase.V), Server: s.server.V, Tool: s.tool.V,
		Outcome: decision.Outcome(s.outcome.V), Ticket: s.ticket.V, Bundle: s.bundle.V, Body: s.body,
	}
	if row.ID, err = id(s.id); err != nil {
		return audit.Row{}, false, err
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
		value int64
	}{{"kind", s.kind.V}, {"phase", s.phase.V}, {"outcome", s.outcome.V}} {
		if column.value < 0 || column.value > math.MaxUint8 {
			return lane.Unreadable(row, column.name, fmt.Sprintf("%d is out of range", column.value))
		}
	}
	return nil
}

// scanRow reads a record's columns, which are there.
func scanRow(scan func(...any) error) (audit.Row, error) {
	var s rowScan
	if err := scan(s.targets()...); err != nil {
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
	id            sql.Null[string]
	version, uses sql.Null[int64]
	record        rowScan
}

func (s *ticketScan) targets() []any {
	return append([]any{&s.id, &s.version, &s.uses}, s.record.targets()...)
}

// stored is the ticket with its record; ok is false where none was joined, or one
// that is older than the records of tickets.
func (s *ticketScan) stored() (t audit.TicketRecord, ok bool, err error) {
	if !s.id.Valid || s.version.V == 0 {
		return t, false, nil
	}
	t.Uses = s.uses.V
	t.Row, ok, err = s.record.row()
	if err == nil && !ok {
		err = fmt.Errorf("the record of ticket %q is gone", s.id.V)
	}
	return t, ok, err
}

// ticket is nil where none was joined.
func (s *ticketScan) ticket() (*decision.Ticket, error) {
	stored, ok, err := s.stored()
	if err != nil || !ok {
		return nil, err
	}
	t, err := audit.TicketOf(&stored, s.id.V)
	if err == nil && t.Version != s.version.V {
		err = fmt.Errorf("ticket %q is stored in version %d, and its record makes %d", t.ID, s.version.V, t.Version)
	}
	return &t, err
}

func moment(micros int64) time.Time { return time.UnixMicro(micros).UTC() }

// The schema bounds lengths too, but a file can be edited without it.

func id(b []byte) ([16]byte, error) {
	if len(b) != 16 {
		return [16]byte{}, fmt.Errorf("an id has %d bytes in the place of 16", len(b))
	}
	return [16]byte(b), nil
}

func digest(b []byte) ([32]byte, error) {
	if len(b) != 32 {
		return [32]byte{}, fmt.Errorf("a digest has %d bytes in the place of 32", len(b))
	}
	return [32]byte(b), nil
}
