// Package test holds what spans packages: the cases that every layer must agree
// on, the import lattice, and the suites that need a whole PDP.
package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"golang.org/x/tools/txtar"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy/suite"
)

// Case is one file of test/cases: a story of one or more questions with what
// must be answered.
type Case struct {
	Name  string
	Given Given
	Steps []Step
	Wants []Want
}

// Given is what is true before the first question.
type Given struct {
	// Now is the time of every question.
	Now     time.Time     `yaml:"now"`
	Tickets []GivenTicket `yaml:"tickets"`
	// Locks are in force for this case's tenant.
	Locks []GivenLock `yaml:"locks"`
	// Changes are in force of this case's tenant's budgets.
	Changes []GivenChange `yaml:"changes"`
	// Spent is what the counters that the first question falls into hold, by
	// the budget's id.
	Spent map[string]int64 `yaml:"spent"`
}

// GivenTicket is a ticket; its principal is an agent.
type GivenTicket struct {
	ID           string `yaml:"id"`
	suite.Ticket `yaml:",inline"`
}

// GivenLock is a lock; until is from the case's now.
type GivenLock struct {
	ID      string        `yaml:"id"`
	Target  string        `yaml:"target"`
	Effect  string        `yaml:"effect"`
	Until   time.Duration `yaml:"until"`
	Message string        `yaml:"message"`
}

// Made is the lock at a time, for a tenant.
func (g GivenLock) Made(now time.Time, tenant string) (decision.Lock, error) {
	target, err := decision.ParseTarget(g.Target)
	if err != nil {
		return decision.Lock{}, err
	}
	target.Tenant = tenant
	effect, err := decision.ParseLockEffect(g.Effect)
	return decision.Lock{ID: tenant + "." + g.ID, Target: target, Effect: effect, Until: now.Add(g.Until), Message: g.Message,
		By: "a test", Reason: "To test."}, err
}

// GivenChange is a change of a budget; until is from the case's now.
type GivenChange struct {
	ID      string        `yaml:"id"`
	Budget  string        `yaml:"budget"`
	By      int64         `yaml:"by"`
	Frozen  bool          `yaml:"frozen"`
	Until   time.Duration `yaml:"until"`
	Message string        `yaml:"message"`
}

// Made is the change at a time, for a tenant.
func (g GivenChange) Made(now time.Time, tenant string) decision.Adjustment {
	return decision.Adjustment{ID: tenant + "." + g.ID, Tenant: tenant, Budget: g.Budget, By: g.By, Frozen: g.Frozen, Until: now.Add(g.Until),
		Message: g.Message, Actor: "a test", Reason: "To test."}
}

// Step is one question. Empty fields take the values of `defaults`.
type Step struct {
	suite.Ask `yaml:",inline"`
	// Call is the number of the step whose decision allowed the call.
	Call int `yaml:"call"`
	// Token reuses the token of an earlier step, by number.
	Token int `yaml:"token"`
}

// Want is an answer in the form in which it is compared.
type Want struct {
	Effect string `yaml:"effect"`
	// Reasons are "code" or "code policy": of a denial those that deny.
	Reasons     []string `yaml:"reasons"`
	Obligations []string `yaml:"obligations"`
	// Budgets are "id reserved/remaining", with ! when exhausted.
	Budgets []string `yaml:"budgets"`
	// Ticket are the policies that ask for one.
	Ticket     []string `yaml:"ticket"`
	RetryAfter string   `yaml:"retry_after"`
	// Says must occur in the first reason's sentence.
	Says string `yaml:"says"`
}

// ReadCase parses a txtar archive: given.yaml, then N.yaml and N.want.
func ReadCase(name string, data []byte) (*Case, error) {
	c := &Case{Name: name}
	archive := txtar.Parse(data)
	for _, f := range archive.Files {
		var into any
		switch {
		case f.Name == "given.yaml":
			into = &c.Given
		case f.Name == fmt.Sprintf("%d.yaml", len(c.Steps)+1):
			c.Steps = append(c.Steps, Step{})
			into = &c.Steps[len(c.Steps)-1]
		case f.Name == fmt.Sprintf("%d.want", len(c.Wants)+1):
			c.Wants = append(c.Wants, Want{})
			into = &c.Wants[len(c.Wants)-1]
		default:
			return nil, fmt.Errorf("%s: the file %s is out of place", name, f.Name)
		}
		if len(bytes.TrimSpace(f.Data)) == 0 {
			continue
		}
		if err := yaml.NewDecoder(bytes.NewReader(f.Data), yaml.Strict()).Decode(into); err != nil {
			return nil, fmt.Errorf("%s: %s: %s", name, f.Name, yaml.FormatError(err, false, true))
		}
	}
	if len(c.Steps) == 0 || len(c.Steps) != len(c.Wants) {
		return nil, fmt.Errorf("%s: %d questions and %d answers", name, len(c.Steps), len(c.Wants))
	}
	for i := range c.Steps {
		c.Steps[i].defaults()
	}
	if c.Given.Now.IsZero() {
		c.Given.Now = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	}
	return c, nil
}

func (s *Step) defaults() {
	fill := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	fill(&s.Agent, "spiffe://example.org/agent/support")
	fill(&s.Purpose, "support")
	fill(&s.Phase, "CALL")
	if len(s.Carries) == 0 {
		s.Carries = []string{s.Purpose}
	}
}

// Made is the ticket as the store keeps it.
func (t GivenTicket) Made(now time.Time) (*decision.Ticket, error) {
	made, err := t.Ticket.Made(t.ID, t.Principal, now)
	if err != nil {
		return nil, fmt.Errorf("ticket %s: %w", t.ID, err)
	}
	return made, nil
}

// Request is the question on the wire. bundle gives the pinned digests, calls
// the decision ids of earlier steps.
func (s *Step) Request(bundle *decision.Bundle, id, token string, calls []string) *writv1.DecideRequest {
	tool := func(text, digest string) *writv1.Tool {
		ref := suite.Ref(bundle, text, digest)
		return &writv1.Tool{Server: ref.Server, Name: ref.Name, DefinitionDigest: ref.Digest}
	}
	r := &writv1.DecideRequest{
		RequestId: id, PrincipalToken: token, Phase: writv1.Phase(writv1.Phase_value["PHASE_"+s.Phase]),
		SessionId: s.Session, PlanDepth: uint32(s.Depth), Purpose: s.Purpose, Arguments: s.Args, TicketId: s.Ticket,
		Context: s.Context, SupportedObligations: s.Obligations(),
	}
	if s.Tool != "" {
		r.Tool = tool(s.Tool, s.Digest)
	}
	for _, c := range s.Candidates {
		name, digest, _ := strings.Cut(c, " ")
		r.Candidates = append(r.Candidates, tool(name, digest))
	}
	if len(s.Content) > 0 {
		r.Content = &writv1.Content{MediaType: "application/json", Data: s.Content}
	}
	if s.Text != "" {
		r.Content = &writv1.Content{MediaType: "text/plain", Data: []byte(s.Text)}
	}
	if s.Call > 0 {
		r.CallDecisionId = calls[s.Call-1]
	}
	if s.Resource.Type != "" {
		r.Resource = &writv1.Resource{Type: s.Resource.Type, Id: s.Resource.ID, Properties: s.Resource.Properties}
	}
	if d := s.Destination; d.Host+d.Vendor+d.Region+d.URL != "" {
		r.Destination = &writv1.Destination{Host: d.Host, Vendor: d.Vendor, Region: d.Region, Url: d.URL, Scheme: d.Scheme, Port: uint32(d.Port),
			Method: d.Method, Addresses: d.Addresses, RedirectedFrom: d.RedirectedFrom}
	}
	if s.Tokens > 0 || s.Micros > 0 {
		r.Cost = &writv1.Cost{Calls: 1, Tokens: s.Tokens, Micros: s.Micros, Currency: s.Currency}
	}
	return r
}

// Answer is a response in the form in which it is compared. Reasons of a denial
// are those with a lift.
func Answer(a *writv1.DecideResponse) Want {
	w := Want{Effect: strings.TrimPrefix(a.Effect.String(), "EFFECT_")}
	denied := a.Effect == writv1.Effect_EFFECT_DENY
	for _, r := range a.Reasons {
		if denied && r.Lift == "" {
			continue
		}
		w.Reasons = append(w.Reasons, strings.TrimSpace(r.Code+" "+r.PolicyId))
	}
	for _, o := range a.Obligations {
		w.Obligations = append(w.Obligations, obligation(o))
	}
	for _, b := range a.Budgets {
		line := fmt.Sprintf("%s %d/%d", b.Budget, b.Reserved, b.Remaining)
		if b.Exhausted {
			line += " !"
		}
		w.Budgets = append(w.Budgets, line)
	}
	w.Ticket = a.AccessRequest.GetPolicyIds()
	if a.RetryAfter != nil {
		w.RetryAfter = a.RetryAfter.AsDuration().String()
	}
	return w
}

// obligation is one line for one obligation.
func obligation(o *writv1.Obligation) string {
	switch p := o.Params.(type) {
	case *writv1.Obligation_Redact:
		line := "redact " + strings.ToLower(strings.TrimPrefix(p.Redact.Target.String(), "TARGET_"))
		for _, e := range p.Redact.Edits {
			line += " " + strings.ToLower(strings.TrimPrefix(e.Method.String(), "METHOD_")) + " " + e.Pointer
			if e.End > 0 {
				line += fmt.Sprintf("[%d:%d]", e.Start, e.End)
			}
		}
		return line
	case *writv1.Obligation_Route:
		return fmt.Sprintf("route %s %s %s", p.Route.Vendor, p.Route.Region, p.Route.Host)
	case *writv1.Obligation_FilterTools:
		return fmt.Sprint("filter_tools ", p.FilterTools.Keep)
	case *writv1.Obligation_LimitOutput:
		return fmt.Sprint("limit_output ", p.LimitOutput.MaxBytes)
	case *writv1.Obligation_Notify:
		return fmt.Sprintf("notify %s %s", p.Notify.To, p.Notify.Body)
	case *writv1.Obligation_StepUp:
		return "step_up " + p.StepUp.AcrValue
	case *writv1.Obligation_Watermark:
		return "watermark " + p.Watermark.Text
	case *writv1.Obligation_Pin:
		return strings.Join(append([]string{"pin", p.Pin.Host}, p.Pin.Addresses...), " ")
	case *writv1.Obligation_Delay:
		return fmt.Sprint("delay ", p.Delay.Millis)
	}
	return "unknown " + o.Type
}

// JSON is an answer as the file would say it, for messages.
func (w Want) JSON() string {
	text, err := json.MarshalIndent(w, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}
