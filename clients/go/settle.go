package writ

import (
	"context"
	"errors"
	"fmt"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// Outcome says how an allowed action ended.
type Outcome uint8

// The outcomes.
const (
	OutcomeSucceeded Outcome = iota + 1 // it ran and succeeded
	OutcomeFailed                       // it ran and failed
	OutcomeNotRun                       // it never ran
	OutcomeUnknown                      // nobody can tell
)

// String is the outcome's name, for example "NOT_RUN".
func (o Outcome) String() string {
	if o < OutcomeSucceeded || o > OutcomeUnknown {
		return "UNSPECIFIED"
	}
	return [...]string{"SUCCEEDED", "FAILED", "NOT_RUN", "UNKNOWN"}[o-1]
}

// Report says how an allowed action ended.
type Report struct {
	// DecisionID is the decision that allowed it.
	DecisionID string
	// Tenant is the one that the decision's call named; empty: none.
	Tenant  string
	Outcome Outcome
	// Actual is what it cost; here 0 calls are none. The zero value: nothing
	// when it never ran, else what was reserved.
	Actual Cost
	// Obligations say what became of each.
	Obligations []ObligationReport
}

// ObligationReport says what became of one obligation.
type ObligationReport struct {
	// ID is the obligation's.
	ID  string
	Met bool
}

// Settlement is Writ's answer to a report.
type Settlement struct {
	// ID is the id of the settlement's own record, a UUID.
	ID string
	// Budgets are those concerned, with what was charged in the end.
	Budgets []BudgetLine
	// Receipt is the proof that the report was recorded; nil: there is none.
	Receipt *Receipt
	// Replayed says that the same report had arrived before.
	Replayed bool
}

// Settle reports how an allowed action ended. The same report can be sent again;
// a different one for the same decision is an error.
func (c *Client) Settle(ctx context.Context, r Report) (Settlement, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req := &writv1.SettleRequest{DecisionId: r.DecisionID, Outcome: writv1.Outcome(r.Outcome), Actual: r.Actual.encode(), Tenant: r.Tenant}
	for _, o := range r.Obligations {
		req.Obligations = append(req.Obligations, &writv1.ObligationReport{Id: o.ID, Met: o.Met})
	}
	var resp *writv1.SettleResponse
	err := c.retry(ctx, func(ctx context.Context) (err error) {
		resp, err = c.decisions.Settle(ctx, req)
		return err
	})
	if err != nil {
		return Settlement{}, fmt.Errorf("reporting to writ: %w", err)
	}
	receipt, err := decodeReceipt(resp.GetReceipt())
	if err == nil && !isUUID(resp.GetSettlementId()) {
		err = errors.New("the settlement's id is not a UUID")
	}
	if err != nil {
		return Settlement{}, &BrokenAnswer{DecisionID: r.DecisionID, Problem: err.Error()}
	}
	return Settlement{ID: resp.GetSettlementId(), Budgets: decodeBudgets(resp.GetBudgets()), Receipt: receipt, Replayed: resp.GetReplayed()}, nil
}

// report settles for Enforce and its kin. The action is over, so the caller's
// giving up must not keep Writ from learning how it ended, and a lost report
// must not take the result away.
func (c *Client) report(ctx context.Context, r Report) {
	if _, err := c.Settle(context.WithoutCancel(ctx), r); err != nil {
		c.onSettleError(r, err)
	}
}

// tally is the report on a decision while its obligations are being met.
type tally struct{ Report }

// newTally starts with nothing run and nothing met, which is what a report says
// if something breaks on the way.
func newTally(d Decision) *tally {
	t := &tally{Report{DecisionID: d.ID, Tenant: d.Tenant, Outcome: OutcomeNotRun}}
	for _, o := range d.Obligations {
		t.Obligations = append(t.Obligations, ObligationReport{ID: o.ID})
	}
	return t
}

func (t *tally) meet(id string) {
	for i := range t.Obligations {
		if t.Obligations[i].ID == id {
			t.Obligations[i].Met = true
		}
	}
}
