package reach

import (
	"math"
	"slices"

	"github.com/cedar-policy/cedar-go"
)

// facts are what is known of expressions at some point of an evaluation, by
// their keys: a list that grows by being extended, never by being changed.
type facts struct {
	before *facts
	count  int // of facts
	key    string
	fact   fact
}

// fact narrows an expression's values.
type fact struct {
	lit       cedar.Value   // it is this
	oneOf     []cedar.Value // it is one of these, unless nil
	not       []cedar.Value // it is none of these
	low, high int64         // of a Long
}

var anything = fact{low: math.MinInt64, high: math.MaxInt64}

// of is what is known of a key.
func (f *facts) of(key string) fact {
	for ; f != nil; f = f.before {
		if f.key == key {
			return f.fact
		}
	}
	return anything
}

// maxFacts bounds what is remembered, since it is looked through again and
// again. To know less is always sound.
const maxFacts = 128

// and narrows what is known of a key.
func (f *facts) and(key string, narrow func(*fact)) *facts {
	count := 1
	if f != nil {
		count += f.count
	}
	if count > maxFacts {
		return f
	}
	known := f.of(key)
	narrow(&known)
	return &facts{before: f, count: count, key: key, fact: known}
}

// is adds that an expression has a value.
func (f *facts) is(key string, v cedar.Value) *facts {
	return f.and(key, func(k *fact) {
		k.lit = v
		if n, ok := v.(cedar.Long); ok {
			k.low, k.high = int64(n), int64(n)
		}
	})
}

// none adds that an expression has none of some values.
func (f *facts) none(key string, values ...cedar.Value) *facts {
	return f.and(key, func(k *fact) { k.not = slices.Concat(k.not, values) })
}

// within adds that a Long is in a range.
func (f *facts) within(key string, low, high int64) *facts {
	return f.and(key, func(k *fact) { k.low, k.high = max(k.low, low), min(k.high, high) })
}

// among adds that an expression has one of some values.
func (f *facts) among(key string, values []cedar.Value) *facts {
	return f.and(key, func(k *fact) {
		if k.oneOf == nil {
			k.oneOf = values
			return
		}
		k.oneOf = slices.DeleteFunc(slices.Clone(k.oneOf), func(v cedar.Value) bool { return !contains(values, v) })
	})
}

// allows reports whether an expression of which that is known can have a value.
func (k fact) allows(v cedar.Value) bool {
	if k.lit != nil && !k.lit.Equal(v) || k.oneOf != nil && !contains(k.oneOf, v) || contains(k.not, v) {
		return false
	}
	n, ok := v.(cedar.Long)
	return !ok || k.low <= int64(n) && int64(n) <= k.high
}

func contains(values []cedar.Value, v cedar.Value) bool {
	return slices.ContainsFunc(values, v.Equal)
}

// values are all that an expression can be, or nil where that is not known.
func (k fact) values() []cedar.Value {
	if k.lit != nil {
		return []cedar.Value{k.lit}
	}
	return k.oneOf
}

// maxJoined bounds how much of two ways is compared.
const maxJoined = 16

// either is what holds after one of two ways from the same beginning.
func either(from, a, b *facts) *facts {
	before := 0
	if from != nil {
		before = from.count
	}
	if a == nil || a.count-before > maxJoined {
		return from
	}
	joined := from
	seen := map[string]bool{}
	for at := a; at != nil && at != from; at = at.before {
		if seen[at.key] {
			continue
		}
		seen[at.key] = true
		other := b.of(at.key)
		one := at.fact // the newest comes first and is the whole
		joined = joined.and(at.key, func(k *fact) {
			k.low, k.high = min(one.low, other.low), max(one.high, other.high)
			k.not = slices.DeleteFunc(slices.Clone(one.not), func(v cedar.Value) bool { return other.allows(v) })
			if x, y := one.values(), other.values(); x != nil && y != nil {
				k.oneOf = slices.Concat(x, y)
				k.lit = nil
				if len(x) == 1 && len(y) == 1 && x[0].Equal(y[0]) {
					k.lit = x[0]
				}
			}
		})
	}
	return joined
}
