package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/uuid/v5"
	"google.golang.org/protobuf/proto"

	"github.com/writpdp/writ/document"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/respond"
)

// wired begins the ids of changes that were asked for over the wire.
const wired = "A-"

// budgetChange is a change of a budget on its way.
type budgetChange struct {
	caller decision.Caller // as its certificate says
	tenant string
	in     *writv1.BudgetServiceChangeRequest
	at     time.Time
	bundle *decision.Bundle
	rule   *decision.BudgetRule // nil: the bundle has none
	// adjustment is what is put into force, or withdrawn; its ID is empty where there
	// is none to withdraw.
	adjustment decision.Adjustment
	withdraws  bool
	// before says that the request made its change before.
	before bool
}

// ChangeBudget changes a budget for a while, if the access policies permit it: look,
// decide, commit, answer. It is a record, and in force everywhere once it is answered.
func (s *Server) ChangeBudget(ctx context.Context, caller decision.Caller, in *writv1.BudgetServiceChangeRequest) (*writv1.BudgetServiceChangeResponse, error) {
	if err := s.validate(in); err != nil {
		return nil, err
	}
	c := &budgetChange{caller: caller, tenant: in.Tenant, in: in, at: s.now().UTC().Truncate(time.Microsecond), bundle: s.live()}
	if c.tenant == "" {
		c.tenant = caller.Tenant
	}
	c.rule = ruleOf(c.bundle, in.Budget)
	if err := s.lookAt(ctx, c); err != nil {
		return nil, err
	}
	approval, err := s.approve(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if s.budgets == nil {
		return nil, unserved()
	}
	id, err := s.newID()
	if err != nil {
		return nil, internal(s.log, "making an id", err)
	}
	select {
	case s.changing <- struct{}{}:
		defer func() { <-s.changing }()
	case <-ctx.Done():
		return nil, s.unrecorded(ctx, "waiting for other changes of budgets", ctx.Err())
	}
	made, err := s.makeChange(ctx, c, id, approval)
	if err != nil {
		return nil, s.unchanged(ctx, err)
	}
	if s.control != nil {
		_ = s.control.Look(ctx) // so that who asks here next is told of it; it has reported the error
	}
	out := &writv1.BudgetServiceChangeResponse{Adjustment: adjustmentFacts(&made.Budget.Adjustment), Version: made.Control.Version,
		Receipt: audit.ReceiptOf(&made.Row, s.origin, made.Receipt), Replayed: made.Receipt.Prior != nil}
	return out, nil
}

// lookAt finds what is to be changed.
func (s *Server) lookAt(ctx context.Context, c *budgetChange) error {
	in := c.in
	c.adjustment = decision.Adjustment{ID: wired + in.RequestId, Tenant: c.tenant, Budget: in.Budget, Message: in.Message}
	a := &c.adjustment
	if len(in.Share) > 0 {
		a.Subject = decision.Share(in.Share)
	}
	var named string
	switch change := in.Change.(type) {
	case *writv1.BudgetServiceChangeRequest_Raise:
		a.By = change.Raise
		if c.rule != nil {
			a.Until = c.rule.Resets(c.at)
		}
	case *writv1.BudgetServiceChangeRequest_Freeze:
		a.Frozen = true
	case *writv1.BudgetServiceChangeRequest_Withdraw:
		c.withdraws, named = true, change.Withdraw
	}
	if in.Until != nil {
		a.Until = in.Until.AsTime().Truncate(time.Microsecond)
	}
	if s.budgets == nil {
		return nil
	}
	newest, err := respond.Newest(ctx, s.budgets)
	if err != nil {
		return s.unrecorded(ctx, "reading the control state", err)
	}
	all := newest.Control.Adjustments
	if !c.withdraws {
		c.before = slices.ContainsFunc(all, func(b decision.Adjustment) bool { return b.ID == a.ID })
		return nil
	}
	a.ID = ""
	if !strings.HasPrefix(named, wired) {
		return nil // what an operator has stopped is not for callers to let go on
	}
	mine := func(b decision.Adjustment) bool {
		return b.ID == named && b.Tenant == c.tenant && b.Budget == in.Budget
	}
	if i := slices.IndexFunc(all, mine); i >= 0 {
		*a = all[i]
	}
	return nil
}

// approve asks the access policies, with the ticket that is named.
func (s *Server) approve(ctx context.Context, c *budgetChange) (*respond.Approval, error) {
	change := decision.ChangeOf(&c.adjustment, c.withdraws, c.at)
	var says decision.Admission
	if decision.CheckTenant(c.tenant) == nil {
		says = c.bundle.Access.AdmitsChange(c.caller, c.tenant, &change)
	}
	known := says.Admitted || says.NeedsTicket // who is not is told nothing of tickets
	approval := &respond.Approval{}
	if c.in.TicketId != "" && decision.CheckTenant(c.tenant) == nil && !c.before {
		ticket, refused, err := s.ticketFor(ctx, c, &change)
		switch {
		case err != nil:
			return nil, err
		case refused != nil && known:
			return nil, failWith(errTicket, refused.Code, refused.Text)
		case refused == nil:
			change.Ticket, approval.Redeem = ticket, ticket.Version
			says = c.bundle.Access.AdmitsChange(c.caller, c.tenant, &change)
		}
	}
	switch {
	case says.Admitted || c.before && known:
	case says.NeedsTicket:
		doc, err := argumentsOf(&change)
		if err != nil {
			return nil, internal(s.log, "hashing a change", err)
		}
		return nil, needsTicket(c.caller.SPIFFEID, decision.ToolName{Server: decision.BudgetTools, Name: string(change.Kind)}, doc)
	default:
		return nil, fail(errForbidden, fmt.Sprintf("no access policy permits the caller the action %s for this tenant", decision.ToChangeBudget))
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(c.in)
	if err != nil {
		return nil, internal(s.log, "hashing a request", err)
	}
	approval.BudgetRequest = audit.BudgetRequest{ID: uuid.FromStringOrNil(c.in.RequestId), Digest: digest(data, c.tenant, c.caller.SPIFFEID),
		AdmittedBy: says.Policies, Bundle: c.bundle.Digest}
	return approval, nil
}

// ticketFor is the ticket that a change names, by the stage that judges those of
// calls. refused says why it does not cover the change.
func (s *Server) ticketFor(ctx context.Context, c *budgetChange, change *decision.BudgetChange) (t *decision.Ticket, refused *decision.Reason, err error) {
	facts, err := s.ticket(ctx, c.tenant, c.in.TicketId)
	if err != nil {
		return nil, nil, err
	}
	arguments, err := argumentsOf(change)
	if err != nil {
		return nil, nil, internal(s.log, "hashing a change", err)
	}
	tool := decision.ToolName{Server: decision.BudgetTools, Name: string(change.Kind)}
	return s.covering(decision.Caller{SPIFFEID: c.caller.SPIFFEID, Tenant: c.tenant}, c.in.TicketId, tool, arguments, c.bundle, facts, c.at)
}

// ticket is what the store knows of a ticket that a change at run time names.
func (s *Server) ticket(ctx context.Context, tenant, id string) (decision.Facts, error) {
	facts, err := s.ledger.Snapshot(ctx, decision.Want{Tenant: tenant, Ticket: id})
	if err != nil {
		return facts, s.unrecorded(ctx, "reading a ticket", err)
	}
	return facts, nil
}

// needsTicket says what a change at run time needs, of who is permitted it with a ticket
// alone.
func needsTicket(caller string, tool decision.ToolName, arguments *document.Document) error {
	return fail(errNeedsTicket, fmt.Sprintf("the access policies permit this only with a ticket, given to %s for the tool %s and the arguments of the digest %x",
		caller, tool, arguments.Digest()))
}

// covering is the ticket that a change at run time names, if it covers what the caller
// does with a tool of Writ's own.
func (s *Server) covering(caller decision.Caller, id string, tool decision.ToolName, arguments *document.Document, bundle *decision.Bundle,
	facts decision.Facts, at time.Time) (t *decision.Ticket, refused *decision.Reason, err error) {
	req := &decision.Request{Phase: decision.Call, Ticket: id, Arguments: arguments, Caller: caller,
		Principal: decision.Principal{Subject: caller.SPIFFEID}, Tool: decision.ToolRef{ToolName: tool}}
	i := slices.IndexFunc(s.stages, func(stage decision.Stage) bool { return stage.Name == "ticket" })
	if i < 0 {
		return nil, nil, internal(s.log, "judging a ticket", errors.New("there is no stage for it"))
	}
	f := s.stages[i].Judge(req, &decision.Snapshot{At: at, Bundle: bundle, Facts: facts}, &decision.Decision{})
	if f.Ticket == nil || len(f.Reasons) > 0 {
		reason := decision.Reason{Code: "ticket.unknown", Text: "The ticket does not cover the change."}
		if len(f.Reasons) > 0 {
			reason = f.Reasons[0]
		}
		return nil, &reason, nil
	}
	return f.Ticket, nil, nil
}

// argumentsOf is what a ticket for a change can be bound to.
func argumentsOf(c *decision.BudgetChange) (*document.Document, error) {
	text, err := json.Marshal(struct {
		Amount int64  `json:"amount"`
		Budget string `json:"budget"`
		Share  string `json:"share,omitempty"`
	}{c.Amount, c.Budget, c.Subject})
	if err != nil {
		return nil, err
	}
	return document.ParseObject(text)
}

// check refuses what makes no sense, once it is known that the caller may ask.
func (c *budgetChange) check() error {
	switch {
	case c.rule == nil && !c.withdraws: // what a bundle has no more can be withdrawn
		return fail(errBudgetUnknown, "the bundle has no such budget")
	case c.adjustment.ID == "":
		return fail(errAdjustmentUnknown, "no change of this id is in force of the tenant's budget")
	case c.withdraws && (len(c.in.Share) > 0 || c.in.Until != nil || c.in.Message != ""):
		return invalidField("withdraw", "has no share, until or message beside it: the change that it names has them")
	case c.withdraws:
		return nil
	case len(c.in.Share) > 0 && len(c.in.Share) != len(c.rule.Per):
		return invalidField("share", fmt.Sprintf("has %d values; the budget has %d dimensions", len(c.in.Share), len(c.rule.Per)))
	case !c.adjustment.Frozen && c.rule.Window == decision.Rate:
		return invalidField("raise", "a rate can be frozen, and not raised: what it grants is the bundle's")
	case c.adjustment.Until.IsZero():
		return invalidField("until", "is required: a freeze has an end, and the budget's window has none")
	}
	return nil
}

func (s *Server) makeChange(ctx context.Context, c *budgetChange, id [16]byte, approval *respond.Approval) (respond.Made, error) {
	by := audit.By{Actor: c.caller.SPIFFEID, Reason: c.in.Reason, Ticket: c.in.TicketId, At: c.at, ID: id}
	if c.withdraws {
		return respond.Withdraw(ctx, s.budgets, c.adjustment.ID, func(a *decision.Adjustment) bool { return *a == c.adjustment }, by, approval)
	}
	return respond.Adjust(ctx, s.budgets, c.adjustment, by, approval)
}

// unchanged maps why a change was not made.
func (s *Server) unchanged(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, respond.ErrInvalid):
		return invalidField("", err.Error())
	case errors.Is(err, respond.ErrMany):
		return fail(errAdjustmentsFull, "as many changes of budgets are in force as there can be: withdraw some")
	case errors.Is(err, respond.ErrUnknown), errors.Is(err, respond.ErrKind):
		return fail(errAdjustmentUnknown, "no change of this id is in force of the tenant's budget")
	case errors.Is(err, audit.ErrStale):
		return fail(errContended, "the ticket was used up meanwhile, or others change locks and budgets faster than this can be; ask again with the same request_id")
	}
	return s.unrecorded(ctx, "changing a budget", err)
}
