package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/respond"
	"github.com/writpdp/writ/server/rollout"
)

type budgetCmd struct {
	List     budgetListCmd     `cmd:"" help:"What is used and left of each share of the budgets, now."`
	Show     budgetShowCmd     `cmd:"" help:"One budget, what is changed of it, and what is left of one share."`
	Raise    budgetRaiseCmd    `cmd:"" help:"Raise a budget's cap for a while; a negative --by lowers it."`
	Freeze   budgetFreezeCmd   `cmd:"" help:"Allow nothing more that a budget counts, for a while."`
	Thaw     budgetThawCmd     `cmd:"" help:"End a freeze before its time."`
	Withdraw budgetWithdrawCmd `cmd:"" help:"End a raise, or any other change of a budget, before its time."`
	History  budgetHistoryCmd  `cmd:"" help:"Who changed budgets, when and why."`
}

// rulesFlags say which bundle's budgets are meant.
type rulesFlags struct {
	storeFlags `embed:""`
	Bundle     string `type:"existingdir" placeholder:"DIR" help:"The bundle that the servers are configured with, where none was activated in the store."`
}

// rules are the budgets of the bundle that decides.
func (f rulesFlags) rules(ctx context.Context, store dataStore) ([]decision.BudgetRule, error) {
	bundle, err := f.live(ctx, store)
	if err != nil {
		return nil, err
	}
	return bundle.Budgets, nil
}

// live is the bundle that decides.
func (f rulesFlags) live(ctx context.Context, store dataStore) (*decision.Bundle, error) {
	switch _, err := rollout.Newest(ctx, store); {
	case err == nil && f.Bundle != "":
		return nil, usageError("a bundle was activated in the store: leave --bundle out")
	case err != nil && !errors.Is(err, rollout.ErrNone):
		return nil, err
	case err != nil && f.Bundle == "":
		return nil, usageError("no bundle was activated in the store: name the one that its servers are configured with, --bundle DIR")
	}
	configured, err := directory(ctx, store, f.Bundle)
	if err != nil {
		return nil, err
	}
	follower, err := rollout.Follow(ctx, rollout.Config{Store: store, Configured: configured, Actor: actor(), Now: time.Now, Random: rand.Reader,
		Report: func(rollout.Status) {}})
	if err != nil {
		return nil, err
	}
	return follower.Live(), nil
}

// rule is one of them.
func (f rulesFlags) rule(ctx context.Context, store dataStore, id string) (*decision.BudgetRule, error) {
	rules, err := f.rules(ctx, store)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(rules, func(r decision.BudgetRule) bool { return r.ID == id })
	if i < 0 {
		return nil, fmt.Errorf("the bundle has no budget %q", id)
	}
	return &rules[i], nil
}

// shareOf is the subject of a share by the values of its dimensions.
func shareOf(rule *decision.BudgetRule, values []string) (string, error) {
	if len(values) != len(rule.Per) {
		return "", usageError(fmt.Sprintf("--share is there %d times; %q is kept apart by %d dimensions: %v", len(values), rule.ID, len(rule.Per), rule.Per))
	}
	return decision.Share(values), nil
}

// changeBudget is a change of a budget at the store.
type changeBudget struct {
	rulesFlags `embed:""`
	Reason     string   `required:"" placeholder:"TEXT" help:"Why, in a sentence; it is in the log for good."`
	Ticket     string   `placeholder:"ID" help:"The ticket that approves it; it is recorded, not looked up."`
	Tenant     string   `placeholder:"TENANT" help:"Only this tenant's. Without: every tenant's."`
	Share      []string `sep:"none" placeholder:"VALUE" help:"Only this share: the values of the budget's dimensions, in their order; repeat. Without: every share."`
}

// put puts a change into force. A zero end is the window's.
func (c changeBudget) put(ctx context.Context, to streams, budget string, lasts time.Duration, a decision.Adjustment) error {
	by, err := lockFlags{Reason: c.Reason, Ticket: c.Ticket}.by()
	if err != nil {
		return err
	}
	a.ID, a.Tenant, a.Budget = "B-"+hex.EncodeToString(by.ID[11:]), c.Tenant, budget
	return c.use(ctx, true, func(store dataStore) error {
		rule, err := c.rule(ctx, store, budget)
		if err != nil {
			return err
		}
		if len(c.Share) > 0 {
			if a.Subject, err = shareOf(rule, c.Share); err != nil {
				return err
			}
		}
		if a.Until = by.At.Add(lasts); lasts == 0 {
			if a.Until = rule.Resets(by.At); a.Until.IsZero() {
				return usageError("--for is needed: the budget's window has no end")
			}
		}
		made, err := respond.Adjust(ctx, store, a, by, nil)
		if err != nil {
			return err
		}
		fmt.Fprintf(to.out, "%s: %s until %s (version %d)\n", a.ID, adjustmentText(&made.Budget.Adjustment), made.Budget.Adjustment.Until.Format(time.RFC3339), made.Control.Version)
		return nil
	})
}

type budgetRaiseCmd struct {
	Budget       string        `arg:"" help:"The budget's id."`
	By           int64         `required:"" placeholder:"N" help:"By how much, in the budget's unit (money: millionths); negative, as --by=-5: lower it."`
	For          time.Duration `placeholder:"DURATION" help:"How long, at the most 720h. Without: to the end of the budget's window."`
	changeBudget `embed:""`
}

// Run raises a budget.
func (c budgetRaiseCmd) Run(ctx context.Context, to streams) error {
	if c.For < 0 || c.By == 0 {
		return usageError("--for must be positive, and --by not 0")
	}
	return c.put(ctx, to, c.Budget, c.For, decision.Adjustment{By: c.By})
}

type budgetFreezeCmd struct {
	Budget       string        `arg:"" help:"The budget's id."`
	For          time.Duration `required:"" placeholder:"DURATION" help:"How long, at the most 720h."`
	Message      string        `placeholder:"TEXT" help:"What is told to whom it stops."`
	changeBudget `embed:""`
}

// Help is what the command's help says besides.
func (budgetFreezeCmd) Help() string {
	return "When the command returns, no server of the store allows anything any more that the budget counts. What was reserved before is still settled, and refunded."
}

// Run freezes a budget.
func (c budgetFreezeCmd) Run(ctx context.Context, to streams) error {
	if c.For <= 0 {
		return usageError("--for must be positive")
	}
	return c.put(ctx, to, c.Budget, c.For, decision.Adjustment{Frozen: true, Message: c.Message})
}

type budgetThawCmd struct {
	budgetWithdrawCmd `embed:""`
}

// Run ends a freeze.
func (c budgetThawCmd) Run(ctx context.Context, to streams) error {
	return c.end(ctx, to, func(a *decision.Adjustment) bool { return a.Frozen })
}

type budgetWithdrawCmd struct {
	ID        string `arg:"" help:"The change's id."`
	lockFlags `embed:""`
}

// Run ends a change.
func (c budgetWithdrawCmd) Run(ctx context.Context, to streams) error {
	return c.end(ctx, to, func(*decision.Adjustment) bool { return true })
}

func (c budgetWithdrawCmd) end(ctx context.Context, to streams, which func(*decision.Adjustment) bool) error {
	by, err := c.by()
	if err != nil {
		return err
	}
	return c.use(ctx, true, func(store dataStore) error {
		made, err := respond.Withdraw(ctx, store, c.ID, which, by, nil)
		if err != nil {
			return err
		}
		fmt.Fprintf(to.out, "%s: withdrawn (version %d)\n", c.ID, made.Control.Version)
		return nil
	})
}

// adjustmentText says what a change does, and of whose budget.
func adjustmentText(a *decision.Adjustment) string {
	text := a.Budget
	if a.Tenant != "" {
		text += " of " + a.Tenant
	}
	if a.Subject != "" {
		text += " for " + a.Subject
	}
	switch {
	case a.Frozen:
		return "freezes " + text
	case a.By < 0:
		return fmt.Sprintf("lowers %s by %d", text, -a.By)
	}
	return fmt.Sprintf("raises %s by %d", text, a.By)
}

// budgetAction is the kind of a change in capitals.
func budgetAction(b *audit.BudgetChange) string {
	switch {
	case b.Withdrawn:
		return "WITHDRAW"
	case b.Adjustment.Frozen:
		return "FREEZE"
	case b.Adjustment.By < 0:
		return "LOWER"
	}
	return "RAISE"
}
