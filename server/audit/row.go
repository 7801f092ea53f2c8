package audit

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// RowOf derives a row from a record's body, in verifying as in committing. It
// refuses whatever Decided, Settled and Changed cannot have written: unknown and
// repeated fields, another version, malformed ids, digests and times, columns out
// of bounds. The row shares the body's bytes.
func RowOf(body []byte) (Row, error) {
	r, err := decode(body)
	if err != nil {
		return Row{}, err
	}
	return r.Row, nil
}

// EntryOf is the entry that a body was committed with: its row and its effects.
// It shares the body's bytes.
func EntryOf(body []byte) (Entry, error) {
	r, err := decode(body)
	if err != nil {
		return Entry{}, err
	}
	return Entry{Row: r.Row, Effects: r.effects}, nil
}

// record is a body, read.
type record struct {
	Row
	// one of them is not nil
	decision   *writv1.DecisionEvent
	settlement *writv1.SettlementEvent
	change     *writv1.ChangeEvent
	notice     *writv1.NoticeEvent
	lock       *writv1.LockEvent
	exchange   *writv1.ExchangeEvent
	budget     *writv1.BudgetEvent
	ticket     *writv1.TicketEvent
	declassed  *writv1.SessionEvent
	reveal     *writv1.RevealEvent
	effects    []decision.Effect
}

func decode(body []byte) (*record, error) {
	r, err := read(body)
	if err != nil {
		return nil, fmt.Errorf("reading a record: %w", err)
	}
	return r, nil
}

func read(body []byte) (*record, error) {
	if err := strict(body); err != nil {
		return nil, err
	}
	m := &writv1.Record{}
	if err := proto.Unmarshal(body, m); err != nil {
		return nil, err
	}
	r, err := derive(m, body)
	if err != nil {
		return nil, err
	}
	return &r, nil
}

// derive is the one place where columns and effects come from. m is what
// body decodes to.
func derive(m *writv1.Record, body []byte) (r record, err error) {
	if m.Version != version {
		return record{}, fmt.Errorf("version %d is unknown", m.Version)
	}
	r = record{Row: Row{Tenant: m.Tenant, Caller: m.Caller, Body: body, Leaf: tlog.RecordHash(body)}}
	if r.ID, err = identify(m.Id); err != nil {
		return record{}, fmt.Errorf("id %w", err)
	}
	if r.Digest, err = digest("request_digest", m.RequestDigest); err != nil {
		return record{}, err
	}
	if r.At, err = moment("at", m.At); err != nil {
		return record{}, err
	}
	switch event := m.Event.(type) {
	case *writv1.Record_Decision:
		err = r.readDecision(m.Id, event.Decision)
	case *writv1.Record_Settlement:
		err = r.readSettlement(m.Id, event.Settlement)
	case *writv1.Record_Change:
		err = r.readChange(m.Id, event.Change)
	case *writv1.Record_Notice:
		err = r.readNotice(m.Id, event.Notice)
	case *writv1.Record_Lock:
		err = r.readLock(m.Id, event.Lock)
	case *writv1.Record_Exchange:
		err = r.readExchange(event.Exchange)
	case *writv1.Record_Budget:
		err = r.readBudget(event.Budget)
	case *writv1.Record_Ticket:
		err = r.readTicket(event.Ticket)
	case *writv1.Record_Session:
		err = r.readSession(event.Session)
	case *writv1.Record_Reveal:
		err = r.readReveal(m.Id, event.Reveal)
	default:
		err = errors.New("no event")
	}
	if err == nil && (r.Kind == Decision || r.Kind == Settlement || r.Kind == Exchange || r.Kind == Ticket || r.Kind == Declassify || r.Kind == Reveal) && r.Tenant == decision.System {
		err = fmt.Errorf("the tenant %q has no decisions, settlements, exchanges, tickets, sessions and tokens", decision.System)
	}
	if err == nil {
		err = r.bound()
	}
	if err != nil {
		return record{}, err
	}
	return r, nil
}

func (r *record) readDecision(id string, event *writv1.DecisionEvent) (err error) {
	r.decision, r.Kind = event, Decision
	response, principal := event.GetResponse(), event.GetPrincipal()
	switch {
	case response == nil || principal == nil:
		return errors.New("no response or no principal")
	case response.DecisionId != id:
		return errors.New("response.decision_id is not the record's id")
	case response.Effect < writv1.Effect_EFFECT_DENY || response.Effect > writv1.Effect_EFFECT_ROUTE:
		return errors.New("response.effect is unknown")
	case response.Receipt != nil || response.Replayed:
		return errors.New("response is not the first answer")
	case response.Arguments != nil || response.Content != nil:
		return errors.New("response has a document")
	case event.Phase < writv1.Phase_PHASE_LIST || event.Phase > writv1.Phase_PHASE_CONNECT:
		return errors.New("phase is unknown")
	}
	if _, err = identify(response.RequestId); err != nil {
		return fmt.Errorf("request_id %w", err)
	}
	if _, err = digest("token_digest", principal.TokenDigest); err != nil {
		return err
	}
	for _, d := range [][]byte{event.ArgumentsDigest, event.ContentDigest, event.ResourceIdDigest} {
		if len(d) != 0 && len(d) != 32 {
			return errors.New("a digest is not 32 bytes")
		}
	}
	expires, err := moment("token_expires_at", principal.TokenExpiresAt)
	if err != nil {
		return err
	}
	if r.effects, err = effectsOf(event.Effects, r.At, expires); err != nil {
		return err
	}
	r.Key, r.Principal, r.Session, r.Purpose = response.RequestId, principal.Subject, event.SessionId, event.Purpose
	r.Phase, r.Outcome = decision.Phase(event.Phase), decision.Outcome(response.Effect)
	r.Server, r.Tool = event.GetTool().GetServer(), event.GetTool().GetName()
	r.Ticket, r.Bundle = event.TicketId, response.BundleDigest
	if r.Outcome == decision.Denied && len(r.effects)+len(response.Obligations) > 0 {
		return errors.New("a denial has obligations or effects")
	}
	if len(response.Obligations) > maxItems {
		return fmt.Errorf("more than %d obligations", maxItems)
	}
	if err := errors.Join(checkInspection(event.Inspection), checkSession(event.Session, event.SessionId), checkResult(event.Result)); err != nil {
		return err
	}
	if err := checkEgress(event.Egress); err != nil {
		return err
	}
	if err := checkInput(event, r.Outcome == decision.Denied); err != nil {
		return err
	}
	if err := text("bundle_commit", response.BundleCommit, 0, 71); err != nil {
		return err
	}
	return errors.Join(checkShadow(event.Shadow), budgets(response.Budgets))
}

func (r *record) readSettlement(id string, event *writv1.SettlementEvent) (err error) {
	r.settlement, r.Kind = event, Settlement
	response := event.GetResponse()
	switch {
	case response == nil || response.SettlementId != id:
		return errors.New("response.settlement_id is not the record's id")
	case response.Receipt != nil || response.Replayed:
		return errors.New("response is not the first answer")
	case event.Outcome < writv1.Outcome_OUTCOME_SUCCEEDED || event.Outcome > writv1.Outcome_OUTCOME_LAPSED:
		return errors.New("outcome is unknown")
	case len(event.Obligations) > maxItems:
		return fmt.Errorf("more than %d obligations", maxItems)
	}
	if _, err = identify(event.DecisionId); err != nil {
		return fmt.Errorf("decision_id %w", err)
	}
	r.Key = event.DecisionId
	if r.effects, err = effectsOf(event.Effects, r.At, time.Time{}); err != nil {
		return err
	}
	for _, effect := range r.effects {
		switch effect.(type) {
		case decision.Charge, decision.Observe:
		default:
			return errors.New("a settlement has an effect other than a charge and the end of a call")
		}
	}
	if _, err := adjustmentsOf(event.Adjustments); err != nil || event.LockVersion < 0 {
		return errors.Join(err, errors.New("lock_version or adjustments are malformed"))
	}
	return budgets(response.Budgets)
}

func budgets(lines []*writv1.BudgetLine) error {
	if len(lines) > maxItems {
		return fmt.Errorf("more than %d budgets", maxItems)
	}
	for _, l := range lines {
		if l.Unit < writv1.Unit_UNIT_CALLS || l.Unit > writv1.Unit_UNIT_MICROS {
			return errors.New("a budget's unit is unknown")
		}
		if l.Adjusted > l.Cap {
			return errors.New("a budget's cap is more adjusted than it is")
		}
		if l.ResetsAt != nil && l.ResetsAt.CheckValid() != nil {
			return errors.New("a budget's resets_at is malformed")
		}
	}
	return nil
}

// bound holds the columns within what every store can index.
func (r *record) bound() error {
	for _, column := range []struct {
		name, value string
		least, most int
	}{
		{"tenant", r.Tenant, 1, 128}, {"caller", r.Caller, 0, 2048}, {"principal", r.Principal, 0, 2048},
		{"session_id", r.Session, 0, 128}, {"purpose", r.Purpose, 0, 64}, {"tool.server", r.Server, 0, 64},
		{"tool.name", r.Tool, 0, 128}, {"ticket_id", r.Ticket, 0, 128}, {"bundle_digest", r.Bundle, 0, 64},
	} {
		if err := text(column.name, column.value, column.least, column.most); err != nil {
			return err
		}
	}
	return nil
}

// text refuses NUL too, which a text column of Postgres cannot hold.
func text(name, value string, least, most int) error {
	if len(value) < least || len(value) > most {
		return fmt.Errorf("%s is not %d to %d bytes", name, least, most)
	}
	if strings.IndexByte(value, 0) >= 0 {
		return fmt.Errorf("%s holds a NUL", name)
	}
	return nil
}

func digest(name string, b []byte) ([32]byte, error) {
	if len(b) != 32 {
		return [32]byte{}, fmt.Errorf("%s is not 32 bytes", name)
	}
	return [32]byte(b), nil
}

func moment(name string, t *timestamppb.Timestamp) (time.Time, error) {
	if t == nil || t.CheckValid() != nil || t.Nanos%1000 != 0 {
		return time.Time{}, fmt.Errorf("%s is absent, malformed or finer than a microsecond", name)
	}
	return t.AsTime(), nil
}
