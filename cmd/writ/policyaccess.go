package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/access"
)

type policyAccessCmd struct {
	Bundle  string   `arg:"" type:"existingdir" help:"The bundle's directory."`
	Caller  string   `arg:"" help:"The caller's SPIFFE ID."`
	Tenant  string   `required:"" placeholder:"TENANT" help:"The caller's tenant, as the server's configuration gives it."`
	For     string   `placeholder:"TENANT" help:"The tenant that its requests name. Without: its own."`
	Session string   `default:"any" help:"The session that Declassify is asked for."`
	Label   []string `default:"untrusted-content" help:"The labels that Declassify is asked for."`
	Class   string   `default:"email" help:"What the token is of that Reveal and Forget are asked for."`

	Change string `default:"raise" enum:"raise,lower,freeze,thaw,restore,withdraw" help:"The change of a budget that ChangeBudget is asked for: ${enum}."`
	Budget string `placeholder:"ID" help:"Which budget it changes."`
	Amount int64  `default:"1" help:"By how much it changes the cap; a freeze and its end by 0."`
	Output string `short:"o" default:"table" enum:"table,json" help:"Output: ${enum}."`
}

// admission is a line of the answer.
type admission struct {
	Action   decision.Action `json:"action"`
	Admitted bool            `json:"admitted"`
	// NeedsTicket says that nothing but a ticket lacks.
	NeedsTicket bool     `json:"needs_ticket,omitempty"`
	Policies    []string `json:"policies,omitempty"`
}

func (a admission) String() string {
	switch {
	case a.Admitted:
		return "yes"
	case a.NeedsTicket:
		return "with a ticket"
	}
	return "no"
}

// asked is the change that ChangeBudget is asked for: for an hour.
func (c policyAccessCmd) asked() *decision.BudgetChange {
	change := &decision.BudgetChange{Kind: decision.ChangeKind(c.Change), Budget: c.Budget, Amount: c.Amount, Lasts: time.Hour}
	if change.Kind == decision.Freezes || change.Kind == decision.Thaws {
		change.Amount = 0
	}
	return change
}

// Run prints what the caller may do.
func (c policyAccessCmd) Run(to streams) error {
	if c.Amount < 0 {
		return usageError("--amount has no sign: --change says which way")
	}
	if _, err := spiffeid.FromString(c.Caller); err != nil {
		return usageError(fmt.Sprintf("%q is no SPIFFE ID: %v", c.Caller, err))
	}
	if c.For == "" {
		c.For = c.Tenant
	}
	for _, tenant := range []string{c.Tenant, c.For} {
		if err := decision.CheckTenant(tenant); err != nil {
			return usageError(err.Error())
		}
	}
	b, err := policy.Load(bundleFiles(c.Bundle))
	if err != nil {
		return err
	}
	policies, ok := b.Access.(*access.Policies)
	if !ok {
		return fmt.Errorf("the access policies of %s are of the type %T", b.Name, b.Access)
	}
	var all []admission
	for _, action := range access.Actions() {
		a, caller := admission{Action: action}, decision.Caller{SPIFFEID: c.Caller, Tenant: c.Tenant}
		switch action {
		case decision.ToDeclassify:
			says := policies.AdmitsDeclassification(caller, c.For, &decision.Declassification{Session: c.Session, Labels: slices.Sorted(slices.Values(c.Label))})
			a.Admitted, a.NeedsTicket, a.Policies = says.Admitted, says.NeedsTicket, says.Policies
		case decision.ToReveal, decision.ToForget:
			says := policies.AdmitsReveal(caller, c.For, &decision.Reveal{Forgets: action == decision.ToForget, Class: c.Class})
			a.Admitted, a.NeedsTicket, a.Policies = says.Admitted, says.NeedsTicket, says.Policies
		case decision.ToChangeBudget:
			says := policies.AdmitsChange(caller, c.For, c.asked())
			a.Admitted, a.NeedsTicket, a.Policies = says.Admitted, says.NeedsTicket, says.Policies
		default:
			a.Admitted, a.Policies = policies.Explain(caller, action, c.For)
		}
		all = append(all, a)
	}
	if c.Output == "json" {
		text, err := json.MarshalIndent(all, "", "  ")
		if err != nil {
			return fmt.Errorf("printing the answer: %w", err)
		}
		fmt.Fprintln(to.out, string(text))
		return nil
	}
	w := tabwriter.NewWriter(to.out, 0, 0, 2, ' ', 0)
	for _, a := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\n", a.Action, a, strings.Join(a.Policies, ", "))
	}
	return w.Flush()
}
