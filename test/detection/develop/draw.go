// Package develop makes the half of the corpus that detectors may be developed on.
// It shares nothing with what makes the other half.
package develop

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// draw is where values come from.
type draw struct{ *rand.Rand }

// pick is one of some texts.
func (r *draw) pick(of ...string) string { return of[r.IntN(len(of))] }

// chance is true so many times in a hundred.
func (r *draw) chance(percent int) bool { return r.IntN(100) < percent }

// some are n characters of an alphabet.
func (r *draw) some(alphabet string, n int) string {
	var b strings.Builder
	for range n {
		b.WriteByte(alphabet[r.IntN(len(alphabet))])
	}
	return b.String()
}

// birth is a day on which an adult was born.
func (r *draw) birth() (year, month, day int) {
	return 1940 + r.IntN(66), 1 + r.IntN(12), 1 + r.IntN(28)
}

// day is one of the last years, as logs and orders have it.
func (r *draw) day() string {
	return fmt.Sprintf("%d-%02d-%02d", 2023+r.IntN(4), 1+r.IntN(12), 1+r.IntN(28))
}

// moment is a time of such a day.
func (r *draw) moment() string {
	return fmt.Sprintf("%sT%02d:%02d:%02d.%03dZ", r.day(), r.IntN(24), r.IntN(60), r.IntN(60), r.IntN(1000))
}
