package respond

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

// Counters is where shares of budgets are read. Safe for concurrent use.
type Counters interface {
	// Shares are up to limit counters of a tenant's budget in the window that starts
	// at a Unix time, by subject, from the first that is not before one. Those that
	// hold 0 may be left out.
	Shares(ctx context.Context, tenant, budget string, start int64, from string, limit int) ([]audit.Use, error)
}

// Share is one share of a budget in the window around a time.
type Share struct {
	Rule    *decision.BudgetRule
	Subject string
	Used    int64
	decision.Allowance
	// Resets is when the window ends; zero: never.
	Resets time.Time
}

// Page says which shares are read.
type Page struct {
	Tenant string
	// Budget is the only budget; empty: every one.
	Budget string
	// From is where the page begins; the zero value: at the first share.
	From Place
	// Size is how many shares it has at most, positive.
	Size int
}

// Place is a share's place in the order of budgets and subjects.
type Place struct{ Budget, Subject string }

// Shares are a page of the shares of a bundle's budgets that something was charged to
// in the windows around a time, by budget and subject, with what was changed at run
// time. A budget without any has one line, without a subject. next is where the next
// page begins; nil: this is the last.
func Shares(ctx context.Context, s Counters, rules []decision.BudgetRule, control *decision.Control, p Page, at time.Time) (all []Share, next *Place, err error) {
	sorted := slices.SortedFunc(slices.Values(rules), func(a, b decision.BudgetRule) int { return cmp.Compare(a.ID, b.ID) })
	for i := range sorted {
		rule := &sorted[i]
		if p.Budget != "" && rule.ID != p.Budget || rule.ID < p.From.Budget {
			continue
		}
		from := ""
		if rule.ID == p.From.Budget {
			from = p.From.Subject
		}
		if len(all) >= p.Size {
			return all, &Place{Budget: rule.ID}, nil
		}
		uses, err := s.Shares(ctx, p.Tenant, rule.ID, rule.Starts(at), from, p.Size-len(all)+1)
		if err != nil {
			return nil, nil, err
		}
		if len(uses) == 0 && from == "" {
			all = append(all, ShareOf(rule, p.Tenant, decision.BudgetKey{Budget: rule.ID, Start: rule.Starts(at)}, 0, control, at))
		}
		for _, u := range uses {
			if len(all) == p.Size {
				return all, &Place{rule.ID, u.Key.Subject}, nil
			}
			all = append(all, ShareOf(rule, p.Tenant, u.Key, u.Used, control, at))
		}
	}
	return all, nil, nil
}

// ShareOf is one share of which some is used.
func ShareOf(rule *decision.BudgetRule, tenant string, key decision.BudgetKey, used int64, control *decision.Control, at time.Time) Share {
	return Share{Rule: rule, Subject: key.Subject, Used: used, Allowance: control.Allowance(tenant, key, rule.Cap, at), Resets: rule.Resets(at)}
}
