package decision_test

import (
	"testing"
	"time"
	_ "time/tzdata" // the zones are those of this Go, whatever the machine has

	"pgregory.net/rapid"

	"github.com/writpdp/writ/server/decision"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestWindows(t *testing.T) {
	tests := []struct {
		name, zone  string
		window      decision.Window
		at          string
		start, ends string
	}{
		{"a day", "Europe/Berlin", decision.Day, "2026-11-23T10:00:00Z", "2026-11-22T23:00:00Z", "2026-11-23T23:00:00Z"},
		{"a day's first second", "Europe/Berlin", decision.Day, "2026-11-22T23:00:00Z", "2026-11-22T23:00:00Z", "2026-11-23T23:00:00Z"},
		{"a day's last second", "Europe/Berlin", decision.Day, "2026-11-22T22:59:59Z", "2026-11-21T23:00:00Z", "2026-11-22T23:00:00Z"},
		{"a day of 23 hours", "Europe/Berlin", decision.Day, "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"},
		{"a day of 25 hours", "Europe/Berlin", decision.Day, "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"},
		{"a day of 23 hours, in the west", "America/New_York", decision.Day, "2026-03-08T12:00:00Z", "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z"},
		{"a day of 25 hours, in the west", "America/New_York", decision.Day, "2026-11-01T12:00:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"},
		{"a day without midnight", "America/Santiago", decision.Day, "2026-09-06T12:00:00Z", "2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"},
		{"the day before one without midnight", "America/Santiago", decision.Day, "2026-09-06T03:30:00Z", "2026-09-05T04:00:00Z", "2026-09-06T04:00:00Z"},
		{"a day without midnight, in the east", "Africa/Cairo", decision.Day, "2026-04-24T12:00:00Z", "2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"},
		{"a day with two midnights", "America/Havana", decision.Day, "2026-11-01T04:30:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"},
		{"a day with two midnights, after the second", "America/Havana", decision.Day, "2026-11-01T05:30:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"},
		{"a day that nobody had is skipped", "Pacific/Apia", decision.Day, "2011-12-30T09:00:00Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"},
		{"a day before 1970", "UTC", decision.Day, "1969-12-31T23:59:59Z", "1969-12-31T00:00:00Z", "1970-01-01T00:00:00Z"},
		{"an hour", "UTC", decision.Hour, "2026-11-23T10:59:59.999Z", "2026-11-23T10:00:00Z", "2026-11-23T11:00:00Z"},
		{"the next hour", "UTC", decision.Hour, "2026-11-23T11:00:00Z", "2026-11-23T11:00:00Z", "2026-11-23T12:00:00Z"},
		{"an hour of a zone with :30", "Asia/Kolkata", decision.Hour, "2026-11-23T10:15:00Z", "2026-11-23T09:30:00Z", "2026-11-23T10:30:00Z"},
		{"an hour of a zone with :45", "Asia/Kathmandu", decision.Hour, "2026-11-23T10:15:00Z", "2026-11-23T10:15:00Z", "2026-11-23T11:15:00Z"},
		{"an hour of a zone with :45, in summer", "Pacific/Chatham", decision.Hour, "2026-11-23T10:14:59Z", "2026-11-23T09:15:00Z", "2026-11-23T10:15:00Z"},
		{"an hour of a zone with -:30", "America/St_Johns", decision.Hour, "2026-11-23T10:45:00Z", "2026-11-23T10:30:00Z", "2026-11-23T11:30:00Z"},
		{"the first of two hours alike", "Europe/Berlin", decision.Hour, "2026-10-25T00:30:00Z", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"},
		{"the second of two hours alike", "Europe/Berlin", decision.Hour, "2026-10-25T01:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"},
		{"an hour before 1970", "UTC", decision.Hour, "1969-12-31T23:59:59Z", "1969-12-31T23:00:00Z", "1970-01-01T00:00:00Z"},
		{"an hour before 1970, in a zone with :30", "Asia/Kolkata", decision.Hour, "1969-12-31T23:00:00Z", "1969-12-31T22:30:00Z", "1969-12-31T23:30:00Z"},
		{"a lifetime", "Europe/Berlin", decision.Lifetime, "2026-11-23T10:00:00Z", "1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			rule := decision.BudgetRule{ID: "b", Window: test.window, Zone: zone(t, test.zone)}
			at, err := time.Parse(time.RFC3339Nano, test.at)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Unix(rule.Key(&decision.Request{}, "", at).Start, 0).UTC().Format(time.RFC3339)
			ends := rule.Resets(at).UTC().Format(time.RFC3339)
			if start != test.start || ends != test.ends {
				t.Errorf("got %s to %s, want %s to %s", start, ends, test.start, test.ends)
			}
		})
	}
}

// A rule without a zone is one of UTC, and one without a window never resets.
func TestWindowOfZeroRule(t *testing.T) {
	at := time.Date(2026, 11, 23, 10, 30, 0, 0, zone(t, "Asia/Kolkata"))
	for window, want := range map[decision.Window]int64{0: 0, decision.Lifetime: 0, decision.Hour: at.Unix(), decision.Day: at.Truncate(24 * time.Hour).Unix()} {
		rule := decision.BudgetRule{Window: window}
		if got := rule.Key(&decision.Request{}, "", at).Start; got != want {
			t.Errorf("window %d: got %d, want %d", window, got, want)
		}
	}
}

// A window holds its moment, its ends have the same window's name, and the next
// one begins where it ends.
func TestWindowsAreSeamless(t *testing.T) {
	zones := rapid.SampledFrom([]string{"UTC", "Europe/Berlin", "America/New_York", "America/Santiago", "America/Havana", "Africa/Cairo", "Asia/Kolkata",
		"Asia/Kathmandu", "Atlantic/Azores", "America/St_Johns", "Asia/Beirut", "America/Sao_Paulo", "Asia/Amman", "Pacific/Apia", "Pacific/Chatham", "Africa/Casablanca"})
	rapid.Check(t, func(t *rapid.T) {
		name := zones.Draw(t, "zone")
		loc, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		// Until 2011 some clocks showed a day for a minute and went back to the
		// day before; no window of such a day is in one piece.
		at := time.Unix(rapid.Int64Range(1325376000, 1<<32).Draw(t, "at"), 0)
		if rapid.Bool().Draw(t, "near a change") {
			if _, change := at.In(loc).ZoneBounds(); !change.IsZero() {
				at = change.Add(time.Duration(rapid.IntRange(-7200, 7200).Draw(t, "seconds")) * time.Second)
			}
		}
		rule := decision.BudgetRule{Window: decision.Day, Zone: loc}
		start, end := time.Unix(rule.Key(&decision.Request{}, "", at).Start, 0).In(loc), rule.Resets(at).In(loc)
		if at.Before(start) || !at.Before(end) {
			t.Fatalf("%s is not between %s and %s", at.In(loc), start, end)
		}
		if day := at.In(loc).Format(time.DateOnly); start.Format(time.DateOnly) != day || end.Add(-time.Second).Format(time.DateOnly) != day || end.Format(time.DateOnly) == day {
			t.Fatalf("the day of %s goes from %s to %s", at.In(loc), start, end)
		}
		if next := rule.Key(&decision.Request{}, "", end).Start; next != end.Unix() {
			t.Fatalf("after %s comes %s", end, time.Unix(next, 0).In(loc))
		}
		hourly := decision.BudgetRule{Window: decision.Hour, Zone: loc}
		start, end = time.Unix(hourly.Key(&decision.Request{}, "", at).Start, 0).In(loc), hourly.Resets(at)
		if at.Before(start) || !at.Before(end) || end.Sub(start) != time.Hour {
			t.Fatalf("the hour of %s goes from %s to %s", at.In(loc), start, end)
		}
	})
}
