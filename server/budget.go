package server

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/respond"
)

// Budgets is where budgets are read and changed. Safe for concurrent use.
type Budgets interface {
	respond.Store
	respond.Counters
}

// defaultPage is how many shares or tickets a page has where the request does not say.
const defaultPage = 100

// ListBudgets tells what is used and left of a tenant's budgets.
func (s *Server) ListBudgets(ctx context.Context, caller decision.Caller, in *writv1.BudgetServiceListRequest) (*writv1.BudgetServiceListResponse, error) {
	caller, err := s.reader(caller, in, in.Tenant)
	if err != nil {
		return nil, err
	}
	page := respond.Page{Tenant: caller.Tenant, Budget: in.Budget, Size: int(in.PageSize)}
	if page.Size == 0 {
		page.Size = defaultPage
	}
	if page.From, err = placeOf(in.PageToken); err != nil {
		return nil, err
	}
	bundle := s.live()
	if in.Budget != "" && ruleOf(bundle, in.Budget) == nil {
		return nil, fail(errBudgetUnknown, "the bundle has no such budget")
	}
	shares, next, err := respond.Shares(ctx, s.budgets, bundle.Budgets, s.known(ctx), page, s.now())
	if err != nil {
		return nil, s.unrecorded(ctx, "reading shares of budgets", err)
	}
	out := &writv1.BudgetServiceListResponse{NextPageToken: tokenOf(next)}
	for i := range shares {
		out.Shares = append(out.Shares, shareFacts(&shares[i]))
	}
	return out, nil
}

// reader is the caller as it reads a tenant's budgets, if it may and they are told here.
func (s *Server) reader(caller decision.Caller, in proto.Message, tenant string) (decision.Caller, error) {
	if err := s.validate(in); err != nil {
		return decision.Caller{}, err
	}
	caller, err := s.admit(caller, decision.ToReadBudgets, tenant)
	if err == nil && s.budgets == nil {
		err = unserved()
	}
	return caller, err
}

// GetBudget tells of one budget and one share of it.
func (s *Server) GetBudget(ctx context.Context, caller decision.Caller, in *writv1.BudgetServiceGetRequest) (*writv1.BudgetServiceGetResponse, error) {
	caller, err := s.reader(caller, in, in.Tenant)
	if err != nil {
		return nil, err
	}
	rule := ruleOf(s.live(), in.Budget)
	if rule == nil {
		return nil, fail(errBudgetUnknown, "the bundle has no such budget")
	}
	if len(in.Share) != len(rule.Per) {
		return nil, invalidField("share", fmt.Sprintf("has %d values; the budget has %d dimensions", len(in.Share), len(rule.Per)))
	}
	at := s.now()
	key := rule.KeyOf(decision.Share(in.Share), at)
	facts, err := s.ledger.Snapshot(ctx, decision.Want{Tenant: caller.Tenant, Budgets: rule.Around(key)})
	if err != nil {
		return nil, s.unrecorded(ctx, "reading a budget", err)
	}
	control := s.known(ctx)
	share := respond.ShareOf(rule, caller.Tenant, key, rule.Used(key, facts.Used, at), control, at)
	out := &writv1.BudgetServiceGetResponse{Share: shareFacts(&share)}
	for _, d := range rule.Per {
		out.Per = append(out.Per, d.String())
	}
	if control != nil {
		for _, a := range respond.AdjustedOf(control.Adjustments, caller.Tenant, rule.ID, at) {
			out.Adjustments = append(out.Adjustments, adjustmentFacts(&a))
		}
	}
	return out, nil
}

func unserved() error {
	return status.Error(codes.Unimplemented, "budgets are not told or changed here")
}

// ruleOf is a bundle's budget; nil: it has none of that id.
func ruleOf(b *decision.Bundle, id string) *decision.BudgetRule {
	if i := slices.IndexFunc(b.Budgets, func(r decision.BudgetRule) bool { return r.ID == id }); i >= 0 {
		return &b.Budgets[i]
	}
	return nil
}

// tokenOf is a place in a form that callers give back; empty: there is none.
func tokenOf(p *respond.Place) string {
	if p == nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString([]byte(p.Budget + "\x00" + p.Subject))
}

func placeOf(token string) (p respond.Place, err error) {
	if token == "" {
		return p, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(token)
	budget, subject, ok := strings.Cut(string(text), "\x00")
	if err != nil || !ok || !utf8.Valid(text) || strings.Contains(subject, "\x00") {
		return p, invalidField("page_token", "is none that was given")
	}
	return respond.Place{Budget: budget, Subject: subject}, nil
}

func shareFacts(s *respond.Share) *writv1.BudgetShare {
	m := &writv1.BudgetShare{Budget: s.Rule.ID, Subject: s.Subject, Unit: writv1.Unit(s.Rule.Unit), Currency: s.Rule.Currency,
		Window: s.Rule.Window.String(), Used: s.Used, BundleCap: s.Rule.Cap, Cap: s.Cap, Remaining: s.Room(s.Used)}
	if !s.Resets.IsZero() {
		m.ResetsAt = timestamppb.New(s.Resets)
	}
	if s.Frozen != nil {
		m.FrozenUntil = timestamppb.New(s.Frozen.Until)
	}
	return m
}

func adjustmentFacts(a *decision.Adjustment) *writv1.BudgetAdjustment {
	return &writv1.BudgetAdjustment{Id: a.ID, Budget: a.Budget, Subject: a.Subject, By: a.By, Frozen: a.Frozen, Until: timestamppb.New(a.Until),
		Actor: a.Actor, Reason: a.Reason, TicketId: a.Ticket, Message: a.Message, ForEveryTenant: a.Tenant == ""}
}
