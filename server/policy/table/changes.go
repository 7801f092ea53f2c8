package table

import (
	"fmt"
	"maps"
	"slices"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
)

// Side is one of two bundles that are compared.
type Side struct {
	*decision.Bundle
	Set *policy.Set
}

// Changes are the cells in which what two bundles permit differs: first for
// whatever tenant; then, in the order of their names, for the tenants that have
// policies of their own, where one's cell comes or stays otherwise than that.
func Changes(old, new Side) ([]Change, error) {
	was, is, err := tables(old, new, "")
	if err != nil {
		return nil, err
	}
	all := Compare(was, is)
	common := all
	for _, tenant := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(old.Set.Tenants(), new.Set.Tenants())))) {
		was, is, err := tables(old, new, tenant)
		if err != nil {
			return nil, err
		}
		keys := map[Key]bool{}
		for _, row := range slices.Concat(was.Rows, is.Rows) {
			keys[row.Key] = true
		}
		for _, c := range common {
			keys[c.Key] = true
		}
		for _, key := range slices.SortedFunc(maps.Keys(keys), compare) {
			own := Change{tenant, key, old.effect(tenant, key), new.effect(tenant, key)}
			others := Change{tenant, key, old.effect("", key), new.effect("", key)}
			if own != others && (own.Old != own.New || others.Old != others.New) {
				all = append(all, own)
			}
		}
	}
	return all, nil
}

func tables(old, new Side, tenant string) (was, is Table, err error) {
	if was, err = Of(old.Bundle, old.Set, tenant); err != nil {
		return was, is, fmt.Errorf("the old bundle: %w", err)
	}
	if is, err = Of(new.Bundle, new.Set, tenant); err != nil {
		return was, is, fmt.Errorf("the new bundle: %w", err)
	}
	return was, is, nil
}

// effect is that of a cell, whether the bundle's tables have it or not.
func (s Side) effect(tenant string, k Key) string {
	agent := k.Agent
	if agent == Anybody {
		agent = stranger
	}
	for name, tool := range s.Tools {
		if name.String() == k.Tool {
			return effectOf(s.Bundle, s.Set, tenant, agent, tool, k.Purpose)
		}
	}
	return Deny
}
