package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/ticket"
)

// ticketPage is how many tickets are read at once.
const ticketPage = 500

type ticketListCmd struct {
	storeFlags `embed:""`
	tenantFlag `embed:""`
	State      string `placeholder:"STATE" help:"Only those that are requested, approved, rejected, revoked, used-up or expired."`
	Output     string `short:"o" default:"table" enum:"table,json" help:"Output: ${enum}."`
}

// Run lists tickets.
func (c ticketListCmd) Run(ctx context.Context, to streams) error {
	now := time.Now()
	all := []decision.Ticket{}
	err := c.use(ctx, false, func(store dataStore) error {
		for after := ""; ; {
			page, err := store.Tickets(ctx, c.Tenant, after, ticketPage)
			if err != nil {
				return err
			}
			for i := range page {
				t, err := audit.TicketOf(&page[i], page[i].Ticket)
				if err != nil {
					return err
				}
				if c.State == "" || stateText(&t, now) == c.State {
					all = append(all, t)
				}
				after = t.ID
			}
			if len(page) < ticketPage {
				return nil
			}
		}
	})
	if err != nil {
		return err
	}
	if c.Output == "json" {
		out := []map[string]any{}
		for i := range all {
			out = append(out, ticketJSON(&all[i], now))
		}
		return printJSON(to, out)
	}
	w := tabwriter.NewWriter(to.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tSTATE\tAGENT\tTOOL\tUSED\tUNTIL\tAPPROVERS")
	for i := range all {
		t := &all[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d of %d\t%s\t%s\n", t.ID, stateText(t, now), t.Principal, t.Tool, t.Uses, t.MaxUses,
			t.NotAfter.UTC().Format(time.RFC3339), approversText(t))
	}
	return w.Flush()
}

// stateText is the state in one word.
func stateText(t *decision.Ticket, at time.Time) string {
	return strings.ReplaceAll(t.Stands(at).String(), " ", "-")
}

func approversText(t *decision.Ticket) string {
	return strings.TrimSuffix(fmt.Sprintf("%d of %d: %s", len(t.Approvers), t.Needs, strings.Join(t.Approvers, ", ")), ": ")
}

func ticketJSON(t *decision.Ticket, at time.Time) map[string]any {
	return map[string]any{"id": t.ID, "version": t.Version, "state": stateText(t, at), "principal": t.Principal, "tool": t.Tool.String(),
		"definition_digest": t.ToolDigest, "arguments_digest": t.ArgumentsDigest, "scope": t.Scope, "resource_type": t.Resource.Type,
		"resource_id": t.Resource.ID, "bundle_digest": t.Bundle, "not_before": t.NotBefore, "not_after": t.NotAfter, "max_uses": t.MaxUses, "uses": t.Uses,
		"requester": t.Requester, "parties": list(t.Parties), "approvals_needed": t.Needs, "roles": list(t.Roles), "approvers": list(t.Approvers)}
}

// list is never null in JSON.
func list(texts []string) []string { return append([]string{}, texts...) }

type ticketShowCmd struct {
	storeFlags `embed:""`
	tenantFlag `embed:""`
	ID         string `arg:"" help:"The ticket."`
	Output     string `short:"o" default:"table" enum:"table,json" help:"Output: ${enum}."`
}

// Run shows a ticket and its changes.
func (c ticketShowCmd) Run(ctx context.Context, to streams) error {
	now := time.Now()
	var t decision.Ticket
	var changes []*audit.TicketChange
	err := c.use(ctx, false, func(store dataStore) error {
		stored, err := store.Ticket(ctx, c.Tenant, c.ID)
		if errors.Is(err, audit.ErrNotFound) {
			return ticket.ErrUnknown
		}
		if err != nil {
			return err
		}
		if t, err = audit.TicketOf(&stored, c.ID); err != nil {
			return err
		}
		changes, err = ticket.History(&stored, func(id [16]byte) (audit.Row, error) { return store.Record(ctx, c.Tenant, id) })
		return err
	})
	if err != nil {
		return fmt.Errorf("reading the ticket: %w", err)
	}
	if c.Output == "json" {
		out := ticketJSON(&t, now)
		history := []map[string]any{}
		for _, h := range changes {
			history = append(history, map[string]any{"version": h.Ticket.Version, "at": h.At, "action": h.Action.String(), "actor": h.Actor, "roles": list(h.Roles),
				"reason": h.Reason, "source": h.Source, "reference": h.Reference, "caller": h.Caller.SPIFFEID})
		}
		out["history"] = history
		return printJSON(to, out)
	}
	w := tabwriter.NewWriter(to.out, 0, 0, 2, ' ', 0)
	for _, line := range [][2]string{
		{"state", stateText(&t, now)}, {"agent", t.Principal}, {"tool", t.Tool.String()}, {"definition", t.ToolDigest}, {"arguments", t.ArgumentsDigest},
		{"scope", t.Scope}, {"resource", strings.Trim(t.Resource.Type+"::"+t.Resource.ID, ":")}, {"bundle", t.Bundle},
		{"valid", t.NotBefore.Format(time.RFC3339) + " to " + t.NotAfter.Format(time.RFC3339)}, {"used", fmt.Sprintf("%d of %d", t.Uses, t.MaxUses)},
		{"asked for by", t.Requester}, {"involved", strings.Join(t.Parties, ", ")}, {"roles", strings.Join(t.Roles, ", ")}, {"approved", approversText(&t)},
	} {
		if line[1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", line[0], line[1])
		}
	}
	fmt.Fprintln(w, "\nVERSION\tAT\tACTION\tBY\tSOURCE\tREASON")
	for _, h := range changes {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\n", h.Ticket.Version, h.At.Format(time.RFC3339), h.Action, h.Actor,
			strings.Trim(h.Source+" "+h.Reference, " "), h.Reason)
	}
	return w.Flush()
}
