package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/replay"
)

type policyReplayCmd struct {
	New          string `arg:"" type:"existingdir" help:"The directory of the bundle that is to decide."`
	storeFlags   `embed:""`
	Old          []string `type:"existingdir" placeholder:"DIR" help:"A bundle that made records. Policies that are the same in both need no withheld texts."`
	From         moment   `help:"Only records from this time on: RFC 3339, a date, or a duration ago such as 168h." placeholder:"TIME"`
	To           moment   `help:"Only records before this time." placeholder:"TIME"`
	Tenant       string   `help:"Only this tenant's records."`
	Samples      int      `default:"3" help:"How many records to name of each class, tool, purpose and agent."`
	Output       string   `short:"o" default:"table" enum:"table,json,csv" help:"Output: ${enum}."`
	FailOnChange bool     `help:"Exit with 1 when any record would have come out otherwise."`
}

// errChanged ends a replay that found changes, where these are to fail.
var errChanged = errors.New("the bundle would have changed decisions")

// Run replays.
func (c policyReplayCmd) Run(ctx context.Context, to streams) error {
	if c.Samples < 0 || c.Samples > 1000 {
		return usageError("--samples is not 0 to 1000")
	}
	bundle, err := policy.Load(os.DirFS(c.New))
	if err != nil {
		return err
	}
	alike := map[string]map[string]decision.PolicyKind{bundle.Digest: policy.Alike(bundle, bundle)}
	for _, dir := range c.Old {
		old, err := policy.Load(os.DirFS(dir))
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		alike[old.Digest] = policy.Alike(old, bundle)
	}
	first, last := idRange(c.From.Time, c.To.Time)
	var report *replay.Report
	err = c.use(ctx, false, func(store dataStore) (err error) {
		bar := newBar(to.err)
		defer bar.end()
		if bar != nil {
			// Without the number there is only a count, and the replay goes on.
			soon, cancel := context.WithTimeout(ctx, 2*time.Second)
			bar.total, _ = store.CountRecords(soon, c.Tenant, first, last)
			cancel()
		}
		report, err = replay.Run(ctx, replay.Config{
			Bundle: bundle, Alike: alike, From: c.From.Time, To: c.To.Time, Samples: c.Samples, Progress: bar.at,
			Records: func(ctx context.Context, yield func(audit.Row) error) error {
				return store.View(ctx, func(r audit.Reader) error { return r.Records(ctx, c.Tenant, first, last, yield) })
			},
			Record: store.Record,
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("replaying: %w", err)
	}
	if err := c.print(to.out, bundle.Digest, report); err != nil {
		return fmt.Errorf("printing the report: %w", err)
	}
	if c.FailOnChange && report.Total.Changed() > 0 {
		return errChanged
	}
	return nil
}

// moment is a time on the command line.
type moment struct{ time.Time }

// UnmarshalText reads RFC 3339, a date in UTC, or a duration before now.
func (m *moment) UnmarshalText(text []byte) (err error) {
	if ago, bad := time.ParseDuration(string(text)); bad == nil && ago >= 0 {
		m.Time = time.Now().Add(-ago)
		return nil
	}
	if m.Time, err = time.Parse(time.DateOnly, string(text)); err == nil {
		return nil
	}
	if m.Time, err = time.Parse(time.RFC3339, string(text)); err != nil {
		return errors.New("neither RFC 3339 nor a date nor a duration")
	}
	return nil
}

// lead is how long before it is decided a question gets its id.
const lead = time.Minute

// idRange is the ids, which are UUIDv7, of the records that were decided within a
// time.
func idRange(from, to time.Time) (first, last [16]byte) {
	for i := range last {
		last[i] = 0xff
	}
	put := func(id *[16]byte, ms int64) {
		*id = [16]byte{byte(ms >> 40), byte(ms >> 32), byte(ms >> 24), byte(ms >> 16), byte(ms >> 8), byte(ms)}
	}
	if !from.IsZero() {
		put(&first, max(0, from.Add(-lead).UnixMilli()))
	}
	if !to.IsZero() {
		put(&last, max(0, to.UnixMilli()+1))
	}
	return first, last
}

func (c policyReplayCmd) print(out io.Writer, digest string, r *replay.Report) error {
	switch c.Output {
	case "json":
		return json.NewEncoder(out).Encode(replayJSON(digest, r))
	case "csv":
		return replayCSV(out, r)
	}
	return replayTable(out, digest, r)
}

var replayClasses = []replay.Class{replay.Unchanged, replay.WouldDeny, replay.WouldAllow, replay.ObligationsChanged, replay.Undetermined}

func replayTable(out io.Writer, digest string, r *replay.Report) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "bundle\t%s\ndecisions\t%d\nsettlements\t%d\n", digest, r.Total.Sum(), r.Settlements)
	for _, class := range replayClasses {
		fmt.Fprintf(w, "%s\t%d\n", strings.ReplaceAll(class.String(), "_", " "), r.Total[class])
	}
	for _, class := range replayClasses[1:] {
		for _, ground := range byCount(r.Because[class]) {
			fmt.Fprintf(w, "\n%s\t%d\t%s", strings.ReplaceAll(class.String(), "_", " "), r.Because[class][ground], printable(ground))
		}
	}
	fmt.Fprint(w, "\n\nBY\tVALUE\tUNCHANGED\tDENY\tALLOW\tOBLIGATIONS\tUNDETERMINED\tSAMPLES\n")
	for _, g := range r.Groups() {
		fmt.Fprintf(w, "%s\t%s", g.By, or(printable(g.Value), "-"))
		var samples []string
		for _, class := range replayClasses {
			fmt.Fprintf(w, "\t%d", g.Counts[class])
			for _, s := range g.Samples[class] {
				samples = append(samples, s.Record)
			}
		}
		fmt.Fprintf(w, "\t%s\n", or(strings.Join(samples, " "), "-"))
	}
	return w.Flush()
}

// byCount are the grounds, the most frequent first.
func byCount(grounds map[string]int64) []string {
	return slices.SortedFunc(maps.Keys(grounds), func(a, b string) int {
		if grounds[a] != grounds[b] {
			return int(max(-1, min(1, grounds[b]-grounds[a])))
		}
		return strings.Compare(a, b)
	})
}

// printable is a text of a record's as a terminal may see it.
func printable(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}

func replayJSON(digest string, r *replay.Report) map[string]any {
	counts := func(c replay.Counts) map[string]any {
		out := map[string]any{}
		for _, class := range replayClasses {
			out[class.String()] = c[class]
		}
		return out
	}
	because, groups := map[string]any{}, []any{}
	for _, class := range replayClasses[1:] {
		because[class.String()] = r.Because[class]
	}
	for _, g := range r.Groups() {
		samples := map[string]any{}
		for _, class := range replayClasses[1:] {
			if len(g.Samples[class]) > 0 {
				samples[class.String()] = g.Samples[class]
			}
		}
		groups = append(groups, map[string]any{"by": g.By, "value": g.Value, "counts": counts(g.Counts), "samples": samples})
	}
	return map[string]any{"bundle_digest": digest, "decisions": r.Total.Sum(), "settlements": r.Settlements,
		"counts": counts(r.Total), "because": because, "groups": groups}
}

func replayCSV(out io.Writer, r *replay.Report) error {
	w := csv.NewWriter(out)
	header := []string{"by", "value"}
	for _, class := range replayClasses {
		header = append(header, class.String())
	}
	if err := w.Write(append(header, "samples")); err != nil {
		return err
	}
	line := func(by, value string, counts replay.Counts, samples []string) error {
		cells := []string{by, cell(value)}
		for _, class := range replayClasses {
			cells = append(cells, strconv.FormatInt(counts[class], 10))
		}
		return w.Write(append(cells, strings.Join(samples, " ")))
	}
	if err := line("all", "", r.Total, nil); err != nil {
		return err
	}
	for _, g := range r.Groups() {
		var samples []string
		for _, class := range replayClasses {
			for _, s := range g.Samples[class] {
				samples = append(samples, class.String()+":"+s.Record)
			}
		}
		if err := line(g.By, g.Value, g.Counts, samples); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}

// cell keeps a spreadsheet from taking a text of a record's for a formula.
func cell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}

// bar is a progress bar on a terminal; nil: there is none.
type bar struct {
	out   io.Writer
	total int64
	start time.Time
	drawn time.Time
}

// newBar is nil where nobody would see it.
func newBar(out io.Writer) *bar {
	file, ok := out.(*os.File)
	if !ok {
		return nil
	}
	if _, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS); err != nil {
		return nil
	}
	return &bar{out: out, start: time.Now()}
}

const barWidth = 30

// at draws how far it is, ten times a second.
func (b *bar) at(records int64) {
	if b == nil || time.Since(b.drawn) < 100*time.Millisecond {
		return
	}
	b.drawn = time.Now()
	rate := float64(records) / max(0.001, time.Since(b.start).Seconds())
	if b.total <= 0 {
		fmt.Fprintf(b.out, "\r%d records, %.0f/s\x1b[K", records, rate)
		return
	}
	share := min(1, float64(records)/float64(b.total))
	done := int(share * barWidth)
	fmt.Fprintf(b.out, "\r[%s%s] %3.0f%% of %d records, %.0f/s\x1b[K",
		strings.Repeat("#", done), strings.Repeat("-", barWidth-done), 100*share, b.total, rate)
}

// end takes the bar away.
func (b *bar) end() {
	if b != nil {
		fmt.Fprint(b.out, "\r\x1b[K")
	}
}
