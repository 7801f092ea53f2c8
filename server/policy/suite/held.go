package suite

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/writpdp/writ/server/decision"
)

// Held is what a session holds, as files write it: its labels, and the values over its
// events, numbers or true and false.
type Held struct {
	Labels []string       `yaml:"labels"`
	Chain  map[string]any `yaml:"chain"`
}

// Used adds the counters of a request's session that hold it.
func (h Held) Used(b *decision.Bundle, req *decision.Request, at time.Time, used map[decision.BudgetKey]int64) error {
	if len(h.Labels)+len(h.Chain) == 0 {
		return nil
	}
	if req.Session == "" {
		return errors.New("labels and values are held by a session, and there is none")
	}
	labels, unknown := b.LabelsOf(h.Labels)
	if len(unknown) > 0 {
		return fmt.Errorf("there is no label %q", unknown[0])
	}
	if labels != 0 {
		used[decision.LabelsKey(req.Session)] = int64(labels)
	}
	for _, id := range slices.Sorted(maps.Keys(h.Chain)) {
		i := slices.IndexFunc(b.Chains, func(r decision.ChainRule) bool { return r.ID == id })
		if i < 0 {
			return fmt.Errorf("there is no chain value %q", id)
		}
		rule := &b.Chains[i]
		n, ok := number(h.Chain[id], rule.Kind == decision.Formerly)
		if !ok {
			return fmt.Errorf("the chain value %q is a number that is not negative, or, where it says whether something was, true or false", id)
		}
		used[rule.Key(req.Session, at)] = n
	}
	return nil
}

// number is a value as a counter holds it.
func number(value any, truth bool) (int64, bool) {
	if v, ok := value.(bool); ok || truth {
		if v {
			return 1, ok && truth
		}
		return 0, ok && truth
	}
	switch v := value.(type) {
	case uint64:
		return int64(v), v <= 1<<62
	case int64:
		return v, v >= 0
	case int:
		return int64(v), v >= 0
	}
	return 0, false
}
