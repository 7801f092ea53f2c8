package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gofrs/uuid/v5"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/respond"
)

// followLocks knows the locks and changes of budgets that a store has.
func followLocks(ctx context.Context, store *servedStore, log *slog.Logger) (*respond.Follower, error) {
	return respond.Follow(ctx, respond.Config{Store: store, Now: time.Now, Clock: store.clock, Report: func(l decision.Control, err error) {
		if err != nil {
			log.Error("the locks", "in_force", l.Version, "error", err)
			return
		}
		log.Info("the locks", "in_force", l.Version, "locks", len(l.Locks), "budget_changes", len(l.Adjustments))
	}})
}

// lockFlags are those of every change of locks and budgets.
type lockFlags struct {
	storeFlags `embed:""`
	Reason     string `required:"" placeholder:"TEXT" help:"Why, in a sentence; it is in the log for good."`
	Ticket     string `placeholder:"ID" help:"The ticket that approves it; it is recorded, not looked up."`
}

// by is who makes the change.
func (f lockFlags) by() (audit.By, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return audit.By{}, fmt.Errorf("making an id: %w", err)
	}
	return audit.By{Actor: actor(), Reason: f.Reason, Ticket: f.Ticket, At: time.Now(), ID: id}, nil
}

// announce tells the store, until ctx is done, which locks this process goes by.
func announce(ctx context.Context, locks *respond.Follower, to respond.Roll, log *slog.Logger) error {
	id, err := uuid.NewV4()
	if err != nil {
		return fmt.Errorf("making an id: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("learning this machine's name: %w", err)
	}
	self := decision.Replica{ID: id, Name: fmt.Sprintf("%.200s/%d", host, os.Getpid())}
	locks.Announce(ctx, to, self, func(err error) {
		if err != nil {
			log.Error("other servers are not told which locks are in force here", "error", err)
			return
		}
		log.Info("other servers are told which locks are in force here")
	})
	return nil
}

type lockCmds struct {
	Set    lockCmd       `cmd:"" default:"withargs" help:"Stop something. The word set may be left out."`
	Status lockStatusCmd `cmd:"" help:"Which servers go by the newest locks, and since when."`
}

// Help is what the command's help says besides.
func (lockCmds) Help() string {
	return "For example: writ lock agent:spiffe://example.org/agent/support --for 4h --reason 'INC-42: deletes what it should read.' --database-file FILE. " +
		"Targets and effects are in writ lock set --help."
}

type lockCmd struct {
	Target    string `arg:"" help:"What to stop: all, or agent:, caller:, human:, session:, tool:, server:, class:, vendor:, host: or purpose: with a value."`
	lockFlags `embed:""`
	Effect    string        `default:"deny" enum:"deny,read-only,quarantine,block-egress,throttle" help:"What happens to it: ${enum}."`
	Rate      string        `placeholder:"N/DURATION" help:"Of throttle: how many get through, of every tenant: 10/1m."`
	For       time.Duration `required:"" help:"How long, at the most 720h: then it ends by itself." placeholder:"DURATION"`
	Tenant    string        `placeholder:"TENANT" help:"Only this tenant's. Without: every tenant's."`
	Message   string        `placeholder:"TEXT" help:"What is told to whom it stops."`
	ID        string        `name:"id" help:"The lock's id. Without: a new one." placeholder:"ID"`
}

// Help is what the command's help says besides.
func (lockCmd) Help() string {
	return "The lock is in force on every server of the store when the command returns: nothing that it stops is allowed any more. " +
		"A caller is a SPIFFE ID, or the beginning of some that ends in a slash; a host stands for all below it."
}

// Run sets a lock.
func (c lockCmd) Run(ctx context.Context, to streams) error {
	target, err := decision.ParseTarget(c.Target)
	if err != nil {
		return usageError(err.Error())
	}
	effect, err := decision.ParseLockEffect(c.Effect)
	if err != nil {
		return usageError(err.Error())
	}
	l := decision.Lock{Target: target, Effect: effect, Message: c.Message}
	if l.Rate, l.Per, err = rateOf(c.Rate); err != nil {
		return usageError(err.Error())
	}
	by, err := c.by()
	if err != nil {
		return err
	}
	if c.ID == "" {
		c.ID = "L-" + hex.EncodeToString(by.ID[11:])
	}
	target.Tenant = c.Tenant
	l.ID, l.Target, l.Until = c.ID, target, by.At.Add(c.For)
	return c.use(ctx, true, func(store dataStore) error {
		made, err := respond.Set(ctx, store, l, by)
		if err != nil {
			return err
		}
		fmt.Fprintf(to.out, "%s: %s %s until %s (version %d)\n", l.ID, effect, targetText(target), made.Lock.Until.Format(time.RFC3339), made.Control.Version)
		return nil
	})
}

// rateOf reads N/DURATION; empty: none.
func rateOf(text string) (n int64, per time.Duration, err error) {
	if text == "" {
		return 0, 0, nil
	}
	count, in, _ := strings.Cut(text, "/")
	if n, err = strconv.ParseInt(count, 10, 64); err == nil {
		per, err = time.ParseDuration(in)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("the rate %q is not N/DURATION, as in 10/1m", text)
	}
	return n, per, nil
}

// targetText is a target with its tenant.
func targetText(t decision.Target) string {
	if t.Tenant == "" {
		return t.String()
	}
	return t.String() + " of " + t.Tenant
}

type unlockCmd struct {
	ID        string `arg:"" help:"The lock's id."`
	lockFlags `embed:""`
}

// Run lifts a lock.
func (c unlockCmd) Run(ctx context.Context, to streams) error {
	by, err := c.by()
	if err != nil {
		return err
	}
	return c.use(ctx, true, func(store dataStore) error {
		made, err := respond.Lift(ctx, store, c.ID, by)
		if err != nil {
			return err
		}
		fmt.Fprintf(to.out, "%s: lifted (version %d)\n", c.ID, made.Control.Version)
		return nil
	})
}

type locksCmd struct {
	storeFlags `embed:""`
	History    bool   `help:"Every change, the newest first, in the place of what is in force."`
	Limit      int    `default:"100" help:"How many changes."`
	Output     string `short:"o" default:"table" enum:"table,json" help:"Output: ${enum}."`
}

// Run lists the locks.
func (c locksCmd) Run(ctx context.Context, to streams) error {
	if c.Limit < 1 {
		return usageError("--limit must be positive")
	}
	var newest audit.ControlFacts
	var changes []audit.ControlFacts
	err := c.use(ctx, false, func(store dataStore) (err error) {
		if c.History {
			changes, err = respond.History(ctx, store, c.Limit, respond.OfLocks)
		} else {
			newest, err = respond.Newest(ctx, store)
		}
		return err
	})
	if err != nil {
		return err
	}
	if c.History {
		return printLockHistory(to, c.Output, changes)
	}
	locks := respond.InForce(newest.Control.Locks, time.Now())
	if c.Output == "json" {
		all := []map[string]any{}
		for i := range locks {
			all = append(all, lockJSON(&locks[i]))
		}
		return printJSON(to, all)
	}
	if len(locks) == 0 {
		fmt.Fprintln(to.out, "no lock is in force")
		return nil
	}
	w := tabwriter.NewWriter(to.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tEFFECT\tTARGET\tUNTIL\tBY\tREASON")
	for i := range locks {
		l := &locks[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", l.ID, l.Effect, targetText(l.Target), l.Until.Format(time.RFC3339), l.By, l.Reason)
	}
	return w.Flush()
}

func printLockHistory(to streams, output string, changes []audit.ControlFacts) error {
	if output == "json" {
		all := []map[string]any{}
		for i := range changes {
			h := &changes[i]
			all = append(all, map[string]any{"version": h.Control.Version, "at": h.At, "action": lockAction(h), "lock": lockJSON(&h.Lock),
				"actor": h.Actor, "reason": h.Reason, "ticket": h.Ticket, "in_force": len(h.Control.Locks)})
		}
		return printJSON(to, all)
	}
	w := tabwriter.NewWriter(to.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "VERSION\tAT\tACTION\tID\tEFFECT\tTARGET\tBY\tTICKET\tREASON")
	for i := range changes {
		h := &changes[i]
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", h.Control.Version, h.At.Format(time.RFC3339), lockAction(h), h.Lock.ID,
			h.Lock.Effect, targetText(h.Lock.Target), h.Actor, or(h.Ticket, "-"), h.Reason)
	}
	return w.Flush()
}

func lockAction(h *audit.ControlFacts) string {
	if h.Lifted {
		return "LIFT"
	}
	return "SET"
}

func lockJSON(l *decision.Lock) map[string]any {
	out := map[string]any{"id": l.ID, "effect": l.Effect.String(), "target": l.Target.String(), "tenant": l.Target.Tenant,
		"until": l.Until, "by": l.By, "reason": l.Reason, "message": l.Message}
	if l.Effect == decision.LockThrottle {
		out["rate"], out["per"] = l.Rate, l.Per.String()
	}
	return out
}

func printJSON(to streams, what any) error {
	text, err := json.MarshalIndent(what, "", "  ")
	if err != nil {
		return fmt.Errorf("printing the answer: %w", err)
	}
	fmt.Fprintln(to.out, string(text))
	return nil
}
