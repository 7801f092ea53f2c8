package decision

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Access says who may call. Implementations are pure and safe for concurrent use.
type Access interface {
	// Admits reports whether a caller may do something for a tenant, its own or
	// another. What cannot be evaluated is no.
	Admits(caller Caller, action Action, tenant string) bool
	// AdmitsChange is Admits for ToChangeBudget, which depends on the change.
	AdmitsChange(caller Caller, tenant string, change *BudgetChange) Admission
	// AdmitsDeclassification is Admits for ToDeclassify, likewise.
	AdmitsDeclassification(caller Caller, tenant string, d *Declassification) Admission
	// AdmitsReveal is Admits for ToReveal and ToForget, likewise.
	AdmitsReveal(caller Caller, tenant string, r *Reveal) Admission
}

// Reveal is that somebody asks what a token of a redaction stands for, or has it
// forgotten.
type Reveal struct {
	Forgets bool
	// Class is what the token is of; empty: there is no such token.
	Class string
	// Ticket is the ticket that is named and covers it; nil: none.
	Ticket *Ticket
}

// Action is what access policies call it.
func (r *Reveal) Action() Action {
	if r.Forgets {
		return ToForget
	}
	return ToReveal
}

// VaultTools is the server of the tools that tickets for it are for: vault/reveal and
// vault/forget.
const VaultTools = "vault"

// Declassification is that labels are taken from a session of a tenant.
type Declassification struct {
	Session string
	// Labels are the labels' names, in order.
	Labels []string
	// Ticket is the ticket that is named and covers it; nil: none.
	Ticket *Ticket
}

// SessionTools is the server of the tool that tickets for declassifications are for:
// session/declassify.
const SessionTools = "session"

// BudgetChange is a change of a tenant's budget that somebody asks for.
type BudgetChange struct {
	Kind ChangeKind
	// Budget is the budget's id and Subject the one share of it; empty: every share.
	Budget, Subject string
	// Amount is by how much the cap changes, never negative; 0 of a freeze.
	Amount int64
	// Lasts is how long it is to be in force; of what is withdrawn, how long it would
	// have been.
	Lasts time.Duration
	// Ticket is the ticket that is named and covers it; nil: none.
	Ticket *Ticket
}

// ChangeKind is what a change of a budget does.
type ChangeKind string

// The kinds.
const (
	Raises    ChangeKind = "raise"
	Lowers    ChangeKind = "lower"
	Freezes   ChangeKind = "freeze"
	Thaws     ChangeKind = "thaw"     // ends a freeze before its time
	Restores  ChangeKind = "restore"  // ends a lowering before its time
	Withdraws ChangeKind = "withdraw" // ends a raise before its time
)

// BudgetTools is the server of the tools that tickets for changes of budgets are for:
// budget/raise and so on, by the kinds.
const BudgetTools = "budget"

// ChangeOf is what putting an adjustment into force, or withdrawing it, asks for.
func ChangeOf(a *Adjustment, withdrawn bool, at time.Time) BudgetChange {
	c := BudgetChange{Budget: a.Budget, Subject: a.Subject, Amount: max(a.By, -a.By), Lasts: a.Until.Sub(at)}
	switch {
	case a.Frozen && withdrawn:
		c.Kind = Thaws
	case a.Frozen:
		c.Kind = Freezes
	case withdrawn && a.By < 0:
		c.Kind = Restores
	case withdrawn:
		c.Kind = Withdraws
	case a.By < 0:
		c.Kind = Lowers
	default:
		c.Kind = Raises
	}
	return c
}

// Admission is what access policies say of a change.
type Admission struct {
	Admitted bool
	// NeedsTicket says that it is refused, and nothing but a ticket lacks.
	NeedsTicket bool
	// Policies are those that say so, by id.
	Policies []string
}

// Action is what a caller asks Writ for.
type Action string

// The actions, with their names in access policies.
const (
	ToDecide   Action = "Decide"
	ToExplain  Action = "Explain"
	ToSettle   Action = "Settle"
	ToExchange Action = "Exchange"

	ToReadSessions Action = "ReadSessions"
	ToDeclassify   Action = "Declassify"

	ToReadBudgets   Action = "ReadBudgets"
	ToChangeBudget  Action = "ChangeBudget"
	ToRequestTicket Action = "RequestTicket"
	ToCreateTicket  Action = "CreateTicket"
	ToApproveTicket Action = "ApproveTicket"
	ToRejectTicket  Action = "RejectTicket"
	ToRevokeTicket  Action = "RevokeTicket"
	ToReadTickets   Action = "ReadTickets"

	ToReveal Action = "Reveal"
	ToForget Action = "Forget"
)

const maxTenant = 128 // bytes, in records

// CheckTenant refuses a name that no caller's tenant can have.
func CheckTenant(tenant string) error {
	blank := func(c rune) bool { return c <= ' ' || c == 0x7f }
	switch {
	case tenant == "" || len(tenant) > maxTenant || !utf8.ValidString(tenant) || strings.ContainsFunc(tenant, blank):
		return fmt.Errorf("the tenant is not 1 to %d bytes without spaces and control characters", maxTenant)
	case tenant == System:
		return fmt.Errorf("the tenant %q is reserved", System)
	}
	return nil
}
