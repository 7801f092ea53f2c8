package respond

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

// ErrKind: the change of that id does something else than was said.
var ErrKind = errors.New("it is of another budget, or does not do that")

// Approval is what permits a change of a budget that is asked for over the wire.
type Approval struct {
	audit.BudgetRequest
	// Redeem is the version of the ticket that By names, of the budget's tenant, which
	// the change uses up; 0: it uses up none.
	Redeem int64
}

// Adjust puts a change of a budget into force. It is durable when Adjust returns, and
// from then on no replica charges by what was before. Who makes it, why, and with
// which ticket, is taken from by. approval is nil at the store: who can write to it
// needs none, and the ticket is named only.
//
// The error is ErrTaken, ErrMany, ErrInvalid or audit.ErrReused (nothing was changed),
// audit.ErrStale where the ticket cannot be used up, or others are faster (likewise),
// or another, and then it is unknown whether anything was: the same request tells.
func Adjust(ctx context.Context, s Store, a decision.Adjustment, by audit.By, approval *Approval) (Made, error) {
	a.Actor, a.Reason, a.Ticket, a.Until = by.Actor, by.Reason, by.Ticket, a.Until.UTC().Truncate(time.Microsecond)
	if err := a.Check(); err != nil {
		return Made{}, fmt.Errorf("changing a budget: %w: %w", ErrInvalid, err)
	}
	if lasts := a.Until.Sub(by.At); lasts <= 0 || lasts > decision.MaxAdjustmentTime {
		return Made{}, fmt.Errorf("changing a budget: %w: it does not last for up to %d days from now", ErrInvalid, decision.MaxAdjustmentTime/(24*time.Hour))
	}
	return change(ctx, s, by, budgetAttempts, func(c *audit.ControlFacts) error {
		c.Budget = approved(a, approval)
		all := c.Control.Adjustments
		at, taken := slices.BinarySearchFunc(all, a.ID, byAdjustmentID)
		switch {
		case taken && approval != nil:
			// Its id comes from the request's, which was taken before: the commit
			// finds what that made, or that it was another request.
			return nil
		case taken:
			return ErrTaken
		case len(all) >= decision.MaxAdjustments || a.Tenant != "" && of(all, a.Tenant) >= decision.MaxTenantAdjustments:
			return ErrMany
		}
		c.Control.Adjustments = slices.Insert(all, at, a)
		return nil
	})
}

// Withdraw ends a change of a budget before its time. which says whether it is the one
// that was meant; ErrKind: it is not. The error is ErrUnknown, ErrKind, or as for
// Adjust.
func Withdraw(ctx context.Context, s Store, id string, which func(*decision.Adjustment) bool, by audit.By, approval *Approval) (Made, error) {
	return change(ctx, s, by, budgetAttempts, func(c *audit.ControlFacts) error {
		at, known := slices.BinarySearchFunc(c.Control.Adjustments, id, byAdjustmentID)
		switch {
		case !known:
			return ErrUnknown
		case !which(&c.Control.Adjustments[at]):
			return ErrKind
		}
		c.Budget = approved(c.Control.Adjustments[at], approval)
		c.Budget.Withdrawn = true
		c.Control.Adjustments = slices.Delete(c.Control.Adjustments, at, at+1)
		return nil
	})
}

func approved(a decision.Adjustment, by *Approval) *audit.BudgetChange {
	b := &audit.BudgetChange{Adjustment: a}
	if by != nil {
		b.Request = &by.BudgetRequest
		if by.Redeem > 0 {
			b.RedeemedOf, b.RedeemedVersion = a.Tenant, by.Redeem
		}
	}
	return b
}

func byAdjustmentID(a decision.Adjustment, id string) int { return strings.Compare(a.ID, id) }

// of counts the changes of one tenant's budgets.
func of(all []decision.Adjustment, tenant string) (n int) {
	for i := range all {
		if all[i].Tenant == tenant {
			n++
		}
	}
	return n
}

// AdjustedOf are those of them that are for a tenant's budget.
func AdjustedOf(all []decision.Adjustment, tenant, budget string, at time.Time) []decision.Adjustment {
	return slices.DeleteFunc(Adjusted(all, at), func(a decision.Adjustment) bool { return a.Budget != budget || a.Tenant != "" && a.Tenant != tenant })
}

// Adjusted are the changes of budgets that have not ended at a time.
func Adjusted(all []decision.Adjustment, at time.Time) []decision.Adjustment {
	return slices.DeleteFunc(slices.Clone(all), func(a decision.Adjustment) bool { return !at.Before(a.Until) })
}
