package reach

import (
	"encoding/json"
	"math"

	"github.com/writpdp/writ/server/policy"
)

// bounds are those that a tool's own schema sets an integer, which is reached
// from context by names: a call with others is denied before policies count.
func bounds(tool *policy.Definition, path []string) (low, high int64) {
	low, high = math.MinInt64, math.MaxInt64
	if tool == nil || len(path) < 2 || path[0] != "args" {
		return low, high
	}
	m := tool.Input
	for _, name := range path[1:] {
		properties, _ := m["properties"].(map[string]any)
		m, _ = properties[name].(map[string]any)
	}
	if n, ok := whole(m["minimum"], math.Ceil); ok {
		low = max(low, n)
	}
	if n, ok := whole(m["exclusiveMinimum"], math.Floor); ok {
		low = max(low, n+1)
	}
	if n, ok := whole(m["maximum"], math.Floor); ok {
		high = min(high, n)
	}
	if n, ok := whole(m["exclusiveMaximum"], math.Ceil); ok {
		high = min(high, n-1)
	}
	return low, high
}

// whole is a number of a schema as an integer that is safe to count with.
func whole(v any, round func(float64) float64) (int64, bool) {
	number, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	n, err := number.Float64()
	if n = round(n); err != nil || math.Abs(n) > 1<<53 {
		return 0, false
	}
	return int64(n), true
}
