package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/gofrs/uuid/v5"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/ticket"
)

type ticketCmd struct {
	Request ticketRequestCmd `cmd:"" help:"Ask for a ticket: it waits for approvers and covers nothing."`
	Create  ticketCreateCmd  `cmd:"" help:"Make a ticket that was approved elsewhere."`
	Approve ticketApproveCmd `cmd:"" help:"Approve a ticket that waits."`
	Reject  ticketRejectCmd  `cmd:"" help:"Refuse a ticket that waits."`
	Revoke  ticketRevokeCmd  `cmd:"" help:"Take a ticket back: nothing uses it any more."`
	List    ticketListCmd    `cmd:"" help:"List tickets."`
	Show    ticketShowCmd    `cmd:"" help:"Show a ticket, and who changed it when and why."`
}

// Help is what the command's help says besides.
func (ticketCmd) Help() string {
	return "A ticket lets one agent do what a policy forbids without one. For example: " +
		"writ ticket request --principal AGENT --tool SERVER/NAME --arguments-digest HEX --reason 'Clean up.' --data DIR, " +
		"then somebody else: writ ticket approve ID --reason 'Looked at.' --data DIR. " +
		"These commands work on the store: whoever can write to it is believed. Each change is a record in the log."
}

// tenantFlag says whose tickets.
type tenantFlag struct {
	Tenant string `default:"${dev_tenant}" help:"Whose tickets."`
}

// ticketFlags are those of every change of a ticket.
type ticketFlags struct {
	storeFlags `embed:""`
	tenantFlag `embed:""`
	Reason     string `required:"" placeholder:"TEXT" help:"Why, in a sentence; it is in the log for good."`
	Reference  string `placeholder:"TEXT" help:"What a tracker calls it, such as an issue's key."`
}

// by is who makes the change.
func (f ticketFlags) by(who string) (ticket.By, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return ticket.By{}, fmt.Errorf("making an id: %w", err)
	}
	return ticket.By{Caller: decision.Caller{Tenant: f.Tenant}, Actor: or(who, actor()), Reason: f.Reason, Source: "cli", Reference: f.Reference,
		Key: id.String(), Digest: sha256.Sum256(id[:]), At: time.Now(), ID: id}, nil
}

// change makes one change of a ticket and says how it stands then; of a new one,
// its id.
func (f ticketFlags) change(ctx context.Context, to streams, by ticket.By, do func(dataStore) (ticket.Change, error)) error {
	return f.use(ctx, true, func(store dataStore) error {
		done, err := do(store)
		if refusal, ok := errors.AsType[*ticket.Refusal](err); ok {
			return fmt.Errorf("changing the ticket: %s (%s)", refusal.Text, refusal.Code)
		}
		if err != nil {
			return fmt.Errorf("changing the ticket: %w", err)
		}
		t := &done.Ticket
		if t.Version == 1 { // for scripts: the id alone
			fmt.Fprintln(to.out, t.ID)
			return nil
		}
		fmt.Fprintf(to.out, "%s: %s (%d of %d approved; version %d)\n", t.ID, t.Stands(by.At), len(t.Approvers), t.Needs, t.Version)
		return nil
	})
}

// ticketTerms are what a ticket is to cover.
type ticketTerms struct {
	ID              string        `name:"id" help:"The ticket's id, such as the change's number. Without: a new one." placeholder:"ID"`
	Principal       string        `required:"" help:"The agent that may use it." placeholder:"AGENT"`
	Tool            string        `required:"" help:"The tool it covers." placeholder:"SERVER/NAME"`
	ToolDigest      string        `help:"Only this definition of the tool." placeholder:"HEX"`
	ArgumentsDigest string        `help:"Only these arguments, by their digest in the denial." placeholder:"HEX"`
	Scope           string        `help:"Only where this Cedar condition holds, such as 'context.args.amount <= 10000'. Needs --bundle." placeholder:"CEDAR"`
	Bundle          string        `type:"existingdir" help:"The bundle against whose schema the scope is checked." placeholder:"DIR"`
	OnlyBundle      bool          `help:"Valid under this very bundle alone."`
	Resource        string        `help:"Only this resource; its id stands in the log." placeholder:"TYPE::ID"`
	After           time.Duration `help:"From when it is valid, from now." placeholder:"DURATION"`
	For             time.Duration `default:"1h" help:"How long it is valid from then."`
	Uses            int64         `default:"1" help:"How often it can be used."`
	Role            []string      `help:"A role of which an approver must have one; repeat." placeholder:"ROLE"`
}

// ticket is what the flags say.
func (f ticketTerms) ticket(now time.Time) (decision.Ticket, error) {
	if f.Uses < 1 || f.For <= 0 || f.After < 0 {
		return decision.Ticket{}, usageError("--uses and --for must be positive, and --after not negative")
	}
	from := now.Add(f.After)
	t := decision.Ticket{ID: f.ID, Principal: f.Principal, Tool: toolName(f.Tool), ToolDigest: f.ToolDigest, ArgumentsDigest: f.ArgumentsDigest,
		Scope: f.Scope, NotBefore: from, NotAfter: from.Add(f.For), MaxUses: f.Uses, Roles: f.Role}
	if f.Resource != "" {
		at := strings.LastIndex(f.Resource, "::")
		if at < 1 {
			return t, usageError("--resource is not TYPE::ID")
		}
		t.Resource = decision.TicketResource{Type: f.Resource[:at], ID: f.Resource[at+2:]}
	}
	if f.Bundle == "" {
		if f.Scope != "" || f.OnlyBundle {
			return t, usageError("--scope and --only-bundle need --bundle DIR")
		}
		return t, nil
	}
	b, err := policy.Load(os.DirFS(f.Bundle))
	if err != nil {
		return t, fmt.Errorf("loading the bundle: %w", err)
	}
	if f.OnlyBundle {
		t.Bundle = b.Digest
	}
	if f.Scope != "" {
		return t, b.Policies.CheckScope(f.Scope, t.Tool)
	}
	return t, nil
}

type ticketRequestCmd struct {
	ticketFlags `embed:""`
	ticketTerms `embed:""`
	Approvals   int    `default:"1" help:"How many must approve it."`
	Requester   string `help:"Who asks. Without: the user of the operating system." placeholder:"WHO"`
}

// Run asks for a ticket.
func (c ticketRequestCmd) Run(ctx context.Context, to streams) error {
	by, err := c.by(c.Requester)
	if err != nil {
		return err
	}
	t, err := c.ticket(by.At)
	if err != nil {
		return err
	}
	t.Needs = c.Approvals
	return c.change(ctx, to, by, func(store dataStore) (ticket.Change, error) { return ticket.Request(ctx, store, t, by) })
}

type ticketCreateCmd struct {
	ticketFlags `embed:""`
	ticketTerms `embed:""`
	Approver    []string `required:"" help:"Who approved it; repeat." placeholder:"WHO"`
}

// Run makes an approved ticket.
func (c ticketCreateCmd) Run(ctx context.Context, to streams) error {
	by, err := c.by("")
	if err != nil {
		return err
	}
	t, err := c.ticket(by.At)
	if err != nil {
		return err
	}
	t.Approvers = c.Approver
	return c.change(ctx, to, by, func(store dataStore) (ticket.Change, error) { return ticket.Create(ctx, store, t, by) })
}

type ticketApproveCmd struct {
	ticketFlags `embed:""`
	ID          string   `arg:"" help:"The ticket."`
	Approver    string   `help:"Who approves it. Without: the user of the operating system." placeholder:"WHO"`
	Role        []string `help:"A role that the approver has; repeat." placeholder:"ROLE"`
}

// Run approves a ticket.
func (c ticketApproveCmd) Run(ctx context.Context, to streams) error {
	by, err := c.by(c.Approver)
	if err != nil {
		return err
	}
	by.Roles = c.Role
	return c.change(ctx, to, by, func(store dataStore) (ticket.Change, error) { return ticket.Approve(ctx, store, c.ID, by) })
}

type ticketRejectCmd struct {
	ticketFlags `embed:""`
	ID          string `arg:"" help:"The ticket."`
}

// Run rejects a ticket.
func (c ticketRejectCmd) Run(ctx context.Context, to streams) error {
	by, err := c.by("")
	if err != nil {
		return err
	}
	return c.change(ctx, to, by, func(store dataStore) (ticket.Change, error) { return ticket.Reject(ctx, store, c.ID, by) })
}

type ticketRevokeCmd struct {
	ticketFlags `embed:""`
	ID          string `arg:"" help:"The ticket."`
}

// Run revokes a ticket.
func (c ticketRevokeCmd) Run(ctx context.Context, to streams) error {
	by, err := c.by("")
	if err != nil {
		return err
	}
	return c.change(ctx, to, by, func(store dataStore) (ticket.Change, error) { return ticket.Revoke(ctx, store, c.ID, by) })
}
