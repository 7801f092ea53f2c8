package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/decision"
)

// Mapping is the way from a delivery's JSON to an approval. Members are named by
// RFC 6901 pointers, and are strings or numbers.
type Mapping struct {
	// Approve are conditions that must all hold for an approval, and Reject those for a
	// rejection; without Reject there are none.
	Approve []Condition `yaml:"approve"`
	Reject  []Condition `yaml:"reject"`
	// Actor is who approved or rejected, Reference what the tracker calls the change.
	Actor     string `yaml:"actor"`
	Reference string `yaml:"reference"`
	// Reason is why; without: a sentence that names the reference.
	Reason string `yaml:"reason"`
	// Ticket is the id of a ticket that was asked for elsewhere. Without it the delivery
	// says what the ticket is to cover, and its id is the reference.
	Ticket string `yaml:"ticket"`
	// Terms say what a ticket is to cover; nil: Ticket names one.
	Terms *Terms `yaml:"terms"`
}

// Condition is a member that must have one of some values.
type Condition struct {
	Pointer string   `yaml:"pointer"`
	Is      []string `yaml:"is"`
}

// Terms are where a delivery says what a ticket is to cover. What is empty is not
// said, and bounds nothing.
type Terms struct {
	// Requester is who asked for the change: it cannot be approved by the same.
	Requester string `yaml:"requester"`
	// Principal is the agent, Tool the tool, as "server/name".
	Principal        string `yaml:"principal"`
	Tool             string `yaml:"tool"`
	DefinitionDigest string `yaml:"definition_digest"`
	ArgumentsDigest  string `yaml:"arguments_digest"`
	Scope            string `yaml:"scope"`
	ResourceType     string `yaml:"resource_type"`
	ResourceID       string `yaml:"resource_id"`
	// NotBefore and NotAfter are RFC 3339 times, or "2006-01-02 15:04:05" in UTC.
	NotBefore string `yaml:"not_before"`
	NotAfter  string `yaml:"not_after"`
	// Uses is how often the ticket can be redeemed.
	Uses string `yaml:"uses"`
}

// check refuses a mapping that could come to nothing, or says too little.
func (m *Mapping) check() error {
	pointers := []string{m.Actor, m.Reference, m.Reason, m.Ticket}
	switch {
	case len(m.Approve) == 0:
		return errors.New("approve: there is no condition, so everything would be an approval")
	case m.Actor == "" || m.Reference == "":
		return errors.New("actor or reference is missing")
	case (m.Ticket == "") == (m.Terms == nil):
		return errors.New("one of ticket and terms")
	}
	if t := m.Terms; t != nil {
		if t.Requester == "" || t.Principal == "" || t.Tool == "" {
			return errors.New("terms: requester, principal or tool is missing")
		}
		if (t.ResourceType == "") != (t.ResourceID == "") {
			return errors.New("terms: resource_type and resource_id belong together")
		}
		pointers = append(pointers, t.Requester, t.Principal, t.Tool, t.DefinitionDigest, t.ArgumentsDigest, t.Scope, t.ResourceType, t.ResourceID, t.NotBefore, t.NotAfter, t.Uses)
	}
	for _, c := range append(m.Approve, m.Reject...) {
		if c.Pointer == "" || len(c.Is) == 0 {
			return errors.New("a condition has no pointer or no values")
		}
		pointers = append(pointers, c.Pointer)
	}
	for _, p := range pointers {
		if p != "" && !strings.HasPrefix(p, "/") {
			return fmt.Errorf("%q is not a JSON pointer", p)
		}
	}
	return nil
}

// act is what a delivery does.
type act uint8

const (
	nothing act = iota
	approves
	rejects
)

// ask is what a delivery asks for.
type ask struct {
	actor, reference, reason, ticket, requester string
	terms                                       *decision.Ticket
}

// read finds out what a delivery asks for. Its errors name members and no values.
func (m *Mapping) read(d *document.Document) (*ask, act, error) {
	what := nothing
	switch root := d.Value(); {
	case all(root, m.Approve):
		what = approves
	case len(m.Reject) > 0 && all(root, m.Reject):
		what = rejects
	default:
		return nil, nothing, nil
	}
	r := reader{root: d.Value()}
	a := &ask{actor: r.must("actor", m.Actor), reference: r.must("reference", m.Reference), reason: r.reason(m.Reason)}
	if a.reason == "" {
		a.reason = "As " + a.reference + " says."
	}
	if m.Terms == nil {
		a.ticket = r.must("ticket", m.Ticket)
		return a, what, r.err
	}
	t := m.Terms
	server, tool, _ := strings.Cut(r.must("tool", t.Tool), "/")
	a.ticket, a.requester = a.reference, r.must("requester", t.Requester)
	a.terms = &decision.Ticket{ID: a.reference, Principal: r.must("principal", t.Principal), Tool: decision.ToolName{Server: server, Name: tool},
		ToolDigest: r.may("definition_digest", t.DefinitionDigest), ArgumentsDigest: r.may("arguments_digest", t.ArgumentsDigest), Scope: r.may("scope", t.Scope),
		Resource:  decision.TicketResource{Type: r.may("resource_type", t.ResourceType), ID: r.may("resource_id", t.ResourceID)},
		NotBefore: r.time("not_before", t.NotBefore), NotAfter: r.time("not_after", t.NotAfter), MaxUses: r.number("uses", t.Uses)}
	return a, what, r.err
}

// all reports whether all conditions hold.
func all(root any, conditions []Condition) bool {
	for _, c := range conditions {
		value, ok := text(lookup(root, c.Pointer))
		holds := false
		for _, want := range c.Is {
			holds = holds || ok && value == want
		}
		if !holds {
			return false
		}
	}
	return true
}

// reader reads members and keeps the first thing that is wrong.
type reader struct {
	root any
	err  error
}

func (r *reader) fail(name, problem string) {
	if r.err == nil {
		r.err = fmt.Errorf("%s: %s", name, problem)
	}
}

// must is a member that has to be there.
func (r *reader) must(name, pointer string) string {
	value := r.may(name, pointer)
	if value == "" {
		r.fail(name, "the delivery does not say it")
	}
	return value
}

// may is a member that is there where the mapping names it. That one is missing which
// bounds what the ticket covers must not make a wider one.
func (r *reader) may(name, pointer string) string {
	if pointer == "" {
		return ""
	}
	value, ok := text(lookup(r.root, pointer))
	switch {
	case !ok || value == "":
		r.fail(name, "it is not there, or not a text or a number")
	case strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c == 0x7f }) && name != "scope":
		r.fail(name, "it has control characters")
	}
	return value
}

// maxReason bounds a reason, in bytes.
const maxReason = 1024

// reason is one line of a text, cut; empty: there is none. What a tracker's users
// write there keeps no approval from being one.
func (r *reader) reason(pointer string) string {
	if pointer == "" {
		return ""
	}
	value, _ := text(lookup(r.root, pointer))
	value = strings.Join(strings.FieldsFunc(value, func(c rune) bool { return !unicode.IsPrint(c) }), " ")
	if len(value) > maxReason {
		value = strings.ToValidUTF8(value[:maxReason], "")
	}
	return value
}

func (r *reader) time(name, pointer string) time.Time {
	value := r.may(name, pointer)
	if value == "" {
		return time.Time{}
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02T15:04:05.000-0700"} { // the last is Jira's
		if t, err := time.Parse(layout, value); err == nil {
			return t.UTC()
		}
	}
	r.fail(name, "it is not a time")
	return time.Time{}
}

func (r *reader) number(name, pointer string) int64 {
	value := r.may(name, pointer)
	if value == "" {
		return 0
	}
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil || n < 1 {
		r.fail(name, "it is not a positive number")
	}
	return n
}

// text is a member as a text.
func text(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

var unescape = strings.NewReplacer("~1", "/", "~0", "~")

// lookup is the member that an RFC 6901 pointer names; nil: there is none.
func lookup(v any, pointer string) any {
	for _, token := range strings.Split(pointer, "/")[1:] {
		token = unescape.Replace(token)
		switch at := v.(type) {
		case map[string]any:
			v = at[token]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(at) || strconv.Itoa(i) != token {
				return nil
			}
			v = at[i]
		default:
			return nil
		}
	}
	return v
}
