package suite

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
)

// Ticket is a change ticket, as files write it. Its times are relative to the
// file's now, also for a case at another time.
type Ticket struct {
	// Principal is a fixture's name.
	Principal  string        `yaml:"principal"`
	Tool       string        `yaml:"tool"`
	ToolDigest string        `yaml:"tool_digest"`
	Arguments  JSON          `yaml:"arguments"` // the only ones it covers
	From       time.Duration `yaml:"from"`
	// Until is when it is not valid any more; without it: in an hour.
	Until     *time.Duration `yaml:"until"`
	Uses      int64          `yaml:"uses"`
	Used      int64          `yaml:"used"`
	Approvers []string       `yaml:"approvers"`
	Revoked   bool           `yaml:"revoked"`
	// Pending says that it is not approved yet, and Rejected that it never will.
	Pending  bool `yaml:"pending"`
	Rejected bool `yaml:"rejected"`
	// Scope is a Cedar condition that must hold, and Resource, as Type::id, the only
	// resource; without: any.
	Scope    string `yaml:"scope"`
	Resource string `yaml:"resource"`
	// Unknown says that there is no such ticket.
	Unknown bool `yaml:"unknown"`
}

// ticket is the ticket of a fixture as the store keeps it; nil: there is none.
func (r *reader) ticket(name word) (*decision.Ticket, error) {
	if name.text == "" {
		return nil, nil
	}
	in, ok := r.Tickets[name.text]
	if !ok {
		return nil, r.wrong(name.Place, "there is no ticket %q", name.text)
	}
	if in.Unknown {
		return nil, nil
	}
	who, ok := r.Principals[in.Principal]
	if !ok {
		return nil, r.wrong(name.Place, "the ticket %q is for the principal %q, whom there is not", name.text, in.Principal)
	}
	t, err := in.Made(name.text, who.Agent, r.Now)
	if err != nil {
		return nil, r.wrong(name.Place, "the ticket %q: %v", name.text, err)
	}
	return t, nil
}

// Made is the ticket as the store keeps it.
func (t Ticket) Made(id, agent string, now time.Time) (*decision.Ticket, error) {
	until := time.Hour
	if t.Until != nil {
		until = *t.Until
	}
	server, tool, _ := strings.Cut(t.Tool, "/")
	out := &decision.Ticket{ID: id, Principal: agent, Tool: decision.ToolName{Server: server, Name: tool}, ToolDigest: t.ToolDigest,
		Version: 1, State: t.state(), Scope: t.Scope, NotBefore: now.Add(t.From), NotAfter: now.Add(until), MaxUses: max(1, t.Uses), Uses: t.Used,
		Approvers: t.Approvers}
	if t.Resource != "" {
		at := strings.LastIndex(t.Resource, "::")
		if at < 1 {
			return nil, fmt.Errorf("resource: %q is not Type::id", t.Resource)
		}
		out.Resource = decision.TicketResource{Type: t.Resource[:at], ID: t.Resource[at+2:]}
	}
	if len(t.Arguments) > 0 {
		d, err := document.ParseObject(t.Arguments)
		if err != nil {
			return nil, fmt.Errorf("arguments: %w", err)
		}
		out.ArgumentsDigest = fmt.Sprintf("%x", d.Digest())
	}
	return out, nil
}

func (t Ticket) state() decision.TicketState {
	switch {
	case t.Revoked:
		return decision.TicketRevoked
	case t.Rejected:
		return decision.TicketRejected
	case t.Pending:
		return decision.TicketRequested
	}
	return decision.TicketApproved
}

// result finds the call that a result belongs to: the one that it names, or else
// an allowed one of the same.
func (r *reader) result(c *Case, in *caseFile, run session) error {
	if c.Request.Phase != decision.Result {
		if in.Call.text != "" {
			return r.wrong(in.Call.Place, "only a result belongs to a call")
		}
		return nil
	}
	called, denied, ticket := c.Request, false, word{}
	if in.Call.text != "" {
		call, ok := run.Calls[in.Call.text]
		if !ok {
			return r.wrong(in.Call.Place, "the session has no call %q", in.Call.text)
		}
		ask, err := r.ask(call.Principal, call.Request)
		if err != nil {
			return err
		}
		ask.Session = run.ID
		if called, err = ask.Request(r.bundle, r.caller); err != nil {
			return r.wrong(call.Request.Place, "%v", err)
		}
		denied, ticket = call.Denied, call.Ticket
	}
	c.Facts.Call = &decision.CallFacts{Allowed: !denied, Caller: called.Caller.SPIFFEID, Principal: called.Principal.Subject,
		Session: called.Session, Purpose: called.Purpose, Tool: called.Tool.ToolName, ArgumentsDigest: called.Arguments.Digest(), Ticket: ticket.text,
		Token: [32]byte{1}} // a result comes with a token of its own
	var err error
	if c.Facts.Ticket == nil {
		c.Facts.Ticket, err = r.ticket(ticket)
	}
	return err
}

// budgets makes true what is used already of the counters that the case falls
// into.
func (r *reader) budgets(c *Case, name word) error {
	c.Facts.Used = map[decision.BudgetKey]int64{}
	if name.text == "" {
		return nil
	}
	used, ok := r.Budgets[name.text]
	if !ok {
		return r.wrong(name.Place, "there are no budgets %q", name.text)
	}
	c.Facts.Used = Used(r.bundle, c.Request, c.At, used)
	return nil
}

func knownBudgets(b *decision.Bundle, used map[string]int64) error {
	for _, id := range slices.Sorted(maps.Keys(used)) {
		if !slices.ContainsFunc(b.Budgets, func(rule decision.BudgetRule) bool { return rule.ID == id }) &&
			!slices.ContainsFunc(b.Breakers, func(rule decision.BreakerRule) bool { return rule.ID == id }) {
			return fmt.Errorf("there is no budget or breaker %q", id)
		}
	}
	return nil
}

// Used are the counters that a request falls into, with what is used of the
// budgets by id: of a rate what was taken of its burst, of a breaker the failures in
// turn, the last of them at that time.
func Used(b *decision.Bundle, req *decision.Request, at time.Time, used map[string]int64) map[decision.BudgetKey]int64 {
	counters := map[decision.BudgetKey]int64{}
	vendor := b.Vendor(req.Destination)
	for _, rule := range b.Budgets {
		amount, ok := used[rule.ID]
		if !ok {
			continue
		}
		key := rule.Key(req, vendor, at)
		if rule.Window == decision.Rate {
			amount = rule.Taken(amount, at)
		}
		counters[key] = amount
	}
	for _, rule := range b.Breakers {
		if failures, ok := used[rule.ID]; ok {
			counters[rule.Key(req, vendor)] = rule.After(failures, at).Held()
		}
	}
	return counters
}

// scene is one question with its facts, in a file of its own.
type scene struct {
	Ask    `yaml:",inline"`
	Now    time.Time         `yaml:"now"`
	Caller string            `yaml:"caller"`
	Tenant string            `yaml:"tenant"`
	Known  map[string]Ticket `yaml:"tickets"`
	Used   map[string]int64  `yaml:"used"`
	Holds  Held              `yaml:"holds"`
}

// ReadRequest reads one question from a file: the keys of a request and of a
// principal, now, and what is true of tickets, budgets and the session. A ticket without a
// principal was given to the agent that asks; a result belongs to a call of the
// same that was allowed. The case expects nothing.
func ReadRequest(name string, data []byte, b *decision.Bundle) (*Case, error) {
	var in scene
	if err := policy.DecodeYAML(name, data, &in); err != nil {
		return nil, err
	}
	if in.Now.IsZero() {
		return nil, fmt.Errorf("%s: now is missing", name)
	}
	r := &reader{name: name, bundle: b, caller: caller(in.Caller, in.Tenant)}
	c := &Case{Suite: "request", Name: name, File: name, At: in.Now}
	var err error
	if c.Request, err = in.Ask.Request(b, r.caller); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if t, ok := in.Known[in.Ask.Ticket]; ok && !t.Unknown {
		agent := t.Principal
		if agent == "" {
			agent = in.Agent
		}
		if c.Facts.Ticket, err = t.Made(in.Ask.Ticket, agent, in.Now); err != nil {
			return nil, fmt.Errorf("%s: the ticket %q: %w", name, in.Ask.Ticket, err)
		}
	}
	if err := knownBudgets(b, in.Used); err != nil {
		return nil, fmt.Errorf("%s: used: %w", name, err)
	}
	c.Facts.Used = Used(b, c.Request, in.Now, in.Used)
	if err := in.Holds.Used(b, c.Request, in.Now, c.Facts.Used); err != nil {
		return nil, fmt.Errorf("%s: holds: %w", name, err)
	}
	return c, r.result(c, &caseFile{}, session{})
}
