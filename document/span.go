package document

import (
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"
)

// spans makes the edits of parts of a string. Spans that overlap become one: where
// one covers all of them and its method leaves nothing of what it covers, that one;
// else all that they cover is masked, or removed where all of them are removals.
func spans(s string, edits []Edit) (string, error) {
	sort.SliceStable(edits, func(i, j int) bool { return before(&edits[i], &edits[j]) })
	var b strings.Builder
	at := 0
	for i := 0; i < len(edits); {
		one := edits[i]
		if err := cuts(s, &one); err != nil {
			return "", err
		}
		for i++; i < len(edits) && edits[i].Start < one.End; i++ {
			if err := cuts(s, &edits[i]); err != nil {
				return "", err
			}
			one = merged(one, edits[i])
		}
		b.WriteString(s[at:one.Start])
		if left, keep := one.redact(s[one.Start:one.End]); keep {
			b.WriteString(left.(string))
		}
		at = one.End
	}
	b.WriteString(s[at:])
	return b.String(), nil
}

// before orders spans: by where they start, the longer first, the stronger first.
func before(a, b *Edit) bool {
	switch {
	case a.Start != b.Start:
		return a.Start < b.Start
	case a.End != b.End:
		return a.End > b.End
	}
	return strength[a.Method] > strength[b.Method]
}

// merged is what becomes of a span and one that starts in it, not before it.
func merged(a, b Edit) Edit {
	same := a.Start == b.Start && a.End == b.End
	switch {
	case same && a.Method == b.Method && a.Replacement == b.Replacement:
		return a
	case same && a.Method != b.Method && (a.Method.total() || !b.Method.total()):
		return a // the stronger comes first
	case !same && b.End <= a.End && a.Method.total():
		return a
	case a.Method == Removed && b.Method == Removed:
		a.End = max(a.End, b.End)
		return a
	}
	return Edit{Pointer: a.Pointer, Start: a.Start, End: max(a.End, b.End)}
}

// cuts refuses a span that is not of whole characters of a string.
func cuts(s string, e *Edit) error {
	if e.End > len(s) || !utf8.RuneStart(s[e.Start]) || e.End < len(s) && !utf8.RuneStart(s[e.End]) {
		return fmt.Errorf("the span of an edit at %q is not of characters of the string there", shown(e.Pointer))
	}
	return nil
}

// ApplyText returns a plain text with all edits made. Their pointers are as those
// into a document that is one string: the empty one is the text, and others go on
// below it where it holds a JSON document.
func ApplyText(text string, edits []Edit) (string, error) {
	d := Document{value: text}
	value, err := d.edited(edits)
	if err != nil {
		return "", err
	}
	return value.(string), nil // a string stays one, whatever the method
}
