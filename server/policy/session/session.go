// Package session reads what a bundle says of sessions: the labels that there are, and
// the values over a session's events that policies see. And it finds out which of them
// a policy looks at.
package session

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/writpdp/writ/server/decision"
)

// LabelsFile is labels.yaml, by name.
type LabelsFile map[string]struct {
	// Number is the label's for good: counters hold numbers, and not names.
	Number      uint8  `yaml:"number"`
	Description string `yaml:"description"`
}

var labelForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// Labels are those of the file together with Writ's own.
func (f LabelsFile) Labels() (map[string]uint8, error) {
	all, taken := decision.BuiltInLabels(), map[uint8]string{}
	for name, n := range all {
		taken[n] = name
	}
	for _, name := range slices.Sorted(maps.Keys(f)) {
		n := f[name].Number
		_, builtIn := all[name]
		switch {
		case !labelForm.MatchString(name):
			return nil, fmt.Errorf("the label %q is not of the form %s", name, labelForm)
		case strings.HasPrefix(name, "label-"):
			return nil, fmt.Errorf("the label %q is called as one is that no bundle names", name)
		case builtIn:
			return nil, fmt.Errorf("the label %q is Writ's own", name)
		case n < decision.OwnLabel || n > decision.MaxLabel:
			return nil, fmt.Errorf("the label %q: the number %d is not %d to %d", name, n, decision.OwnLabel, decision.MaxLabel)
		case taken[n] != "":
			return nil, fmt.Errorf("the label %q: the number %d is that of %q", name, n, taken[n])
		}
		all[name], taken[n] = n, name
	}
	return all, nil
}

// ChainsFile is chains.yaml, by name.
type ChainsFile map[string]struct {
	Description string `yaml:"description"`
	// Count, Sum and Formerly are what the value is of; one of them.
	Count    *Event `yaml:"count"`
	Sum      *Event `yaml:"sum"`
	Formerly *Event `yaml:"formerly"`
	// Of is the argument that is summed up.
	Of string `yaml:"of"`
	// Since is what begins anew.
	Since *Event `yaml:"since"`
	// Within is how far the value looks back; 0: over the session's life.
	Within time.Duration `yaml:"within"`
}

// Event is a sort of events, as the file writes it.
type Event struct {
	// Phases are PROMPT, CALL, RESULT and CONNECT; none: CALL.
	Phases []string `yaml:"phases"`
	// Tools are "server/tool" or "server/*".
	Tools   []string `yaml:"tools"`
	Classes []string `yaml:"classes"`
	Labels  []string `yaml:"labels"`
	// Except are none of these all the same.
	Except *Event `yaml:"except"`
}

// Tools is what chain rules need to know of a bundle's tools.
type Tools struct {
	// Patterns reads patterns of tools.
	Patterns func([]string) ([]decision.ToolPattern, error)
	// Integer reports whether a tool's schema says that an argument is an integer.
	Integer func(tool decision.ToolName, argument string) bool
}

// chainForm is what a value can be called: what is an identifier in Cedar, too.
var chainForm = regexp.MustCompile(`^[a-z][A-Za-z0-9_]{0,63}$`)

// reserved are identifiers that Cedar has another use for.
var reserved = []string{"true", "false", "if", "then", "else", "in", "is", "like", "has"}

var phases = map[string]decision.Phase{"PROMPT": decision.Prompt, "CALL": decision.Call, "RESULT": decision.Result, "CONNECT": decision.Connect}

// Chains are the rules in the order of their names, for a bundle that has its tools
// and labels already.
func (f ChainsFile) Chains(b *decision.Bundle, tools Tools) ([]decision.ChainRule, error) {
	if len(f) > decision.MaxChains {
		return nil, fmt.Errorf("more than %d values", decision.MaxChains)
	}
	var all []decision.ChainRule
	for _, id := range slices.Sorted(maps.Keys(f)) {
		rule, err := f.chain(id, b, tools)
		if err != nil {
			return nil, fmt.Errorf("the value %q: %w", id, err)
		}
		all = append(all, rule)
	}
	return all, nil
}

func (f ChainsFile) chain(id string, b *decision.Bundle, tools Tools) (rule decision.ChainRule, err error) {
	in := f[id]
	rule = decision.ChainRule{ID: id, Field: in.Of, Length: int64(in.Within / time.Second)}
	var of *Event
	given := 0
	for kind, event := range map[decision.ChainKind]*Event{decision.Counts: in.Count, decision.Sums: in.Sum, decision.Formerly: in.Formerly} {
		if event != nil {
			rule.Kind, of, given = kind, event, given+1
		}
	}
	switch {
	case !chainForm.MatchString(id) || slices.Contains(reserved, id):
		return rule, fmt.Errorf("it is not of the form %s, or a word of Cedar's", chainForm)
	case given != 1:
		return rule, errors.New("it has not one of count, sum and formerly")
	case in.Within != 0 && (in.Within < time.Second || in.Within%time.Second != 0 || rule.Length > decision.MaxLength):
		return rule, fmt.Errorf("within %s is not whole seconds, at least one and at most 366 days", in.Within)
	case in.Within != 0 && in.Since != nil:
		return rule, errors.New("it has both since and within")
	case (rule.Kind == decision.Sums) != (in.Of != ""):
		return rule, errors.New("a sum, and nothing else, has the argument that it is of")
	}
	if rule.Of, err = of.rule(b, tools); err != nil {
		return rule, err
	}
	if in.Since != nil {
		since, err := in.Since.rule(b, tools)
		if err != nil {
			return rule, fmt.Errorf("since: %w", err)
		}
		rule.Since = &since
	}
	if rule.Kind == decision.Sums {
		return rule, summable(&rule, b, tools)
	}
	return rule, nil
}

// summable refuses a sum over what may have no integer to sum up.
func summable(rule *decision.ChainRule, b *decision.Bundle, tools Tools) error {
	if len(rule.Of.Tools) == 0 || !slices.Equal(rule.Of.Phases, []decision.Phase{decision.Call}) {
		return errors.New("a sum is over calls of tools that it names")
	}
	for name := range b.Tools {
		if slices.ContainsFunc(rule.Of.Tools, func(p decision.ToolPattern) bool { return p.Match(name) }) && !tools.Integer(name, rule.Field) {
			return fmt.Errorf("the schema of the tool %s has no integer %q", name, rule.Field)
		}
	}
	return nil
}

func (e *Event) rule(b *decision.Bundle, tools Tools) (rule decision.EventRule, err error) {
	for _, name := range e.Phases {
		phase, known := phases[name]
		if !known || slices.Contains(rule.Phases, phase) {
			return rule, fmt.Errorf("the phase %q is not PROMPT, CALL, RESULT or CONNECT, or is there twice", name)
		}
		rule.Phases = append(rule.Phases, phase)
	}
	if len(e.Phases) == 0 {
		rule.Phases = []decision.Phase{decision.Call}
	}
	if rule.Tools, err = tools.Patterns(e.Tools); err != nil {
		return rule, err
	}
	for _, class := range e.Classes {
		known := false
		for _, tool := range b.Tools {
			known = known || slices.Contains(tool.Classes, class)
		}
		if !known {
			return rule, fmt.Errorf("no tool has the class %q", class)
		}
	}
	rule.Classes = e.Classes
	var unknown []string
	if rule.Labels, unknown = b.LabelsOf(e.Labels); len(unknown) > 0 {
		return rule, fmt.Errorf("there is no label %q", unknown[0])
	}
	if e.Except == nil {
		return rule, nil
	}
	if e.Except.Except != nil {
		return rule, errors.New("an exception has an exception")
	}
	if len(e.Except.Phases) == 0 {
		e.Except.Phases = slices.Clone(e.Phases)
	}
	except, err := e.Except.rule(b, tools)
	if err != nil {
		return rule, fmt.Errorf("except: %w", err)
	}
	rule.Except = &except
	return rule, nil
}
