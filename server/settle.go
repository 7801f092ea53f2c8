package server

import (
	"context"
	"errors"
	"time"

	"github.com/gofrs/uuid/v5"
	"google.golang.org/protobuf/proto"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

// Settle replaces what an allowed action reserved by what it cost. It takes the
// same path as a decision: look, decide, commit, answer.
func (s *Server) Settle(ctx context.Context, caller decision.Caller, in *writv1.SettleRequest) (*writv1.SettleResponse, error) {
	if err := s.validate(in); err != nil {
		return nil, err
	}
	caller, err := s.admit(caller, decision.ToSettle, in.Tenant)
	if err != nil {
		return nil, err
	}
	in = proto.CloneOf(in)
	in.Tenant = ""                                               // the caller has it
	in.DecisionId = uuid.FromStringOrNil(in.DecisionId).String() // its form was validated; records have it in lower case
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(in)
	if err != nil {
		return nil, internal(s.log, "hashing a report", err)
	}
	sum := digest(data, caller.Tenant, caller.SPIFFEID)
	reserved, err := s.reserved(ctx, caller, in.DecisionId)
	if err != nil {
		return nil, err
	}
	actual := actualCost(in, reserved.Reservations)
	return s.commitReport(ctx, &report{
		caller: caller, decision: in.DecisionId, digest: sum, outcome: in.Outcome, actual: actual, obligations: in.Obligations,
		reserved: reserved, settle: func(now []decision.Reservation, used map[decision.BudgetKey]int64) decision.Settlement {
			return decision.Settle(now, actual, used)
		},
	})
}

// report is what is to be recorded of the end of an allowed action.
type report struct {
	caller      decision.Caller
	decision    string
	digest      [32]byte
	outcome     writv1.Outcome
	actual      decision.Cost
	obligations []*writv1.ObligationReport
	reserved    audit.Reserved
	// settle is what it changes, by what was reserved and what the counters hold.
	settle func(now []decision.Reservation, used map[decision.BudgetKey]int64) decision.Settlement
}

// commitReport records a report.
func (s *Server) commitReport(ctx context.Context, r *report) (*writv1.SettleResponse, error) {
	id, err := s.newID()
	if err != nil {
		return nil, internal(s.log, "making an id", err)
	}
	want := decision.Want{Tenant: r.caller.Tenant}
	for i := range r.reserved.Reservations {
		reserved := &r.reserved.Reservations[i]
		want.Budgets = append(append(want.Budgets, reserved.Key), reserved.Beside()...)
	}
	for range attempts {
		facts, err := s.ledger.Snapshot(ctx, want)
		if err != nil {
			return nil, s.unrecorded(ctx, "reading a snapshot", err)
		}
		at := s.now().UTC().Truncate(time.Microsecond)
		settlement := r.readjusted(s.known(ctx), facts.Used, at)
		settlement.Effects = append(settlement.Effects, observed(r, at)...)
		entry, answer, err := audit.Settled(id, r.caller, at, r.decision, r.digest, r.outcome, r.actual, r.obligations, settlement)
		if err != nil {
			return nil, internal(s.log, "encoding a settlement", err)
		}
		// What is refunded, or was reserved, is settled whatever was changed since.
		entry.Fenced, entry.Locks = s.control != nil && settlement.Charges(), settlement.Control.Version
		receipt, err := s.ledger.Commit(ctx, entry)
		switch {
		case errors.Is(err, audit.ErrStale):
			continue
		case errors.Is(err, audit.ErrFenced):
			if err := s.control.Look(ctx); err != nil {
				return nil, s.unrecorded(ctx, "reading the control state", err)
			}
			continue
		case errors.Is(err, audit.ErrReused):
			return nil, fail(errSettled, "the decision was settled with another report, or nobody settled it in time and its reservations have lapsed")
		case err != nil:
			return nil, s.unrecorded(ctx, "committing a settlement", err)
		case receipt.Prior != nil:
			return s.settledBefore(receipt)
		}
		answer.Receipt = audit.ReceiptOf(&entry.Row, s.origin, receipt)
		return answer, nil
	}
	return nil, fail(errContended, "other requests change the same budgets faster than this report can be settled; report again")
}

// observed is what the breakers are told that let an action through: nothing, where
// it never ran, or nobody has reported.
func observed(r *report, at time.Time) []decision.Effect {
	switch r.outcome {
	case writv1.Outcome_OUTCOME_NOT_RUN, writv1.Outcome_OUTCOME_LAPSED:
		return nil
	}
	return decision.Observed(r.reserved.Passed, at, r.outcome != writv1.Outcome_OUTCOME_SUCCEEDED)
}

// readjusted settles by the caps of now. Where nobody knows any more whether budgets
// were changed, nothing is charged that was not reserved.
func (r *report) readjusted(known *decision.Control, used map[decision.BudgetKey]int64, at time.Time) decision.Settlement {
	now, made := known.Readjust(r.caller.Tenant, r.reserved.Reservations, at)
	if known != nil && known.Stale {
		for i := range now {
			now[i].Frozen = true
		}
	}
	settled := r.settle(now, used)
	settled.Control.Adjustments = made
	if known != nil {
		settled.Control.Version = known.Version
	}
	return settled
}

// reserved is what the caller's decision reserved. Somebody else's decision is
// unknown, so that ids tell nothing.
func (s *Server) reserved(ctx context.Context, caller decision.Caller, decisionID string) (audit.Reserved, error) {
	row, err := s.ledger.Record(ctx, caller.Tenant, uuid.FromStringOrNil(decisionID))
	if err != nil && !errors.Is(err, audit.ErrNotFound) {
		return audit.Reserved{}, s.unrecorded(ctx, "reading a decision", err)
	}
	if err != nil || row.Kind != audit.Decision || row.Caller != caller.SPIFFEID {
		return audit.Reserved{}, fail(errUnknown, "there is no such decision")
	}
	reserved, err := audit.Reservations(row.Body)
	if err != nil {
		return audit.Reserved{}, internal(s.log, "reading a decision's reservations", err)
	}
	if !reserved.Allowed {
		return audit.Reserved{}, fail(errNotAllowed, "the decision was a denial, so there is nothing to settle")
	}
	return reserved, nil
}

func (s *Server) settledBefore(receipt audit.Receipt) (*writv1.SettleResponse, error) {
	row, err := audit.RowOf(receipt.Prior)
	if err != nil {
		return nil, internal(s.log, "reading an earlier record", err)
	}
	answer, err := audit.RespondSettled(receipt.Prior)
	if err != nil {
		return nil, internal(s.log, "reading an earlier answer", err)
	}
	answer.Receipt = audit.ReceiptOf(&row, s.origin, receipt)
	answer.Replayed = true
	return answer, nil
}

// actualCost is what the report says; without a word, what never ran cost
// nothing and anything else what was reserved for it.
func actualCost(in *writv1.SettleRequest, reserved []decision.Reservation) decision.Cost {
	if a := in.Actual; a != nil {
		return decision.Cost{Calls: a.Calls, Tokens: a.Tokens, Micros: a.Micros, Currency: a.Currency}
	}
	if in.Outcome == writv1.Outcome_OUTCOME_NOT_RUN {
		return decision.Cost{}
	}
	return decision.CostOf(reserved)
}
