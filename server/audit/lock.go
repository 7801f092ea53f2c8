package audit

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// ControlFacts is a change of the control state, as its record has it: of a lock or
// of a budget.
type ControlFacts struct {
	// At is when it was made.
	At time.Time
	// Actor is who made it: 1 to 2048 bytes.
	Actor string
	// Lock is the one that was set, or Lifted; zero where Budget is not nil.
	Lock   decision.Lock
	Lifted bool
	// Budget is what was changed of a budget; nil: a lock was.
	Budget *BudgetChange
	// Reason is why: 1 to 1024 bytes.
	Reason string
	// Ticket approves it: at most 128 bytes; empty: none was named.
	Ticket string
	// Control is all that is in force after it.
	Control decision.Control
}

// Controlled is the entry of a change. id is the new record's UUIDv7. Committed, it
// makes its state the newest, or is ErrStale where another change was faster.
func Controlled(id [16]byte, c ControlFacts) (Entry, error) {
	var entry Entry
	var err error
	if c.Budget != nil {
		entry, err = adjusted(id, &c)
	} else {
		event := &writv1.LockEvent{Actor: c.Actor, Lock: lockFacts(&c.Lock), Lifted: c.Lifted, Reason: c.Reason, TicketId: c.Ticket,
			Version: c.Control.Version, Locks: locksFacts(c.Control.Locks), Adjustments: adjustmentsFacts(c.Control.Adjustments)}
		entry, err = enterSystem(id, c.At, event, &writv1.Record{Event: &writv1.Record_Lock{Lock: event}})
	}
	if err != nil {
		return Entry{}, fmt.Errorf("encoding the change of the control state: %w", err)
	}
	return entry, nil
}

// ControlFactsOf is the change that a body records. Another record's is ErrNotFound.
func ControlFactsOf(body []byte) (ControlFacts, error) {
	r, err := decode(body)
	if err != nil {
		return ControlFacts{}, err
	}
	if r.lock == nil && r.budget == nil {
		return ControlFacts{}, fmt.Errorf("reading a change of the control state: %w", ErrNotFound)
	}
	control, ok := r.effects[0].(decision.Control)
	if !ok {
		return ControlFacts{}, fmt.Errorf("reading a change of the control state: %w", ErrNotFound) // neither reader lets one pass
	}
	if r.budget != nil {
		return budgetFacts(r, control)
	}
	lock, err := lockOf(r.lock.Lock)
	return ControlFacts{At: r.At, Actor: r.lock.Actor, Lock: lock, Lifted: r.lock.Lifted, Reason: r.lock.Reason,
		Ticket: r.lock.TicketId, Control: control}, err
}

func lockFacts(l *decision.Lock) *writv1.LockFacts {
	return &writv1.LockFacts{Id: l.ID, Tenant: l.Target.Tenant, Target: l.Target.String(), Effect: writv1.LockEffect(l.Effect),
		Until: stamp(&timestamppb.Timestamp{}, l.Until), By: l.By, Reason: l.Reason, Message: l.Message, Rate: l.Rate, PerMillis: l.Per.Milliseconds()}
}

func locksFacts(locks []decision.Lock) []*writv1.LockFacts {
	var facts []*writv1.LockFacts
	for i := range locks {
		facts = append(facts, lockFacts(&locks[i]))
	}
	return facts
}

// lockOf is the way back; it refuses what makes no sense, so that nothing has to
// when it decides.
func lockOf(facts *writv1.LockFacts) (decision.Lock, error) {
	target, err := decision.ParseTarget(facts.GetTarget())
	if err != nil {
		return decision.Lock{}, fmt.Errorf("target: %w", err)
	}
	if target.String() != facts.Target {
		return decision.Lock{}, errors.New("target is not in its one form")
	}
	target.Tenant = facts.Tenant
	until, err := moment("until", facts.Until)
	if err != nil {
		return decision.Lock{}, err
	}
	if facts.Effect < writv1.LockEffect_LOCK_EFFECT_DENY || facts.Effect > writv1.LockEffect_LOCK_EFFECT_THROTTLE {
		return decision.Lock{}, errors.New("effect is unknown")
	}
	if facts.PerMillis < 0 || facts.PerMillis > int64(decision.MaxLockTime/time.Millisecond) {
		return decision.Lock{}, errors.New("per_millis is out of range")
	}
	l := decision.Lock{ID: facts.Id, Target: target, Effect: decision.LockEffect(facts.Effect), Until: until,
		Rate: facts.Rate, Per: time.Duration(facts.PerMillis) * time.Millisecond,
		By: facts.By, Reason: facts.Reason, Message: facts.Message}
	return l, errors.Join(l.Check(), line("id", l.ID, 1, 64), line("target", facts.Target, 1, 4096), line("tenant", facts.Tenant, 0, 128),
		line("by", l.By, 0, maxActor), line("reason", l.Reason, 0, maxReason), line("message", l.Message, 0, maxReason))
}

// locksOf are in order of their ids, each there once.
func locksOf(facts []*writv1.LockFacts) ([]decision.Lock, error) {
	if len(facts) > decision.MaxLocks {
		return nil, fmt.Errorf("more than %d locks", decision.MaxLocks)
	}
	var locks []decision.Lock
	for i, f := range facts {
		l, err := lockOf(f)
		if err != nil {
			return nil, fmt.Errorf("lock %d: %w", i, err)
		}
		if i > 0 && strings.Compare(locks[i-1].ID, l.ID) >= 0 {
			return nil, fmt.Errorf("lock %d is not in order, or is there twice", i)
		}
		locks = append(locks, l)
	}
	return locks, nil
}

func (r *record) readLock(id string, event *writv1.LockEvent) error {
	r.lock, r.Kind = event, Lock
	control, err := controlOf(event.GetVersion(), event.GetLocks(), event.GetAdjustments())
	if err != nil {
		return err
	}
	if _, err := lockOf(event.GetLock()); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	if err := r.system("a change of the locks"); err != nil {
		return err
	}
	if err := by(event.Actor, event.Reason, event.TicketId); err != nil {
		return err
	}
	r.Key, r.Principal, r.Ticket = id, event.Actor, event.TicketId
	r.effects = []decision.Effect{control}
	return nil
}

// controlOf is the state that a change leaves.
func controlOf(version int64, locks []*writv1.LockFacts, adjustments []*writv1.AdjustmentFacts) (c decision.Control, err error) {
	if version < 1 {
		return c, errors.New("version is not positive")
	}
	c.Version = version
	if c.Locks, err = locksOf(locks); err != nil {
		return c, err
	}
	c.Adjustments, err = adjustmentsOf(adjustments)
	return c, err
}

// controlSnapshot is what a decision's record keeps of the control state.
func controlSnapshot(facts *writv1.SnapshotFacts, snap *decision.Snapshot, d *decision.Decision) {
	facts.LockVersion, facts.LocksStale, facts.Locks = snap.Control.Version, snap.Control.Stale, locksFacts(d.Locks())
	facts.Adjustments = adjustmentsFacts(d.Adjustments())
}
