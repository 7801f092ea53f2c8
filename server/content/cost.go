package content

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/writpdp/writ/document"
)

// Bounds of the work of a check. A unit is about one schema that is held
// against one value.
const (
	// maxWork bounds one check, in units.
	maxWork = 5_000_000
	// maxTold bounds one that says where a document breaks the schema: each unit can
	// be a violation, of some hundred bytes.
	maxTold = 50_000
	// maxLinks bounds the schemas that are for one value, over all schemas of
	// a tool together, and so the time and memory of finding out.
	maxLinks = 250_000
	// maxChain bounds how many schemas lead from one to the next for one value.
	maxChain = 64
	// bytesPerUnit is how many bytes of a document count as another value,
	// perPattern and perInstruction what a regular expression costs for each: it can
	// be at every instruction at every byte.
	bytesPerUnit   = 64
	perPattern     = 16
	perInstruction = 2
)

// costs finds out how often a value can be looked at. A schema that refers to
// itself twice makes that double with every level of a document, so that one of
// a few hundred bytes takes for ever.
type costs struct {
	same  map[*jsonschema.Schema]set
	steps map[*jsonschema.Schema][]step
	links int
	chain int
	// programs is the size of all regular expressions, in instructions.
	programs int
}

// step is the way to one property or element, or to all others: the schemas for
// it, and the units that its name takes.
type step struct {
	schemas set
	name    int
}

// set is schemas with how often each is held against a value.
type set map[*jsonschema.Schema]int

func (s set) add(schema *jsonschema.Schema, times int) {
	s[schema] = min(s[schema]+times, maxWork)
}

// costsOf is, for every depth of a document, the most units that one of its
// values takes.
func costsOf(root *jsonschema.Schema) ([]int, error) {
	c := costs{same: map[*jsonschema.Schema]set{}, steps: map[*jsonschema.Schema][]step{}}
	if err := c.reach(root); err != nil {
		return nil, err
	}
	now, deepest := map[*jsonschema.Schema]int{}, make([]int, document.MaxDepth+1)
	for schema := range c.steps {
		now[schema] = weight(c.same[schema])
	}
	for depth := range deepest {
		deepest[depth] = now[root]
		next := make(map[*jsonschema.Schema]int, len(now))
		for schema, steps := range c.steps {
			most := weight(c.same[schema])
			for _, step := range steps {
				sum := step.name
				for child, times := range step.schemas {
					sum = min(sum+times*min(now[child], maxWork), maxWork)
				}
				most = max(most, sum)
			}
			next[schema] = most
		}
		if now, next = next, now; maps.Equal(now, next) {
			for rest := depth + 1; rest < len(deepest); rest++ {
				deepest[rest] = now[root]
			}
			break
		}
	}
	if deepest[1] >= maxWork {
		return nil, errors.New("to check one value takes too many schemas")
	}
	return deepest, nil
}

// reach finds the steps of a schema and of all that can be reached by them.
func (c *costs) reach(root *jsonschema.Schema) error {
	todo := []*jsonschema.Schema{root}
	for len(todo) > 0 {
		schema := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if _, done := c.steps[schema]; done {
			continue
		}
		same, err := c.sameValue(schema)
		if err != nil {
			return err
		}
		if err := c.patternsOf(schema); err != nil {
			return err
		}
		steps := c.stepsOf(same)
		if c.links > maxLinks {
			return errIntricate
		}
		c.steps[schema] = steps
		for _, step := range steps {
			for child := range step.schemas {
				todo = append(todo, child)
			}
			if c.links += len(step.schemas); c.links > maxLinks {
				return errIntricate
			}
		}
	}
	return nil
}

// patternsOf bounds all regular expressions together. It has the format "regex"
// read by a reader that compiles nothing.
func (c *costs) patternsOf(schema *jsonschema.Schema) error {
	if schema.Format != nil && schema.Format.Name == "regex" {
		schema.Format = text("regex", isExpression)
	}
	if p, ok := schema.Pattern.(pattern); ok {
		c.programs += p.size
	}
	for r := range schema.PatternProperties {
		if p, ok := r.(pattern); ok {
			c.programs += p.size
		}
	}
	if c.programs > maxPrograms {
		return fmt.Errorf("its regular expressions have more than %d instructions together", maxPrograms)
	}
	return nil
}

var errIntricate = errors.New("too many of its schemas are for the same value")

// sameValue is every schema that is held against the value that one is for, by
// allOf, $ref and the like.
func (c *costs) sameValue(schema *jsonschema.Schema) (set, error) {
	if known, ok := c.same[schema]; ok {
		if known == nil {
			return nil, errors.New("it refers to itself for the same value")
		}
		return known, nil
	}
	if !strings.HasPrefix(schema.Location, schemaURL) {
		return nil, errOutside
	}
	if schema.DynamicRef != nil || schema.RecursiveRef != nil {
		return nil, errors.New("a dynamic reference is not supported")
	}
	if c.chain++; c.chain > maxChain {
		return nil, errIntricate
	}
	c.same[schema] = nil
	all := set{schema: 1}
	for _, part := range parts(schema) {
		more, err := c.sameValue(part)
		if err != nil {
			return nil, err
		}
		for s, times := range more {
			all.add(s, times)
		}
		if c.links += len(more); c.links > maxLinks {
			return nil, errIntricate
		}
	}
	c.same[schema] = all
	c.chain--
	return all, nil
}

// parts are the schemas that a schema holds against its own value.
func parts(s *jsonschema.Schema) []*jsonschema.Schema {
	var all []*jsonschema.Schema
	for _, one := range []*jsonschema.Schema{s.Ref, s.Not, s.If, s.Then, s.Else} {
		if one != nil {
			all = append(all, one)
		}
	}
	for _, list := range [][]*jsonschema.Schema{s.AllOf, s.AnyOf, s.OneOf} {
		all = append(all, list...)
	}
	for _, one := range s.DependentSchemas {
		all = append(all, one)
	}
	return all
}

// weight is the units of holding schemas against one value.
func weight(s set) int {
	sum := 0
	for schema, times := range s {
		one := 1 + len(schema.Required)
		if schema.Enum != nil {
			one += len(schema.Enum.Values)
		}
		if schema.Format != nil {
			one += perPattern
		}
		if schema.Pattern != nil {
			one += priceOf(schema.Pattern)
		}
		for _, names := range schema.DependentRequired {
			one += len(names)
		}
		sum = min(sum+times*one, maxWork)
	}
	return sum
}

// priceOf is what matching a regular expression costs.
func priceOf(r jsonschema.Regexp) int {
	if p, ok := r.(pattern); ok {
		return perPattern + p.size*perInstruction
	}
	return maxWork // every one of ours is known
}

// stepsOf are the ways one level down: to every property and element that
// schemas name, and to the others.
func (c *costs) stepsOf(same set) []step {
	elements, patterns := 0, 0
	names := map[string]set{}
	for s, times := range same {
		elements = max(elements, len(s.PrefixItems))
		for pattern := range s.PatternProperties {
			patterns = min(patterns+times*priceOf(pattern), maxWork)
		}
		for name := range s.Properties {
			names[name] = set{}
		}
	}
	if c.links += (len(names) + elements + 2) * len(same); c.links > maxLinks {
		return nil
	}
	var steps []step
	for name, schemas := range names {
		for s, times := range same {
			property(s, name, schemas, times)
		}
		steps = append(steps, step{schemas, patterns})
	}
	others := set{}
	for s, times := range same {
		otherProperty(s, others, times)
	}
	steps = append(steps, step{others, patterns})
	for i := range elements + 1 {
		schemas := set{}
		for s, times := range same {
			element(s, i, schemas, times)
		}
		steps = append(steps, step{schemas, 0})
	}
	return steps
}

func property(s *jsonschema.Schema, name string, schemas set, times int) {
	named := false
	if child, ok := s.Properties[name]; ok {
		named = true
		schemas.add(child, times)
	}
	for pattern, child := range s.PatternProperties {
		if pattern.MatchString(name) {
			named = true
			schemas.add(child, times)
		}
	}
	if child, ok := s.AdditionalProperties.(*jsonschema.Schema); ok && !named {
		schemas.add(child, times)
	}
	if s.UnevaluatedProperties != nil && !named {
		schemas.add(s.UnevaluatedProperties, times)
	}
	if s.PropertyNames != nil {
		schemas.add(s.PropertyNames, times)
	}
}

func otherProperty(s *jsonschema.Schema, schemas set, times int) {
	for _, child := range s.PatternProperties {
		schemas.add(child, times)
	}
	if child, ok := s.AdditionalProperties.(*jsonschema.Schema); ok {
		schemas.add(child, times)
	}
	if s.UnevaluatedProperties != nil {
		schemas.add(s.UnevaluatedProperties, times)
	}
	if s.PropertyNames != nil {
		schemas.add(s.PropertyNames, times)
	}
}

func element(s *jsonschema.Schema, i int, schemas set, times int) {
	if i < len(s.PrefixItems) {
		schemas.add(s.PrefixItems[i], times)
	} else if s.Items2020 != nil {
		schemas.add(s.Items2020, times)
	} else if s.UnevaluatedItems != nil {
		schemas.add(s.UnevaluatedItems, times)
	}
	if s.Contains != nil {
		schemas.add(s.Contains, times)
	}
}

// work is a bound of the work of checking a document, in units.
func (s *Schema) work(d *document.Document) int {
	values := d.Nodes() + len(d.Canonical())/bytesPerUnit
	return values * max(1, s.costs[min(d.Depth(), len(s.costs)-1)])
}

// tooCostly reports whether a document could take more work than maxWork.
func (s *Schema) tooCostly(d *document.Document) bool { return s.work(d) > maxWork }
