package decision

import (
	"maps"
	"slices"
	"strconv"
)

// Labels is a set of labels: the bit of each label's number is set. It is what a
// session's counter of labels holds, so it is never negative as an int64.
type Labels uint64

// Bounds of labels' numbers: those below OwnLabel are Writ's own, the others a
// bundle's.
const (
	OwnLabel = 16
	MaxLabel = 60
)

// The labels that Writ itself gives.
const (
	LabelUntrusted   = "untrusted-content"
	LabelUninspected = "uninspected"
)

var builtInLabels = map[string]uint8{
	"pii": 1, "financial": 2, "secret": 3, "health": 4, LabelUntrusted: 5, "private-data": 6, LabelUninspected: 7,
}

// BuiltInLabels are the labels that every bundle has, with their numbers, which never
// change.
func BuiltInLabels() map[string]uint8 { return maps.Clone(builtInLabels) }

// Has reports whether all of some labels are in the set.
func (l Labels) Has(all Labels) bool { return l&all == all }

// Numbers are the labels' numbers, in order.
func (l Labels) Numbers() []uint8 {
	var all []uint8
	for n := uint8(1); n <= MaxLabel; n++ {
		if l&(1<<n) != 0 {
			all = append(all, n)
		}
	}
	return all
}

// LabelsOf are labels by their names. Names that the bundle does not know stand for
// nothing, and are returned.
func (b *Bundle) LabelsOf(names []string) (set Labels, unknown []string) {
	for _, name := range names {
		if n, ok := b.Labels[name]; ok {
			set |= 1 << n
		} else {
			unknown = append(unknown, name)
		}
	}
	return set, unknown
}

// LabelNames are the names of labels, in order. One that the bundle does not know, as
// it was of another bundle, is called by its number: "label-17".
func (b *Bundle) LabelNames(set Labels) []string {
	if set == 0 {
		return nil
	}
	var all []string
	for name, n := range b.Labels {
		if set&(1<<n) != 0 {
			all = append(all, name)
			set &^= 1 << n
		}
	}
	for _, n := range set.Numbers() {
		all = append(all, "label-"+strconv.Itoa(int(n)))
	}
	slices.Sort(all)
	return all
}
