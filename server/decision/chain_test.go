package decision_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/decision"
)

// happening is one allowed decision of a session, as a plain list keeps it.
type happening struct {
	at     time.Time
	req    *decision.Request
	labels decision.Labels
	amount int64
}

func calls(t fataler, b *decision.Bundle, tool string, phase decision.Phase, amount int64) *decision.Request {
	args, err := document.ParseObject(fmt.Appendf(nil, `{"amount":%d}`, amount))
	if err != nil {
		t.Fatal(err)
	}
	return &decision.Request{Phase: phase, Session: "one", Tool: decision.ToolRef{ToolName: decision.ToolName{Server: "s", Name: tool}}, Arguments: args}
}

type fataler interface{ Fatal(...any) }

// sample is a bundle of two tools, one of which changes things.
func sample() *decision.Bundle {
	b := &decision.Bundle{Tools: map[decision.ToolName]*decision.Tool{}, Labels: decision.BuiltInLabels()}
	for name, classes := range map[string][]string{"read": {"read-only"}, "write": {"write"}} {
		at := decision.ToolName{Server: "s", Name: name}
		b.Tools[at] = &decision.Tool{ToolName: at, Classes: classes}
	}
	return b
}

func drawEvent(t *rapid.T, name string) decision.EventRule {
	e := decision.EventRule{
		Phases:  rapid.SampledFrom([][]decision.Phase{{decision.Call}, {decision.Result}, {decision.Call, decision.Result}}).Draw(t, name+" phases"),
		Classes: rapid.SampledFrom([][]string{nil, {"write"}, {"read-only"}}).Draw(t, name+" classes"),
		Labels:  rapid.SampledFrom([]decision.Labels{0, 0, 0b10, 0b1000}).Draw(t, name+" labels"),
	}
	if rapid.Bool().Draw(t, name+" has an exception") {
		e.Except = &decision.EventRule{Phases: e.Phases, Labels: rapid.SampledFrom([]decision.Labels{0b10, 0b1000}).Draw(t, name+" except")}
	}
	return e
}

// expect is a value by a plain list of what happened. Of a window it is a range: what
// is in it for certain, and what is in one that is two parts longer.
func expect(r *decision.ChainRule, b *decision.Bundle, all []happening, at time.Time) (least, most int64) {
	for _, h := range all {
		if r.Since != nil && r.Since.Is(h.req, b, h.labels) {
			least, most = 0, 0
		}
		if !r.Of.Is(h.req, b, h.labels) {
			continue
		}
		n := int64(1)
		if r.Kind == decision.Sums {
			n = h.amount
		}
		age := at.Sub(h.at)
		if r.Length == 0 || age < time.Duration(r.Length)*time.Second {
			least += n
		}
		if r.Length == 0 || age <= time.Duration(r.Length+2*((r.Length+11)/12))*time.Second {
			most += n
		}
	}
	if r.Kind == decision.Formerly {
		least, most = min(least, 1), min(most, 1)
	}
	return least, most
}

// The counters come to what a plain list of events does: exactly, or for a window as
// exactly as its parts are.
func TestChainIsAListOfEvents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := sample()
		r := decision.ChainRule{ID: "value", Kind: rapid.SampledFrom([]decision.ChainKind{decision.Counts, decision.Sums, decision.Formerly}).Draw(t, "kind"),
			Of: drawEvent(t, "of")}
		if r.Kind == decision.Sums {
			r.Field, r.Of.Phases = "amount", []decision.Phase{decision.Call}
		}
		switch rapid.IntRange(0, 2).Draw(t, "span") {
		case 0:
			r.Length = rapid.Int64Range(1, 5000).Draw(t, "length")
		case 1:
			since := drawEvent(t, "since")
			r.Since = &since
		}
		var all []happening
		used, at := map[decision.BudgetKey]int64{}, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			at = at.Add(time.Duration(rapid.IntRange(0, 1500).Draw(t, "seconds")) * time.Second)
			held := r.Held("one", at, used)
			if r.Kind == decision.Formerly {
				held = min(held, 1)
			}
			if least, most := expect(&r, b, all, at); held < least || held > most {
				t.Fatalf("%+v holds %d after %d events, want %d to %d", r, held, len(all), least, most)
			}
			h := happening{at: at, labels: rapid.SampledFrom([]decision.Labels{0, 0b10, 0b1010}).Draw(t, "labels"), amount: rapid.Int64Range(0, 50).Draw(t, "amount")}
			h.req = calls(t, b, rapid.SampledFrom([]string{"read", "write"}).Draw(t, "tool"), rapid.SampledFrom([]decision.Phase{decision.Call, decision.Result}).Draw(t, "phase"), h.amount)
			looks := rapid.Bool().Draw(t, "looks")
			n, ok := r.Note(h.req, b, at, h.labels, r.Held("one", at, used), looks)
			if changes := (r.Of.Is(h.req, b, h.labels) && (r.Kind != decision.Sums || h.amount > 0)) || r.Since != nil && r.Since.Is(h.req, b, h.labels); ok != (looks || changes) {
				t.Fatalf("there is a note: %t", ok)
			}
			if all = append(all, h); !ok {
				continue
			}
			if !n.Whole() || !r.May(h.req, b) && n.Op != decision.NoteHold {
				t.Fatalf("the note %+v is none that there can be", n)
			}
			var beside int64
			for _, key := range n.Beside() {
				beside += used[key]
			}
			now, ok := n.Apply(used[n.Key], beside)
			if !ok {
				t.Fatalf("the guard of %+v fails", n)
			}
			if now-used[n.Key] != n.Delta() {
				t.Fatalf("%+v changes %d to %d, and says by %d", n, used[n.Key], now, n.Delta())
			}
			if _, ok := n.Apply(used[n.Key], beside+1); ok && n.Guarded {
				t.Fatal("the guard holds of another value")
			}
			used[n.Key] = now
		}
	})
}

// Nothing wraps around: what would be too much is stale, and what is negative or no
// integer adds nothing.
func TestNoteBounds(t *testing.T) {
	n := decision.Note{Key: decision.BudgetKey{Budget: "sum/x"}, Op: decision.NoteAdd, Amount: 2}
	if _, ok := n.Apply(math.MaxInt64-1, 0); ok {
		t.Error("it wraps around")
	}
	if _, ok := (decision.Note{Op: decision.NoteHold, Guarded: true, Saw: math.MinInt64 + 1}).Apply(math.MaxInt64, 2); ok {
		t.Error("the guard wraps around")
	}
	b := sample()
	r := decision.ChainRule{ID: "s", Kind: decision.Sums, Field: "amount", Of: decision.EventRule{Phases: []decision.Phase{decision.Call}}}
	for text, want := range map[string]int64{`{"amount":-5}`: 0, `{"amount":1e3}`: 1000, `{"amount":"9"}`: 0, `{}`: 0, `{"amount":2.5}`: 3, `{"amount":1e300}`: document.MaxSafeInteger,
		`{"amount":9007199254740991}`: document.MaxSafeInteger} {
		args, err := document.ParseObject([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		req := calls(t, b, "read", decision.Call, 0)
		req.Arguments = args
		if n, ok := r.Note(req, b, time.Time{}, 0, 0, false); n.Amount != want || ok != (want > 0) {
			t.Errorf("%s: got %+v, want %d", text, n, want)
		}
	}
}

func TestLabelNames(t *testing.T) {
	b := sample()
	b.Labels["own"] = 16
	set, unknown := b.LabelsOf([]string{"own", "pii", "strange"})
	if got := fmt.Sprint(b.LabelNames(set|1<<40), unknown); got != "[label-40 own pii] [strange]" {
		t.Errorf("got %s", got)
	}
}
