package lane

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

const (
	// maxEffects is the most effects of one entry, as in a record.
	maxEffects = 256
	// maxSubject keeps a counter's key below what PostgreSQL can index.
	maxSubject = 2048
)

// years that every engine can hold to the microsecond.
var (
	earliest = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
)

// Check refuses an entry that some engine could not store exactly, so that it
// never meets a transaction that it would take its neighbours down with. The
// error names the field and never its value.
func Check(e *audit.Entry) error {
	for _, f := range []struct {
		name, value string
		least, most int
	}{
		{"tenant", e.Tenant, 1, 128}, {"key", e.Key, 1, 128}, {"caller", e.Caller, 0, 4096},
		{"principal", e.Principal, 0, 4096}, {"session", e.Session, 0, 128}, {"purpose", e.Purpose, 0, 128},
		{"server", e.Server, 0, 128}, {"tool", e.Tool, 0, 128}, {"ticket", e.Ticket, 0, 128}, {"bundle", e.Bundle, 0, 128},
	} {
		if err := checkText(f.name, f.value, f.least, f.most); err != nil {
			return err
		}
	}
	switch {
	case e.Kind < 1 || e.Kind > 127:
		return fmt.Errorf("kind %d is out of range", e.Kind)
	case len(e.Body) == 0 || len(e.Body) > audit.MaxBody:
		return fmt.Errorf("body is not 1 to %d bytes", audit.MaxBody)
	case len(e.Effects) > maxEffects:
		return fmt.Errorf("more than %d effects", maxEffects)
	}
	if err := checkTime("at", e.At); err != nil {
		return err
	}
	return checkEffects(e.Effects, e.At)
}

func checkEffects(effects []decision.Effect, at time.Time) error {
	for i, effect := range effects {
		switch f := effect.(type) {
		case decision.Counting:
			for _, key := range append(f.Beside(), f.Counter()) {
				if err := CheckCounter(key); err != nil {
					return err
				}
			}
			if c, ok := f.(decision.Charge); ok && !c.Lapses.IsZero() {
				if err := checkTime("lapse", c.Lapses); err != nil {
					return err
				}
			}
		case decision.Redeem:
			if err := errors.Join(checkText("redeemed ticket", f.Ticket, 1, 128), checkText("its tenant", f.Tenant, 0, 128)); err != nil {
				return err
			}
			if slices.ContainsFunc(effects[:i], func(before decision.Effect) bool {
				r, ok := before.(decision.Redeem)
				return ok && r.Ticket == f.Ticket
			}) {
				return fmt.Errorf("a ticket is redeemed twice")
			}
		case decision.Consume:
			if err := checkExpiry(f.Expires, at); err != nil {
				return err
			}
			if slices.ContainsFunc(effects[:i], func(before decision.Effect) bool { c, ok := before.(decision.Consume); return ok && c.Token == f.Token }) {
				return fmt.Errorf("a token is consumed twice")
			}
		case decision.Ticket:
			// Beside it there are the tokens that proved whoever changes it.
			if i > 0 {
				return fmt.Errorf("a ticket is changed, and something before it")
			}
			if err := checkTicket(&f); err != nil {
				return err
			}
		case decision.Vault:
			if err := checkVault(&f); err != nil {
				return err
			}
		case decision.Forget:
			if err := checkText("token", f.Token, 1, 64); err != nil {
				return err
			}
		case decision.Rollout:
			if f.Version < 1 || len(effects) > 1 {
				return fmt.Errorf("the version of the rollout is not positive, or something else is changed too")
			}
		case decision.Control:
			if f.Version < 1 || i > 0 || slices.ContainsFunc(effects[1:], other) {
				return fmt.Errorf("the version of the control state is not positive, or something else than a ticket is changed too")
			}
		default:
			// Not applying what a decision rests on must never look like success.
			return fmt.Errorf("an effect of the unknown type %T", effect)
		}
	}
	return nil
}

// other is an effect that no change of the control state comes with.
func other(effect decision.Effect) bool {
	_, redeems := effect.(decision.Redeem)
	return !redeems
}

// CheckCounter refuses the name of a counter that cannot be stored.
func CheckCounter(k decision.BudgetKey) error {
	if err := checkText("budget", k.Budget, 1, 128); err != nil {
		return err
	}
	if err := checkText("budget subject", k.Subject, 0, maxSubject); err != nil {
		return err
	}
	if k.Start < earliest.Unix() || k.Start > latest.Unix() {
		return fmt.Errorf("budget window is not within the years 1 to 9999")
	}
	return nil
}

// checkTicket refuses what cannot be stored of a ticket beside its record.
func checkTicket(t *decision.Ticket) error {
	if err := checkText("ticket", t.ID, 1, 128); err != nil {
		return err
	}
	switch {
	case t.Version < 1:
		return fmt.Errorf("the version of the ticket is not positive")
	case t.State < decision.TicketRequested || t.State > decision.TicketRevoked:
		return fmt.Errorf("the ticket is in a state that is not stored")
	case t.MaxUses < 1:
		return fmt.Errorf("the ticket has no uses")
	}
	return nil
}

// checkText refuses NUL too, which a text column of PostgreSQL cannot hold.
func checkText(name, value string, least, most int) error {
	switch {
	case len(value) < least || len(value) > most:
		return fmt.Errorf("%s is not %d to %d bytes", name, least, most)
	case !utf8.ValidString(value) || strings.IndexByte(value, 0) >= 0:
		return fmt.Errorf("%s is not UTF-8 without NUL", name)
	}
	return nil
}

func checkTime(name string, t time.Time) error {
	if t.Before(earliest) || t.After(latest) {
		return fmt.Errorf("%s is not within the years 1 to 9999", name)
	}
	return nil
}

// checkExpiry refuses a token that a store would have to remember for longer than
// it does.
func checkExpiry(expires, at time.Time) error {
	if err := checkTime("token expiry", expires); err != nil {
		return err
	}
	if expires.Unix() < 0 || expires.Sub(at) > MaxTokenLife {
		return fmt.Errorf("the token expires more than %s after the record, or before 1970", MaxTokenLife)
	}
	return nil
}

// Unreadable is a column of a record that somebody has changed to what no row
// can hold. It names the record, so that verification can.
func Unreadable(row *audit.Row, column, detail string) error {
	return &audit.Problem{What: column, Index: -1, Last: -1, Tenant: row.Tenant, Record: row.ID, Detail: detail}
}

// CheckSlot refuses a used token that somebody has moved to where it is forgotten
// too soon.
func CheckSlot(u *audit.UsedToken, slot int) error {
	if u.Expires.Unix() >= 0 && SlotOf(u.Expires) == slot {
		return nil
	}
	return &audit.Problem{What: "used token", Index: -1, Last: -1, Tenant: u.Tenant, Record: u.Record,
		Detail: fmt.Sprintf("it is kept in slot %d, which is not that of its expiry", slot)}
}

// UnreadableArchive is an archive's name that somebody has changed to what is no
// SHA-256.
func UnreadableArchive(digest []byte) error {
	return &audit.Problem{What: "archive", Index: -1, Last: -1, Detail: fmt.Sprintf("%.64x is no SHA-256 of an archive", digest)}
}

// TicketColumns are a ticket's state and record as they are stored.
func TicketColumns(state int64, record []byte) (decision.TicketState, [16]byte, error) {
	switch {
	case state < 0 || state > int64(decision.TicketRevoked):
		return 0, [16]byte{}, fmt.Errorf("its state %d is none that is stored", state)
	case len(record) != 16:
		return 0, [16]byte{}, fmt.Errorf("its record has %d bytes in the place of 16", len(record))
	}
	return decision.TicketState(state), [16]byte(record), nil
}

// UnreadableTicket is a ticket that somebody has changed to what no row can hold.
func UnreadableTicket(t *audit.TicketRow, err error) error {
	return &audit.Problem{What: "ticket", Index: -1, Last: -1, Tenant: t.Tenant, Detail: fmt.Sprintf("ticket %q: %v", t.Ticket, err)}
}
