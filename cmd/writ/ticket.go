package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gofrs/uuid/v5"

	"github.com/writpdp/writ/server/decision"
)

type ticketCmd struct {
	Create ticketCreateCmd `cmd:"" help:"Create an approved ticket."`
	List   ticketListCmd   `cmd:"" help:"List tickets."`
	Revoke ticketRevokeCmd `cmd:"" help:"Revoke a ticket."`
}

// tenantFlag says whose tickets.
type tenantFlag struct {
	Tenant string `default:"${dev_tenant}" help:"Whose tickets."`
}

type ticketCreateCmd struct {
	storeFlags      `embed:""`
	tenantFlag      `embed:""`
	ID              string        `help:"The ticket's id, such as the change's number. Without: a new one." placeholder:"ID"`
	Principal       string        `required:"" help:"The agent that may use it." placeholder:"AGENT"`
	Tool            string        `required:"" help:"The tool it covers." placeholder:"SERVER/NAME"`
	ToolDigest      string        `help:"Only this definition of the tool." placeholder:"HEX"`
	ArgumentsDigest string        `help:"Only these arguments, by their digest in the denial." placeholder:"HEX"`
	For             time.Duration `default:"1h" help:"How long it is valid from now."`
	Uses            int64         `default:"1" help:"How often it can be used."`
	Approver        []string      `required:"" help:"Who approved it; repeat." placeholder:"WHO"`
}

// Run creates a ticket.
func (c ticketCreateCmd) Run(ctx context.Context, to streams) error {
	if c.Uses < 1 || c.For <= 0 {
		return usageError("--uses and --for must be positive")
	}
	if c.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return fmt.Errorf("making an id: %w", err)
		}
		c.ID = id.String()
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	t := decision.Ticket{ID: c.ID, Principal: c.Principal, Tool: toolName(c.Tool), ToolDigest: c.ToolDigest,
		ArgumentsDigest: c.ArgumentsDigest, NotBefore: now, NotAfter: now.Add(c.For), MaxUses: c.Uses, Approvers: c.Approver}
	if err := c.use(ctx, true, func(store dataStore) error { return store.CreateTicket(ctx, c.Tenant, t) }); err != nil {
		return err
	}
	fmt.Fprintln(to.out, c.ID)
	return nil
}

type ticketListCmd struct {
	storeFlags `embed:""`
	tenantFlag `embed:""`
	Output     string `short:"o" default:"table" enum:"table,json" help:"Output: ${enum}."`
}

// Run lists tickets.
func (c ticketListCmd) Run(ctx context.Context, to streams) error {
	var tickets []decision.Ticket
	err := c.use(ctx, false, func(store dataStore) (err error) {
		tickets, err = store.Tickets(ctx, c.Tenant)
		return err
	})
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return json.NewEncoder(to.out).Encode(tickets)
	}
	w := tabwriter.NewWriter(to.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tAGENT\tTOOL\tUSED\tUNTIL\tREVOKED\tAPPROVERS")
	for _, t := range tickets {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d of %d\t%s\t%t\t%s\n", t.ID, t.Principal, t.Tool, t.Uses, t.MaxUses,
			t.NotAfter.UTC().Format(time.RFC3339), t.Revoked, strings.Join(t.Approvers, ", "))
	}
	return w.Flush()
}

type ticketRevokeCmd struct {
	storeFlags `embed:""`
	tenantFlag `embed:""`
	ID         string `arg:"" help:"The ticket."`
}

// Run revokes a ticket.
func (c ticketRevokeCmd) Run(ctx context.Context, to streams) error {
	if err := c.use(ctx, true, func(store dataStore) error { return store.RevokeTicket(ctx, c.Tenant, c.ID) }); err != nil {
		return err
	}
	fmt.Fprintln(to.out, "revoked")
	return nil
}
