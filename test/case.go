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

	"github.com/writpdp/writ/document"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
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
	// Spent is what the counters that the first question falls into hold, by
	// the budget's id.
	Spent map[string]int64 `yaml:"spent"`
}

// GivenTicket is a ticket; its times are relative to Now.
type GivenTicket struct {
	ID         string        `yaml:"id"`
	Principal  string        `yaml:"principal"`
	Tool       string        `yaml:"tool"`
	ToolDigest string        `yaml:"tool_digest"`
	Arguments  string        `yaml:"arguments"` // the only ones it covers
	From       time.Duration `yaml:"from"`
	Until      time.Duration `yaml:"until"`
	Uses       int64         `yaml:"uses"`
	Approvers  []string      `yaml:"approvers"`
	Revoked    bool          `yaml:"revoked"`
}

// Step is one question. Empty fields take the values of `defaults`.
type Step struct {
	Agent      string   `yaml:"agent"`
	OnBehalfOf string   `yaml:"on_behalf_of"`
	Carries    []string `yaml:"carries"` // the token's purposes; empty: Purpose
	Purpose    string   `yaml:"purpose"`
	Phase      string   `yaml:"phase"`
	Session    string   `yaml:"session"`
	Tool       string   `yaml:"tool"`
	// Digest of the tool; empty: the pinned one, "-": none.
	Digest     string   `yaml:"digest"`
	Args       string   `yaml:"args"`
	Candidates []string `yaml:"candidates"`
	Content    string   `yaml:"content"`
	Text       string   `yaml:"text"` // content of text/plain
	// Call is the number of the step whose decision allowed the call.
	Call     int `yaml:"call"`
	Resource struct {
		Type       string `yaml:"type"`
		ID         string `yaml:"id"`
		Properties string `yaml:"properties"`
	} `yaml:"resource"`
	Destination struct {
		Host   string `yaml:"host"`
		Vendor string `yaml:"vendor"`
		Region string `yaml:"region"`
	} `yaml:"destination"`
	Ticket   string   `yaml:"ticket"`
	Tokens   int64    `yaml:"tokens"`
	Micros   int64    `yaml:"micros"`
	Currency string   `yaml:"currency"`
	Context  string   `yaml:"context"`
	Supports []string `yaml:"supports"` // empty: everything; ["-"]: nothing
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
	switch {
	case len(s.Supports) == 0:
		s.Supports = []string{"redact", "route", "filter_tools", "limit_output", "notify", "step_up", "watermark"}
	case s.Supports[0] == "-":
		s.Supports = nil
	}
}

// Ticket is the ticket as the store keeps it.
func (t GivenTicket) Ticket(now time.Time) (decision.Ticket, error) {
	server, name, _ := strings.Cut(t.Tool, "/")
	out := decision.Ticket{ID: t.ID, Principal: t.Principal, Tool: decision.ToolName{Server: server, Name: name},
		ToolDigest: t.ToolDigest, NotBefore: now.Add(t.From), NotAfter: now.Add(t.Until), MaxUses: max(1, t.Uses),
		Approvers: t.Approvers, Revoked: t.Revoked}
	if t.Arguments != "" {
		d, err := document.ParseObject([]byte(t.Arguments))
		if err != nil {
			return out, fmt.Errorf("ticket %s: %w", t.ID, err)
		}
		out.ArgumentsDigest = fmt.Sprintf("%x", d.Digest())
	}
	return out, nil
}

// Request is the question on the wire. bundle gives the pinned digests, calls
// the decision ids of earlier steps.
func (s *Step) Request(bundle *decision.Bundle, id, token string, calls []string) *writv1.DecideRequest {
	tool := func(text, digest string) *writv1.Tool {
		server, name, _ := strings.Cut(text, "/")
		if pinned := bundle.Tools[decision.ToolName{Server: server, Name: name}]; digest == "" && pinned != nil {
			digest = pinned.Digest
		}
		return &writv1.Tool{Server: server, Name: name, DefinitionDigest: strings.Trim(digest, "-")}
	}
	r := &writv1.DecideRequest{
		RequestId: id, PrincipalToken: token, Phase: writv1.Phase(writv1.Phase_value["PHASE_"+s.Phase]),
		SessionId: s.Session, Purpose: s.Purpose, Arguments: []byte(s.Args), TicketId: s.Ticket,
		Context: []byte(s.Context), SupportedObligations: s.Supports,
	}
	if s.Tool != "" {
		r.Tool = tool(s.Tool, s.Digest)
	}
	for _, c := range s.Candidates {
		name, digest, _ := strings.Cut(c, " ")
		r.Candidates = append(r.Candidates, tool(name, digest))
	}
	if s.Content != "" {
		r.Content = &writv1.Content{MediaType: "application/json", Data: []byte(s.Content)}
	}
	if s.Text != "" {
		r.Content = &writv1.Content{MediaType: "text/plain", Data: []byte(s.Text)}
	}
	if s.Call > 0 {
		r.CallDecisionId = calls[s.Call-1]
	}
	if s.Resource.Type != "" {
		r.Resource = &writv1.Resource{Type: s.Resource.Type, Id: s.Resource.ID, Properties: []byte(s.Resource.Properties)}
	}
	if d := s.Destination; d.Host+d.Vendor+d.Region != "" {
		r.Destination = &writv1.Destination{Host: d.Host, Vendor: d.Vendor, Region: d.Region}
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
