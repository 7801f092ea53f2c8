package decision

// parts is in how many parts a sliding window is counted.
const parts = 12

// MaxLength is the longest window that slides, and in which a rate grants its cap, in
// seconds.
const MaxLength = 366 * 24 * 3600

// step is the length of one part of a sliding window, in seconds.
func step(length int64) int64 { return max(1, (length+parts-1)/parts) }

// beside are the other parts of the sliding window that ends in a part: what any
// moment of this part looks back upon, and the part after it, which a clock that is
// ahead may have begun: clocks must not differ by more than a part. All of the oldest part counts as long as the window reaches
// into it, so that no span of the window's length ever holds more than the cap, and
// what was used comes back up to two parts late.
func beside(key BudgetKey, length int64) []BudgetKey {
	part := step(length)
	back := (length + part - 1) / part
	all := make([]BudgetKey, 0, back+1)
	for n := int64(1); n <= back; n++ {
		all = append(all, BudgetKey{Budget: key.Budget, Subject: key.Subject, Start: key.Start - n*part})
	}
	return append(all, BudgetKey{Budget: key.Budget, Subject: key.Subject, Start: key.Start + part})
}

// Frees is when so much of a sliding window's use has come back that no more than a
// number is left of it, as Unix seconds, given what each part holds; ok is false where
// that is never.
func (b *BudgetRule) Frees(key BudgetKey, most int64, used map[BudgetKey]int64) (at int64, ok bool) {
	if most < 0 {
		return 0, false
	}
	part, all := step(b.Length), beside(key, b.Length)
	newest := all[len(all)-1]
	sum := used[key]
	for _, k := range all {
		sum += used[k]
	}
	first := key.Start - int64(len(all)-1)*part // the oldest part
	for k := (BudgetKey{Budget: key.Budget, Subject: key.Subject, Start: first}); k.Start <= newest.Start; k.Start += part {
		sum -= used[k]
		if sum <= most {
			// A part no longer counts in the first part from which it is out of reach.
			return k.Start + int64(len(all))*part, true
		}
	}
	return 0, false
}
