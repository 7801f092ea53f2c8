package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/respond"
)

// pageSize is how many shares are read at a time.
const pageSize = 500

type budgetListCmd struct {
	rulesFlags `embed:""`
	tenantFlag `embed:""`
	Budget     string `placeholder:"ID" help:"Only this budget."`
	Limit      int    `default:"1000" help:"How many shares."`
	Output     string `short:"o" default:"table" enum:"table,json" help:"Output: ${enum}."`
}

// Run lists shares.
func (c budgetListCmd) Run(ctx context.Context, to streams) error {
	if c.Limit < 1 {
		return usageError("--limit must be positive")
	}
	var shares []respond.Share
	more := false
	err := c.use(ctx, false, func(store dataStore) error {
		rules, err := c.rules(ctx, store)
		if err != nil {
			return err
		}
		if c.Budget != "" {
			if _, err := c.rule(ctx, store, c.Budget); err != nil {
				return err
			}
		}
		newest, err := respond.Newest(ctx, store)
		if err != nil {
			return err
		}
		page, at := respond.Page{Tenant: c.Tenant, Budget: c.Budget}, time.Now()
		for {
			page.Size = min(pageSize, c.Limit-len(shares))
			some, next, err := respond.Shares(ctx, store, rules, &newest.Control, page, at)
			if err != nil {
				return err
			}
			shares, more = append(shares, some...), next != nil
			if !more || len(shares) >= c.Limit {
				return nil
			}
			page.From = *next
		}
	})
	if err != nil {
		return err
	}
	if more {
		fmt.Fprintf(to.err, "there are more than %d shares: --limit\n", c.Limit)
	}
	return printShares(to, c.Output, shares)
}

func printShares(to streams, output string, shares []respond.Share) error {
	if output == "json" {
		all := []map[string]any{}
		for i := range shares {
			all = append(all, shareJSON(&shares[i]))
		}
		return printJSON(to, all)
	}
	w := tabwriter.NewWriter(to.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "BUDGET\tUNIT\tWINDOW\tSHARE\tUSED\tCAP\tEFFECTIVE\tREMAINING\tRESETS")
	for i := range shares {
		s := &shares[i]
		remaining := fmt.Sprint(s.Room(s.Used))
		if s.Frozen != nil {
			remaining = "frozen"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", s.Rule.ID, unitText(s.Rule), s.Rule.Window, or(printable(s.Subject), "-"), s.Used,
			s.Rule.Cap, s.Cap, remaining, momentText(s.Resets))
	}
	return w.Flush()
}

// unitText is a budget's unit; of money with its currency.
func unitText(r *decision.BudgetRule) string {
	if r.Currency != "" {
		return r.Unit.String() + " " + r.Currency
	}
	return r.Unit.String()
}

// momentText is a time, or a dash for none.
func momentText(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return at.UTC().Format(time.RFC3339)
}

func shareJSON(s *respond.Share) map[string]any {
	m := map[string]any{"budget": s.Rule.ID, "unit": s.Rule.Unit.String(), "currency": s.Rule.Currency, "window": s.Rule.Window.String(),
		"share": s.Subject, "used": s.Used, "cap": s.Rule.Cap, "effective_cap": s.Cap, "remaining": s.Room(s.Used), "frozen": s.Frozen != nil}
	if !s.Resets.IsZero() {
		m["resets"] = s.Resets.UTC()
	}
	return m
}

type budgetShowCmd struct {
	Budget     string `arg:"" help:"The budget's id."`
	rulesFlags `embed:""`
	tenantFlag `embed:""`
	Share      []string `sep:"none" placeholder:"VALUE" help:"Of which share: the values of the budget's dimensions, in their order; repeat. Without: the budget alone."`
	Output     string   `short:"o" default:"table" enum:"table,json" help:"Output: ${enum}."`
}

// Run shows a budget.
func (c budgetShowCmd) Run(ctx context.Context, to streams) error {
	var share respond.Share
	var changes []decision.Adjustment
	at := time.Now()
	err := c.use(ctx, false, func(store dataStore) error {
		rule, err := c.rule(ctx, store, c.Budget)
		if err != nil {
			return err
		}
		subject := ""
		if len(c.Share) > 0 {
			if subject, err = shareOf(rule, c.Share); err != nil {
				return err
			}
		}
		newest, err := respond.Newest(ctx, store)
		if err != nil {
			return err
		}
		used, err := respond.UsedOf(ctx, store, c.Tenant, rule, subject, at)
		if err != nil {
			return err
		}
		share = respond.ShareOf(rule, c.Tenant, rule.KeyOf(subject, at), used, &newest.Control, at)
		changes = respond.AdjustedOf(newest.Control.Adjustments, c.Tenant, rule.ID, at)
		return nil
	})
	if err != nil {
		return err
	}
	named := len(c.Share) == len(share.Rule.Per) // else none was asked for
	if c.Output == "json" {
		all := []map[string]any{}
		for i := range changes {
			all = append(all, adjustmentJSON(&changes[i]))
		}
		out := map[string]any{"budget": share.Rule.ID, "per": perOf(share.Rule), "changes": all}
		if named {
			out["share"] = shareJSON(&share)
		}
		return printJSON(to, out)
	}
	r := share.Rule
	fmt.Fprintf(to.out, "%s: %d %s (%s), apart by: %s\n", r.ID, r.Cap, unitText(r), r.Window, or(strings.Join(perOf(r), ", "), "nothing"))
	if named {
		if err := printShares(to, c.Output, []respond.Share{share}); err != nil {
			return err
		}
	}
	if len(changes) == 0 {
		return nil
	}
	return printAdjustments(to.out, changes)
}

func perOf(r *decision.BudgetRule) []string {
	per := []string{}
	for _, d := range r.Per {
		per = append(per, d.String())
	}
	return per
}

func printAdjustments(out io.Writer, all []decision.Adjustment) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tCHANGE\tUNTIL\tBY\tTICKET\tREASON")
	for i := range all {
		a := &all[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", a.ID, printable(adjustmentText(a)), momentText(a.Until), a.Actor, or(a.Ticket, "-"), a.Reason)
	}
	return w.Flush()
}

func adjustmentJSON(a *decision.Adjustment) map[string]any {
	return map[string]any{"id": a.ID, "tenant": a.Tenant, "budget": a.Budget, "share": a.Subject, "by": a.By, "frozen": a.Frozen, "until": a.Until.UTC(),
		"actor": a.Actor, "reason": a.Reason, "ticket": a.Ticket, "message": a.Message}
}

type budgetHistoryCmd struct {
	storeFlags `embed:""`
	Limit      int    `default:"100" help:"How many changes."`
	Output     string `short:"o" default:"table" enum:"table,json" help:"Output: ${enum}."`
}

// Run lists changes of budgets.
func (c budgetHistoryCmd) Run(ctx context.Context, to streams) error {
	if c.Limit < 1 {
		return usageError("--limit must be positive")
	}
	var changes []audit.ControlFacts
	err := c.use(ctx, false, func(store dataStore) (err error) {
		changes, err = respond.History(ctx, store, c.Limit, respond.OfBudgets)
		return err
	})
	if err != nil {
		return err
	}
	if c.Output == "json" {
		all := []map[string]any{}
		for i := range changes {
			h := &changes[i]
			all = append(all, map[string]any{"version": h.Control.Version, "at": h.At, "action": budgetAction(h.Budget), "change": adjustmentJSON(&h.Budget.Adjustment),
				"actor": h.Actor, "reason": h.Reason, "ticket": h.Ticket, "ticket_used_up": h.Budget.RedeemedOf != "", "admitted_by": admittedBy(h.Budget)})
		}
		return printJSON(to, all)
	}
	w := tabwriter.NewWriter(to.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "VERSION\tAT\tACTION\tID\tCHANGE\tBY\tTICKET\tREASON")
	for i := range changes {
		h := &changes[i]
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", h.Control.Version, h.At.Format(time.RFC3339), budgetAction(h.Budget), h.Budget.Adjustment.ID,
			printable(adjustmentText(&h.Budget.Adjustment)), h.Actor, or(h.Ticket, "-"), h.Reason)
	}
	return w.Flush()
}

func admittedBy(b *audit.BudgetChange) []string {
	if b.Request == nil {
		return []string{}
	}
	return b.Request.AdmittedBy
}
