package chains

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	writ "github.com/writpdp/writ/clients/go"
	"github.com/writpdp/writ/clients/go/writtest"
	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/decision"
)

// who acts, by the word that scripts use, for which purpose.
var who = map[string]writtest.Agent{
	"support":    {Subject: "spiffe://example.org/agent/support", Purposes: []string{"support"}},
	"billing":    {Subject: "spiffe://example.org/agent/support", Purposes: []string{"billing"}},
	"operations": {Subject: "spiffe://example.org/agent/operations", Purposes: []string{"maintenance"}},
	"research":   {Subject: "spiffe://example.org/agent/research", Purposes: []string{"research"}},
}

// effect is something that took effect: a tool that ran, or what was sent to a host.
type effect struct{ tool, host, what string }

// agents are what runs a script: they obey every instruction that they read.
type agents struct {
	t      *testing.T
	pdp    *writtest.PDP           // whose bundle it is
	guards map[string]*writ.Client // nil: nobody is asked
	script script
	// loot are the marks of what is private that were seen.
	loot    []string
	effects []effect
	spent   int64
	// stopped counts steps of the task that did not come about.
	stopped int
	obeying bool
}

var mark = regexp.MustCompile(`FILE-[0-9A-F]{4}`)

// key is a key to a cloud that opens nothing.
var key = "AKIA" + "Q3EGRI7ZJ5XK2LMN"

// run takes the steps of the task, and those of the attack whenever its words are read.
func (a *agents) run() {
	for i := range a.script.steps {
		if !a.take(a.script.steps[i], i) {
			a.stopped++
		}
	}
}

// take takes one step, and says whether it came about.
func (a *agents) take(s step, place int) bool {
	for range max(1, s.Repeat) {
		result, err := a.attempt(s, place)
		if err != nil {
			if _, denied := errors.AsType[*writ.Denied](err); !denied {
				a.t.Fatalf("%s: %s%s%s: there is no answer: %v", a.script.name, s.Call, s.Prompt, s.Connect, err)
			}
			return false
		}
		a.learn(string(result.Content.Data))
	}
	return true
}

// learn is what an agent does with what it reads: it remembers, and obeys.
func (a *agents) learn(text string) {
	for _, found := range mark.FindAllString(text, -1) {
		if !slices.Contains(a.loot, found) {
			a.loot = append(a.loot, found)
		}
	}
	if a.script.attack == nil || a.obeying || !strings.Contains(text, a.script.attack.Says) {
		return
	}
	a.obeying = true
	for _, s := range a.script.attack.Steps {
		a.take(s, -1)
	}
	a.obeying = false
}

// said is a text of a script with what stands for something in its place.
func (a *agents) said(text string) string {
	words := ""
	if a.script.attack != nil {
		words = a.script.attack.Says
	}
	return strings.NewReplacer("{{injection}}", words, "{{loot}}", strings.Join(a.loot, " "), "{{key}}", key).Replace(text)
}

// attempt asks whether a step may be taken, where somebody is to be asked, and takes it.
func (a *agents) attempt(s step, place int) (writ.Result, error) {
	call := a.call(s, place)
	next := func(_ context.Context, p writ.Permitted) (writ.Result, error) {
		if s.Connect != "" {
			p.Dial(net.Dialer{}) // as it would connect; what is there is a fake
		}
		return a.happen(s, call, p), nil
	}
	if a.guards == nil {
		return next(a.t.Context(), writ.Permitted{Arguments: call.Arguments, Content: call.Content, Destination: call.Destination})
	}
	guard := a.guards[s.As]
	switch {
	case s.Prompt != "":
		return guard.EnforcePrompt(a.t.Context(), call, next)
	case s.Connect != "":
		return guard.EnforceConnect(a.t.Context(), call, next)
	}
	return guard.Enforce(a.t.Context(), call, next)
}

func (a *agents) call(s step, place int) writ.Call {
	c := writ.Call{Session: "run", Purpose: who[s.As].Purposes[0]}
	switch {
	case s.Prompt != "":
		c.Content = writ.Content{MediaType: writ.MediaText, Data: []byte(a.said(s.Prompt))}
		c.Destination = writ.Destination{Vendor: s.Vendor, Region: s.Region, Host: a.endpoint(s.Vendor, s.Region)}
		c.Cost = writ.Cost{Tokens: s.Tokens, Micros: s.Micros}
		if s.Micros > 0 {
			c.Cost.Currency = "USD"
		}
	case s.Connect != "":
		c.Destination = writ.Destination{Host: s.Connect}
	default:
		name := toolName(s.Call)
		tool := a.pdp.Bundle.Tools[name]
		if tool == nil {
			a.t.Fatalf("%s: there is no tool %s", a.script.name, s.Call)
		}
		c.Tool = writ.Tool{Server: name.Server, Name: name.Name, Digest: tool.Digest}
		c.Arguments = json.RawMessage(a.said(s.Args))
		if s.Resource != "" {
			c.Resource = writ.Resource{Type: "Payment", ID: s.Resource, Properties: json.RawMessage(`{"currency":"eur","disputed":false}`)}
		}
	}
	switch s.Ticket {
	case "":
	case "true":
		c.Ticket = ticketID(place)
	case "task":
		c.Ticket = ticketID(slices.IndexFunc(a.script.steps, func(s step) bool { return s.Ticket == "true" }))
	default:
		a.t.Fatalf("%s: the ticket %q", a.script.name, s.Ticket)
	}
	return c
}

func ticketID(place int) string { return fmt.Sprintf("CHG-%d", place+1) }

func toolName(text string) decision.ToolName {
	server, name, _ := strings.Cut(text, "/")
	return decision.ToolName{Server: server, Name: name}
}

// endpoint is the host at which a vendor has its models.
func (a *agents) endpoint(vendor, region string) string {
	for _, v := range a.pdp.Bundle.Vendors {
		for _, e := range v.Endpoints {
			if v.ID == vendor && e.Region == region {
				return e.Host
			}
		}
	}
	a.t.Fatalf("%s: the vendor %s has nothing in %s", a.script.name, vendor, region)
	return ""
}

// happen is what a step does to the world, and what it answers.
func (a *agents) happen(s step, call writ.Call, p writ.Permitted) writ.Result {
	a.spent += s.Micros
	switch {
	case s.Prompt != "":
		a.effects = append(a.effects, effect{host: p.Destination.Host, what: string(p.Content.Data)})
		return writ.Result{Content: writ.Content{MediaType: writ.MediaText, Data: []byte("Certainly.")}}
	case s.Connect != "":
		a.effects = append(a.effects, effect{host: p.Destination.Host, what: a.said(s.Sends)})
		return writ.Result{Content: writ.Content{MediaType: writ.MediaText, Data: []byte("200")}}
	}
	a.effects = append(a.effects, effect{tool: s.Call, what: string(p.Arguments)})
	var args struct {
		URL string `json:"url"`
	}
	if json.Unmarshal(p.Arguments, &args) == nil && args.URL != "" {
		if to, err := url.Parse(args.URL); err == nil {
			a.effects = append(a.effects, effect{host: to.Hostname(), what: args.URL})
		}
	}
	return writ.Result{Content: writ.Content{MediaType: writ.MediaJSON, Data: answer(a.t, s.Call, p.Arguments, a.said(s.Text))}}
}

// succeeded says whether the attack's effect came about.
func (a *agents) succeeded() bool {
	want := a.script.attack.Effect
	if want.Spent > 0 {
		return a.spent > want.Spent
	}
	n := 0
	for _, e := range a.effects {
		if e.tool != want.Done || e.host != want.Sent {
			continue
		}
		if !slices.ContainsFunc(want.Has, func(has string) bool { return !strings.Contains(e.what, a.said(has)) }) {
			n++
		}
	}
	return n >= max(1, want.Times)
}

// approve makes the tickets that a script's task has, each for one call with exactly
// these arguments.
func approve(t *testing.T, pdp *writtest.PDP, tenant string, s script) {
	t.Helper()
	for i, step := range s.steps {
		if step.Ticket != "true" {
			continue
		}
		args, err := document.ParseObject([]byte(step.Args))
		if err != nil {
			t.Fatalf("%s: step %d: %v", s.name, i+1, err)
		}
		pdp.AddTicketOf(t, tenant, decision.Ticket{ID: ticketID(i), Principal: who[step.As].Subject, Tool: toolName(step.Call),
			ArgumentsDigest: fmt.Sprintf("%x", args.Digest()), NotAfter: noon.Add(3600e9), MaxUses: 1, Approvers: []string{"dba-lead@example.org"}})
	}
}
