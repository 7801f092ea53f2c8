package policy

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
)

// Validator holds policies against a schema. Cedar's validation goes through
// every action that the schema gives a context, so each policy is held against
// a schema in which only those that it can apply to have one. It is not safe
// for concurrent use.
type Validator struct {
	schema *resolved.Schema
	groups cedar.EntityMap                // the actions
	by     map[string]*validate.Validator // by the actions that scopes name
}

// NewValidator is a validator in Cedar's strict mode.
func NewValidator(s *resolved.Schema) *Validator {
	v := &Validator{schema: s, groups: cedar.EntityMap{}, by: map[string]*validate.Validator{}}
	for uid, action := range s.Actions {
		v.groups[uid] = action.Entity
	}
	return v
}

// Check returns what is wrong with a policy, one mistake a line.
func (v *Validator) Check(p *ast.Policy) error {
	named := anchorsOf(p.Action)
	key := fmt.Sprint(named)
	validator, ok := v.by[key]
	if !ok {
		narrow := *v.schema
		if !slices.Contains(named, anchor{}) {
			narrow.Actions = maps.Clone(v.schema.Actions)
			for uid, action := range narrow.Actions {
				in := ancestry(v.groups, uid, math.MaxInt)
				if !slices.ContainsFunc(named, func(a anchor) bool { return a.uid == uid || a.as == isIn && slices.Contains(in, a.uid) }) {
					action.AppliesTo = nil
					narrow.Actions[uid] = action
				}
			}
		}
		validator = validate.New(&narrow)
		v.by[key] = validator
	}
	return validator.Policy("", p)
}
