package audit

import (
	"fmt"
	"time"

	"github.com/writpdp/writ/server/decision"
)

// charged is the cap that a record charged a counter by: the bundle's, and what it came
// to with what was changed at run time by the version that the record names.
type charged struct {
	version int64
	tenant  string
	key     decision.BudgetKey
	at      time.Time
	bundle  int64
	cap     int64
	about   *Problem // without its detail
}

// caps holds every cap that a record charged by against the changes of budgets that
// were in force. A version may come later than what rests on it: the order of the
// log is not that of the commits.
func (b *books) caps(r *record, index int64) *Problem {
	var version int64
	var lines map[string]decision.BudgetLine
	switch r.Kind {
	case Decision:
		version, lines = r.decision.GetFacts().GetLockVersion(), linesOf(r.decision.Response.Budgets)
	case Settlement:
		version, lines = r.settlement.LockVersion, linesOf(r.settlement.Response.Budgets)
	default:
		return nil
	}
	for _, effect := range r.effects {
		charge, ok := effect.(decision.Charge)
		if !ok || r.Kind == Settlement && charge.Amount <= 0 {
			continue // a refund has no cap
		}
		known, made := b.control[version]
		made = made || version == 0 // there never was a change
		more := lines[charge.Key.Rule()].Adjusted
		if made && len(known) == 0 && more == 0 {
			continue // as nearly all are
		}
		c := charged{version: version, tenant: r.Tenant, key: charge.Key, at: r.At, cap: charge.Cap, bundle: charge.Cap - more,
			about: about(&r.Row, index, "cap", "")}
		if !made {
			b.early = append(b.early, c)
		} else if p := c.bad(known); p != nil {
			return p
		}
	}
	return nil
}

// bad is what is wrong with a cap, given what was in force; nil: nothing.
func (c *charged) bad(adjustments []decision.Adjustment) *Problem {
	control := decision.Control{Adjustments: adjustments}
	due := control.Allowance(c.tenant, c.key, c.bundle, c.at)
	switch {
	case due.Frozen != nil:
		c.about.Detail = fmt.Sprintf("the record charges the budget %q, which %s had frozen", c.key.Rule(), due.Frozen.ID)
	case due.Cap != c.cap:
		c.about.Detail = fmt.Sprintf("the record charges the budget %q by a cap of %d, which was %d by version %d of the control state", c.key.Rule(), c.cap, due.Cap, c.version)
	default:
		return nil
	}
	return c.about
}

// unversioned is the first cap that is wrong of those whose version came later, or
// whose version did not come.
func (b *books) unversioned() *Problem {
	for i := range b.early {
		c := &b.early[i]
		known, ok := b.control[c.version]
		if !ok {
			c.about.Detail = fmt.Sprintf("the record rests on version %d of the control state, which no record makes", c.version)
			return c.about
		}
		if p := c.bad(known); p != nil {
			return p
		}
	}
	return nil
}
