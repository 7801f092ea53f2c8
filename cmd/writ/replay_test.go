package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"
)

// There is a bar on a terminal alone, and it says how far the replay is.
func TestBar(t *testing.T) {
	var out bytes.Buffer
	if newBar(&out) != nil {
		t.Error("a buffer has a bar")
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if newBar(null) != nil {
		t.Error("a file has a bar")
	}
	var none *bar
	none.at(1)
	none.end()
	b := &bar{out: &out, total: 200, start: time.Now()}
	b.at(50)
	b.at(100) // too soon to be drawn
	if got := out.String(); !strings.Contains(got, "[#######-----------------------]  25% of 200 records") || strings.Contains(got, "50%") {
		t.Errorf("got %q", got)
	}
	out.Reset()
	(&bar{out: &out, start: time.Now()}).at(50)
	if got := out.String(); !strings.Contains(got, "50 records") || strings.Contains(got, "%") {
		t.Errorf("without a total: %q", got)
	}
}

func TestMoment(t *testing.T) {
	for text, want := range map[string]time.Time{
		"2026-11-01": time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), "2026-11-01T10:00:00+02:00": time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC),
	} {
		var m moment
		if err := m.UnmarshalText([]byte(text)); err != nil || !m.Equal(want) {
			t.Errorf("%s: %v, %v", text, m, err)
		}
	}
	var m moment
	if err := m.UnmarshalText([]byte("2h")); err != nil || time.Since(m.Time) < 2*time.Hour || time.Since(m.Time) > 3*time.Hour {
		t.Errorf("2h ago: %v, %v", m, err)
	}
	for _, text := range []string{"", "-2h", "yesterday", "2026-13-01"} {
		if err := m.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

// A record that was decided within a time has an id within the range.
func TestIDRange(t *testing.T) {
	at := time.Date(2026, 11, 1, 10, 0, 0, 999_000_000, time.UTC)
	generator := uuid.NewGenWithOptions(uuid.WithEpochFunc(func() time.Time { return at }))
	id, err := generator.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		from, to time.Time
		want     bool
	}{
		{time.Time{}, time.Time{}, true}, {at, at.Add(time.Second), true}, {at.Add(lead), time.Time{}, true}, {time.Time{}, at, true},
		{at.Add(lead + time.Second), time.Time{}, false}, {time.Time{}, at.Add(-time.Second), false},
	} {
		from, to := idRange(c.from, c.to)
		if got := bytes.Compare(id[:], from[:]) >= 0 && bytes.Compare(id[:], to[:]) < 0; got != c.want {
			t.Errorf("%v to %v: got %t", c.from, c.to, got)
		}
	}
}

// What a record holds cannot command a spreadsheet or a terminal.
func TestTextsOfRecords(t *testing.T) {
	for text, want := range map[string]string{"=1+1": "'=1+1", "+1": "'+1", "@x": "'@x", "-x": "'-x", "agent": "agent", "": ""} {
		if got := cell(text); got != want {
			t.Errorf("cell %q: got %q", text, got)
		}
	}
	for text, want := range map[string]string{"agent": "agent", "a\x1b[2J": `"a\x1b[2J"`, "a\tb": `"a\tb"`} {
		if got := printable(text); got != want {
			t.Errorf("printable %q: got %q", text, got)
		}
	}
}
