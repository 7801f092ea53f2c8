package suite

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/egress"
)

// Who is an agent, as files write it.
type Who struct {
	Agent string `yaml:"agent"`
	// OnBehalfOf is the human the agent acts for; empty: none.
	OnBehalfOf string   `yaml:"on_behalf_of"`
	Actors     []string `yaml:"actors"`
	// Carries are the token's purposes; empty: the one that is asked for.
	Carries []string `yaml:"carries"`
	// CarriesTools are the only tools that the token is for; empty: any.
	CarriesTools []string `yaml:"carries_tools"`
}

// What is an action, as files write it.
type What struct {
	Purpose string `yaml:"purpose"`
	// Phase is LIST, PROMPT, CALL, RESULT or CONNECT; empty: CALL.
	Phase string `yaml:"phase"`
	// Tool is "server/name".
	Tool string `yaml:"tool"`
	// Digest of the tool's definition; empty: the pinned one, "-": none.
	Digest string `yaml:"digest"`
	Args   JSON   `yaml:"args"`
	// Candidates are "server/name" of a LIST, with a digest after a space where
	// it is not the pinned one.
	Candidates []string `yaml:"candidates"`
	// Content is a document, Text a plain text, of a PROMPT or a RESULT.
	Content  JSON   `yaml:"content"`
	Text     string `yaml:"text"`
	Resource struct {
		Type       string `yaml:"type"`
		ID         string `yaml:"id"`
		Properties JSON   `yaml:"properties"`
	} `yaml:"resource"`
	Destination Destination `yaml:"destination"`
	Tokens      int64       `yaml:"tokens"`
	Micros      int64       `yaml:"micros"`
	Currency    string      `yaml:"currency"`
	// Depth is how many steps of the agent's plan this one lies below.
	Depth int64 `yaml:"depth"`
	// Context is what the caller adds, for context.extra.
	Context JSON `yaml:"context"`
	// Supports are the obligations that the caller can meet; empty: all, ["-"]:
	// none.
	Supports []string `yaml:"supports"`
}

// Destination is where an action leads, as files write it.
type Destination struct {
	Host           string   `yaml:"host"`
	Vendor         string   `yaml:"vendor"`
	Region         string   `yaml:"region"`
	URL            string   `yaml:"url"`
	Scheme         string   `yaml:"scheme"`
	Port           uint16   `yaml:"port"`
	Method         string   `yaml:"method"`
	Addresses      []string `yaml:"addresses"`
	RedirectedFrom string   `yaml:"redirected_from"`
}

// none reports whether nothing is said of where it leads.
func (d *Destination) none() bool { return d.Host+d.Vendor+d.Region+d.URL == "" }

// into enters a destination into a request.
func (d *Destination) into(r *decision.Request) {
	if d.none() {
		return
	}
	r.Destination = decision.Destination{Host: d.Host, Vendor: d.Vendor, Region: d.Region}
	r.Connection = egress.Connect(egress.StatedConnection{URL: d.URL, Scheme: d.Scheme, Host: d.Host, Port: d.Port, Method: d.Method,
		Addresses: d.Addresses, RedirectedFrom: d.RedirectedFrom})
	r.Destination.Host = cmp.Or(d.Host, r.Connection.To.Host)
}

// Ask is one question, as files write it.
type Ask struct {
	Who     `yaml:",inline"`
	What    `yaml:",inline"`
	Session string `yaml:"session"`
	Ticket  string `yaml:"ticket"`
}

// supported are the obligations that there are.
var supported = []string{"redact", "route", "filter_tools", "limit_output", "notify", "step_up", "watermark", "delay", "pin"}

// Obligations are the types of obligation that the caller can meet.
func (a *Ask) Obligations() []string {
	switch {
	case len(a.Supports) == 0:
		return slices.Clone(supported)
	case a.Supports[0] == "-":
		return nil
	}
	return a.Supports
}

var phases = []decision.Phase{decision.List, decision.Prompt, decision.Call, decision.Result, decision.Connect}

// Asked is the phase; an error says that there is no such.
func (a *Ask) Asked() (decision.Phase, error) {
	if a.Phase == "" {
		return decision.Call, nil
	}
	i := slices.IndexFunc(phases, func(p decision.Phase) bool { return p.String() == a.Phase })
	if i < 0 {
		return 0, fmt.Errorf("the phase %q is not LIST, PROMPT, CALL, RESULT or CONNECT", a.Phase)
	}
	return phases[i], nil
}

// Request is the question as the core takes it. Its token, and what it belongs
// to, are the caller's to add.
func (a *Ask) Request(b *decision.Bundle, caller decision.Caller) (*decision.Request, error) {
	phase, err := a.Asked()
	if err != nil {
		return nil, err
	}
	if err := a.check(phase); err != nil {
		return nil, err
	}
	r := &decision.Request{
		Caller:    caller,
		Principal: decision.Principal{Subject: a.Agent, OnBehalfOf: a.OnBehalfOf, Actors: a.Actors, Purposes: a.Carries, Tools: a.CarriesTools},
		Phase:     phase, Session: a.Session, Depth: a.Depth, Purpose: a.Purpose, Ticket: a.Ticket,
		Supports: a.Obligations(),
		Cost:     decision.Cost{Calls: 1, Tokens: a.Tokens, Micros: a.Micros, Currency: a.Currency},
	}
	a.Destination.into(r)
	if len(a.Carries) == 0 {
		r.Principal.Purposes = []string{a.Purpose}
	}
	if a.Tool != "" {
		r.Tool = Ref(b, a.Tool, a.Digest)
	}
	for _, candidate := range a.Candidates {
		name, digest, _ := strings.Cut(candidate, " ")
		r.Candidates = append(r.Candidates, Ref(b, name, digest))
	}
	return r, a.documents(r)
}

// check sees that a question has what its phase needs, as the wire does.
func (a *Ask) check(phase decision.Phase) error {
	prompt, result := phase == decision.Prompt, phase == decision.Result
	given := len(a.Content) > 0 || a.Text != ""
	switch {
	case a.Agent == "":
		return errors.New("the agent is missing")
	case a.Purpose == "":
		return errors.New("the purpose is missing")
	case (phase == decision.Call || result) && a.Tool == "":
		return errors.New("a call and a result have a tool")
	case (phase == decision.List) != (len(a.Candidates) > 0):
		return errors.New("a list, and nothing else, has candidates")
	case (prompt || result) != given, len(a.Content) > 0 && a.Text != "":
		return errors.New("a prompt and a result, and nothing else, have either content or text")
	case len(a.Args) > 0 && phase != decision.Call && !result:
		return errors.New("only a call and a result have args")
	case a.Resource.Type != "" && a.Resource.ID == "":
		return errors.New("the resource has no id")
	case a.Micros > 0 != (a.Currency != ""):
		return errors.New("micros and currency go together")
	case (prompt || phase == decision.Connect) && a.Destination.Host+a.Destination.Vendor+a.Destination.URL == "":
		return errors.New("a prompt and a connection have a destination")
	}
	return nil
}

func (a *Ask) documents(r *decision.Request) error {
	object := func(field string, data []byte, into **document.Document) error {
		d, err := document.ParseObject(data)
		if err != nil {
			return fmt.Errorf("%s: %w", field, err)
		}
		*into = d
		return nil
	}
	if r.Phase == decision.Call || r.Phase == decision.Result {
		if err := object("args", a.Args, &r.Arguments); err != nil {
			return err
		}
	}
	if len(a.Context) > 0 {
		if err := object("context", a.Context, &r.Context); err != nil {
			return err
		}
	}
	if a.Resource.Type != "" {
		r.Resource = decision.Resource{Type: a.Resource.Type, ID: a.Resource.ID}
		if err := object("resource.properties", a.Resource.Properties, &r.Resource.Properties); err != nil {
			return err
		}
	}
	data := []byte(a.Text)
	if len(a.Content) > 0 {
		data = a.Content
		d, err := document.Parse(data)
		if err != nil {
			return fmt.Errorf("content: %w", err)
		}
		r.Content.Document = d
	}
	r.Content.Text, r.Content.Size, r.Content.Digest = a.Text, len(data), sha256.Sum256(data)
	return nil
}

// Ref is a tool as the caller saw it: with the pinned digest where none is
// given, and with none for "-".
func Ref(b *decision.Bundle, text, digest string) decision.ToolRef {
	server, name, _ := strings.Cut(text, "/")
	ref := decision.ToolRef{ToolName: decision.ToolName{Server: server, Name: name}, Digest: strings.Trim(digest, "-")}
	if pinned := b.Tools[ref.ToolName]; digest == "" && pinned != nil {
		ref.Digest = pinned.Digest
	}
	return ref
}
