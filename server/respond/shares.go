package respond

import (
	"cmp"
	"context"
	"maps"
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
		uses, err := read(ctx, s, p.Tenant, rule, from, p.Size-len(all)+1, at)
		if err != nil {
			return nil, nil, err
		}
		if len(uses) == 0 && from == "" {
			all = append(all, ShareOf(rule, p.Tenant, rule.KeyOf("", at), 0, control, at))
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

// read reads up to limit shares of a budget, by subject, from the first that is not
// before one, with what is used of each. Of a sliding window it reads every part: the
// first limit subjects of each part are enough to know the first limit of all.
func read(ctx context.Context, s Counters, tenant string, rule *decision.BudgetRule, from string, limit int, at time.Time) ([]audit.Use, error) {
	key := rule.KeyOf("", at)
	held := map[string]map[decision.BudgetKey]int64{}
	for _, part := range rule.Around(key) {
		uses, err := s.Shares(ctx, tenant, part.Budget, part.Start, from, limit)
		if err != nil {
			return nil, err
		}
		for _, u := range uses {
			if held[u.Key.Subject] == nil {
				held[u.Key.Subject] = map[decision.BudgetKey]int64{}
			}
			held[u.Key.Subject][u.Key] = u.Used
		}
	}
	var all []audit.Use
	for _, subject := range slices.Sorted(maps.Keys(held)) {
		if len(all) == limit {
			break
		}
		of := rule.KeyOf(subject, at)
		all = append(all, audit.Use{Tenant: tenant, Key: of, Used: rule.Used(of, held[subject], at)})
	}
	return all, nil
}

// UsedOf is what is used of one share.
func UsedOf(ctx context.Context, s Counters, tenant string, rule *decision.BudgetRule, subject string, at time.Time) (int64, error) {
	uses, err := read(ctx, s, tenant, rule, subject, 1, at)
	if err != nil || len(uses) == 0 || uses[0].Key.Subject != subject {
		return 0, err
	}
	return uses[0].Used, nil
}

// ShareOf is one share of which some is used.
func ShareOf(rule *decision.BudgetRule, tenant string, key decision.BudgetKey, used int64, control *decision.Control, at time.Time) Share {
	allowed := control.Allowance(tenant, key, rule.Cap, at)
	if rule.Window == decision.Rate {
		allowed.Cap = rule.Burst // it is not raised
	}
	return Share{Rule: rule, Subject: key.Subject, Used: used, Allowance: allowed, Resets: rule.Resets(at)}
}
