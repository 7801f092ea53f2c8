package decision

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// Control is all that people have changed at run time, locks and budgets, as one
// change left it: an effect, and what a snapshot knows. Guard of the effect: the
// newest version that is stored is Version-1.
type Control struct {
	// Version is 1, 2, 3, and so on; 0: there never was a change.
	Version int64
	// Locks and Adjustments are in order of their ids. Those that have ended may
	// still be there.
	Locks       []Lock
	Adjustments []Adjustment
	// Stale says that it could not be learnt for too long whether others have
	// changed it.
	Stale bool
}

func (Control) effect() {}

// Adjustment is a change of a budget at run time, for a while: of its cap, or
// whether anything is charged to it at all.
type Adjustment struct {
	// ID names it, unique among those in force.
	ID string
	// Tenant is whose; empty: every tenant's. Budget is the budget's id.
	Tenant, Budget string
	// Subject is the one share of the budget that it is for, as Subject has it;
	// empty: every share.
	Subject string
	// By is what it adds to the cap, in the budget's unit; negative: it takes away.
	// 0 of what freezes.
	By int64
	// Frozen says that nothing more is allowed that the budget counts.
	Frozen bool
	// Until is when it ends by itself: from then on it changes nothing.
	Until time.Time
	// Actor is who made it, Reason why, Ticket what approves it; empty: none was
	// named. Message is for who is stopped; empty: nothing is told but that the
	// budget is frozen.
	Actor, Reason, Ticket, Message string
}

// Share names a share of a budget by the values of its dimensions, in their order, as
// counters have it.
func Share(values []string) string {
	var parts []byte
	for _, value := range values {
		parts = part(parts, value)
	}
	return subjectOf(parts)
}

// Bounds of adjustments.
const (
	// MaxAdjustments is how many can be in force at once, and MaxTenantAdjustments
	// how many of one tenant.
	MaxAdjustments, MaxTenantAdjustments = 256, 32
	// MaxAdjustmentTime is how long one can be in force: what has to last is a
	// bundle.
	MaxAdjustmentTime = MaxLockTime
	// maxBy keeps the sum of all of them within an int64.
	maxBy = 1 << 53
)

// Check refuses an adjustment that does not say all it must.
func (a *Adjustment) Check() error {
	if a.Tenant != "" {
		if err := CheckTenant(a.Tenant); err != nil {
			return err
		}
	}
	switch {
	case a.ID == "" || len(a.ID) > maxLockID || !plain(a.ID):
		return fmt.Errorf("the id is not 1 to %d bytes without spaces and control characters", maxLockID)
	case a.Budget == "" || len(a.Budget) > 128 || !plain(a.Budget):
		return errors.New("the budget is not 1 to 128 bytes without spaces and control characters")
	case len(a.Subject) > maxSubject || strings.ContainsRune(a.Subject, 0):
		return fmt.Errorf("the share is longer than %d bytes, or holds a NUL", maxSubject)
	case a.Frozen == (a.By != 0):
		return errors.New("it changes the cap, or it freezes, and not both or neither")
	case a.By > maxBy || a.By < -maxBy:
		return fmt.Errorf("it changes the cap by more than %d", int64(maxBy))
	case a.Until.IsZero():
		return errors.New("it has no end")
	}
	return nil
}

// Meets reports whether an adjustment is for a share of a tenant's budget.
func (a *Adjustment) Meets(tenant, budget, subject string) bool {
	return a.Budget == budget && (a.Tenant == "" || a.Tenant == tenant) && (a.Subject == "" || a.Subject == subject)
}

// Allowance is what a share of a budget comes to, with what was changed at run time.
type Allowance struct {
	// Cap is at least 0.
	Cap int64
	// Frozen is what freezes it, the longest; nil: nothing does.
	Frozen *Adjustment
	// By are the adjustments that it comes from, in the order of their ids.
	By []Adjustment
}

// Allowance is what a cap of the bundle comes to for a share of a tenant's budget at
// a time. It does not depend on the order of the adjustments. A nil Control changes
// nothing.
func (c *Control) Allowance(tenant string, key BudgetKey, limit int64, at time.Time) Allowance {
	a := Allowance{Cap: max(0, limit)}
	if c == nil || len(c.Adjustments) == 0 {
		return a
	}
	var sum int64
	for i := range c.Adjustments {
		one := &c.Adjustments[i]
		if !at.Before(one.Until) || !one.Meets(tenant, key.Rule(), key.Subject) {
			continue
		}
		a.By = append(a.By, *one)
		sum += one.By
		if one.Frozen && (a.Frozen == nil || one.Until.After(a.Frozen.Until)) {
			a.Frozen = one
		}
	}
	switch {
	case sum > 0 && a.Cap > math.MaxInt64-sum:
		a.Cap = math.MaxInt64
	default:
		a.Cap = max(0, a.Cap+sum)
	}
	return a
}

// Room is how much more may be charged to a share of which some is used.
func (a *Allowance) Room(used int64) int64 {
	if a.Frozen != nil {
		return 0
	}
	return max(0, a.Cap-used)
}

// Readjust is what decisions have reserved, with the caps of now. The adjustments are
// those that made a difference, in the order of their ids.
func (c *Control) Readjust(tenant string, reserved []Reservation, at time.Time) ([]Reservation, []Adjustment) {
	now, made := make([]Reservation, len(reserved)), []Adjustment(nil)
	for i, r := range reserved {
		a := c.Allowance(tenant, r.Key, r.Line.Cap-r.Line.Adjusted, at)
		r.Line.Adjusted += a.Cap - r.Line.Cap
		r.Line.Cap, r.Frozen = a.Cap, a.Frozen != nil
		now[i], made = r, append(made, a.By...)
	}
	return now, uniqueAdjustments(made)
}
