package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go"
)

// A part of the corpus; the whole is the command itself.
func TestCorpus(t *testing.T) {
	var out bytes.Buffer
	ok, err := run(&out, 50, 10)
	if err != nil || !ok {
		t.Fatalf("%v, %v\n%s", ok, err, &out)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if last := lines[len(lines)-1]; !strings.Contains(last, " of ") || strings.HasPrefix(last, "0 ") {
		t.Errorf("the last line is %q", last)
	}
}

// A difference of any kind is counted, shown, and fails the run.
func TestDifferencesCount(t *testing.T) {
	whole := func() *tally {
		tl := newTally()
		for _, kind := range kinds {
			tl.compare(kind, "x", 1, 1, false)
		}
		return tl
	}
	if !whole().agreed() {
		t.Fatal("what agrees does not")
	}
	if newTally().agreed() {
		t.Error("nothing agrees")
	}
	for _, kind := range kinds {
		tl := whole()
		tl.compare(kind, "the second", 1, 2, true)
		var out bytes.Buffer
		tl.print(&out, 10)
		if tl.agreed() || !strings.Contains(out.String(), kind+": the second: want 1, got 2") || !strings.Contains(out.String(), kind+": 1 agree, 1 disagree") {
			t.Errorf("%s: %v\n%s", kind, tl.agreed(), &out)
		}
	}
	tl := newTally()
	tl.verdict(kindEntity, "x", true, errors.New("no"))
	if tl.counts[kindEntity].agreed != 0 {
		t.Error("a verdict that differs agrees")
	}
	ab, ba := []cedar.PolicyID{"a", "b"}, []cedar.PolicyID{"b", "a"}
	if answer(cedar.Deny, ab, nil) != answer(cedar.Deny, ba, []cedar.PolicyID{}) {
		t.Error("the order of reasons matters")
	}
	for _, other := range []string{answer(cedar.Allow, ab, nil), answer(cedar.Deny, nil, nil), answer(cedar.Deny, ab, ab)} {
		if other == answer(cedar.Deny, ab, nil) {
			t.Errorf("%s is no difference", other)
		}
	}
}
