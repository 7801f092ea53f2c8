package policy

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go"
	publicast "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy/redact"
)

// statement is one Cedar policy with what its annotations mean to Writ.
type statement struct {
	id string
	// tenant is whose requests the policy is asked for; empty: everybody's.
	tenant string
	ast    *ast.Policy
	// policy evaluates what the index does not already know when it finds the
	// policy: the conditions, and of the scope only `is in`, of which the
	// index knows the entity and not the type.
	policy *cedar.Policy
	forbid bool
	// reason is the @reason for a person.
	reason string
	// ticket says @requires("ticket").
	ticket bool
	// shadow says @mode("shadow"): the policy is watched and not in force.
	shadow bool
	// obligate is the obligation that a match attaches; nil: a deciding policy.
	obligate *obligate
}

// obligate is a parsed @obligate with its parameters: exactly one of them.
type obligate struct {
	redact *decision.RedactRule
	duty   decision.Duty
	route  *decision.RouteRule
}

// parameters are the annotations that each type of obligation takes; those that
// end in ? may be left out.
var parameters = map[string][]string{
	"redact":       {"detect?", "labels?", "fields?", "method?"},
	"route":        {"region?", "vendor?"},
	"limit_output": {"max_bytes"},
	"notify":       {"to", "body"},
	"step_up":      {"acr"},
	"watermark":    {"text"},
}

// plain are the annotations that any policy may carry.
var plain = []string{"id", "owner", "reason", "description", "obligate", "requires", "mode", "lint"}

// longest bounds the annotations that an answer holds, in bytes, as the wire does.
var longest = map[string]int{"reason": 2048, "fields": redact.MaxList, "detect": redact.MaxList, "labels": redact.MaxList, "to": 256, "body": 2048, "acr": 256, "text": 1024}

var idForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,127}$`)

// parse reads one file of policies. Every policy has an @id, and no annotation
// goes unread: a misspelt @obligate must not leave a bare permit behind.
func parse(file string, text []byte) ([]*statement, error) {
	if err := checkCedar(file, text); err != nil {
		return nil, err
	}
	list, err := cedar.NewPolicyListFromBytes(file, text)
	if err != nil {
		return nil, placed(file, text, err)
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

// cedarPlace is where Cedar says that its text is wrong.
var cedarPlace = regexp.MustCompile(`^(?:parser error: )?(?:parse error at )?<input>:(\d+):(\d+):? ?`)

// placed says where a file is wrong. For what Cedar gives no place it is the
// statement that cannot be read.
func placed(file string, text []byte, err error) error {
	message := err.Error()
	if m := cedarPlace.FindStringSubmatch(message); m != nil && m[1] == "0" {
		message = message[len(m[0]):] // at the very beginning
		return fmt.Errorf("%s:1:1: %s", file, short(message))
	} else if m != nil {
		return fmt.Errorf("%s:%s:%s: %s", file, m[1], m[2], short(message[len(m[0]):]))
	}
	message = short(strings.TrimPrefix(message, "parser error: "))
	s, fresh, start, line, column := scanner{text: text, line: 1}, true, 0, 0, 0
	for s.next() {
		if fresh && !space(s.char) {
			fresh, start, line, column = false, s.pos, s.line, s.column
		}
		if s.char == ';' {
			if _, err := cedar.NewPolicyListFromBytes(file, text[start:s.after]); err != nil {
				return fmt.Errorf("%s:%d:%d: %s", file, line, column, message)
			}
			fresh = true
		}
	}
	return fmt.Errorf("%s: %s", file, message)
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
	s := &statement{id: id, policy: unscoped(p), ast: (*ast.Policy)(p.AST()), forbid: p.Effect() == cedar.Forbid, reason: notes["reason"]}
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
	for _, key := range slices.Sorted(maps.Keys(notes)) {
		if !slices.Contains(allowed, key) {
			return nil, fmt.Errorf("policy %q: the annotation @%s means nothing here", id, key)
		}
		if bound, ok := longest[key]; ok && len(notes[key]) > bound {
			return nil, fmt.Errorf("policy %q: @%s is longer than %d bytes", id, key, bound)
		}
	}
	switch mode, ok := notes["mode"]; {
	case ok && mode != "enforce" && mode != "shadow":
		return nil, fmt.Errorf(`policy %q: @mode(%q) is neither "enforce" nor "shadow"`, id, mode)
	case ok:
		s.shadow = mode == "shadow"
	}
	if err := s.readRequires(notes); err != nil {
		return nil, fmt.Errorf("policy %q: %w", id, err)
	}
	if err := s.readObligate(notes); err != nil {
		return nil, fmt.Errorf("policy %q: %w", id, err)
	}
	return s, nil
}

// unscoped is a policy without the scope that the index tests.
func unscoped(p *cedar.Policy) *cedar.Policy {
	copied := *(*ast.Policy)(p.AST())
	copied.Action = ast.ScopeTypeAll{}
	if _, typed := copied.Principal.(ast.ScopeTypeIsIn); !typed {
		copied.Principal = ast.ScopeTypeAll{}
	}
	if _, typed := copied.Resource.(ast.ScopeTypeIsIn); !typed {
		copied.Resource = ast.ScopeTypeAll{}
	}
	return cedar.NewPolicyFromAST((*publicast.Policy)(&copied))
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

// asksForTicket reports whether a ticket can keep the policy from matching: a
// condition asks for context.ticket, under unless or under a negation.
func (s *statement) asksForTicket() bool {
	found := false
	asks := func(n ast.IsNode) bool {
		if has, ok := n.(ast.NodeTypeHas); ok && has.Value == "ticket" {
			variable, ok := has.Arg.(ast.NodeTypeVariable)
			found = found || ok && variable.Name == "context"
		}
		return !found
	}
	for _, c := range s.ast.Conditions {
		if c.Condition == ast.ConditionUnless {
			ast.Inspect(ast.NewNode(c.Body), asks)
			continue
		}
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
			if not, ok := n.(ast.NodeTypeNot); ok {
				ast.Inspect(ast.NewNode(not.Arg), asks)
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
		var err error
		if o.redact, err = redact.Parse(s.id, notes); err != nil {
			return err
		}
	case "route":
		o.route = &decision.RouteRule{Policy: s.id, Region: notes["region"], Vendor: notes["vendor"]}
		if o.route.Region == "" && o.route.Vendor == "" {
			return errors.New(`@obligate("route") needs @region or @vendor`)
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

// checkRedact refuses a redaction of what the bundle has no detector or label for.
func (s *statement) checkRedact(b *decision.Bundle) error {
	if s.obligate == nil || s.obligate.redact == nil {
		return nil
	}
	detects := func(string) []string { return nil }
	if b.Detect != nil {
		detects = b.Detect.Labels
	}
	return redact.Check(s.obligate.redact, detects, func(label string) bool { return b.Labels[label] > 0 })
}

// checkRoute refuses a constraint that no vendor of the bundle can meet: a
// misspelt region would deny everything that the policy is for.
func (s *statement) checkRoute(b *decision.Bundle) error {
	if s.obligate == nil || s.obligate.route == nil {
		return nil
	}
	rule := s.obligate.route
	for id, vendor := range b.Vendors {
		meets := func(e decision.Endpoint) bool { return rule.Region == "" || rule.Region == e.Region }
		if (rule.Vendor == "" || rule.Vendor == id) && slices.ContainsFunc(vendor.Endpoints, meets) {
			return nil
		}
	}
	return fmt.Errorf("no vendor is %q with the region %q", rule.Vendor, rule.Region)
}
