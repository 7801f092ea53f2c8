package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/identity"
)

// terms are those of a ticket for a large refund.
func terms() *writv1.TicketTerms {
	return &writv1.TicketTerms{Principal: agent, Tool: &writv1.Tool{Server: "stripe", Name: "create_refund"}}
}

const refundArguments = `{"payment_intent":"pi_1","amount":9000}`

// refund is a call that needs a ticket.
func (p *pdp) refund(t testing.TB, ticket string) *writv1.DecideRequest {
	t.Helper()
	in := p.call(t, "stripe", "create_refund", refundArguments)
	in.TicketId = ticket
	return in
}

// desk permits everything to the caller, and gives people roles.
func (p *pdp) desk(t testing.TB, roles map[string][]string) {
	t.Helper()
	p.admitting(t, `@id("all") permit (principal, action, resource);`)
	p.bundle.Roles = roles
}

// person is a token of somebody who says yes and no to tickets.
func (p *pdp) person(t testing.TB, who string) string {
	t.Helper()
	return p.mint(t, identity.Claims{Issuer: issuer, Audience: audience, Subject: who, Purposes: []string{server.ApprovalPurpose}, Lifetime: 5 * time.Minute}, time.Now())
}

func (p *pdp) requested(t testing.TB, change func(*writv1.RequestTicketRequest)) *writv1.TicketFacts {
	t.Helper()
	in := &writv1.RequestTicketRequest{RequestId: newID(t), Reason: "The customer was charged twice.", PrincipalToken: p.token(t), Terms: terms()}
	if change != nil {
		change(in)
	}
	out, err := p.RequestTicket(t.Context(), gateway, in)
	must(t, err)
	return out.Ticket
}

func (p *pdp) approve(t testing.TB, ticket, who string) (*writv1.ApproveTicketResponse, error) {
	t.Helper()
	return p.ApproveTicket(t.Context(), gateway, &writv1.ApproveTicketRequest{RequestId: newID(t), Reason: "Looked at.", PrincipalToken: p.person(t, who), TicketId: ticket})
}

// turnedDown fails unless an error says that a ticket cannot be changed so, by a code.
func turnedDown(t testing.TB, what string, err error, reason, code string) {
	t.Helper()
	if got := failureOf(err); err == nil || got.Reason != reason || codeOf(err) != code {
		t.Errorf("%s: got %v %q, want %s %q", what, got, codeOf(err), reason, code)
	}
}

// A denial says what to ask for; what was asked for covers nothing until others have
// approved it, and then is used once.
func TestTicketFlow(t *testing.T) {
	p := open(t)
	p.desk(t, map[string][]string{"ann": {"finance"}, "bob": {"finance", "lead"}, "eve": {"sales"}})
	denial := p.decide(t, p.refund(t, ""), writv1.Effect_EFFECT_DENY)
	want := denial.AccessRequest
	if want == nil {
		t.Fatal("the denial does not say what to ask for")
	}
	asked := p.requested(t, func(in *writv1.RequestTicketRequest) {
		in.Terms.Principal, in.Terms.ArgumentsDigest, in.Terms.Tool.DefinitionDigest = want.Principal, want.ArgumentsDigest, want.DefinitionDigest
		in.Terms.ApprovalsNeeded, in.Terms.Roles = 2, []string{"finance"}
	})
	if asked.State != writv1.TicketState_TICKET_STATE_REQUESTED || asked.Requester != agent || asked.Version != 1 {
		t.Fatalf("asked for %v", asked)
	}
	waits := func() {
		t.Helper()
		answer := p.decide(t, p.refund(t, asked.Id), writv1.Effect_EFFECT_DENY)
		if got := answer.Reasons[0].Code; got != "ticket.pending" {
			t.Errorf("a ticket that waits: %s", got)
		}
	}
	waits()
	for who, code := range map[string]string{"eve": "ticket.role", "mallory": "ticket.role", agent: "ticket.involved", gateway.SPIFFEID: "ticket.involved"} {
		_, err := p.approve(t, asked.Id, who)
		turnedDown(t, "approving as "+who, err, "TICKET_REFUSED", code)
	}
	first, err := p.approve(t, asked.Id, "ann")
	must(t, err)
	if first.Ticket.State != writv1.TicketState_TICKET_STATE_REQUESTED {
		t.Errorf("one of two approvers: %v", first.Ticket.State)
	}
	waits()
	_, err = p.approve(t, asked.Id, "ann")
	turnedDown(t, "approving twice", err, "TICKET_REFUSED", "ticket.twice")
	second, err := p.approve(t, asked.Id, "bob")
	must(t, err)
	if diff := cmp.Diff([]string{"ann", "bob"}, second.Ticket.Approvers); diff != "" || second.Ticket.State != writv1.TicketState_TICKET_STATE_APPROVED {
		t.Errorf("two approvers: %v, %s", second.Ticket.State, diff)
	}
	_, err = p.approve(t, asked.Id, "cid")
	turnedDown(t, "approving what is approved", err, "TICKET_REFUSED", "ticket.state")
	p.decide(t, p.refund(t, asked.Id), writv1.Effect_EFFECT_ALLOW)
	again := p.decide(t, p.refund(t, asked.Id), writv1.Effect_EFFECT_DENY)
	if got := again.Reasons[0].Code; got != "ticket.used" {
		t.Errorf("the second use: %s", got)
	}
	got, err := p.GetTicket(t.Context(), gateway, &writv1.GetTicketRequest{TicketId: asked.Id})
	must(t, err)
	if got.Ticket.State != writv1.TicketState_TICKET_STATE_USED_UP || got.Ticket.Uses != 1 || got.RecordId != second.Receipt.RecordId {
		t.Errorf("in the end: %v", got)
	}
	p.verify(t)
}

// Nobody approves for those whom an agent works for, whatever is presented.
func TestApproverIsNoParty(t *testing.T) {
	p := open(t)
	p.desk(t, nil)
	c := claims()
	c.OnBehalfOf, c.Actors = "ann", []string{"planner"}
	asked := p.requested(t, func(in *writv1.RequestTicketRequest) { in.PrincipalToken = p.mint(t, c, time.Now()) })
	if diff := cmp.Diff([]string{"ann", gateway.SPIFFEID, "planner"}, asked.Parties); diff != "" {
		t.Errorf("parties (-want +got):\n%s", diff)
	}
	for _, who := range []string{"ann", "planner", agent, gateway.SPIFFEID} {
		_, err := p.approve(t, asked.Id, who)
		turnedDown(t, who, err, "TICKET_REFUSED", "ticket.involved")
	}
	_, err := p.ApproveTicket(t.Context(), gateway, &writv1.ApproveTicketRequest{RequestId: newID(t), Reason: "x", TicketId: asked.Id})
	turnedDown(t, "the caller itself", err, "TICKET_REFUSED", "ticket.involved")
	for name, change := range map[string]func(*identity.Claims){
		"ticket.delegated": func(c *identity.Claims) { c.OnBehalfOf = "bob" },
		"ticket.purpose":   func(c *identity.Claims) { c.Purposes = []string{"support"} },
	} {
		c := identity.Claims{Issuer: issuer, Audience: audience, Subject: "bob", Purposes: []string{server.ApprovalPurpose}, Lifetime: 5 * time.Minute}
		change(&c)
		_, err := p.ApproveTicket(t.Context(), gateway, &writv1.ApproveTicketRequest{RequestId: newID(t), Reason: "x", TicketId: asked.Id, PrincipalToken: p.mint(t, c, time.Now())})
		turnedDown(t, "a token of an agent", err, "TICKET_REFUSED", name)
	}
	_, err = p.RequestTicket(t.Context(), gateway, &writv1.RequestTicketRequest{RequestId: newID(t), Reason: "x", PrincipalToken: p.token(t),
		Terms: &writv1.TicketTerms{Principal: "another", Tool: terms().Tool}})
	turnedDown(t, "asking for another agent", err, "FIELD_INVALID", "")
	// Whom the ticket does not name as a party is found when it is used.
	asked = p.requested(t, nil)
	_, err = p.approve(t, asked.Id, "ann")
	must(t, err)
	in := p.refund(t, asked.Id)
	in.PrincipalToken = p.mint(t, c, time.Now())
	answer := p.decide(t, in, writv1.Effect_EFFECT_DENY)
	if got := answer.Reasons[0].Code; got != "ticket.self_approved" {
		t.Errorf("used for its approver: %s", got)
	}
}

// However many approve at once, each of them counts and none is lost.
func TestApproversAtOnce(t *testing.T) {
	const approvers = 12
	p := open(t)
	p.desk(t, nil)
	asked := p.requested(t, func(in *writv1.RequestTicketRequest) { in.Terms.ApprovalsNeeded = approvers })
	var wait sync.WaitGroup
	errs := make([]error, approvers)
	for i := range approvers {
		wait.Go(func() { _, errs[i] = p.approve(t, asked.Id, fmt.Sprint("approver ", i)) })
	}
	wait.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("approver %d: %v", i, err)
		}
	}
	got, err := p.GetTicket(t.Context(), gateway, &writv1.GetTicketRequest{TicketId: asked.Id})
	must(t, err)
	if got.Ticket.State != writv1.TicketState_TICKET_STATE_APPROVED || len(got.Ticket.Approvers) != approvers || got.Ticket.Version != approvers+1 {
		t.Errorf("the ticket is %v", got.Ticket)
	}
	p.verify(t)
}

// The same change asked for twice is made once; a token is accepted once.
func TestTicketRetries(t *testing.T) {
	p := open(t)
	p.desk(t, nil)
	asked := p.requested(t, func(in *writv1.RequestTicketRequest) { in.Terms.ApprovalsNeeded = 2 })
	in := &writv1.ApproveTicketRequest{RequestId: newID(t), Reason: "Looked at.", PrincipalToken: p.person(t, "ann"), TicketId: asked.Id}
	first, err := p.ApproveTicket(t.Context(), gateway, in)
	must(t, err)
	before := p.books(t)
	in.PrincipalToken = p.person(t, "ann") // a fresh one of the same
	second, err := p.ApproveTicket(t.Context(), gateway, in)
	must(t, err)
	if !second.Replayed || first.Replayed || !proto.Equal(first.Ticket, second.Ticket) || first.Receipt.RecordId != second.Receipt.RecordId || p.books(t) != before {
		t.Errorf("a retry: %v, then %v", first, second)
	}
	in.Reason = "Not looked at."
	_, err = p.ApproveTicket(t.Context(), gateway, in)
	turnedDown(t, "another content", err, "REQUEST_ID_REUSED", "")
	token := p.person(t, "bob")
	reject := func(ticket string) error {
		_, err := p.RejectTicket(t.Context(), gateway, &writv1.RejectTicketRequest{RequestId: newID(t), Reason: "No.", PrincipalToken: token, TicketId: ticket})
		return err
	}
	must(t, reject(asked.Id))
	other := p.requested(t, nil)
	turnedDown(t, "a used token", reject(other.Id), "TICKET_REFUSED", "token.replayed")
	ask := &writv1.RequestTicketRequest{RequestId: newID(t), Reason: "x", PrincipalToken: p.token(t), Terms: terms()}
	_, err = p.RequestTicket(t.Context(), gateway, ask)
	must(t, err)
	ask.RequestId = newID(t)
	_, err = p.RequestTicket(t.Context(), gateway, ask)
	turnedDown(t, "a used token", err, "TICKET_REFUSED", "token.replayed")
	p.verify(t)
}

// What a ticket is bound to, it covers alone.
func TestTicketBounds(t *testing.T) {
	p := open(t)
	p.desk(t, nil)
	made := func(change func(*writv1.TicketTerms)) string {
		t.Helper()
		in := &writv1.CreateTicketRequest{RequestId: newID(t), Reason: "Approved in the tracker.", Reference: "CHG-1", Terms: terms(), Approvers: []string{"ann"}}
		change(in.Terms)
		out, err := p.CreateTicket(t.Context(), gateway, in)
		must(t, err)
		if out.Ticket.State != writv1.TicketState_TICKET_STATE_APPROVED {
			t.Fatalf("made %v", out.Ticket)
		}
		return out.Ticket.Id
	}
	for name, c := range map[string]struct {
		change func(*writv1.TicketTerms)
		want   string
	}{
		"anything of the tool": {func(*writv1.TicketTerms) {}, ""},
		"a scope that holds": {func(terms *writv1.TicketTerms) {
			terms.Scope = "context.args has amount && context.args.amount <= 9000"
		}, ""},
		"a scope with a comment": {func(terms *writv1.TicketTerms) { terms.Scope = `context.purpose == "support" // of the customer` }, ""},
		"a scope that does not":  {func(terms *writv1.TicketTerms) { terms.Scope = "context.args has amount && context.args.amount < 9000" }, "ticket.scope"},
		"this bundle":            {func(terms *writv1.TicketTerms) { terms.BundleDigest = p.bundle.Digest }, ""},
		"another bundle":         {func(terms *writv1.TicketTerms) { terms.BundleDigest = strings.Repeat("0f", 32) }, "ticket.bundle"},
		"a resource":             {func(terms *writv1.TicketTerms) { terms.ResourceType, terms.ResourceId = "Payment", "pi_1" }, "ticket.resource"},
		"later":                  {func(terms *writv1.TicketTerms) { terms.NotBefore = timestamppb.New(time.Now().Add(time.Hour)) }, "ticket.early"},
	} {
		in := p.refund(t, made(c.change))
		if c.want == "" {
			p.decide(t, in, writv1.Effect_EFFECT_ALLOW)
		} else if answer := p.decide(t, in, writv1.Effect_EFFECT_DENY); answer.Reasons[0].Code != c.want {
			t.Errorf("%s: got %s, want %s", name, answer.Reasons[0].Code, c.want)
		}
	}
	for name, c := range map[string]struct {
		change       func(*writv1.TicketTerms)
		reason, code string
	}{
		"a scope that is none":            {func(t *writv1.TicketTerms) { t.Scope = "context." }, "FIELD_INVALID", ""},
		"a scope that goes on":            {func(t *writv1.TicketTerms) { t.Scope = "true }; permit (principal, action, resource) when { true" }, "FIELD_INVALID", ""},
		"a scope with a second one":       {func(t *writv1.TicketTerms) { t.Scope = "true } unless { false" }, "FIELD_INVALID", ""},
		"a scope of what there is not":    {func(t *writv1.TicketTerms) { t.Scope = "context.args.nothing == 1" }, "FIELD_INVALID", ""},
		"a scope that is too deep":        {func(t *writv1.TicketTerms) { t.Scope = strings.Repeat("(", 500) + "true" + strings.Repeat(")", 500) }, "FIELD_INVALID", ""},
		"a scope of no tool":              {func(t *writv1.TicketTerms) { t.Scope, t.Tool.Name = "true", "nothing" }, "FIELD_INVALID", ""},
		"half a resource":                 {func(t *writv1.TicketTerms) { t.ResourceId = "x" }, "FIELD_INVALID", ""},
		"what has ended":                  {func(t *writv1.TicketTerms) { t.NotAfter = timestamppb.New(time.Now().Add(-time.Hour)) }, "TICKET_REFUSED", "ticket.terms"},
		"what lasts":                      {func(t *writv1.TicketTerms) { t.NotAfter = timestamppb.New(time.Now().Add(400 * 24 * time.Hour)) }, "TICKET_REFUSED", "ticket.terms"},
		"more approvers than there are":   {func(t *writv1.TicketTerms) { t.ApprovalsNeeded = 2 }, "TICKET_REFUSED", "ticket.terms"},
		"one that its own agent approves": {func(t *writv1.TicketTerms) { t.Principal = "ann" }, "TICKET_REFUSED", "ticket.terms"},
	} {
		in := &writv1.CreateTicketRequest{RequestId: newID(t), Reason: "x", Terms: terms(), Approvers: []string{"ann"}}
		c.change(in.Terms)
		before := p.books(t)
		_, err := p.CreateTicket(t.Context(), gateway, in)
		turnedDown(t, name, err, c.reason, c.code)
		if p.books(t) != before {
			t.Errorf("%s left something behind", name)
		}
	}
	p.verify(t)
}

// Tickets are taken back, told apart by tenant, and listed in pages.
func TestTicketAdministration(t *testing.T) {
	p := open(t)
	p.desk(t, nil)
	create := func(tenant, id string) error {
		in := &writv1.CreateTicketRequest{RequestId: newID(t), Tenant: tenant, Reason: "x", Terms: terms(), Approvers: []string{"ann"}}
		in.Terms.Id = id
		_, err := p.CreateTicket(t.Context(), gateway, in)
		return err
	}
	for _, id := range []string{"CHG-3", "CHG-1", "CHG-2"} {
		must(t, create("", id))
	}
	must(t, create("bolt", "CHG-1"))
	turnedDown(t, "an id that is taken", create("", "CHG-1"), "TICKET_REFUSED", "ticket.exists")
	_, err := p.RevokeTicket(t.Context(), gateway, &writv1.RevokeTicketRequest{RequestId: newID(t), Reason: "Not any more.", TicketId: "CHG-1"})
	must(t, err)
	if answer := p.decide(t, p.refund(t, "CHG-1"), writv1.Effect_EFFECT_DENY); answer.Reasons[0].Code != "ticket.revoked" {
		t.Errorf("a revoked ticket: %v", answer.Reasons)
	}
	for name, do := range map[string]func() error{
		"revoking twice": func() error {
			_, err := p.RevokeTicket(t.Context(), gateway, &writv1.RevokeTicketRequest{RequestId: newID(t), Reason: "x", TicketId: "CHG-1"})
			return err
		},
		"rejecting what is approved": func() error {
			_, err := p.RejectTicket(t.Context(), gateway, &writv1.RejectTicketRequest{RequestId: newID(t), Reason: "x", TicketId: "CHG-2"})
			return err
		},
	} {
		turnedDown(t, name, do(), "TICKET_REFUSED", "ticket.state")
	}
	_, err = p.GetTicket(t.Context(), gateway, &writv1.GetTicketRequest{TicketId: "none"})
	turnedDown(t, "a ticket that is none", err, "TICKET_UNKNOWN", "")
	_, err = p.GetTicket(t.Context(), gateway, &writv1.GetTicketRequest{TicketId: "CHG-2", Tenant: "bolt"})
	turnedDown(t, "another tenant's", err, "TICKET_UNKNOWN", "")
	states := map[string]string{}
	for token, pages := "", 0; ; pages++ {
		page, err := p.ListTickets(t.Context(), gateway, &writv1.ListTicketsRequest{PageSize: 2, PageToken: token})
		must(t, err)
		for _, one := range page.Tickets {
			states[one.Id] = strings.TrimPrefix(one.State.String(), "TICKET_STATE_")
		}
		if token = page.NextPageToken; token == "" || pages > 3 {
			break
		}
	}
	if diff := cmp.Diff(map[string]string{"CHG-1": "REVOKED", "CHG-2": "APPROVED", "CHG-3": "APPROVED"}, states); diff != "" {
		t.Errorf("the tickets (-want +got):\n%s", diff)
	}
}

// What is recorded of a ticket is all of it, and nothing of the tokens.
func TestTicketRecords(t *testing.T) {
	p := open(t)
	p.desk(t, map[string][]string{"ann": {"finance"}})
	token := p.person(t, "ann")
	asked := p.requested(t, nil)
	out, err := p.ApproveTicket(context.Background(), gateway, &writv1.ApproveTicketRequest{RequestId: newID(t), Reason: "Looked at.", PrincipalToken: token, TicketId: asked.Id})
	must(t, err)
	id, err := parseID(out.Receipt.RecordId)
	must(t, err)
	row, err := p.store.Record(t.Context(), gateway.Tenant, id)
	must(t, err)
	var record writv1.Record
	must(t, proto.Unmarshal(row.Body, &record))
	event := record.GetTicket()
	if event.Actor != "ann" || event.Action != writv1.TicketAction_TICKET_ACTION_APPROVE || event.Source != "grpc" || len(event.Presented) != 1 ||
		record.Caller != gateway.SPIFFEID || !maps.Equal(map[string]bool{"finance": true}, set(event.Roles)) {
		t.Errorf("the record is %v", &record)
	}
	text, err := json.Marshal(&record)
	must(t, err)
	if strings.Contains(string(text), token) || strings.Contains(string(row.Body), token) {
		t.Error("the record holds the token")
	}
	if _, approved := any(event.Ticket).(*writv1.TicketFacts); !approved || event.Ticket.State != writv1.TicketState(decision.TicketApproved) {
		t.Errorf("the ticket is %v", event.Ticket)
	}
}

// codeOf is the code in an error's metadata.
func codeOf(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.Metadata["code"]
		}
	}
	return ""
}

func parseID(text string) ([16]byte, error) {
	id, err := uuid.FromString(text)
	return id, err
}

func set(all []string) map[string]bool {
	m := map[string]bool{}
	for _, one := range all {
		m[one] = true
	}
	return m
}
