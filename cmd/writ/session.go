package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gofrs/uuid/v5"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

type sessionCmd struct {
	Show       sessionShowCmd       `cmd:"" help:"Which labels a session holds, and its values over events, now."`
	Declassify sessionDeclassifyCmd `cmd:"" help:"Take labels from a session: for good, until it is given them again."`
}

// ofSession says whose session is meant.
type ofSession struct {
	Session    string `arg:"" help:"The session's id."`
	rulesFlags `embed:""`
	Tenant     string `default:"${dev_tenant}" help:"The session's tenant."`
}

type sessionShowCmd struct {
	ofSession `embed:""`
	Output    string `short:"o" default:"table" enum:"table,json" help:"Output: ${enum}."`
}

// Run shows a session.
func (c sessionShowCmd) Run(ctx context.Context, to streams) error {
	return c.use(ctx, false, func(store dataStore) error {
		bundle, err := c.live(ctx, store)
		if err != nil {
			return err
		}
		at, key := time.Now(), decision.LabelsKey(c.Session)
		want := decision.Want{Tenant: c.Tenant, Budgets: []decision.BudgetKey{key}}
		for i := range bundle.Chains {
			want.Budgets = append(want.Budgets, bundle.Chains[i].Keys(c.Session, at)...)
		}
		facts, err := store.Snapshot(ctx, want)
		if err != nil {
			return err
		}
		labels := bundle.LabelNames(decision.Labels(facts.Used[key]))
		values := map[string]any{}
		for i := range bundle.Chains {
			rule := &bundle.Chains[i]
			held := rule.Held(c.Session, at, facts.Used)
			if values[rule.ID] = held; rule.Kind == decision.Formerly {
				values[rule.ID] = held > 0
			}
		}
		if c.Output == "json" {
			text, err := json.MarshalIndent(map[string]any{"session": c.Session, "labels": slices.Concat([]string{}, labels), "chain": values}, "", "  ")
			if err != nil {
				return fmt.Errorf("printing the session: %w", err)
			}
			fmt.Fprintln(to.out, string(text))
			return nil
		}
		w := tabwriter.NewWriter(to.out, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "labels\t%s\n", or(strings.Join(labels, " "), "-"))
		for i := range bundle.Chains {
			id := bundle.Chains[i].ID
			fmt.Fprintf(w, "%s\t%v\n", id, values[id])
		}
		return w.Flush()
	})
}

type sessionDeclassifyCmd struct {
	ofSession `embed:""`
	Label     []string `required:"" sep:"," placeholder:"LABEL" help:"The labels; repeat."`
	Reason    string   `required:"" placeholder:"TEXT" help:"Why, in a sentence; it is in the log for good."`
}

// declassifications is how often it is tried again where the session is given labels
// meanwhile.
const declassifications = 8

// Run takes labels from a session.
func (c sessionDeclassifyCmd) Run(ctx context.Context, to streams) error {
	return c.use(ctx, true, func(store dataStore) error {
		bundle, err := c.live(ctx, store)
		if err != nil {
			return err
		}
		names := slices.Compact(slices.Sorted(slices.Values(c.Label)))
		labels, unknown := bundle.LabelsOf(names)
		if len(unknown) > 0 {
			return fmt.Errorf("the bundle has no label %q", unknown[0])
		}
		id, err := uuid.NewV7()
		if err != nil {
			return fmt.Errorf("making an id: %w", err)
		}
		key := decision.LabelsKey(c.Session)
		for range declassifications {
			facts, err := store.Snapshot(ctx, decision.Want{Tenant: c.Tenant, Budgets: []decision.BudgetKey{key}})
			if err != nil {
				return err
			}
			held := facts.Used[key]
			entry, err := audit.Declassified(id, &audit.Declassification{At: time.Now(), Caller: decision.Caller{Tenant: c.Tenant}, Actor: actor(),
				RequestID: id, Session: c.Session, Labels: names, Reason: c.Reason,
				Note: decision.Note{Key: key, Op: decision.NoteClear, Amount: int64(labels), Guarded: true, Saw: held}})
			if err != nil {
				return err
			}
			switch _, err := store.Commit(ctx, entry); {
			case errors.Is(err, audit.ErrStale):
				continue
			case err != nil:
				return err
			}
			was := decision.Labels(held)
			fmt.Fprintf(to.out, "%s: taken: %s; left: %s\n", c.Session, or(strings.Join(bundle.LabelNames(was&labels), " "), "none"),
				or(strings.Join(bundle.LabelNames(was&^labels), " "), "none"))
			return nil
		}
		return fmt.Errorf("the session is given labels faster than they can be taken: try again, or lock it with `writ lock session=%s`", c.Session)
	})
}
