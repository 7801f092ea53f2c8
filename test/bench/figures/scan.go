package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/content/detect"
)

// scanFigures are what inspecting costs a processor: all detectors on a document that
// holds nothing, of a mebibyte and of the arguments of a call. The processor's time
// counts and not the clock's, for a figure is of one core.
const (
	scanFigure      = "scan_mib_per_second"
	scanSmallFigure = "scan_1kib_us"
)

// scans measures the figures that are wanted.
func (b *bench) scans(wanted []figure) error {
	for _, f := range wanted {
		size := map[string]int{scanFigure: 1 << 20, scanSmallFigure: 1 << 10}[f.name]
		if size == 0 {
			continue
		}
		d, err := document.Parse(cleanJSON(size))
		if err != nil {
			return fmt.Errorf("measuring %s: %w", f.name, err)
		}
		rounds := make([]time.Duration, b.settings.rounds)
		for r := range rounds {
			if rounds[r], err = scanned(d, time.Duration(b.seconds*float64(time.Second)/4)); err != nil {
				return fmt.Errorf("measuring %s: %w", f.name, err)
			}
		}
		slices.Sort(rounds)
		took := percentile(rounds, 0.5).Seconds()
		if f.name == scanFigure {
			b.results.scans[f.name] = float64(len(d.Canonical())) / (1 << 20) / took
		} else {
			b.results.scans[f.name] = 1e6 * took
		}
	}
	return nil
}

// scanned is the processor's time that inspecting a document takes, the collector's
// work for it included.
func scanned(d *document.Document, span time.Duration) (time.Duration, error) {
	set := detect.Default()
	if in := set.Inspect(d); len(in.Findings) > 0 || !in.Whole() {
		return 0, fmt.Errorf("the clean document is not: %d findings", len(in.Findings))
	}
	runtime.GC()
	began, n := processorTime(), 0
	for until := time.Now().Add(span); n == 0 || time.Now().Before(until); n++ {
		set.Inspect(d)
	}
	return (processorTime() - began) / time.Duration(n), nil
}

func processorTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// cleanJSON is what a tool answers of issues, of a size at least, without personal data
// and secrets.
func cleanJSON(size int) []byte {
	out := []byte{'['}
	for n := 0; len(out) < size-200; n++ {
		one, err := json.Marshal(map[string]any{"id": 1000 + n, "title": "Quarterly planning notes", "status": "open", "priority": n % 5, "tags": []string{"planning", "draft"},
			"url": fmt.Sprintf("https://issues.example.org/projects/alpha/issues/%d", n), "updatedAt": "2026-11-27T01:05:02Z", "etag": fmt.Sprintf("3fa85f64-5717-4562-b3fc-%012d", n),
			"body": "The importer skips rows without a header. Steps: open the page, press import, choose the file.", "done": n%2 == 0, "ratio": 0.25})
		if err != nil {
			panic(err) // nothing in it cannot be encoded
		}
		if n > 0 {
			out = append(out, ',')
		}
		out = append(out, one...)
	}
	return append(out, ']')
}
