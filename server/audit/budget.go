package audit

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/gofrs/uuid/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// BudgetChange is what was changed of a budget.
type BudgetChange struct {
	// Adjustment is what was put into force, or Withdrawn.
	Adjustment decision.Adjustment
	Withdrawn  bool
	// RedeemedOf is the tenant whose ticket the change uses up; empty: the ticket
	// is only named.
	RedeemedOf string
	// Request is what asked for it over the wire; nil: it was made at the store.
	Request *BudgetRequest
}

// BudgetRequest is a request for a change of a budget.
type BudgetRequest struct {
	// ID is its idempotency key, and Digest covers what it depends on: the same key
	// with another is refused.
	ID     [16]byte
	Digest [32]byte
	// AdmittedBy are the access policies that permitted it, in order, and Bundle is
	// the digest of the bundle that has them.
	AdmittedBy []string
	Bundle     string
}

// maxPolicies is how many of the policies that permitted a change are recorded.
const maxPolicies = 64

func adjusted(id [16]byte, c *ControlFacts) (Entry, error) {
	b := c.Budget
	event := &writv1.BudgetEvent{Actor: c.Actor, Adjustment: adjustmentFacts(&b.Adjustment), Withdrawn: b.Withdrawn, Reason: c.Reason,
		TicketId: c.Ticket, RedeemedOf: b.RedeemedOf, Version: c.Control.Version, Locks: locksFacts(c.Control.Locks),
		Adjustments: adjustmentsFacts(c.Control.Adjustments), RequestId: uuid.UUID(id).String()}
	record := &writv1.Record{Event: &writv1.Record_Budget{Budget: event}}
	if r := b.Request; r != nil {
		event.RequestId, event.BundleDigest = uuid.UUID(r.ID).String(), r.Bundle
		event.AdmittedBy = r.AdmittedBy[:min(len(r.AdmittedBy), maxPolicies)]
		record.RequestDigest = r.Digest[:]
	}
	return enterSystem(id, c.At, event, record)
}

// budgetFacts is what readBudget has read.
func budgetFacts(r *record, control decision.Control) (ControlFacts, error) {
	e := r.budget
	a, err := adjustmentOf(e.Adjustment)
	change := &BudgetChange{Adjustment: a, Withdrawn: e.Withdrawn, RedeemedOf: e.RedeemedOf}
	if e.BundleDigest != "" {
		change.Request = &BudgetRequest{ID: uuid.FromStringOrNil(e.RequestId), Digest: r.Digest, AdmittedBy: e.AdmittedBy, Bundle: e.BundleDigest}
	}
	return ControlFacts{At: r.At, Actor: e.Actor, Budget: change, Reason: e.Reason, Ticket: e.TicketId, Control: control}, err
}

func adjustmentFacts(a *decision.Adjustment) *writv1.AdjustmentFacts {
	return &writv1.AdjustmentFacts{Id: a.ID, Tenant: a.Tenant, Budget: a.Budget, Subject: a.Subject, By: a.By, Frozen: a.Frozen,
		Until: stamp(&timestamppb.Timestamp{}, a.Until), Actor: a.Actor, Reason: a.Reason, TicketId: a.Ticket, Message: a.Message}
}

func adjustmentsFacts(all []decision.Adjustment) []*writv1.AdjustmentFacts {
	var facts []*writv1.AdjustmentFacts
	for i := range all {
		facts = append(facts, adjustmentFacts(&all[i]))
	}
	return facts
}

// adjustmentOf is the way back; it refuses what makes no sense, so that nothing has
// to when it decides.
func adjustmentOf(f *writv1.AdjustmentFacts) (decision.Adjustment, error) {
	until, err := moment("until", f.GetUntil())
	if err != nil {
		return decision.Adjustment{}, err
	}
	a := decision.Adjustment{ID: f.Id, Tenant: f.Tenant, Budget: f.Budget, Subject: f.Subject, By: f.By, Frozen: f.Frozen, Until: until,
		Actor: f.Actor, Reason: f.Reason, Ticket: f.TicketId, Message: f.Message}
	return a, errors.Join(a.Check(), line("id", a.ID, 1, 64), line("tenant", a.Tenant, 0, 128), line("budget", a.Budget, 1, 128),
		line("actor", a.Actor, 0, maxActor), line("reason", a.Reason, 0, maxReason), line("ticket_id", a.Ticket, 0, 128), line("message", a.Message, 0, maxReason))
}

// adjustmentsOf are in order of their ids, each there once.
func adjustmentsOf(facts []*writv1.AdjustmentFacts) ([]decision.Adjustment, error) {
	if len(facts) > decision.MaxAdjustments {
		return nil, fmt.Errorf("more than %d changes of budgets", decision.MaxAdjustments)
	}
	var all []decision.Adjustment
	for i, f := range facts {
		a, err := adjustmentOf(f)
		if err != nil {
			return nil, fmt.Errorf("change of a budget %d: %w", i, err)
		}
		if i > 0 && strings.Compare(all[i-1].ID, a.ID) >= 0 {
			return nil, fmt.Errorf("change of a budget %d is not in order, or is there twice", i)
		}
		all = append(all, a)
	}
	return all, nil
}

func (r *record) readBudget(e *writv1.BudgetEvent) error {
	r.budget, r.Kind = e, Budget
	control, err := controlOf(e.GetVersion(), e.GetLocks(), e.GetAdjustments())
	if err != nil {
		return err
	}
	a, err := adjustmentOf(e.GetAdjustment())
	if err != nil {
		return fmt.Errorf("adjustment: %w", err)
	}
	if err := r.system("a change of a budget"); err != nil {
		return err
	}
	if err := by(e.Actor, e.Reason, e.TicketId); err != nil {
		return err
	}
	if _, err := identify(e.RequestId); err != nil {
		return fmt.Errorf("request_id %w", err)
	}
	sum, err := hex.DecodeString(e.BundleDigest)
	switch {
	case err != nil || len(sum) != 0 && len(sum) != 32 || strings.ToLower(e.BundleDigest) != e.BundleDigest:
		return errors.New("bundle_digest is not 32 bytes in lower-case hex")
	case (e.BundleDigest == "") != (len(e.AdmittedBy) == 0):
		return errors.New("there are access policies without their bundle, or the other way around")
	case len(e.AdmittedBy) > maxPolicies:
		return fmt.Errorf("more than %d access policies", maxPolicies)
	case e.RedeemedOf != "" && (e.TicketId == "" || e.RedeemedOf != a.Tenant):
		return errors.New("it redeems no ticket, or another tenant's")
	}
	for _, policy := range e.AdmittedBy {
		if err := line("admitted_by", policy, 1, 256); err != nil {
			return err
		}
	}
	r.Key, r.Principal, r.Ticket, r.Bundle = e.RequestId, e.Actor, e.TicketId, e.BundleDigest
	r.effects = []decision.Effect{control}
	if e.RedeemedOf != "" {
		r.effects = append(r.effects, decision.Redeem{Ticket: e.TicketId, Tenant: e.RedeemedOf})
	}
	return nil
}
