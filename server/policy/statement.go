package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/decision"
)

// statement is one Cedar policy with what its annotations mean to Writ.
type statement struct {
	id     string
	policy *cedar.Policy
	ast    *ast.Policy
	forbid bool
	// reason is the @reason for a person.
	reason string
	// ticket says @requires("ticket").
	ticket bool
	// obligate is the obligation that a match attaches; nil: a deciding policy.
	obligate *obligate
}

// obligate is a parsed @obligate with its parameters: exactly one of them.
type obligate struct {
	fields []string // redact: pointer patterns
	remove bool     // redact: remove rather than mask
	duty   decision.Duty
	route  *decision.RouteRule
}

// parameters are the annotations that each type of obligation takes; those that
// end in ? may be left out.
var parameters = map[string][]string{
	"redact":       {"fields", "method?"},
	"route":        {"region?", "vendor?"},
	"limit_output": {"max_bytes"},
	"notify":       {"to", "body"},
	"step_up":      {"acr"},
	"watermark":    {"text"},
}

// plain are the annotations that any policy may carry.
var plain = []string{"id", "owner", "reason", "description", "obligate", "requires"}

var idForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,127}$`)

// parse reads one file of policies. Every policy has an @id, and no annotation
// goes unread: a misspelt @obligate must not leave a bare permit behind.
func parse(file string, text []byte) ([]*statement, error) {
	if err := checkCedar(file, text); err != nil {
		return nil, err
	}
	list, err := cedar.NewPolicyListFromBytes(file, text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	statements := make([]*statement, len(list))
	for i, p := range list {
		if statements[i], err = newStatement(p); err != nil {
			at := p.Position()
			return nil, fmt.Errorf("%s:%d:%d: %w", file, at.Line, at.Column, err)
		}
	}
	return statements, nil
}

func newStatement(p *cedar.Policy) (*statement, error) {
	notes := map[string]string{}
	for key, value := range p.Annotations() {
		notes[string(key)] = string(value)
	}
	id, ok := notes["id"]
	if !ok {
		return nil, fmt.Errorf("the policy has no @id")
	}
	if !idForm.MatchString(id) {
		return nil, fmt.Errorf("the @id %q is not of the form %s", id, idForm)
	}
	s := &statement{id: id, policy: p, ast: (*ast.Policy)(p.AST()), forbid: p.Effect() == cedar.Forbid, reason: notes["reason"]}
	allowed := slices.Clone(plain)
	if kind, ok := notes["obligate"]; ok {
		if _, known := parameters[kind]; !known {
			return nil, fmt.Errorf("policy %q: @obligate(%q) is no obligation", id, kind)
		}
		for _, name := range parameters[kind] {
			name, optional := strings.CutSuffix(name, "?")
			allowed = append(allowed, name)
			if _, ok := notes[name]; !ok && !optional {
				return nil, fmt.Errorf("policy %q: @obligate(%q) needs @%s", id, kind, name)
			}
		}
	}
	for key := range notes {
		if !slices.Contains(allowed, key) {
			return nil, fmt.Errorf("policy %q: the annotation @%s means nothing here", id, key)
		}
	}
	if err := s.readRequires(notes); err != nil {
		return nil, fmt.Errorf("policy %q: %w", id, err)
	}
	if err := s.readObligate(notes); err != nil {
		return nil, fmt.Errorf("policy %q: %w", id, err)
	}
	return s, nil
}

func (s *statement) readRequires(notes map[string]string) error {
	what, ok := notes["requires"]
	switch {
	case !ok:
		return nil
	case what != "ticket":
		return fmt.Errorf(`@requires(%q): only "ticket" can be required`, what)
	case !s.forbid:
		return fmt.Errorf(`@requires("ticket") belongs on a forbid`)
	case !s.asksForTicket():
		return fmt.Errorf("@requires(\"ticket\") on a forbid that no ticket lifts: add `unless { context has ticket }`")
	}
	s.ticket = true
	return nil
}

// asksForTicket reports whether a condition looks at context.ticket.
func (s *statement) asksForTicket() bool {
	found := false
	for _, c := range s.ast.Conditions {
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
			if has, ok := n.(ast.NodeTypeHas); ok && has.Value == "ticket" {
				found = true
			}
			return !found
		})
	}
	return found
}

func (s *statement) readObligate(notes map[string]string) error {
	kind, ok := notes["obligate"]
	if !ok {
		return nil
	}
	if s.forbid {
		return fmt.Errorf("@obligate belongs on a permit, which then obliges and permits nothing")
	}
	o := &obligate{}
	switch kind {
	case "redact":
		o.fields = strings.Fields(notes["fields"])
		if len(o.fields) == 0 {
			return fmt.Errorf("@fields is empty")
		}
		for _, f := range o.fields {
			if err := document.CheckPattern(f); err != nil {
				return err
			}
		}
		switch notes["method"] {
		case "", "mask":
		case "remove":
			o.remove = true
		default:
			return fmt.Errorf(`@method(%q) is neither "mask" nor "remove"`, notes["method"])
		}
	case "route":
		o.route = &decision.RouteRule{Policy: s.id, Region: notes["region"], Vendor: notes["vendor"]}
		if o.route.Region == "" && o.route.Vendor == "" {
			return fmt.Errorf(`@obligate("route") needs @region or @vendor`)
		}
	case "limit_output":
		n, err := strconv.ParseInt(notes["max_bytes"], 10, 64)
		if err != nil || n <= 0 {
			return fmt.Errorf("@max_bytes(%q) is not a positive number", notes["max_bytes"])
		}
		o.duty = decision.LimitOutput{MaxBytes: n}
	case "notify":
		o.duty = decision.Notify{To: notes["to"], Body: notes["body"]}
	case "step_up":
		o.duty = decision.StepUp{ACRValue: notes["acr"]}
	case "watermark":
		o.duty = decision.Watermark{Text: notes["text"]}
	}
	for _, name := range parameters[kind] {
		if name, optional := strings.CutSuffix(name, "?"); !optional && notes[name] == "" {
			return fmt.Errorf("@%s is empty", name)
		}
	}
	s.obligate = o
	return nil
}
